use std::collections::HashMap;
use std::fs::{DirBuilder, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::super::Error;

/// Largest entry that is read: a chain is some kilobytes.
const MAX_BYTES: u64 = 1 << 20;

/// Keeps certificates and the keys of accounts: small secrets under names. One place is for one
/// use alone.
///
/// A certificate lies under its first name as Go's `autocert` keeps it, the private key before the
/// chain, so that both may use one place.
#[async_trait]
pub trait CertificateCache: Send + Sync {
    /// What lies under a name; `None` when nothing does.
    ///
    /// # Errors
    /// When it cannot be read.
    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, Error>;

    /// Puts something under a name, in place of what was there: whole, or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    async fn put(&self, name: &str, contents: Vec<u8>) -> Result<(), Error>;

    /// Removes what lies under a name; fine when nothing does.
    ///
    /// # Errors
    /// When it cannot be removed.
    async fn delete(&self, name: &str) -> Result<(), Error>;
}

#[async_trait]
impl<C: CertificateCache + ?Sized> CertificateCache for std::sync::Arc<C> {
    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        (**self).get(name).await
    }
    async fn put(&self, name: &str, contents: Vec<u8>) -> Result<(), Error> {
        (**self).put(name, contents).await
    }
    async fn delete(&self, name: &str) -> Result<(), Error> {
        (**self).delete(name).await
    }
}

#[async_trait]
impl<C: CertificateCache + ?Sized> CertificateCache for Box<C> {
    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        (**self).get(name).await
    }
    async fn put(&self, name: &str, contents: Vec<u8>) -> Result<(), Error> {
        (**self).put(name, contents).await
    }
    async fn delete(&self, name: &str) -> Result<(), Error> {
        (**self).delete(name).await
    }
}

/// Forgets with the process.
#[derive(Debug, Default)]
pub struct MemoryCache(Mutex<HashMap<String, Vec<u8>>>);

impl MemoryCache {
    fn all(&self) -> MutexGuard<'_, HashMap<String, Vec<u8>>> {
        // Nothing panics while it holds this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl CertificateCache for MemoryCache {
    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.all().get(name).cloned())
    }
    async fn put(&self, name: &str, contents: Vec<u8>) -> Result<(), Error> {
        self.all().insert(name.to_owned(), contents);
        Ok(())
    }
    async fn delete(&self, name: &str) -> Result<(), Error> {
        self.all().remove(name);
        Ok(())
    }
}

/// A folder that its owner alone can read.
#[derive(Debug)]
pub struct FolderCache(PathBuf);

impl FolderCache {
    /// The folder, which is made when it is missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, Error> {
        let folder = folder.into();
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder);
        made.map_err(|e| failed(&folder, e))?;
        Ok(Self(folder))
    }

    /// Where a name lies. Names are those of domains and of accounts: no other leaves the folder.
    fn path(&self, name: &str) -> Result<PathBuf, Error> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.+".contains(&b);
        let is_plain = !name.is_empty() && name.bytes().all(plain) && !name.starts_with('.');
        match is_plain {
            true => Ok(self.0.join(name)),
            false => Err(Error::Name(name.to_owned())),
        }
    }
}

fn failed(path: &Path, source: io::Error) -> Error {
    Error::File {
        path: path.to_owned(),
        source,
    }
}

#[async_trait]
impl CertificateCache for FolderCache {
    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let path = self.path(name)?;
        match std::fs::metadata(&path) {
            Ok(meta) if meta.len() > MAX_BYTES => Err(failed(
                &path,
                io::Error::other("it is too large for a certificate"),
            )),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            // A small file: it is read where we are.
            Ok(_) => std::fs::read(&path).map(Some).map_err(|e| failed(&path, e)),
            Err(error) => Err(failed(&path, error)),
        }
    }

    async fn put(&self, name: &str, contents: Vec<u8>) -> Result<(), Error> {
        let path = self.path(name)?;
        let written = (|| {
            let mut file = tempfile::Builder::new()
                .permissions(Permissions::from_mode(0o600))
                .tempfile_in(&self.0)?;
            file.write_all(&contents)?;
            file.as_file().sync_all()?;
            file.persist(&path).map_err(|e| e.error)?;
            std::fs::File::open(&self.0)?.sync_all()
        })();
        written.map_err(|e| failed(&path, e))
    }

    async fn delete(&self, name: &str) -> Result<(), Error> {
        let path = self.path(name)?;
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&path, error)),
            _ => Ok(()),
        }
    }
}

/// What every cache does.
#[cfg(test)]
pub(super) async fn check(cache: &dyn CertificateCache) {
    assert_eq!(cache.get("a.example").await.unwrap(), None);
    cache.delete("a.example").await.unwrap();
    cache.put("a.example", b"one".to_vec()).await.unwrap();
    cache.put("a.example", b"two".to_vec()).await.unwrap();
    cache
        .put("acme_account+key", b"key".to_vec())
        .await
        .unwrap();
    assert_eq!(cache.get("a.example").await.unwrap().unwrap(), b"two");
    cache.delete("a.example").await.unwrap();
    assert_eq!(cache.get("a.example").await.unwrap(), None);
    assert!(cache.get("acme_account+key").await.unwrap().is_some());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_cache_keeps_what_it_is_given_and_a_folder_keeps_it_private() {
        check(&MemoryCache::default()).await;
        let dir = tempfile::tempdir().unwrap();
        let folder = FolderCache::open(dir.path().join("acme")).unwrap();
        check(&folder).await;
        let again = FolderCache::open(dir.path().join("acme")).unwrap();
        assert_eq!(
            again.get("acme_account+key").await.unwrap().unwrap(),
            b"key"
        );
        let mode = std::fs::metadata(dir.path().join("acme/acme_account+key")).unwrap();
        assert_eq!(mode.permissions().mode() & 0o777, 0o600);
        for bad in ["", "../x", "a/b", ".x", "a\0b"] {
            assert!(folder.get(bad).await.is_err(), "{bad:?}");
            assert!(folder.put(bad, Vec::new()).await.is_err(), "{bad:?}");
        }
    }
}
