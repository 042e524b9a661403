//! The mutation log: records, the files that hold them, reading and writing.
//!
//! A log is a sequence of records, cut into *segments* (files). Positions are
//! counted in bytes over the whole log ([`LogPosition`]), so they are the same
//! however the log is cut. Format: `docs/protocol/reclog.md`.
//!
//! ```
//! use maintner_core::log::{LogFolder, LogWriter, Records};
//!
//! let dir = tempfile::tempdir()?;
//! let mut writer = LogWriter::open(dir.path())?;
//! let end = writer.append(&[b"", b"payload"])?;
//! assert_eq!(end.bytes(), 8 + 8 + 7);
//!
//! let folder = LogFolder::open(dir.path())?;
//! let bytes = folder.segments()[0].load()?;
//! let lengths: Vec<usize> = Records::new(&bytes).map(|r| r.map(|r| r.payload().len())).collect::<Result<_, _>>()?;
//! assert_eq!(lengths, [0, 7]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod folder;
mod lock;
mod position;
mod reader;
mod record;
mod recover;
mod segment;
mod writer;

pub use folder::LogFolder;
pub use lock::LogLock;
pub use position::LogPosition;
pub use reader::{LogReader, Stop};
pub use record::{
    DEFAULT_MAX_PAYLOAD, HeaderParse, MAX_HEADER, Record, RecordError, RecordHeader, Records,
    encode_record, fuzz_records,
};
pub use recover::{Recovery, Tail, recover, repair};
pub use segment::{BadSha224, Segment, SegmentData, SegmentName, Sha224Hex, fuzz_segment_name};
pub use writer::{Layout, LogWriter, WriterOptions};
