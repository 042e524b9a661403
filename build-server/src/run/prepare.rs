//! Fills work directories: a checkout of the commit, packed once, or a copy of another directory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use build_core::buildlet::ByteStream;
use build_core::dispatch::Reply;
use build_core::engine::CHECKOUT_DIR;
use build_core::event::{Base, Start};
use build_core::ids::{BuildId, LeaseId};
use build_core::plan::Input;
use build_core::tarutil::retime;
use build_core::work::{Builder, WorkItem};
use build_core::{Error, ErrorKind, Result};
use futures::{StreamExt as _, TryStreamExt as _};
use sha2::{Digest, Sha256};
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::Inner;
use super::caches::Times;
use super::leases::Held;
use super::sources::no_sources;
use crate::source::stream_of;
use crate::store::{BlobKey, BlobKind};

/// What is built, and how its caches are called.
#[derive(Clone, Copy)]
pub(super) struct Work<'a> {
    pub(super) build: &'a BuildId,
    pub(super) item: &'a WorkItem,
    pub(super) builder: &'a Builder,
    pub(super) depth: u32,
    /// What lies in the work directory besides.
    pub(super) inputs: &'a [Input],
    /// Whether it begins with directories of an earlier build where it can.
    pub(super) warm: bool,
}

/// Sources that are being packed: whoever wants the same one waits for it.
#[derive(Default)]
pub(super) struct Packing(Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>);

impl Packing {
    pub(super) fn gate(&self, name: &str) -> Arc<tokio::sync::Mutex<()>> {
        // Nothing panics while it holds this lock.
        let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        gates.retain(|_, gate| Arc::strong_count(gate) > 1);
        gates.entry(name.to_owned()).or_default().clone()
    }
}

impl Inner {
    pub(super) async fn prepare(
        &self,
        lease: &LeaseId,
        base: Base,
        work: &Work<'_>,
        caches: &[String],
    ) -> Result<Reply> {
        let held = self.leases.find(lease)?;
        // The source, each input and each cache can be damaged, or a cache not fit, once: then it is
        // gone or left out.
        let tries = 2 + caches.len() + work.inputs.len() + usize::from(work.warm);
        let fill = async {
            let (mut tried, mut refused) = (1, Vec::new());
            loop {
                match self.fill(&held, &base, work, caches, &mut refused).await {
                    Err(error) if error.kind() == ErrorKind::Corrupt && tried < tries => {
                        let error = error.chain();
                        tracing::warn!(build = %work.build, error, "it is made again");
                        tried += 1;
                    }
                    done => return done,
                }
            }
        };
        let (cache_hits, start) = held.unless_over(fill).await?;
        let tool_caches = match &base {
            Base::Source => self.tool_caches(&held, work.build).await,
            _ => Vec::new(),
        };
        Ok(Reply::Prepared {
            base,
            cache_hits,
            start,
            tool_caches,
        })
    }

    /// Fills an empty work directory. What was found damaged and can be made again was removed
    /// when this fails with [`ErrorKind::Corrupt`], and caches that do not fit are in `refused`: the
    /// next try makes it.
    async fn fill(
        &self,
        held: &Held,
        base: &Base,
        work: &Work<'_>,
        caches: &[String],
        refused: &mut Vec<String>,
    ) -> Result<(Vec<String>, Option<Start>)> {
        let checkout = [CHECKOUT_DIR.to_owned()];
        held.buildlet().remove_all(&checkout).await?;
        held.leave(None);
        held.set_restored(None);
        match base {
            Base::Source => {
                let hits = self.hits(held, work, caches, refused).await?;
                self.put_source(held, work, hits.1.clone()).await?;
                self.put_inputs(held, work).await?;
                let start = match work.warm {
                    true => Some(self.begin(held, work).await?),
                    false => None,
                };
                let hits = self.restore_caches(held, work, hits, refused).await?;
                Ok((hits, start))
            }
            Base::CopyOf(from) => {
                let from = self.leases.find(from)?;
                copy(&from, held).await?;
                held.set_restored(from.restored());
                Ok((Vec::new(), None))
            }
            other => {
                let text = format!("no way to fill a work directory from {other:?}");
                Err(Error::new(ErrorKind::Unsupported, text))
            }
        }
    }

    async fn put_source(&self, held: &Held, work: &Work<'_>, times: Option<Times>) -> Result<()> {
        let key = self.packed(work).await?;
        if self.put_blob(held, &key, CHECKOUT_DIR, times).await? {
            return Ok(());
        }
        let text = format!("{key} is gone just after it was stored");
        Err(Error::new(ErrorKind::Unavailable, text))
    }

    /// The packed checkout; made once of what goes into it.
    pub(super) async fn packed(&self, work: &Work<'_>) -> Result<BlobKey> {
        let of = self.checkouts.fingerprint(work.item, work.depth).await?;
        let key = source_key(work, &of)?;
        let blobs = self.store.blobs();
        let gate = self.packing.gate(key.name());
        let _one_at_a_time = gate.lock().await;
        if blobs.size(&key).await?.is_none() {
            let stream = self.checkouts.pack(work.item, work.depth).await;
            let stream = stream.map_err(|e| no_sources(work.item, e))?;
            let item = work.item.clone();
            let stream = stream.map_err(move |e| no_sources(&item, e));
            blobs.put(&key, stream.boxed()).await?;
        }
        Ok(key)
    }

    /// Unpacks what is stored under `key` on a machine, which fetches it itself when it can and its
    /// files keep their times; `false` when there is nothing. What turns out to be damaged is
    /// removed.
    pub(super) async fn put_blob(
        &self,
        held: &Held,
        key: &BlobKey,
        dir: &str,
        times: Option<Times>,
    ) -> Result<bool> {
        let (blobs, buildlet) = (self.store.blobs(), held.buildlet());
        if times.is_none()
            && let Some(url) = blobs.url(key).await?
        {
            match buildlet.fetch_tar(url.as_str(), dir).await {
                Ok(()) => return Ok(true),
                Err(error) => {
                    let error = error.chain();
                    tracing::debug!(%key, error, "a machine cannot fetch it, it is sent");
                }
            }
        }
        let Some(mut contents) = blobs.get(key).await? else {
            return Ok(false);
        };
        if let Some(times) = times {
            contents = retimed(contents, times);
        }
        let Err(error) = buildlet.put_tar(contents, dir).await else {
            return Ok(true);
        };
        // Whatever the machine made of it: contents that are damaged are nobody else's fault.
        if blobs.check(key).await? != Some(false) {
            return Err(error);
        }
        blobs.remove(key).await?;
        let text = format!("{key} is damaged and was removed");
        Err(Error::caused_by(ErrorKind::Corrupt, text, error))
    }
}

/// An archive whose files get other times on their way.
fn retimed(archive: ByteStream, times: Times) -> ByteStream {
    let reader = StreamReader::new(archive.map_err(std::io::Error::other));
    let reader = SyncIoBridge::new(reader);
    stream_of(move |out| {
        let changed = retime(reader, out, |entry| times.of_entry(entry));
        changed.map_err(|e| Error::caused_by(ErrorKind::Unavailable, "set times of files", e))
    })
}

/// A work tree is packed anew for each build: it has no name of its own.
fn source_key(work: &Work<'_>, fingerprint: &str) -> Result<BlobKey> {
    let commit = &work.item.commit;
    let of = hex::encode(&Sha256::digest(fingerprint)[..16]);
    let name = match work.item.worktree {
        true => format!("{commit}-{of}-{}", work.build),
        false => format!("{commit}-{of}"),
    };
    BlobKey::new(BlobKind::Source, format!("{name}.tgz"))
}

async fn copy(from: &Held, to: &Held) -> Result<()> {
    let packed = from.buildlet().get_tar(CHECKOUT_DIR).await?;
    to.buildlet().put_tar(packed, CHECKOUT_DIR).await
}
