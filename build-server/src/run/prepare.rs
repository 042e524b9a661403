//! Fills work directories: a checkout of the commit, packed once, or a copy of another directory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use build_core::buildlet::ByteStream;
use build_core::dispatch::Reply;
use build_core::engine::CHECKOUT_DIR;
use build_core::event::Base;
use build_core::ids::{BuildId, LeaseId};
use build_core::work::{Builder, WorkItem};
use build_core::{Error, ErrorKind, Result};

use super::Inner;
use super::leases::Held;
use crate::store::{BlobKey, BlobKind};

/// What is built, and how its caches are called.
pub(super) struct Work<'a> {
    pub(super) build: &'a BuildId,
    pub(super) item: &'a WorkItem,
    pub(super) builder: &'a Builder,
    pub(super) depth: u32,
}

/// Sources that are being packed: whoever wants the same one waits for it.
#[derive(Default)]
pub(super) struct Packing(Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>);

impl Packing {
    fn gate(&self, name: &str) -> Arc<tokio::sync::Mutex<()>> {
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
        let fill = async {
            held.buildlet()
                .remove_all(&[CHECKOUT_DIR.to_owned()])
                .await?;
            match &base {
                Base::Source => {
                    self.put_source(&held, work).await?;
                    self.restore_caches(&held, work, caches).await
                }
                Base::CopyOf(from) => {
                    let from = self.leases.find(from)?;
                    copy(&from, &held).await?;
                    Ok(Vec::new())
                }
                other => {
                    let text = format!("no way to fill a work directory from {other:?}");
                    Err(Error::new(ErrorKind::Unsupported, text))
                }
            }
        };
        let cache_hits = held.unless_over(fill).await?;
        Ok(Reply::Prepared { base, cache_hits })
    }

    async fn put_source(&self, held: &Held, work: &Work<'_>) -> Result<()> {
        let source = self.packed(work).await?;
        held.buildlet().put_tar(source, CHECKOUT_DIR).await
    }

    /// The packed checkout; made once for each commit.
    async fn packed(&self, work: &Work<'_>) -> Result<ByteStream> {
        let key = source_key(work)?;
        let blobs = self.store.blobs();
        let gate = self.packing.gate(key.name());
        let _one_at_a_time = gate.lock().await;
        if let Some(packed) = blobs.get(&key).await? {
            return Ok(packed);
        }
        let stream = self.checkouts.pack(work.item, work.depth).await?;
        blobs.put(&key, stream).await?;
        blobs.get(&key).await?.ok_or_else(|| {
            let text = format!("{key} is gone just after it was stored");
            Error::new(ErrorKind::Unavailable, text)
        })
    }
}

/// A work tree is packed anew for each build: it has no name of its own.
fn source_key(work: &Work<'_>) -> Result<BlobKey> {
    let commit = &work.item.commit;
    let name = match work.item.worktree {
        true => format!("{commit}-{}-{}", work.depth, work.build),
        false => format!("{commit}-{}", work.depth),
    };
    BlobKey::new(BlobKind::Source, format!("{name}.tgz"))
}

async fn copy(from: &Held, to: &Held) -> Result<()> {
    let packed = from.buildlet().get_tar(CHECKOUT_DIR).await?;
    to.buildlet().put_tar(packed, CHECKOUT_DIR).await
}
