//! Finds and repairs the damage a crash leaves at the end of a log file.
//!
//! Nothing is thrown away: cut bytes are kept beside the file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::{
    HeaderParse, LogPosition, LogReader, MAX_HEADER, RecordError, RecordHeader, Segment,
    SegmentName,
};
use crate::{Error, Result};

/// How much of a log file is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    valid: u64,
    tail: Option<Tail>,
}

impl Recovery {
    /// Length in bytes of the prefix that consists of whole records.
    pub fn valid(&self) -> u64 {
        self.valid
    }

    /// What follows that prefix, if anything does.
    pub fn tail(&self) -> Option<&Tail> {
        self.tail.as_ref()
    }
}

/// The part of a log file that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    bytes: u64,
    reason: RecordError,
    torn: bool,
    kept_in: Option<PathBuf>,
}

impl Tail {
    /// Its length in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Why reading stopped.
    pub fn reason(&self) -> &RecordError {
        &self.reason
    }

    /// Whether it looks like one interrupted write: an incomplete record or
    /// zeros, and no whole record header anywhere in it.
    pub fn is_torn(&self) -> bool {
        self.torn
    }

    /// The file that holds the cut bytes, once [`repair`] has moved them.
    pub fn kept_in(&self) -> Option<&Path> {
        self.kept_in.as_deref()
    }
}

/// Reads the file at `path` and says how much of it is whole. Changes nothing.
///
/// # Errors
/// When the file cannot be read.
pub fn recover(path: &Path) -> Result<Recovery> {
    let len = fs::metadata(path)
        .map_err(Error::io("inspect", path))?
        .len();
    let name = SegmentName::Day(String::new());
    let segment = Segment::file(name, LogPosition::START, len, path.to_owned());
    let mut reader = LogReader::new(vec![segment], LogPosition::START)?.lenient();
    while reader.next_record()?.is_some() {}
    let Some(stop) = reader.stopped() else {
        return Ok(Recovery {
            valid: len,
            tail: None,
        });
    };
    let valid = stop.pos.bytes();
    let torn = looks_torn(path, valid, &stop.reason).map_err(Error::io("read", path))?;
    let tail = Tail {
        bytes: len - valid,
        reason: stop.reason.clone(),
        torn,
        kept_in: None,
    };
    Ok(Recovery {
        valid,
        tail: Some(tail),
    })
}

/// Cuts the file at `path` after its last whole record, whatever the damage.
/// The cut bytes go to `<path>.torn-<offset>` first, and are on disk before the
/// file is shortened.
///
/// # Errors
/// When a file cannot be read or written; the log file is unchanged then.
pub fn repair(path: &Path) -> Result<Recovery> {
    let mut recovery = recover(path)?;
    let valid = recovery.valid;
    if let Some(tail) = &mut recovery.tail {
        tail.kept_in = Some(keep_tail(path, valid)?);
        let file = OpenOptions::new()
            .write(true)
            .open(path)
            .map_err(Error::io("open", path))?;
        file.set_len(valid).map_err(Error::io("truncate", path))?;
        file.sync_all().map_err(Error::io("sync", path))?;
    }
    Ok(recovery)
}

/// Makes a new or renamed directory entry durable.
pub(super) fn sync_folder(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(Error::io("sync", path))
}

fn keep_tail(path: &Path, valid: u64) -> Result<PathBuf> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    file.seek(SeekFrom::Start(valid))
        .map_err(Error::io("seek in", path))?;
    let (side, mut kept) = create_side_file(path, valid)?;
    io::copy(&mut file, &mut kept).map_err(Error::io("write", &side))?;
    kept.sync_all().map_err(Error::io("sync", &side))?;
    if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        sync_folder(folder)?;
    }
    Ok(side)
}

/// `<path>.torn-<valid>`, with a further number when that name is taken.
fn create_side_file(path: &Path, valid: u64) -> Result<(PathBuf, File)> {
    let mut attempt = 0u32;
    loop {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".torn-{valid}"));
        if attempt > 0 {
            name.push(format!(".{attempt}"));
        }
        let side = PathBuf::from(name);
        match OpenOptions::new().write(true).create_new(true).open(&side) {
            Ok(file) => return Ok((side, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => attempt += 1,
            Err(error) => return Err(Error::io("create", &side)(error)),
        }
    }
}

fn looks_torn(path: &Path, valid: u64, reason: &RecordError) -> io::Result<bool> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(valid))?;
    let scan = scan_tail(BufReader::new(file), valid)?;
    Ok(!scan.has_record && (reason.is_truncated() || scan.only_zeros))
}

struct TailScan {
    has_record: bool,
    only_zeros: bool,
}

/// Looks for zeros and for headers that stand where they say they stand.
fn scan_tail(mut tail: impl Read, valid: u64) -> io::Result<TailScan> {
    const CHUNK: usize = 1 << 20;
    let mut window = Vec::with_capacity(CHUNK + MAX_HEADER);
    let mut start = valid;
    let mut only_zeros = true;
    loop {
        let kept = window.len();
        let read = tail.by_ref().take(CHUNK as u64).read_to_end(&mut window)?;
        only_zeros &= window[kept..].iter().all(|&b| b == 0);
        if has_header(&window, start, valid) {
            return Ok(TailScan {
                has_record: true,
                only_zeros,
            });
        }
        if read == 0 {
            return Ok(TailScan {
                has_record: false,
                only_zeros,
            });
        }
        let done = window.len().saturating_sub(MAX_HEADER);
        window.drain(..done);
        start += done as u64;
    }
}

/// Whether a complete header stands in `window` at its own offset; the one at
/// `valid` is the damaged record's own.
fn has_header(window: &[u8], start: u64, valid: u64) -> bool {
    memchr::memmem::find_iter(window, b"REC@").any(|at| {
        let offset = start + at as u64;
        let parsed = RecordHeader::parse(&window[at..], offset, u64::MAX);
        offset != valid && matches!(parsed, Ok(HeaderParse::Complete(_)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::encode_record;

    fn file(payloads: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for payload in payloads {
            let offset = bytes.len() as u64;
            encode_record(&mut bytes, offset, payload);
        }
        bytes
    }

    fn on_disk(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("maintner-2020-01-01.mutlog");
        fs::write(&path, bytes).unwrap();
        (dir, path)
    }

    #[test]
    fn a_whole_file_needs_nothing() {
        let bytes = file(&[b"one", b"two"]);
        let (_dir, path) = on_disk(&bytes);
        let recovery = repair(&path).unwrap();
        assert_eq!(
            recovery,
            Recovery {
                valid: bytes.len() as u64,
                tail: None
            }
        );
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }

    #[test]
    fn repair_keeps_every_cut_byte_even_twice() {
        let bytes = file(&[b"one", b"two"]);
        let first = file(&[b"one"]).len();
        let (_dir, path) = on_disk(&bytes[..bytes.len() - 1]);
        let recovery = repair(&path).unwrap();
        assert_eq!(recovery.valid(), first as u64);
        let tail = recovery.tail().unwrap();
        assert!(tail.is_torn());
        assert_eq!(
            fs::read(tail.kept_in().unwrap()).unwrap(),
            &bytes[first..bytes.len() - 1]
        );
        assert!(
            tail.kept_in()
                .unwrap()
                .to_str()
                .unwrap()
                .ends_with(&format!(".mutlog.torn-{first}"))
        );
        fs::write(&path, &bytes[..bytes.len() - 2]).unwrap();
        let again = repair(&path).unwrap();
        assert!(
            again
                .tail()
                .unwrap()
                .kept_in()
                .unwrap()
                .to_str()
                .unwrap()
                .ends_with(".1")
        );
        assert_eq!(fs::read(&path).unwrap(), &bytes[..first]);
    }

    #[test]
    fn zeros_after_a_power_loss_are_a_torn_tail() {
        let mut bytes = file(&[b"one"]);
        bytes.extend([0; 100]);
        let (_dir, path) = on_disk(&bytes);
        assert!(recover(&path).unwrap().tail().unwrap().is_torn());
    }

    #[test]
    fn damage_in_the_middle_is_not_a_torn_tail() {
        let mut bytes = file(&[b"one", b"two", b"three"]);
        let second = file(&[b"one"]).len();
        bytes[second] = b'X';
        let (_dir, path) = on_disk(&bytes);
        let recovery = recover(&path).unwrap();
        assert_eq!(recovery.valid(), second as u64);
        assert!(!recovery.tail().unwrap().is_torn());
    }

    #[test]
    fn a_length_that_swallows_later_records_is_not_a_torn_tail() {
        let mut bytes = file(&[b"one"]);
        let second = bytes.len();
        bytes.extend(format!("REC@{second:x}+ffff=two").bytes());
        let third = bytes.len() as u64;
        encode_record(&mut bytes, third, b"three");
        let (_dir, path) = on_disk(&bytes);
        let recovery = recover(&path).unwrap();
        assert!(recovery.tail().unwrap().reason().is_truncated());
        assert!(!recovery.tail().unwrap().is_torn());
    }

    #[test]
    fn a_header_across_the_scan_windows_is_found() {
        let mut bytes = vec![b'.'; (1 << 20) - 3];
        let at = bytes.len() as u64 + 7;
        bytes[0] = b'X';
        let mut record = Vec::new();
        encode_record(&mut record, at, b"x");
        bytes.extend(&record);
        assert!(scan_tail(&bytes[..], 7).unwrap().has_record);
    }
}
