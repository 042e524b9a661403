//! Which repositories a commit holds as submodules, and where they come from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use build_core::ids::CommitHash;
use build_core::{Error, ErrorKind, Result};

use super::git::text;
use super::origin::Origin;
use super::repo::Repo;

/// One submodule of a checkout.
pub(super) struct Submodule {
    /// Below the checkout.
    pub(super) path: String,
    pub(super) commit: CommitHash,
    pub(super) origin: Origin,
}

#[derive(Default)]
struct Section {
    path: Option<String>,
    url: Option<String>,
}

/// The submodules of the checkout at `dir` of a commit of `from`.
///
/// # Errors
/// [`ErrorKind::Invalid`] for a submodule without URL, and, when `from` was fetched from
/// elsewhere, for one that names a directory of this machine.
pub(super) async fn of_checkout(from: &Repo, dir: &Path, is_local: bool) -> Result<Vec<Submodule>> {
    if !dir.join(".gitmodules").is_file() {
        return Ok(Vec::new());
    }
    let sections = read_sections(from, dir).await?;
    let mut found = Vec::new();
    for (path, commit) in links(from, dir).await? {
        let named = sections
            .iter()
            .find(|(_, s)| s.path.as_deref() == Some(&path));
        let Some((name, section)) = named else {
            // A link that `.gitmodules` does not name is an empty directory, as git leaves it.
            continue;
        };
        let origin = locate(from, name, &path, section, &commit, is_local).await?;
        found.push(Submodule {
            path,
            commit,
            origin,
        });
    }
    Ok(found)
}

async fn read_sections(from: &Repo, dir: &Path) -> Result<BTreeMap<String, Section>> {
    let pattern = r"^submodule\..*\.(path|url)$";
    let args = [
        "config",
        "--file",
        ".gitmodules",
        "-z",
        "--get-regexp",
        pattern,
    ];
    // Nothing that matches is an exit status, not an error.
    let Some(listed) = from.git.ask(dir, &args).await? else {
        return Ok(BTreeMap::new());
    };
    let mut sections: BTreeMap<String, Section> = BTreeMap::new();
    for entry in listed.split('\0') {
        let Some((key, value)) = entry.split_once('\n') else {
            continue;
        };
        let Some((name, what)) = key.trim_start_matches("submodule.").rsplit_once('.') else {
            continue;
        };
        let section = sections.entry(name.to_owned()).or_default();
        match what {
            "path" => section.path = Some(value.to_owned()),
            _ => section.url = Some(value.to_owned()),
        }
    }
    Ok(sections)
}

/// Links to commits in the index: the paths git itself has accepted.
async fn links(from: &Repo, dir: &Path) -> Result<Vec<(String, CommitHash)>> {
    let listed = from.git.run(dir, &["ls-files", "--stage", "-z"]).await?;
    let lines = listed
        .split(|&b| b == 0)
        .filter(|line| line.starts_with(b"160000 "));
    let mut links = Vec::new();
    for line in lines {
        let line = String::from_utf8_lossy(line);
        let Some((about, path)) = line.split_once('\t') else {
            continue;
        };
        let hash = about.split(' ').nth(1).unwrap_or_default();
        links.push((path.to_owned(), CommitHash::new(hash)?));
    }
    Ok(links)
}

/// The clone inside of the user's repository if it has the commit, else the URL.
async fn locate(
    from: &Repo,
    name: &str,
    path: &str,
    section: &Section,
    commit: &CommitHash,
    is_local: bool,
) -> Result<Origin> {
    if is_local {
        for place in clones(from, name, path) {
            if has(from, &place, commit).await {
                return Ok(Origin::Local(place));
            }
        }
    }
    let url = section.url.as_deref().unwrap_or_default();
    let url = resolve(from, url).await?;
    let origin = Origin::parse(&url)?;
    if origin.is_here() && !is_local {
        let text = format!("submodule {name:?} names a directory of this machine: {url}");
        return Err(Error::new(ErrorKind::Invalid, text));
    }
    Ok(origin)
}

fn clones(from: &Repo, name: &str, path: &str) -> Vec<PathBuf> {
    let is_plain = |text: &str| !text.split('/').any(|part| part == ".." || part.is_empty());
    let absorbed = is_plain(name).then(|| from.git_dir.join("modules").join(name));
    let beside = from
        .top
        .as_ref()
        .filter(|_| is_plain(path))
        .map(|top| top.join(path));
    let beside = beside.filter(|dir| dir.join(".git").exists());
    absorbed.into_iter().chain(beside).collect()
}

async fn has(from: &Repo, place: &Path, commit: &CommitHash) -> bool {
    match Repo::open(&from.git, place).await {
        Ok(clone) => clone.has(commit).await.unwrap_or(false),
        Err(_) => false,
    }
}

/// Relative URLs are relative to where the repository itself came from.
async fn resolve(from: &Repo, url: &str) -> Result<String> {
    if !url.starts_with("./") && !url.starts_with("../") {
        return Ok(url.to_owned());
    }
    let remote = from.remote().await?.map(|(_, url)| url);
    let base = remote.unwrap_or_else(|| text(from.place().as_os_str().as_encoded_bytes()));
    let mut base = base.trim_end_matches('/').to_owned();
    let mut rest = url;
    loop {
        if let Some(after) = rest.strip_prefix("./") {
            rest = after;
        } else if let Some(after) = rest.strip_prefix("../") {
            rest = after;
            let cut = base.rfind(['/', ':']).unwrap_or(0);
            base.truncate(cut);
        } else {
            return Ok(format!("{base}/{rest}"));
        }
    }
}
