//! Archives of any revision, made once and kept for a while.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use build_core::{Error, ErrorKind, Result};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Semaphore;

use super::copy::Copy;
use crate::child::Rev;

/// For one archive, its fetch included.
pub(super) const LIMIT: Duration = Duration::from_secs(30);
/// Archives that are made at a time.
const AT_A_TIME: usize = 4;
/// Archives that are kept.
const KEPT: usize = 100;

/// Archives below a directory. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Archives {
    dir: Arc<Path>,
    slots: Arc<Semaphore>,
}

impl Archives {
    pub(super) fn new(dir: PathBuf) -> Result<Self> {
        // Those of a run before may be torn.
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir_all(&dir)?;
        Ok(Self {
            dir: dir.into(),
            slots: Arc::new(Semaphore::new(AT_A_TIME)),
        })
    }

    /// The archive of a revision: its commit, and a file.
    pub(super) async fn of(
        &self,
        copy: &Copy,
        source: &str,
        rev: &Rev,
    ) -> Result<(String, PathBuf)> {
        let made = tokio::time::timeout(LIMIT, self.make(copy, source, rev)).await;
        made.unwrap_or_else(|_| {
            let text = format!("no archive within {} s", LIMIT.as_secs());
            Err(Error::new(ErrorKind::TimedOut, text))
        })
    }

    async fn make(&self, copy: &Copy, source: &str, rev: &Rev) -> Result<(String, PathBuf)> {
        let hash = match resolve(copy, rev.as_str()).await? {
            Some(hash) => hash,
            None => {
                // It may be newer than the copy, or not on any branch.
                let asked = format!("refs/asked/{}", rev.as_str());
                let from_to = format!("+{}:{asked}", rev.as_str());
                let args = [
                    "fetch",
                    "--quiet",
                    "--no-tags",
                    "--end-of-options",
                    source,
                    &from_to,
                ];
                if let Err(error) = copy.git().run(args).await {
                    tracing::debug!(error = error.chain(), "a revision is not at the source");
                }
                let found = resolve(copy, &asked).await?;
                found.ok_or_else(|| {
                    let text = format!("no revision is called {}", rev.as_str());
                    Error::new(ErrorKind::NotFound, text)
                })?
            }
        };
        let path = self.dir.join(format!("{hash}.tar.gz"));
        if path.exists() {
            return Ok((hash, path));
        }
        let _slot = self.slots.acquire().await;
        if path.exists() {
            return Ok((hash, path));
        }
        let new = tempfile::NamedTempFile::new_in(&self.dir)?;
        let command = copy.git().command(["archive", "--format=tar.gz", &hash]);
        let (mut running, mut pipes) = command.start_piped()?;
        let mut file = tokio::fs::File::from_std(new.reopen()?);
        let mut complaint = String::new();
        tokio::io::copy(&mut pipes.stdout, &mut file).await?;
        file.flush().await?;
        let mut stderr = tokio::io::AsyncReadExt::take(pipes.stderr, 4096);
        tokio::io::AsyncReadExt::read_to_string(&mut stderr, &mut complaint).await?;
        let status = running.wait().await?;
        if !status.success() {
            let text = format!("git archive: {status}: {}", complaint.trim());
            return Err(Error::new(ErrorKind::Unavailable, text));
        }
        new.persist(&path).map_err(|e| Error::from(e.error))?;
        self.sweep();
        Ok((hash, path))
    }

    /// Deletes the oldest beyond those that are kept. Readers keep the files that they opened.
    fn sweep(&self) {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let mut all: Vec<_> = entries
            .filter_map(|e| Some((e.metadata().ok()?.modified().ok()?, e.path())))
            .collect();
        all.sort();
        let extra = all.len().saturating_sub(KEPT);
        for (_, path) in all.into_iter().take(extra) {
            // It may be gone already.
            let _ = fs::remove_file(path);
        }
    }
}

async fn resolve(copy: &Copy, rev: &str) -> Result<Option<String>> {
    let commit = format!("{rev}^{{commit}}");
    let args = [
        "rev-parse",
        "--quiet",
        "--verify",
        "--end-of-options",
        &commit,
    ];
    let asked = copy.git().ask(args).await?;
    Ok(asked.status.success().then(|| asked.text()))
}

/// Opens an archive; answers its length too.
pub(super) fn open(path: &Path) -> Result<(fs::File, u64)> {
    let mut file = fs::File::open(path)?;
    let length = file.metadata()?.len();
    let mut begin = [0; 2];
    file.read_exact(&mut begin)?;
    std::io::Seek::rewind(&mut file)?;
    match begin == [0x1f, 0x8b] {
        true => Ok((file, length)),
        false => Err(Error::new(ErrorKind::Corrupt, "the archive is not gzip")),
    }
}
