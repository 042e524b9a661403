//! The files (or memory blocks) a log is cut into, and their names.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha224};

use super::LogPosition;
use crate::{Error, Result};

const SUFFIX: &str = ".mutlog";
const DAY_PREFIX: &str = "maintner-";

/// A SHA-224 hash; prints as 56 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha224Hex([u8; 28]);

impl Sha224Hex {
    /// The hash of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self::finish(Sha224::new_with_prefix(bytes))
    }

    /// The hash of everything `reader` yields.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn of_reader(mut reader: impl Read) -> io::Result<Self> {
        let mut hash = Sha224::new();
        let mut buffer = vec![0; 1 << 18];
        loop {
            match reader.read(&mut buffer)? {
                0 => return Ok(Self::finish(hash)),
                n => hash.update(&buffer[..n]),
            }
        }
    }

    /// The raw 28 bytes.
    pub fn as_bytes(&self) -> &[u8; 28] {
        &self.0
    }

    pub(crate) fn finish(hash: Sha224) -> Self {
        Self(hash.finalize().into())
    }

    fn parse(text: &str) -> Option<Self> {
        let lower = text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let mut bytes = [0; 28];
        (lower && hex::decode_to_slice(text, &mut bytes).is_ok()).then_some(Self(bytes))
    }
}

impl fmt::Display for Sha224Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 56];
        hex::encode_to_slice(self.0, &mut digits).expect("56 digits fit in 56 bytes");
        f.write_str(std::str::from_utf8(&digits).expect("hexadecimal digits are ASCII"))
    }
}

impl fmt::Debug for Sha224Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not 56 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("SHA-224 hash is not 56 lower-case hexadecimal digits")]
pub struct BadSha224;

impl std::str::FromStr for Sha224Hex {
    type Err = BadSha224;

    /// Reads 56 lower-case hexadecimal digits.
    fn from_str(text: &str) -> std::result::Result<Self, BadSha224> {
        Self::parse(text).ok_or(BadSha224)
    }
}

impl serde::Serialize for Sha224Hex {
    fn serialize<S: serde::Serializer>(&self, out: S) -> std::result::Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Sha224Hex {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> std::result::Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(input)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The name of a segment's file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SegmentName {
    /// `NNNN.<sha224>.mutlog`: complete, never changes again.
    Frozen {
        /// Number of the segment, from 0.
        number: u32,
        /// Hash of the content.
        sha224: Sha224Hex,
    },
    /// `NNNN.growing.mutlog`: may still be appended to.
    Growing {
        /// Number of the segment, from 0.
        number: u32,
    },
    /// `maintner-<anything>.mutlog`, in practice a day as `YYYY-MM-DD`.
    Day(String),
}

impl SegmentName {
    /// Recognises a file name; `None` for files that are no part of a log.
    pub fn parse(file_name: &str) -> Option<Self> {
        let stem = file_name.strip_suffix(SUFFIX)?;
        if let Some(day) = stem.strip_prefix(DAY_PREFIX) {
            return Some(Self::Day(day.to_owned()));
        }
        let (number, kind) = stem.split_once('.')?;
        if number.len() < 4 || !number.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let number = number.parse().ok()?;
        if kind == "growing" {
            return Some(Self::Growing { number });
        }
        Sha224Hex::parse(kind).map(|sha224| Self::Frozen { number, sha224 })
    }

    /// The segment's number; day files have none.
    pub fn number(&self) -> Option<u32> {
        match self {
            Self::Frozen { number, .. } | Self::Growing { number } => Some(*number),
            Self::Day(_) => None,
        }
    }

    /// The hash that the name promises.
    pub fn sha224(&self) -> Option<Sha224Hex> {
        match self {
            Self::Frozen { sha224, .. } => Some(*sha224),
            Self::Growing { .. } | Self::Day(_) => None,
        }
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frozen { number, sha224 } => write!(f, "{number:04}.{sha224}{SUFFIX}"),
            Self::Growing { number } => write!(f, "{number:04}.growing{SUFFIX}"),
            Self::Day(day) => write!(f, "{DAY_PREFIX}{day}{SUFFIX}"),
        }
    }
}

/// Fuzz entry: any file name is recognised or not without a panic, and a name that was
/// recognised is recognised again as the same when it is written.
pub fn fuzz_segment_name(data: &[u8]) {
    let Some(name) = SegmentName::parse(&String::from_utf8_lossy(data)) else {
        return;
    };
    assert_eq!(SegmentName::parse(&name.to_string()), Some(name));
}

/// Where a segment's bytes are.
#[derive(Debug, Clone)]
pub enum SegmentData {
    /// In a file, which may have grown since the segment was listed. Shared: a list of all
    /// segments is copied for each small update.
    File(Arc<Path>),
    /// In memory.
    Memory(Bytes),
}

/// One piece of a log as it was when the log was listed.
#[derive(Debug, Clone)]
pub struct Segment {
    name: SegmentName,
    base: LogPosition,
    len: u64,
    data: SegmentData,
}

impl Segment {
    /// A segment whose bytes are in the file at `path`, of which the first
    /// `len` bytes belong to the log.
    pub fn file(name: SegmentName, base: LogPosition, len: u64, path: PathBuf) -> Self {
        Self {
            name,
            base,
            len,
            data: SegmentData::File(path.into()),
        }
    }

    /// A segment held in memory.
    pub fn memory(name: SegmentName, base: LogPosition, bytes: Bytes) -> Self {
        Self {
            name,
            base,
            len: bytes.len() as u64,
            data: SegmentData::Memory(bytes),
        }
    }

    /// The name of the segment's file.
    pub fn name(&self) -> &SegmentName {
        &self.name
    }

    /// Position of the segment's first byte.
    pub fn base(&self) -> LogPosition {
        self.base
    }

    /// Bytes in the segment.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the segment has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Position after the segment's last byte.
    pub fn end(&self) -> LogPosition {
        self.base.after(self.len)
    }

    /// Where the bytes are.
    pub fn data(&self) -> &SegmentData {
        &self.data
    }

    /// The file's path; for a segment in memory its name.
    pub fn path(&self) -> PathBuf {
        match &self.data {
            SegmentData::File(path) => path.to_path_buf(),
            SegmentData::Memory(_) => PathBuf::from(self.name.to_string()),
        }
    }

    /// All bytes of the segment.
    ///
    /// # Errors
    /// When the file cannot be read or has become shorter than it was.
    pub fn load(&self) -> Result<Bytes> {
        let path = match &self.data {
            SegmentData::File(path) => path,
            SegmentData::Memory(bytes) => return Ok(bytes.clone()),
        };
        let len = usize::try_from(self.len).map_err(|_| too_big(path))?;
        let mut bytes = vec![0; len];
        let mut file = File::open(path).map_err(Error::io("open", path))?;
        file.read_exact(&mut bytes)
            .map_err(Error::io("read", path))?;
        Ok(bytes.into())
    }

    /// A reader over the segment's bytes from `offset` on.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn reader(&self, offset: u64) -> Result<Box<dyn Read + Send>> {
        use std::io::{Seek, SeekFrom};
        let path = match &self.data {
            SegmentData::File(path) => path,
            SegmentData::Memory(bytes) => {
                return Ok(Box::new(io::Cursor::new(tail(bytes, offset))));
            }
        };
        let mut file = File::open(path).map_err(Error::io("open", path))?;
        file.seek(SeekFrom::Start(offset))
            .map_err(Error::io("seek in", path))?;
        Ok(Box::new(file.take(self.len.saturating_sub(offset))))
    }

    /// Checks the content against the hash in the name, if the name has one.
    ///
    /// # Errors
    /// [`Error::HashMismatch`], or the error of reading.
    pub fn verify(&self) -> Result<()> {
        let Some(wanted) = self.name.sha224() else {
            return Ok(());
        };
        let path = self.path();
        let actual = Sha224Hex::of_reader(self.reader(0)?).map_err(Error::io("read", &path))?;
        if actual == wanted {
            return Ok(());
        }
        Err(Error::HashMismatch {
            path,
            actual: actual.to_string(),
        })
    }
}

fn tail(bytes: &Bytes, offset: u64) -> Bytes {
    let start = usize::try_from(offset).map_or(bytes.len(), |o| o.min(bytes.len()));
    bytes.slice(start..)
}

fn too_big(path: &Path) -> Error {
    let source = io::Error::new(io::ErrorKind::FileTooLarge, "larger than the address space");
    Error::Io {
        action: "read",
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        let hash = "6f999257d6762411f2c5d42c993e824b5bd6b49b56b88769f9f9a63b";
        for name in [
            format!("0000.{hash}.mutlog"),
            format!("12345.{hash}.mutlog"),
            "0007.growing.mutlog".to_owned(),
            "maintner-2020-12-23.mutlog".to_owned(),
            format!("maintner-0001.{hash}.mutlog"),
        ] {
            assert_eq!(SegmentName::parse(&name).map(|n| n.to_string()), Some(name));
        }
    }

    #[test]
    fn other_files_are_no_segments() {
        for name in [
            "0.growing.mutlog",
            "0000.GROWING.mutlog",
            "0000.6F999257d6762411f2c5d42c993e824b5bd6b49b56b88769f9f9a63b.mutlog",
            "0000.6f99.mutlog",
            "maintner-2020-12-23.mutlog.torn-146",
            "tempseg123",
            "99999999999.growing.mutlog",
            "maintner.lock",
        ] {
            assert_eq!(SegmentName::parse(name), None, "{name}");
        }
    }

    #[test]
    fn the_hash_of_an_empty_record_is_the_documented_one() {
        assert_eq!(
            Sha224Hex::of(b"REC@0+0=").to_string(),
            "6f999257d6762411f2c5d42c993e824b5bd6b49b56b88769f9f9a63b"
        );
    }

    #[test]
    fn a_changed_frozen_segment_is_noticed() {
        let good = Bytes::from_static(b"REC@0+0=");
        let name = SegmentName::Frozen {
            number: 0,
            sha224: Sha224Hex::of(&good),
        };
        let segment = Segment::memory(name.clone(), LogPosition::START, good);
        segment.verify().expect("the hash is right");
        let bad = Segment::memory(name, LogPosition::START, Bytes::from_static(b"REC@0+0-"));
        assert!(matches!(bad.verify(), Err(Error::HashMismatch { .. })));
    }
}
