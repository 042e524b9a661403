//! Following a log server: a [`NetworkSource`] is the server's log, as near as the network lets
//! it be.
//!
//! A task asks the server's index, fetches what is lacking into a [`LocalLog`] in memory or in
//! a folder, and then either reads the server's tail (milliseconds behind) or, where there is
//! none, holds a long poll open. Every wait is bounded, failures are retried with growing
//! pauses that differ from follower to follower, and what was fetched is never fetched again.
//! When the server's history turns out to be another one, the local log goes back to where both
//! agree, and with it every corpus over it.
//!
//! ```no_run
//! # async fn example() -> Result<(), maintner_core::Error> {
//! use maintner_core::net::{NetworkSource, Options};
//! use maintner_core::Corpus;
//!
//! let options = Options::new("https://maintner.example.org/logs").cache("/var/cache/corpus");
//! let source = NetworkSource::spawn(options)?;
//! source.ready().await?;
//! let corpus = Corpus::load(source, maintner_core::Options::default())?;
//! # Ok(())
//! # }
//! ```
//!
//! [`LocalLog`]: crate::netlog::LocalLog

mod client;
mod error;
mod options;
mod pause;
mod source;
mod task;
mod watch;

#[cfg(feature = "grpc")]
pub(crate) use client::tls;
pub use error::FollowError;
pub use options::Options;
pub use source::{NetworkSource, Ready, Status};
pub use task::FollowTask;
pub use watch::{Seen, Watch};
