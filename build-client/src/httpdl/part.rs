//! What has been received so far: `FILE.part`, and beside it where it came from.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::{Progress, current, lock};
use crate::{Error, ErrorKind, Result};

/// Where the bytes of a part came from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Origin {
    pub(super) url: String,
    /// A strong `ETag`, or else `Last-Modified`: what `If-Range` asks with.
    pub(super) validator: Option<String>,
    pub(super) total: Option<u64>,
}

/// What the server says of a whole file.
#[derive(Clone, Debug, Default)]
pub(super) struct Stamp {
    pub(super) modified: Option<SystemTime>,
    pub(super) etag: Option<String>,
}

/// The part of one file, held by this process alone.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) file: tokio::fs::File,
    pub(super) path: PathBuf,
    origin_path: PathBuf,
    pub(super) origin: Origin,
    pub(super) have: u64,
}

impl Part {
    /// Opens the part of `file` and waits until no other process holds it. `None` when that process
    /// has made it the file meanwhile.
    pub(super) async fn lock(
        file: &Path,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Option<Self>> {
        let path = beside(file, ".part");
        let Some(held) = lock::hold(&path, &|| progress(Progress::Waiting)).await? else {
            return Ok(None);
        };
        let have = held
            .metadata()
            .map_err(|error| failed("look at", &path, error))?
            .len();
        let origin_path = beside(file, ".part.json");
        // An origin that cannot be read is as good as none: what is there is not used.
        let origin = std::fs::read(&origin_path).ok();
        let origin = origin.and_then(|text| serde_json::from_slice(&text).ok());
        Ok(Some(Self {
            file: tokio::fs::File::from_std(held),
            path,
            origin_path,
            origin: origin.unwrap_or_default(),
            have,
        }))
    }

    /// Bytes of the part that a download of `url` can go on from; others are thrown away.
    pub(super) fn usable(&mut self, url: &str, checked: bool) -> Result<u64> {
        if self.origin.url != url {
            // Another mirror knows nothing of this one's validators.
            self.origin.validator = None;
        }
        let same = checked || self.origin.validator.is_some();
        let within = self.origin.total.is_none_or(|total| self.have <= total);
        if self.have > 0 && !(same && within) {
            self.empty()?;
        }
        Ok(self.have)
    }

    /// Throws away what is there.
    pub(super) fn empty(&mut self) -> Result<()> {
        // By its path: the open file may have a write under way that no longer matters.
        let file = OpenOptions::new().write(true).open(&self.path);
        file.and_then(|file| file.set_len(0))
            .map_err(|error| failed("empty", &self.path, error))?;
        self.have = 0;
        Ok(())
    }

    /// Remembers where the bytes come from, before the first of them is written.
    pub(super) fn remember(&mut self, origin: Origin) -> Result<()> {
        if origin == self.origin {
            return Ok(());
        }
        let text = serde_json::to_vec(&origin)
            .map_err(|error| Error::caused_by(ErrorKind::Bug, "encode an origin", error))?;
        // Written whole or not read: a torn one names no address.
        std::fs::write(&self.origin_path, text)
            .map_err(|error| failed("write", &self.origin_path, error))?;
        self.origin = origin;
        Ok(())
    }

    /// Makes the part the file.
    pub(super) async fn finish(self, file: &Path, stamp: &Stamp) -> Result<u64> {
        let part = self.file.into_std().await;
        let path = &self.path;
        if let Some(modified) = stamp.modified {
            part.set_modified(modified)
                .map_err(|error| failed("set the time of", path, error))?;
        }
        part.sync_all()
            .map_err(|error| failed("write", path, error))?;
        current::keep_etag(file, stamp.etag.as_deref())?;
        // Gone before the part is: a new part never meets the origin of an old one.
        remove(&self.origin_path)?;
        std::fs::rename(path, file).map_err(|error| failed("replace", file, error))?;
        Ok(self.have)
    }

    /// Removes what is there: it is of no use to anybody.
    pub(super) fn discard(self) -> Result<()> {
        remove(&self.origin_path)?;
        remove(&self.path)
    }
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path, error)),
        _ => Ok(()),
    }
}

/// `file` with something after its name.
pub(crate) fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// An error of the file system, with what was being done to which file.
pub(crate) fn failed(doing: &str, path: &Path, error: io::Error) -> Error {
    Error::from(error).while_doing(format!("{doing} {}", path.display()))
}
