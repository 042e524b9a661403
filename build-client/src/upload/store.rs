//! Stores by URL, and what they tell of an object.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use object_store::path::Path as ObjectPath;
use object_store::{Attribute, Attributes, GetOptions, ObjectStore, ObjectStoreExt as _};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use url::Url;

use crate::{Error, ErrorKind, Result};

/// The name of the hash among what is stored with an object.
const SHA256: &str = "sha256";

/// A store of objects.
#[derive(Clone)]
pub struct Store {
    pub(super) inner: Arc<dyn ObjectStore>,
    prefix: ObjectPath,
    /// Whether what is told of objects stands in files beside them.
    pub(super) beside: bool,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({})", self.inner)
    }
}

/// What a store tells of an object besides its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Headers {
    /// Its type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// How long others may keep it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<String>,
    /// Its hash, when this program wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

impl Headers {
    pub(super) fn attributes(&self) -> Attributes {
        let pairs = [
            (Attribute::ContentType, &self.content_type),
            (Attribute::CacheControl, &self.cache_control),
            (Attribute::Metadata(SHA256.into()), &self.sha256),
        ];
        let given = pairs
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.clone()?.into())));
        Attributes::from_iter::<Vec<(Attribute, object_store::AttributeValue)>>(given.collect())
    }

    fn of(attributes: &Attributes) -> Self {
        let get = |name| attributes.get(&name).map(|value| value.to_string());
        Self {
            content_type: get(Attribute::ContentType),
            cache_control: get(Attribute::CacheControl),
            sha256: get(Attribute::Metadata(SHA256.into())),
        }
    }
}

impl Store {
    /// The store at `url`, which may go on with the beginning of all names in it. `options` are
    /// those of the store, such as `aws_region` or `google_service_account`; what the
    /// environment says is the caller's to hand in.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for an address that no store has, [`ErrorKind::Unsupported`] for
    /// one whose feature is off.
    pub fn open(url: &str, options: impl IntoIterator<Item = (String, String)>) -> Result<Self> {
        let invalid = |error: Box<dyn std::error::Error + Send + Sync>| {
            Error::caused_by(ErrorKind::Invalid, format!("no store at {url:?}"), error).with_hint(
                "for example file:///srv/files, s3://BUCKET, gs://BUCKET or az://CONTAINER",
            )
        };
        let parsed: Url = url
            .parse()
            .map_err(|error: url::ParseError| invalid(error.into()))?;
        let cloud = matches!(
            parsed.scheme(),
            "s3" | "s3a" | "gs" | "az" | "adl" | "azure" | "abfs" | "abfss"
        );
        if cloud && !cfg!(feature = "objects-cloud") {
            let text = format!(
                "this program was built without {}:// stores",
                parsed.scheme()
            );
            return Err(Error::new(ErrorKind::Unsupported, text)
                .with_hint("build it with: cargo build -p farmer-tools --features cloud"));
        }
        #[cfg(feature = "objects-cloud")]
        // A second one in the process keeps the first, which is the same.
        let _installed_already = rustls::crypto::ring::default_provider().install_default();
        let (inner, prefix) = object_store::parse_url_opts(&parsed, options)
            .map_err(|error| invalid(error.into()))?;
        Ok(Self {
            inner: inner.into(),
            prefix,
            beside: parsed.scheme() == "file",
        })
    }

    /// The Google Cloud Storage bucket at `url`, where everybody may read what is written.
    ///
    /// # Errors
    /// As [`Store::open`]; [`ErrorKind::Invalid`] for other stores, whose own policy says who
    /// reads.
    pub fn open_public(
        url: &str,
        options: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self> {
        let options: Vec<_> = options.into_iter().collect();
        let store = Self::open(url, options.clone())?;
        if !url.starts_with("gs://") {
            let text =
                format!("no object can be made public at {url}: the store's policy says who reads");
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        #[cfg(feature = "objects-cloud")]
        let store = Self {
            inner: Arc::new(public_bucket(url, options)?),
            ..store
        };
        Ok(store)
    }

    /// A store in memory, gone with its last clone.
    #[must_use]
    pub fn memory() -> Self {
        Self {
            inner: Arc::new(object_store::memory::InMemory::new()),
            prefix: ObjectPath::default(),
            beside: false,
        }
    }

    pub(super) fn path(&self, name: &str) -> Result<ObjectPath> {
        let bad = |text: &str| {
            Error::new(
                ErrorKind::Invalid,
                format!("bad name of an object {name:?}: {text}"),
            )
        };
        let parts: Vec<&str> = name.split('/').collect();
        if parts.iter().any(|part| matches!(*part, "" | "." | ".."))
            || name.chars().any(char::is_control)
        {
            return Err(bad("its parts must be plain names"));
        }
        let name = ObjectPath::parse(name).map_err(|error| bad(&error.to_string()))?;
        Ok(self.prefix.parts().chain(name.parts()).collect())
    }

    /// The bytes of an object.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is none.
    pub async fn read(&self, name: &str) -> Result<Bytes> {
        let path = self.path(name)?;
        let object = self
            .inner
            .get(&path)
            .await
            .map_err(|error| told("reading", name, error))?;
        object
            .bytes()
            .await
            .map_err(|error| told("reading", name, error))
    }

    /// What is told of an object; `None` when there is none.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub async fn headers(&self, name: &str) -> Result<Option<Headers>> {
        Ok(self.look(name).await?.map(|found| found.headers))
    }

    pub(super) async fn look(&self, name: &str) -> Result<Option<Found>> {
        let path = self.path(name)?;
        let options = GetOptions {
            head: true,
            ..GetOptions::default()
        };
        let object = match self.inner.get_opts(&path, options).await {
            Ok(object) => object,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(told("asking for", name, error)),
        };
        let headers = if self.beside {
            match self.inner.get(&beside(&path)).await {
                Ok(file) => {
                    let bytes = file
                        .bytes()
                        .await
                        .map_err(|error| told("asking for", name, error))?;
                    // A damaged file tells nothing: the object is compared by its bytes.
                    serde_json::from_slice(&bytes).unwrap_or_default()
                }
                Err(object_store::Error::NotFound { .. }) => Headers::default(),
                Err(error) => return Err(told("asking for", name, error)),
            }
        } else {
            Headers::of(&object.attributes)
        };
        Ok(Some(Found {
            size: object.meta.size,
            e_tag: object.meta.e_tag.clone(),
            headers,
        }))
    }

    /// The hash of what is stored, by reading it.
    pub(super) async fn hash(&self, name: &str) -> Result<String> {
        let path = self.path(name)?;
        let object = self
            .inner
            .get(&path)
            .await
            .map_err(|error| told("reading", name, error))?;
        let mut pieces = object.into_stream();
        let mut hash = Sha256::new();
        while let Some(piece) = pieces.next().await {
            hash.update(&piece.map_err(|error| told("reading", name, error))?);
        }
        Ok(hex::encode(hash.finalize()))
    }
}

/// A bucket with the predefined access rule on what is written; reading takes no notice of it.
#[cfg(feature = "objects-cloud")]
fn public_bucket(
    url: &str,
    options: Vec<(String, String)>,
) -> Result<object_store::gcp::GoogleCloudStorage> {
    let invalid = |error: object_store::Error| {
        Error::caused_by(ErrorKind::Invalid, format!("no store at {url:?}"), error)
    };
    let rule = http::HeaderMap::from_iter([(
        http::HeaderName::from_static("x-goog-acl"),
        http::HeaderValue::from_static("public-read"),
    )]);
    let client = object_store::ClientOptions::new().with_default_headers(rule);
    let mut builder = object_store::gcp::GoogleCloudStorageBuilder::new()
        .with_url(url)
        .with_client_options(client);
    for (name, value) in options {
        if let Ok(key) = name.parse() {
            builder = builder.with_config(key, value);
        }
    }
    builder.build().map_err(invalid)
}

/// An object that is there.
pub(super) struct Found {
    pub(super) size: u64,
    pub(super) e_tag: Option<String>,
    pub(super) headers: Headers,
}

pub(super) fn told(what: &str, name: &str, error: object_store::Error) -> Error {
    use object_store::Error as E;
    let kind = match &error {
        E::NotFound { .. } => ErrorKind::NotFound,
        E::AlreadyExists { .. } | E::Precondition { .. } => ErrorKind::Conflict,
        E::PermissionDenied { .. } | E::Unauthenticated { .. } => ErrorKind::Denied,
        E::NotImplemented { .. } | E::NotSupported { .. } => ErrorKind::Unsupported,
        E::InvalidPath { .. } => ErrorKind::Invalid,
        _ => ErrorKind::Unavailable,
    };
    Error::caused_by(kind, format!("{what} object {name}"), error)
}

/// Where a folder keeps what is told of an object.
pub(super) fn beside(path: &ObjectPath) -> ObjectPath {
    let mut parts: Vec<_> = path.parts().collect();
    let name = parts
        .pop()
        .map(|part| part.as_ref().to_owned())
        .unwrap_or_default();
    let hidden = object_store::path::PathPart::from(format!(".{name}.headers"));
    parts.into_iter().chain([hidden]).collect()
}
