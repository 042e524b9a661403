//! Readers: who follows facts and acts on them, each effect once, over crashes.
//!
//! [`build_core::reader::Machine`] is the bookkeeping; this is everything around it. A [`Reader`]
//! looks at the items of a [`Feed`] and answers with effects; [`Sink`]s make them; [`Memos`] keep
//! how far the reader is and what is to be done. A [`Follower`] drives all of that:
//!
//! ```
//! use std::sync::Arc;
//! use async_trait::async_trait;
//! use build_core::Result;
//! use build_core::ids::ReaderName;
//! use build_core::reader::{Call, Taken};
//! use build_server::readers::{Feed, Follower, ListFeed, MemoryMemos, Reader, Sink, Made};
//!
//! /// Says every word once.
//! struct Says(ReaderName);
//!
//! #[async_trait]
//! impl Reader for Says {
//!     type Feed = ListFeed<String>;
//!     fn name(&self) -> &ReaderName { &self.0 }
//!     async fn take(&mut self, words: &[String]) -> Result<Taken> {
//!         let effects = words.iter().map(|word| {
//!             build_server::readers::effect(word, "words", "mouth", word)
//!         });
//!         Ok(effects.collect::<Result<Vec<_>>>()?.into())
//!     }
//! }
//!
//! struct Mouth;
//!
//! #[async_trait]
//! impl Sink for Mouth {
//!     async fn make(&self, call: &Call) -> Made {
//!         println!("{}", call.effect.body);
//!         Made::Yes
//!     }
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let feed = ListFeed::default();
//! feed.push("hello".to_owned());
//! let reader = Says(ReaderName::new("says")?);
//! let follower = Follower::new(reader, feed, Arc::new(MemoryMemos::default()))
//!     .sink("mouth".parse()?, Mouth);
//! let outbox = follower.outbox();
//! let stop = tokio_util::sync::CancellationToken::new();
//! let watching = async {
//!     outbox.caught_up(std::time::Duration::from_secs(5)).await?;
//!     stop.cancel();
//!     Ok::<(), build_core::Error>(())
//! };
//! futures::future::try_join(follower.run(stop.clone()), watching).await?;
//! # Ok::<(), build_core::Error>(()) }).unwrap();
//! ```
//!
//! Programs that run alone keep their memos in a file of their own, [`FileMemos`].

#[cfg(feature = "corpus")]
mod corpus;
mod feed;
mod file;
mod follow;
#[cfg(feature = "coordinator")]
mod log;
mod memos;
mod outbox;
mod park;
mod reader;
mod sink;
pub mod sinks;
#[cfg(test)]
mod tests;

#[cfg(feature = "corpus")]
pub use corpus::{CorpusFeed, CorpusItem};
pub use feed::{Feed, FeedPage, ListFeed};
pub use file::FileMemos;
pub use follow::Follower;
#[cfg(feature = "coordinator")]
pub use log::{LedgerMemos, LogFeed};
pub use memos::{MemoryMemos, Memos};
pub use outbox::{Outbox, Outboxes, statuses};
pub use park::{floor, park};
pub use reader::{Reader, effect};
pub use sink::{Made, Sink};
