//! Renews every lease, and says which machines are lost.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use build_core::dispatch::Input;
use build_core::ids::LeaseId;
use build_core::pool::LEASE_TTL;
use build_core::{Error, ErrorKind};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, timeout};

use super::Runner;
use super::leases::Held;

/// Between two rounds: three attempts before a lease runs out.
pub(crate) const RENEW_EVERY: Duration = Duration::from_secs(LEASE_TTL.as_secs() / 4);
/// How long one machine may take to answer; the others are not kept waiting.
const ANSWER: Duration = Duration::from_secs(10);

/// Since when machines do not answer.
#[derive(Default)]
pub(crate) struct Silent(HashMap<LeaseId, Instant>);

impl Runner {
    /// Renews every lease once; the answer is the machines that count as lost by now.
    pub(crate) async fn renew_all(&self, silent: &mut Silent) -> Vec<Input> {
        let held = self.0.leases.all();
        silent
            .0
            .retain(|lease, _| held.iter().any(|h| h.lease.record().lease == *lease));
        let mut renewals: FuturesUnordered<_> = held.into_iter().map(renew).collect();
        let mut lost = Vec::new();
        while let Some((held, renewed)) = renewals.next().await {
            let lease = held.lease.record().lease.clone();
            match renewed {
                Ok(()) => {
                    silent.0.remove(&lease);
                }
                Err(error) => {
                    let since = *silent.0.entry(lease.clone()).or_insert_with(Instant::now);
                    if is_final(&error) || since.elapsed() >= LEASE_TTL {
                        lost.push(self.lost(&held, &error).await);
                    }
                }
            }
        }
        lost
    }

    async fn lost(&self, held: &Held, error: &Error) -> Input {
        let running = held.running.lock();
        let running = running.unwrap_or_else(PoisonError::into_inner).clone();
        let output = match running {
            Some((build, exec)) => Some(self.0.logs.len(&build, &exec).await),
            None => None,
        };
        Input::LeaseLost {
            lease: held.lease.record().lease.clone(),
            text: error.chain(),
            output_bytes: output.unwrap_or(0),
        }
    }
}

/// Whether the machine will not be ours again, however long we wait.
pub(super) fn is_final(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Denied | ErrorKind::NotFound)
}

async fn renew(held: Arc<Held>) -> (Arc<Held>, Result<(), Error>) {
    if held.over.is_cancelled() {
        return (held, Ok(()));
    }
    let renewed = match timeout(ANSWER, held.lease.renew(LEASE_TTL)).await {
        Ok(renewed) => renewed,
        Err(_) => Err(Error::new(
            ErrorKind::TimedOut,
            "the machine does not answer",
        )),
    };
    (held, renewed)
}
