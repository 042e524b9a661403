//! Uploads: text files in a folder, and an index of them in memory.
//!
//! ```text
//! uploads/20201223.1/0.txt    labels of the upload, an empty line, what was sent
//! ```
//!
//! The files are all there is: the index is read from them at the start. An upload is there
//! whole or not at all: it is written beside and renamed into place.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use build_core::benchfmt::{Query, Reader, Result as Bench};
use build_core::clock::Timestamp;
use build_core::{Error, ErrorKind, Result};

/// Results in memory; each takes some hundred bytes.
const MAX_RESULTS: usize = 10_000_000;

/// One upload.
#[derive(Clone, Debug)]
pub struct Upload {
    /// Its id: the day and a number, `20201223.1`.
    pub id: String,
    key: (u32, u32),
    /// Its results, in the order in which they were sent.
    pub results: Arc<Vec<Bench>>,
}

/// All uploads. Clones share them.
#[derive(Clone, Debug)]
pub struct PerfStore {
    dir: Arc<Path>,
    /// In the order of their ids.
    uploads: Arc<RwLock<Vec<Upload>>>,
    /// One upload is written at a time.
    writing: Arc<Mutex<()>>,
}

/// A file to be stored.
#[derive(Clone, Debug)]
pub struct NewFile {
    /// Its name, as the sender knows it.
    pub name: String,
    /// What it holds.
    pub text: String,
}

/// What was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The upload's id.
    pub id: String,
    /// The ids of its files.
    pub files: Vec<String>,
}

impl PerfStore {
    /// The store in `dir`, with everything that is there.
    ///
    /// # Errors
    /// When the folder cannot be made or read.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref();
        let named = |e: std::io::Error| Error::from(e).while_doing(dir.display().to_string());
        fs::create_dir_all(dir.join("uploads")).map_err(named)?;
        let mut uploads = Vec::new();
        for entry in fs::read_dir(dir.join("uploads")).map_err(named)? {
            let path = entry.map_err(named)?.path();
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
            let Some(key) = key_of(name) else {
                // What an upload left that was never finished.
                if name.starts_with("new-") {
                    fs::remove_dir_all(&path).map_err(named)?;
                }
                continue;
            };
            uploads.push(Upload {
                id: name.to_owned(),
                key,
                results: Arc::new(read_upload(&path)?),
            });
        }
        uploads.sort_by_key(|upload| upload.key);
        Ok(Self {
            dir: dir.into(),
            uploads: Arc::new(RwLock::new(uploads)),
            writing: Arc::default(),
        })
    }

    /// All uploads, the oldest first.
    pub fn uploads(&self) -> Vec<Upload> {
        self.uploads
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Results for which a query holds, in the order of their uploads.
    pub fn search(&self, query: &Query) -> Vec<Bench> {
        let all = self.uploads();
        let results = all.iter().flat_map(|upload| upload.results.iter());
        results.filter(|r| matches(query, r)).cloned().collect()
    }

    /// Stores files as one upload; on disk when this returns. `by` is who sent them.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when one of them holds no result; or when it cannot be written.
    pub fn add(&self, files: &[NewFile], by: Option<&str>, now: Timestamp) -> Result<Stored> {
        if files.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "no files processed"));
        }
        if files
            .iter()
            .any(|file| Reader::new(&file.text).next().is_none())
        {
            return Err(Error::new(
                ErrorKind::Invalid,
                "no valid benchmark lines found",
            ));
        }
        let _turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let day = day_of(now);
        let (held, last) = {
            let uploads = self.uploads.read().unwrap_or_else(PoisonError::into_inner);
            let held: usize = uploads.iter().map(|u| u.results.len()).sum();
            let of_day = uploads.iter().filter(|u| u.key.0 == day).map(|u| u.key.1);
            (held, of_day.max().unwrap_or(0))
        };
        if held >= MAX_RESULTS {
            let error = Error::new(
                ErrorKind::Limit,
                format!("there are {held} results already"),
            );
            return Err(error.with_hint("move the oldest folders of uploads elsewhere"));
        }
        let id = format!("{day:08}.{}", last + 1);
        let written = self.write(&id, files, by, now);
        let written = written.map_err(|e| Error::from(e).while_doing(format!("write upload {id}")));
        let (path, stored) = written?;
        let upload = Upload {
            id,
            key: (day, last + 1),
            results: Arc::new(read_upload(&path)?),
        };
        let mut uploads = self.uploads.write().unwrap_or_else(PoisonError::into_inner);
        uploads.push(upload);
        uploads.sort_by_key(|upload| upload.key);
        Ok(stored)
    }

    fn write(
        &self,
        id: &str,
        files: &[NewFile],
        by: Option<&str>,
        now: Timestamp,
    ) -> std::io::Result<(PathBuf, Stored)> {
        let parent = self.dir.join("uploads");
        let new = parent.join(format!("new-{id}"));
        if new.exists() {
            fs::remove_dir_all(&new)?;
        }
        fs::create_dir(&new)?;
        let mut ids = Vec::new();
        for (number, file) in files.iter().enumerate() {
            let mut out = File::create(new.join(format!("{number}.txt")))?;
            let mut head = BTreeMap::from([
                ("upload", id.to_owned()),
                ("upload-part", format!("{id}/{number}")),
                ("upload-time", now.to_string()),
            ]);
            // A line's end in a name would begin another label.
            let line = |text: &str| text.replace(['\r', '\n'], " ").trim().to_owned();
            if !file.name.is_empty() {
                head.insert("upload-file", line(&file.name));
            }
            if let Some(by) = by {
                head.insert("by", line(by));
            }
            for (key, value) in head {
                writeln!(out, "{key}: {value}")?;
            }
            writeln!(out)?;
            out.write_all(file.text.as_bytes())?;
            out.sync_all()?;
            ids.push(format!("{id}/{number}"));
        }
        let path = parent.join(id);
        fs::rename(&new, &path)?;
        File::open(&parent)?.sync_all()?;
        let stored = Stored {
            id: id.to_owned(),
            files: ids,
        };
        Ok((path, stored))
    }
}

/// Whether a query holds for a result. The key `upload` is the upload's own id: what a sender
/// writes under that key does not hide it, since the head of a file cannot be taken back.
pub(super) fn matches(query: &Query, result: &Bench) -> bool {
    query.holds(|key| label(result, key))
}

pub(super) fn label<'r>(result: &'r Bench, key: &str) -> Option<Cow<'r, str>> {
    result.key(key)
}

/// The results of an upload's files, in the order of their numbers.
fn read_upload(path: &Path) -> Result<Vec<Bench>> {
    let named = |e: std::io::Error| Error::from(e).while_doing(path.display().to_string());
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(named)? {
        let file = entry.map_err(named)?.path();
        let number = file
            .file_stem()
            .and_then(|n| n.to_str())
            .and_then(|n| n.parse::<u32>().ok());
        files.extend(number.map(|n| (n, file)));
    }
    files.sort();
    let mut all = Vec::new();
    for (_, file) in files {
        let text = fs::read(&file).map_err(named)?;
        let text = String::from_utf8_lossy(&text);
        // The upload's own labels hold to the end, whatever the file says.
        let (head, body) = text.split_once("\n\n").unwrap_or(("", &text));
        let own: BTreeMap<String, String> = head
            .lines()
            .filter_map(build_core::benchfmt::label_of)
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        for mut result in Reader::with_labels(body, own.clone()) {
            if own
                .iter()
                .any(|(key, value)| result.labels.get(key) != Some(value))
            {
                let labels = Arc::make_mut(&mut result.labels);
                labels.extend(own.clone());
            }
            all.push(result);
        }
    }
    Ok(all)
}

/// The day and the number of an id.
fn key_of(id: &str) -> Option<(u32, u32)> {
    let (day, number) = id.split_once('.')?;
    (day.len() == 8).then_some(())?;
    Some((day.parse().ok()?, number.parse().ok().filter(|n| *n > 0)?))
}

/// A day as a number: 20201223.
fn day_of(now: Timestamp) -> u32 {
    let text = now.to_string();
    text.get(..10)
        .map(|day| day.replace('-', ""))
        .and_then(|day| day.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> NewFile {
        NewFile {
            name: "a.txt".to_owned(),
            text: text.to_owned(),
        }
    }

    const DAY: Timestamp = Timestamp::from_seconds(1_608_753_536);

    #[test]
    fn uploads_are_numbered_by_day_and_found_again_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let store = PerfStore::open(dir.path()).unwrap();
        let text = "commit: 1a\nupload: 19700101.9\nBenchmarkA-4 1 2 ns/op\n";
        assert_eq!(
            store.add(&[file(text)], Some("me\nx: y"), DAY).unwrap().id,
            "20201223.1"
        );
        let stored = store.add(&[file(text), file(text)], None, DAY).unwrap();
        assert_eq!(stored.files, ["20201223.2/0", "20201223.2/1"]);
        for store in [store, PerfStore::open(dir.path()).unwrap()] {
            let count = |query| store.search(&Query::parse(query).unwrap()).len();
            assert_eq!(count(""), 3);
            assert_eq!(count("upload:20201223.2"), 2);
            assert_eq!(
                count("upload:19700101.9"),
                0,
                "what is sent does not rename an upload"
            );
            assert_eq!(count("commit:1a name:A gomaxprocs:4 by>m"), 1);
            assert_eq!(count("x:y"), 0);
        }
    }

    #[test]
    fn what_holds_no_result_is_not_stored() {
        let dir = tempfile::tempdir().unwrap();
        let store = PerfStore::open(dir.path()).unwrap();
        let told = |files: &[NewFile]| store.add(files, None, DAY).unwrap_err().to_string();
        assert_eq!(told(&[]), "no files processed");
        assert_eq!(told(&[file("ok\n")]), "no valid benchmark lines found");
        // An upload that was cut off is forgotten at the next start.
        fs::create_dir(dir.path().join("uploads/new-20201223.1")).unwrap();
        assert!(PerfStore::open(dir.path()).unwrap().uploads().is_empty());
        assert_eq!(fs::read_dir(dir.path().join("uploads")).unwrap().count(), 0);
    }
}
