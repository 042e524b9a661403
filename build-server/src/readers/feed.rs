//! What readers read.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use build_core::Result;
use build_core::reader::Cursor;
use tokio::sync::watch;

/// A feed of items in order: an event log, the log of a corpus, a service that can be polled.
#[async_trait]
pub trait Feed: Send + Sync + 'static {
    /// One item.
    type Item: Send + Sync;

    /// Items behind `at`, at most `limit` and, but for the first, at most `bytes`; at the
    /// beginning of everything `at` is the default. A page that finds nothing says how far it has
    /// looked, so that the next look begins there.
    ///
    /// Cancel safe. Costs what is read, however much there was before.
    ///
    /// # Errors
    /// When it cannot be read; the caller tries again after a pause.
    async fn after(&self, at: &Cursor, limit: usize, bytes: usize) -> Result<FeedPage<Self::Item>>;

    /// The cursor behind everything there is, where a reader begins that does not want the past.
    ///
    /// # Errors
    /// As [`Feed::after`].
    async fn end(&self) -> Result<Cursor>;

    /// Returns when there may be something behind `at`.
    ///
    /// Cancel safe.
    async fn changed(&self, at: &Cursor);
}

/// Some items of a feed.
#[derive(Clone, Debug)]
pub struct FeedPage<T> {
    /// The items, each with the cursor behind it.
    pub items: Vec<(Cursor, T)>,
    /// The cursor behind everything that was looked at.
    pub next: Cursor,
    /// Whether the feed had no more.
    pub is_last: bool,
    /// Whether the feed begins anew.
    pub is_reset: bool,
}

/// A feed in memory, for tests and examples. Clones are the same feed.
#[derive(Clone, Debug)]
pub struct ListFeed<T> {
    items: Arc<Mutex<Vec<T>>>,
    count: watch::Sender<usize>,
}

impl<T> Default for ListFeed<T> {
    fn default() -> Self {
        Self {
            items: Arc::default(),
            count: watch::channel(0).0,
        }
    }
}

impl<T> ListFeed<T> {
    /// Adds an item.
    pub fn push(&self, item: T) {
        let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        items.push(item);
        self.count.send_replace(items.len());
    }
}

#[async_trait]
impl<T: Clone + Send + Sync + 'static> Feed for ListFeed<T> {
    type Item = T;

    async fn after(&self, at: &Cursor, limit: usize, _bytes: usize) -> Result<FeedPage<T>> {
        let all = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        let from = usize::try_from(at.at).unwrap_or(usize::MAX);
        let new = all.iter().enumerate().skip(from).take(limit);
        let items = new.map(|(nth, item)| (Cursor::at(nth as u64 + 1), item.clone()));
        let items: Vec<_> = items.collect();
        let next = items
            .last()
            .map_or_else(|| at.clone(), |(end, _)| end.clone());
        Ok(FeedPage {
            is_last: next.at >= all.len() as u64,
            is_reset: false,
            items,
            next,
        })
    }

    async fn end(&self) -> Result<Cursor> {
        let all = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Cursor::at(all.len() as u64))
    }

    async fn changed(&self, at: &Cursor) {
        let mut count = self.count.subscribe();
        // The sender lives in this feed.
        let _alive = count.wait_for(|count| *count as u64 > at.at).await;
    }
}
