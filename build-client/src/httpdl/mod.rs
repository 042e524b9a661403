//! Downloads to files: only when something changed, whole or not at all, and from where it stopped.
//!
//! Protocol facts: the Go package `internal/httpdl` asks with HEAD, takes a file of the same length
//! and time as current, and needs `Last-Modified` otherwise. So does this one, and it also compares
//! an `ETag`, goes on after a cut, and checks length and SHA-256 before the old file is replaced.

mod client;
mod current;
pub(crate) mod lock;
pub(crate) mod part;
mod transfer;

use std::path::PathBuf;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::time::timeout;

use crate::{Error, ErrorKind, Result};
pub(crate) use client::shown;
pub use client::{HttpClient, HttpOptions};
use part::Part;

/// The longest time that one download takes.
const DEADLINE: Duration = Duration::from_secs(2 * 3600);
/// Requests that bring nothing, one after the other, before a download fails.
const ATTEMPTS: u32 = 4;
/// Largest file, when its length is not known before.
const LARGEST: u64 = 32 << 30;

/// A SHA-256.
pub type Sha256Sum = [u8; 32];

/// What a download does at the moment; for people.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// Another process downloads the same file; this one waits for it.
    Waiting,
    /// Bytes that are there, and all of them when the server says so.
    Received {
        /// Bytes that are there.
        done: u64,
        /// Bytes in all.
        total: Option<u64>,
    },
    /// The connection was lost or refused; it is tried again after `pause`.
    Retrying {
        /// What happened.
        cause: String,
        /// The time before the next request.
        pause: Duration,
    },
    /// What was there from an earlier download cannot be used; it begins anew.
    Restarting {
        /// Why.
        cause: String,
    },
}

/// What a download did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Downloaded {
    /// The file was current; nothing was transferred.
    Current,
    /// The file is new.
    Fetched {
        /// Its length.
        bytes: u64,
        /// Bytes of it that an earlier, interrupted download had brought.
        resumed: u64,
    },
}

/// A file to be downloaded.
///
/// ```no_run
/// # async fn example() -> build_client::Result<()> {
/// use build_client::httpdl::{Download, HttpOptions};
/// let client = HttpOptions::default().user_agent("example/1").build()?;
/// let list = Download::new("https://mirror.example.org/list.txt", "list.txt");
/// list.run(&client, &|_| ()).await?; // the second time only asks whether it changed
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Download {
    url: String,
    file: PathBuf,
    sha256: Option<Sha256Sum>,
    bytes: Option<u64>,
    largest: u64,
    deadline: Duration,
    attempts: u32,
    pause: Duration,
}

impl Download {
    /// `url` to `file`, whose directory must exist.
    pub fn new(url: impl Into<String>, file: impl Into<PathBuf>) -> Self {
        Self {
            url: url.into(),
            file: file.into(),
            sha256: None,
            bytes: None,
            largest: LARGEST,
            deadline: DEADLINE,
            attempts: ATTEMPTS,
            pause: Duration::from_millis(500),
        }
    }

    /// The content must have this SHA-256. A file that has it is current without a request.
    #[must_use]
    pub fn sha256(mut self, sum: Sha256Sum) -> Self {
        self.sha256 = Some(sum);
        self
    }

    /// The content must have this length.
    #[must_use]
    pub fn bytes(mut self, bytes: u64) -> Self {
        self.bytes = Some(bytes);
        self
    }

    /// Refuses a larger file. Default 32 GiB.
    #[must_use]
    pub fn at_most(mut self, bytes: u64) -> Self {
        self.largest = bytes;
        self
    }

    /// The longest time for everything, waiting included. Default two hours.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Requests in a row that bring nothing before it fails, and the pause after the first of
    /// them, which doubles. Default four, half a second.
    #[must_use]
    pub fn attempts(mut self, attempts: u32, pause: Duration) -> Self {
        self.attempts = attempts.max(1);
        self.pause = pause;
        self
    }

    /// Downloads, unless the file is current. `progress` is called often and must be cheap.
    ///
    /// What was received stays beside the file in `FILE.part`, and the next call goes on there,
    /// also after this process was killed. Several calls for one file, in any number of processes,
    /// wait for each other and share what was received. The file itself changes all at once.
    ///
    /// Cancel safety: a dropped call leaves `FILE.part` for the next one.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such file, [`ErrorKind::Corrupt`] when length or
    /// SHA-256 are not the expected ones, [`ErrorKind::Invalid`] when the server gives neither
    /// `Last-Modified` nor `ETag` and no SHA-256 is expected, [`ErrorKind::TimedOut`] at the
    /// deadline, [`ErrorKind::Limit`] when it is too large or the disk is full, and
    /// [`ErrorKind::Unavailable`] when the server cannot be reached. The old file stays as it was.
    pub async fn run(
        &self,
        client: &HttpClient,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Downloaded> {
        match timeout(self.deadline, self.rounds(client, progress)).await {
            Ok(done) => done,
            Err(_) => {
                let url = shown(&self.url);
                let what = format!("download of {url} took longer than {:?}", self.deadline);
                Err(Error::new(ErrorKind::TimedOut, what))
            }
        }
    }

    /// One round, and a second one when what an earlier run had left was of another file.
    async fn rounds(
        &self,
        client: &HttpClient,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Downloaded> {
        loop {
            if let Some(sum) = self.sha256 {
                if self.file_has(sum).await? {
                    return Ok(Downloaded::Current);
                }
            } else if current::is_current(client, &self.url, &self.file).await? {
                return Ok(Downloaded::Current);
            }
            let Some(mut part) = Part::lock(&self.file, progress).await? else {
                // Somebody else has just finished it.
                continue;
            };
            let resumed = part.usable(&self.url, self.sha256.is_some())?;
            match self.transfer(client, &mut part, progress).await {
                Ok(mut stamp) => {
                    if self.sha256.is_some() {
                        // Known by its sum; an ETag says nothing more.
                        stamp.etag = None;
                    }
                    let bytes = part.finish(&self.file, &stamp).await?;
                    let resumed = resumed.min(bytes);
                    return Ok(Downloaded::Fetched { bytes, resumed });
                }
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    part.discard()?;
                    if resumed == 0 {
                        return Err(error);
                    }
                    let cause = error.chain();
                    progress(Progress::Restarting { cause });
                }
                Err(error) => {
                    if part.have == 0 {
                        part.discard()?;
                    }
                    return Err(error);
                }
            }
        }
    }

    async fn file_has(&self, sum: Sha256Sum) -> Result<bool> {
        if !self.file.is_file() {
            return Ok(false);
        }
        Ok(sum_of(&self.file).await? == sum)
    }

    /// The address as it is asked for: what Google's storage caches is passed by, as in Go.
    fn address(&self) -> String {
        let busted = self.sha256.is_none()
            && self.url.starts_with("https://storage.googleapis.com")
            && !self.url.contains('?');
        match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
            Ok(now) if busted => format!("{}?{}", self.url, now.as_secs()),
            _ => self.url.clone(),
        }
    }
}

/// The SHA-256 of a file.
///
/// # Errors
/// When it cannot be read.
pub async fn sum_of(file: &std::path::Path) -> Result<Sha256Sum> {
    let path = file.to_owned();
    let summed = tokio::task::spawn_blocking(move || {
        let mut hash = Sha256::new();
        let mut file = std::fs::File::open(&path)?;
        std::io::copy(&mut file, &mut Hashing(&mut hash))?;
        Ok::<_, std::io::Error>(hash.finalize().into())
    });
    let summed = summed
        .await
        .map_err(|error| Error::caused_by(ErrorKind::Bug, "compute a SHA-256", error))?;
    summed.map_err(|error| part::failed("read", file, error))
}

struct Hashing<'a>(&'a mut Sha256);

impl std::io::Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
