//! Directories kept for the next build.
//!
//! A cache is known by repository, builder and path, and remembers the commit it was made at.
//! It is put back when that commit comes before the one to build. Tools that go by times then
//! see what they would see in a directory where somebody works: files that have not changed
//! since are older than what was made of them, files that have are new.

use std::sync::PoisonError;

use build_client::once;
use build_core::buildlet::Exec;
use build_core::clock::Timestamp;
use build_core::engine::CHECKOUT_DIR;
use build_core::ids::CommitHash;
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

/// The list of changed files, beside the checkout.
const CHANGED_LIST: &str = ".farmer-changed";
/// Gives every file of the checkout the base time `$1`, and the changed ones the present.
const SET_TIMES: &str = "find . -name .git -prune -o -type f -exec touch -t \"$1\" {} + && \
    if [ -s ../.farmer-changed ]; then xargs -0 touch -c < ../.farmer-changed; fi; \
    status=$?; rm -f ../.farmer-changed; exit $status";

/// What is written down of a cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Manifest {
    commit: CommitHash,
    /// The time of the files that have not changed since the first of a row of caches.
    base: Timestamp,
    contents: String,
}

/// What the caches on a machine came from.
#[derive(Clone, Debug, Default)]
pub(super) struct Restored {
    /// Older than everything in them.
    base: Option<Timestamp>,
    /// The commit of each path.
    commits: Vec<(String, CommitHash)>,
}

struct Hit {
    path: String,
    manifest: Manifest,
    changed: Vec<String>,
}

impl Inner {
    /// Puts back what can be; the answer is the paths that were.
    pub(super) async fn restore_caches(
        &self,
        held: &Held,
        work: &Work<'_>,
        paths: &[String],
    ) -> Result<Vec<String>> {
        let mut hits = Vec::new();
        for path in paths {
            hits.extend(self.hit(work, path).await?);
        }
        let Some(base) = hits.iter().map(|hit| hit.manifest.base).min() else {
            return Ok(Vec::new());
        };
        set_times(held, base, &hits).await?;
        let mut restored = Restored {
            base: Some(base),
            commits: Vec::new(),
        };
        for hit in hits {
            if self.put_back(held, &hit).await? {
                restored.commits.push((hit.path, hit.manifest.commit));
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
        let Some(manifest) = self.manifest(&key).await? else {
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
        self.put_blob(held, &key, &dir).await
    }

    /// Keeps directories of a machine, as well as it can: a build does not fail by its caches.
    pub(super) async fn keep_caches(
        &self,
        held: &Held,
        item: &WorkItem,
        builder: &Builder,
        paths: &[String],
    ) {
        // The commit would not tell what a work tree held.
        if item.worktree {
            return;
        }
        for path in paths {
            match self.keep_cache(held, item, builder, path).await {
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
        item: &WorkItem,
        builder: &Builder,
        path: &str,
    ) -> Result<()> {
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

async fn set_times(held: &Held, base: Timestamp, hits: &[Hit]) -> Result<()> {
    let mut list = Vec::new();
    for path in hits.iter().flat_map(|hit| &hit.changed) {
        list.extend_from_slice(format!("./{path}\0").as_bytes());
    }
    let buildlet = held.buildlet();
    buildlet.put(CHANGED_LIST, 0o600, once(list)).await?;
    let script = Exec::shell(SET_TIMES)
        .arg("set-times")
        .arg(touch_time(base));
    let output = buildlet
        .exec(script.dir(CHECKOUT_DIR).env("TZ", "UTC"))
        .await?;
    if output.outcome().is_ok() {
        return Ok(());
    }
    let text = format!(
        "set times of the checkout: {}: {}",
        output.outcome(),
        output.text().trim()
    );
    Err(Error::new(ErrorKind::Unavailable, text))
}

/// The form of `touch -t`: `202012231958.56`.
fn touch_time(time: Timestamp) -> String {
    let digits: String = time
        .to_string()
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    let (minutes, seconds) = digits.split_at(digits.len().saturating_sub(2));
    format!("{minutes}.{seconds}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_touch_reads_them() {
        let time = Timestamp::from_seconds(1_608_753_536);
        assert_eq!(touch_time(time), "202012231958.56");
    }
}
