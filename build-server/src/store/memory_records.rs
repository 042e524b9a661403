//! Rows in memory beside an event log that is somewhere else.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use build_core::Result;
use build_core::event::{KindSet, Recorded, Seq};
use build_core::ids::{BuildId, BuilderName, RepoName, SessionId, StepName};

use super::memory::MemoryStore;
use super::{
    BoardFilter, BoardPage, BoardPlace, BoardRecords, BuildFilter, BuildPage, BuildRecords,
    EventLog, KnownRepo, Records, SessionRecords, TestRecords,
};
use crate::record::{BuildRow, SessionRow, Tested, Timing};

/// Events folded at a time.
const FOLD_EVENTS: usize = 4096;

/// The rows of an event log that somebody brings, folded anew in each process: for logs as long as
/// memory holds. They go on with what a [`super::Ledger`] appends.
pub struct MemoryRecords {
    events: Arc<dyn EventLog>,
    rows: MemoryStore,
    upto: Mutex<Seq>,
}

impl MemoryRecords {
    /// The rows of everything in `events` so far.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn of(events: Arc<dyn EventLog>) -> Result<Self> {
        let records = Self {
            events,
            rows: MemoryStore::default(),
            upto: Mutex::default(),
        };
        records.rebuild().await?;
        Ok(records)
    }

    fn put(&self, upto: Seq) {
        *self.upto.lock().unwrap_or_else(PoisonError::into_inner) = upto;
    }
}

#[async_trait]
impl Records for MemoryRecords {
    async fn position(&self) -> Result<Seq> {
        Ok(*self.upto.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn fold(&self, events: &[Recorded], upto: Seq) -> Result<()> {
        self.rows.fold_beside(events);
        self.put(upto);
        Ok(())
    }

    async fn rebuild(&self) -> Result<()> {
        let (anew, mut after) = (MemoryStore::default(), Seq(0));
        loop {
            let page = self
                .events
                .read(&KindSet::all(), after, FOLD_EVENTS)
                .await?;
            if page.upto == after {
                break;
            }
            anew.fold_beside(&page.items);
            after = page.upto;
        }
        self.rows.take_rows_of(anew);
        self.put(after);
        Ok(())
    }
}

#[async_trait]
impl BuildRecords for MemoryRecords {
    async fn build(&self, id: &BuildId) -> Result<Option<BuildRow>> {
        self.rows.build(id).await
    }

    async fn builds(
        &self,
        which: &BuildFilter,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<BuildPage> {
        self.rows.builds(which, before, limit).await
    }

    async fn open(&self) -> Result<Vec<BuildRow>> {
        self.rows.open().await
    }
}

#[async_trait]
impl BoardRecords for MemoryRecords {
    async fn board(
        &self,
        which: &BoardFilter,
        before: Option<BoardPlace>,
        limit: usize,
    ) -> Result<BoardPage> {
        self.rows.board(which, before, limit).await
    }

    async fn repos(&self) -> Result<Vec<KnownRepo>> {
        self.rows.repos().await
    }
}

#[async_trait]
impl SessionRecords for MemoryRecords {
    async fn session(&self, id: &SessionId) -> Result<Option<SessionRow>> {
        self.rows.session(id).await
    }

    async fn open_sessions(&self) -> Result<Vec<SessionRow>> {
        self.rows.open_sessions().await
    }
}

#[async_trait]
impl TestRecords for MemoryRecords {
    async fn timings(
        &self,
        repo: &RepoName,
        builder: &BuilderName,
        step: &StepName,
        limit: usize,
    ) -> Result<Vec<Timing>> {
        self.rows.timings(repo, builder, step, limit).await
    }

    async fn tested(
        &self,
        repo: &RepoName,
        builder: &BuilderName,
        step: &StepName,
        before: Seq,
        limit: usize,
    ) -> Result<Vec<Tested>> {
        self.rows.tested(repo, builder, step, before, limit).await
    }
}
