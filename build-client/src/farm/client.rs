//! Requests and answers of the API of a farm.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use build_core::buildlet::ByteStream;
use build_core::report::Refusal;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt};
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderValue};
use reqwest::{Method, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, ErrorKind, Result, rest};

/// Until the head of an answer, and until the whole of one that is not streamed.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of an answer that is not streamed.
const MAX_ANSWER: usize = 64 << 20;
/// A peer that is gone without a word is noticed after a few of these.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// A farm that runs somewhere. Clones share its connections.
#[derive(Clone)]
pub struct FarmClient(Arc<Inner>);

struct Inner {
    http: reqwest::Client,
    base: Url,
    token: Option<HeaderValue>,
    name: String,
}

impl fmt::Debug for FarmClient {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let base = self.0.base.as_str();
        f.debug_struct("FarmClient")
            .field("base", &base)
            .finish_non_exhaustive()
    }
}

/// What is said before the first call.
#[derive(Clone)]
pub struct FarmClientBuilder {
    address: String,
    token: Option<String>,
    name: Option<String>,
    roots: Option<Vec<u8>>,
}

impl fmt::Debug for FarmClientBuilder {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = &self.address;
        f.debug_struct("FarmClientBuilder")
            .field("address", address)
            .finish_non_exhaustive()
    }
}

impl FarmClientBuilder {
    /// Who asks: a token of the farm. Reading needs none, unless the farm says otherwise.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// What the farm is called in errors. Default: its address.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Certificates in PEM that are trusted besides the usual ones, such as that of a farm with
    /// `--tls-dev`.
    #[must_use]
    pub fn roots(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.roots = Some(pem.into());
        self
    }

    /// The client. Nothing is asked yet. Proxies of the environment are not used.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when the address is none of HTTP, the token is no header, or the
    /// certificates are none.
    pub fn build(self) -> Result<FarmClient> {
        let invalid = || {
            let text = format!("{:?} is not the address of a farm", self.address);
            Error::new(ErrorKind::Invalid, text).with_hint("give one such as http://localhost:8119")
        };
        let base = Url::parse(&self.address).map_err(|_| invalid())?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            return Err(invalid());
        }
        let header = |token: String| {
            let text = format!("Bearer {token}");
            let mut value = HeaderValue::from_str(&text)
                .map_err(|_| Error::new(ErrorKind::Invalid, "the token is not printable ASCII"))?;
            value.set_sensitive(true);
            Ok::<_, Error>(value)
        };
        let http = rest::unhurried(self.roots.as_deref())?
            .no_proxy()
            .tcp_keepalive(KEEP_ALIVE)
            // A token goes nowhere else.
            .redirect(reqwest::redirect::Policy::none());
        Ok(FarmClient(Arc::new(Inner {
            http: rest::build(http)?,
            name: self.name.unwrap_or_else(|| self.address.clone()),
            token: self.token.map(header).transpose()?,
            base,
        })))
    }
}

impl FarmClient {
    /// A client of the farm at an address, such as `http://localhost:8119`.
    pub fn builder(address: impl Into<String>) -> FarmClientBuilder {
        FarmClientBuilder {
            address: address.into(),
            token: None,
            name: None,
            roots: None,
        }
    }

    /// What the farm is called.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Asks, and reads the whole answer.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &impl Serialize,
    ) -> Result<T> {
        let request = self.request(Method::GET, path)?.query(query);
        self.read(path, request).await
    }

    /// Tells, and reads the whole answer.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T> {
        let request = self.request(Method::POST, path)?.json(body);
        self.read(path, request).await
    }

    /// Ends something, and reads the whole answer.
    pub(super) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let request = self.request(Method::DELETE, path)?;
        self.read(path, request).await
    }

    /// Tells, and reads that it was heard.
    pub(super) async fn tell(&self, path: &str) -> Result<()> {
        let request = self.request(Method::POST, path)?;
        self.send(path, request).await.map(drop)
    }

    /// Asks, and reads the answer as it comes.
    pub(super) async fn stream(&self, path: &str, query: &impl Serialize) -> Result<ByteStream> {
        let request = self.request(Method::GET, path)?.query(query);
        // What is packed comes when the packer pleases.
        let request = request.header(ACCEPT_ENCODING, "identity");
        let response = self.send(path, request).await?;
        let what = self.asking(path);
        let pieces = response.bytes_stream();
        Ok(pieces
            .map_err(move |e| rest::failed(&what, e.without_url()))
            .boxed())
    }

    fn request(&self, method: Method, path: &str) -> Result<reqwest::RequestBuilder> {
        let url = self.0.base.join(path);
        let url = url.map_err(|e| Error::caused_by(ErrorKind::Bug, "make an address", e))?;
        let request = self.0.http.request(method, url);
        Ok(match &self.0.token {
            Some(token) => request.header(AUTHORIZATION, token.clone()),
            None => request,
        })
    }

    async fn read<T: DeserializeOwned>(
        &self,
        path: &str,
        request: reqwest::RequestBuilder,
    ) -> Result<T> {
        let response = self.send(path, request).await?;
        let body = self.collect(path, response).await?;
        let bad = |e| {
            let text = format!("read the answer of {} to {path}", self.0.name);
            Error::caused_by(ErrorKind::Corrupt, text, e)
        };
        serde_json::from_slice(&body).map_err(bad)
    }

    /// Sends it; the head of an answer that says yes.
    async fn send(&self, path: &str, request: reqwest::RequestBuilder) -> Result<Response> {
        let sent = tokio::time::timeout(PATIENCE, request.send()).await;
        let sent = sent.map_err(|_| self.silent())?;
        let response = sent.map_err(|e| rest::failed(&self.asking(path), e.without_url()))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refused(path, response).await)
    }

    async fn collect(&self, path: &str, mut response: Response) -> Result<Bytes> {
        let read = async {
            let mut body = BytesMut::new();
            while let Some(piece) = response.chunk().await.map_err(|e| {
                let what = format!("read the answer of {} to {path}", self.0.name);
                rest::failed(&what, e.without_url())
            })? {
                if body.len() + piece.len() > MAX_ANSWER {
                    let text = format!("the answer to {path} is larger than {MAX_ANSWER} bytes");
                    return Err(Error::new(ErrorKind::Limit, text));
                }
                body.extend_from_slice(&piece);
            }
            Ok(body.freeze())
        };
        let read = tokio::time::timeout(PATIENCE, read).await;
        read.map_err(|_| self.silent())?
    }

    fn asking(&self, path: &str) -> String {
        format!("ask {} for {path}", self.0.name)
    }

    fn silent(&self) -> Error {
        let (name, seconds) = (&self.0.name, PATIENCE.as_secs());
        let text = format!("{name} did not answer within {seconds} s");
        Error::new(ErrorKind::TimedOut, text)
    }

    async fn refused(&self, path: &str, response: Response) -> Error {
        let status = response.status();
        let body = self.collect(path, response).await.unwrap_or_default();
        match serde_json::from_slice::<Refusal>(&body) {
            Ok(refusal) => refusal.into_error(kind(status)),
            Err(_) => {
                let text = format!("{} answered {status} to {path}", self.0.name);
                Error::new(kind(status), text)
            }
        }
    }
}

/// What a status means that nobody explained: a proxy before the farm, or a farm of another version.
fn kind(status: StatusCode) -> ErrorKind {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ErrorKind::Denied,
        StatusCode::NOT_FOUND => ErrorKind::NotFound,
        StatusCode::CONFLICT => ErrorKind::Conflict,
        StatusCode::METHOD_NOT_ALLOWED => ErrorKind::Unsupported,
        StatusCode::PAYLOAD_TOO_LARGE => ErrorKind::Limit,
        StatusCode::GATEWAY_TIMEOUT => ErrorKind::TimedOut,
        status if status.is_client_error() => ErrorKind::Invalid,
        _ => ErrorKind::Unavailable,
    }
}
