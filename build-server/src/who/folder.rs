//! The folder in which everything lies: private, locked for changes, files whole or not at all.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{ErrorKind as Io, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use build_core::{Error, ErrorKind, Result};

use crate::file_lock::FileLock;

/// Largest file that is read: some ten thousand keys.
const MAX_BYTES: u64 = 64 << 20;
/// How long another process may hold the lock: it writes one small file.
const PATIENCE: Duration = Duration::from_secs(10);
/// File systems tell times by a tick of some milliseconds: a file that is younger than this may
/// change again without looking different.
const RACY: Duration = Duration::from_millis(100);

/// A private folder.
#[derive(Clone, Debug)]
pub(super) struct Folder(PathBuf);

/// The lock of a folder; ends when it is dropped.
pub(super) struct Locked(#[expect(dead_code, reason = "dropping it frees the lock")] FileLock);

/// How a file looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl Folder {
    /// Makes the folder when it is missing, for its owner alone.
    pub(super) fn open(dir: PathBuf) -> Result<Self> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
        let made = made.and_then(|()| std::fs::metadata(&dir));
        let metadata = made.map_err(|e| failed("make", &dir, e))?;
        if metadata.permissions().mode() & 0o077 != 0 {
            std::fs::set_permissions(&dir, Permissions::from_mode(0o700))
                .map_err(|e| failed("make private", &dir, e))?;
        }
        Ok(Self(dir))
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Waits until no other process changes anything here.
    pub(super) fn lock(&self) -> Result<Locked> {
        let path = self.path("lock");
        let opened = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path);
        let file = opened.map_err(|e| failed("lock", &path, e))?;
        match FileLock::take(file, PATIENCE) {
            Ok(Some(lock)) => Ok(Locked(lock)),
            Ok(None) => Err(failed("lock", &path, Io::WouldBlock.into())),
            Err(error) => Err(failed("lock", &path, error)),
        }
    }

    /// What a file holds; `None` when it is not there.
    pub(super) fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let path = self.path(name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == Io::NotFound => return Ok(None),
            Err(error) => return Err(failed("read", &path, error)),
        };
        let mut bytes = Vec::new();
        let read = file.take(MAX_BYTES + 1).read_to_end(&mut bytes);
        read.map_err(|e| failed("read", &path, e))?;
        if bytes.len() as u64 > MAX_BYTES {
            let text = format!("{} is larger than {MAX_BYTES} bytes", path.display());
            return Err(Error::new(ErrorKind::Limit, text));
        }
        Ok(Some(bytes))
    }

    /// Puts a file in place of another, durable and whole.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path(name);
        let written = (|| {
            let mut draft = tempfile::Builder::new()
                .prefix(".new-")
                .permissions(Permissions::from_mode(0o600))
                .tempfile_in(&self.0)?;
            draft.write_all(bytes)?;
            draft.as_file().sync_all()?;
            draft.persist(&path).map_err(|e| e.error)?;
            File::open(&self.0)?.sync_all()
        })();
        written.map_err(|e| failed("write", &path, e))
    }

    /// Appends lines to a file, durable. A line that a crash has torn is ended first.
    pub(super) fn append(&self, name: &str, lines: &[u8]) -> Result<u64> {
        let path = self.path(name);
        let appended = (|| {
            let mut file = OpenOptions::new()
                .read(true)
                .append(true)
                .create(true)
                .mode(0o600)
                .open(&path)?;
            let mut all = Vec::with_capacity(lines.len() + 1);
            let end = file.seek(SeekFrom::End(0))?;
            if end > 0 {
                let mut last = [0];
                file.seek(SeekFrom::End(-1))?;
                file.read_exact(&mut last)?;
                if last != *b"\n" {
                    all.push(b'\n');
                }
            }
            all.extend_from_slice(lines);
            file.write_all(&all)?;
            file.sync_data()?;
            Ok(end + all.len() as u64)
        })();
        appended.map_err(|e| failed("write", &path, e))
    }

    fn stamp(path: &Path) -> Result<Option<(Stamp, bool)>> {
        let metadata = match std::fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == Io::NotFound => return Ok(None),
            Err(error) => return Err(failed("look at", path, error)),
        };
        let is_young = metadata.modified().is_ok_and(|modified| {
            let age = SystemTime::now().duration_since(modified);
            age.is_ok_and(|age| age < RACY)
        });
        let stamp = Stamp {
            inode: metadata.ino(),
            bytes: metadata.len(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        };
        Ok(Some((stamp, is_young)))
    }
}

fn failed(what: &str, path: &Path, error: std::io::Error) -> Error {
    Error::from(error)
        .while_doing(format!("{what} {}", path.display()))
        .with_hint("the owner of the data directory must be able to read and write it")
}

/// What a file says, read again when it changes. In a directory in memory there is no file: the
/// value is what was put there.
pub(super) struct Watched<T> {
    name: &'static str,
    parse: fn(&Path, Option<&[u8]>) -> Result<T>,
    seen: Mutex<Option<Seen<T>>>,
}

struct Seen<T> {
    /// `None`: there was no file. A young file is looked at again.
    stamp: Option<(Stamp, bool)>,
    value: Arc<T>,
}

impl<T> Watched<T> {
    pub(super) fn new(name: &'static str, parse: fn(&Path, Option<&[u8]>) -> Result<T>) -> Self {
        Self {
            name,
            parse,
            seen: Mutex::default(),
        }
    }

    fn seen(&self) -> MutexGuard<'_, Option<Seen<T>>> {
        // Nothing panics while it holds this lock.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it says now.
    ///
    /// # Errors
    /// When it cannot be read: nobody goes on by what it said before.
    pub(super) fn get(&self, folder: Option<&Folder>) -> Result<Arc<T>> {
        let mut seen = self.seen();
        let Some(folder) = folder else {
            if let Some(seen) = &*seen {
                return Ok(seen.value.clone());
            }
            let value = Arc::new((self.parse)(Path::new(self.name), None)?);
            *seen = Some(Seen {
                stamp: None,
                value: value.clone(),
            });
            return Ok(value);
        };
        let path = folder.path(self.name);
        let stamp = Folder::stamp(&path)?;
        if let Some(seen) = &*seen
            && seen.stamp.map(|(stamp, _)| stamp) == stamp.map(|(stamp, _)| stamp)
            && !seen.stamp.is_some_and(|(_, is_young)| is_young)
        {
            return Ok(seen.value.clone());
        }
        let bytes = folder.read(self.name)?;
        let value = Arc::new((self.parse)(&path, bytes.as_deref())?);
        *seen = Some(Seen {
            stamp,
            value: value.clone(),
        });
        Ok(value)
    }

    /// Puts another value in its place; the file, if there is one, was written by the caller.
    pub(super) fn set(&self, value: T) {
        let mut seen = self.seen();
        *seen = Some(Seen {
            stamp: None,
            value: Arc::new(value),
        });
    }

    /// Has the file read again.
    pub(super) fn forget(&self) {
        *self.seen() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(_: &Path, bytes: Option<&[u8]>) -> Result<String> {
        Ok(String::from_utf8_lossy(bytes.unwrap_or(b"-")).into_owned())
    }

    #[test]
    fn a_change_is_seen_at_the_next_look_however_fast_it_comes() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path().join("who")).unwrap();
        let file = Watched::new("f", text);
        assert_eq!(*file.get(Some(&folder)).unwrap(), "-");
        for n in 0..200 {
            let now = format!("{n:03}");
            folder.write("f", now.as_bytes()).unwrap();
            assert_eq!(*file.get(Some(&folder)).unwrap(), now);
        }
        std::fs::remove_file(folder.path("f")).unwrap();
        assert_eq!(*file.get(Some(&folder)).unwrap(), "-");
    }

    #[test]
    fn files_are_private_and_torn_lines_are_ended() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path().join("who")).unwrap();
        folder.write("f", b"x").unwrap();
        folder.append("log", b"one\ntw").unwrap();
        folder.append("log", b"three\n").unwrap();
        assert_eq!(folder.read("log").unwrap().unwrap(), b"one\ntw\nthree\n");
        for name in ["f", "log", "."] {
            let mode = std::fs::metadata(folder.path(name)).unwrap().mode();
            assert_eq!(mode & 0o077, 0, "{name}");
        }
        let held = folder.lock().unwrap();
        drop(held);
        folder.lock().unwrap();
    }
}
