//! Logs as files: `BUILD/EXEC.log`, its line index and its sum beside it.

use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use build_core::ids::{BuildId, ExecId};
use build_core::livelog::{LiveLog, LogWriter, Options};
use build_core::tree::remove_tree;
use build_core::{Error, ErrorKind, Result};

use super::private;
use super::{LogSum, Logs};

const LOG: &str = ".log";

/// Logs below one directory.
#[derive(Clone, Debug)]
pub struct FileLogs {
    dir: PathBuf,
}

impl FileLogs {
    /// The logs below `dir`, which is made when the first one is written.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    fn of_build(&self, build: &BuildId) -> PathBuf {
        self.dir.join(build.as_str())
    }

    fn path(&self, build: &BuildId, exec: &ExecId) -> PathBuf {
        self.of_build(build).join(format!("{exec}{LOG}"))
    }

    fn sum_path(&self, build: &BuildId, exec: &ExecId) -> PathBuf {
        self.of_build(build).join(format!("{exec}{LOG}.sum"))
    }
}

fn named<'p>(what: &'p str, path: &'p Path) -> impl Fn(io::Error) -> Error + 'p {
    move |error| Error::from(error).while_doing(format!("{what} {}", path.display()))
}

/// `None` when there is no such thing.
fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The names in a directory, none when it is not there.
async fn names(dir: &Path) -> Result<Vec<String>> {
    let failed = named("read", dir);
    let Some(mut entries) = found(tokio::fs::read_dir(dir).await).map_err(&failed)? else {
        return Ok(Vec::new());
    };
    let mut names = Vec::new();
    while let Some(entry) = entries.next_entry().await.map_err(&failed)? {
        names.extend(entry.file_name().into_string());
    }
    Ok(names)
}

#[async_trait]
impl Logs for FileLogs {
    async fn writer(&self, build: &BuildId, exec: &ExecId) -> Result<LogWriter> {
        let path = self.path(build, exec);
        let open = || {
            private::create_dir_all(&self.of_build(build))?;
            let options = Options::default();
            match found(LogWriter::reopen(&path, &options))? {
                Some(writer) => Ok(writer),
                None => LogWriter::create(&path, &options),
            }
        };
        open().map_err(named("write", &path))
    }

    async fn seal(
        &self,
        build: &BuildId,
        exec: &ExecId,
        written: &LiveLog,
        sum: &LogSum,
    ) -> Result<()> {
        let path = self.sum_path(build, exec);
        let text = serde_json::to_vec(sum)
            .map_err(|e| Error::caused_by(ErrorKind::Bug, "write down the sum of a log", e))?;
        let written = written.clone();
        let log = self.path(build, exec);
        let work = move || {
            written.sync().map_err(named("write", &log))?;
            private::write_soon(&path, &text).map_err(named("write", &path))
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|e| Error::caused_by(ErrorKind::Bug, "keep a log", e))?
    }

    async fn open(&self, build: &BuildId, exec: &ExecId) -> Result<Option<LiveLog>> {
        let path = self.path(build, exec);
        found(LiveLog::open(&path)).map_err(named("read", &path))
    }

    async fn sum(&self, build: &BuildId, exec: &ExecId) -> Result<Option<LogSum>> {
        let path = self.sum_path(build, exec);
        let text = found(tokio::fs::read(&path).await).map_err(named("read", &path))?;
        // A damaged sum tells nothing of the log.
        Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
    }

    async fn attempts(&self, build: &BuildId) -> Result<Vec<ExecId>> {
        let names = names(&self.of_build(build)).await?.into_iter();
        let logs = names.filter_map(|name| ExecId::new(name.strip_suffix(LOG)?).ok());
        Ok(logs.collect())
    }

    async fn builds(&self) -> Result<Vec<BuildId>> {
        let names = names(&self.dir).await?.into_iter();
        Ok(names.filter_map(|name| BuildId::new(name).ok()).collect())
    }

    async fn remove(&self, build: &BuildId) -> Result<()> {
        let dir = self.of_build(build);
        let tree = dir.clone();
        let removed = tokio::task::spawn_blocking(move || found(remove_tree(&tree))).await;
        let removed = removed
            .map_err(io::Error::other)
            .and_then(|removed| removed);
        removed.map(drop).map_err(named("remove", &dir))
    }
}
