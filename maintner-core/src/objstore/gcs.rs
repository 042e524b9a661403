//! Google Cloud Storage, by its JSON interface.
//!
//! Credentials are found as the crate `object_store` finds them. Requests are our own: the JSON
//! interface is the one that Google's libraries speak, so servers that stand for Google's in tests
//! know it whole, `ifGenerationMatch` included.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::Error;
use object_store::gcp::{GcpCredentialProvider, GoogleCloudStorageBuilder, GoogleConfigKey};
use reqwest::{RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::Object;

const GOOGLE: &str = "https://storage.googleapis.com";
const CONNECT: Duration = Duration::from_secs(10);
/// Longest silence in the middle of an answer.
const SILENCE: Duration = Duration::from_secs(60);
/// Longest text of a refusal that is shown.
const MAX_TEXT: usize = 300;
/// Pages of a list at most: a log has some thousand objects.
const MAX_PAGES: usize = 10_000;

type Result<T> = std::result::Result<T, Error>;

/// A bucket, and the prefix of the names in it.
#[derive(Clone)]
pub(super) struct Gcs {
    http: reqwest::Client,
    base: Url,
    bucket: String,
    /// Empty, or with a slash at its end.
    prefix: String,
    /// `None`: requests have no credentials.
    credentials: Option<GcpCredentialProvider>,
}

impl fmt::Debug for Gcs {
    /// Leaves out the credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gcs({}{}/{})", self.base, self.bucket, self.prefix)
    }
}

/// What a caller may say: the words of `object_store`, and those of Google's libraries.
#[derive(Default)]
struct Options {
    base: Option<String>,
    is_emulated: bool,
    known: Vec<(GoogleConfigKey, String)>,
}

impl Options {
    fn read(options: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut read = Self::default();
        for (name, value) in options {
            match name.as_str() {
                "google_base_url" | "base_url" => read.base = Some(value),
                // A server of Google's kind, which asks nobody who they are.
                "storage_emulator_host" if !value.is_empty() => {
                    read.is_emulated = true;
                    read.base = Some(match value.contains("://") {
                        true => value,
                        false => format!("http://{value}"),
                    });
                }
                // What others of this environment are for is none of ours.
                name => read.known.extend(name.parse().ok().map(|key| (key, value))),
            }
        }
        read
    }
}

/// A page of a list.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(default)]
    items: Vec<Item>,
    next_page_token: Option<String>,
}

#[derive(Deserialize)]
struct Item {
    name: String,
    /// A number as a text.
    size: String,
    #[serde(default)]
    updated: String,
}

impl Gcs {
    /// `options` have names in lower case.
    pub(super) fn new(
        bucket: &str,
        prefix: &str,
        options: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self> {
        let options = Options::read(options);
        let base = options.base.as_deref().unwrap_or(GOOGLE);
        let base = Url::parse(base).map_err(|e| refused(format!("the address {base:?}: {e}")))?;
        let credentials = match options.is_emulated {
            true => None,
            false => Some(credentials(bucket, options.known)?),
        };
        let http = reqwest::Client::builder()
            .user_agent(concat!("farmer/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .no_gzip()
            .tls_backend_preconfigured(tls())
            .build()
            .map_err(|error| temporary(error.into()))?;
        let prefix = prefix.trim_matches('/');
        Ok(Self {
            http,
            base,
            bucket: bucket.to_owned(),
            prefix: match prefix {
                "" => String::new(),
                prefix => format!("{prefix}/"),
            },
            credentials,
        })
    }

    /// An address below the server: each segment is written as one, whatever is in it.
    fn url(&self, segments: &[&str], query: &[(&str, &str)]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    fn object(&self, name: &str, query: &[(&str, &str)]) -> Url {
        let whole = format!("{}{name}", self.prefix);
        self.url(&["storage", "v1", "b", &self.bucket, "o", &whole], query)
    }

    async fn send(&self, request: RequestBuilder, name: &str) -> Result<Response> {
        let mut request = request;
        if let Some(credentials) = &self.credentials {
            let shown = credentials.get_credential().await?;
            if !shown.bearer.is_empty() {
                request = request.bearer_auth(&shown.bearer);
            }
        }
        let answer = request.send().await;
        let answer = answer.map_err(|error| temporary(error.into()))?;
        match answer.status().is_success() {
            true => Ok(answer),
            false => Err(refusal(name, answer).await),
        }
    }

    pub(super) async fn list(&self) -> Result<Vec<Object>> {
        let mut all = Vec::new();
        let mut token: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let mut query = vec![("prefix", self.prefix.as_str()), ("delimiter", "/")];
            query.push(("fields", "items(name,size,updated),nextPageToken"));
            if let Some(token) = &token {
                query.push(("pageToken", token.as_str()));
            }
            let url = self.url(&["storage", "v1", "b", &self.bucket, "o"], &query);
            let answer = self.send(self.http.get(url), "").await?;
            let page: Page = parse(answer).await?;
            for item in page.items {
                all.extend(self.listed(item)?);
            }
            token = page.next_page_token.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(all);
            }
        }
        Err(refused(format!("a list of more than {MAX_PAGES} pages")))
    }

    /// An object of the log; what is in folders below belongs to others.
    fn listed(&self, item: Item) -> Result<Option<Object>> {
        let Some(name) = item.name.strip_prefix(&self.prefix) else {
            return Ok(None);
        };
        if name.is_empty() || name.contains('/') {
            return Ok(None);
        }
        let size = item.size.parse();
        let size = size.map_err(|_| refused(format!("the size {:?} of {name}", item.size)))?;
        let updated = item.updated.parse::<jiff::Timestamp>();
        Ok(Some(Object {
            name: name.to_owned(),
            size,
            // A server that says no time says that it was long ago.
            modified: updated.map_or(0, jiff::Timestamp::as_millisecond),
        }))
    }

    pub(super) async fn get(&self, name: &str) -> Result<Option<Bytes>> {
        let url = self.object(name, &[("alt", "media")]);
        match self.send(self.http.get(url), name).await {
            Ok(answer) => {
                let bytes = answer.bytes().await;
                bytes.map(Some).map_err(|error| temporary(error.into()))
            }
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes an object; `if_absent` only where there is none.
    ///
    /// # Errors
    /// `Precondition` when there is one.
    pub(super) async fn put(&self, name: &str, bytes: Bytes, if_absent: bool) -> Result<()> {
        let whole = format!("{}{name}", self.prefix);
        let mut query = vec![("uploadType", "media"), ("name", whole.as_str())];
        if if_absent {
            query.push(("ifGenerationMatch", "0"));
        }
        let segments = ["upload", "storage", "v1", "b", self.bucket.as_str(), "o"];
        let length = bytes.len() as u64;
        let request = self
            .http
            .post(self.url(&segments, &query))
            .header(reqwest::header::CONTENT_TYPE, kind(name))
            .body(bytes);
        let written: Item = parse(self.send(request, name).await?).await?;
        match written.size.parse() == Ok(length) {
            true => Ok(()),
            // It is tried again: nobody reads what is not whole under the name of the whole.
            false => Err(temporary(
                format!("{} bytes of {length} have arrived", written.size).into(),
            )),
        }
    }

    pub(super) async fn delete(&self, name: &str) -> Result<()> {
        let request = self.http.delete(self.object(name, &[]));
        match self.send(request, name).await {
            Ok(_) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// What kind of content a name has.
fn kind(name: &str) -> &'static str {
    match name.ends_with(".json") {
        true => "application/json",
        false => "application/octet-stream",
    }
}

fn credentials(
    bucket: &str,
    options: Vec<(GoogleConfigKey, String)>,
) -> Result<GcpCredentialProvider> {
    let builder = GoogleCloudStorageBuilder::new().with_bucket_name(bucket);
    let builder = options.into_iter().fold(builder, |builder, (key, value)| {
        builder.with_config(key, value)
    });
    Ok(Arc::clone(builder.build()?.credentials()))
}

fn tls() -> rustls::ClientConfig {
    let roots = rustls::RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider supports the default versions")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// An answer of the store in JSON.
async fn parse<T: DeserializeOwned>(answer: Response) -> Result<T> {
    let bytes = answer.bytes().await;
    let bytes = bytes.map_err(|error| temporary(error.into()))?;
    // Half an answer is no answer: it is asked for again.
    serde_json::from_slice(&bytes).map_err(|error| temporary(error.into()))
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What may go well at another time.
fn temporary(source: Cause) -> Error {
    Error::Generic {
        store: "Google Cloud Storage",
        source,
    }
}

fn refused(text: String) -> Error {
    Error::NotSupported {
        source: text.into(),
    }
}

async fn refusal(name: &str, answer: Response) -> Error {
    let status = answer.status();
    // A refusal that is cut off is a refusal all the same.
    let text = answer.text().await.unwrap_or_default();
    let text: String = text.trim().chars().take(MAX_TEXT).collect();
    let source: Cause = format!("{status}: {text}").into();
    let path = name.to_owned();
    match status {
        StatusCode::NOT_FOUND => Error::NotFound { path, source },
        StatusCode::PRECONDITION_FAILED => Error::Precondition { path, source },
        StatusCode::UNAUTHORIZED => Error::Unauthenticated { path, source },
        StatusCode::FORBIDDEN => Error::PermissionDenied { path, source },
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => temporary(source),
        status if status.is_server_error() => temporary(source),
        _ => Error::NotSupported { source },
    }
}
