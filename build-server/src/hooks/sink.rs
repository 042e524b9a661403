//! Where notices go.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use build_core::{Error, ErrorKind, Result};

/// A place for notices. Storing the same under the same name again changes nothing.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Stores `bytes` under `name`; they are durable when this returns.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when there is something else under that name.
    async fn put(&self, name: &str, bytes: &[u8]) -> Result<()>;
}

/// A folder: each notice is a file.
#[derive(Debug)]
pub struct Folder {
    dir: PathBuf,
    next: AtomicU64,
}

impl Folder {
    /// The folder at `dir`, which is made.
    ///
    /// # Errors
    /// When it cannot be.
    pub fn new(dir: impl Into<PathBuf>) -> Result<Self> {
        let dir = dir.into();
        let made = fs::create_dir_all(&dir);
        made.map_err(|e| Error::from(e).while_doing(dir.display().to_string()))?;
        let next = AtomicU64::new(0);
        Ok(Self { dir, next })
    }

    fn write(&self, name: &str, bytes: &[u8]) -> std::io::Result<Option<Vec<u8>>> {
        let path = self.dir.join(name);
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let new = self
            .dir
            .join(format!(".{}-{number}.new", std::process::id()));
        let mut file = File::create(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        // A link fails when the name is taken, so nothing is replaced.
        let linked = fs::hard_link(&new, &path);
        fs::remove_file(&new)?;
        match linked {
            Ok(()) => {
                File::open(&self.dir)?.sync_all()?;
                Ok(None)
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                fs::read(path).map(Some)
            }
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl Sink for Folder {
    async fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let plain =
            Path::new(name).file_name().is_some_and(|n| n == name) && !name.starts_with('.');
        if !plain {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("{name:?} names no file"),
            ));
        }
        let written = self.write(name, bytes);
        let there = written.map_err(|e| Error::from(e).while_doing(format!("store {name}")))?;
        match there {
            Some(other) if other != bytes => {
                let text = format!("there is another notice called {name}");
                Err(Error::new(ErrorKind::Conflict, text))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_stored_is_whole_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path().join("a")).unwrap();
        folder.put("x.json", b"1").await.unwrap();
        folder.put("x.json", b"1").await.unwrap();
        let other = folder.put("x.json", b"2").await.unwrap_err();
        assert_eq!(other.kind(), ErrorKind::Conflict);
        assert_eq!(fs::read(dir.path().join("a/x.json")).unwrap(), b"1");
        assert_eq!(fs::read_dir(dir.path().join("a")).unwrap().count(), 1);
        for wrong in ["", "../x", "a/b", ".x", "/x"] {
            assert!(folder.put(wrong, b"").await.is_err(), "{wrong}");
        }
    }
}
