//! Directories kept for the next build.
//!
//! A cache is known by repository, builder and path, and remembers the commit it was made at.
//! It is put back when that commit comes before the one to build. Tools that go by times then
//! see what they would see in a directory where somebody works: a file has an old time only as
//! far as its content is that for which the things in the cache were made.

mod clock;
mod manifest;
mod times;
mod touched;

use std::sync::PoisonError;

use build_core::clock::Timestamp;
use build_core::engine::CHECKOUT_DIR;
use build_core::ids::{BuildId, CommitHash};
use build_core::name::Name;
use build_core::plan::identity;
use build_core::tarutil::newest;
use build_core::work::{Builder, WorkItem};
use build_core::{Error, ErrorKind, Result};
use futures::TryStreamExt as _;
use tokio_util::io::{StreamReader, SyncIoBridge};

pub(super) use self::manifest::Hit;
use self::manifest::{Manifest, manifest_key};
pub(super) use self::times::Times;
use super::Inner;
use super::leases::Held;
use super::prepare::Work;
use crate::store::{BlobKey, BlobKind};

/// Of what build directories are kept.
#[derive(Clone, Copy)]
pub(super) struct MadeBy<'a> {
    pub(super) build: &'a BuildId,
    pub(super) item: &'a WorkItem,
    pub(super) builder: &'a Builder,
}

/// What a checkout on a machine was filled with.
#[derive(Clone, Debug)]
pub(super) struct Restored {
    /// What its files were given.
    times: Times,
    /// The commit of each cache that was put back.
    commits: Vec<(String, CommitHash)>,
}

impl Held {
    /// What its checkout was filled with; `None` when that is not known: nothing is cached then.
    pub(super) fn restored(&self) -> Option<Restored> {
        // Nothing panics while it holds this lock.
        let restored = self.restored.lock();
        restored.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_restored(&self, restored: Option<Restored>) {
        *self.restored.lock().unwrap_or_else(PoisonError::into_inner) = restored;
    }
}

impl Inner {
    /// What can be put back on a machine, and the times that the files of its checkout get then.
    pub(super) async fn hits(
        &self,
        held: &Held,
        work: &Work<'_>,
        paths: &[String],
        refused: &[String],
    ) -> Result<(Vec<Hit>, Option<Times>)> {
        let mut hits = Vec::new();
        for path in paths.iter().filter(|path| !refused.contains(path)) {
            hits.extend(self.hit(work, path).await?);
        }
        if hits.is_empty() {
            return Ok((hits, None));
        }
        let present = match clock::present(held.buildlet()).await {
            Err(error) if error.kind() == ErrorKind::Unsupported => i64::MIN,
            present => present?,
        };
        // What is from a machine's future would get the time at which it is put back: later than
        // that of a file that has changed.
        hits.retain(|hit| {
            let is_past = hit.manifest.newest <= present;
            if !is_past {
                let (build, path) = (work.build, &hit.path);
                tracing::warn!(%build, path, "a cache is newer than its machine's clock, it is left out");
            }
            is_past
        });
        let times = Times::of(&hits, present);
        Ok((hits, times))
    }

    /// Puts back what can be; the answer is the paths that were. One that the machine refuses is
    /// added to `refused`, and the work directory is to be filled anew.
    pub(super) async fn restore_caches(
        &self,
        held: &Held,
        work: &Work<'_>,
        (hits, times): (Vec<Hit>, Option<Times>),
        refused: &mut Vec<String>,
    ) -> Result<Vec<String>> {
        let mut commits = Vec::new();
        for hit in hits {
            match self.put_back(held, &hit).await {
                Ok(true) => commits.push((hit.path, hit.manifest.commit)),
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
        if !commits.is_empty() {
            tracing::info!(build = %work.build, restored = ?commits, "caches were put back");
        }
        let paths = commits.iter().map(|(path, _)| path.clone()).collect();
        let packed = || Times::packed(work.item.commit_time.as_seconds());
        held.set_restored(Some(Restored {
            times: times.unwrap_or_else(packed),
            commits,
        }));
        Ok(paths)
    }

    async fn hit(&self, work: &Work<'_>, path: &str) -> Result<Option<Hit>> {
        let key = manifest_key(work.item, work.builder, path)?;
        let manifest = self.manifest(&key).await?;
        let same = |manifest: &Manifest| manifest.inputs == identity(work.inputs);
        let Some(manifest) = manifest.filter(same) else {
            return Ok(None);
        };
        let since = self
            .checkouts
            .changed_since(work.item, &manifest.commit)
            .await?;
        Ok(since.map(|since| Hit {
            path: path.to_owned(),
            manifest,
            since,
        }))
    }

    async fn put_back(&self, held: &Held, hit: &Hit) -> Result<bool> {
        let key = BlobKey::new(BlobKind::Cache, &hit.manifest.contents)?;
        let dir = format!("{CHECKOUT_DIR}/{}", hit.path);
        // It may have made room for others meanwhile.
        self.put_blob(held, &key, &dir, None).await
    }

    /// Keeps directories of a machine, as well as it can: a build does not fail by its caches.
    pub(super) async fn keep_caches(&self, held: &Held, of: MadeBy<'_>, paths: &[String]) {
        if let Err(error) = self.try_keep_caches(held, of, paths).await {
            let build = of.build;
            tracing::warn!(%build, error = error.chain(), "cannot keep caches");
        }
    }

    async fn try_keep_caches(&self, held: &Held, of: MadeBy<'_>, paths: &[String]) -> Result<()> {
        // The commit would not tell what a work tree held, and nobody vouches for a change.
        if of.item.worktree || of.item.change.is_some() || of.item.is_from_outside() {
            return Ok(());
        }
        // What an earlier process has put on the machine is not known.
        let Some(restored) = held.restored() else {
            return Ok(());
        };
        let is_new = |path: &&String| {
            let same = ((*path).clone(), of.item.commit.clone());
            !restored.commits.contains(&same)
        };
        let wanted: Vec<&String> = paths.iter().filter(is_new).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let plan = self.plan_of(of.build).await?;
        let inputs = plan.map_or_else(String::new, |plan| identity(&plan.inputs));
        let touched = self.touched(held, of.item, &restored.times, paths).await?;
        for path in wanted {
            match self
                .keep_cache(held, of, path, (&restored, &inputs, &touched))
                .await
            {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    tracing::debug!(path, "no such directory, nothing is cached");
                }
                Err(error) => tracing::warn!(path, error = error.chain(), "cannot keep a cache"),
            }
        }
        Ok(())
    }

    async fn keep_cache(
        &self,
        held: &Held,
        of: MadeBy<'_>,
        path: &str,
        (restored, inputs, touched): (&Restored, &str, &[Name]),
    ) -> Result<()> {
        let MadeBy { item, builder, .. } = of;
        let key = manifest_key(item, builder, path)?;
        let before = self.manifest(&key).await?;
        let packed = held
            .buildlet()
            .get_tar(&format!("{CHECKOUT_DIR}/{path}"))
            .await?;
        let name = key.name().trim_end_matches(".json");
        let contents = format!("{name}-{}.tgz", item.commit);
        let blobs = self.store.blobs();
        let stored = BlobKey::new(BlobKind::Cache, &contents)?;
        blobs.put(&stored, packed).await?;
        let (base, later) = restored.times.remembered();
        let manifest = Manifest {
            commit: item.commit.clone(),
            base: Timestamp::from_seconds(base),
            contents,
            inputs: inputs.to_owned(),
            newest: self.newest_in(&stored).await?,
            later,
            touched: touched.to_vec(),
        };
        self.write_manifest(&key, &manifest).await?;
        match before.filter(|before| before.contents != manifest.contents) {
            Some(old) => {
                blobs
                    .remove(&BlobKey::new(BlobKind::Cache, old.contents)?)
                    .await
            }
            None => Ok(()),
        }
    }

    /// The time of the newest thing in an archive, as the archive tells it: machines round.
    async fn newest_in(&self, key: &BlobKey) -> Result<i64> {
        let Some(contents) = self.store.blobs().get(key).await? else {
            let text = format!("{key} is gone just after it was stored");
            return Err(Error::new(ErrorKind::Unavailable, text));
        };
        let reader = StreamReader::new(contents.map_err(std::io::Error::other));
        let reader = SyncIoBridge::new(reader);
        let looked = tokio::task::spawn_blocking(move || newest(reader)).await;
        let looked =
            looked.map_err(|e| Error::caused_by(ErrorKind::Bug, "look into a cache", e))?;
        Ok(looked?.map_or(i64::MIN, |newest| newest.seconds))
    }
}
