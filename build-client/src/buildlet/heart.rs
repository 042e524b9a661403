//! Whether the buildlet lives.
//!
//! There is no task of its own: the calls under way take turns in asking for a sign of
//! life, so a call that waits for a dead machine ends, and an idle client costs nothing.

use std::future::Future;
use std::sync::{Arc, OnceLock};

use tokio::sync::Mutex;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{Error, ErrorKind, Result, Timeouts};

/// The life of one buildlet, as far as its client knows. Death is final.
pub(super) struct Heart {
    name: String,
    timeouts: Timeouts,
    dead: CancellationToken,
    cause: OnceLock<Arc<Error>>,
    /// Misses in a row. Whoever holds the lock has the turn to ask.
    misses: Mutex<u32>,
}

impl Heart {
    pub(super) fn new(name: String, timeouts: Timeouts) -> Self {
        Self {
            name,
            timeouts,
            dead: CancellationToken::new(),
            cause: OnceLock::new(),
            misses: Mutex::new(0),
        }
    }

    /// Ends everything under way and all that comes.
    pub(super) fn stop(&self, cause: Error) {
        // The first cause stands.
        self.cause.get_or_init(|| Arc::new(cause));
        self.dead.cancel();
    }

    pub(super) fn is_dead(&self) -> bool {
        self.dead.is_cancelled()
    }

    /// # Errors
    /// Why the buildlet is dead, if it is.
    pub(super) fn check(&self) -> Result<()> {
        if self.is_dead() {
            Err(self.death())
        } else {
            Ok(())
        }
    }

    /// Completes when the buildlet is dead, and asks for signs of life meanwhile.
    pub(super) async fn until_dead<P, F>(&self, ping: P) -> Error
    where
        P: Fn() -> F,
        F: Future<Output = Result<()>>,
    {
        tokio::select! {
            () = self.dead.cancelled() => {}
            () = self.beat(ping) => {}
        }
        self.death()
    }

    async fn beat<P, F>(&self, ping: P)
    where
        P: Fn() -> F,
        F: Future<Output = Result<()>>,
    {
        let mut misses = self.misses.lock().await;
        while !self.is_dead() {
            sleep(self.timeouts.beat).await;
            match ping().await {
                Ok(()) => *misses = 0,
                Err(error) => {
                    *misses += 1;
                    tracing::debug!(buildlet = %self.name, misses = *misses, error = %error.chain(), "missed heart-beat");
                    if *misses >= self.timeouts.misses {
                        self.stop(error.while_doing("the last heart-beat failed"));
                    }
                }
            }
        }
    }

    fn death(&self) -> Error {
        let context = format!("buildlet {} is given up", self.name);
        match self.cause.get() {
            Some(cause) => Error::caused_by(ErrorKind::Unavailable, context, Arc::clone(cause)),
            None => Error::new(ErrorKind::Unavailable, context),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn heart() -> Heart {
        Heart::new("b1".into(), Timeouts::default())
    }

    fn silent() -> Result<()> {
        Err(Error::new(ErrorKind::TimedOut, "no answer"))
    }

    #[tokio::test(start_paused = true)]
    async fn three_misses_in_a_row_are_death() {
        let heart = heart();
        let asked = AtomicU32::new(0);
        // Every third question is answered, up to the ninth.
        let error = heart
            .until_dead(|| async {
                match asked.fetch_add(1, Ordering::SeqCst) + 1 {
                    3 | 6 | 9 => Ok(()),
                    _ => silent(),
                }
            })
            .await;
        assert_eq!(asked.into_inner(), 12);
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.chain().ends_with("no answer"), "{}", error.chain());
        assert!(heart.check().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn the_turn_goes_on_to_the_next_call_with_its_misses() {
        let heart = heart();
        let asked = AtomicU32::new(0);
        let ping = || async {
            asked.fetch_add(1, Ordering::SeqCst);
            silent()
        };
        // The first call ends after two misses, while the second one waits for its turn.
        let first = tokio::time::timeout(Timeouts::default().beat * 5 / 2, heart.until_dead(ping));
        let (first, _) = tokio::join!(first, heart.until_dead(ping));
        assert!(first.is_err(), "the first call ended by itself");
        assert_eq!(asked.into_inner(), 3);
    }

    #[tokio::test]
    async fn the_first_cause_of_death_stands() {
        let heart = heart();
        heart.stop(Error::new(ErrorKind::Canceled, "closed"));
        heart.stop(Error::new(ErrorKind::Unavailable, "something else"));
        let error = heart.until_dead(|| async { Ok(()) }).await;
        assert_eq!(error.chain(), "buildlet b1 is given up: closed");
    }
}
