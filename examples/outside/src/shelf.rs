//! Large contents of one's own: a file each, and its checksum in another one.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use build_core::buildlet::ByteStream;
use build_core::{Error, ErrorKind, Result};
use build_server::store::{BlobInfo, BlobKey, BlobKind, Blobs, checked};
use futures::{StreamExt, TryStreamExt};
use sha2::{Digest, Sha256};

/// A directory of contents, read whole: for a farm with small caches.
pub struct Shelf(PathBuf);

impl Shelf {
    pub fn new(dir: &Path) -> Result<Self> {
        for kind in BlobKind::ALL {
            std::fs::create_dir_all(dir.join(kind.as_str()))?;
        }
        Ok(Self(dir.to_owned()))
    }

    pub fn path(&self, key: &BlobKey) -> PathBuf {
        self.0.join(key.kind().as_str()).join(key.name())
    }

    /// Contents and checksum are one file, so that one renaming replaces both.
    async fn store(&self, key: &BlobKey, contents: Vec<u8>) -> Result<BlobInfo> {
        let info = BlobInfo { size: contents.len() as u64, sha256: hex(&Sha256::digest(&contents)) };
        let new = self.0.join(format!("new-{}", key.name()));
        let text = [info.sha256.as_bytes(), &contents].concat();
        tokio::fs::write(&new, text).await?;
        tokio::fs::File::open(&new).await?.sync_all().await?;
        tokio::fs::rename(new, self.path(key)).await?;
        Ok(info)
    }

    /// The checksum and the contents; `None` when there are none.
    async fn load(&self, key: &BlobKey) -> Result<Option<(String, Vec<u8>)>> {
        let mut text = match tokio::fs::read(self.path(key)).await {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let contents = text.split_off(text.len().min(64));
        Ok(Some((String::from_utf8_lossy(&text).into_owned(), contents)))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn whole(contents: ByteStream) -> Result<Vec<u8>> {
    let pieces: Vec<_> = contents.try_collect().await?;
    Ok(pieces.concat())
}

#[async_trait]
impl Blobs for Shelf {
    async fn put(&self, key: &BlobKey, contents: ByteStream) -> Result<BlobInfo> {
        self.store(key, whole(contents).await?).await
    }

    async fn put_by_hash(&self, kind: BlobKind, contents: ByteStream) -> Result<(BlobKey, BlobInfo)> {
        let contents = whole(contents).await?;
        let key = BlobKey::new(kind, hex(&Sha256::digest(&contents)))?;
        let info = self.store(&key, contents).await?;
        Ok((key, info))
    }

    async fn get(&self, key: &BlobKey) -> Result<Option<ByteStream>> {
        let Some((sha256, contents)) = self.load(key).await? else { return Ok(None) };
        let contents = futures::stream::iter([Ok(contents.into())]).boxed();
        Ok(Some(checked(contents, sha256, key.clone())))
    }

    async fn keys(&self, kind: BlobKind) -> Result<Vec<BlobKey>> {
        let mut keys = Vec::new();
        let mut entries = tokio::fs::read_dir(self.0.join(kind.as_str())).await?;
        while let Some(entry) = entries.next_entry().await? {
            let name = entry.file_name().into_string();
            let name = name.map_err(|_| Error::new(ErrorKind::Corrupt, "a file that nobody stored"))?;
            keys.push(BlobKey::new(kind, name)?);
        }
        Ok(keys)
    }

    async fn size(&self, key: &BlobKey) -> Result<Option<u64>> {
        Ok(self.load(key).await?.map(|(_, contents)| contents.len() as u64))
    }

    async fn remove(&self, key: &BlobKey) -> Result<()> {
        match tokio::fs::remove_file(self.path(key)).await {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e.into()),
            _ => Ok(()),
        }
    }

    async fn used(&self, kind: BlobKind) -> Result<u64> {
        let mut used = 0;
        for key in self.keys(kind).await? {
            used += self.size(&key).await?.unwrap_or(0);
        }
        Ok(used)
    }
}
