//! Readers: named reconcilers that follow facts and act on them, each effect once.
//!
//! A reader looks at pages of a feed, such as the event log or the log of a corpus, and answers
//! with [`Effect`]s. How far it has read and what follows from that are written in one commit;
//! only then is anything done. The [`Machine`] is the bookkeeping of one reader: no IO, no
//! clock, no randomness. Whoever drives it carries out the [`Step`]s and tells what came of them.
//!
//! ```text
//!           Fetch          Take           Commit                 Call            Commit
//!  feed ------------> page ----> effects ------> durable: trying ----> receiver ------> durable: settled
//!        fetched           taken         committed, trying       made            settled
//! ```
//!
//! The process may die after each word of the last line. What was not committed is read again.
//! What was `trying` is in doubt: an effect that can be looked for ([`How::Probe`]) is asked for
//! first, the others are made again.
//!
//! | State of an entry | Meaning |
//! |---|---|
//! | due | to be made when its turn has come |
//! | trying | about to be made, or made; only the receiver knows |
//! | resting | it failed; tried again later |
//! | given up | refused for good, or still not made when its time was over; kept until somebody decides |
//! | done | made; the entry is removed |
//! | replaced | a newer one of its topic made it superfluous; the entry is removed |
//!
//! ```
//! use build_core::clock::Timestamp;
//! use build_core::ids::ReaderName;
//! use build_core::reader::{Input, Machine, OnPoison, Step};
//!
//! # fn main() -> build_core::Result<()> {
//! let now = Timestamp::from_seconds(1_600_000_000);
//! let name = ReaderName::new("rerun")?;
//! let mut reader = Machine::restore(name, OnPoison::SetAside, &[], now)?;
//! let steps = reader.handle(Input::Changed, now);
//! assert!(matches!(steps[..], [Step::Fetch { .. }]));
//! # Ok(()) }
//! ```

mod calls;
mod commit;
mod effect;
mod entry;
mod feed;
mod input;
mod machine;
mod place;
#[cfg(test)]
mod tests;
#[cfg(any(test, feature = "testing"))]
pub mod trial;

pub use effect::{Effect, How};
pub use entry::{Entry, EntryState};
pub use feed::OnPoison;
pub use input::{Answer, Call, CallKind, Input, Notice, PageEnds, Step, TakeFailure, Taken};
pub use machine::Machine;
pub use place::{Aside, Cursor, Kept, PARK_AFTER, Place, memo_prefixes};

use std::time::Duration;

/// Items of a page at most.
pub const PAGE_ITEMS: usize = 256;
/// Bytes of a page at most, except that one item always fits.
pub const PAGE_BYTES: usize = 1 << 20;
/// No page is read while so many entries are open.
pub const OPEN_ENTRIES: usize = 1_000;
/// No page is read while so many entries were given up and nobody has decided about them.
pub const GIVEN_UP_ENTRIES: usize = 10_000;
/// Effects that may follow from one look at a page at most.
pub const EFFECTS_PER_TAKE: usize = 4_096;
/// The longest body of an effect, in bytes.
pub const BODY_BYTES: usize = 256 << 10;
/// The longest state of a reader, in bytes.
pub const STATE_BYTES: usize = 1 << 20;
/// Calls that one reader makes at a time.
pub const CALLS: usize = 16;
/// How long a cursor that has moved without effects may wait to be written: as much is looked at
/// again after a crash.
pub const CURSOR_EVERY: Duration = Duration::from_secs(60);
/// A receiver may ask for a pause; it is not made longer than this.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(60 * 60);
