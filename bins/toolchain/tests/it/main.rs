//! The program under each of its names, against a mirror on this machine.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, reason = "tests")]

mod killed;
mod manage;
mod story;
mod versions;
