//! Writes a backup.

use std::fs::File;
use std::io::{BufWriter, Read};
use std::path::{Path, PathBuf};

use build_core::{Error, ErrorKind, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};
use tempfile::NamedTempFile;

use super::manifest::{HEAD, Head, LIST, List, Listed};
use super::{Backup, DATABASE, DIRS, FILES};

type Archive = tar::Builder<GzEncoder<BufWriter<NamedTempFile>>>;

/// What is written so far.
struct Packing {
    archive: Archive,
    list: List,
    bytes: u64,
}

/// The whole backup in a file below `scratch`, which is durable.
pub(super) fn pack(
    dir: &Path,
    database: &Path,
    scratch: &Path,
    head: Head,
    tell: &dyn Fn(&str),
) -> Result<(NamedTempFile, Backup)> {
    // Beside the place it goes to, so that it is put there at once.
    let file = NamedTempFile::new_in(super::directory_of(scratch))?;
    let encoder = GzEncoder::new(BufWriter::new(file), Compression::fast());
    let mut packing = Packing {
        archive: tar::Builder::new(encoder),
        list: List::default(),
        bytes: 0,
    };
    packing.json(HEAD, &head)?;
    tell("the database");
    packing.file(DATABASE.to_owned(), File::open(database)?)?;
    for name in FILES {
        packing.file_of(dir, Path::new(name))?;
    }
    for name in DIRS {
        tell(name);
        packing.directory(dir, Path::new(name))?;
    }
    let list = std::mem::take(&mut packing.list);
    packing.json(LIST, &list)?;
    let encoder = packing.archive.into_inner()?;
    let file = encoder
        .finish()?
        .into_inner()
        .map_err(std::io::IntoInnerError::into_error)?;
    file.as_file().sync_all()?;
    let made = Backup {
        made: head.made,
        head: head.head,
        files: list.files.len(),
        bytes: packing.bytes,
    };
    Ok((file, made))
}

impl Packing {
    fn json(&mut self, name: &str, value: &impl serde::Serialize) -> Result<()> {
        let json = serde_json::to_vec(value)
            .map_err(|e| Error::caused_by(ErrorKind::Bug, "write a backup", e))?;
        let mut header = header(json.len() as u64);
        self.archive.append_data(&mut header, name, &json[..])?;
        Ok(())
    }

    /// Everything below a directory. An index of lines that does not fit to its log any more is
    /// counted anew by whoever reads it.
    fn directory(&mut self, dir: &Path, below: &Path) -> Result<()> {
        let path = dir.join(below);
        let entries = match std::fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(named("read", &path, e)),
        };
        let names = entries.map(|entry| entry.map(|e| PathBuf::from(e.file_name())));
        let mut names: Vec<PathBuf> = names
            .collect::<Result<_, _>>()
            .map_err(|e| named("read", &path, e))?;
        names.sort();
        for name in names {
            let below = below.join(name);
            match std::fs::symlink_metadata(dir.join(&below)) {
                Ok(about) if about.is_dir() => self.directory(dir, &below)?,
                Ok(about) if about.is_file() => self.file_of(dir, &below)?,
                // Nothing else is ever made there.
                Ok(_) => {}
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(named("read", &dir.join(below), e)),
            }
        }
        Ok(())
    }

    /// A file of the data directory; one that has gone meanwhile is left out.
    fn file_of(&mut self, dir: &Path, below: &Path) -> Result<()> {
        let path = dir.join(below);
        let Some(name) = below.to_str() else {
            // Farms make no such names.
            return Ok(());
        };
        match File::open(&path) {
            Ok(file) => self
                .file(name.to_owned(), file)
                .map_err(|e| e.while_doing(format!("read {}", path.display()))),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(named("read", &path, e)),
        }
    }

    /// As many bytes as the file has now: what grows is cut there.
    fn file(&mut self, name: String, file: File) -> Result<()> {
        let size = file.metadata()?.len();
        let mut contents = Hashing {
            from: file.take(size),
            hash: Sha256::new(),
            read: 0,
        };
        let mut header = header(size);
        self.archive
            .append_data(&mut header, &name, &mut contents)?;
        if contents.read != size {
            let text = format!("{name} has become shorter while it was read");
            return Err(Error::new(ErrorKind::Conflict, text).with_hint("take the backup again"));
        }
        self.bytes += size;
        let sha256 = hex::encode(contents.hash.finalize());
        self.list.files.push(Listed {
            path: name,
            size,
            sha256,
        });
        Ok(())
    }
}

struct Hashing<R> {
    from: R,
    hash: Sha256,
    read: u64,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, piece: &mut [u8]) -> std::io::Result<usize> {
        let read = self.from.read(piece)?;
        self.hash.update(&piece[..read]);
        self.read += read as u64;
        Ok(read)
    }
}

fn header(size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o600);
    header.set_size(size);
    header
}

fn named(what: &str, path: &Path, error: std::io::Error) -> Error {
    Error::from(error).while_doing(format!("{what} {}", path.display()))
}
