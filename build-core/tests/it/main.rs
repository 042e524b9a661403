//! The crate from outside: one binary, one module for each story.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

#[cfg(unix)]
mod archives;
