//! A folder that keeps up with a log in a store that somebody else writes.

use std::path::Path;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::keep::is_final;
use super::{ObjectError, ObjectLog, Objects, Owner};

/// Copies what is new in a store into `folder` every so often, until `stop`. Failures of the
/// store are tried again; `failed` is told of them. Readers of the folder see each copy whole.
///
/// # Errors
/// [`ObjectError::Diverged`] when the folder holds another history, and
/// [`ObjectError::Log`] when it cannot be written.
pub async fn follow<S: Objects + Clone>(
    store: &S,
    folder: &Path,
    every: Duration,
    stop: CancellationToken,
    mut failed: impl FnMut(&ObjectError),
) -> Result<(), ObjectError> {
    // Nothing is written there, so nobody learns the name.
    let reader = Owner::new("reader");
    let mut seen = None;
    while !stop.is_cancelled() {
        let look = async {
            let log = ObjectLog::open(store.clone(), reader.clone()).await?;
            let size = log.manifest().size();
            if seen != Some(size) {
                log.restore(folder).await?;
            }
            Ok(size)
        };
        match look.await {
            Ok(size) => seen = Some(size),
            Err(error) if is_final(&error) || matches!(error, ObjectError::Log(_)) => {
                return Err(error);
            }
            Err(error) => failed(&error),
        }
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = stop.cancelled() => {}
        }
    }
    Ok(())
}
