//! What is uploaded.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write as _};
use std::path::Path;

use build_core::content_type;
use md5::{Digest as _, Md5};
use sha2::Sha256;

use crate::{Error, ErrorKind, Result};

/// Bytes to upload: a file, which is read twice and never held whole in memory.
pub struct Content {
    file: File,
}

impl Content {
    /// The file at `path`.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] or [`ErrorKind::Invalid`] when it cannot be read.
    pub fn from_file(path: &Path) -> Result<Self> {
        let failed = |error: io::Error| {
            let kind = if error.kind() == io::ErrorKind::NotFound {
                ErrorKind::NotFound
            } else {
                ErrorKind::Invalid
            };
            Error::caused_by(kind, format!("reading {}", path.display()), error)
        };
        let file = File::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.is_file() {
            return Ok(Self { file });
        }
        // A pipe can be read once only.
        Self::from_reader(file)
    }

    /// What `reader` gives, kept in a nameless file.
    ///
    /// # Errors
    /// When it cannot be read, or there is no room for it.
    pub fn from_reader(mut reader: impl Read) -> Result<Self> {
        let failed = |error| {
            Error::caused_by(
                ErrorKind::Unavailable,
                "reading what is to be uploaded",
                error,
            )
        };
        let mut file = tempfile::tempfile().map_err(failed)?;
        io::copy(&mut reader, &mut file).map_err(failed)?;
        Ok(Self { file })
    }

    /// The same, gzip-compressed: equal bytes make equal archives.
    ///
    /// # Errors
    /// When there is no room for it.
    pub fn gzip(mut self) -> Result<Self> {
        let failed = |error| Error::caused_by(ErrorKind::Unavailable, "compressing", error);
        self.file.seek(SeekFrom::Start(0)).map_err(failed)?;
        let mut out = flate2::write::GzEncoder::new(
            tempfile::tempfile().map_err(failed)?,
            flate2::Compression::default(),
        );
        io::copy(&mut self.file, &mut out).map_err(failed)?;
        let mut file = out.finish().map_err(failed)?;
        file.flush().map_err(failed)?;
        Ok(Self { file })
    }

    /// Reads it through: its size, hashes, and the bytes that tell its type.
    pub(super) fn measure(&mut self) -> io::Result<Measured> {
        self.file.seek(SeekFrom::Start(0))?;
        let (mut sha256, mut md5) = (Sha256::new(), Md5::new());
        let mut start = Vec::new();
        let mut size = 0;
        let mut buffer = vec![0; 1 << 16];
        loop {
            let n = self.file.read(&mut buffer)?;
            if n == 0 {
                break;
            }
            let piece = &buffer[..n];
            let wanted = content_type::SNIFFED_BYTES.saturating_sub(start.len());
            start.extend_from_slice(&piece[..n.min(wanted)]);
            sha256.update(piece);
            md5.update(piece);
            size += n as u64;
        }
        self.file.seek(SeekFrom::Start(0))?;
        Ok(Measured {
            size,
            sha256: hex::encode(sha256.finalize()),
            md5: hex::encode(md5.finalize()),
            start,
        })
    }

    /// The next part; shorter than asked for only at the end.
    pub(super) fn part(&mut self, longest: usize) -> io::Result<Vec<u8>> {
        let mut part = Vec::new();
        Read::by_ref(&mut self.file)
            .take(longest as u64)
            .read_to_end(&mut part)?;
        Ok(part)
    }
}

pub(super) struct Measured {
    pub(super) size: u64,
    pub(super) sha256: String,
    pub(super) md5: String,
    pub(super) start: Vec<u8>,
}
