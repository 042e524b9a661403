//! The log of everything that happened: the only truth.

use async_trait::async_trait;
use build_core::Result;
use build_core::clock::Timestamp;
use build_core::event::{
    Batch, KindSet, Memo, MemoKey, Page, Recorded, Seq, StreamHead, StreamId, StreamKind, Term,
    Version,
};

/// The log of everything that happened.
///
/// A log has one writer at a time, whoever began the newest term; any number of readers beside it.
#[async_trait]
pub trait EventLog: Send + Sync {
    /// Begins a term: appends of every earlier one are refused from then on, in this process and
    /// in any other.
    ///
    /// # Errors
    /// When the log cannot be written.
    async fn begin_term(&self) -> Result<Term>;

    /// Writes a group of batches in one durable commit and answers each, in order: with the
    /// position of its last event, or where the log ended when it has none. A batch whose
    /// expectations are wrong is left out alone; the others are written all or none.
    ///
    /// When the future is dropped the group is in the log or not; [`EventLog::heads`] tells.
    ///
    /// # Errors
    /// [`build_core::ErrorKind::Conflict`] when a stream is not where the batch expects it, or,
    /// for all of them, when `term` has ended. [`build_core::ErrorKind::Limit`] when the disk is
    /// full, [`build_core::ErrorKind::Corrupt`] when the file is damaged.
    async fn append(&self, term: Term, group: Vec<Batch>) -> Vec<Result<Seq>>;

    /// Position of the last event; `Seq(0)` when there is none.
    ///
    /// # Errors
    /// When the log cannot be read.
    async fn head(&self) -> Result<Seq>;

    /// How far each of these streams is, in their order.
    ///
    /// # Errors
    /// When the log cannot be read.
    async fn heads(&self, of: &[StreamId]) -> Result<Vec<StreamHead>>;

    /// At most `limit` events of one stream after `after`, in order, packed or not.
    ///
    /// # Errors
    /// When the log cannot be read.
    async fn read_stream(
        &self,
        of: &StreamId,
        after: Version,
        limit: usize,
    ) -> Result<Vec<Recorded>>;

    /// The events of every open stream of these kinds, in order: what a start folds.
    ///
    /// # Errors
    /// When the log cannot be read.
    async fn read_open(&self, kinds: &[StreamKind]) -> Result<Vec<Recorded>>;

    /// At most `limit` events of these kinds after `after`, in order, packed or not. The page
    /// says how far was looked: of kinds that are rare it may be empty and there is more.
    ///
    /// # Errors
    /// When the log cannot be read.
    async fn read(&self, kinds: &KindSet, after: Seq, limit: usize) -> Result<Page<Recorded>>;

    /// Returns where the log ends once that is behind `than`.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// When the log cannot be read.
    async fn longer(&self, than: Seq) -> Result<Seq>;

    /// Makes a range of events small, the oldest ones of before `before` and not behind `floor`;
    /// answers of how many, 0 when there is none left. They are read as before.
    ///
    /// Cancel safe. The default keeps all as they are.
    ///
    /// # Errors
    /// When the log cannot be written; it is as before then.
    async fn pack(&self, before: Timestamp, floor: Seq) -> Result<usize> {
        let _nothing_to_do = (before, floor);
        Ok(0)
    }

    /// Puts everything in order before this process ends: what a copy of the files needs is in
    /// them. The log is not used afterwards. The default has nothing to do, and without it nothing
    /// is lost.
    ///
    /// # Errors
    /// When the log cannot be written; nothing is lost then either.
    async fn close(&self) -> Result<()> {
        Ok(())
    }

    /// The memos whose keys begin so, in order of their keys.
    ///
    /// # Errors
    /// When the log cannot be read.
    async fn memos(&self, prefix: &MemoKey) -> Result<Vec<Memo>>;
}
