//! Types, protocols and state machines of a build farm.
//!
//! Nothing here does IO, reads a clock or starts a task: the scheduler and the
//! build engine are state machines, the protocols are codecs over bytes, and the
//! seams ([`clock::Clock`], [`buildlet::Buildlet`], [`pool::Pool`],
//! [`schedule::Policy`], [`recipe::Recipe`], [`work::WorkSource`]) are traits
//! that the crates above implement.

pub mod buildlet;
pub mod clock;
pub mod dispatch;
pub mod engine;
pub mod env_list;
pub mod error;
pub mod event;
pub mod h1;
pub mod ids;
pub mod key;
pub mod livelog;
pub mod log_hash;
pub mod plan;
#[cfg(any(test, feature = "testing"))]
pub mod plant;
pub mod pool;
pub mod read_at;
pub mod recipe;
pub mod retry;
pub mod schedule;
pub mod shard;
pub mod tarutil;
pub mod work;

pub use error::{Error, ErrorKind, Result};
