//! What goes into a packed checkout besides its commit: tags, replaced objects, the end of a
//! shallow history, settings and attributes by which git changes files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use build_core::ids::CommitHash;
use build_core::{Error, ErrorKind, Result};

use super::repo::Repo;

/// Counts up when the packing itself changes.
const PACKING: u32 = 2;
/// Settings of these sections change what is checked out, or are written into the checkout.
const SECTIONS: [&str; 8] = [
    "core.",
    "extensions.",
    "filter.",
    "lfs.",
    "protocol.",
    "remote.origin.",
    "submodule.",
    "url.",
];
/// Files beside the objects that do the same.
const FILES: [&str; 3] = ["info/attributes", "info/grafts", "shallow"];
/// Repositories of submodules that are looked at; the tags of further ones are not seen to change.
const MAX_SUBMODULES: usize = 256;

/// Names all of it.
pub(super) async fn of(
    repo: &Repo,
    commit: &CommitHash,
    depth: u32,
    origin: &str,
) -> Result<String> {
    let settings = repo.ask(&["config", "--list", "-z"]);
    let modules = format!("{commit}:.gitmodules");
    let is_there = ["cat-file", "-e", modules.as_str()];
    let has_submodules = repo.ask(&is_there);
    let (settings, refs, has_submodules) =
        futures::try_join!(settings, refs(repo), has_submodules)?;
    let mut all = format!("{PACKING}\n{origin}\n{commit}\n{depth}\n{refs}");
    let settings = settings.unwrap_or_default();
    let counts = |line: &&str| SECTIONS.iter().any(|section| line.starts_with(section));
    for setting in settings.split('\0').filter(counts) {
        all.push_str(setting);
        all.push('\0');
    }
    for file in FILES {
        if let Ok(text) = tokio::fs::read(repo.git_dir.join(file)).await {
            all.push_str(&format!("{file} {}\n", text.escape_ascii()));
        }
    }
    if has_submodules.is_some() {
        for module in submodules(repo).await? {
            all.push_str(&format!("{}\n", module.display()));
            all.push_str(&refs_of(repo, &module).await?);
        }
    }
    Ok(all)
}

const REFS: [&str; 4] = [
    "for-each-ref",
    "--format=%(objectname) %(refname)",
    "refs/tags",
    "refs/replace",
];

async fn refs(repo: &Repo) -> Result<String> {
    let listed = repo.run(&REFS).await?;
    Ok(String::from_utf8_lossy(&listed).into_owned())
}

/// A clone inside of the repository may be half made: then git says what is wrong when it packs.
async fn refs_of(repo: &Repo, module: &Path) -> Result<String> {
    Ok(repo.git.ask(module, &REFS).await?.unwrap_or_default())
}

/// The clones of submodules, as git keeps them below the repository.
async fn submodules(repo: &Repo) -> Result<BTreeSet<PathBuf>> {
    let top = repo.git_dir.join("modules");
    let found = tokio::task::spawn_blocking(move || {
        let (mut found, mut dirs) = (BTreeSet::new(), vec![top]);
        while let Some(dir) = dirs.pop() {
            if found.len() >= MAX_SUBMODULES {
                break;
            }
            let entries = dir.read_dir().into_iter().flatten().flatten();
            let below = entries.filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir()));
            match dir.join("HEAD").is_file() {
                // A name may have slashes, and a submodule ones of its own.
                true => {
                    dirs.push(dir.join("modules"));
                    found.insert(dir);
                }
                false => dirs.extend(below.map(|e| e.path())),
            }
        }
        found
    });
    found
        .await
        .map_err(|e| Error::caused_by(ErrorKind::Bug, "look for submodules", e))
}
