//! Listings: the lines of `/ls`, and the same as JSON lines.

use serde::{Deserialize, Serialize};

use super::{DirEntry, FileMode};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::name::Name;

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
    pub name: Name,
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
    pub link: Option<Name>,
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
    /// The time of the last change, to the second; `None` of what is no regular file.
    #[must_use]
    pub fn modified_at(&self) -> Option<Timestamp> {
        let time: jiff::Timestamp = self.modified.as_deref()?.parse().ok()?;
        Some(Timestamp::from_seconds(time.as_second()))
    }

    /// The line of this entry, with its line feed.
    ///
    /// Names that hold tabs or line feeds are written as they are, as in the Go
    /// implementation; readers misunderstand them. In JSON ([`LsRecord`]) they are told apart.
    #[must_use]
    pub fn to_line(&self) -> Vec<u8> {
        let mut line = self.mode.clone().into_bytes();
        line.push(b'\t');
        line.extend(self.name.as_bytes());
        if let (Some(size), Some(modified)) = (self.size, &self.modified) {
            line.extend(format!("\t{size}\t{modified}").into_bytes());
            if let Some(digest) = &self.digest {
                line.push(b'\t');
                line.extend(digest.as_bytes());
            }
        }
        line.push(b'\n');
        line
    }

    /// Reads a line, with or without its line feed: the text of one, or its JSON.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`], naming the line, when it is too long or not one of a listing.
    pub fn parse_line(line: &[u8]) -> Result<Self> {
        let bare = line.strip_suffix(b"\n").unwrap_or(line);
        let read = match bare {
            _ if bare.len() > MAX_LINE_BYTES => None,
            [b'{', ..] => Self::parse_json(bare),
            _ => Self::parse_text(bare),
        };
        read.ok_or_else(|| {
            let shown = Name::from(&line[..line.len().min(100)]);
            Error::new(ErrorKind::Invalid, format!("bad listing line {shown:?}"))
        })
    }

    fn parse_json(line: &[u8]) -> Option<Self> {
        let record: LsRecord = serde_json::from_slice(line).ok()?;
        let mode = FileMode::parse_letters(&record.mode)?;
        Some(Self {
            mode: mode.to_string(),
            ..record.into()
        })
    }

    fn parse_text(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b'\t');
        let mode = std::str::from_utf8(fields.next()?).ok()?;
        let mode = FileMode::parse_letters(mode)?;
        let name = fields.next()?;
        let rest = fields.map(|field| std::str::from_utf8(field).ok());
        let rest: Vec<&str> = rest.collect::<Option<_>>()?;
        let (size, modified, digest) = match rest[..] {
            [] => (None, None, None),
            [size, modified] => (Some(size), Some(modified), None),
            [size, modified, digest] => (Some(size), Some(modified), Some(digest)),
            _ => return None,
        };
        let times_ok = modified.is_none_or(|text| text.parse::<jiff::Timestamp>().is_ok());
        if !times_ok || name.contains(&b'\n') {
            return None;
        }
        Some(Self {
            mode: mode.to_string(),
            name: name.into(),
            size: size.map(str::parse).transpose().ok()?,
            modified: modified.map(str::to_owned),
            digest: digest.map(str::to_owned),
        })
    }
}

/// Entry point of the fuzz target: any bytes as a listing, in text and in JSON.
#[cfg(any(test, feature = "testing"))]
pub fn fuzz_ls(data: &[u8]) {
    for line in data.split_inclusive(|byte| *byte == b'\n') {
        let is_text = line.first() != Some(&b'{');
        if let Ok(entry) = DirEntry::parse_line(line)
            && is_text
        {
            let again = DirEntry::parse_line(&entry.to_line()).expect("a written line parses");
            assert_eq!(again, entry);
        }
        if let Ok(record) = serde_json::from_slice::<LsRecord>(line) {
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
            .map(|line| DirEntry::parse_line(line.as_bytes()).unwrap())
            .collect();
        let lines: Vec<Vec<u8>> = entries.iter().map(DirEntry::to_line).collect();
        assert_eq!(lines.concat(), LISTING.as_bytes());
        assert!(entries[0].is_dir() && entries[5].is_dir() && !entries[3].is_dir());
        let file = &entries[1];
        assert_eq!((file.name.as_str(), file.size), (Some("a/b.txt"), Some(6)));
        let modified = Timestamp::from_seconds(1_795_358_659);
        assert_eq!(file.modified_at(), Some(modified));
        assert_eq!(entries[0].modified_at(), None);
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
            let error = DirEntry::parse_line(line.as_bytes()).unwrap_err();
            assert!(
                error.to_string().contains("bad listing line"),
                "{line:?}: {error}"
            );
        }
        let long = format!("Lrwxrwxrwx\t{}", "a".repeat(MAX_LINE_BYTES));
        let error = DirEntry::parse_line(long.as_bytes())
            .unwrap_err()
            .to_string();
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
        let entry = DirEntry::parse_line(line.as_bytes()).unwrap();
        assert_eq!(entry.modified.as_deref(), Some("2026-11-22T14:44:19Z"));
        assert_eq!(entry.name, "a\tb\n");
        let odd = br#"{"mode":"-rw-r--r--","name":{"b64":"Y2Fm6Q=="}}"#;
        assert_eq!(
            DirEntry::parse_line(odd).unwrap().name,
            Name::from(b"caf\xe9".to_vec())
        );
        assert!(DirEntry::parse_line(br#"{"mode":"what","name":"a"}"#).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_taken_or_refused(text in "[-drwxLp\t0-9TZ:a-c\n]{0,60}", bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            fuzz_ls(text.as_bytes());
            fuzz_ls(&bytes);
        }

        #[test]
        fn entries_come_back(name in proptest::collection::vec(any::<u8>(), 1..30), size in any::<u64>(), seconds in 0i64..4_000_000_000, digest in proptest::option::of("[0-9a-f]{40}")) {
            let entry = DirEntry {
                mode: "-rwxr-xr-x".into(),
                name: name.into_iter().filter(|b| !b"\t\n".contains(b)).collect::<Vec<u8>>().into(),
                size: Some(size),
                modified: Some(Timestamp::from_seconds(seconds).to_string()),
                digest,
            };
            prop_assert_eq!(DirEntry::parse_line(&entry.to_line()).unwrap(), entry);
        }
    }
}
