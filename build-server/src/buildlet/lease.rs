//! The time a buildlet has left to live.

use std::sync::{Arc, OnceLock};
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
    /// `None` until somebody takes it.
    nonce: OnceLock<Secret>,
    /// `None` while nobody has taken it.
    end: watch::Sender<Option<Instant>>,
}

/// A renewal was refused: the nonce is another one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotYours;

impl Lease {
    pub(crate) fn new(terms: LeaseTerms) -> Self {
        let (nonce, end) = match terms.nonce {
            Some(nonce) => (
                OnceLock::from(nonce),
                Some(Instant::now() + terms.ttl.min(LONGEST_TTL)),
            ),
            None => (OnceLock::new(), None),
        };
        Self(Arc::new(Shared {
            nonce,
            end: watch::Sender::new(end),
        }))
    }

    /// Lets it last for `ttl` from now. One that nobody has yet is taken by the first who asks,
    /// unless all that is asked for is its end.
    pub(crate) fn renew(&self, nonce: &[u8], ttl: Duration) -> Result<Duration, NotYours> {
        let ttl = ttl.min(LONGEST_TTL);
        if self.0.nonce.get().is_none() && ttl.is_zero() {
            return Ok(ttl);
        }
        let text = std::str::from_utf8(nonce)
            .ok()
            .filter(|text| !text.is_empty());
        let known = match text {
            Some(text) => self.0.nonce.get_or_init(|| Secret::new(text)),
            None => self.0.nonce.get().ok_or(NotYours)?,
        };
        if !same_secret(known.reveal().as_bytes(), nonce) {
            return Err(NotYours);
        }
        self.0.end.send_replace(Some(Instant::now() + ttl));
        Ok(ttl)
    }

    /// Whether somebody has it.
    pub(crate) fn is_taken(&self) -> bool {
        self.0.nonce.get().is_some()
    }

    /// Waits until it has expired. Cancel safe.
    pub(crate) async fn expired(&self) {
        let mut ends = self.0.end.subscribe();
        loop {
            let end = *ends.borrow_and_update();
            tokio::select! {
                () = until(end) => return,
                // Never an error: the sender is in `self`.
                _ = ends.changed() => {}
            }
        }
    }
}

async fn until(end: Option<Instant>) {
    match end {
        Some(end) => sleep_until(end).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn a_lease_ends_unless_its_holder_renews_it() {
        let lease = Lease::new(LeaseTerms {
            nonce: Some(Secret::new("n")),
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
            nonce: Some(Secret::new("n")),
            ttl: TTL,
        });
        lease.renew(b"n", Duration::ZERO).unwrap();
        let start = Instant::now();
        lease.expired().await;
        assert!(start.elapsed() < TTL);
    }

    #[tokio::test(start_paused = true)]
    async fn a_free_lease_belongs_to_the_first_who_takes_it() {
        let free = LeaseTerms {
            nonce: None,
            ttl: Duration::ZERO,
        };
        let lease = Lease::new(free);
        assert!(tokio::time::timeout(TTL, lease.expired()).await.is_err());
        assert_eq!(lease.renew(b"", TTL), Err(NotYours));
        assert_eq!(lease.renew(b"n", Duration::ZERO), Ok(Duration::ZERO));
        assert!(!lease.is_taken(), "its end alone takes nothing");
        assert_eq!(lease.renew(b"n", TTL), Ok(TTL));
        assert_eq!(lease.renew(b"other", TTL), Err(NotYours));
        assert_eq!(lease.renew(b"", TTL), Err(NotYours));
        let start = Instant::now();
        lease.expired().await;
        assert!(start.elapsed() >= TTL);
    }
}
