//! The event log of a farm: as a feed, and as a place for memos.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use build_core::Result;
use build_core::event::{Batch, KindSet, Memo, MemoKey, Recorded, Seq};
use build_core::reader::Cursor;

use super::feed::{Feed, FeedPage};
use super::memos::Memos;
use crate::store::{EventLog, Ledger};

/// Pause after a failure to wait for news.
const AFTER_ERROR: Duration = Duration::from_secs(1);

/// The events of some kinds of streams, in order, packed or not.
#[derive(Clone)]
pub struct LogFeed {
    events: Arc<dyn EventLog>,
    kinds: KindSet,
}

impl LogFeed {
    /// The events of these kinds.
    pub fn new(events: Arc<dyn EventLog>, kinds: KindSet) -> Self {
        Self { events, kinds }
    }
}

#[async_trait]
impl Feed for LogFeed {
    type Item = Recorded;

    async fn after(&self, at: &Cursor, limit: usize, bytes: usize) -> Result<FeedPage<Recorded>> {
        let page = self.events.read(&self.kinds, Seq(at.at), limit).await?;
        let mut items = Vec::with_capacity(page.items.len());
        let mut room = bytes;
        let mut next = page.upto;
        for event in page.items {
            let size = event.body.get().len();
            if size > room && !items.is_empty() {
                next = items
                    .last()
                    .map_or(next, |(end, _): &(Cursor, _)| Seq(end.at));
                break;
            }
            room = room.saturating_sub(size);
            items.push((Cursor::at(event.seq.0), event));
        }
        let head = self.events.head().await?;
        Ok(FeedPage {
            items,
            next: Cursor::at(next.0),
            is_last: next >= head,
            is_reset: false,
        })
    }

    async fn end(&self) -> Result<Cursor> {
        Ok(Cursor::at(self.events.head().await?.0))
    }

    async fn changed(&self, at: &Cursor) {
        while let Err(error) = self.events.longer(Seq(at.at)).await {
            tracing::warn!(error = error.chain(), "cannot wait for new events");
            tokio::time::sleep(AFTER_ERROR).await;
        }
    }
}

/// Memos in the log of a farm, written through its ledger.
#[derive(Clone)]
pub struct LedgerMemos(Ledger);

impl LedgerMemos {
    /// Memos beside the events of a farm.
    pub fn new(ledger: &Ledger) -> Self {
        Self(ledger.client())
    }
}

#[async_trait]
impl Memos for LedgerMemos {
    async fn load(&self, prefixes: &[MemoKey]) -> Result<Vec<Memo>> {
        let mut found = Vec::new();
        for prefix in prefixes {
            found.extend(self.0.events().memos(prefix).await?);
        }
        Ok(found)
    }

    async fn save(&self, memos: Vec<Memo>) -> Result<()> {
        let batch = Batch {
            memos,
            ..Batch::default()
        };
        self.0.append(batch).await.map(drop)
    }
}
