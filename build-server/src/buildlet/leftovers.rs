//! What buildlets that were killed have left.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

use super::processes::{Grace, MARK, Processes, marked_by, start_envs};
use super::state::instance_of;
use crate::supervise::Supervisor;

/// Ends what the commands of killed buildlets have left.
pub(crate) struct Leftovers {
    supervisor: Supervisor,
    /// Looks at all processes that were begun.
    begun: AtomicU64,
    last: Mutex<Look>,
}

/// The marks of all processes, by a look that was begun at some time.
#[derive(Default)]
struct Look {
    number: u64,
    marks: Arc<Vec<String>>,
}

impl Leftovers {
    pub(crate) fn new(supervisor: Supervisor) -> Self {
        Self {
            supervisor,
            begun: AtomicU64::new(0),
            last: Mutex::default(),
        }
    }

    /// Ends what the commands of a buildlet have left that is gone, and tells the processes that
    /// could not be ended. They are found by their mark, so those that have dropped it and are
    /// below none that bears it are not.
    ///
    /// # Errors
    /// The system's.
    pub(crate) async fn end(&self, state_dir: &Path) -> io::Result<Vec<i32>> {
        let instance = instance_of(state_dir);
        let marks = self.marks().await?;
        if !marks
            .iter()
            .any(|mark| marked_by(&instance, mark).is_some())
        {
            return Ok(Vec::new());
        }
        let processes = Processes::new(self.supervisor.clone(), instance, None, false, None)?;
        Ok(processes.end_earlier(Grace::None).await.left)
    }

    /// The marks of all processes, by a look that begins after the call. Those who ask while
    /// somebody looks share the next look: hundreds of machines may end at once, and each look
    /// reads a file of every process.
    async fn marks(&self) -> io::Result<Arc<Vec<String>>> {
        let asked = self.begun.load(Ordering::SeqCst);
        let mut last = self.last.lock().await;
        if last.number <= asked {
            let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
            let looking = || start_envs(MARK);
            let looked = self
                .supervisor
                .spawn_blocking("look at /proc", looking)
                .await;
            let marks = looked.unwrap_or_else(|error| Err(io::Error::other(error)))?;
            *last = Look {
                number,
                marks: Arc::new(marks),
            };
        }
        Ok(last.marks.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_asks_while_somebody_looks_shares_the_next_look() {
        let leftovers = Leftovers::new(Supervisor::new("test"));
        let state = tempfile::tempdir().unwrap();
        let asking = (0..10).map(|_| leftovers.end(state.path()));
        let left = futures::future::try_join_all(asking).await.unwrap();
        assert_eq!(left, vec![Vec::<i32>::new(); 10]);
        assert_eq!(
            leftovers.begun.load(Ordering::SeqCst),
            2,
            "the first look may miss what was there when the others asked"
        );
        leftovers.end(state.path()).await.unwrap();
        assert_eq!(leftovers.begun.load(Ordering::SeqCst), 3);
    }
}
