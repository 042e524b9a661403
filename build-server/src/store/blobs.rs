//! Names of large contents, and the store that keeps them in memory.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use build_core::buildlet::ByteStream;
use build_core::{Error, ErrorKind, Result};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use sha2::{Digest, Sha256};

use super::Blobs;

/// What large contents are for; each kind has its own quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlobKind {
    /// The packed checkout of a commit; can be made again.
    Source,
    /// Directories kept for the next build; can be made again.
    Cache,
    /// Files that a build has kept.
    Artifact,
}

impl BlobKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Source, Self::Cache, Self::Artifact];

    /// Its directory, or prefix in an object store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Cache => "cache",
            Self::Artifact => "artifact",
        }
    }
}

/// The name of large contents.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BlobKey {
    kind: BlobKind,
    name: String,
}

/// Longest name of a blob in bytes: below every file system's limit.
const MAX_NAME: usize = 200;

impl BlobKey {
    /// The key of a kind and a name of letters, digits, `.`, `_` and `-`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] naming the name.
    pub fn new(kind: BlobKind, name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let fits = (1..=MAX_NAME).contains(&name.len());
        if !fits || name.starts_with('.') || !name.bytes().all(plain) {
            let text = format!("bad name {name:?} for stored contents");
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        Ok(Self { kind, name })
    }

    /// The key of contents that are named by their hash.
    pub(super) fn of_hash(kind: BlobKind, sha256: &str) -> Self {
        let name = sha256.to_owned();
        Self { kind, name }
    }

    /// What it is for.
    pub fn kind(&self) -> BlobKind {
        self.kind
    }

    /// Its name within the kind.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for BlobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.as_str(), self.name)
    }
}

/// What was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobInfo {
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the contents, lower-case hex.
    pub sha256: String,
}

/// Contents in memory.
#[derive(Default)]
pub struct MemoryBlobs {
    contents: Mutex<HashMap<BlobKey, Bytes>>,
}

impl MemoryBlobs {
    fn contents(&self) -> MutexGuard<'_, HashMap<BlobKey, Bytes>> {
        // Nothing panics while it holds this lock.
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn collect(mut contents: ByteStream) -> Result<(Bytes, BlobInfo)> {
    let mut all = BytesMut::new();
    while let Some(piece) = contents.next().await {
        all.extend_from_slice(&piece?);
    }
    let info = BlobInfo {
        size: all.len() as u64,
        sha256: hex::encode(Sha256::digest(&all)),
    };
    Ok((all.freeze(), info))
}

#[async_trait]
impl Blobs for MemoryBlobs {
    async fn put(&self, key: &BlobKey, contents: ByteStream) -> Result<BlobInfo> {
        let (bytes, info) = collect(contents).await?;
        self.contents().insert(key.clone(), bytes);
        Ok(info)
    }

    async fn put_by_hash(
        &self,
        kind: BlobKind,
        contents: ByteStream,
    ) -> Result<(BlobKey, BlobInfo)> {
        let (bytes, info) = collect(contents).await?;
        let key = BlobKey::of_hash(kind, &info.sha256);
        self.contents().insert(key.clone(), bytes);
        Ok((key, info))
    }

    async fn get(&self, key: &BlobKey) -> Result<Option<ByteStream>> {
        let found = self.contents().get(key).cloned();
        Ok(found.map(|bytes| futures::stream::iter([Ok(bytes)]).boxed()))
    }

    async fn size(&self, key: &BlobKey) -> Result<Option<u64>> {
        Ok(self.contents().get(key).map(|bytes| bytes.len() as u64))
    }

    async fn remove(&self, key: &BlobKey) -> Result<()> {
        self.contents().remove(key);
        Ok(())
    }

    async fn used(&self, kind: BlobKind) -> Result<u64> {
        let contents = self.contents();
        let of_kind = contents.iter().filter(|(key, _)| key.kind == kind);
        Ok(of_kind.map(|(_, bytes)| bytes.len() as u64).sum())
    }
}
