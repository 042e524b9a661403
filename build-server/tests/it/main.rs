//! Integration tests of the servers: one binary, one module for each story.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod go_interop;
#[cfg(feature = "sim")]
mod seeds;
#[cfg(feature = "sqlite")]
mod store;
