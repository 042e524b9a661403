//! Contents of objects on disk, and how much there is of whom.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use build_core::buildlet::ByteStream;
use build_core::{Error, ErrorKind, Result};
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use tempfile::TempPath;
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;
use tokio_util::io::ReaderStream;

use super::ObjectLimits;

/// How long whoever sends a file may send nothing of it.
const STALL: Duration = Duration::from_secs(60);
/// Bytes read at a time.
const PIECE: usize = 256 << 10;
/// How files in the directory are called; others in it are not ours.
const PREFIX: &str = "object-";

#[derive(Default)]
struct Usage {
    total: u64,
    owners: HashMap<String, u64>,
}

/// Where contents are kept.
pub(super) struct Spool {
    dir: PathBuf,
    limits: ObjectLimits,
    usage: Arc<Mutex<Usage>>,
}

/// The bytes of one object among those of all.
struct Share {
    usage: Arc<Mutex<Usage>>,
    owner: String,
    bytes: u64,
}

/// A file that is there as a whole. Dropped, it is removed.
pub(in crate::gomote) struct Content {
    path: TempPath,
    share: Share,
}

fn locked(usage: &Mutex<Usage>) -> MutexGuard<'_, Usage> {
    // Both figures change together under the lock, and nothing between them can panic.
    usage.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Spool {
    /// Keeps contents in `dir`, which is made for us alone; what an earlier process left there
    /// is removed, for nobody knows its address any more.
    pub(super) fn open(dir: &Path, limits: ObjectLimits) -> Result<Self> {
        let failed = |error| {
            let text = format!("cannot keep files in {}", dir.display());
            let hint = "see that the directory can be written";
            Error::caused_by(ErrorKind::Unavailable, text, error).with_hint(hint)
        };
        let mut maker = std::fs::DirBuilder::new();
        maker.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut maker, 0o700);
        maker.create(dir).map_err(failed)?;
        for entry in std::fs::read_dir(dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_name().to_string_lossy().starts_with(PREFIX) {
                std::fs::remove_file(entry.path()).map_err(failed)?;
            }
        }
        Ok(Self {
            dir: dir.to_owned(),
            limits,
            usage: Arc::default(),
        })
    }

    /// Whether `owner`, or all together, have more than half of what they may have.
    pub(super) fn is_crowded(&self, owner: &str) -> bool {
        let usage = locked(&self.usage);
        let own = usage.owners.get(owner).copied().unwrap_or_default();
        usage.total > self.limits.all_bytes / 2 || own > self.limits.owner_bytes / 2
    }

    /// Writes a file down.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`] for too much, [`ErrorKind::TimedOut`] when nothing comes any more,
    /// [`ErrorKind::Unavailable`] when the disk does not take it, and the errors of `contents`.
    pub(super) async fn store(
        &self,
        owner: &str,
        mut contents: impl Stream<Item = Result<Bytes>> + Send + Unpin,
    ) -> Result<Content> {
        let full = |error| {
            Error::caused_by(ErrorKind::Unavailable, "the farm cannot keep it", error)
                .with_hint("see that its data directory is not full")
        };
        let made = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempfile_in(&self.dir);
        let (file, path) = made.map_err(full)?.into_parts();
        let mut file = File::from_std(file);
        let mut share = Share {
            usage: Arc::clone(&self.usage),
            owner: owner.to_owned(),
            bytes: 0,
        };
        loop {
            let piece = timeout(STALL, contents.next()).await.map_err(|_| {
                let text = format!("nothing came for {} s", STALL.as_secs());
                Error::new(ErrorKind::TimedOut, text)
            })?;
            let Some(piece) = piece.transpose()? else {
                break;
            };
            share.grow(piece.len() as u64, &self.limits)?;
            file.write_all(&piece).await.map_err(full)?;
        }
        file.flush().await.map_err(full)?;
        Ok(Content { path, share })
    }
}

impl Share {
    fn grow(&mut self, more: u64, limits: &ObjectLimits) -> Result<()> {
        let mut usage = locked(&self.usage);
        let own = usage.owners.get(&self.owner).copied().unwrap_or_default();
        let too_much = |what: &str, limit: u64| {
            let text = format!("{what} more than {limit} bytes");
            let hint = "send less at a time; what was sent is forgotten after some minutes";
            Err(Error::new(ErrorKind::Limit, text).with_hint(hint))
        };
        if self.bytes + more > limits.object_bytes {
            return too_much("one file may not have", limits.object_bytes);
        }
        if own + more > limits.owner_bytes {
            return too_much(
                "one user's files on their way may not have",
                limits.owner_bytes,
            );
        }
        if usage.total + more > limits.all_bytes {
            return too_much(
                "the farm's files on their way may not have",
                limits.all_bytes,
            );
        }
        usage.total += more;
        *usage.owners.entry(self.owner.clone()).or_default() += more;
        self.bytes += more;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut usage = locked(&self.usage);
        usage.total = usage.total.saturating_sub(self.bytes);
        if let Some(own) = usage.owners.get_mut(&self.owner) {
            *own = own.saturating_sub(self.bytes);
            if *own == 0 {
                usage.owners.remove(&self.owner);
            }
        }
    }
}

impl Content {
    /// Its size in bytes.
    pub(in crate::gomote) fn size(&self) -> u64 {
        self.share.bytes
    }

    /// Its bytes, from the beginning.
    pub(in crate::gomote) async fn stream(self: Arc<Self>) -> Result<ByteStream> {
        let opened = File::open(&self.path).await;
        let file = opened.map_err(|error| {
            Error::caused_by(ErrorKind::Unavailable, "the file was lost", error)
        })?;
        let pieces = ReaderStream::with_capacity(file, PIECE);
        Ok(Box::pin(pieces.map(move |piece| {
            // Its bytes count until the last reader is done.
            let _held = &self;
            piece.map_err(Error::from)
        })))
    }
}
