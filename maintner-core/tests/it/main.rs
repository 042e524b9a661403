//! Integration tests: one program, one module for each subject.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod acceptance;
mod corpus;
mod damage;
#[cfg(feature = "github")]
mod fake_github;
mod follow;
#[cfg(feature = "git")]
mod git;
mod go_interop;
mod go_live;
mod made_git;
mod net;
mod oracle;
#[cfg(feature = "github")]
mod recorded;
mod reference;
mod serve;
mod simulate;
mod stores;
#[cfg(feature = "git")]
mod sync_git;
#[cfg(feature = "github")]
mod sync_github;
#[cfg(all(feature = "git", feature = "github"))]
mod sync_sim;
