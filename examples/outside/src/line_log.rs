//! An event log of one's own: a text file, a line of JSON for each commit.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Seek, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use build_core::event::{
    Admitted, Batch, KindSet, Memo, MemoKey, Numbering, Page, Recorded, Seq, StreamHead, StreamId, StreamKind, Term,
    Version, ended_term,
};
use build_core::{Error, ErrorKind, Result};
use build_server::store::EventLog;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// What one commit writes.
#[derive(Default, Serialize, Deserialize)]
struct Line {
    term: u64,
    events: Vec<Recorded>,
    closes: Vec<StreamId>,
    memos: Vec<(MemoKey, Option<Vec<u8>>)>,
}

/// The log of a file, held in memory to be read.
pub struct LineLog {
    state: Mutex<State>,
    head: watch::Sender<Seq>,
}

struct State {
    file: File,
    term: Term,
    events: Vec<Recorded>,
    heads: HashMap<StreamId, StreamHead>,
    memos: BTreeMap<MemoKey, Vec<u8>>,
}

impl LineLog {
    /// Opens the file; a line that a crash has cut off was never answered, and is removed.
    pub fn open(path: &Path) -> Result<Self> {
        let mut file = File::options().create(true).truncate(false).read(true).write(true).open(path)?;
        let text = std::fs::read_to_string(path)?;
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        file.set_len(whole as u64)?;
        file.seek(std::io::SeekFrom::End(0))?;
        let mut state =
            State { file, term: Term(0), events: Vec::new(), heads: HashMap::new(), memos: BTreeMap::new() };
        for line in text[..whole].lines() {
            let line = serde_json::from_str(line).map_err(|e| Error::caused_by(ErrorKind::Corrupt, "read a line", e))?;
            state.apply(line);
        }
        let head = watch::channel(state.end()).0;
        Ok(Self { state: Mutex::new(state), head })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn end(&self) -> Seq {
        self.events.last().map_or(Seq(0), |event| event.seq)
    }

    fn apply(&mut self, line: Line) {
        self.term = Term(line.term);
        for event in &line.events {
            let head = StreamHead { version: event.version, is_open: true };
            self.heads.insert(event.stream.clone(), head);
        }
        for stream in &line.closes {
            if let Some(head) = self.heads.get_mut(stream) {
                head.is_open = false;
            }
        }
        self.events.extend(line.events);
        for (key, value) in line.memos {
            match value {
                Some(value) => drop(self.memos.insert(key, value)),
                None => drop(self.memos.remove(&key)),
            }
        }
    }

    /// Durable on return, or not in the file at all.
    fn write(&mut self, line: Line) -> Result<()> {
        let before = self.file.stream_position()?;
        let mut text = serde_json::to_vec(&line).map_err(|e| Error::caused_by(ErrorKind::Bug, "write a line", e))?;
        text.push(b'\n');
        if let Err(error) = self.file.write_all(&text).and_then(|()| self.file.sync_data()) {
            self.file.set_len(before)?;
            self.file.seek(std::io::SeekFrom::Start(before))?;
            return Err(error.into());
        }
        self.apply(line);
        Ok(())
    }

    /// The rules of every log are `Numbering`'s; a group is one line.
    fn append(&mut self, term: Term, group: Vec<Batch>) -> Result<Vec<Result<Seq>>> {
        if term != self.term {
            return Err(ended_term(term, self.term));
        }
        let mut numbering = Numbering::new(self.end(), self.heads.clone());
        let mut line = Line { term: term.0, ..Line::default() };
        let mut answers = Vec::new();
        for batch in group {
            answers.push(numbering.admit(batch).map(|admitted| {
                let Admitted { events, closes, memos, head, .. } = admitted;
                line.events.extend(events);
                line.closes.extend(closes);
                line.memos.extend(memos.into_iter().map(|memo| (memo.key, memo.value.map(|value| value.to_vec()))));
                head
            }));
        }
        self.write(line)?;
        Ok(answers)
    }
}

#[async_trait]
impl EventLog for LineLog {
    async fn begin_term(&self) -> Result<Term> {
        let mut state = self.state();
        let term = state.term.0 + 1;
        state.write(Line { term, ..Line::default() })?;
        Ok(Term(term))
    }

    async fn append(&self, term: Term, group: Vec<Batch>) -> Vec<Result<Seq>> {
        let count = group.len();
        let mut state = self.state();
        let answers = state.append(term, group);
        self.head.send_replace(state.end());
        answers.unwrap_or_else(|error| {
            let again = |_| Err(Error::new(error.kind(), error.chain()));
            (0..count).map(again).collect()
        })
    }

    async fn head(&self) -> Result<Seq> {
        Ok(self.state().end())
    }

    async fn heads(&self, of: &[StreamId]) -> Result<Vec<StreamHead>> {
        let state = self.state();
        Ok(of.iter().map(|id| state.heads.get(id).copied().unwrap_or_default()).collect())
    }

    async fn read_stream(&self, of: &StreamId, after: Version, limit: usize) -> Result<Vec<Recorded>> {
        let state = self.state();
        let wanted = state.events.iter().filter(|event| event.stream == *of && event.version > after);
        Ok(wanted.take(limit).cloned().collect())
    }

    async fn read_open(&self, kinds: &[StreamKind]) -> Result<Vec<Recorded>> {
        let state = self.state();
        let is_open = |stream: &StreamId| state.heads.get(stream).is_some_and(|head| head.is_open);
        let wanted = state.events.iter().filter(|e| is_open(&e.stream) && kinds.contains(&e.stream.kind()));
        Ok(wanted.cloned().collect())
    }

    async fn read(&self, kinds: &KindSet, after: Seq, limit: usize) -> Result<Page<Recorded>> {
        let state = self.state();
        let mut page = Page { items: Vec::new(), upto: after };
        let from = state.events.partition_point(|event| event.seq <= after);
        for event in &state.events[from..] {
            if page.items.len() >= limit {
                break;
            }
            page.upto = event.seq;
            if kinds.contains_stream(&event.stream) {
                page.items.push(event.clone());
            }
        }
        Ok(page)
    }

    async fn longer(&self, than: Seq) -> Result<Seq> {
        let mut head = self.head.subscribe();
        let grown = head.wait_for(|head| *head > than).await;
        grown.map(|head| *head).map_err(|e| Error::caused_by(ErrorKind::Unavailable, "wait for the log", e))
    }

    async fn memos(&self, prefix: &MemoKey) -> Result<Vec<Memo>> {
        let state = self.state();
        let same = state.memos.iter().filter(|(key, _)| key.begins_with(prefix));
        Ok(same.map(|(key, value)| Memo::set(key.clone(), value.clone())).collect())
    }
}
