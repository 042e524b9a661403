//! The protocol of the log server, without any IO: what both ends say and how they decide.
//!
//! A server lists its segments ([`Index`]), a follower compares the list with what it
//! has and asks for the bytes that it lacks ([`Follower`]). The shells that
//! speak HTTP are in `net` and `serve`, behind features of these names; a simulation drives the
//! same code without a network. Wire: `docs/protocol/log-server.md`.

mod append;
mod entry;
mod follower;
mod ledger;
mod range;
mod store;

pub use append::{Append, AppendError, EventReader, fuzz_events};
pub use entry::{BadIndex, Entry, Index, fuzz_index};
pub use follower::{Answer, Ask, Follower, News, Refusal};
pub use ledger::{Latest, Ledger, Served, Snapshot};
pub use range::{Ranges, parse_range};
pub use store::{History, LocalLog, Piece};

#[cfg(test)]
mod tests;
