//! Which tests a run has seen: that one did not fail does not say that it was there.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use build_core::event::BlobRef;
use build_core::ids::CommitHash;
use build_core::name::Name;
use build_core::test_lines::{ResultsReader, TestEnd};
use build_core::{Error, ErrorKind, Result};
use futures::TryStreamExt as _;
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::Past;
use crate::store::{BlobKey, BlobKind, Blobs};

/// Runs whose results are looked into for each step: those at the commit itself, then those of the
/// nearest commits before it. Of the others a test that did not fail is taken for one that passed.
const LOOKED_INTO: usize = 10;

/// How tests ended in a run; those that are not there were not in it.
pub(super) type Ends = HashMap<Name, TestEnd>;

/// Looks how `tests` ended in the runs that are nearest to the first commit of `history`.
pub(super) async fn look_into(
    blobs: &dyn Blobs,
    runs: &mut BTreeMap<u64, Past<'_>>,
    history: &[CommitHash],
    tests: &BTreeSet<Name>,
) {
    let places: HashMap<&CommitHash, usize> = history.iter().zip(0..).collect();
    let mut nearest: Vec<(usize, &mut Past<'_>)> = (runs.values_mut())
        .filter(|run| run.results.is_some())
        .filter_map(|run| Some((*places.get(run.commit)?, run)))
        .collect();
    // Of one commit those first that came last.
    nearest.sort_by_key(|(place, run)| (*place, std::cmp::Reverse(run.number)));
    let wanted = Arc::new(tests.clone());
    for (_, run) in nearest.into_iter().take(LOOKED_INTO) {
        let results = run.results.clone().unwrap_or_default();
        match ends(blobs, &results, &wanted).await {
            Ok(ends) => run.seen = ends,
            Err(error) => {
                // A verdict that is less exact is better than none.
                let (build, error) = (run.build, error.chain());
                tracing::warn!(%build, error, "the results of tests cannot be read");
            }
        }
    }
}

/// How `wanted` ended, of one that ran several times whether it passed once; `None` when some of the
/// results are not kept any more.
async fn ends(
    blobs: &dyn Blobs,
    results: &[&BlobRef],
    wanted: &Arc<BTreeSet<Name>>,
) -> Result<Option<Ends>> {
    let mut ends = Ends::new();
    for results in results {
        let key = BlobKey::new(BlobKind::Artifact, &*results.sha256)?;
        let Some(contents) = blobs.get(&key).await? else {
            return Ok(None);
        };
        let reader = StreamReader::new(contents.map_err(std::io::Error::other));
        let (reader, wanted) = (SyncIoBridge::new(reader), Arc::clone(wanted));
        let read = tokio::task::spawn_blocking(move || {
            let mut found = Vec::new();
            for result in ResultsReader::new(reader)? {
                let result = result?;
                if wanted.contains(&result.name) {
                    found.push((result.name, result.end));
                }
            }
            Ok::<_, Error>(found)
        });
        let read = read
            .await
            .map_err(|e| Error::caused_by(ErrorKind::Bug, "read test results", e))?;
        for (name, end) in read? {
            let known = ends.entry(name).or_insert(end);
            if end == TestEnd::Passed {
                *known = end;
            }
        }
    }
    Ok(Some(ends))
}

/// In how many runs a test was looked for and never found, not even as one that was left out; `None`
/// when it was there once, or nobody looked.
pub(super) fn never_seen(runs: &[&Past<'_>], test: &Name) -> Option<usize> {
    let looked = runs.iter().filter_map(|run| run.seen.as_ref());
    let was_there = looked.clone().any(|seen| seen.contains_key(test));
    let has_failed = runs.iter().any(|run| run.failures.contains(test));
    let count = looked.count();
    (count > 0 && !was_there && !has_failed).then_some(count)
}
