//! Uploads to any object store by URL, only when the stored object differs.
//!
//! `file:///srv/site`, `memory:///` and, with the feature `objects-cloud`, `s3://BUCKET`,
//! `gs://BUCKET`, `az://CONTAINER`. An object keeps its type, its cache rule and its SHA-256;
//! in a folder, which has no place for them, they stand in a file `.NAME.headers` beside it.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> build_client::Result<()> {
//! use build_client::upload::{Content, Outcome, Store, Upload};
//!
//! let store = Store::memory();
//! let page = || Content::from_reader("<html>".as_bytes());
//! let upload = Upload::new().cache_control("no-cache");
//! assert_eq!(upload.put(&store, "site/index.html", page()?).await?.outcome, Outcome::Uploaded);
//! assert_eq!(upload.put(&store, "site/index.html", page()?).await?.outcome, Outcome::Unchanged);
//! let headers = store.headers("site/index.html").await?.unwrap();
//! assert_eq!(headers.content_type.as_deref(), Some("text/html; charset=utf-8"));
//! # Ok(()) }
//! ```

mod content;
mod store;

use std::io;

use build_core::content_type;
use object_store::path::Path as ObjectPath;
use object_store::{
    Attributes, MultipartUpload, ObjectStoreExt as _, PutMode, PutMultipartOptions, PutOptions,
    PutPayload,
};
use serde::Serialize;

use self::content::Measured;
use self::store::{Found, beside, told};
use crate::{Error, ErrorKind, Result};

pub use self::content::Content;
pub use self::store::{Headers, Store};

/// An object up to this size goes up in one request.
const ONE_REQUEST: u64 = 16 << 20;
/// Size of the parts of a larger one.
const PART: usize = 8 << 20;

/// The Google Cloud project that a bucket of the Go project belongs to.
#[must_use]
pub fn go_project(bucket: &str) -> Option<&'static str> {
    Some(match bucket {
        "dev-gccgo-builder-data" => "gccgo-dashboard-dev",
        "dev-go-builder-data" => "go-dashboard-dev",
        "gccgo-builder-data" => "gccgo-dashboard-builders",
        "go-builder-data" | "go-build-log" | "http2-demo-server-tls" => "symbolic-datum-552",
        "winstrap" | "gobuilder" | "golang" => "999119582588",
        _ => return None,
    })
}

/// How to upload.
#[derive(Clone, Debug, Default)]
pub struct Upload {
    content_type: Option<String>,
    cache_control: Option<String>,
    if_absent: bool,
    always: bool,
    sha256: Option<String>,
}

/// What an upload did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The object is new, or other than before.
    Uploaded,
    /// It was there already, the same.
    Unchanged,
}

/// An object that is as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Uploaded {
    /// Its name in the store.
    pub object: String,
    /// What was done.
    pub outcome: Outcome,
    /// Its size.
    pub bytes: u64,
    /// Its hash, in hex.
    pub sha256: String,
    /// What is told with it.
    #[serde(flatten)]
    headers: Told,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Told {
    content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<String>,
}

impl Upload {
    /// Uploads what differs, with the type that the content shows.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With this type, whatever the content shows.
    #[must_use]
    pub fn content_type(self, content_type: impl Into<String>) -> Self {
        Self {
            content_type: Some(content_type.into()),
            ..self
        }
    }

    /// With this `Cache-Control`.
    #[must_use]
    pub fn cache_control(self, rule: impl Into<String>) -> Self {
        Self {
            cache_control: Some(rule.into()),
            ..self
        }
    }

    /// Never over another object: that is [`ErrorKind::Conflict`].
    #[must_use]
    pub fn if_absent(self) -> Self {
        Self {
            if_absent: true,
            ..self
        }
    }

    /// Also what is there already.
    #[must_use]
    pub fn always(self) -> Self {
        Self {
            always: true,
            ..self
        }
    }

    /// Only content with this SHA-256, in hex; else [`ErrorKind::Invalid`].
    #[must_use]
    pub fn sha256(self, hash: impl Into<String>) -> Self {
        Self {
            sha256: Some(hash.into()),
            ..self
        }
    }

    /// Uploads `content` as the object `name`, unless the store holds the same bytes with the
    /// same headers.
    ///
    /// Cancel safety: the object is the old or the new one, never a part of it.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] and [`ErrorKind::Invalid`] as above; those of the store.
    pub async fn put(&self, store: &Store, name: &str, mut content: Content) -> Result<Uploaded> {
        let path = store.path(name)?;
        let unread = |error| {
            Error::caused_by(
                ErrorKind::Unavailable,
                "reading what is to be uploaded",
                error,
            )
        };
        let measured = content.measure().map_err(unread)?;
        if let Some(wanted) = self
            .sha256
            .as_ref()
            .filter(|hash| !hash.eq_ignore_ascii_case(&measured.sha256))
        {
            let text = format!("{name} has SHA-256 {}, not {wanted}", measured.sha256);
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        let content_type = self
            .content_type
            .clone()
            .unwrap_or_else(|| content_type::of(&measured.start).to_owned());
        let headers = Headers {
            content_type: Some(content_type),
            cache_control: self.cache_control.clone(),
            sha256: Some(measured.sha256.clone()),
        };
        let mut uploaded = Uploaded {
            object: path.to_string(),
            outcome: Outcome::Unchanged,
            bytes: measured.size,
            sha256: measured.sha256.clone(),
            headers: Told {
                content_type: headers.content_type.clone(),
                cache_control: headers.cache_control.clone(),
            },
        };
        if let Some(found) = store.look(name).await? {
            if !self.always && same(store, name, &found, &measured, &headers).await? {
                return Ok(uploaded);
            }
            if self.if_absent {
                let text = format!("object {path} exists already; refusing to overwrite it");
                return Err(Error::new(ErrorKind::Conflict, text));
            }
        }
        self.write(store, &path, content, &measured, &headers)
            .await?;
        uploaded.outcome = Outcome::Uploaded;
        Ok(uploaded)
    }

    async fn write(
        &self,
        store: &Store,
        path: &ObjectPath,
        mut content: Content,
        measured: &Measured,
        headers: &Headers,
    ) -> Result<()> {
        let failed = |error| told("writing", path.as_ref(), error);
        let unread = |error| {
            Error::caused_by(
                ErrorKind::Unavailable,
                "reading what is to be uploaded",
                error,
            )
        };
        let attributes = if store.beside {
            Attributes::new()
        } else {
            headers.attributes()
        };
        if measured.size <= ONE_REQUEST || self.if_absent {
            let longest = usize::try_from(measured.size)
                .unwrap_or(usize::MAX)
                .saturating_add(1);
            let bytes = content.part(longest).map_err(unread)?;
            unchanged(bytes.len() as u64, measured)?;
            let mode = if self.if_absent {
                PutMode::Create
            } else {
                PutMode::Overwrite
            };
            let options = PutOptions {
                mode,
                attributes,
                ..PutOptions::default()
            };
            store
                .inner
                .put_opts(path, PutPayload::from(bytes), options)
                .await
                .map_err(failed)?;
        } else {
            let options = PutMultipartOptions {
                attributes,
                ..PutMultipartOptions::default()
            };
            let mut parts = store
                .inner
                .put_multipart_opts(path, options)
                .await
                .map_err(failed)?;
            if let Err(error) = send(parts.as_mut(), &mut content, measured, &failed, &unread).await
            {
                // What the store keeps of it costs money; its owner's rules are the backstop.
                let _kept = parts.abort().await;
                return Err(error);
            }
        }
        if store.beside {
            let text = serde_json::to_vec(headers)
                .map_err(|error| Error::caused_by(ErrorKind::Bug, "headers", error))?;
            store
                .inner
                .put(&beside(path), PutPayload::from(text))
                .await
                .map_err(failed)?;
        }
        Ok(())
    }
}

async fn send(
    parts: &mut dyn MultipartUpload,
    content: &mut Content,
    measured: &Measured,
    failed: &(dyn Fn(object_store::Error) -> Error + Sync),
    unread: &(dyn Fn(io::Error) -> Error + Sync),
) -> Result<()> {
    let mut sent = 0;
    loop {
        let part = content.part(PART).map_err(unread)?;
        if part.is_empty() {
            break;
        }
        sent += part.len() as u64;
        parts
            .put_part(PutPayload::from(part))
            .await
            .map_err(failed)?;
    }
    unchanged(sent, measured)?;
    parts.complete().await.map_err(failed).map(|_| ())
}

/// A file that grew or shrank since it was measured is not what was asked for.
fn unchanged(read: u64, measured: &Measured) -> Result<()> {
    if read == measured.size {
        return Ok(());
    }
    let text = format!(
        "the file changed while it was uploaded: {} bytes, then {read}",
        measured.size
    );
    Err(Error::new(ErrorKind::Conflict, text))
}

/// Whether the store holds the same already: by the hash kept with it, else by the store's own
/// hash, else by its bytes.
async fn same(
    store: &Store,
    name: &str,
    found: &Found,
    measured: &Measured,
    headers: &Headers,
) -> Result<bool> {
    let told = &found.headers;
    let other =
        |stored: &Option<String>, wanted: &Option<String>| wanted.is_some() && stored != wanted;
    if found.size != measured.size
        || other(&told.content_type, &headers.content_type)
        || told.cache_control.is_some() != headers.cache_control.is_some()
        || other(&told.cache_control, &headers.cache_control)
    {
        return Ok(false);
    }
    // A folder can be written to by others, who leave the file beside as it is.
    if !store.beside {
        if let Some(hash) = &told.sha256 {
            return Ok(*hash == measured.sha256);
        }
        let md5 = found
            .e_tag
            .as_deref()
            .map(|tag| tag.trim_matches('"'))
            .filter(|tag| tag.len() == 32);
        if md5 == Some(measured.md5.as_str()) {
            return Ok(true);
        }
    }
    Ok(store.hash(name).await? == measured.sha256)
}

#[cfg(test)]
mod tests;
