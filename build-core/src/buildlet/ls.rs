//! Listings: the lines of `/ls`, and the same as JSON lines.

use serde::{Deserialize, Serialize};

use super::{DirEntry, FileMode};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};

/// Longest line a client takes, in bytes: Go clients refuse longer ones too.
pub const MAX_LINE_BYTES: usize = 64 * 1024;

/// One entry in a listing of type [`header::NDJSON_TYPE`](super::header::NDJSON_TYPE), our
/// extension: it carries any name, and times to the nanosecond.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LsRecord {
    /// Mode as in the text form.
    pub mode: String,
    /// Path relative to the listed directory; directories end in `/`.
    pub name: String,
    /// Size in bytes, of regular files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Nanoseconds from 1970-01-01 UTC to the last change, of regular files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtime_ns: Option<i64>,
    /// SHA-1 in lower-case hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha1: Option<String>,
    /// SHA-256 in lower-case hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Target of a symbolic link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

impl From<LsRecord> for DirEntry {
    fn from(record: LsRecord) -> Self {
        let seconds = |ns: i64| Timestamp::from_seconds(ns.div_euclid(1_000_000_000)).to_string();
        Self {
            mode: record.mode,
            name: record.name,
            size: record.size,
            modified: record.mtime_ns.map(seconds),
            digest: record.sha1,
        }
    }
}

impl DirEntry {
    /// The line of this entry, with its line feed.
    ///
    /// Names that hold tabs or line feeds are written as they are, as in the Go
    /// implementation; readers misunderstand them.
    #[must_use]
    pub fn to_line(&self) -> String {
        let mut line = format!("{}\t{}", self.mode, self.name);
        if let (Some(size), Some(modified)) = (self.size, &self.modified) {
            line.push_str(&format!("\t{size}\t{modified}"));
            if let Some(digest) = &self.digest {
                line.push('\t');
                line.push_str(digest);
            }
        }
        line.push('\n');
        line
    }

    /// Reads a line, with or without its line feed.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`], naming the line, when it is too long or not one of a listing.
    pub fn parse_line(line: &str) -> Result<Self> {
        Self::try_parse(line.strip_suffix('\n').unwrap_or(line)).ok_or_else(|| {
            let shown: String = line.chars().take(100).collect();
            Error::new(ErrorKind::Invalid, format!("bad listing line {shown:?}"))
        })
    }

    fn try_parse(line: &str) -> Option<Self> {
        let mut fields = line.split('\t');
        let mode = FileMode::parse_letters(fields.next()?)?;
        let name = fields.next()?;
        let (size, modified, digest) = (fields.next(), fields.next(), fields.next());
        let whole = size.is_some() == modified.is_some() && fields.next().is_none();
        let times_ok = modified.is_none_or(|text| text.parse::<jiff::Timestamp>().is_ok());
        if line.len() > MAX_LINE_BYTES || !whole || !times_ok || name.contains('\n') {
            return None;
        }
        Some(Self {
            mode: mode.to_string(),
            name: name.to_owned(),
            size: size.map(str::parse).transpose().ok()?,
            modified: modified.map(str::to_owned),
            digest: digest.map(str::to_owned),
        })
    }
}

/// Entry point of the fuzz target: any bytes as a listing, in text and in JSON.
#[cfg(any(test, feature = "testing"))]
pub fn fuzz_ls(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for line in text.split_inclusive('\n') {
        if let Ok(entry) = DirEntry::parse_line(line) {
            let again = DirEntry::parse_line(&entry.to_line()).expect("a written line parses");
            assert_eq!(again, entry);
        }
        if let Ok(record) = serde_json::from_str::<LsRecord>(line) {
            let entry = DirEntry::from(record.clone());
            assert_eq!((entry.name, entry.size), (record.name, record.size));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Observed from a Go buildlet.
    const LISTING: &str = "drwxr-xr-x\ta/\n\
        -rw-r--r--\ta/b.txt\t6\t2026-11-22T14:44:19Z\tf572d396fae9206628714fb2ce00f72e94f2258f\n\
        urwxr-xr-x\tsuid\t18\t2026-11-22T14:44:21Z\n\
        Lrwxrwxrwx\tsl\n\
        prw-r--r--\tff\n\
        dtrwxrwxrwx\td/\n";

    #[test]
    fn observed_lines_are_read_and_written() {
        let entries: Vec<_> = LISTING
            .lines()
            .map(|line| DirEntry::parse_line(line).unwrap())
            .collect();
        assert_eq!(
            entries.iter().map(DirEntry::to_line).collect::<String>(),
            LISTING
        );
        assert!(entries[0].is_dir() && entries[5].is_dir() && !entries[3].is_dir());
        let file = &entries[1];
        assert_eq!((file.name.as_str(), file.size), ("a/b.txt", Some(6)));
        assert_eq!(
            file.digest.as_deref(),
            Some("f572d396fae9206628714fb2ce00f72e94f2258f")
        );
        assert_eq!(entries[2].digest, None);
    }

    #[test]
    fn other_lines_are_refused() {
        for line in [
            "",
            "drwxr-xr-x",
            "rw-r--r--\ta",
            "-rw-r--r--\ta\t6",
            "-rw-r--r--\ta\t-6\t2026-11-22T14:44:19Z",
            "-rw-r--r--\ta\t6\tyesterday",
            "-rw-r--r--\ta\t6\t2026-11-22T14:44:19Z\tx\ty",
        ] {
            let error = DirEntry::parse_line(line).unwrap_err();
            assert!(
                error.to_string().contains("bad listing line"),
                "{line:?}: {error}"
            );
        }
        let long = format!("Lrwxrwxrwx\t{}", "a".repeat(MAX_LINE_BYTES));
        let error = DirEntry::parse_line(&long).unwrap_err().to_string();
        assert!(error.len() < 200, "the error stays short");
    }

    #[test]
    fn json_lines_carry_any_name() {
        let record = LsRecord {
            mode: "-rw-r--r--".into(),
            name: "a\tb\n".into(),
            size: Some(6),
            mtime_ns: Some(1_795_358_659_123_456_789),
            sha256: Some("00".into()),
            ..LsRecord::default()
        };
        let line = serde_json::to_string(&record).unwrap();
        assert_eq!(
            line,
            r#"{"mode":"-rw-r--r--","name":"a\tb\n","size":6,"mtime_ns":1795358659123456789,"sha256":"00"}"#
        );
        assert_eq!(serde_json::from_str::<LsRecord>(&line).unwrap(), record);
        let entry = DirEntry::from(record);
        assert_eq!(entry.modified.as_deref(), Some("2026-11-22T14:44:19Z"));
    }

    proptest! {
        #[test]
        fn any_text_is_taken_or_refused(text in "[-drwxLp\t0-9TZ:a-c\n]{0,60}", bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            fuzz_ls(text.as_bytes());
            fuzz_ls(&bytes);
        }

        #[test]
        fn entries_come_back(name in "[^\t\n]{1,30}", size in any::<u64>(), seconds in 0i64..4_000_000_000, digest in proptest::option::of("[0-9a-f]{40}")) {
            let entry = DirEntry {
                mode: "-rwxr-xr-x".into(),
                name,
                size: Some(size),
                modified: Some(Timestamp::from_seconds(seconds).to_string()),
                digest,
            };
            prop_assert_eq!(DirEntry::parse_line(&entry.to_line()).unwrap(), entry);
        }
    }
}
