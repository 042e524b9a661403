//! The text itself: in memory while it is small, else in a file.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::read_at::{ReadAt, read_full_at, write_all_at};

/// Bytes of one log, appended by one writer, read by anyone.
#[derive(Debug)]
pub(super) struct Text {
    place: RwLock<Place>,
}

#[derive(Debug)]
enum Place {
    Memory {
        bytes: Vec<u8>,
        most: usize,
        spill: Option<PathBuf>,
    },
    File(Arc<File>),
}

impl Text {
    pub(super) fn file(file: File) -> Self {
        Self {
            place: RwLock::new(Place::File(Arc::new(file))),
        }
    }

    /// In memory up to `most` bytes, then in a nameless file in `spill` (default: the system's
    /// directory for temporary files).
    pub(super) fn memory(most: usize, spill: Option<PathBuf>) -> Self {
        Self {
            place: RwLock::new(Place::Memory {
                bytes: Vec::new(),
                most,
                spill,
            }),
        }
    }

    /// Writes `bytes` at `length`, the end of the text. After an error the text is unchanged for
    /// readers, who go by the published length, and the write may be tried again.
    pub(super) fn write(&self, length: u64, bytes: &[u8]) -> io::Result<()> {
        if let Some(file) = self.as_file() {
            return write_all_at(&file, bytes, length);
        }
        let mut place = self.place.write().unwrap_or_else(PoisonError::into_inner);
        if let Place::Memory {
            bytes: held,
            most,
            spill,
        } = &mut *place
        {
            if held.len() + bytes.len() <= *most {
                held.extend_from_slice(bytes);
                return Ok(());
            }
            let dir = spill.clone().unwrap_or_else(std::env::temp_dir);
            let file = nameless_file(&dir)?;
            write_all_at(&file, held, 0)?;
            write_all_at(&file, bytes, length)?;
            *place = Place::File(Arc::new(file));
        }
        Ok(())
    }

    /// Forces the text to the disk; nothing to do while it is in memory.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.as_file().map_or(Ok(()), |file| file.sync_data())
    }

    pub(super) fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        match self.as_file() {
            // The lock is not held while the disk works.
            Some(file) => file.read_at(buf, offset),
            None => match &*self.place.read().unwrap_or_else(PoisonError::into_inner) {
                Place::Memory { bytes, .. } => bytes.read_at(buf, offset),
                Place::File(file) => file.read_at(buf, offset),
            },
        }
    }

    pub(super) fn read_full_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        read_full_at(self, buf, offset)
    }

    fn as_file(&self) -> Option<Arc<File>> {
        match &*self.place.read().unwrap_or_else(PoisonError::into_inner) {
            Place::File(file) => Some(Arc::clone(file)),
            Place::Memory { .. } => None,
        }
    }
}

/// A file that is gone when it is closed.
fn nameless_file(dir: &Path) -> io::Result<File> {
    static MADE: AtomicU64 = AtomicU64::new(0);
    loop {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let path = dir.join(format!(".livelog-{}-{number}", std::process::id()));
        match File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
        {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
            Ok(file) => {
                // Where an open file cannot be removed it stays behind: untidy, not wrong.
                drop(std::fs::remove_file(&path));
                return Ok(file);
            }
        }
    }
}

impl ReadAt for Text {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        Self::read_at(self, buf, offset)
    }
}
