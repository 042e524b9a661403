//! Object stores by address.

use std::future::Future;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, Error, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload,
};

use super::{Object, ObjectError, Objects};

/// Attempts, with pauses of 1, 2 and 4 s between them.
const ATTEMPTS: u32 = 4;
/// An attempt that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(300);

/// A part of an object store: a bucket or folder, and a prefix of names in it.
#[derive(Debug, Clone)]
pub struct Bucket {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    /// Pause after the first failure.
    pause: Duration,
}

impl Bucket {
    /// A store in the memory of this process. Clones share it.
    pub fn memory() -> Self {
        Self::of(Arc::new(InMemory::new()), Path::default())
    }

    /// A folder, which is made when it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn folder(folder: &FilePath) -> Result<Self, ObjectError> {
        std::fs::create_dir_all(folder).map_err(crate::Error::io("create", folder))?;
        let store = object_store::local::LocalFileSystem::new_with_prefix(folder);
        let store = store.map_err(|error| failed("open", &folder.to_string_lossy(), error))?;
        Ok(Self::of(Arc::new(store), Path::default()))
    }

    /// The store at an address: `memory:`, `file:///FOLDER` or a path; and with the features of
    /// these names `s3://BUCKET/PREFIX` and `gs://BUCKET/PREFIX`. `options` are those of the
    /// store, by the names of the environment variables that its own tools read
    /// (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT`, `GOOGLE_SERVICE_ACCOUNT` …).
    ///
    /// # Errors
    /// When the address is none, or an option is wrong.
    pub fn at(
        url: &str,
        options: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ObjectError> {
        match url.split_once("://") {
            None if url == "memory:" => Ok(Self::memory()),
            None => Self::folder(FilePath::new(url)),
            Some(("file", folder)) => Self::folder(FilePath::new(folder)),
            Some(("memory", _)) => Ok(Self::memory()),
            Some((scheme, rest)) => cloud(url, scheme, rest, options),
        }
    }

    /// Any other store of the crate `object_store`, and a prefix in it.
    pub(crate) fn of(store: Arc<dyn ObjectStore>, prefix: Path) -> Self {
        Self {
            store,
            prefix,
            pause: Duration::from_secs(1),
        }
    }

    fn path(&self, name: &str) -> Path {
        self.prefix.clone().join(name)
    }

    /// Tries again what may have failed by accident.
    async fn with_retries<T, F>(
        &self,
        action: &'static str,
        name: &str,
        attempt: impl Fn() -> F,
    ) -> Result<T, ObjectError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut pause = self.pause;
        for left in (0..ATTEMPTS).rev() {
            let error = match tokio::time::timeout(PATIENCE, attempt()).await {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(error)) => error,
                Err(late) => Error::Generic {
                    store: "object store",
                    source: Box::new(late),
                },
            };
            let temporary = matches!(error, Error::Generic { .. } | Error::JoinError { .. });
            if left == 0 || !temporary {
                return Err(failed(action, name, error));
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        unreachable!("the last attempt returns")
    }
}

fn failed(action: &'static str, name: &str, error: Error) -> ObjectError {
    ObjectError::Store {
        action,
        name: name.to_owned(),
        source: Box::new(error),
    }
}

#[cfg(any(feature = "objstore-s3", feature = "objstore-gcs"))]
fn cloud(
    url: &str,
    scheme: &str,
    rest: &str,
    options: impl IntoIterator<Item = (String, String)>,
) -> Result<Bucket, ObjectError> {
    let s3 = cfg!(feature = "objstore-s3") && matches!(scheme, "s3" | "s3a");
    let gcs = cfg!(feature = "objstore-gcs") && scheme == "gs";
    if !(s3 || gcs) {
        return Err(unknown(url));
    }
    // Requests over TLS take the process's default; another one that is set already will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let address = format!("{scheme}://{bucket}/{prefix}");
    let parsed = url::parse(&address).ok_or_else(|| unknown(url))?;
    let options = options
        .into_iter()
        .map(|(name, value)| (name.to_lowercase(), value));
    let (store, prefix) = object_store::parse_url_opts(&parsed, options)
        .map_err(|error| failed("open", url, error))?;
    Ok(Bucket::of(Arc::from(store), prefix))
}

#[cfg(any(feature = "objstore-s3", feature = "objstore-gcs"))]
mod url {
    pub(super) fn parse(address: &str) -> Option<::url::Url> {
        ::url::Url::parse(address).ok()
    }
}

#[cfg(not(any(feature = "objstore-s3", feature = "objstore-gcs")))]
fn cloud(
    url: &str,
    _scheme: &str,
    _rest: &str,
    _options: impl IntoIterator<Item = (String, String)>,
) -> Result<Bucket, ObjectError> {
    Err(unknown(url))
}

fn unknown(url: &str) -> ObjectError {
    ObjectError::Address {
        url: url.to_owned(),
        hint: "use a folder, memory:, or (built with these features) s3://BUCKET/PREFIX, gs://BUCKET/PREFIX",
    }
}

fn attributes(name: &str) -> Attributes {
    let kind = if FilePath::new(name).extension().is_some_and(|e| e == "json") {
        "application/json"
    } else {
        "application/octet-stream"
    };
    Attributes::from_iter([(Attribute::ContentType, kind)])
}

impl Objects for Bucket {
    async fn list(&self) -> Result<Vec<Object>, ObjectError> {
        let prefix = Some(&self.prefix).filter(|prefix| !prefix.as_ref().is_empty());
        let list = async || self.store.list(prefix).try_collect::<Vec<_>>().await;
        let all = self.with_retries("list", "objects", list).await?;
        let named = all.into_iter().filter_map(|meta| {
            // What is in folders below belongs to others.
            let mut parts = meta.location.prefix_match(&self.prefix)?;
            let name = parts.next()?.as_ref().to_owned();
            parts.next().is_none().then_some(Object {
                name,
                size: meta.size,
                modified: meta.last_modified.timestamp_millis(),
            })
        });
        Ok(named.collect())
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>, ObjectError> {
        let path = self.path(name);
        let get = async || match self.store.get(&path).await {
            Ok(found) => Ok(Some(found.bytes().await?)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        };
        self.with_retries("read", name, get).await
    }

    async fn put(&self, name: &str, bytes: Bytes) -> Result<(), ObjectError> {
        let path = self.path(name);
        let put = async || {
            // A folder keeps no attributes, and refuses them.
            let options = PutOptions::from(PutMode::Overwrite);
            let with = PutOptions {
                attributes: attributes(name),
                ..options.clone()
            };
            let payload = PutPayload::from_bytes(bytes.clone());
            match self.store.put_opts(&path, payload.clone(), with).await {
                Err(Error::NotImplemented { .. }) => {
                    self.store.put_opts(&path, payload, options).await.map(drop)
                }
                done => done.map(drop),
            }
        };
        self.with_retries("write", name, put).await
    }

    async fn create(&self, name: &str, bytes: Bytes) -> Result<bool, ObjectError> {
        let path = self.path(name);
        let create = async || {
            let payload = PutPayload::from_bytes(bytes.clone());
            let options = PutOptions::from(PutMode::Create);
            match self.store.put_opts(&path, payload, options).await {
                Ok(_) => Ok(true),
                Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(false),
                Err(error) => Err(error),
            }
        };
        self.with_retries("create", name, create).await
    }

    async fn delete(&self, name: &str) -> Result<(), ObjectError> {
        let path = self.path(name);
        let delete = async || match self.store.delete(&path).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        };
        self.with_retries("remove", name, delete).await
    }
}
