//! Integration tests: one program, one module for each subject.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod acceptance;
mod corpus;
mod damage;
mod follow;
#[cfg(feature = "git")]
mod git;
mod go_interop;
mod go_live;
mod net;
mod oracle;
mod reference;
mod serve;
mod simulate;
#[cfg(feature = "github")]
mod fake_github;
#[cfg(feature = "git")]
mod git;
mod go_interop;
mod made_git;
mod oracle;
#[cfg(feature = "github")]
mod recorded;
mod reference;
#[cfg(feature = "git")]
mod sync_git;
#[cfg(feature = "github")]
mod sync_github;
#[cfg(all(feature = "git", feature = "github"))]
mod sync_sim;
