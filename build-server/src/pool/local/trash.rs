//! Directories that are deleted one after the other, behind everything else.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::place;
use crate::supervise::Supervisor;

/// The least that a thread can ask for.
const NICEST: i32 = 19;

/// What is to be deleted; the first is being deleted. What is left when this process ends is
/// found by the next one.
#[derive(Clone, Default)]
pub(super) struct Trash(Arc<Mutex<VecDeque<PathBuf>>>);

impl Trash {
    fn queue(&self) -> MutexGuard<'_, VecDeque<PathBuf>> {
        // Nothing panics while it holds this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Deletes a directory in the background, once.
    pub(super) fn delete(&self, supervisor: &Supervisor, dir: PathBuf) {
        let mut queue = self.queue();
        if queue.contains(&dir) {
            return;
        }
        queue.push_back(dir);
        if queue.len() == 1 {
            let trash = self.clone();
            supervisor.spawn_blocking("delete machines", move || trash.empty());
        }
    }

    /// Deletes until nothing is left, on a thread of its own that leaves the processor to those
    /// whom somebody waits for.
    fn empty(&self) {
        let all = || {
            // Without it deleting only disturbs more.
            let _ = rustix::process::setpriority_process(None, NICEST);
            let mut next = self.queue().front().cloned();
            while let Some(dir) = next {
                place::delete(&dir);
                let mut queue = self.queue();
                queue.pop_front();
                next = queue.front().cloned();
            }
        };
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("delete".into());
            if let Err(error) = thread.spawn_scoped(scope, all) {
                // The next round of the keeper finds them again.
                tracing::warn!(%error, "no thread to delete machines");
                self.queue().clear();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everything_is_deleted_once() {
        let dir = tempfile::tempdir().unwrap();
        let supervisor = Supervisor::new("test");
        let trash = Trash::default();
        for n in 0..20 {
            let machine = dir.path().join(n.to_string());
            std::fs::create_dir_all(machine.join("work")).unwrap();
            trash.delete(&supervisor, machine.clone());
            trash.delete(&supervisor, machine);
        }
        supervisor.drain(super::super::keeper::DRAIN).await.unwrap();
        assert_eq!(dir.path().read_dir().unwrap().count(), 0);
        assert!(trash.queue().is_empty());
    }
}
