//! Programs for build machines, by platform: a machine fetches the one that its coordinator has,
//! and keeps itself equal to it.
//!
//! `GET /programs` lists them with size and SHA-256, `GET /programs/NAME.OS-ARCH` gives one, for
//! example `buildlet.linux-arm64`. Anybody may read them, under whatever name they call the farm:
//! a machine that has none yet has no key to show.

use std::collections::HashMap;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use axum::body::Body;
use axum::extract::{Path as PathOf, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio_util::io::ReaderStream;

use crate::buildlet::{ARCH, OS};
use crate::supervise::Supervisor;

/// Bytes read at a time.
const PIECE: usize = 64 * 1024;
/// Files that are looked at.
const MOST: usize = 500;

/// The programs of a directory. Clones are the same.
#[derive(Clone, Debug)]
pub struct Programs(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: Option<PathBuf>,
    /// Files from elsewhere, by the names under which they are given.
    more: Vec<(String, PathBuf)>,
    /// What was computed of a file that looked so.
    sums: Mutex<HashMap<PathBuf, (Stamp, String)>>,
}

/// How a file looked.
type Stamp = (u64, Option<SystemTime>);

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ProgramFile {
    /// Under which it is given: `buildlet.linux-arm64`.
    pub file: String,
    /// How many bytes it has.
    pub bytes: u64,
    /// Its SHA-256 in hex.
    pub sha256: String,
}

#[derive(Serialize)]
struct List {
    programs: Vec<ProgramFile>,
}

/// The name of a program for the platform of this process: `farmer.linux-amd64`.
#[must_use]
pub fn file_name(program: &str) -> String {
    format!("{program}.{OS}-{ARCH}")
}

/// Whether it is one file's name: `NAME.OS-ARCH`.
fn is_file_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let platform = name.rsplit_once('.').and_then(|(_, p)| p.split_once('-'));
    let whole = platform.is_some_and(|(os, arch)| !os.is_empty() && !arch.is_empty());
    whole && name.len() <= 100 && !name.starts_with('.') && name.chars().all(plain)
}

impl Programs {
    /// The files of a directory whose names are those of programs; `None`: none.
    #[must_use]
    pub fn new(dir: Option<PathBuf>) -> Self {
        Self(Arc::new(Inner {
            dir,
            more: Vec::new(),
            sums: Mutex::default(),
        }))
    }

    /// Another file, given under this name; one of that name in the directory is given instead.
    #[must_use]
    pub fn with(self, name: impl Into<String>, file: impl Into<PathBuf>) -> Self {
        let mut more = self.0.more.clone();
        more.push((name.into(), file.into()));
        Self(Arc::new(Inner {
            dir: self.0.dir.clone(),
            more,
            sums: Mutex::default(),
        }))
    }

    /// `/programs` and what is below.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/programs", get(list))
            .route("/programs/{file}", get(one))
            .with_state(self.clone())
    }

    /// All of them by name. It reads what has changed since the last question.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn list(&self) -> io::Result<Vec<ProgramFile>> {
        let mut files: HashMap<String, PathBuf> = self.0.more.iter().cloned().collect();
        if let Some(dir) = &self.0.dir {
            let entries = match std::fs::read_dir(dir) {
                Ok(entries) => Some(entries),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            };
            for entry in entries.into_iter().flatten().take(MOST) {
                let entry = entry?;
                let name = entry.file_name();
                if let Some(name) = name.to_str().filter(|name| is_file_name(name)) {
                    files.insert(name.to_owned(), entry.path());
                }
            }
        }
        let mut all = Vec::new();
        for (file, path) in files {
            // One that is being replaced is there the next time.
            if let Some((bytes, sha256)) = self.look(&path)? {
                all.push(ProgramFile {
                    file,
                    bytes,
                    sha256,
                });
            }
        }
        all.sort_by(|a, b| a.file.cmp(&b.file));
        Ok(all)
    }

    fn look(&self, path: &Path) -> io::Result<Option<(u64, String)>> {
        let metadata = match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => metadata,
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let stamp = (metadata.len(), metadata.modified().ok());
        let known = self.sums().get(path).cloned();
        if let Some((_, sum)) = known.filter(|(seen, _)| *seen == stamp) {
            return Ok(Some((stamp.0, sum)));
        }
        let (mut file, mut hash) = (std::fs::File::open(path)?, Sha256::new());
        let mut piece = vec![0; PIECE];
        loop {
            match file.read(&mut piece)? {
                0 => break,
                count => hash.update(&piece[..count]),
            }
        }
        let sum = hex::encode(hash.finalize());
        let entry = (stamp, sum.clone());
        self.sums().insert(path.to_owned(), entry);
        Ok(Some((stamp.0, sum)))
    }

    fn sums(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, (Stamp, String)>> {
        // Nothing panics while it holds this lock.
        self.0.sums.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path_of(&self, name: &str) -> Option<PathBuf> {
        if !is_file_name(name) {
            return None;
        }
        let own = self.0.dir.as_ref().map(|dir| dir.join(name));
        if let Some(path) = own.filter(|path| path.is_file()) {
            return Some(path);
        }
        let mut more = self.0.more.iter();
        more.find(|(known, _)| known == name)
            .map(|(_, path)| path.clone())
    }
}

/// An error as text.
fn said(status: StatusCode, text: &str) -> Response {
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    (status, headers, format!("{text}\n")).into_response()
}

async fn list(State(programs): State<Programs>) -> Response {
    let looking = Supervisor::new("programs");
    let looked = looking.spawn_blocking("list", move || programs.list());
    match looked.await {
        Ok(Ok(programs)) => Json(List { programs }).into_response(),
        Ok(Err(error)) => {
            tracing::error!(%error, "the programs of machines cannot be read");
            said(StatusCode::INTERNAL_SERVER_ERROR, "cannot be read now")
        }
        Err(_) => said(StatusCode::INTERNAL_SERVER_ERROR, "cannot be read now"),
    }
}

async fn one(State(programs): State<Programs>, PathOf(name): PathOf<String>) -> Response {
    let Some(path) = programs.path_of(&name) else {
        return said(StatusCode::NOT_FOUND, "404 page not found");
    };
    let opened = async {
        let file = tokio::fs::File::open(&path).await?;
        let bytes = file.metadata().await?.len();
        Ok::<_, io::Error>((file, bytes))
    };
    match opened.await {
        Ok((file, bytes)) => {
            let headers = [
                (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
                (header::CONTENT_LENGTH, bytes.to_string()),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
            ];
            let pieces = ReaderStream::with_capacity(file, PIECE);
            (headers, Body::from_stream(pieces)).into_response()
        }
        Err(error) => {
            tracing::error!(%error, file = %path.display(), "a program cannot be read");
            said(StatusCode::NOT_FOUND, "404 page not found")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_names_and_read_again_when_they_change() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("buildlet.linux-arm64"), "one").unwrap();
        std::fs::write(path("notes.txt"), "no program").unwrap();
        std::fs::write(path("own"), "own").unwrap();
        std::fs::create_dir(path("x.linux-amd64")).unwrap();
        let programs = Programs::new(Some(dir.path().into()))
            .with("farmer.linux-amd64", path("own"))
            .with("farmer.linux-386", path("missing"));
        let all = programs.list().unwrap();
        let names: Vec<_> = all.iter().map(|program| program.file.as_str()).collect();
        assert_eq!(names, ["buildlet.linux-arm64", "farmer.linux-amd64"]);
        assert_eq!(all[0].sha256, hex::encode(Sha256::digest("one")));
        std::fs::write(path("buildlet.linux-arm64"), "another").unwrap();
        let again = programs.list().unwrap();
        assert_eq!(again[0].sha256, hex::encode(Sha256::digest("another")));
        assert_eq!(again[0].bytes, 7);
        for bad in ["../own", "own", ".linux-amd64", "a/b.linux-amd64", "x.-"] {
            assert!(programs.path_of(bad).is_none(), "{bad}");
        }
        assert!(is_file_name(&file_name("farmer")));
    }
}
