//! Tests of the real programs: one binary, one module for each story.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod local_pool;
