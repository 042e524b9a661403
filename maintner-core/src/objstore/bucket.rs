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
    place: Place,
    /// Pause after the first failure.
    pause: Duration,
}

#[derive(Debug, Clone)]
enum Place {
    Store {
        store: Arc<dyn ObjectStore>,
        prefix: Path,
    },
    #[cfg(feature = "objstore-gcs")]
    Google(super::gcs::Gcs),
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
    /// (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT`, `GOOGLE_SERVICE_ACCOUNT`, `STORAGE_EMULATOR_HOST` …).
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
        Self::in_place(Place::Store { store, prefix })
    }

    fn in_place(place: Place) -> Self {
        Self {
            place,
            pause: Duration::from_secs(1),
        }
    }

    /// Without a pause before what failed is tried again.
    #[cfg(test)]
    pub(super) fn hurried(mut self) -> Self {
        self.pause = Duration::ZERO;
        self
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
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let options = options
        .into_iter()
        .map(|(name, value)| (name.to_lowercase(), value));
    // Requests over TLS take the process's default; another one that is set already will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let opened = match scheme {
        _ if bucket.is_empty() => return Err(unknown(url)),
        #[cfg(feature = "objstore-s3")]
        "s3" | "s3a" => {
            let address = ::url::Url::parse(&format!("{scheme}://{bucket}/{prefix}"));
            let address = address.map_err(|_| unknown(url))?;
            let opened = object_store::parse_url_opts(&address, options);
            opened.map(|(store, prefix)| Bucket::of(Arc::from(store), prefix))
        }
        #[cfg(feature = "objstore-gcs")]
        "gs" => super::gcs::Gcs::new(bucket, prefix, options)
            .map(|google| Bucket::in_place(Place::Google(google))),
        _ => return Err(unknown(url)),
    };
    opened.map_err(|error| failed("open", url, error))
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

impl Place {
    async fn list(&self) -> Result<Vec<Object>, Error> {
        let (store, prefix) = match self {
            Self::Store { store, prefix } => (store, prefix),
            #[cfg(feature = "objstore-gcs")]
            Self::Google(google) => return google.list().await,
        };
        let below = Some(prefix).filter(|prefix| !prefix.as_ref().is_empty());
        let all: Vec<_> = store.list(below).try_collect().await?;
        let named = all.into_iter().filter_map(|meta| {
            // What is in folders below belongs to others.
            let mut parts = meta.location.prefix_match(prefix)?;
            let name = parts.next()?.as_ref().to_owned();
            parts.next().is_none().then_some(Object {
                name,
                size: meta.size,
                modified: meta.last_modified.timestamp_millis(),
            })
        });
        Ok(named.collect())
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>, Error> {
        let (store, prefix) = match self {
            Self::Store { store, prefix } => (store, prefix),
            #[cfg(feature = "objstore-gcs")]
            Self::Google(google) => return google.get(name).await,
        };
        match store.get(&prefix.clone().join(name)).await {
            Ok(found) => Ok(Some(found.bytes().await?)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn put(&self, name: &str, bytes: Bytes) -> Result<(), Error> {
        let (store, prefix) = match self {
            Self::Store { store, prefix } => (store, prefix),
            #[cfg(feature = "objstore-gcs")]
            Self::Google(google) => return google.put(name, bytes, false).await,
        };
        // A folder keeps no attributes, and refuses them.
        let options = PutOptions::from(PutMode::Overwrite);
        let with = PutOptions {
            attributes: attributes(name),
            ..options.clone()
        };
        let (path, payload) = (prefix.clone().join(name), PutPayload::from_bytes(bytes));
        match store.put_opts(&path, payload.clone(), with).await {
            Err(Error::NotImplemented { .. }) => {
                store.put_opts(&path, payload, options).await.map(drop)
            }
            done => done.map(drop),
        }
    }

    async fn create(&self, name: &str, bytes: Bytes) -> Result<bool, Error> {
        let created = match self {
            Self::Store { store, prefix } => {
                let payload = PutPayload::from_bytes(bytes);
                let options = PutOptions::from(PutMode::Create);
                let path = prefix.clone().join(name);
                store.put_opts(&path, payload, options).await.map(drop)
            }
            #[cfg(feature = "objstore-gcs")]
            Self::Google(google) => google.put(name, bytes, true).await,
        };
        match created {
            Ok(()) => Ok(true),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn delete(&self, name: &str) -> Result<(), Error> {
        let (store, prefix) = match self {
            Self::Store { store, prefix } => (store, prefix),
            #[cfg(feature = "objstore-gcs")]
            Self::Google(google) => return google.delete(name).await,
        };
        match store.delete(&prefix.clone().join(name)).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Objects for Bucket {
    async fn list(&self) -> Result<Vec<Object>, ObjectError> {
        let list = async || self.place.list().await;
        self.with_retries("list", "objects", list).await
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>, ObjectError> {
        let get = async || self.place.get(name).await;
        self.with_retries("read", name, get).await
    }

    async fn put(&self, name: &str, bytes: Bytes) -> Result<(), ObjectError> {
        let put = async || self.place.put(name, bytes.clone()).await;
        self.with_retries("write", name, put).await
    }

    async fn create(&self, name: &str, bytes: Bytes) -> Result<bool, ObjectError> {
        let create = async || self.place.create(name, bytes.clone()).await;
        self.with_retries("create", name, create).await
    }

    async fn delete(&self, name: &str) -> Result<(), ObjectError> {
        let delete = async || self.place.delete(name).await;
        self.with_retries("remove", name, delete).await
    }
}
