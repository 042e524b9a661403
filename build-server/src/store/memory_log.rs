//! The event log in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use build_core::event::{
    Admitted, Batch, KindSet, Memo, MemoKey, Numbering, Page, Recorded, Seq, StreamHead, StreamId,
    StreamKind, Term, Version, ended_term,
};
use build_core::{Error, ErrorKind, Result};
use bytes::Bytes;
use tokio::sync::watch;

use super::again;
use super::log::EventLog;

/// What a log in memory knows.
#[derive(Default)]
pub(super) struct LogState {
    term: Term,
    events: Vec<Recorded>,
    /// Where the events of each stream are.
    streams: HashMap<StreamId, Vec<usize>>,
    heads: HashMap<StreamId, StreamHead>,
    memos: BTreeMap<MemoKey, Bytes>,
}

impl LogState {
    pub(super) fn begin_term(&mut self) -> Term {
        self.term = Term(self.term.0 + 1);
        self.term
    }

    pub(super) fn head(&self) -> Seq {
        self.events.last().map_or(Seq(0), |event| event.seq)
    }

    /// Writes what may be written and answers each batch; `Err` for all when the term has ended.
    pub(super) fn append(
        &mut self,
        term: Term,
        group: Vec<Batch>,
    ) -> Result<Vec<Result<Admitted>>> {
        if term != self.term {
            return Err(ended_term(term, self.term));
        }
        let mut numbering = Numbering::new(self.head(), std::mem::take(&mut self.heads));
        let admitted: Vec<_> = group.into_iter().map(|b| numbering.admit(b)).collect();
        self.heads = numbering.into_heads();
        for batch in admitted.iter().flatten() {
            for event in &batch.events {
                let places = self.streams.entry(event.stream.clone()).or_default();
                places.push(self.events.len());
                self.events.push(event.clone());
            }
            for Memo { key, value } in batch.memos.iter().cloned() {
                match value {
                    Some(value) => drop(self.memos.insert(key, value)),
                    None => drop(self.memos.remove(&key)),
                }
            }
        }
        Ok(admitted)
    }

    pub(super) fn heads(&self, of: &[StreamId]) -> Vec<StreamHead> {
        let head = |id| self.heads.get(id).copied().unwrap_or_default();
        of.iter().map(head).collect()
    }

    pub(super) fn events(&self) -> &[Recorded] {
        &self.events
    }

    pub(super) fn read_stream(&self, of: &StreamId, after: Version, limit: usize) -> Vec<Recorded> {
        let places = self.streams.get(of).map_or(&[][..], Vec::as_slice);
        let events = places.iter().map(|&at| &self.events[at]);
        let wanted = events.filter(|e| e.version > after).take(limit);
        wanted.cloned().collect()
    }

    pub(super) fn read_open(&self, kinds: &[StreamKind]) -> Vec<Recorded> {
        let is_open = |stream: &StreamId| self.heads.get(stream).is_some_and(|head| head.is_open);
        let open =
            |event: &&Recorded| is_open(&event.stream) && kinds.contains(&event.stream.kind());
        self.events.iter().filter(open).cloned().collect()
    }

    pub(super) fn read(&self, kinds: &KindSet, after: Seq, limit: usize) -> Page<Recorded> {
        let from = self.events.partition_point(|event| event.seq <= after);
        let mut page = Page {
            items: Vec::new(),
            upto: after,
        };
        for event in &self.events[from..] {
            if page.items.len() >= limit {
                break;
            }
            page.upto = event.seq;
            if kinds.contains_stream(&event.stream) {
                page.items.push(event.clone());
            }
        }
        page
    }

    pub(super) fn memos(&self, prefix: &MemoKey) -> Vec<Memo> {
        let from = self.memos.range(prefix.clone()..);
        let same = from.take_while(|(key, _)| key.begins_with(prefix));
        same.map(|(key, value)| Memo::set(key.clone(), value.clone()))
            .collect()
    }
}

/// Waits until a log has grown; an end of the log's process is an error.
pub(super) async fn grown(head: &watch::Sender<Seq>, than: Seq) -> Result<Seq> {
    let mut head = head.subscribe();
    let grown = head.wait_for(|head| *head > than).await;
    grown.map(|seq| *seq).map_err(|_| {
        let text = "the event log was closed";
        Error::new(ErrorKind::Unavailable, text)
    })
}

/// An event log without rows, forgotten with the process.
pub struct MemoryLog {
    state: Mutex<LogState>,
    head: watch::Sender<Seq>,
}

impl Default for MemoryLog {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            head: watch::channel(Seq(0)).0,
        }
    }
}

impl MemoryLog {
    fn state(&self) -> MutexGuard<'_, LogState> {
        // Nothing panics while it holds this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl EventLog for MemoryLog {
    async fn begin_term(&self) -> Result<Term> {
        Ok(self.state().begin_term())
    }

    async fn append(&self, term: Term, group: Vec<Batch>) -> Vec<Result<Seq>> {
        let count = group.len();
        let mut state = self.state();
        let answers = match state.append(term, group) {
            Ok(admitted) => admitted.into_iter().map(|b| b.map(|b| b.head)).collect(),
            Err(error) => (0..count).map(|_| Err(again(&error))).collect(),
        };
        self.head.send_replace(state.head());
        answers
    }

    async fn head(&self) -> Result<Seq> {
        Ok(self.state().head())
    }

    async fn heads(&self, of: &[StreamId]) -> Result<Vec<StreamHead>> {
        Ok(self.state().heads(of))
    }

    async fn read_stream(
        &self,
        of: &StreamId,
        after: Version,
        limit: usize,
    ) -> Result<Vec<Recorded>> {
        Ok(self.state().read_stream(of, after, limit))
    }

    async fn read_open(&self, kinds: &[StreamKind]) -> Result<Vec<Recorded>> {
        Ok(self.state().read_open(kinds))
    }

    async fn read(&self, kinds: &KindSet, after: Seq, limit: usize) -> Result<Page<Recorded>> {
        Ok(self.state().read(kinds, after, limit))
    }

    async fn longer(&self, than: Seq) -> Result<Seq> {
        grown(&self.head, than).await
    }

    async fn memos(&self, prefix: &MemoKey) -> Result<Vec<Memo>> {
        Ok(self.state().memos(prefix))
    }
}
