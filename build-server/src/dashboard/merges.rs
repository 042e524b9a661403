//! Merges of a board with what they brought: the commits of the branch that was merged, below it.

use std::collections::BTreeMap;

use build_core::ids::{BuilderName, CommitHash};
use build_core::work::WorkItem;

use super::error::Failure;
use crate::source::Merge;
use crate::store::{BoardCell, BoardLine, BuildFilter};
use crate::web::Site;

/// Commits that are shown below one merge.
const OF_ONE: usize = 20;
/// Builds of one commit that are looked at.
const BUILDS: usize = 100;

/// What a merge brought.
pub(super) struct Brought {
    pub(super) commits: Vec<(WorkItem, BTreeMap<BuilderName, BoardCell>)>,
    /// There are more than are shown.
    pub(super) is_cut: bool,
}

/// What the merges among `lines` brought, each with its builds on whatever branch; at most `limit`
/// commits in all.
pub(super) async fn brought(
    site: &Site,
    lines: &[BoardLine],
    limit: usize,
) -> Result<BTreeMap<CommitHash, Brought>, Failure> {
    let mut found = BTreeMap::new();
    let Some(item) = any_item(site, lines).await? else {
        return Ok(found);
    };
    let hashes: Vec<CommitHash> = lines.iter().map(|line| line.commit.hash.clone()).collect();
    let checkouts = site.handle().checkouts();
    let merges = checkouts.merges(&item, &hashes, OF_ONE).await?;
    let mut room = limit;
    for Merge {
        commit,
        brought,
        is_cut,
    } in merges
    {
        let shown = brought.len().min(room);
        room -= shown;
        let is_cut = is_cut || shown < brought.len();
        let mut commits = Vec::new();
        for item in brought.into_iter().take(shown) {
            let cells = cells(site, &item).await?;
            commits.push((item, cells));
        }
        found.insert(commit, Brought { commits, is_cut });
    }
    Ok(found)
}

/// Some commit of the board: it says where the repository is.
async fn any_item(site: &Site, lines: &[BoardLine]) -> Result<Option<WorkItem>, Failure> {
    let Some(cell) = lines.iter().find_map(|line| line.cells.values().next()) else {
        return Ok(None);
    };
    let row = site.records().build(&cell.build).await?;
    Ok(row.map(|row| row.item))
}

/// The latest build of a commit on each builder.
async fn cells(site: &Site, item: &WorkItem) -> Result<BTreeMap<BuilderName, BoardCell>, Failure> {
    let which = BuildFilter {
        repo: Some(item.repo.clone()),
        commit: Some(item.commit.to_string()),
        ..BuildFilter::default()
    };
    let found = site.records().builds(&which, None, BUILDS).await?;
    let mut cells = BTreeMap::new();
    // The newest comes first.
    for cell in found.builds.iter().filter_map(BoardCell::of) {
        cells.entry(cell.builder.clone()).or_insert(cell);
    }
    Ok(cells)
}
