//! Where new mutations come from: the hosts, compared with what the log has.
//!
//! Modules here only produce mutations; they never change a corpus.

#[cfg(feature = "git")]
pub mod git;
