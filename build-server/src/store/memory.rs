//! The event log and its rows in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use build_core::Result;
use build_core::event::{
    Batch, KindSet, Memo, MemoKey, Page, Recorded, Seq, StreamHead, StreamId, StreamKind, Term,
    Version,
};
use build_core::ids::{BuildId, BuilderName, RepoName, SessionId, StepName};
use build_core::report::Rerun;
use tokio::sync::watch;

use super::log::EventLog;
use super::memory_log::{LogState, grown};
use super::{
    BoardFilter, BoardPage, BoardPlace, BoardRecords, BuildFilter, BuildPage, BuildRecords,
    KnownRepo, Records, SessionRecords, TestRecords, again, board,
};
use crate::record::{BuildRow, OfStep, RowSink, SessionRow, Tested, Timing, rows};

/// Events and rows that are forgotten with the process.
pub struct MemoryStore {
    state: Mutex<State>,
    head: watch::Sender<Seq>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            head: watch::channel(Seq(0)).0,
        }
    }
}

#[derive(Default)]
struct State {
    log: LogState,
    rows: Rows,
}

#[derive(Default)]
struct Rows {
    builds: BTreeMap<Seq, BuildRow>,
    numbers: HashMap<BuildId, Seq>,
    sessions: BTreeMap<Seq, SessionRow>,
    opened: HashMap<SessionId, Seq>,
    timings: Vec<OfStep<Timing>>,
    tested: Vec<OfStep<Tested>>,
    reruns: HashMap<BuildId, BuildId>,
}

impl RowSink for Rows {
    fn build(&mut self, id: &BuildId, _seen: bool) -> Option<&mut BuildRow> {
        self.builds.get_mut(self.numbers.get(id)?)
    }

    fn add_build(&mut self, row: BuildRow) {
        self.numbers.insert(row.id.clone(), row.number);
        self.builds.insert(row.number, row);
    }

    fn session(&mut self, id: &SessionId) -> Option<&mut SessionRow> {
        self.sessions.get_mut(self.opened.get(id)?)
    }

    fn add_session(&mut self, row: SessionRow) {
        self.opened.insert(row.id.clone(), row.number);
        self.sessions.insert(row.number, row);
    }

    fn add_timing(&mut self, timing: OfStep<Timing>) {
        self.timings.push(timing);
    }

    fn add_tested(&mut self, tested: OfStep<Tested>) {
        self.tested.push(tested);
    }

    fn add_rerun(&mut self, first: &BuildId, again: &BuildId, _number: Seq) {
        self.reruns.insert(first.clone(), again.clone());
    }
}

impl Rows {
    fn row(&self, id: &BuildId) -> Option<&BuildRow> {
        self.builds.get(self.numbers.get(id)?)
    }

    fn rerun_of(&self, first: &BuildId) -> Option<Rerun> {
        let (_, rerun) = self.row(self.reruns.get(first)?)?.as_rerun()?;
        Some(rerun)
    }

    /// A row as it is given away: it knows of the build that runs it again.
    fn whole(&self, row: &BuildRow) -> BuildRow {
        let mut row = row.clone();
        row.rerun = self.rerun_of(&row.id);
        row
    }
}

impl MemoryStore {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Folds events of another log into the rows.
    pub(super) fn fold_beside(&self, events: &[Recorded]) {
        let of_state = &mut self.state().rows;
        events.iter().for_each(|event| rows(of_state, event));
    }

    /// Takes the rows of another one, in the place of its own.
    pub(super) fn take_rows_of(&self, other: Self) {
        let other = other.state.into_inner();
        self.state().rows = other.unwrap_or_else(PoisonError::into_inner).rows;
    }
}

#[async_trait]
impl EventLog for MemoryStore {
    async fn begin_term(&self) -> Result<Term> {
        Ok(self.state().log.begin_term())
    }

    async fn append(&self, term: Term, group: Vec<Batch>) -> Vec<Result<Seq>> {
        let count = group.len();
        let mut state = self.state();
        let State {
            log,
            rows: of_state,
        } = &mut *state;
        let answers = match log.append(term, group) {
            Ok(admitted) => {
                let events = admitted.iter().flatten().flat_map(|batch| &batch.events);
                events.for_each(|event| rows(of_state, event));
                admitted.into_iter().map(|b| b.map(|b| b.head)).collect()
            }
            Err(error) => (0..count).map(|_| Err(again(&error))).collect(),
        };
        self.head.send_replace(state.log.head());
        answers
    }

    async fn head(&self) -> Result<Seq> {
        Ok(self.state().log.head())
    }

    async fn heads(&self, of: &[StreamId]) -> Result<Vec<StreamHead>> {
        Ok(self.state().log.heads(of))
    }

    async fn read_stream(
        &self,
        of: &StreamId,
        after: Version,
        limit: usize,
    ) -> Result<Vec<Recorded>> {
        Ok(self.state().log.read_stream(of, after, limit))
    }

    async fn read_open(&self, kinds: &[StreamKind]) -> Result<Vec<Recorded>> {
        Ok(self.state().log.read_open(kinds))
    }

    async fn read(&self, kinds: &KindSet, after: Seq, limit: usize) -> Result<Page<Recorded>> {
        Ok(self.state().log.read(kinds, after, limit))
    }

    async fn longer(&self, than: Seq) -> Result<Seq> {
        grown(&self.head, than).await
    }

    async fn memos(&self, prefix: &MemoKey) -> Result<Vec<Memo>> {
        Ok(self.state().log.memos(prefix))
    }
}

#[async_trait]
impl BuildRecords for MemoryStore {
    async fn build(&self, id: &BuildId) -> Result<Option<BuildRow>> {
        let state = self.state();
        Ok(state.rows.row(id).map(|row| state.rows.whole(row)))
    }

    async fn builds(
        &self,
        which: &BuildFilter,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<BuildPage> {
        let state = self.state();
        let end = before.unwrap_or(Seq(u64::MAX));
        let newest_first = state.rows.builds.range(..end).rev().map(|(_, row)| row);
        let mut wanted = newest_first.filter(|row| which.accepts(row));
        let builds = wanted.by_ref().take(limit.max(1));
        let builds: Vec<_> = builds.map(|row| state.rows.whole(row)).collect();
        let next = wanted.next().and(builds.last().map(|row| row.number));
        Ok(BuildPage { builds, next })
    }

    async fn open(&self) -> Result<Vec<BuildRow>> {
        let state = self.state();
        let open = state.rows.builds.values().filter(|row| row.is_open());
        Ok(open.map(|row| state.rows.whole(row)).collect())
    }
}

#[async_trait]
impl BoardRecords for MemoryStore {
    async fn board(
        &self,
        which: &BoardFilter,
        before: Option<BoardPlace>,
        limit: usize,
    ) -> Result<BoardPage> {
        let state = self.state();
        let wanted = state.rows.builds.values().filter(|row| {
            let item = &row.item;
            item.repo == which.repo && (which.branch.is_none() || which.branch == item.branch)
        });
        let mut lines = board::fold(wanted);
        lines.retain(|line| before.is_none_or(|before| line.place > before));
        let mut page = board::page(lines, limit.max(1));
        for cell in page
            .lines
            .iter_mut()
            .flat_map(|line| line.cells.values_mut())
        {
            cell.rerun = state.rows.rerun_of(&cell.build);
        }
        Ok(page)
    }

    async fn repos(&self) -> Result<Vec<KnownRepo>> {
        let state = self.state();
        let items = state.rows.builds.values().map(|row| &row.item);
        Ok(board::repos(items.filter(|item| !item.worktree)))
    }
}

#[async_trait]
impl SessionRecords for MemoryStore {
    async fn session(&self, id: &SessionId) -> Result<Option<SessionRow>> {
        let state = self.state();
        let number = state.rows.opened.get(id);
        Ok(number.and_then(|n| state.rows.sessions.get(n)).cloned())
    }

    async fn open_sessions(&self) -> Result<Vec<SessionRow>> {
        let state = self.state();
        let open = state.rows.sessions.values().filter(|row| row.is_open());
        Ok(open.cloned().collect())
    }
}

#[async_trait]
impl TestRecords for MemoryStore {
    async fn timings(
        &self,
        repo: &RepoName,
        builder: &BuilderName,
        step: &StepName,
        limit: usize,
    ) -> Result<Vec<Timing>> {
        let state = self.state();
        let newest_first = state.rows.timings.iter().rev();
        let wanted = newest_first
            .filter(|t| t.told.step == *step && t.repo == *repo && t.builder == *builder);
        Ok(wanted.take(limit).map(|t| t.told.clone()).collect())
    }

    async fn tested(
        &self,
        repo: &RepoName,
        builder: &BuilderName,
        step: &StepName,
        before: Seq,
        limit: usize,
    ) -> Result<Vec<Tested>> {
        let state = self.state();
        let newest_first = state.rows.tested.iter().rev();
        let wanted = newest_first
            .filter(|t| t.told.step == *step && t.repo == *repo && t.builder == *builder)
            .filter(|t| t.told.number < before);
        Ok(wanted.take(limit).map(|t| t.told.clone()).collect())
    }
}

#[async_trait]
impl Records for MemoryStore {
    async fn rebuild(&self) -> Result<()> {
        let mut state = self.state();
        let mut anew = Rows::default();
        let events = state.log.events().iter();
        events.for_each(|event| rows(&mut anew, event));
        state.rows = anew;
        Ok(())
    }
}
