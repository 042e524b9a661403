//! Names of large contents, and the store that keeps them in memory.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use build_core::buildlet::ByteStream;
use build_core::{Error, ErrorKind, Result};
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt};
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

/// A URL from which a machine fetches large contents. It may carry a permission, so it is not
/// shown whole.
#[derive(Clone, PartialEq, Eq)]
pub struct FetchUrl(String);

impl FetchUrl {
    /// The URL, of `http` or `https`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for another scheme, and for spaces and control characters.
    pub fn new(url: impl Into<String>) -> Result<Self> {
        let url = url.into();
        let scheme = url.starts_with("http://") || url.starts_with("https://");
        if scheme && url.bytes().all(|b| b.is_ascii_graphic()) {
            return Ok(Self(url));
        }
        let text = "machines fetch contents from http:// and https:// URLs alone";
        Err(Error::new(ErrorKind::Invalid, text))
    }

    /// All of it, for the machine.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for FetchUrl {
    /// Without what may be a permission.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.split(['?', '#']).next().unwrap_or_default();
        let host = shown.split_once('@').map_or(shown, |(_, host)| host);
        write!(f, "FetchUrl({host:?}, …)")
    }
}

/// `contents`, whose SHA-256 should be `sha256` (lower-case hex): when it is not, the stream ends
/// with [`ErrorKind::Corrupt`] in the place of its last piece, so that nobody takes damaged
/// contents for whole ones. `name` is told in the error.
pub fn checked(
    contents: ByteStream,
    sha256: impl Into<String>,
    name: impl fmt::Display + Send + Sync + 'static,
) -> ByteStream {
    let state = Checking {
        contents,
        hash: Sha256::new(),
        held: None,
        sha256: sha256.into(),
        name: Box::new(name),
    };
    let pieces = futures::stream::try_unfold(Some(state), |state| async move {
        match state {
            Some(state) => state.next().await,
            None => Ok(None),
        }
    });
    pieces.boxed()
}

struct Checking {
    contents: ByteStream,
    hash: Sha256,
    /// Given on when it is known not to be the last one, or that all is well.
    held: Option<Bytes>,
    sha256: String,
    name: Box<dyn fmt::Display + Send + Sync>,
}

impl Checking {
    async fn next(mut self) -> Result<Option<(Bytes, Option<Self>)>> {
        while let Some(piece) = self.contents.try_next().await? {
            self.hash.update(&piece);
            if let Some(before) = self.held.replace(piece) {
                return Ok(Some((before, Some(self))));
            }
        }
        if hex::encode(self.hash.finalize()) == self.sha256 {
            return Ok(self.held.map(|last| (last, None)));
        }
        let text = format!("{} is damaged: it is not what was stored", self.name);
        Err(Error::new(ErrorKind::Corrupt, text))
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

    async fn keys(&self, kind: BlobKind) -> Result<Vec<BlobKey>> {
        let contents = self.contents();
        Ok(contents
            .keys()
            .filter(|k| k.kind == kind)
            .cloned()
            .collect())
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
