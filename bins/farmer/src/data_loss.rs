//! The data directory that somebody removes while a farm runs on it.

use std::path::Path;
use std::time::Duration;

use build_core::{Error, ErrorKind};
use build_server::store::{DataLock, Store};
use farmer_cli::{Exit, Failure};
use tokio_util::sync::CancellationToken;

/// Between two looks: one question to the file system.
const LOOK: Duration = Duration::from_millis(200);
/// How long machines may take to be given back, though nothing of it can be recorded.
const WIND_DOWN: Duration = Duration::from_secs(2);

/// Ends a farm whose data directory is gone.
pub(crate) struct DataLoss {
    store: Store,
    /// Ends the farm without waiting for anything.
    now: CancellationToken,
}

impl DataLoss {
    /// Watches the directory of a store.
    pub(crate) fn of(store: &Store) -> Self {
        Self {
            store: store.clone(),
            now: CancellationToken::new(),
        }
    }

    /// Is canceled when the farm must end without waiting.
    pub(crate) fn now(&self) -> &CancellationToken {
        &self.now
    }

    /// Looks until the directory is gone, and ends the farm then; until the end of the farm else.
    pub(crate) async fn watch(&self, soon: &CancellationToken) {
        while !self.is_lost() {
            let slept = soon.run_until_cancelled(tokio::time::sleep(LOOK)).await;
            if slept.is_none() {
                return;
            }
        }
        soon.cancel();
        // Where another farm has begun meanwhile, nothing may be tidied up by name.
        if self.store.dir().is_ok_and(|dir| !dir.exists()) {
            tokio::time::sleep(WIND_DOWN).await;
        }
        self.now.cancel();
    }

    /// Whether the directory is gone, or another one's.
    pub(crate) fn is_lost(&self) -> bool {
        self.store.lock().is_some_and(DataLock::is_lost)
    }

    /// What to say at the end, if the directory is gone: nothing else that went wrong counts then.
    pub(crate) fn check(&self, data: &Path) -> Result<(), Failure> {
        if !self.is_lost() {
            return Ok(());
        }
        let text = format!(
            "{} was removed or replaced while the farm ran: what was recorded there is lost, and the \
             farm has ended",
            data.display()
        );
        let error = Error::new(ErrorKind::NotFound, text);
        let hint =
            "put a backup there with farmer restore, or start again: a new farm begins there";
        Err(Failure::because(Exit::Infrastructure, &error, Some(hint)))
    }
}
