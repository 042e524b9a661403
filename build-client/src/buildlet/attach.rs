//! The output of a detached command, over as many connections as it takes.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use build_core::buildlet::{ExecEvent, ExecOutcome, ExecStream};
use build_core::ids::ExecId;
use futures::stream;
use tokio::time::{Instant, sleep};

use super::link::Link;
use super::output::Guarded;
use super::requests;
use crate::{Error, Result};

/// The first pause before a lost stream is attached again; doubled up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A connection that has lasted so long was a good one.
const STABLE: Duration = Duration::from_secs(10);

struct Attached {
    link: Arc<Link>,
    id: ExecId,
    /// The next byte to be given.
    offset: u64,
    reply: Guarded,
    /// Since when no connection was good: reattaching is given up some time after.
    trouble: Instant,
    /// Since when there is the one there is.
    connected: Instant,
    pause: Duration,
}

/// Attaches to a command; the first connection must succeed.
pub(super) async fn attach(link: Arc<Link>, id: ExecId, offset: u64) -> Result<ExecStream> {
    let attached = Attached {
        reply: connect(&link, &id, offset).await?,
        link,
        id,
        offset,
        trouble: Instant::now(),
        connected: Instant::now(),
        pause: FIRST_PAUSE,
    };
    Ok(Box::pin(stream::unfold(Some(attached), |attached| async {
        let mut attached = attached?;
        let event = attached.next().await;
        let more = matches!(event, Ok(ExecEvent::Output(_)));
        Some((event, more.then_some(attached)))
    })))
}

async fn connect(link: &Arc<Link>, id: &ExecId, offset: u64) -> Result<Guarded> {
    let reply = link.ask(link.limited(requests::log(id, offset))).await?;
    Ok(Guarded::new(reply, Arc::clone(link)))
}

impl Attached {
    /// The next event. A cut connection is replaced by another one at the same byte.
    async fn next(&mut self) -> Result<ExecEvent> {
        loop {
            match self.try_next().await {
                Err(error) if error.kind().is_retryable() => self.reconnect(error).await?,
                event => return event,
            }
        }
    }

    async fn try_next(&mut self) -> Result<ExecEvent> {
        match poll_fn(|cx| self.reply.poll_chunk(cx)).await? {
            Some(bytes) => {
                self.offset += bytes.len() as u64;
                self.trouble = Instant::now();
                self.pause = FIRST_PAUSE;
                Ok(ExecEvent::Output(bytes))
            }
            None => {
                let event = self.reply.outcome()?;
                self.ended(event).await
            }
        }
    }

    /// A killed command ends by a signal: only its state tells on whose behalf.
    async fn ended(&mut self, event: ExecEvent) -> Result<ExecEvent> {
        if !matches!(event, ExecEvent::Ended(ExecOutcome::Signal(_))) {
            return Ok(event);
        }
        let report = self
            .link
            .exec_report(requests::exec_state(&self.id))
            .await?;
        Ok(report.outcome().map_or(event, ExecEvent::Ended))
    }

    /// Connects again, trying for a while.
    async fn reconnect(&mut self, mut error: Error) -> Result<()> {
        // A command may have been silent for hours: that is no trouble.
        if self.connected.elapsed() >= STABLE {
            self.trouble = Instant::now();
        }
        while self.trouble.elapsed() <= self.link.timeouts().reattach {
            self.link.heart().check()?;
            tracing::debug!(exec = %self.id, offset = self.offset, error = %error.chain(), "attaching again");
            sleep(self.pause).await;
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            match connect(&self.link, &self.id, self.offset).await {
                Ok(reply) => {
                    self.reply = reply;
                    self.connected = Instant::now();
                    return Ok(());
                }
                Err(failed) if failed.kind().is_retryable() => error = failed,
                Err(failed) => return Err(failed),
            }
        }
        Err(error.while_doing(format!("attach to {} again", self.id)))
    }
}
