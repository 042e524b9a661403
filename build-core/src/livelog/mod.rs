//! A log that is written once and read by many while it grows, of any size.
//!
//! One [`LogWriter`] appends; any number of [`LogReader`]s each see everything from where they begin,
//! however late they join, and wait for more until the log is finished, they are closed or their time
//! is up. The text lives in a file (or in memory while it is small, see [`Options`]), readers read it
//! at their own pace, and nothing is kept for a reader: one that never reads costs the writer nothing.
//!
//! Line numbers are found by an index that is written together with the text (see `index`), so that
//! line 50,000,000 of a 10 GB log is as near as line 1.
//!
//! No runtime: waiting is a [`Waker`](std::task::Waker), for tasks and for threads alike.
//!
//! ```
//! use std::time::Duration;
//! use build_core::livelog::{LogWriter, Options, Position};
//! let mut writer = LogWriter::in_memory(Options::default());
//! let mut reader = writer.log().reader(Position::Start)?;
//! writer.append(b"first\nsecond\n")?;
//! let log = writer.finish()?;
//! let mut text = Vec::new();
//! reader.read_to_end(&mut text, Duration::from_secs(1))?;
//! assert_eq!(text, b"first\nsecond\n");
//! assert_eq!(log.offset_of_line(1)?, Some(6));
//! # Ok::<(), std::io::Error>(())
//! ```

mod cap;
mod index;
mod last_piece;
mod log;
mod reader;
mod text;
mod waiters;
mod writer;

pub use log::{LiveLog, Position};
pub use reader::{Closer, LogReader};
pub use writer::{LogWriter, Options};
