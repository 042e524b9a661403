//! The ledger: the only one that appends to the log, for everybody who has something to write.
//!
//! What waits is written in groups, one durable commit each. Clients take turns: one that has much
//! to write does not hold up the others; what one client writes stays in its order.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use build_core::clock::Timestamp;
use build_core::event::{Batch, EventKind, KindSet, Seq, StreamId, Term, Version};
use build_core::{Error, ErrorKind, Result};
use tokio::sync::{OnceCell, oneshot, watch};

use super::log::EventLog;
use super::{Records, again};

/// Events of one commit; more are written by the next one.
const GROUP_EVENTS: usize = 4096;
/// Events that rows beside the log are folded from at a time.
const FOLD_EVENTS: usize = 4096;

/// Through which everybody writes to the log. A clone is the same client; [`Ledger::client`] is
/// another one.
#[derive(Clone)]
pub struct Ledger {
    inner: Arc<Inner>,
    client: u64,
}

struct Inner {
    events: Arc<dyn EventLog>,
    records: Arc<dyn Records>,
    /// Begun once and never again: whoever took over has taken over.
    term: OnceCell<Term>,
    waiting: Mutex<Queue>,
    /// Whoever has it commits for all.
    turn: tokio::sync::Mutex<()>,
    head: watch::Sender<Seq>,
    clients: AtomicU64,
}

/// What waits, of each client in its order.
#[derive(Default)]
struct Queue {
    of_client: BTreeMap<u64, VecDeque<Waiting>>,
    /// Who was served last.
    last: u64,
}

struct Waiting {
    batch: Batch,
    answer: oneshot::Sender<Result<Seq>>,
}

impl Queue {
    /// The next group: a batch of each client in turn, as long as there is room.
    fn take(&mut self) -> Vec<Waiting> {
        let mut group = Vec::new();
        let mut events = 0;
        while events < GROUP_EVENTS && !self.of_client.is_empty() {
            let behind = self.of_client.range(self.last + 1..).next();
            let next = behind.or_else(|| self.of_client.iter().next());
            let Some(client) = next.map(|(client, _)| *client) else {
                break;
            };
            self.last = client;
            let Some(queue) = self.of_client.get_mut(&client) else {
                break;
            };
            let waiting = queue.pop_front();
            if queue.is_empty() {
                self.of_client.remove(&client);
            }
            // Whoever asked may have gone: then it is not written.
            if let Some(waiting) = waiting.filter(|waiting| !waiting.answer.is_closed()) {
                events += waiting.batch.events.len();
                group.push(waiting);
            }
        }
        group
    }
}

/// What tells later whether a batch was written.
struct Trace {
    streams: Vec<Touched>,
}

struct Touched {
    stream: StreamId,
    before: Version,
    after: Version,
    last: Option<(Timestamp, EventKind)>,
}

impl Trace {
    fn of(batch: &Batch) -> Self {
        let touched = |(stream, before): &(StreamId, Version)| {
            let own = batch.events.iter().filter(|event| event.stream == *stream);
            let (mut after, mut last) = (*before, None);
            for event in own {
                after = after.next();
                last = Some((event.at, event.kind.clone()));
            }
            Touched {
                stream: stream.clone(),
                before: *before,
                after,
                last,
            }
        };
        Self {
            streams: batch.expects.iter().map(touched).collect(),
        }
    }
}

impl Ledger {
    /// The ledger of a log. Rows that lie beside the log are folded before anybody hears that it
    /// has grown.
    pub fn new(events: Arc<dyn EventLog>, records: Arc<dyn Records>) -> Self {
        let inner = Inner {
            events,
            records,
            term: OnceCell::new(),
            waiting: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            head: watch::channel(Seq(0)).0,
            clients: AtomicU64::new(0),
        };
        Self {
            inner: Arc::new(inner),
            client: 0,
        }
    }

    /// Another client of the same ledger: it has turns of its own.
    #[must_use]
    pub fn client(&self) -> Self {
        let client = self.inner.clients.fetch_add(1, Ordering::Relaxed) + 1;
        Self {
            inner: self.inner.clone(),
            client,
        }
    }

    /// Begins the term of this ledger, if it has not: every earlier one is refused from then on.
    /// Whoever takes over does so before reading where the others were.
    ///
    /// # Errors
    /// When the log cannot be written; the first append tries again.
    pub async fn begin(&self) -> Result<()> {
        self.inner.term().await.map(|_| ())
    }

    /// Writes a batch durably, all of it or nothing; the answer is the position of its last event.
    ///
    /// When the future is dropped the batch is in the log or not; [`EventLog::heads`] tells.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when a stream is not where the batch expects it, or another
    /// coordinator has taken over. With every other kind of error nothing of the batch is in the
    /// log as far as anybody can tell; if it is all the same, writing it again is a conflict.
    pub async fn append(&self, batch: Batch) -> Result<Seq> {
        let inner = &self.inner;
        let trace = Trace::of(&batch);
        let (answer, mut answered) = oneshot::channel();
        let waiting = Waiting { batch, answer };
        inner.push(self.client, waiting);
        loop {
            tokio::select! {
                biased;
                done = &mut answered => return inner.known(done, &trace).await,
                _turn = inner.turn.lock() => inner.write_group().await,
            }
        }
    }

    /// Where the log ends, as far as this process has written it; rows say what is in it.
    pub fn written(&self) -> watch::Receiver<Seq> {
        self.inner.head.subscribe()
    }

    /// The log, to read.
    pub fn events(&self) -> &Arc<dyn EventLog> {
        &self.inner.events
    }
}

impl Inner {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics while it holds this lock.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, client: u64, waiting: Waiting) {
        let mut queue = self.queue();
        queue
            .of_client
            .entry(client)
            .or_default()
            .push_back(waiting);
    }

    /// Commits the next group and answers each.
    async fn write_group(&self) {
        let group = self.queue().take();
        if group.is_empty() {
            return;
        }
        let (answers, batches): (Vec<_>, Vec<_>) =
            group.into_iter().map(|w| (w.answer, w.batch)).unzip();
        let count = batches.len();
        let results = match self.term().await {
            Ok(term) => self.events.append(term, batches).await,
            Err(error) => (0..count).map(|_| Err(again(&error))).collect(),
        };
        if let Some(head) = results.iter().flatten().max() {
            if let Err(error) = self.fold(*head).await {
                tracing::error!(error = error.chain(), "rows lag behind the event log");
            }
            self.head.send_if_modified(|known| {
                let grows = *known < *head;
                *known = (*head).max(*known);
                grows
            });
        }
        for (answer, result) in answers.into_iter().zip(results) {
            // The caller may have gone; then nobody asks.
            let _ = answer.send(result);
        }
    }

    async fn term(&self) -> Result<Term> {
        let term = self.term.get_or_try_init(|| self.events.begin_term());
        term.await.copied()
    }

    /// Brings rows that lie beside the log up to `head`.
    async fn fold(&self, head: Seq) -> Result<()> {
        let mut after = self.records.position().await?;
        while after < head {
            let page = self
                .events
                .read(&KindSet::all(), after, FOLD_EVENTS)
                .await?;
            if page.upto == after {
                return Ok(());
            }
            self.records.fold(&page.items, page.upto).await?;
            after = page.upto;
        }
        Ok(())
    }

    /// What became of a batch, also when the one who wrote it was given up or could not tell.
    async fn known(
        &self,
        done: std::result::Result<Result<Seq>, oneshot::error::RecvError>,
        trace: &Trace,
    ) -> Result<Seq> {
        let error = match done {
            Ok(Ok(seq)) => return Ok(seq),
            Ok(Err(error)) if error.kind() == ErrorKind::Conflict => return Err(error),
            Ok(Err(error)) => error,
            Err(_) => {
                let text = "writing to the event log was given up by the one who did it for all";
                Error::new(ErrorKind::Unavailable, text)
            }
        };
        let ids: Vec<_> = trace.streams.iter().map(|t| t.stream.clone()).collect();
        // When nobody can tell, it is taken for not written: writing it again is a conflict if
        // it was.
        let Ok(heads) = self.events.heads(&ids).await else {
            return Err(error);
        };
        let mut written = None;
        for (touched, head) in trace.streams.iter().zip(heads) {
            if head.version == touched.before {
                continue;
            }
            match self.is_own(touched, head.version).await {
                Some(seq) => written = written.max(Some(seq)),
                None => {
                    let text = format!(
                        "stream {} was written to by another coordinator",
                        touched.stream
                    );
                    return Err(Error::caused_by(ErrorKind::Conflict, text, error));
                }
            }
        }
        written.ok_or(error)
    }

    /// Where the last event of a batch stands, if a stream has moved by that batch.
    async fn is_own(&self, touched: &Touched, version: Version) -> Option<Seq> {
        let (at, kind) = touched.last.as_ref()?;
        let before = Version(touched.after.0.saturating_sub(1));
        let found = self.events.read_stream(&touched.stream, before, 1).await;
        let found = found.ok()?.into_iter().next()?;
        let is_own = version == touched.after && found.at == *at && found.kind == *kind;
        is_own.then_some(found.seq)
    }
}
