//! What was kept of builds that have ended, as it lies on the disk.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use build_core::Result;
use build_core::ids::{BuildId, CommitHash};
use build_core::tree::remove_tree;
use serde::{Deserialize, Serialize};

use super::times::Times;

/// What was kept of a build says so in this file, written when all of it is there.
pub(super) const NOTE: &str = "note.json";
/// The version of the note that is written; others are read by nobody.
pub(super) const VERSION: u32 = 1;
/// Builds of one repository and builder of which directories are kept.
const KEPT: usize = 3;
/// What has no note after this time will not get one.
const UNFINISHED: Duration = Duration::from_secs(60 * 60);

/// What is written down of directories that were kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    pub(super) v: u32,
    pub(super) build: BuildId,
    pub(super) commit: CommitHash,
    /// Where they were made: some tools write it into what they make.
    pub(super) work_dir: PathBuf,
    /// Names everything beside the commit that results depend on.
    pub(super) made_with: String,
    /// The directories, below the checkout; the first is called `0`, and so on.
    pub(super) dirs: Vec<String>,
    /// What the files of the checkout had.
    pub(super) times: Times,
    #[serde(flatten)]
    pub(super) rest: BTreeMap<String, serde_json::Value>,
}

/// What was kept of a scope, the newest first.
pub(super) fn notes(dir: &Path, scope: &str) -> Result<Vec<(PathBuf, Note)>> {
    let mut found = Vec::new();
    for place in places(dir, scope)? {
        let read = std::fs::read(place.join(NOTE)).ok();
        // Torn, of another version, or not finished: then it is none.
        let note = read.and_then(|text| serde_json::from_slice::<Note>(&text).ok());
        let written = place
            .join(NOTE)
            .metadata()
            .and_then(|about| about.modified());
        if let (Some(note), Ok(written)) = (note.filter(|note| note.v == VERSION), written) {
            found.push((written, place, note));
        }
    }
    found.sort_by_key(|(written, ..)| std::cmp::Reverse(*written));
    Ok(found
        .into_iter()
        .map(|(_, place, note)| (place, note))
        .collect())
}

fn places(dir: &Path, scope: &str) -> Result<Vec<PathBuf>> {
    let entries = match dir.read_dir() {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e.into()),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let is_of = |name: &str| {
            name.strip_prefix(scope)
                .is_some_and(|rest| rest.starts_with('-'))
        };
        if entry.file_name().to_str().is_some_and(is_of) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Removes what newer builds have made superfluous, and what was never finished.
pub(super) fn prune(dir: &Path, scope: &str) -> Result<()> {
    let noted = notes(dir, scope)?;
    let kept: Vec<&PathBuf> = noted.iter().take(KEPT).map(|(place, _)| place).collect();
    for place in places(dir, scope)? {
        let is_noted = noted.iter().any(|(noted, _)| *noted == place);
        let age = place.metadata().and_then(|about| about.modified());
        let age = age
            .ok()
            .and_then(|made| made.elapsed().ok())
            .unwrap_or_default();
        if !kept.contains(&&place) && (is_noted || age > UNFINISHED) {
            // Whoever is copying it sees it go, and begins cold.
            remove_tree(&place)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_it_was_written() {
        let text = include_str!("note-v1.json");
        let note: Note = serde_json::from_str(text).unwrap();
        assert_eq!(note.v, VERSION);
        assert_eq!(note.times.files().collect::<Vec<_>>(), ["src/main.c"]);
        let again = serde_json::to_string(&note).unwrap() + "\n";
        assert_eq!(again, text);
        assert!(text.contains("\"later\""), "unknown fields stay");
    }
}
