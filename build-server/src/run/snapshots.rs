//! Directories that a step has kept as a whole: stored, and put where other steps ask for them.

use build_core::engine::CHECKOUT_DIR;
use build_core::event::{BlobRef, BuildEvent, Snapshot, Version};
use build_core::ids::{BuildId, StepName};
use build_core::plan::StepInput;
use build_core::{Error, ErrorKind, Result};
use sha2::{Digest, Sha256};

use super::Inner;
use super::leases::Held;
use crate::store::{BlobKey, BlobKind};

/// Where the snapshot of a step is stored. They share the room of caches: the one that was used
/// longest ago makes room.
pub(super) fn snapshot_key(build: &BuildId, step: &StepName) -> Result<BlobKey> {
    let step = hex::encode(&Sha256::digest(step.as_str())[..8]);
    BlobKey::new(BlobKind::Cache, format!("snapshot-{build}-{step}.tgz"))
}

fn place(dir: &str) -> String {
    match dir {
        "" => CHECKOUT_DIR.to_owned(),
        dir => format!("{CHECKOUT_DIR}/{dir}"),
    }
}

impl Inner {
    /// Keeps the directory of a step that has passed; `None` when there is none.
    pub(super) async fn keep_snapshot(
        &self,
        held: &Held,
        build: &BuildId,
        step: &StepName,
        dir: &str,
    ) -> Result<Option<Snapshot>> {
        let packed = match held.buildlet().get_tar(&place(dir)).await {
            Ok(packed) => packed,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let key = snapshot_key(build, step)?;
        let info = self.store.blobs().put(&key, packed).await?;
        Ok(Some(Snapshot {
            dir: dir.to_owned(),
            contents: BlobRef {
                sha256: info.sha256,
                size: info.size,
            },
        }))
    }

    /// Puts the trees of earlier steps where a step asks for them; each takes the place of what was
    /// there. The answer is what is missing, in one sentence.
    pub(super) async fn put_trees(
        &self,
        held: &Held,
        build: &BuildId,
        trees: &[StepInput],
    ) -> Result<Option<String>> {
        if trees.is_empty() {
            return Ok(None);
        }
        let events = self.store.events();
        let stream = build.into();
        let events = events.read_stream(&stream, Version(0), usize::MAX).await?;
        let kept = |wanted: &StepName| {
            let mut events = events.iter().rev();
            events.find_map(|event| match event.read() {
                Some(BuildEvent::Kept { step, snapshot, .. }) if step == *wanted => Some(snapshot),
                _ => None,
            })
        };
        for tree in trees {
            if kept(&tree.step).flatten().is_none() {
                let text = format!(
                    "step {:?} has passed without the directory that is its `snapshot`",
                    tree.step.as_str()
                );
                return Ok(Some(text));
            }
            let dir = place(&tree.dir);
            held.buildlet()
                .remove_all(std::slice::from_ref(&dir))
                .await?;
            let key = snapshot_key(build, &tree.step)?;
            if !self.put_blob(held, &key, &dir, None).await? {
                let text = format!("the tree of step {} is gone", tree.step);
                return Err(Error::new(ErrorKind::Unavailable, text));
            }
        }
        Ok(None)
    }
}
