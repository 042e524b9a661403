//! Files that a build has kept, on its page.

use build_core::Result;
use build_core::event::Snapshot;
use build_core::ids::StepName;
use build_core::plan::Unit;
use build_core::report::artifact_address;

use crate::record::{BuildRow, KeptFiles};
use crate::store::{BlobKey, BlobKind};
use crate::web::Site;

/// How many kept files of a step are named.
const KEPT: usize = 100;

/// What a step, or a part of it, has kept.
pub(super) struct KeptView {
    pub(super) step: StepName,
    pub(super) unit: Unit,
    pub(super) snapshot: Option<Snapshot>,
    /// How many there are.
    pub(super) count: usize,
    /// The first of them.
    pub(super) files: Vec<FileView>,
    /// Until when they stay; nothing when they stay for ever.
    pub(super) until: Option<String>,
    /// Their time is over.
    pub(super) is_over: bool,
}

pub(super) struct FileView {
    pub(super) path: String,
    pub(super) size: u64,
    pub(super) sha256: String,
    /// Where it is fetched; nothing when it is not there any more.
    pub(super) address: Option<String>,
}

impl KeptView {
    /// How many are not named.
    pub(super) fn more(&self) -> usize {
        self.count - self.files.len()
    }
}

/// What a build has kept, in the order in which it was.
pub(super) async fn kept(site: &Site, row: &BuildRow) -> Result<Vec<KeptView>> {
    let mut views = Vec::new();
    for kept in &row.kept {
        views.push(view(site, row, kept).await?);
    }
    Ok(views)
}

async fn view(site: &Site, row: &BuildRow, kept: &KeptFiles) -> Result<KeptView> {
    let keep = site.keep_artifacts();
    let is_over = keep.is_over(row, &kept.step, site.clock().now());
    let until = keep.until(row, &kept.step).map(|until| {
        let until = until.to_string().replace('T', " ").replace('Z', " UTC");
        match (is_over, keep.bytes) {
            (true, _) => format!("were kept until {until}"),
            (false, None) => format!("kept until {until}"),
            (false, Some(_)) => format!("kept until {until}, or until others need their room"),
        }
    });
    let mut files = Vec::new();
    for file in kept.artifacts.iter().take(KEPT) {
        let key = BlobKey::new(BlobKind::Artifact, &file.sha256)?;
        let is_there = !is_over && site.store().blobs().size(&key).await?.is_some();
        files.push(FileView {
            path: file.path.to_string(),
            size: file.size,
            sha256: file.sha256.clone(),
            address: is_there.then(|| artifact_address(&row.id, &kept.unit(), file)),
        });
    }
    Ok(KeptView {
        step: kept.step.clone(),
        unit: kept.unit(),
        snapshot: kept.snapshot.clone(),
        count: usize::try_from(kept.count()).unwrap_or(usize::MAX),
        files,
        until,
        is_over,
    })
}
