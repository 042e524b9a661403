//! revdial v2: connections to a machine that nobody can reach, without IO.
//!
//! The machine (the *listener*) opens one control connection to the server (the *dialer*). When
//! the server wants a connection it says so there; the machine opens a new one, asks for it by
//! the path it was given, and after the answer 101 the connection belongs to the server's caller.
//! Bytes on the wire: docs/protocol/revdial.md.
//!
//! [`DialerConn`] and [`ListenerConn`] are the state machines of the two ends of a control
//! connection: bytes and the time go in, events and bytes come out. With the feature `io`, [`io`]
//! runs them over streams.
//!
//! Each wanted connection has a number in its path, which a machine repeats without looking at
//! it. So a connection that comes too late is known as such: it is refused, and never given to
//! whoever waits for another one.
//!
//! ```
//! use std::time::Instant;
//! use build_core::revdial::{ConnPath, DialerConn, DialerId, ListenerConn, ListenerEvent};
//!
//! # fn main() -> Result<(), build_core::revdial::Error> {
//! let now = Instant::now();
//! let mut server = DialerConn::new(DialerId::from_entropy([7; 16]), "/revdial", now);
//! let mut machine = ListenerConn::new(now);
//!
//! let wanted = server.dial(now)?;
//! machine.feed(server.output(), now)?;
//! let Some(ListenerEvent::PickUp(path)) = machine.poll_event() else { panic!("asked for") };
//! // ... the machine connects and asks for `path`; the server sees whose it is:
//! assert_eq!(ConnPath::parse(&path).and_then(|path| path.conn), Some(wanted));
//! assert!(server.pick_up(wanted));
//! assert!(!server.pick_up(wanted), "once");
//! # Ok(()) }
//! ```

mod dialer;
#[cfg(any(test, feature = "testing"))]
mod fuzz;
#[cfg(feature = "io")]
pub mod io;
mod line;
mod listener;
mod outbox;
mod path;

use std::time::Duration;

pub use dialer::{DialerConn, DialerEvent};
#[cfg(any(test, feature = "testing"))]
pub use fuzz::fuzz_control;
pub use line::{LineReader, Message};
pub use listener::{ListenerConn, ListenerEvent};
pub use path::{ConnId, ConnPath, DialerId};

/// The header of a registration that says which revdial the machine speaks.
pub const VERSION_HEADER: &str = "X-Revdial-Version";
/// What stands in it.
pub const VERSION: &str = "2";
/// Longest control line that is sent, line feed included: Go ends the connection at longer ones.
pub const MAX_LINE_SENT: usize = 4096;
/// Longest control line that is accepted.
pub const MAX_LINE: usize = 64 * 1024;
/// Longest path of a connection: one that a machine can repeat with an error in a sent line.
pub const MAX_PATH: usize = 2048;
/// The dialer says that it is there after so long a silence of its own.
pub const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// A listener that hears nothing for so long, three keep-alives, takes the connection for dead.
pub const SILENCE: Duration = Duration::from_secs(95);
/// A peer that takes no bytes for so long is taken for dead.
pub const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// How long a machine tries to fetch a connection before it reports a failure.
pub const PICK_UP_LIMIT: Duration = Duration::from_secs(20);
/// Most connections that are wanted or fetched over one control connection at a time.
pub const MAX_WAITING: usize = 1024;
/// Most bytes that wait to be sent.
const MAX_OUTBOX: usize = 512 * 1024;

/// Why a control connection ended, or a connection was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The control connection ended in order.
    #[error("the control connection is closed")]
    Closed,
    /// The stream of the control connection failed.
    #[error("the control connection failed: {0}")]
    Lost(String),
    /// A line without an end.
    #[error("control line is longer than {limit} bytes")]
    LineTooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// A line that is not a message.
    #[error("control line {shown:?} is not a message: {reason}")]
    BadLine {
        /// The beginning of the line.
        shown: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The dialer has been silent for too long.
    #[error("nothing was heard for {} s", .0.as_secs())]
    Silent(Duration),
    /// The peer takes no bytes.
    #[error("the peer has taken nothing for {} s", .0.as_secs())]
    Stalled(Duration),
    /// Too many connections are wanted at a time.
    #[error("{limit} connections are waited for already")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// The machine could not fetch the connection; its words.
    #[error("the machine could not connect: {0}")]
    PickUpFailed(String),
    /// The fetched connection ended before it could be handed over.
    #[error("the picked-up connection was lost")]
    PickUpLost,
}

#[cfg(test)]
mod tests;
