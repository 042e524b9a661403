//! Integration tests: one program, one module for each subject.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod acceptance;
mod corpus;
mod damage;
#[cfg(feature = "git")]
mod git;
mod go_interop;
mod oracle;
mod reference;
