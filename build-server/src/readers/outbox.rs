//! What readers have to do, for people who look and decide.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use build_core::clock::Timestamp;
use build_core::event::Memo;
use build_core::ids::{EffectKey, ReaderName};
use build_core::reader::{Entry, Kept, Machine, Place};
use build_core::report::{OutboxEntry, ReaderStatus};
use build_core::{Error, ErrorKind, Result};
use tokio::sync::{mpsc, oneshot, watch};

pub(super) fn status(machine: &Machine) -> ReaderStatus {
    let entries = machine.entries().map(OutboxEntry::from).collect();
    ReaderStatus::new(machine.name().clone(), machine.place(), entries)
}

/// The readers that left these memos, in order of their names: for a farm that does not run.
///
/// # Errors
/// When a memo cannot be read.
pub fn statuses(memos: &[Memo]) -> Result<Vec<ReaderStatus>> {
    let mut places: BTreeMap<ReaderName, Place> = BTreeMap::new();
    let mut entries: BTreeMap<ReaderName, Vec<Entry>> = BTreeMap::new();
    for memo in memos {
        let mut parts = memo.key.as_str().splitn(3, '/').skip(1);
        let name = parts.next().and_then(|name| ReaderName::new(name).ok());
        match (Kept::decode(memo)?, name) {
            (Some(Kept::Place(place)), Some(name)) => {
                places.insert(name, place);
            }
            (Some(Kept::Entry(entry)), Some(name)) => {
                entries.entry(name).or_default().push(*entry);
            }
            _ => {}
        }
    }
    let status = |(name, place): (ReaderName, Place)| {
        let mut entries = entries.remove(&name).unwrap_or_default();
        entries.sort_by_key(|entry| (entry.state.as_str() == "given up", entry.nth));
        let entries = entries.iter().map(OutboxEntry::from).collect();
        ReaderStatus::new(name, &place, entries)
    };
    Ok(places.into_iter().map(status).collect())
}

/// A question to a reader that runs.
pub(super) enum Request {
    Status(oneshot::Sender<ReaderStatus>),
    Retry {
        key: Option<EffectKey>,
        until: Timestamp,
        answer: oneshot::Sender<Result<usize>>,
    },
    Forget {
        key: EffectKey,
        answer: oneshot::Sender<Result<usize>>,
    },
    Park {
        end: u64,
    },
}

/// The outbox of a reader that runs. Clones are the same.
#[derive(Clone, Debug)]
pub struct Outbox {
    name: ReaderName,
    requests: mpsc::Sender<Request>,
    caught_up: watch::Receiver<bool>,
}

impl Outbox {
    pub(super) fn new(
        name: ReaderName,
        requests: mpsc::Sender<Request>,
        caught_up: watch::Receiver<bool>,
    ) -> Self {
        Self {
            name,
            requests,
            caught_up,
        }
    }

    /// Whose it is.
    pub fn name(&self) -> &ReaderName {
        &self.name
    }

    /// Where the reader is.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when it does not run.
    pub async fn status(&self) -> Result<ReaderStatus> {
        self.ask(Request::Status).await
    }

    /// Tries again what was given up, until `until`: one entry, or all of them, and then a reader
    /// that had stopped reads on. Answers how many.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when no such entry was given up, [`ErrorKind::Unavailable`] when
    /// the reader does not run.
    pub async fn retry(&self, key: Option<EffectKey>, until: Timestamp) -> Result<usize> {
        self.ask(|answer| Request::Retry { key, until, answer })
            .await?
    }

    /// Forgets an entry that was given up.
    ///
    /// # Errors
    /// As [`Outbox::retry`].
    pub async fn forget(&self, key: EffectKey) -> Result<usize> {
        self.ask(|answer| Request::Forget { key, answer }).await?
    }

    /// Tells it that its feed ends at `end`: a reader that has stood for 30 days parks itself.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when it does not run.
    pub async fn park(&self, end: u64) -> Result<()> {
        let sent = self.requests.send(Request::Park { end }).await;
        sent.map_err(|_| self.ended())
    }

    /// Waits until the reader has read everything and nothing is left to do.
    ///
    /// # Errors
    /// [`ErrorKind::TimedOut`] after `patience`, [`ErrorKind::Unavailable`] when it has ended.
    pub async fn caught_up(&self, patience: Duration) -> Result<()> {
        let mut caught_up = self.caught_up.clone();
        let waited = tokio::time::timeout(patience, caught_up.wait_for(|yes| *yes)).await;
        match waited {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(self.ended()),
            Err(_) => {
                let text = format!("reader {} has still something to do", self.name);
                Err(Error::new(ErrorKind::TimedOut, text))
            }
        }
    }

    fn ended(&self) -> Error {
        let text = format!("reader {} does not run", self.name);
        Error::new(ErrorKind::Unavailable, text)
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let sent = self.requests.send(request(answer)).await;
        sent.map_err(|_| self.ended())?;
        answered.await.map_err(|_| self.ended())
    }
}

/// The outboxes of all readers of a program. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Outboxes(Arc<Mutex<BTreeMap<ReaderName, Outbox>>>);

impl Outboxes {
    /// Adds that of a reader.
    pub fn add(&self, outbox: Outbox) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(outbox.name.clone(), outbox);
    }

    /// All of them, in order of the readers' names.
    pub fn all(&self) -> Vec<Outbox> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.values().cloned().collect()
    }

    /// That of a reader.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] naming those that there are.
    pub fn of(&self, reader: &ReaderName) -> Result<Outbox> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(reader).cloned().ok_or_else(|| {
            let known: Vec<&str> = all.keys().map(ReaderName::as_str).collect();
            Error::new(
                ErrorKind::NotFound,
                format!("there is no reader called {reader}"),
            )
            .with_hint(format!("there are {}", known.join(", ")))
        })
    }
}
