use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use build_core::buildlet::Buildlet;
use build_core::pool::{Lease, LeaseRecord};
use build_core::{Error, ErrorKind, Result};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::Shared;
use super::machine::{Hold, Life};

/// How long one question to a machine may take.
const ANSWER: Duration = Duration::from_secs(5);
/// How long a machine may take to end everything when its lease is over.
const ENDS: Duration = Duration::from_secs(12);
/// How long it may take to come back then, clean.
const RETURNS: Duration = Duration::from_secs(3);

/// A machine that somebody holds.
pub(super) struct ReverseLease {
    record: LeaseRecord,
    life: Arc<Life>,
    pool: Weak<Shared>,
    released: Mutex<bool>,
    begun: Instant,
}

impl Drop for ReverseLease {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.upgrade() {
            let id = &self.life.registration.id;
            pool.table().past.worked(id, self.begun.elapsed());
        }
    }
}

impl ReverseLease {
    pub(super) fn new(record: LeaseRecord, life: Arc<Life>, pool: Weak<Shared>) -> Self {
        Self {
            record,
            life,
            pool,
            released: Mutex::new(false),
            begun: Instant::now(),
        }
    }

    /// Asks the machine to live on.
    async fn ask(&self, ttl: Duration) -> Result<()> {
        let asked = Instant::now();
        let answer = timeout(
            ANSWER,
            self.life.client.renew_lease(&self.record.nonce, ttl),
        );
        let answer = answer.await.unwrap_or_else(|_| {
            let text = format!("{} does not answer", self.life.name());
            Err(Error::new(ErrorKind::TimedOut, text))
        });
        if answer.is_ok() {
            self.life.state().expires = Some(asked + ttl);
        }
        answer
    }

    /// Ends a buildlet that ends when it is told to, or when its connection does.
    async fn end_classic(&self) {
        if let Err(error) = self.life.client.close().await {
            tracing::debug!(machine = self.life.name(), error = error.chain(), "halt");
        }
        if timeout(ENDS / 4, self.life.over.cancelled()).await.is_err() {
            self.life.end("its lease was given back");
        }
    }
}

#[async_trait]
impl Lease for ReverseLease {
    fn record(&self) -> &LeaseRecord {
        &self.record
    }

    fn buildlet(&self) -> &dyn Buildlet {
        self.life.buildlet()
    }

    /// The machine was told to live longer than `ttl`. While it is away the answer is still yes, as
    /// long as that time is not used up: it may come back, and nothing is lost then.
    async fn renew(&self, ttl: Duration) -> Result<()> {
        if let Some(ended) = self.life.ended() {
            return Err(ended);
        }
        if !self.life.is_leasable {
            return match timeout(ANSWER, self.life.client.status()).await {
                Ok(answer) => answer.map(drop),
                Err(_) => Err(Error::new(ErrorKind::TimedOut, "no sign of life in time")),
            };
        }
        let held = match self.pool.upgrade() {
            Some(pool) => pool.timing.held.max(ttl),
            None => ttl,
        };
        let error = match self.life.is_connected() {
            true => match self.ask(held).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            },
            false => {
                let text = format!("{} is away", self.life.name());
                Error::new(ErrorKind::Unavailable, text)
            }
        };
        if let Some(ended) = self.life.ended() {
            return Err(ended);
        }
        if matches!(error.kind(), ErrorKind::Denied | ErrorKind::NotFound) {
            return Err(error);
        }
        let expires = self.life.state().expires;
        let left = expires.map(|end| end.saturating_duration_since(Instant::now()));
        match left {
            Some(left) if left >= ttl => Ok(()),
            Some(left) if left.is_zero() => {
                self.life.end("it was away until its lease had run out");
                Err(self.life.ended().unwrap_or(error))
            }
            _ => Err(error),
        }
    }

    async fn release(&self) -> Result<()> {
        let mut released = self.released.lock().await;
        if *released || self.life.over.is_cancelled() {
            *released = true;
            return Ok(());
        }
        self.life.state().is_given_back = true;
        if !self.life.is_leasable {
            self.end_classic().await;
            *released = true;
            return Ok(());
        }
        let mut answer = self.ask(Duration::ZERO).await;
        if let Err(error) = &answer
            && matches!(error.kind(), ErrorKind::Denied | ErrorKind::NotFound)
        {
            answer = Ok(());
        }
        let Some(pool) = self.pool.upgrade() else {
            return answer;
        };
        if let Err(error) = answer {
            // It hears of it when it comes back, and ends by expiry if it does not. Until then it is
            // held by a lease that nobody here has; one that was started again is free at once.
            pool.table().end_later(&self.life, &self.record.nonce);
            self.life.set_hold(Hold::Foreign);
            if self.life.is_connected()
                && timeout(RETURNS, self.life.over.cancelled()).await.is_err()
            {
                return Err(error);
            }
            self.life.end("its lease was given back while it was away");
            pool.table().sweep();
            *released = true;
            return Ok(());
        }
        if timeout(ENDS, self.life.over.cancelled()).await.is_err() {
            let text = format!("{} has not ended what ran on it", self.life.name());
            return Err(Error::new(ErrorKind::TimedOut, text));
        }
        *released = true;
        // A machine that comes back at once can be granted again at once.
        let id = &self.life.registration.id;
        if timeout(RETURNS, pool.connected(id)).await.is_err() {
            tracing::debug!(machine = %id, "has not come back yet");
        }
        Ok(())
    }
}
