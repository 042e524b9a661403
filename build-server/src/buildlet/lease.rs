//! The time a buildlet has left to live.

use std::sync::Arc;
use std::time::Duration;

use build_core::key::same_secret;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::config::{LeaseTerms, Secret};

/// Longest time a renewal may ask for: a forgotten machine comes back within the hour.
const LONGEST_TTL: Duration = Duration::from_secs(3600);

/// A lease that expires. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Lease(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    nonce: Secret,
    end: watch::Sender<Instant>,
}

/// A renewal was refused: the nonce is another one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotYours;

impl Lease {
    pub(crate) fn new(terms: LeaseTerms) -> Self {
        let end = watch::Sender::new(Instant::now() + terms.ttl.min(LONGEST_TTL));
        Self(Arc::new(Shared {
            nonce: terms.nonce,
            end,
        }))
    }

    /// Lets it last for `ttl` from now.
    pub(crate) fn renew(&self, nonce: &[u8], ttl: Duration) -> Result<Duration, NotYours> {
        if !same_secret(self.0.nonce.reveal().as_bytes(), nonce) {
            return Err(NotYours);
        }
        let ttl = ttl.min(LONGEST_TTL);
        self.0.end.send_replace(Instant::now() + ttl);
        Ok(ttl)
    }

    /// Waits until it has expired. Cancel safe.
    pub(crate) async fn expired(&self) {
        let mut ends = self.0.end.subscribe();
        loop {
            let end = *ends.borrow_and_update();
            tokio::select! {
                () = sleep_until(end) => return,
                // Never an error: the sender is in `self`.
                _ = ends.changed() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn a_lease_ends_unless_its_holder_renews_it() {
        let lease = Lease::new(LeaseTerms {
            nonce: Secret::new("n"),
            ttl: TTL,
        });
        let start = Instant::now();
        tokio::time::advance(TTL / 2).await;
        assert_eq!(lease.renew(b"other", TTL), Err(NotYours));
        assert_eq!(lease.renew(b"n", TTL), Ok(TTL));
        lease.expired().await;
        let took = start.elapsed();
        assert!(took >= TTL * 3 / 2 && took < TTL * 2, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_can_be_shortened() {
        let lease = Lease::new(LeaseTerms {
            nonce: Secret::new("n"),
            ttl: TTL,
        });
        lease.renew(b"n", Duration::ZERO).unwrap();
        let start = Instant::now();
        lease.expired().await;
        assert!(start.elapsed() < TTL);
    }
}
