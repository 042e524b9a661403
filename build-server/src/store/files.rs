//! Large contents as files.
//!
//! Written beside, synced, then renamed: a reader sees old contents or new ones, whole, and so
//! does the next start after a power cut.

use std::fs::{File, create_dir_all};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use async_trait::async_trait;
use build_core::buildlet::ByteStream;
use build_core::{Error, ErrorKind, Result};
use futures::{StreamExt, TryStreamExt};
use sha2::{Digest, Sha256};
use tempfile::{NamedTempFile, TempPath};
use tokio::io::AsyncWriteExt;
use tokio_util::io::ReaderStream;

use super::{BlobInfo, BlobKey, BlobKind, Blobs};

/// Bytes read at a time.
const PIECE_BYTES: usize = 256 << 10;

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
    fn of(&self, kind: BlobKind) -> u64 {
        match kind {
            BlobKind::Source => self.source,
            BlobKind::Cache => self.cache,
            BlobKind::Artifact => self.artifact,
        }
    }
}

/// Contents as files below one directory.
pub struct FileBlobs {
    dir: PathBuf,
    quota: Quota,
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
        };
        let names = BlobKind::ALL.map(BlobKind::as_str);
        for name in names {
            create_dir_all(blobs.dir.join(name)).map_err(|e| blobs.failed("make", name, e))?;
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
        let temporary = NamedTempFile::new_in(self.unfinished());
        let (file, path) = temporary
            .map_err(|e| self.failed("write", name, e))?
            .into_parts();
        let mut file = tokio::fs::File::from_std(file);
        let info = self.copy(contents, &mut file, name, kind).await?;
        let synced = async {
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

fn held_in(dir: &Path) -> std::io::Result<Vec<Held>> {
    let mut held = Vec::new();
    for entry in dir.read_dir()? {
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

    async fn get(&self, key: &BlobKey) -> Result<Option<ByteStream>> {
        let file = match tokio::fs::File::open(self.path(key)).await {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(self.failed("read", key.name(), e)),
        };
        let file = file.into_std().await;
        // The time of the last use, by which room is made. Without it the contents only go earlier.
        let _ = file.set_modified(SystemTime::now());
        let pieces = ReaderStream::with_capacity(tokio::fs::File::from_std(file), PIECE_BYTES);
        let name = key.to_string();
        let named = move |e| Error::from(e).while_doing(format!("read {name}"));
        Ok(Some(pieces.map_err(named).boxed()))
    }

    async fn size(&self, key: &BlobKey) -> Result<Option<u64>> {
        match tokio::fs::metadata(self.path(key)).await {
            Ok(about) => Ok(Some(about.len())),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(self.failed("read", key.name(), e)),
        }
    }

    async fn remove(&self, key: &BlobKey) -> Result<()> {
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
    async fn the_least_recently_used_makes_room_and_artifacts_never_do() {
        let dir = tempfile::tempdir().unwrap();
        let quota = Quota {
            source: 10,
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
