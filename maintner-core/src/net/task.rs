//! The loop of a follower.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::FollowError;
use super::client::{Client, Stream, Tail};
use super::pause::Pauses;
use super::source::Shared;
use crate::netlog::{Answer, Ask, EventReader, Follower, News};

/// Between two indexes of a server without a tail: what comes faster is fetched together.
const INDEX_INTERVAL: Duration = Duration::from_millis(100);
/// How long a server that had no tail is taken to have none.
const NO_TAIL: Duration = Duration::from_secs(600);

/// Keeps a [`NetworkSource`](super::NetworkSource) up to date while it runs.
#[derive(Debug)]
pub struct FollowTask {
    shared: Arc<Shared>,
    client: Client,
    follower: Follower,
    tail: bool,
    /// No tail is asked for before this.
    tail_after: Option<Instant>,
    /// No index is asked for before this.
    index_after: Instant,
}

impl FollowTask {
    pub(super) fn new(shared: Arc<Shared>, client: Client, tail: bool) -> Self {
        Self {
            shared,
            client,
            follower: Follower::new(),
            tail,
            tail_after: None,
            index_after: Instant::now(),
        }
    }

    /// The same task for a source that wants only what comes from now on.
    pub(super) fn only_news(mut self) -> Self {
        self.follower = Follower::from_now();
        self
    }

    /// Follows until `stop`. Failures are retried for ever and told in the source's status.
    /// Needs a runtime with IO and time.
    ///
    /// Cancel safe: what was fetched stays, and another task goes on from there.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut pauses = Pauses::default();
        loop {
            let step = tokio::select! {
                () = stop.cancelled() => return,
                step = self.step() => step,
            };
            let Err(error) = step else {
                pauses.reset();
                continue;
            };
            self.shared.status.send_modify(|status| {
                status.connected = false;
                status.tailing = false;
                status.failures = status.failures.saturating_add(1);
                status.is_temporary = error.is_temporary();
                status.last_error = Some(chain(&error));
            });
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(pauses.next()) => {}
            }
        }
    }

    /// One question and its answer, or one tail from its beginning to its end.
    async fn step(&mut self) -> Result<(), FollowError> {
        let ask = self.follower.next(&self.shared.log());
        let answer = match ask {
            Ask::Index { wait } => {
                if wait.is_some() && self.try_tail().await? {
                    return Ok(());
                }
                sleep_until(self.index_after).await;
                self.count();
                let answer = self.client.index(wait).await?;
                self.index_after = Instant::now() + INDEX_INTERVAL;
                answer
            }
            Ask::Segment { url, from, to, .. } => {
                self.count();
                match self.client.segment(&url, from, to).await {
                    // The index may be out of date; the pause is that of a failure.
                    Err(error @ FollowError::Status { .. }) => {
                        let gone = self.follower.feed(&mut self.shared.log(), Answer::Gone);
                        return gone.map_err(FollowError::from).and(Err(error));
                    }
                    answer => answer?,
                }
            }
        };
        self.feed(answer)
    }

    fn count(&self) {
        self.shared
            .status
            .send_modify(|status| status.requests += 1);
    }

    fn feed(&mut self, answer: Answer) -> Result<(), FollowError> {
        let received = match &answer {
            Answer::Bytes { bytes, .. } => bytes.len() as u64,
            _ => 0,
        };
        let mut log = self.shared.log();
        let fed = self.follower.feed(&mut log, answer);
        let end = log.end();
        drop(log);
        self.shared.changed(end);
        let news = fed?;
        let splits = news
            .iter()
            .filter(|news| matches!(news, News::Split { .. }));
        let splits = splits.count() as u64;
        let caught_up = self.follower.is_caught_up();
        self.shared.status.send_modify(|status| {
            status.caught_up = caught_up;
            (status.connected, status.failures) = (true, 0);
            status.splits += splits;
            status.received += received;
        });
        Ok(())
    }

    /// Reads the server's tail until it ends. False when there is none, or when it does not
    /// continue the local log, so that the index is to be asked.
    async fn try_tail(&mut self) -> Result<bool, FollowError> {
        let wanted = self.tail && self.tail_after.is_none_or(|after| Instant::now() >= after);
        if !wanted {
            return Ok(false);
        }
        let (number, offset, sha224) = {
            let log = self.shared.log();
            match log.pieces().last() {
                Some(last) => {
                    let number =
                        u32::try_from(log.pieces().len() - 1).expect("numbers are 32 bits long");
                    (number, last.len(), last.sha224())
                }
                None => (0, 0, crate::log::Sha224Hex::of(b"")),
            }
        };
        self.count();
        match self.client.tail(number, offset, sha224).await? {
            Tail::None => {
                self.tail_after = Some(Instant::now() + NO_TAIL);
                Ok(false)
            }
            Tail::Elsewhere => {
                self.follower.ask_at_once();
                Ok(false)
            }
            Tail::Open(stream) => {
                self.shared.status.send_modify(|status| {
                    (status.connected, status.tailing, status.failures) = (true, true, 0);
                });
                let read = self.read_tail(stream).await;
                self.shared
                    .status
                    .send_modify(|status| status.tailing = false);
                // Whatever ended it, the index tells what is to be done.
                self.follower.ask_at_once();
                read.map(|()| true)
            }
        }
    }

    async fn read_tail(&mut self, mut stream: Box<Stream>) -> Result<(), FollowError> {
        let mut events = EventReader::new();
        while let Some(bytes) = stream.next().await? {
            events.feed(&bytes);
            while let Some(batch) = events.next_append()? {
                let mut log = self.shared.log();
                let fits = self.follower.tail(&mut log, &batch);
                let end = log.end();
                drop(log);
                if !fits.map_err(crate::netlog::Refusal::Local)? {
                    return Ok(());
                }
                self.shared.changed(end);
                let received = batch.records.len() as u64;
                self.shared
                    .status
                    .send_modify(|status| status.received += received);
            }
        }
        Ok(())
    }
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let more = next.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = next.source();
    }
    text
}
