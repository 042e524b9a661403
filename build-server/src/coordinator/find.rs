//! Turns what sources want into builds: everything wanted that was never asked for is.

use std::sync::Arc;
use std::time::Duration;

use build_core::Result;
use build_core::ids::BuilderName;
use build_core::work::{WorkItem, WorkSource};
use tokio::time::{sleep, timeout};

use super::handle::Handle;
use crate::store::BuildFilter;

/// A source is asked again after this at the latest: a lost wake-up repairs itself.
const ASK_AGAIN: Duration = Duration::from_secs(5 * 60);
/// After an error.
const ASK_AFTER_ERROR: Duration = Duration::from_secs(10);

/// Asks one source for ever.
pub(super) async fn find(source: Arc<dyn WorkSource>, handle: Handle, builders: Vec<BuilderName>) {
    loop {
        match look(&*source, &handle, &builders).await {
            Ok(()) => {
                // Woken or not, it is asked again.
                let _ = timeout(ASK_AGAIN, source.changed()).await;
            }
            Err(error) => {
                tracing::warn!(
                    source = source.name(),
                    error = error.chain(),
                    "cannot find work"
                );
                sleep(ASK_AFTER_ERROR).await;
            }
        }
    }
}

async fn look(source: &dyn WorkSource, handle: &Handle, builders: &[BuilderName]) -> Result<()> {
    for item in source.wanted().await? {
        for builder in builders {
            if !is_known(handle, &item, builder).await? {
                handle.submit(item.clone(), builder).await?;
            }
        }
    }
    Ok(())
}

async fn is_known(handle: &Handle, item: &WorkItem, builder: &BuilderName) -> Result<bool> {
    let of_item = BuildFilter {
        repo: Some(item.repo.clone()),
        builder: Some(builder.clone()),
        commit: Some(item.commit.to_string()),
        ..BuildFilter::default()
    };
    let known = handle.records().builds(&of_item, None, 1).await?;
    Ok(!known.builds.is_empty())
}
