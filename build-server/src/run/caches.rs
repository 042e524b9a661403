//! Directories kept for the next build.
//!
//! A cache is known by repository, builder and path, and remembers the commit it was made at.
//! It is put back when that commit comes before the one to build. Tools that go by times then
//! see what they would see in a directory where somebody works: files that have not changed
//! since are older than what was made of them, files that have are new.

use std::collections::HashSet;
use std::sync::PoisonError;

use build_client::once;
use build_core::clock::Timestamp;
use build_core::engine::CHECKOUT_DIR;
use build_core::ids::{BuildId, CommitHash};
use build_core::name::Name;
use build_core::plan::identity;
use build_core::tarutil::{EntryHeader, EntryKind, Modified};
use build_core::work::{Builder, WorkItem};
use build_core::{Error, ErrorKind, Result};
use bytes::Bytes;
use futures::TryStreamExt;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Inner;
use super::leases::Held;
use super::prepare::Work;
use crate::source::without_passwords;
use crate::store::{BlobKey, BlobKind};

/// A time that machines take for the present, by their own clocks: whoever unpacks gives nothing a
/// time of the future. Seconds since 1970, in the year 2200.
const FUTURE: i64 = 7_258_118_400;

/// What is written down of a cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Manifest {
    commit: CommitHash,
    /// The time of the files that have not changed since the first of a row of caches.
    base: Timestamp,
    contents: String,
    /// What lay beside the commit: its files have no times that tell whether they changed.
    #[serde(default)]
    inputs: String,
}

/// Of what build directories are kept.
#[derive(Clone, Copy)]
pub(super) struct MadeBy<'a> {
    pub(super) build: &'a BuildId,
    pub(super) item: &'a WorkItem,
    pub(super) builder: &'a Builder,
}

/// What the caches on a machine came from.
#[derive(Clone, Debug, Default)]
pub(super) struct Restored {
    /// Older than everything in them.
    base: Option<Timestamp>,
    /// The commit of each path.
    commits: Vec<(String, CommitHash)>,
}

/// A cache that can be put back.
pub(super) struct Hit {
    path: String,
    manifest: Manifest,
    changed: Vec<Name>,
}

/// The times of the files of a checkout into which caches are put back.
pub(super) struct Times {
    /// Of what has not changed since.
    base: Modified,
    changed: HashSet<Vec<u8>>,
}

impl Times {
    /// What caches ask for; `None` when there are none.
    pub(super) fn of(hits: &[Hit]) -> Option<Self> {
        let base = hits.iter().map(|hit| hit.manifest.base).min()?;
        let changed = hits.iter().flat_map(|hit| &hit.changed);
        Some(Self {
            base: Modified {
                seconds: base.as_seconds(),
                nanos: 0,
            },
            changed: changed.map(|path| path.as_bytes().to_vec()).collect(),
        })
    }

    /// That of an entry of the checkout; `None`: as it is. The repository itself keeps its times.
    pub(super) fn of_entry(&self, entry: &EntryHeader) -> Option<Modified> {
        let is_own = entry
            .path()
            .split(|b| *b == b'/')
            .any(|part| part == b".git");
        if is_own || *entry.kind() != EntryKind::File {
            return None;
        }
        let path = entry.path().strip_prefix(b"./").unwrap_or(entry.path());
        Some(match self.changed.contains(path) {
            true => Modified {
                seconds: FUTURE,
                nanos: 0,
            },
            false => self.base,
        })
    }
}

impl Inner {
    /// What can be put back.
    pub(super) async fn hits(
        &self,
        work: &Work<'_>,
        paths: &[String],
        refused: &[String],
    ) -> Result<Vec<Hit>> {
        let mut hits = Vec::new();
        for path in paths.iter().filter(|path| !refused.contains(path)) {
            hits.extend(self.hit(work, path).await?);
        }
        Ok(hits)
    }

    /// Puts back what can be; the answer is the paths that were. One that the machine refuses is
    /// added to `refused`, and the work directory is to be filled anew.
    pub(super) async fn restore_caches(
        &self,
        held: &Held,
        work: &Work<'_>,
        hits: Vec<Hit>,
        refused: &mut Vec<String>,
    ) -> Result<Vec<String>> {
        let Some(base) = hits.iter().map(|hit| hit.manifest.base).min() else {
            return Ok(Vec::new());
        };
        let mut restored = Restored {
            base: Some(base),
            commits: Vec::new(),
        };
        for hit in hits {
            match self.put_back(held, &hit).await {
                Ok(true) => restored.commits.push((hit.path, hit.manifest.commit)),
                Ok(false) => {}
                Err(error) if !matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::TimedOut) => {
                    // A link or a file of the commit stands in its way for one, and the machine may
                    // have a part of it: whoever asked begins anew without it. No build ends by its
                    // caches; when the machine is at fault, that is seen then.
                    refused.push(hit.path.clone());
                    let text = format!("the cache {} does not fit into the checkout", hit.path);
                    return Err(Error::caused_by(ErrorKind::Corrupt, text, error));
                }
                Err(error) => return Err(error),
            }
        }
        tracing::info!(build = %work.build, restored = ?restored.commits, "caches were put back");
        let paths = restored
            .commits
            .iter()
            .map(|(path, _)| path.clone())
            .collect();
        *held.restored.lock().unwrap_or_else(PoisonError::into_inner) = restored;
        Ok(paths)
    }

    async fn hit(&self, work: &Work<'_>, path: &str) -> Result<Option<Hit>> {
        let key = manifest_key(work.item, work.builder, path)?;
        let manifest = self.manifest(&key).await?;
        let same = |manifest: &Manifest| manifest.inputs == identity(work.inputs);
        let Some(manifest) = manifest.filter(same) else {
            return Ok(None);
        };
        let changed = self
            .checkouts
            .changed_since(work.item, &manifest.commit)
            .await?;
        Ok(changed.map(|changed| Hit {
            path: path.to_owned(),
            manifest,
            changed,
        }))
    }

    async fn manifest(&self, key: &BlobKey) -> Result<Option<Manifest>> {
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

    async fn put_back(&self, held: &Held, hit: &Hit) -> Result<bool> {
        let key = BlobKey::new(BlobKind::Cache, &hit.manifest.contents)?;
        let dir = format!("{CHECKOUT_DIR}/{}", hit.path);
        // It may have made room for others meanwhile.
        self.put_blob(held, &key, &dir, None).await
    }

    /// Keeps directories of a machine, as well as it can: a build does not fail by its caches.
    pub(super) async fn keep_caches(&self, held: &Held, of: MadeBy<'_>, paths: &[String]) {
        // The commit would not tell what a work tree held, and nobody vouches for a change.
        if of.item.worktree || of.item.change.is_some() || of.item.is_from_outside() {
            return;
        }
        let inputs = match self.plan_of(of.build).await {
            Ok(plan) => plan.map_or_else(String::new, |plan| identity(&plan.inputs)),
            Err(error) => {
                tracing::warn!(error = error.chain(), "cannot keep caches");
                return;
            }
        };
        for path in paths {
            match self.keep_cache(held, of, &inputs, path).await {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    tracing::debug!(path, "no such directory, nothing is cached");
                }
                Err(error) => tracing::warn!(path, error = error.chain(), "cannot keep a cache"),
            }
        }
    }

    async fn keep_cache(
        &self,
        held: &Held,
        of: MadeBy<'_>,
        inputs: &str,
        path: &str,
    ) -> Result<()> {
        let MadeBy { item, builder, .. } = of;
        let restored = {
            let restored = held.restored.lock().unwrap_or_else(PoisonError::into_inner);
            restored.clone()
        };
        let same = (path.to_owned(), item.commit.clone());
        if restored.commits.contains(&same) {
            return Ok(());
        }
        let key = manifest_key(item, builder, path)?;
        let before = self.manifest(&key).await?;
        let packed = held
            .buildlet()
            .get_tar(&format!("{CHECKOUT_DIR}/{path}"))
            .await?;
        let contents = format!(
            "{}-{}.tgz",
            key.name().trim_end_matches(".json"),
            item.commit
        );
        let blobs = self.store.blobs();
        let stored = BlobKey::new(BlobKind::Cache, &contents)?;
        blobs.put(&stored, packed).await?;
        let manifest = Manifest {
            commit: item.commit.clone(),
            base: restored.base.unwrap_or(item.commit_time),
            contents,
            inputs: inputs.to_owned(),
        };
        let text = serde_json::to_vec(&manifest)
            .map_err(|e| Error::caused_by(ErrorKind::Bug, "write down a cache", e))?;
        blobs.put(&key, once(text)).await?;
        match before.filter(|before| before.contents != manifest.contents) {
            Some(old) => {
                blobs
                    .remove(&BlobKey::new(BlobKind::Cache, old.contents)?)
                    .await
            }
            None => Ok(()),
        }
    }
}

fn manifest_key(item: &WorkItem, builder: &Builder, path: &str) -> Result<BlobKey> {
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
    fn only_files_of_the_checkout_get_other_times() {
        let times = Times {
            base: Modified {
                seconds: 7,
                nanos: 0,
            },
            changed: HashSet::from([b"sub/new".to_vec()]),
        };
        let of = |entry: EntryHeader| times.of_entry(&entry).map(|time| time.seconds);
        assert_eq!(of(EntryHeader::file("sub/new", 1)), Some(FUTURE));
        assert_eq!(of(EntryHeader::file("./sub/new", 1)), Some(FUTURE));
        assert_eq!(of(EntryHeader::file("new", 1)), Some(7));
        assert_eq!(of(EntryHeader::file(".git/index", 1)), None);
        assert_eq!(of(EntryHeader::file("sub/.git", 1)), None);
        assert_eq!(of(EntryHeader::dir("sub")), None);
        assert_eq!(of(EntryHeader::symlink("l", "sub/new")), None);
    }
}
