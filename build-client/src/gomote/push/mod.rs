//! A tree of files brought to a machine: only what differs is sent.
//!
//! ```text
//! local tree  -> Local (names, SHA-1)  \
//!                                       plan -> Plan { delete, send } -> one removal, one archive
//! the machine -> one listing           /
//! ```
//!
//! A tree that is there already costs one listing, and nothing is sent. What Git ignores is
//! neither sent nor removed; Git is asked in one go, and given a time to answer.

mod cache;
mod ignored;
mod local;
mod plan;
mod send;

pub use cache::DigestCache;
pub use ignored::Ignored;
pub use local::{Local, LocalFile};
pub use plan::{Plan, Profile, plan};
pub use send::{Pushed, apply, look};
