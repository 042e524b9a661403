//! The files of a local log, and segments in memory.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use sha2::{Digest as _, Sha224};

use super::{Piece, growing_path, whole_records};
use crate::log::{LogLock, LogPosition, Segment, SegmentName, Sha224Hex};
use crate::{Error, Result};

/// Which complete segments were hashed already: name to length and time of change.
const VERIFIED: &str = "verified.json";

/// The bytes of one segment.
#[derive(Debug)]
pub(super) enum Content {
    Memory {
        bytes: Vec<u8>,
        /// As it was when it was last asked for.
        shown: Bytes,
    },
    File {
        path: PathBuf,
        /// Open for writing while it grows.
        file: Option<File>,
    },
}

impl Content {
    pub(super) fn memory() -> Self {
        Self::Memory {
            bytes: Vec::new(),
            shown: Bytes::new(),
        }
    }

    pub(super) fn segment(&mut self, name: SegmentName, base: u64, len: u64) -> Segment {
        let base = LogPosition::new(base);
        match self {
            Self::File { path, .. } => Segment::file(name, base, len, path.clone()),
            Self::Memory { bytes, shown } => {
                if shown.len() != bytes.len() {
                    *shown = Bytes::copy_from_slice(bytes);
                }
                Segment::memory(name, base, shown.clone())
            }
        }
    }

    /// The first `len` bytes.
    pub(super) fn load(&self, len: u64) -> Result<Bytes> {
        match self {
            Self::Memory { bytes, .. } => {
                let len = usize::try_from(len).map_or(bytes.len(), |len| len.min(bytes.len()));
                Ok(Bytes::copy_from_slice(&bytes[..len]))
            }
            Self::File { path, .. } => {
                let name = SegmentName::Day(String::new());
                Segment::file(name, LogPosition::START, len, path.clone()).load()
            }
        }
    }

    pub(super) fn append(&mut self, at: u64, more: &[u8]) -> Result<()> {
        match self {
            Self::Memory { bytes, .. } => {
                bytes.extend_from_slice(more);
                Ok(())
            }
            // Written where it belongs: what an earlier, failed write left behind is overwritten.
            Self::File { path, file } => file
                .as_ref()
                .expect("a growing segment is open")
                .write_all_at(more, at)
                .map_err(Error::io("write to", path)),
        }
    }
}

/// The folder of a local log.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// Without it another process keeps the folder, and new segments are held in memory.
    lock: Option<LogLock>,
    verified: BTreeMap<String, (u64, u128)>,
}

impl Folder {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn open(path: &Path) -> Result<(Self, Vec<Piece>)> {
        make_folder(path)?;
        let lock = match LogLock::take(path) {
            Ok(lock) => Some(lock),
            Err(Error::Locked { .. }) => None,
            Err(error) => return Err(error),
        };
        let verified = fs::read(path.join(VERIFIED)).ok();
        let verified = verified.and_then(|json| serde_json::from_slice(&json).ok());
        let mut folder = Self {
            path: path.to_owned(),
            lock,
            verified: verified.unwrap_or_default(),
        };
        let pieces = folder.pieces()?;
        Ok((folder, pieces))
    }

    /// The segments from 0 on, as far as they are sound.
    fn pieces(&mut self) -> Result<Vec<Piece>> {
        let mut pieces = Vec::new();
        let mut base = 0;
        let known = self.verified.clone();
        for number in 0.. {
            let piece = match self.find_frozen(number, base)? {
                Some(piece) => piece,
                None => match self.find_growing(number, base)? {
                    Some(piece) => {
                        pieces.push(piece);
                        break;
                    }
                    None => break,
                },
            };
            base += piece.len;
            pieces.push(piece);
        }
        if self.verified != known {
            self.remember();
        }
        Ok(pieces)
    }

    /// The complete segment with this number; of several the one that was written last, as a
    /// rollback may have been interrupted before the older one was removed.
    fn find_frozen(&mut self, number: u32, base: u64) -> Result<Option<Piece>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(Error::io("list", &self.path))? {
            let entry = entry.map_err(Error::io("list", &self.path))?;
            let name = entry.file_name();
            let parsed = name.to_str().and_then(SegmentName::parse);
            if let Some(SegmentName::Frozen { number: n, sha224 }) = parsed
                && n == number
                && let Ok(meta) = entry.metadata()
            {
                found.push((meta.modified().ok(), entry.path(), meta.len(), sha224));
            }
        }
        found.sort();
        while let Some((_, path, len, sha224)) = found.pop() {
            if len == 0 || !self.is_sound(&path, len, sha224)? {
                self.put_aside(&path);
                continue;
            }
            let mut piece = Piece::new(base, Content::File { path, file: None });
            (piece.len, piece.sha224, piece.frozen) = (len, sha224, true);
            return Ok(Some(piece));
        }
        Ok(None)
    }

    /// Hashes a complete segment unless it is as it was when it was last hashed.
    fn is_sound(&mut self, path: &Path, len: u64, sha224: Sha224Hex) -> Result<bool> {
        let key = (len, changed(path));
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if self.verified.get(&name) == Some(&key) {
            return Ok(true);
        }
        let file = File::open(path).map_err(Error::io("open", path))?;
        let sound = Sha224Hex::of_reader(file).map_err(Error::io("read", path))? == sha224;
        if sound {
            self.verified.insert(name, key);
        }
        Ok(sound)
    }

    fn find_growing(&mut self, number: u32, base: u64) -> Result<Option<Piece>> {
        let path = growing_path(&self.path, number);
        let mut bytes = Vec::new();
        match File::open(&path) {
            Ok(mut file) => file
                .read_to_end(&mut bytes)
                .map_err(Error::io("read", &path))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("open", &path)(error)),
        };
        // A crash may have left a piece of a record: what follows is written over it.
        bytes.truncate(whole_records(&bytes, 0));
        let content = if self.lock.is_some() {
            let file = OpenOptions::new().write(true).open(&path);
            let file = Some(file.map_err(Error::io("open", &path))?);
            Content::File { path, file }
        } else {
            Content::Memory {
                shown: Bytes::new(),
                bytes: bytes.clone(),
            }
        };
        let mut piece = Piece::new(base, content);
        piece.hash = Sha224::new_with_prefix(&bytes);
        piece.sha224 = Sha224Hex::finish(piece.hash.clone());
        piece.len = bytes.len() as u64;
        Ok(Some(piece))
    }

    fn put_aside(&self, path: &Path) {
        if self.lock.is_some() {
            let mut aside = path.as_os_str().to_owned();
            aside.push(".corrupt");
            // If it stays, it is looked at again the next time.
            let _ = fs::rename(path, aside);
        }
    }

    /// Opens a new growing segment.
    pub(super) fn start(folder: Option<&mut Self>, number: u32) -> Result<Content> {
        let Some(folder) = folder.filter(|folder| folder.lock.is_some()) else {
            return Ok(Content::memory());
        };
        let path = growing_path(&folder.path, number);
        let file = create(&path)?;
        Ok(Content::File {
            path,
            file: Some(file),
        })
    }

    /// A growing segment with this content, in a new file under the name of the old one.
    pub(super) fn rewrite(folder: Option<&mut Self>, number: u32, bytes: &[u8]) -> Result<Content> {
        let Some(folder) = folder.filter(|folder| folder.lock.is_some()) else {
            return Ok(Content::Memory {
                bytes: bytes.to_vec(),
                shown: Bytes::new(),
            });
        };
        let (path, temp) = (
            growing_path(&folder.path, number),
            folder.path.join(format!("tempseg{number}")),
        );
        let mut file = create(&temp)?;
        file.write_all(bytes).map_err(Error::io("write", &temp))?;
        fs::rename(&temp, &path).map_err(Error::io("rename", &temp))?;
        Ok(Content::File {
            path,
            file: Some(file),
        })
    }

    /// Removes the files of segments that were replaced, of which the first has the number of a
    /// segment that is there again under its growing name.
    pub(super) fn drop_replaced(&mut self, pieces: Vec<Piece>, number: u32) {
        let kept = growing_path(&self.path, number);
        let dropped = pieces.into_iter();
        self.drop_all(dropped.filter(|piece| match &piece.content {
            Content::File { path, .. } => *path != kept,
            Content::Memory { .. } => false,
        }));
    }

    /// Removes files, the last ones first: what is left after a crash is a beginning.
    pub(super) fn drop_all(&mut self, pieces: impl IntoIterator<Item = Piece>) {
        if self.lock.is_none() {
            return;
        }
        let pieces: Vec<Piece> = pieces.into_iter().collect();
        for piece in pieces.iter().rev() {
            if let Content::File { path, .. } = &piece.content {
                // If it stays, the next comparison with the server removes it.
                let _ = fs::remove_file(path);
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                self.verified.remove(&*name);
            }
        }
    }

    /// Gives a complete segment its final name, once it is on disk.
    pub(super) fn freeze(
        &mut self,
        content: &mut Content,
        number: u32,
        len: u64,
        sha224: Sha224Hex,
    ) -> Result<()> {
        let Content::File { path, file } = content else {
            return Ok(());
        };
        if let Some(file) = file {
            // Bytes of a torn write may stand behind the end.
            file.set_len(len).map_err(Error::io("truncate", path))?;
            file.sync_data().map_err(Error::io("sync", path))?;
        }
        let frozen = self
            .path
            .join(SegmentName::Frozen { number, sha224 }.to_string());
        fs::rename(&*path, &frozen).map_err(Error::io("rename", path))?;
        let name = frozen
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        self.verified.insert(name, (len, changed(&frozen)));
        (*path, *file) = (frozen, None);
        self.remember();
        Ok(())
    }

    /// Writes down what was hashed. A loss costs hashing it again.
    fn remember(&self) {
        if self.lock.is_none() {
            return;
        }
        if let Ok(json) = serde_json::to_vec(&self.verified) {
            let temp = self.path.join("tempverified");
            let _ =
                fs::write(&temp, json).and_then(|()| fs::rename(&temp, self.path.join(VERIFIED)));
        }
    }
}

/// Time of change, in nanoseconds since 1970.
fn changed(path: &Path) -> u128 {
    let time = fs::metadata(path).and_then(|meta| meta.modified()).ok();
    time.and_then(|time| time.duration_since(UNIX_EPOCH).ok())
        .map_or(0, |since| since.as_nanos())
}

fn create(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(Error::io("create", path))
}

/// The folder, for its owner only.
fn make_folder(path: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(Error::io("create", path))
}
