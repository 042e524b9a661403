//! The newest commits of the sources, and copies of them on this machine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use build_core::{Error, ErrorKind, Result};

use super::config::Source;
use crate::child::Git;

/// To ask one repository for a branch.
const ASK_LIMIT: Duration = Duration::from_secs(30);
/// To fetch what is new; the first time that is everything.
const FETCH_LIMIT: Duration = Duration::from_secs(3600);

/// A source at a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) name: String,
    pub(super) hash: String,
}

/// The heads in short, in the order of the configuration: `go=1a2b3c4d/website=5e6f7a8b`.
pub(super) fn signature(heads: &[Head]) -> String {
    let parts = heads.iter().map(|head| {
        let short = head.hash.get(..8).unwrap_or(&head.hash);
        format!("{}={short}", head.name)
    });
    parts.collect::<Vec<_>>().join("/")
}

/// Asks each source for its newest commit.
pub(super) async fn heads(sources: &[Source], dir: &Path) -> Result<Vec<Head>> {
    let asked = sources.iter().map(|source| head(source, dir));
    futures::future::try_join_all(asked).await
}

async fn head(source: &Source, dir: &Path) -> Result<Head> {
    let name = format!("refs/heads/{}", source.branch);
    let args = ["ls-remote", "--end-of-options", &source.url, &name];
    let listed = Git::new(dir).limit(ASK_LIMIT).run(args).await?;
    let hash = listed
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .find(|(_, listed)| *listed == name)
        .map(|(hash, _)| hash.to_owned());
    let Some(hash) = hash.filter(|h| h.len() >= 40 && h.bytes().all(|b| b.is_ascii_hexdigit()))
    else {
        let text = format!("{} has no branch {}", source.name, source.branch);
        return Err(Error::new(ErrorKind::NotFound, text));
    };
    Ok(Head {
        name: source.name.clone(),
        hash,
    })
}

/// The copy of a source, below the data directory.
fn copy(data: &Path, name: &str) -> PathBuf {
    data.join("repos").join(format!("{name}.git"))
}

/// Puts the files of `head` into `to`, through a copy of the repository that is kept.
pub(super) async fn check_out(data: &Path, source: &Source, head: &Head, to: &Path) -> Result<()> {
    let dir = copy(data, &source.name);
    if !dir.join("HEAD").exists() {
        std::fs::create_dir_all(&dir)?;
        Git::new(&dir)
            .run(["init", "--quiet", "--bare", "."])
            .await?;
    }
    let git = Git::new(&dir).limit(FETCH_LIMIT);
    let has = ["cat-file", "-e", "--end-of-options", &head.hash];
    if !git.ask(has).await?.status.success() {
        let refs = format!("+refs/heads/{0}:refs/heads/{0}", source.branch);
        let fetch = [
            "fetch",
            "--quiet",
            "--no-tags",
            "--end-of-options",
            &source.url,
            &refs,
        ];
        git.run(fetch).await?;
        if !git.ask(has).await?.status.success() {
            let text = format!("{} is no longer in {}", head.hash, source.url);
            return Err(Error::new(ErrorKind::NotFound, text)
                .with_hint("the branch was rewritten; the next look finds its new head"));
        }
    }
    // Sides that were deleted are forgotten.
    git.run(["worktree", "prune"]).await?;
    let to = to.as_os_str();
    let mut add: Vec<&std::ffi::OsStr> = ["worktree", "add", "--quiet", "--force", "--detach"]
        .map(std::ffi::OsStr::new)
        .to_vec();
    add.extend([to, std::ffi::OsStr::new(&head.hash)]);
    git.run(add).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_names_each_source_shortly() {
        let head = |name: &str, digit: &str| Head {
            name: name.to_owned(),
            hash: digit.repeat(40),
        };
        let heads = [head("go", "a"), head("website", "1")];
        assert_eq!(signature(&heads), "go=aaaaaaaa/website=11111111");
    }
}
