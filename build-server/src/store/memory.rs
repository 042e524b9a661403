//! The event log and its rows in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use build_core::event::{NewEvent, Recorded, Seq};
use build_core::ids::{BuildId, BuilderName, RepoName, StepName};
use build_core::{Error, ErrorKind, Result};

use super::board;
use super::{
    BoardFilter, BoardPage, BoardPlace, BuildFilter, EventLog, BuildPage, KnownRepo, Records,
};
use crate::record::{BuildRow, SessionRow, Tested, Timing};

/// Events and rows that are forgotten with the process.
#[derive(Default)]
pub struct MemoryStore {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    events: Vec<Recorded>,
    by_build: HashMap<BuildId, Vec<usize>>,
    rows: Rows,
}

#[derive(Default)]
struct Rows {
    builds: BTreeMap<Seq, BuildRow>,
    numbers: HashMap<BuildId, Seq>,
    timings: Vec<(Seq, Timing)>,
    sessions: BTreeMap<Seq, SessionRow>,
    tested: Vec<Tested>,
}

impl Rows {
    fn apply(&mut self, recorded: &Recorded) {
        if recorded.build.is_session() {
            return self.apply_to_session(recorded);
        }
        match self.numbers.get(&recorded.build) {
            None => {
                if let Some(row) = BuildRow::begin(recorded) {
                    self.numbers.insert(row.id.clone(), row.number);
                    self.builds.insert(row.number, row);
                }
            }
            Some(number) => {
                if let Some(row) = self.builds.get_mut(number) {
                    row.apply(recorded);
                    self.timings
                        .extend(row.timing(recorded).map(|timing| (*number, timing)));
                    self.tested.extend(row.tested(recorded));
                }
            }
        }
        self.tell_first(&recorded.build);
    }

    /// A build that runs another one again changes that one's row.
    fn tell_first(&mut self, build: &BuildId) {
        let row = |id: &BuildId| self.numbers.get(id).copied();
        let again = row(build).and_then(|number| self.builds.get(&number));
        let Some((first, rerun)) = again.and_then(BuildRow::as_rerun) else {
            return;
        };
        if let Some(first) = row(first).and_then(|number| self.builds.get_mut(&number)) {
            first.rerun = Some(rerun);
        }
    }

    fn apply_to_session(&mut self, recorded: &Recorded) {
        match self.numbers.get(&recorded.build) {
            Some(number) => {
                if let Some(row) = self.sessions.get_mut(number) {
                    row.apply(recorded);
                }
            }
            None => {
                if let Some(row) = SessionRow::begin(recorded) {
                    self.numbers.insert(row.id.clone(), row.number);
                    self.sessions.insert(row.number, row);
                }
            }
        }
    }

    fn is_open(&self, build: &BuildId) -> bool {
        let Some(number) = self.numbers.get(build) else {
            return false;
        };
        match build.is_session() {
            true => self.sessions.get(number).is_some_and(SessionRow::is_open),
            false => self.builds.get(number).is_some_and(BuildRow::is_open),
        }
    }
}

impl State {
    fn push(&mut self, recorded: Recorded) {
        self.rows.apply(&recorded);
        let at = self.events.len();
        self.by_build
            .entry(recorded.build.clone())
            .or_default()
            .push(at);
        self.events.push(recorded);
    }

    fn head(&self) -> Seq {
        Seq(self.events.len() as u64)
    }
}

impl MemoryStore {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn fenced(expected: Seq, head: Seq) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!(
            "the event log ends at {}, not at {}: another coordinator writes to it",
            head.0, expected.0
        ),
    )
}

#[async_trait]
impl EventLog for MemoryStore {
    async fn append(&self, expected: Seq, batch: Vec<NewEvent>) -> Result<Seq> {
        let mut state = self.state();
        if state.head() != expected {
            return Err(fenced(expected, state.head()));
        }
        for NewEvent { at, build, event } in batch {
            let seq = Seq(state.head().0 + 1);
            state.push(Recorded {
                seq,
                at,
                build,
                event,
            });
        }
        Ok(state.head())
    }

    async fn head(&self) -> Result<Seq> {
        Ok(self.state().head())
    }

    async fn read(&self, after: Seq, limit: usize) -> Result<Vec<Recorded>> {
        let state = self.state();
        let from = usize::try_from(after.0).unwrap_or(usize::MAX);
        Ok(state
            .events
            .iter()
            .skip(from)
            .take(limit)
            .cloned()
            .collect())
    }

    async fn read_build(
        &self,
        build: &BuildId,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Recorded>> {
        let state = self.state();
        let places = state.by_build.get(build).map_or(&[][..], Vec::as_slice);
        let events = places.iter().map(|&at| &state.events[at]);
        let wanted = events.filter(|e| e.seq > after).take(limit);
        Ok(wanted.cloned().collect())
    }

    async fn read_open(&self) -> Result<Vec<Recorded>> {
        let state = self.state();
        let open = state.events.iter();
        let open = open.filter(|event| state.rows.is_open(&event.build));
        Ok(open.cloned().collect())
    }
}

#[async_trait]
impl Records for MemoryStore {
    async fn build(&self, id: &BuildId) -> Result<Option<BuildRow>> {
        let state = self.state();
        let number = state.rows.numbers.get(id);
        Ok(number.and_then(|n| state.rows.builds.get(n)).cloned())
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
        let builds: Vec<_> = wanted.by_ref().take(limit.max(1)).cloned().collect();
        let next = wanted.next().and(builds.last().map(|row| row.number));
        Ok(BuildPage { builds, next })
    }

    async fn open(&self) -> Result<Vec<BuildRow>> {
        let state = self.state();
        let open = state.rows.builds.values().filter(|row| row.is_open());
        Ok(open.cloned().collect())
    }

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
        Ok(board::page(lines, limit.max(1)))
    }

    async fn repos(&self) -> Result<Vec<KnownRepo>> {
        let state = self.state();
        let items = state.rows.builds.values().map(|row| &row.item);
        Ok(board::repos(items.filter(|item| !item.worktree)))
    }

    async fn session(&self, id: &BuildId) -> Result<Option<SessionRow>> {
        let state = self.state();
        let number = state.rows.numbers.get(id);
        Ok(number.and_then(|n| state.rows.sessions.get(n)).cloned())
    }

    async fn open_sessions(&self) -> Result<Vec<SessionRow>> {
        let state = self.state();
        let open = state.rows.sessions.values().filter(|row| row.is_open());
        Ok(open.cloned().collect())
    }

    async fn timings(
        &self,
        repo: &RepoName,
        builder: &BuilderName,
        step: &StepName,
        limit: usize,
    ) -> Result<Vec<Timing>> {
        let state = self.state();
        let is_of = |number: &Seq| {
            let row = state.rows.builds.get(number);
            row.is_some_and(|row| row.item.repo == *repo && row.builder == *builder)
        };
        let newest_first = state.rows.timings.iter().rev();
        let wanted = newest_first.filter(|(number, timing)| timing.step == *step && is_of(number));
        Ok(wanted.take(limit).map(|(_, t)| t.clone()).collect())
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
        let is_of = |tested: &&Tested| {
            let row = state.rows.builds.get(&tested.number);
            row.is_some_and(|row| row.item.repo == *repo && row.builder == *builder)
        };
        let newest_first = state.rows.tested.iter().rev();
        let wanted = newest_first.filter(|t| t.step == *step && t.number < before);
        Ok(wanted.filter(is_of).take(limit).cloned().collect())
    }

    async fn rebuild(&self) -> Result<()> {
        let mut state = self.state();
        let mut rows = Rows::default();
        state.events.iter().for_each(|event| rows.apply(event));
        state.rows = rows;
        Ok(())
    }
}
