//! The history of a project (git, GitHub, Gerrit) as a log of mutations and as
//! a corpus in memory.
//!
//! [`dump`] prints a corpus for comparison, [`log`] reads and writes the log, [`pb`] are its messages, [`source`] is
//! where a log comes from and goes to. The format is the one of the Go
//! project's maintner, byte for byte: `docs/protocol/reclog.md`.

pub mod dump;
mod error;
#[cfg(feature = "generate")]
pub mod generate;
pub mod log;
pub mod pb;
pub mod source;

pub use error::{Error, Result};
