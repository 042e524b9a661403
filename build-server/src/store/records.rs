//! Rows folded from the log: what pages and questions read.

use async_trait::async_trait;
use build_core::Result;
use build_core::event::{Recorded, Seq};
use build_core::ids::{BuildId, BuilderName, RepoName, SessionId, StepName};
use build_core::name::Name;
use build_core::report::BuildStatus;

use super::{BoardFilter, BoardPage, BoardPlace, KnownRepo};
use crate::record::{BuildRow, SessionRow, Tested, Timing};

/// Which builds to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildFilter {
    /// Only of this repository.
    pub repo: Option<RepoName>,
    /// Only of this branch.
    pub branch: Option<Name>,
    /// Only on this builder.
    pub builder: Option<BuilderName>,
    /// Only of commits that begin so.
    pub commit: Option<String>,
    /// Only in this state.
    pub state: Option<BuildStatus>,
}

impl BuildFilter {
    /// Whether `row` is among them.
    pub fn accepts(&self, row: &BuildRow) -> bool {
        let commit = row.item.commit.as_str();
        self.repo.as_ref().is_none_or(|r| *r == row.item.repo)
            && (self.branch.is_none() || self.branch == row.item.branch)
            && self.builder.as_ref().is_none_or(|b| *b == row.builder)
            && self.commit.as_ref().is_none_or(|c| commit.starts_with(c))
            && self.state.is_none_or(|s| s == row.state)
    }
}

/// A part of a list of builds, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildPage {
    /// The builds.
    pub builds: Vec<BuildRow>,
    /// Give this as `before` to get the next part; `None` when this is the last.
    pub next: Option<Seq>,
}

/// Builds, as pages and questions see them.
#[async_trait]
pub trait BuildRecords: Send + Sync {
    /// One build.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn build(&self, id: &BuildId) -> Result<Option<BuildRow>>;

    /// Builds that were asked for before `before`, newest first, at most `limit` (at least 1 is looked for).
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn builds(
        &self,
        which: &BuildFilter,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<BuildPage>;

    /// Every build that is open, oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn open(&self) -> Result<Vec<BuildRow>>;

    /// Builds that hold machines, or held one and have no result yet, oldest first: as many as
    /// there are machines, however many wait.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn active(&self) -> Result<Vec<BuildRow>> {
        let mut open = self.open().await?;
        open.retain(|row| row.state != BuildStatus::Queued);
        Ok(open)
    }

    /// The oldest `limit` builds that wait for their plan or their first machine, oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn queued(&self, limit: usize) -> Result<Vec<BuildRow>> {
        let mut open = self.open().await?;
        open.retain(|row| row.state == BuildStatus::Queued);
        open.truncate(limit);
        Ok(open)
    }

    /// How many builds wait for their plan or their first machine.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn count_queued(&self) -> Result<usize> {
        Ok(self.queued(usize::MAX).await?.len())
    }
}

/// The dashboard: commits down, builders across.
#[async_trait]
pub trait BoardRecords: Send + Sync {
    /// The commits of a repository before `before`, newest first, at most `limit` (at least 1 is
    /// looked for), each with its latest build on each builder. Builds of uncommitted files are
    /// left out.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn board(
        &self,
        which: &BoardFilter,
        before: Option<BoardPlace>,
        limit: usize,
    ) -> Result<BoardPage>;

    /// Every repository on a board, the one with the newest commit first.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn repos(&self) -> Result<Vec<KnownRepo>>;
}

/// Sessions, as pages and questions see them.
#[async_trait]
pub trait SessionRecords: Send + Sync {
    /// One session.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn session(&self, id: &SessionId) -> Result<Option<SessionRow>>;

    /// Every session that is open, oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn open_sessions(&self) -> Result<Vec<SessionRow>>;
}

/// The past of steps and tests: what estimates and verdicts are made of.
#[async_trait]
pub trait TestRecords: Send + Sync {
    /// The newest `limit` passed runs of a step, newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn timings(
        &self,
        repo: &RepoName,
        builder: &BuilderName,
        step: &StepName,
        limit: usize,
    ) -> Result<Vec<Timing>>;

    /// What runs of a step printed of its tests, in builds that were asked for before `before`:
    /// the newest `limit`, newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn tested(
        &self,
        repo: &RepoName,
        builder: &BuilderName,
        step: &StepName,
        before: Seq,
        limit: usize,
    ) -> Result<Vec<Tested>>;
}

/// The rows folded from the log: every topic, and how far they are.
#[async_trait]
pub trait Records: BuildRecords + BoardRecords + SessionRecords + TestRecords {
    /// How far the log was folded. Rows that are written together with events are always as far
    /// as the log, which is what the default says.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn position(&self) -> Result<Seq> {
        Ok(Seq(u64::MAX))
    }

    /// Folds the next events of the log, which goes on behind `upto`. The default has nothing to
    /// do: its rows are written together with the events.
    ///
    /// # Errors
    /// When the store cannot be written; nothing is folded then.
    async fn fold(&self, events: &[Recorded], upto: Seq) -> Result<()> {
        let _written_with_them = (events, upto);
        Ok(())
    }

    /// Throws all rows away and folds them anew from the log.
    ///
    /// # Errors
    /// When the store cannot be written; the old rows then stay.
    async fn rebuild(&self) -> Result<()>;
}
