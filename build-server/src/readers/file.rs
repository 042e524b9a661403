//! Memos in a file, for programs that run alone.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use build_core::event::{Memo, MemoKey};
use build_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::memos::{Memos, matching, put};
use crate::file_lock::FileLock;

/// First line of the file.
const HEAD: &str = "farmer memos 1";

/// Memos of one program in a directory of its own: each commit replaces one small file, so that
/// the old memos are there or the new ones, whole. The directory is locked for this process.
///
/// A commit costs as much as all memos together, of which there are as many as effects are open.
#[derive(Clone, Debug)]
pub struct FileMemos(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    _lock: FileLock,
    memos: Mutex<BTreeMap<MemoKey, Memo>>,
}

/// A line of the file.
#[derive(Serialize, Deserialize)]
struct Line {
    key: MemoKey,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    b64: Option<String>,
}

impl FileMemos {
    /// Opens the memos in `dir`, which is made when missing.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when another process has them, [`ErrorKind::Corrupt`] naming the
    /// line that cannot be read, and when the directory cannot be written.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref();
        let failed = |e: std::io::Error| {
            Error::from(e).while_doing(format!("open the memos in {}", dir.display()))
        };
        fs::create_dir_all(dir).map_err(failed)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(dir.join("memos.lock"))
            .map_err(failed)?;
        let lock = FileLock::take(lock, Duration::ZERO).map_err(failed)?;
        let lock = lock.ok_or_else(|| {
            let text = format!("another process has the memos in {}", dir.display());
            Error::new(ErrorKind::Conflict, text)
                .with_hint("end it, or give this one a directory of its own")
        })?;
        let path = dir.join("memos");
        let memos = read(&path)?;
        Ok(Self(Arc::new(Inner {
            path,
            _lock: lock,
            memos: Mutex::new(memos),
        })))
    }
}

impl Inner {
    fn save(&self, memos: Vec<Memo>) -> Result<()> {
        let mut all = self.memos.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = all.clone();
        put(&mut next, memos);
        write(&self.path, &next).map_err(|e| {
            Error::from(e).while_doing(format!("write the memos {}", self.path.display()))
        })?;
        *all = next;
        Ok(())
    }
}

fn read(path: &Path) -> Result<BTreeMap<MemoKey, Memo>> {
    let damaged = |line: usize, why: &str| {
        let text = format!("line {line} of {} cannot be read: {why}", path.display());
        Error::new(ErrorKind::Corrupt, text).with_hint("put the file back from a backup")
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(e) => return Err(Error::from(e).while_doing(format!("read {}", path.display()))),
    };
    let mut memos = BTreeMap::new();
    let mut whole = false;
    for (nth, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(|e| damaged(nth + 1, &e.to_string()))?;
        if nth == 0 {
            if line != HEAD {
                return Err(damaged(1, "it is of another version"));
            }
            continue;
        }
        if line == "end" {
            whole = true;
            continue;
        }
        let line: Line =
            serde_json::from_str(&line).map_err(|e| damaged(nth + 1, &e.to_string()))?;
        let value = match (line.text, line.b64) {
            (Some(text), None) => text.into_bytes(),
            (None, Some(b64)) => STANDARD
                .decode(b64)
                .map_err(|e| damaged(nth + 1, &e.to_string()))?,
            _ => return Err(damaged(nth + 1, "it needs text or b64")),
        };
        memos.insert(line.key.clone(), Memo::set(line.key, value));
    }
    match whole {
        true => Ok(memos),
        false => Err(damaged(memos.len() + 2, "the file is cut short")),
    }
}

/// Replaces the file: written beside it, made durable, then renamed.
fn write(path: &Path, memos: &BTreeMap<MemoKey, Memo>) -> std::io::Result<()> {
    let beside = path.with_extension("new");
    let mut text = format!("{HEAD}\n").into_bytes();
    for memo in memos.values() {
        let Some(value) = &memo.value else { continue };
        let line = match std::str::from_utf8(value) {
            Ok(value) => Line {
                key: memo.key.clone(),
                text: Some(value.to_owned()),
                b64: None,
            },
            Err(_) => Line {
                key: memo.key.clone(),
                text: None,
                b64: Some(STANDARD.encode(value)),
            },
        };
        serde_json::to_writer(&mut text, &line)?;
        text.push(b'\n');
    }
    text.extend_from_slice(b"end\n");
    let mut file = File::create(&beside)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    // The new name is durable once its directory is.
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    File::open(dir.unwrap_or(Path::new(".")))?.sync_all()
}

#[async_trait]
impl Memos for FileMemos {
    async fn load(&self, prefixes: &[MemoKey]) -> Result<Vec<Memo>> {
        let all = self.0.memos.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(matching(&all, prefixes))
    }

    async fn save(&self, memos: Vec<Memo>) -> Result<()> {
        let inner = self.0.clone();
        let group = crate::supervise::Supervisor::new("memos");
        let saved = group
            .spawn_blocking("save", move || inner.save(memos))
            .await;
        saved.map_err(|e| Error::caused_by(ErrorKind::Bug, "write memos", e))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memo(key: &str, value: impl Into<bytes::Bytes>) -> Memo {
        Memo::set(MemoKey::new(key).unwrap(), value)
    }

    fn all() -> [MemoKey; 1] {
        [MemoKey::new("a").unwrap()]
    }

    #[tokio::test]
    async fn memos_come_back_whatever_they_hold() {
        let dir = tempfile::tempdir().unwrap();
        let memos = FileMemos::open(dir.path()).unwrap();
        let kept = vec![memo("a/1", "text\n\"end\""), memo("a/2", vec![0xff, 0, 10])];
        memos.save(kept.clone()).await.unwrap();
        memos
            .save(vec![memo("a/3", "x"), memo("b", "y")])
            .await
            .unwrap();
        let gone = Memo::removed(MemoKey::new("a/3").unwrap());
        memos.save(vec![gone]).await.unwrap();
        drop(memos);
        let memos = FileMemos::open(dir.path()).unwrap();
        assert_eq!(memos.load(&all()).await.unwrap(), kept);
    }

    #[test]
    fn only_one_process_has_them() {
        let dir = tempfile::tempdir().unwrap();
        let _first = FileMemos::open(dir.path()).unwrap();
        let error = FileMemos::open(dir.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.hint().is_some());
    }

    #[tokio::test]
    async fn a_damaged_file_is_refused_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let memos = FileMemos::open(dir.path()).unwrap();
        memos
            .save(vec![memo("a/1", "one"), memo("a/2", "two")])
            .await
            .unwrap();
        drop(memos);
        let path = dir.path().join("memos");
        let whole = fs::read(&path).unwrap();
        for cut in 1..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            match FileMemos::open(dir.path()) {
                Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "cut at {cut}"),
                Ok(_) => assert_eq!(
                    cut,
                    whole.len() - 1,
                    "only the last line end may be missing"
                ),
            }
        }
        assert_eq!(fs::read(&path).unwrap(), &whole[..whole.len() - 1]);
    }
}
