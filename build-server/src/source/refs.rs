//! Whether a branch of a repository has moved, by looking at a few files.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// How deep branches may be nested: `refs/heads/a/b/c`.
const MAX_DEPTH: usize = 8;
/// Files and directories looked at; a repository with more loose branches is looked at less
/// closely, and the next regular look finds the rest.
const MAX_FILES: usize = 1000;

/// Where they are: branches and tags first, then changes under review as hosts keep them.
const REFS: [&str; 6] = [
    "refs/heads",
    "refs/tags",
    "refs/remotes",
    "refs/pull",
    "refs/merge-requests",
    "refs/changes",
];

/// The times and sizes of the files that hold branches, tags and the remote's default branch. Refs are replaced by renaming, which
/// also changes the time of their directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RefsState {
    git_dir: PathBuf,
    head: PathBuf,
    files: Vec<(PathBuf, Option<(SystemTime, u64)>)>,
}

impl RefsState {
    /// The state now of the repository in `git_dir`, whose `HEAD` is the file `head`.
    pub(super) fn of(git_dir: PathBuf, head: PathBuf) -> Self {
        let mut files = Vec::new();
        for file in [
            head.clone(),
            git_dir.join("packed-refs"),
            git_dir.join("reftable/tables.list"),
        ] {
            files.push(seen(file));
        }
        for refs in REFS {
            walk(&git_dir.join(refs), MAX_DEPTH, &mut files);
        }
        Self {
            git_dir,
            head,
            files,
        }
    }

    /// The directory of the repository that its worktrees share.
    pub(super) fn git_dir(&self) -> &Path {
        &self.git_dir
    }

    /// The file that says what is checked out.
    pub(super) fn head(&self) -> &Path {
        &self.head
    }

    /// Whether it is another one by now.
    pub(super) fn has_changed(&self) -> bool {
        Self::of(self.git_dir.clone(), self.head.clone()) != *self
    }
}

fn seen(file: PathBuf) -> (PathBuf, Option<(SystemTime, u64)>) {
    let about = fs::metadata(&file).ok();
    let state = about.and_then(|about| Some((about.modified().ok()?, about.len())));
    (file, state)
}

fn walk(dir: &Path, depth: usize, files: &mut Vec<(PathBuf, Option<(SystemTime, u64)>)>) {
    files.push(seen(dir.to_owned()));
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut entries: Vec<_> = entries.map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        if files.len() >= MAX_FILES {
            return;
        }
        if path.is_dir() && depth > 0 {
            walk(&path, depth - 1, files);
        } else {
            files.push(seen(path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moved_a_new_and_a_packed_branch_are_changes() {
        let dir = tempfile::tempdir().unwrap();
        let git_dir = dir.path().to_owned();
        fs::create_dir_all(git_dir.join("refs/heads/team")).unwrap();
        fs::write(git_dir.join("HEAD"), "ref: refs/heads/main\n").unwrap();
        let state = || RefsState::of(git_dir.clone(), git_dir.join("HEAD"));
        let changes = |path: &str, text: &str| {
            let before = state();
            assert!(!before.has_changed(), "{path}");
            fs::write(git_dir.join(path), text).unwrap();
            assert!(before.has_changed(), "{path}");
        };
        changes("refs/heads/main", "1");
        changes("refs/heads/main", "22");
        changes("refs/heads/team/topic", "1");
        changes("packed-refs", "1");
        fs::create_dir(git_dir.join("reftable")).unwrap();
        changes("reftable/tables.list", "0x1-0x2.ref\n");
        changes("HEAD", "ref: refs/heads/other\n");
    }
}
