//! What is written down of a cache, and a cache that can be put back.

use build_core::clock::Timestamp;
use build_core::ids::CommitHash;
use build_core::name::Name;
use build_core::work::{Builder, WorkItem};
use build_core::{Error, ErrorKind, Result};
use bytes::Bytes;
use futures::TryStreamExt as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::run::Inner;
use crate::source::without_passwords;
use crate::store::{BlobKey, BlobKind};

/// What is written down of a cache. Earlier versions knew no `newest`: what they kept is no cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) commit: CommitHash,
    /// The time of the files that have not changed since the first of a row of caches.
    pub(super) base: Timestamp,
    pub(super) contents: String,
    /// What lay beside the commit: its files have no times that tell whether they changed.
    #[serde(default)]
    pub(super) inputs: String,
    /// Nothing in the cache is newer, in seconds since 1970.
    pub(super) newest: i64,
    /// The files that have changed since then, each with the time it has had since: later than
    /// what was made before.
    #[serde(default)]
    pub(super) later: Vec<(Name, i64)>,
    /// Files of the commit that the build itself has changed: what is in the cache may be made of
    /// what it made of them.
    #[serde(default)]
    pub(super) touched: Vec<Name>,
}

/// A cache that can be put back.
pub(in crate::run) struct Hit {
    pub(super) path: String,
    pub(super) manifest: Manifest,
    /// What is another one than in the commit of the cache.
    pub(super) since: Vec<Name>,
}

impl Hit {
    /// The time of what has never changed, in seconds since 1970.
    pub(super) fn base(&self) -> i64 {
        self.manifest.base.as_seconds()
    }

    /// The files whose content is not that for which the cache was made.
    pub(super) fn changed(&self) -> impl Iterator<Item = &Name> {
        self.since.iter().chain(&self.manifest.touched)
    }
}

impl Inner {
    pub(super) async fn manifest(&self, key: &BlobKey) -> Result<Option<Manifest>> {
        let Some(stream) = self.store.blobs().get(key).await? else {
            return Ok(None);
        };
        // Written by another version, or damaged: then there is no cache.
        match stream.try_collect::<Vec<Bytes>>().await {
            Ok(pieces) => Ok(serde_json::from_slice(&pieces.concat()).ok()),
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn write_manifest(&self, key: &BlobKey, manifest: &Manifest) -> Result<()> {
        let text = serde_json::to_vec(manifest)
            .map_err(|e| Error::caused_by(ErrorKind::Bug, "write down a cache", e))?;
        let blobs = self.store.blobs();
        blobs.put(key, build_client::once(text)).await.map(drop)
    }
}

pub(super) fn manifest_key(item: &WorkItem, builder: &Builder, path: &str) -> Result<BlobKey> {
    let mut hash = Sha256::new();
    // Two repositories of one name share nothing.
    let origin = without_passwords(&item.origin);
    for part in [item.repo.as_str(), &origin, builder.name.as_str(), path] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let name = hex::encode(&hash.finalize()[..16]);
    BlobKey::new(BlobKind::Cache, format!("{name}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_without_times_is_none() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let old = format!(r#"{{"commit":"{commit}","base":7000000,"contents":"c","inputs":""}}"#);
        assert!(serde_json::from_str::<Manifest>(&old).is_err());
        let new = Manifest {
            commit: CommitHash::new(commit).unwrap(),
            base: Timestamp::from_seconds(7),
            contents: "c".into(),
            inputs: String::new(),
            newest: 9,
            later: vec![(Name::from(b"caf\xe9".to_vec()), 8)],
            touched: vec!["a".into()],
        };
        let text = serde_json::to_string(&new).unwrap();
        assert_eq!(serde_json::from_str::<Manifest>(&text).unwrap(), new);
    }
}
