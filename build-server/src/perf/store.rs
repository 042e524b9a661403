//! Uploads: text files in a folder, and an index of what is in them.
//!
//! ```text
//! uploads/20201223.1/0.txt    labels of the upload, an empty line, what was sent
//! index                       a line an upload: what it holds, in short
//! ```
//!
//! The files are the originals: what the index lacks is read from them. An upload is there whole
//! or not at all: it is written beside and renamed into place. In memory are the index, and the
//! uploads that were read last.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use build_core::benchfmt::{Query, Reader, Result as Bench};
use build_core::clock::Timestamp;
use build_core::{Error, ErrorKind, Result};
use lru::LruCache;

use super::index::Index;
use super::summary::Summary;

/// Results of uploads that were read last; each takes some hundred bytes.
const MAX_READ: usize = 300_000;
/// Results that one search finds.
const MAX_FOUND: usize = 1_000_000;

/// One upload.
#[derive(Clone, Debug)]
pub struct Upload {
    /// Its id: the day and a number, `20201223.1`.
    pub id: String,
    key: (u32, u32),
    pub(super) summary: Arc<Summary>,
}

impl Upload {
    /// How many results it holds.
    pub fn count(&self) -> usize {
        self.summary.results
    }

    /// When it was sent, as text.
    pub fn time(&self) -> &str {
        &self.summary.time
    }
}

/// All uploads. Clones share them.
#[derive(Clone, Debug)]
pub struct PerfStore {
    dir: Arc<Path>,
    /// In the order of their ids.
    uploads: Arc<RwLock<Vec<Upload>>>,
    /// One upload is written at a time.
    index: Arc<Mutex<Index>>,
    read: Arc<Mutex<Recent>>,
}

/// Results of uploads that were read last.
#[derive(Debug)]
struct Recent {
    by_id: LruCache<String, Arc<Vec<Bench>>>,
    results: usize,
}

impl Recent {
    fn keep(&mut self, id: &str, results: &Arc<Vec<Bench>>) {
        let old = self.by_id.put(id.to_owned(), results.clone());
        self.results += results.len();
        self.results -= old.map_or(0, |old| old.len());
        while self.results > MAX_READ
            && let Some((_, old)) = self.by_id.pop_lru()
        {
            self.results -= old.len();
        }
    }
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
    /// The store in `dir`, with everything that is there. What its index lacks is read from the
    /// uploads' files.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when another process has the folder; when it cannot be made or
    /// read.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref();
        let named = |e: std::io::Error| Error::from(e).while_doing(dir.display().to_string());
        fs::create_dir_all(dir.join("uploads")).map_err(named)?;
        let (mut index, mut known) = Index::open(dir)?;
        let (mut uploads, mut new) = (Vec::new(), Vec::new());
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
            let summary = match known.summaries.remove(name) {
                Some(summary) => summary,
                None => {
                    let (results, bytes) = read_upload(&path)?;
                    new.push(uploads.len());
                    Summary::of(name, bytes, &results)
                }
            };
            uploads.push(Upload {
                id: name.to_owned(),
                key,
                summary: Arc::new(summary),
            });
        }
        let kept = match known.is_untidy || !known.summaries.is_empty() {
            true => index.rewrite(uploads.iter().map(|upload| &*upload.summary)),
            false => new.iter().try_for_each(|n| index.add(&uploads[*n].summary)),
        };
        if let Err(error) = kept {
            tracing::warn!(%error, "the index of uploads cannot be written; starts are slow");
        }
        if !new.is_empty() {
            tracing::info!(uploads = new.len(), "read what the index lacked");
        }
        uploads.sort_by_key(|upload| upload.key);
        Ok(Self {
            dir: dir.into(),
            uploads: Arc::new(RwLock::new(uploads)),
            index: Arc::new(Mutex::new(index)),
            read: Arc::new(Mutex::new(Recent {
                by_id: LruCache::unbounded(),
                results: 0,
            })),
        })
    }

    /// All uploads, the oldest first.
    pub fn uploads(&self) -> Vec<Upload> {
        self.uploads
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The results of an upload, in the order in which they were sent; none when somebody has
    /// moved it elsewhere. Reads files: not for where nothing may wait.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn results(&self, upload: &Upload) -> Result<Arc<Vec<Bench>>> {
        let recent = || self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(results) = recent().by_id.get(&upload.id) {
            return Ok(results.clone());
        }
        let path = self.dir.join("uploads").join(&upload.id);
        if !path.exists() {
            tracing::warn!(upload = upload.id, "an upload is not there any more");
            self.replace(&upload.id, None);
            return Ok(Arc::default());
        }
        let (results, bytes) = read_upload(&path)?;
        if bytes != upload.summary.bytes {
            tracing::warn!(upload = upload.id, "an upload was changed");
            let summary = Summary::of(&upload.id, bytes, &results);
            if let Err(error) = self.index().add(&summary) {
                tracing::warn!(%error, "the index of uploads cannot be written");
            }
            self.replace(&upload.id, Some(summary));
        }
        let results = Arc::new(results);
        recent().keep(&upload.id, &results);
        Ok(results)
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn replace(&self, id: &str, summary: Option<Summary>) {
        let mut uploads = self.uploads.write().unwrap_or_else(PoisonError::into_inner);
        match (uploads.iter().position(|upload| upload.id == id), summary) {
            (Some(at), Some(summary)) => uploads[at].summary = Arc::new(summary),
            (Some(at), None) => drop(uploads.remove(at)),
            (None, _) => {}
        }
    }

    /// Gives each result of the uploads of which `wanted` holds, in the order of their uploads,
    /// until `each` breaks.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(super) fn visit(
        &self,
        wanted: impl Fn(&Summary) -> bool,
        mut each: impl FnMut(&Bench) -> ControlFlow<()>,
    ) -> Result<()> {
        for upload in self.uploads() {
            if wanted(&upload.summary) {
                for result in self.results(&upload)?.iter() {
                    if each(result).is_break() {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// Results for which a query holds, in the order of their uploads. Reads files: not for where
    /// nothing may wait.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`] when there are more than a million; when a file cannot be read.
    pub fn search(&self, query: &Query) -> Result<Vec<Bench>> {
        let mut found = Vec::new();
        self.visit(
            |summary| summary.may_hold(query),
            |result| {
                if matches(query, result) {
                    found.push(result.clone());
                }
                match found.len() > MAX_FOUND {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            },
        )?;
        if found.len() > MAX_FOUND {
            let text = format!("more than {MAX_FOUND} results are found");
            return Err(Error::new(ErrorKind::Limit, text).with_hint("ask for less"));
        }
        Ok(found)
    }

    /// All values of a key.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(super) fn values(&self, key: &str) -> Result<BTreeSet<String>> {
        let mut all = BTreeSet::new();
        for upload in self.uploads() {
            match upload.summary.values(key) {
                Some(values) => all.extend(values),
                None => {
                    let results = self.results(&upload)?;
                    all.extend(
                        results
                            .iter()
                            .filter_map(|r| label(r, key))
                            .map(Cow::into_owned),
                    );
                }
            }
        }
        Ok(all)
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
        let mut index = self.index();
        let day = day_of(now);
        let last = {
            let uploads = self.uploads.read().unwrap_or_else(PoisonError::into_inner);
            let of_day = uploads.iter().filter(|u| u.key.0 == day).map(|u| u.key.1);
            of_day.max().unwrap_or(0)
        };
        let id = format!("{day:08}.{}", last + 1);
        let written = self.write(&id, files, by, now);
        let written = written.map_err(|e| Error::from(e).while_doing(format!("write upload {id}")));
        let (path, stored) = written?;
        let (results, bytes) = read_upload(&path)?;
        let summary = Summary::of(&id, bytes, &results);
        // The upload is there: what the index lacks is read at the next start.
        if let Err(error) = index.add(&summary) {
            tracing::warn!(%error, "the index of uploads cannot be written");
        }
        let upload = Upload {
            key: (day, last + 1),
            summary: Arc::new(summary),
            id,
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

/// The results of an upload's files, in the order of their numbers, and the bytes of the files.
fn read_upload(path: &Path) -> Result<(Vec<Bench>, u64)> {
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
    let (mut all, mut bytes) = (Vec::new(), 0);
    for (_, file) in files {
        let text = fs::read(&file).map_err(named)?;
        bytes += text.len() as u64;
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
    Ok((all, bytes))
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
mod tests;
