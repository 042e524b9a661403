//! From the store to a folder: what the folder lacks is fetched before anybody writes it.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use bytes::Bytes;

use super::log::begins_with;
use super::manifest::Stored;
use super::{ObjectError, ObjectLog, Objects};
use crate::log::{LogFolder, LogLock, Segment, SegmentName, Sha224Hex, recover};
use crate::{Error, Result};

/// A last segment of this size is complete: 16 MiB, less what a small record needs.
const COMPLETE: u64 = (16 << 20) - 4096;

impl<S: Objects> ObjectLog<S> {
    /// The bytes of a segment of the manifest, checked.
    ///
    /// # Errors
    /// [`ObjectError::Corrupt`] when the store does not have them.
    ///
    /// # Panics
    /// When the manifest has no such segment.
    pub async fn fetch(&self, number: u32) -> Result<Bytes, ObjectError> {
        let stored = &self.manifest.segments[number as usize];
        let name = stored.name(number);
        let bytes = self.store.get(&name).await?;
        let bytes = bytes.filter(|bytes| Sha224Hex::of(bytes) == stored.sha224);
        bytes.ok_or(ObjectError::Corrupt { name })
    }

    /// Brings the folder at `folder` up to what the store has, so that a writer can continue
    /// there; made when it is not there. A folder that has more keeps it: it is uploaded by the
    /// next [`push`](Self::push). Returns how many bytes were fetched.
    ///
    /// # Errors
    /// [`ObjectError::Diverged`] when the two hold different histories; nothing is changed then.
    /// [`ObjectError::Corrupt`] when an object is damaged and the folder lacks its content.
    pub async fn restore(&self, folder: &Path) -> Result<u64, ObjectError> {
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        let _lock = LogLock::take(folder)?;
        let local = LogFolder::open(folder)?.segments().to_vec();
        let count = self.manifest.segments.len();
        let mut fetched = 0;
        for (number, stored) in (0u32..).zip(&self.manifest.segments) {
            let last = number as usize + 1 == count;
            let mine = local.get(number as usize);
            if has(mine, stored)? {
                continue;
            }
            let old = match mine {
                Some(segment) => whole(segment)?,
                None => Bytes::new(),
            };
            if old.len() as u64 >= stored.size {
                return Err(ObjectError::Diverged { number });
            }
            let bytes = self.fetch(number).await?;
            if !bytes.starts_with(&old) || mine.is_some() && local.len() > number as usize + 1 {
                return Err(ObjectError::Diverged { number });
            }
            fetched += bytes.len() as u64;
            let name = if last && stored.size < COMPLETE {
                SegmentName::Growing { number }
            } else {
                SegmentName::Frozen {
                    number,
                    sha224: stored.sha224,
                }
            };
            write(folder, &name, &bytes)?;
            remove_other(mine, &name)?;
        }
        Ok(fetched)
    }
}

/// Whether the folder's segment is the store's, or continues it.
fn has(segment: Option<&Segment>, stored: &Stored) -> Result<bool, ObjectError> {
    let Some(segment) = segment else {
        return Ok(false);
    };
    if segment.name().sha224() == Some(stored.sha224) {
        return Ok(true);
    }
    Ok(begins_with(&whole(segment)?, stored))
}

/// The whole records of a segment.
fn whole(segment: &Segment) -> Result<Bytes> {
    let mut bytes = segment.load()?;
    if segment.name().sha224().is_none() {
        let valid = recover(&segment.path())?.valid();
        bytes.truncate(usize::try_from(valid).unwrap_or(usize::MAX));
    }
    Ok(bytes)
}

fn write(folder: &Path, name: &SegmentName, bytes: &[u8]) -> Result<()> {
    let path = folder.join(name.to_string());
    let temp = folder.join(format!("temp-{name}"));
    let mut file = File::create(&temp).map_err(Error::io("create", &temp))?;
    file.write_all(bytes).map_err(Error::io("write", &temp))?;
    file.sync_all().map_err(Error::io("sync", &temp))?;
    fs::rename(&temp, &path).map_err(Error::io("rename", &temp))?;
    let folder_file = File::open(folder).map_err(Error::io("open", folder))?;
    folder_file.sync_all().map_err(Error::io("sync", folder))
}

/// Removes the growing file of a segment that is complete now.
fn remove_other(segment: Option<&Segment>, name: &SegmentName) -> Result<()> {
    match segment {
        Some(old) if old.name() != name => {
            let path = old.path();
            fs::remove_file(&path).map_err(Error::io("remove", &path))
        }
        _ => Ok(()),
    }
}
