//! Large contents as files.
//!
//! Written beside, synced, then renamed: a reader sees old contents or new ones, whole, and so
//! does the next start after a power cut. The last 40 bytes of a file are its checksum, so that
//! one renaming replaces both; an artifact has none, for its name is its checksum.

mod many;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use async_trait::async_trait;
use build_core::buildlet::ByteStream;
use build_core::{Error, ErrorKind, Result};
use futures::{StreamExt, TryStreamExt};
use sha2::{Digest, Sha256};
use tempfile::{NamedTempFile, TempPath};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::io::ReaderStream;

use super::private::create_dir_all;
use super::{BlobInfo, BlobKey, BlobKind, Blobs, Files, checked};

/// Bytes read at a time.
const PIECE_BYTES: usize = 256 << 10;

/// What comes before the checksum at the end of a file.
const MARK: [u8; 8] = *b"\nsha256\n";
/// Bytes of the mark and the checksum.
const TAIL_BYTES: u64 = 40;

/// Whether files of a kind end with their checksum.
fn has_tail(kind: BlobKind) -> bool {
    kind != BlobKind::Artifact
}

/// Bytes that may be held of each kind; the least recently used contents make room.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Quota {
    /// Of packed sources.
    pub source: u64,
    /// Of caches.
    pub cache: u64,
    /// Of artifacts, which are results: they never make room, a full quota is an error.
    pub artifact: u64,
}

impl Default for Quota {
    fn default() -> Self {
        Self {
            source: 4 << 30,
            cache: 20 << 30,
            artifact: u64::MAX,
        }
    }
}

impl Quota {
    pub(super) fn of(&self, kind: BlobKind) -> u64 {
        match kind {
            BlobKind::Source => self.source,
            BlobKind::Cache => self.cache,
            BlobKind::Artifact => self.artifact,
        }
    }
}

/// Contents as files below one directory.
#[derive(Clone)]
pub struct FileBlobs {
    dir: PathBuf,
    quota: Quota,
    /// Opened beside whoever owns them: nothing is written.
    is_to_read: bool,
}

struct Written {
    file: TempPath,
    info: BlobInfo,
}

struct Held {
    path: PathBuf,
    size: u64,
    used: SystemTime,
}

impl FileBlobs {
    /// Opens `dir`, which is made when missing; what an earlier process left half written is removed.
    ///
    /// # Errors
    /// When the directories cannot be made.
    pub fn open(dir: impl Into<PathBuf>, quota: Quota) -> Result<Self> {
        let blobs = Self {
            dir: dir.into(),
            quota,
            is_to_read: false,
        };
        let names = BlobKind::ALL.map(BlobKind::as_str);
        for name in names {
            create_dir_all(&blobs.dir.join(name)).map_err(|e| blobs.failed("make", name, e))?;
        }
        let unfinished = blobs.unfinished();
        match build_core::tree::remove_tree(&unfinished) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(blobs.failed("clean", "unfinished", e));
            }
            _ => {}
        }
        create_dir_all(&unfinished).map_err(|e| blobs.failed("make", "unfinished", e))?;
        Ok(blobs)
    }

    /// The contents below `dir`, to read beside whoever owns them.
    pub fn open_to_read(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            quota: Quota::default(),
            is_to_read: true,
        }
    }

    fn check_writable(&self) -> Result<()> {
        if !self.is_to_read {
            return Ok(());
        }
        let text = format!("{} was opened to read", self.dir.display());
        Err(Error::new(ErrorKind::Denied, text))
    }

    fn unfinished(&self) -> PathBuf {
        self.dir.join("unfinished")
    }

    fn path(&self, key: &BlobKey) -> PathBuf {
        self.dir.join(key.kind().as_str()).join(key.name())
    }

    fn failed(&self, what: &str, name: &str, error: std::io::Error) -> Error {
        Error::from(error).while_doing(format!("{what} {}", self.dir.join(name).display()))
    }

    async fn write(&self, name: &str, kind: BlobKind, contents: ByteStream) -> Result<Written> {
        self.check_writable()?;
        let temporary = NamedTempFile::new_in(self.unfinished());
        let (file, path) = temporary
            .map_err(|e| self.failed("write", name, e))?
            .into_parts();
        let mut file = tokio::fs::File::from_std(file);
        let info = self.copy(contents, &mut file, name, kind).await?;
        let synced = async {
            if has_tail(kind) {
                file.write_all(&MARK).await?;
                file.write_all(&hex::decode(&info.sha256).unwrap_or_default())
                    .await?;
            }
            file.flush().await?;
            file.sync_all().await
        };
        synced.await.map_err(|e| self.failed("write", name, e))?;
        Ok(Written { file: path, info })
    }

    async fn copy(
        &self,
        mut contents: ByteStream,
        file: &mut tokio::fs::File,
        name: &str,
        kind: BlobKind,
    ) -> Result<BlobInfo> {
        let (mut hash, mut size) = (Sha256::new(), 0u64);
        let allowed = self.quota.of(kind);
        while let Some(piece) = contents.try_next().await? {
            hash.update(&piece);
            size += piece.len() as u64;
            if size > allowed {
                let text = format!("{name} is larger than the quota of {allowed} bytes");
                return Err(Error::new(ErrorKind::Limit, text));
            }
            let written = file.write_all(&piece).await;
            written.map_err(|e| self.failed("write", name, e))?;
        }
        let sha256 = hex::encode(hash.finalize());
        Ok(BlobInfo { size, sha256 })
    }

    /// Renames, syncs the directory and makes room; off the async threads, for it waits for the disk.
    async fn publish(&self, key: &BlobKey, written: Written) -> Result<BlobInfo> {
        let (path, quota) = (self.path(key), self.quota.of(key.kind()));
        let Written { file, info } = written;
        let work = move || -> std::io::Result<()> {
            let dir = path.parent().expect("a key's path is below its kind");
            file.persist(&path).map_err(|e| e.error)?;
            File::open(dir)?.sync_all()?;
            make_room(dir, quota, &path)
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|e| Error::caused_by(ErrorKind::Bug, format!("store {key}"), e))?
            .map_err(|e| Error::from(e).while_doing(format!("store {key}")))?;
        Ok(info)
    }

    fn check_artifact_quota(&self, kind: BlobKind) -> Result<()> {
        if kind != BlobKind::Artifact || self.quota.artifact == u64::MAX {
            return Ok(());
        }
        let held = held_in(&self.dir.join(kind.as_str()))?;
        if held.iter().map(|h| h.size).sum::<u64>() < self.quota.artifact {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Limit,
            format!(
                "artifacts fill their quota of {} bytes",
                self.quota.artifact
            ),
        ))
    }
}

/// A file, how long its contents are, and its checksum if it ends with one. Blocking.
fn open(path: &Path, kind: BlobKind) -> std::io::Result<Option<(File, u64, Option<String>)>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    // The time of the last use, by which room is made. Without it the contents only go earlier.
    let _ = file.set_modified(SystemTime::now());
    let len = file.metadata()?.len();
    let Some(size) = len.checked_sub(TAIL_BYTES).filter(|_| has_tail(kind)) else {
        return Ok(Some((file, len, None)));
    };
    let mut tail = [0; TAIL_BYTES as usize];
    file.read_exact_at(&mut tail, size)?;
    let sum = tail.strip_prefix(&MARK).map(hex::encode);
    Ok(Some((file, size, sum)))
}

fn held_in(dir: &Path) -> std::io::Result<Vec<Held>> {
    let mut held = Vec::new();
    let entries = match dir.read_dir() {
        Ok(entries) => entries,
        // Read beside a farm that never made it.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(held),
        Err(e) => return Err(e),
    };
    for entry in entries {
        let entry = entry?;
        let about = match entry.metadata() {
            Ok(about) => about,
            // Removed meanwhile.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        held.push(Held {
            path: entry.path(),
            size: about.len(),
            used: about.modified()?,
        });
    }
    Ok(held)
}

/// Removes the least recently used files until the rest fits; never `newest`.
fn make_room(dir: &Path, quota: u64, newest: &Path) -> std::io::Result<()> {
    if quota == u64::MAX {
        return Ok(());
    }
    let mut held = held_in(dir)?;
    let mut used: u64 = held.iter().map(|h| h.size).sum();
    held.sort_by_key(|h| h.used);
    for old in held.iter().filter(|h| h.path != newest) {
        if used <= quota {
            break;
        }
        std::fs::remove_file(&old.path)?;
        used -= old.size;
    }
    Ok(())
}

#[async_trait]
impl Blobs for FileBlobs {
    async fn put(&self, key: &BlobKey, contents: ByteStream) -> Result<BlobInfo> {
        self.check_artifact_quota(key.kind())?;
        let written = self.write(key.name(), key.kind(), contents).await?;
        self.publish(key, written).await
    }

    async fn put_by_hash(
        &self,
        kind: BlobKind,
        contents: ByteStream,
    ) -> Result<(BlobKey, BlobInfo)> {
        self.check_artifact_quota(kind)?;
        let written = self.write(kind.as_str(), kind, contents).await?;
        let key = BlobKey::of_hash(kind, &written.info.sha256);
        let info = self.publish(&key, written).await?;
        Ok((key, info))
    }

    async fn put_files(&self, kind: BlobKind, files: Files) -> Result<Vec<BlobInfo>> {
        if has_tail(kind) {
            let text = format!("{} are not stored by their hashes alone", kind.as_str());
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        let blobs = self.clone();
        let done = tokio::task::spawn_blocking(move || blobs.write_files(kind, files)).await;
        done.map_err(|e| Error::caused_by(ErrorKind::Bug, "store files", e))?
    }

    async fn get(&self, key: &BlobKey) -> Result<Option<ByteStream>> {
        let (path, kind) = (self.path(key), key.kind());
        let opened = tokio::task::spawn_blocking(move || open(&path, kind)).await;
        let opened = opened
            .map_err(|e| Error::caused_by(ErrorKind::Bug, format!("read {key}"), e))?
            .map_err(|e| self.failed("read", key.name(), e))?;
        let Some((file, size, sum)) = opened else {
            return Ok(None);
        };
        let sha256 = match kind {
            BlobKind::Artifact => key.name().to_owned(),
            // Of a file without one, no contents are right.
            _ => sum.unwrap_or_default(),
        };
        let file = tokio::fs::File::from_std(file).take(size);
        let pieces = ReaderStream::with_capacity(file, PIECE_BYTES);
        let name = key.to_string();
        let named = move |e| Error::from(e).while_doing(format!("read {name}"));
        let pieces = pieces.map_err(named).boxed();
        #[cfg(feature = "sim")]
        if build_core::plant::grows(build_core::plant::ProcessPlant::UncheckedContents) {
            return Ok(Some(pieces));
        }
        Ok(Some(checked(pieces, sha256, key.clone())))
    }

    async fn keys(&self, kind: BlobKind) -> Result<Vec<BlobKey>> {
        let held = held_in(&self.dir.join(kind.as_str()))
            .map_err(|e| self.failed("read", kind.as_str(), e))?;
        let names = held.iter().filter_map(|h| h.path.file_name()?.to_str());
        Ok(names
            .filter_map(|name| BlobKey::new(kind, name).ok())
            .collect())
    }

    async fn size(&self, key: &BlobKey) -> Result<Option<u64>> {
        match tokio::fs::metadata(self.path(key)).await {
            Ok(about) if has_tail(key.kind()) => Ok(Some(about.len().saturating_sub(TAIL_BYTES))),
            Ok(about) => Ok(Some(about.len())),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(self.failed("read", key.name(), e)),
        }
    }

    async fn remove(&self, key: &BlobKey) -> Result<()> {
        self.check_writable()?;
        match tokio::fs::remove_file(self.path(key)).await {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(self.failed("remove", key.name(), e))
            }
            _ => Ok(()),
        }
    }

    async fn used(&self, kind: BlobKind) -> Result<u64> {
        let held = held_in(&self.dir.join(kind.as_str()))
            .map_err(|e| self.failed("read", kind.as_str(), e))?;
        Ok(held.iter().map(|h| h.size).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::BlobKind::{Artifact, Cache, Source};
    use bytes::Bytes;

    fn pieces(texts: &[&'static str]) -> ByteStream {
        let owned: Vec<_> = texts
            .iter()
            .map(|t| Ok(Bytes::from_static(t.as_bytes())))
            .collect();
        futures::stream::iter(owned).boxed()
    }

    async fn text(blobs: &FileBlobs, key: &BlobKey) -> Option<String> {
        let stream = blobs.get(key).await.unwrap()?;
        let all: Vec<Bytes> = stream.try_collect().await.unwrap();
        Some(String::from_utf8(all.concat()).unwrap())
    }

    #[tokio::test]
    async fn contents_appear_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = FileBlobs::open(dir.path(), Quota::default()).unwrap();
        let key = BlobKey::new(BlobKind::Cache, "k").unwrap();
        blobs.put(&key, pieces(&["old"])).await.unwrap();
        let broken = futures::stream::iter([
            Ok(Bytes::from_static(b"ne")),
            Err(Error::new(ErrorKind::Unavailable, "cut")),
        ]);
        assert!(blobs.put(&key, broken.boxed()).await.is_err());
        assert_eq!(text(&blobs, &key).await.as_deref(), Some("old"));
        let info = blobs.put(&key, pieces(&["n", "ew"])).await.unwrap();
        assert_eq!(text(&blobs, &key).await.as_deref(), Some("new"));
        assert_eq!(info.sha256, hex::encode(Sha256::digest(b"new")));
        assert_eq!(dir.path().join("unfinished").read_dir().unwrap().count(), 0);
        blobs.remove(&key).await.unwrap();
        blobs.remove(&key).await.unwrap();
        assert_eq!(text(&blobs, &key).await, None);
    }

    #[tokio::test]
    async fn one_flipped_byte_anywhere_is_noticed_before_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = FileBlobs::open(dir.path(), Quota::default()).unwrap();
        let text: &'static str = "some contents of a cache";
        let (by_hash, _) = blobs.put_by_hash(Artifact, pieces(&[text])).await.unwrap();
        let named = |kind| BlobKey::new(kind, "k.tgz").unwrap();
        for key in [named(Source), named(Cache), by_hash] {
            if key.kind() != Artifact {
                blobs.put(&key, pieces(&[text])).await.unwrap();
            }
            assert_eq!(blobs.size(&key).await.unwrap(), Some(text.len() as u64));
            assert_eq!(blobs.check(&key).await.unwrap(), Some(true));
            assert_eq!(
                blobs.keys(key.kind()).await.unwrap(),
                std::slice::from_ref(&key)
            );
            let whole = std::fs::read(blobs.path(&key)).unwrap();
            for at in 0..whole.len() {
                let mut damaged = whole.clone();
                damaged[at] ^= 1;
                std::fs::write(blobs.path(&key), &damaged).unwrap();
                assert_eq!(
                    blobs.check(&key).await.unwrap(),
                    Some(false),
                    "{key} at {at}"
                );
                std::fs::write(blobs.path(&key), &whole[..at]).unwrap();
                assert_eq!(
                    blobs.check(&key).await.unwrap(),
                    Some(false),
                    "{key} to {at}"
                );
            }
            let mut contents = blobs.get(&key).await.unwrap().unwrap();
            let first = contents.try_next().await.unwrap_err();
            assert_eq!(first.kind(), ErrorKind::Corrupt, "nothing that looks whole");
            std::fs::write(blobs.path(&key), &whole).unwrap();
            assert_eq!(blobs.check(&key).await.unwrap(), Some(true));
        }
        let nothing = BlobKey::new(Source, "nothing").unwrap();
        assert_eq!(blobs.check(&nothing).await.unwrap(), None);
    }

    #[tokio::test]
    async fn the_least_recently_used_makes_room_and_artifacts_never_do() {
        let dir = tempfile::tempdir().unwrap();
        let quota = Quota {
            source: 100,
            artifact: 5,
            ..Quota::default()
        };
        let blobs = FileBlobs::open(dir.path(), quota).unwrap();
        let key = |name: &str| BlobKey::new(BlobKind::Source, name).unwrap();
        for (name, age) in [("a", 30), ("b", 20)] {
            blobs.put(&key(name), pieces(&["1234"])).await.unwrap();
            let file = File::open(blobs.path(&key(name))).unwrap();
            let then = SystemTime::now() - std::time::Duration::from_secs(age);
            file.set_modified(then).unwrap();
        }
        assert!(text(&blobs, &key("a")).await.is_some());
        blobs.put(&key("c"), pieces(&["1234"])).await.unwrap();
        assert_eq!(text(&blobs, &key("b")).await, None);
        assert!(text(&blobs, &key("a")).await.is_some());
        let (first, _) = blobs
            .put_by_hash(BlobKind::Artifact, pieces(&["12345"]))
            .await
            .unwrap();
        let full = blobs.put_by_hash(BlobKind::Artifact, pieces(&["1"])).await;
        assert_eq!(full.unwrap_err().kind(), ErrorKind::Limit);
        assert!(text(&blobs, &first).await.is_some());
    }
}
