//! Reports of test runners: files that a step leaves in its checkout.

use std::collections::BTreeMap;
use std::io::Write as _;

use build_core::buildlet::{Buildlet, DirEntry, ListDir};
use build_core::engine::CHECKOUT_DIR;
use build_core::event::BlobRef;
use build_core::name::Name;
use build_core::tarutil::Glob;
use build_core::test_lines::{ResultsWriter, TestCounts, TestLines};
use build_core::{Error, ErrorKind, Result};
use tokio::io::AsyncReadExt as _;

use super::{Inner, junit};

/// Larger reports are not read.
const MAX_BYTES: u64 = 64 << 20;
/// More of them are not read.
const MAX_REPORTS: usize = 10_000;

/// What lay there before the step ran: reports that are the same afterwards are not its own, for
/// they were committed, or a cache brought them.
pub(super) type Before = BTreeMap<Name, DirEntry>;

/// The files of the checkout that one of `globs` matches.
pub(super) async fn listed(buildlet: &dyn Buildlet, globs: &[String]) -> Result<Before> {
    if globs.is_empty() {
        return Ok(Before::new());
    }
    let patterns: Vec<Glob> = globs.iter().map(|glob| Glob::new(glob)).collect();
    let all = ListDir {
        dir: CHECKOUT_DIR.to_owned(),
        recursive: true,
        skip: vec![".git".to_owned()],
        ..ListDir::default()
    };
    let entries = buildlet.list_dir(&all).await?.into_iter();
    let is_report = |entry: &DirEntry| {
        let matches = |glob: &Glob| glob.matches(entry.name.as_bytes());
        entry.mode.starts_with('-') && patterns.iter().any(matches)
    };
    let reports = entries.filter(is_report);
    Ok(reports.map(|entry| (entry.name.clone(), entry)).collect())
}

impl Inner {
    /// The results in the reports that are new since `before`, counted and kept test by test; `None` when
    /// there are none. What cannot be read is said in the log of the farm, and the others are counted.
    pub(super) async fn read_reports(
        &self,
        buildlet: &dyn Buildlet,
        globs: &[String],
        before: &Before,
    ) -> Result<Option<(TestCounts, Option<BlobRef>)>> {
        let now = listed(buildlet, globs).await?;
        let is_new = |(name, entry): &(&Name, &DirEntry)| before.get(*name) != Some(*entry);
        let is_small =
            |(_, entry): &(&Name, &DirEntry)| entry.size.is_none_or(|size| size <= MAX_BYTES);
        let new = now.iter().filter(is_new).filter(is_small);
        let mut paths: Vec<Name> = new.map(|(name, _)| name.clone()).collect();
        paths.truncate(MAX_REPORTS);
        if paths.is_empty() {
            return Ok(None);
        }
        let unpacked = self.fetch(buildlet, &paths).await?;
        let mut counts = TestLines::with_results();
        let mut results = ResultsWriter::new(Vec::new())?;
        for path in paths {
            let counts = &mut counts;
            let read = async {
                let mut report = Vec::new();
                unpacked.open(&path).await?.read_to_end(&mut report).await?;
                junit::read(&report, counts)
            };
            let read: Result<()> = read.await;
            if let Err(error) = read {
                tracing::warn!(report = %path, error = error.chain(), "not read");
            }
            for result in counts.take_results() {
                results.write(&result)?;
            }
        }
        let counts = counts.finish();
        let kept = match counts.is_empty() {
            true => None,
            false => self.keep_reported(results.finish()?).await,
        };
        Ok(Some((counts, kept)))
    }

    /// They are worth less than the end of the unit: when they cannot be kept, that is told.
    async fn keep_reported(&self, results: Vec<u8>) -> Option<BlobRef> {
        let place = self.store.dir().map(|dir| dir.join("unpacked"));
        let keep = async {
            let place = place?;
            let write = move || {
                std::fs::create_dir_all(&place)?;
                let mut file = tempfile::tempfile_in(&place)?;
                file.write_all(&results)?;
                Ok::<_, std::io::Error>(file)
            };
            let written = tokio::task::spawn_blocking(write).await;
            let written =
                written.map_err(|e| Error::caused_by(ErrorKind::Bug, "keep results", e))??;
            self.store_file(&written).await
        };
        match keep.await {
            Ok(kept) => Some(kept),
            Err(error) => {
                tracing::warn!(error = error.chain(), "cannot keep the results of tests");
                None
            }
        }
    }
}
