//! What is wrong with the sources of a build is no machine's fault.

use async_trait::async_trait;
use build_core::recipe::Tree;
use build_core::work::WorkItem;
use build_core::{Error, ErrorKind, Result};

use crate::source::without_passwords;

/// What git and the system say of a disk that is full.
const FULL_DISK: [&str; 2] = ["No space left on device", "Disk quota exceeded"];

/// The error of somebody who could not get the sources of `item`. Another machine would not find
/// more: a submodule, an object or a file that is missing, a repository that is away. Such an error
/// ends the build at once and names the repository. A full disk and a deadline that has passed
/// are something else.
pub(super) fn no_sources(item: &WorkItem, error: Error) -> Error {
    use ErrorKind::{Corrupt, Denied, Invalid, Limit, NotFound, Unavailable};
    let text = error.chain();
    let is_of_disk = FULL_DISK.iter().any(|said| text.contains(said));
    match error.kind() {
        Invalid | NotFound | Corrupt | Denied | Unavailable if is_of_disk => {
            Error::caused_by(Limit, "get the sources", error)
        }
        NotFound | Corrupt | Denied | Unavailable => {
            let hint = error.hint().map(str::to_owned);
            let origin = without_passwords(&item.origin);
            let context = match text.contains(&*origin) {
                true => "the sources cannot be read".to_owned(),
                false => format!("the sources of {origin} cannot be read"),
            };
            let error = Error::caused_by(Invalid, context, error);
            match hint {
                Some(hint) => error.with_hint(hint),
                None => error,
            }
        }
        _ => error,
    }
}

/// The files of a commit, whose errors are those of sources.
pub(super) struct SourceTree<'a> {
    pub(super) item: &'a WorkItem,
    pub(super) tree: Box<dyn Tree>,
}

#[async_trait]
impl Tree for SourceTree<'_> {
    async fn list(&self, dir: &str) -> Result<Vec<String>> {
        let listed = self.tree.list(dir).await;
        listed.map_err(|e| no_sources(self.item, e))
    }

    async fn read(&self, path: &str, max_bytes: u64) -> Result<Option<Vec<u8>>> {
        let read = self.tree.read(path, max_bytes).await;
        read.map_err(|e| no_sources(self.item, e))
    }

    async fn find(&self, names: &[&str], limit: usize) -> Result<Vec<String>> {
        let found = self.tree.find(names, limit).await;
        found.map_err(|e| no_sources(self.item, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use build_core::ids::{CommitHash, RepoName};

    #[test]
    fn errors_of_sources_are_final_but_for_a_full_disk() {
        let commit = CommitHash::new("0".repeat(40)).unwrap();
        let repo = RepoName::new("r").unwrap();
        let item = WorkItem::new(repo, "https://u:p@h/r", commit);
        let said = |kind, text: &str| no_sources(&item, Error::new(kind, text));
        let away = said(ErrorKind::Unavailable, "git fetch: could not resolve h");
        assert_eq!(away.kind(), ErrorKind::Invalid);
        assert_eq!(
            away.chain(),
            "the sources of https://h/r cannot be read: git fetch: could not resolve h"
        );
        let named = said(ErrorKind::NotFound, "https://h/r has no commit");
        assert_eq!(
            named.chain(),
            "the sources cannot be read: https://h/r has no commit"
        );
        let full = said(ErrorKind::Invalid, "fatal: write: No space left on device");
        assert_eq!(full.kind(), ErrorKind::Limit);
        assert_eq!(
            said(ErrorKind::TimedOut, "slow").kind(),
            ErrorKind::TimedOut
        );
    }
}
