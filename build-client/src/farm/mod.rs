//! The API of a farm (`docs/openapi.json`), typed: what there is, what is wanted, and what happens
//! as it happens.
//!
//! ```no_run
//! use build_client::farm::FarmClient;
//! use build_core::report::{LogQuery, NewBuild};
//! use futures::TryStreamExt;
//!
//! # async fn example() -> build_client::Result<()> {
//! let farm = FarmClient::builder("http://localhost:8119").token("…").build()?;
//! let wish = NewBuild { repo: "/home/me/project".into(), ..NewBuild::default() };
//! for build in farm.create(&wish).await?.builds {
//!     let follow = LogQuery { follow: true, ..LogQuery::default() };
//!     let mut output = farm.log(&build.id, &follow).await?;
//!     while let Some(piece) = output.try_next().await? {
//!         print!("{}", String::from_utf8_lossy(&piece));
//!     }
//!     println!("{} {}", build.id, farm.build(&build.id).await?.state);
//! }
//! # Ok(()) }
//! ```
//!
//! `examples/ask_a_farm.rs` is the same against a farm that it starts itself.
//!
//! What a farm refuses is an [`Error`](crate::Error) of the kind, with the sentence and the hint
//! that it said ([`Refusal`](build_core::report::Refusal)). What does not answer, or breaks off, is
//! [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) or
//! [`TimedOut`](crate::ErrorKind::TimedOut).
//!
//! Every call may be dropped: what was asked may then have been done or not. Streams end with what
//! they tell of; one that breaks off ends with an error, and can be asked for again from where it
//! was: a log by its offset, events by the number of the last one.

mod calls;
mod client;
mod sse;
#[cfg(test)]
mod tests;

use std::pin::Pin;

use build_core::report::{Event, TestReport};
use futures::Stream;

pub use client::{FarmClient, FarmClientBuilder};

use crate::Result;

/// Events as they happen.
pub type EventStream = Pin<Box<dyn Stream<Item = Result<Event>> + Send>>;
/// Results of tests, one after another.
pub type TestStream = Pin<Box<dyn Stream<Item = Result<TestReport>> + Send>>;
