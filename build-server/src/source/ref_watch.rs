//! The file system tells when refs may have moved.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use super::refs::RefsState;

/// Files of a repository that name commits, besides those below `refs`.
const REF_FILES: [&str; 3] = ["HEAD", "packed-refs", "tables.list"];

/// A watch on the files of one repository that hold its refs.
pub(super) struct RefWatch {
    moved: Arc<Notify>,
    /// Ends with it.
    _watcher: RecommendedWatcher,
}

impl RefWatch {
    /// Begins to watch; what moved before is not told.
    ///
    /// # Errors
    /// When the system has no watches left, or the repository is gone.
    pub(super) fn begin(refs: &RefsState) -> notify::Result<Self> {
        let moved = Arc::new(Notify::new());
        let teller = moved.clone();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // What was lost on the way may have been a ref.
            if event.map_or(true, |event| concerns_refs(&event)) {
                teller.notify_one();
            }
        })?;
        watcher.watch(refs.git_dir(), RecursiveMode::NonRecursive)?;
        watcher.watch(&refs.git_dir().join("refs"), RecursiveMode::Recursive)?;
        let tables = refs.git_dir().join("reftable");
        if tables.is_dir() {
            watcher.watch(&tables, RecursiveMode::NonRecursive)?;
        }
        if let Some(own) = refs.head().parent().filter(|own| *own != refs.git_dir()) {
            watcher.watch(own, RecursiveMode::NonRecursive)?;
        }
        Ok(Self {
            moved,
            _watcher: watcher,
        })
    }

    /// Waits until a ref may have moved since the last time.
    ///
    /// # Cancel safety
    /// A dropped wait loses nothing.
    pub(super) async fn moved(&self) {
        self.moved.notified().await;
    }
}

/// Git writes a ref to a file called `….lock` and renames it: then it has moved.
fn concerns_refs(event: &Event) -> bool {
    let writes = match event.kind {
        EventKind::Access(_) => false,
        EventKind::Any | EventKind::Other => true,
        EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) => true,
    };
    writes && (event.need_rescan() || event.paths.iter().any(|path| holds_refs(path)))
}

fn holds_refs(path: &Path) -> bool {
    let is_lock = path.extension() == Some(OsStr::new("lock"));
    let below_refs = path.iter().any(|part| part == "refs");
    let by_name = path.file_name().and_then(OsStr::to_str);
    !is_lock && (below_refs || by_name.is_some_and(|name| REF_FILES.contains(&name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_hold_refs_are_told_from_the_others() {
        for path in [
            "/a/.git/refs/heads/main",
            "/a/.git/refs/tags",
            "/a/.git/packed-refs",
            "/a/.git/HEAD",
            "/a/.git/worktrees/b/HEAD",
            "/a/.git/reftable/tables.list",
        ] {
            assert!(holds_refs(Path::new(path)), "{path}");
        }
        for path in [
            "/a/.git/refs/heads/main.lock",
            "/a/.git/HEAD.lock",
            "/a/.git/index",
            "/a/.git/COMMIT_EDITMSG",
            "/a/.git/reftable/0x1-0x2.ref",
        ] {
            assert!(!holds_refs(Path::new(path)), "{path}");
        }
    }
}
