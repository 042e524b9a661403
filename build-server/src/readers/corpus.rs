//! The log of a corpus as a feed.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use build_core::Result;
use build_core::reader::Cursor;
use maintner_core::{Corpus, Mark, Touch, View};

use super::feed::{Feed, FeedPage};

/// Pause after a failure to read the log.
const AFTER_ERROR: Duration = Duration::from_secs(1);

/// What changes in a corpus. A reader may stay away for as long as it likes: what changed since
/// is read from the log. When the log is not the one that it knows, or it comes for the first
/// time, it gets one item that says that anything may be different.
#[derive(Clone, Debug)]
pub struct CorpusFeed(Corpus);

/// One change of a corpus.
#[derive(Clone, Debug)]
pub struct CorpusItem {
    /// The corpus as it is known now, which may be newer than the change.
    pub view: View,
    /// What the change is about.
    pub touched: BTreeSet<Touch>,
    /// Whether anything may be different; `touched` is empty then.
    pub is_reset: bool,
}

impl CorpusFeed {
    /// The changes of this corpus.
    pub fn new(corpus: Corpus) -> Self {
        Self(corpus)
    }
}

fn cursor(mark: &Mark) -> Cursor {
    Cursor::of(mark.log(), mark.position().bytes())
}

fn mark(cursor: &Cursor) -> Option<Mark> {
    format!("{}-{}", cursor.at, cursor.feed).parse().ok()
}

#[async_trait]
impl Feed for CorpusFeed {
    type Item = CorpusItem;

    async fn after(&self, at: &Cursor, limit: usize, bytes: usize) -> Result<FeedPage<CorpusItem>> {
        let view = self.0.view();
        let since = view.since(mark(at).as_ref(), limit, bytes as u64);
        let item = |touched| CorpusItem {
            view: view.clone(),
            touched,
            is_reset: since.is_reset,
        };
        let next = cursor(&since.upto);
        let items = match since.is_reset {
            true => vec![(next.clone(), item(BTreeSet::new()))],
            false => {
                let records = since.records.iter();
                let items =
                    records.map(|record| (cursor(&record.end), item(record.touched.clone())));
                items.collect()
            }
        };
        Ok(FeedPage {
            items,
            next,
            is_last: since.is_last,
            is_reset: since.is_reset,
        })
    }

    async fn end(&self) -> Result<Cursor> {
        Ok(cursor(&self.0.view().mark()))
    }

    async fn changed(&self, at: &Cursor) {
        // Subscribed first: what comes between the look and the wait is not missed.
        let mut changes = self.0.follow();
        while cursor(&self.0.view().mark()) == *at {
            match changes.next().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    tracing::warn!(%error, "cannot read the log of the corpus");
                    tokio::time::sleep(AFTER_ERROR).await;
                }
                None => return std::future::pending().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use maintner_core::source::{MemoryLog, MutationSink};
    use maintner_core::{Options, pb};

    use super::*;

    fn issue(number: i32) -> pb::Mutation {
        pb::Mutation {
            github_issue: Some(pb::GithubIssueMutation {
                owner: "golang".into(),
                repo: "go".into(),
                number,
                ..pb::GithubIssueMutation::default()
            }),
            ..pb::Mutation::default()
        }
    }

    #[tokio::test]
    async fn a_reader_stands_on_a_corpus() {
        let mut log = MemoryLog::of(&[issue(1)]);
        let corpus = Corpus::load(log.clone(), Options::default()).unwrap();
        let feed = CorpusFeed::new(corpus.clone());
        let first = feed.after(&Cursor::default(), 10, 1 << 20).await.unwrap();
        assert!(first.is_reset && first.items[0].1.is_reset);
        let at = first.next;
        assert_eq!(feed.end().await.unwrap(), at);
        let numbers: Vec<_> = (2..500).map(issue).collect();
        log.append_mutations(&numbers).unwrap();
        feed.changed(&at).await;
        let page = feed.after(&at, 100, 1 << 20).await.unwrap();
        assert!(!page.is_reset && !page.is_last);
        assert_eq!(page.items.len(), 100);
        let last = &page.items[99];
        assert_eq!(last.0, page.next);
        let touch = Touch::Issue {
            owner: "golang".into(),
            repo: "go".into(),
            number: 101,
        };
        assert!(last.1.touched.contains(&touch));
    }
}
