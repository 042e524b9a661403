//! Large contents in an object store.
//!
//! Contents are written to a file first: only their end tells their checksum, which the store keeps
//! beside them as metadata. A put that is cut short leaves the old contents in place.

mod open;

use std::io::SeekFrom;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use build_core::buildlet::ByteStream;
use build_core::{Error, ErrorKind, Result};
use futures::{StreamExt, TryStreamExt};
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::{Attribute, Attributes, ObjectMeta, ObjectStore, ObjectStoreExt as _};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _};

use self::open::{Opened, Signed};
use super::{BlobInfo, BlobKey, BlobKind, Blobs, FetchUrl, Quota, checked};

/// Larger contents are sent in parts of this many bytes.
const PART_BYTES: usize = 8 << 20;
/// How long one question may take; contents take as long as they come.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a machine may use a URL: an hour from when it gets it, and some for clocks that differ.
const VALID: Duration = Duration::from_secs(2 * 60 * 60);
/// The metadata that holds the checksum.
const SHA256: &str = "sha256";

/// Contents in an object store: `PREFIX/source/NAME`, `PREFIX/cache/NAME`, `PREFIX/artifact/SHA256`.
///
/// Machines fetch from it by themselves where it can sign a URL. Sources and caches beyond their
/// quota go, what was stored first before the rest; one put in time makes room. Several farms
/// must not share a prefix.
#[derive(Clone, Debug)]
pub struct ObjectBlobs {
    store: Arc<dyn ObjectStore>,
    signer: Option<Arc<dyn Signed>>,
    prefix: Path,
    /// As it was given, for messages.
    url: String,
    /// Where contents are while their checksum is not known.
    spool: PathBuf,
    quota: Quota,
}

/// Contents in a file of no name, read from its begin.
struct Spooled {
    file: tokio::fs::File,
    info: BlobInfo,
}

impl ObjectBlobs {
    /// The store at `url`: `memory:///`, and with the feature `store-cloud` `s3://BUCKET/PREFIX`,
    /// `gs://BUCKET/PREFIX` and `az://CONTAINER/PREFIX`. `options` are those of the store, such as
    /// `aws_region`. Contents pass through files without names in `spool`, which is made when
    /// missing. Nothing is asked yet.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for what is no address of a store, [`ErrorKind::Unsupported`] for
    /// one that is not compiled in, and when `spool` cannot be made.
    pub fn open(
        url: &str,
        options: impl IntoIterator<Item = (String, String)>,
        spool: impl Into<PathBuf>,
        quota: Quota,
    ) -> Result<Self> {
        let Opened {
            store,
            signer,
            prefix,
        } = open::open(url, options)?;
        let spool = spool.into();
        super::private::create_dir_all(&spool).map_err(|e| {
            Error::from(e).while_doing(format!("make the directory {}", spool.display()))
        })?;
        Ok(Self {
            store,
            signer,
            prefix,
            url: url.to_owned(),
            spool,
            quota,
        })
    }

    /// Asks the store for something that need not be there.
    ///
    /// # Errors
    /// When it does not answer, or refuses.
    pub async fn check_reachable(&self) -> Result<()> {
        let key = BlobKey::new(BlobKind::Source, "reachable")?;
        self.head(&key).await.map(|_| ())
    }

    fn kind(&self, kind: BlobKind) -> Path {
        self.prefix.clone().join(kind.as_str())
    }

    fn path(&self, key: &BlobKey) -> Path {
        self.kind(key.kind()).join(key.name())
    }

    fn failed(&self, what: &str, name: &str, error: object_store::Error) -> Error {
        let text = format!("{what} {name} in {}", self.url);
        Error::caused_by(kind_of(&error), text, error)
            .with_hint("see that the store can be reached, and that the credentials are right")
    }

    async fn in_time<T>(
        &self,
        what: &str,
        name: &str,
        asked: impl Future<Output = object_store::Result<T>>,
    ) -> Result<Option<T>> {
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(answer)) => Ok(Some(answer)),
            Ok(Err(object_store::Error::NotFound { .. })) => Ok(None),
            Ok(Err(error)) => Err(self.failed(what, name, error)),
            Err(_) => {
                let text = format!("{what} {name} in {}: no answer", self.url);
                Err(Error::new(ErrorKind::Unavailable, text))
            }
        }
    }

    async fn head(&self, key: &BlobKey) -> Result<Option<ObjectMeta>> {
        let path = self.path(key);
        self.in_time("look for", &key.to_string(), self.store.head(&path))
            .await
    }

    async fn spool(&self, name: &str, kind: BlobKind, mut contents: ByteStream) -> Result<Spooled> {
        let failed = |e: std::io::Error| Error::from(e).while_doing(format!("spool {name}"));
        let file = tempfile::tempfile_in(&self.spool).map_err(failed)?;
        let mut file = tokio::fs::File::from_std(file);
        let (mut hash, mut size) = (Sha256::new(), 0u64);
        let allowed = self.quota.of(kind);
        while let Some(piece) = contents.try_next().await? {
            hash.update(&piece);
            size += piece.len() as u64;
            if size > allowed {
                let text = format!("{name} is larger than the quota of {allowed} bytes");
                return Err(Error::new(ErrorKind::Limit, text));
            }
            file.write_all(&piece).await.map_err(failed)?;
        }
        file.flush().await.map_err(failed)?;
        file.seek(SeekFrom::Start(0)).await.map_err(failed)?;
        let sha256 = hex::encode(hash.finalize());
        let info = BlobInfo { size, sha256 };
        Ok(Spooled { file, info })
    }

    async fn send(&self, key: &BlobKey, mut spooled: Spooled) -> Result<BlobInfo> {
        if key.kind() == BlobKind::Artifact {
            self.check_artifact_quota(spooled.info.size).await?;
        }
        let name = Attribute::Metadata(SHA256.into());
        let attributes = Attributes::from_iter([(name, spooled.info.sha256.clone())]);
        let mut out = BufWriter::with_capacity(self.store.clone(), self.path(key), PART_BYTES)
            .with_attributes(attributes);
        let sent = async {
            tokio::io::copy(&mut spooled.file, &mut out).await?;
            out.shutdown().await
        };
        if let Err(error) = sent.await {
            // Parts that were sent cost room until they are given up.
            let _ = tokio::time::timeout(PATIENCE, out.abort()).await;
            return Err(Error::from(error).while_doing(format!("store {key} in {}", self.url)));
        }
        self.make_room(key).await?;
        Ok(spooled.info)
    }

    async fn check_artifact_quota(&self, more: u64) -> Result<()> {
        let allowed = self.quota.of(BlobKind::Artifact);
        if allowed == u64::MAX || self.used(BlobKind::Artifact).await? + more <= allowed {
            return Ok(());
        }
        let text = format!("artifacts fill their quota of {allowed} bytes");
        Err(Error::new(ErrorKind::Limit, text))
    }

    async fn list(&self, kind: BlobKind) -> Result<Vec<ObjectMeta>> {
        let below = self.kind(kind);
        let listed = self.store.list(Some(&below)).try_collect();
        let listed = self.in_time("list", kind.as_str(), listed).await?;
        Ok(listed.unwrap_or_default())
    }

    /// Removes what was stored first until the rest fits; never `newest`.
    async fn make_room(&self, newest: &BlobKey) -> Result<()> {
        let allowed = self.quota.of(newest.kind());
        if allowed == u64::MAX || newest.kind() == BlobKind::Artifact {
            return Ok(());
        }
        let mut held = self.list(newest.kind()).await?;
        let mut used: u64 = held.iter().map(|object| object.size).sum();
        held.sort_by_key(|object| object.last_modified);
        let newest = self.path(newest);
        for old in held.iter().filter(|object| object.location != newest) {
            if used <= allowed {
                break;
            }
            let name = old.location.to_string();
            self.in_time("remove", &name, self.store.delete(&old.location))
                .await?;
            used = used.saturating_sub(old.size);
        }
        Ok(())
    }
}

fn kind_of(error: &object_store::Error) -> ErrorKind {
    use object_store::Error as E;
    match error {
        E::PermissionDenied { .. } | E::Unauthenticated { .. } => ErrorKind::Denied,
        E::NotImplemented { .. } | E::NotSupported { .. } => ErrorKind::Unsupported,
        E::InvalidPath { .. } => ErrorKind::Invalid,
        _ => ErrorKind::Unavailable,
    }
}

#[async_trait]
impl Blobs for ObjectBlobs {
    async fn put(&self, key: &BlobKey, contents: ByteStream) -> Result<BlobInfo> {
        let spooled = self.spool(key.name(), key.kind(), contents).await?;
        self.send(key, spooled).await
    }

    async fn put_by_hash(
        &self,
        kind: BlobKind,
        contents: ByteStream,
    ) -> Result<(BlobKey, BlobInfo)> {
        let spooled = self.spool(kind.as_str(), kind, contents).await?;
        let key = BlobKey::of_hash(kind, &spooled.info.sha256);
        if let Some(there) = self.head(&key).await?
            && there.size == spooled.info.size
        {
            return Ok((key, spooled.info));
        }
        let info = self.send(&key, spooled).await?;
        Ok((key, info))
    }

    async fn get(&self, key: &BlobKey) -> Result<Option<ByteStream>> {
        let (path, name) = (self.path(key), key.to_string());
        let Some(found) = self.in_time("read", &name, self.store.get(&path)).await? else {
            return Ok(None);
        };
        let sha256 = match key.kind() {
            BlobKind::Artifact => key.name().to_owned(),
            // Of an object without one, no contents are right.
            _ => {
                let kept = found.attributes.get(&Attribute::Metadata(SHA256.into()));
                kept.map(|value| value.to_string()).unwrap_or_default()
            }
        };
        let blobs = self.clone();
        let pieces = found.into_stream();
        let pieces = pieces.map_err(move |e| blobs.failed("read", &name, e));
        Ok(Some(checked(pieces.boxed(), sha256, key.clone())))
    }

    async fn url(&self, key: &BlobKey) -> Result<Option<FetchUrl>> {
        let Some(signer) = &self.signer else {
            return Ok(None);
        };
        if self.head(key).await?.is_none() {
            return Ok(None);
        }
        let (path, name) = (self.path(key), key.to_string());
        let signed = signer.signed(&path, VALID);
        let url = self.in_time("sign a URL of", &name, signed).await?;
        url.map(FetchUrl::new).transpose()
    }

    async fn keys(&self, kind: BlobKind) -> Result<Vec<BlobKey>> {
        let listed = self.list(kind).await?;
        let names = listed
            .iter()
            .filter_map(|object| object.location.filename());
        Ok(names
            .filter_map(|name| BlobKey::new(kind, name).ok())
            .collect())
    }

    async fn size(&self, key: &BlobKey) -> Result<Option<u64>> {
        Ok(self.head(key).await?.map(|object| object.size))
    }

    async fn remove(&self, key: &BlobKey) -> Result<()> {
        let (path, name) = (self.path(key), key.to_string());
        self.in_time("remove", &name, self.store.delete(&path))
            .await
            .map(|_| ())
    }

    async fn used(&self, kind: BlobKind) -> Result<u64> {
        Ok(self.list(kind).await?.iter().map(|o| o.size).sum())
    }
}

#[cfg(test)]
mod tests;
