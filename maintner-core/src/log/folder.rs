//! A folder of segment files, listed in log order.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::{LogPosition, Segment, SegmentName};
use crate::{Error, Result};

/// The segments of a log folder as they were when it was opened.
#[derive(Debug, Clone)]
pub struct LogFolder {
    path: PathBuf,
    segments: Vec<Segment>,
}

impl LogFolder {
    /// Lists the folder at `path`.
    ///
    /// Day files (`maintner-*.mutlog`) are in byte order of their names;
    /// numbered segments in order of their numbers, a frozen one before a
    /// growing one of the same number, and of several frozen ones the longest.
    /// Other files and sub-folders are no part of the log.
    ///
    /// # Errors
    /// When the folder cannot be read, when a number is missing below the
    /// highest one, or when both kinds of names occur.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let mut days = BTreeMap::new();
        let mut numbered = BTreeMap::new();
        for found in list(path)? {
            match found.name.number() {
                None => {
                    days.insert(found.name.to_string(), found);
                }
                Some(number) => keep_better(&mut numbered, number, found),
            }
        }
        check_gaps(path, &numbered)?;
        if let (Some(day), Some(segment)) = (days.values().next(), numbered.values().next()) {
            return Err(Error::MixedLog {
                path: path.to_owned(),
                day: day.name.to_string(),
                segment: segment.name.to_string(),
            });
        }
        let mut base = LogPosition::START;
        let segments = days
            .into_values()
            .chain(numbered.into_values())
            .map(|found| {
                let file = path.join(found.name.to_string());
                let segment = Segment::file(found.name, base, found.len, file);
                base = segment.end();
                segment
            })
            .collect();
        Ok(Self {
            path: path.to_owned(),
            segments,
        })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The segments in log order.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The end of the log.
    pub fn end(&self) -> LogPosition {
        self.segments
            .last()
            .map_or(LogPosition::START, Segment::end)
    }
}

struct Found {
    name: SegmentName,
    len: u64,
}

fn list(path: &Path) -> Result<Vec<Found>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(path).map_err(Error::io("list", path))? {
        let entry = entry.map_err(Error::io("list", path))?;
        let Some(name) = entry.file_name().to_str().and_then(SegmentName::parse) else {
            continue;
        };
        let meta = fs::metadata(entry.path()).map_err(Error::io("inspect", &entry.path()))?;
        if meta.is_file() {
            all.push(Found {
                name,
                len: meta.len(),
            });
        }
    }
    Ok(all)
}

fn keep_better(numbered: &mut BTreeMap<u32, Found>, number: u32, found: Found) {
    let rank = |f: &Found| (f.name.sha224().is_some(), f.len, f.name.clone());
    let better = numbered
        .get(&number)
        .is_none_or(|old| rank(old) < rank(&found));
    if better {
        numbered.insert(number, found);
    }
}

fn check_gaps(path: &Path, numbered: &BTreeMap<u32, Found>) -> Result<()> {
    let Some((&max, _)) = numbered.last_key_value() else {
        return Ok(());
    };
    let missing = (0..max)
        .zip(numbered.keys())
        .find(|(want, have)| want != *have);
    match missing {
        Some((missing, _)) => Err(Error::MissingSegment {
            path: path.to_owned(),
            missing,
            max,
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Sha224Hex;

    fn folder(files: &[(&str, usize)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, len) in files {
            fs::write(dir.path().join(name), vec![b'x'; *len]).unwrap();
        }
        dir
    }

    fn names(dir: &tempfile::TempDir) -> Vec<(String, u64, u64)> {
        let folder = LogFolder::open(dir.path()).unwrap();
        folder
            .segments()
            .iter()
            .map(|s| (s.name().to_string(), s.base().bytes(), s.len()))
            .collect()
    }

    #[test]
    fn day_files_are_in_byte_order_and_strangers_are_left_alone() {
        let dir = folder(&[
            ("maintner-2020-12-24.mutlog", 2),
            ("maintner-2020-02-01.mutlog", 3),
            ("maintner-2020-02-01.mutlog.torn-9", 3),
            ("notes.txt", 7),
        ]);
        fs::create_dir(dir.path().join("maintner-1999-01-01.mutlog")).unwrap();
        assert_eq!(
            names(&dir),
            [
                ("maintner-2020-02-01.mutlog".to_owned(), 0, 3),
                ("maintner-2020-12-24.mutlog".to_owned(), 3, 2),
            ]
        );
    }

    #[test]
    fn a_frozen_segment_hides_its_growing_remains() {
        let frozen = format!("0000.{}.mutlog", Sha224Hex::of(b"a"));
        let dir = folder(&[
            ("0000.growing.mutlog", 9),
            (&frozen, 5),
            ("0001.growing.mutlog", 1),
        ]);
        assert_eq!(
            names(&dir),
            [(frozen, 0, 5), ("0001.growing.mutlog".to_owned(), 5, 1)]
        );
    }

    #[test]
    fn a_gap_is_an_error_that_names_the_number() {
        let dir = folder(&[("0000.growing.mutlog", 1), ("0003.growing.mutlog", 1)]);
        let error = LogFolder::open(dir.path()).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("saw max segment number 3 but missing segment 1 in ")
        );
    }

    #[test]
    fn two_layouts_in_one_folder_are_refused() {
        let dir = folder(&[
            ("0000.growing.mutlog", 1),
            ("maintner-2020-02-01.mutlog", 1),
        ]);
        assert!(matches!(
            LogFolder::open(dir.path()),
            Err(Error::MixedLog { .. })
        ));
    }

    #[test]
    fn an_absent_folder_is_an_error() {
        let error = LogFolder::open("/nonexistent/log").unwrap_err();
        assert_eq!(error.to_string(), "cannot list /nonexistent/log");
    }
}
