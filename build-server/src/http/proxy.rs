//! A server behind this one: requests go on to it, its answers come back.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::uri::{PathAndQuery, Scheme};
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri, header};
use axum::response::Response;
use build_core::{Error, ErrorKind, Result};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// To reach the server; it is on this machine or beside it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that nobody used for so long is closed.
const IDLE: Duration = Duration::from_secs(15);
/// Bytes of an answer that is looked at here, of a probe for example.
const MAX_LOOKED_AT: usize = 1 << 20;

/// Headers that are about one connection, not about the request.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// A server that speaks HTTP without TLS, and connections to it. Clones share them.
#[derive(Clone, Debug)]
pub struct Upstream {
    authority: String,
    client: Client<HttpConnector, Body>,
}

impl Upstream {
    /// The server at `authority`, such as `127.0.0.1:8081`.
    pub fn new(authority: impl Into<String>) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        Self {
            authority: authority.into(),
            client,
        }
    }

    /// Where it is.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Sends a request on and answers what the server says; bodies are streamed both ways.
    ///
    /// Cancel safe: the request is given up.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when the server cannot be reached or breaks off.
    pub async fn forward(&self, request: Request) -> Result<Response> {
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().cloned();
        parts.uri = self.uri(path.unwrap_or_else(|| PathAndQuery::from_static("/")))?;
        parts.version = axum::http::Version::HTTP_11;
        strip(&mut parts.headers);
        let sent = self.client.request(Request::from_parts(parts, body));
        let mut response = sent.await.map_err(|e| self.unreachable(e))?;
        strip(response.headers_mut());
        Ok(response.map(Body::new))
    }

    /// Asks for `path` and reads the answer, its first MiB at most, within `limit`.
    ///
    /// # Errors
    /// When it does not answer in time, or with more.
    pub async fn get(&self, path: &str, limit: Duration) -> Result<(StatusCode, Vec<u8>)> {
        let path = PathAndQuery::try_from(path)
            .map_err(|e| Error::caused_by(ErrorKind::Invalid, format!("ask for {path:?}"), e))?;
        let shown = path.to_string();
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = self.uri(path)?;
        let asked = async {
            let response = self.client.request(request).await;
            let response = response.map_err(|e| self.unreachable(e))?;
            let status = response.status();
            let body = axum::body::to_bytes(Body::new(response.into_body()), MAX_LOOKED_AT).await;
            let body = body.map_err(|e| {
                Error::caused_by(ErrorKind::Unavailable, format!("read {shown}"), e)
            })?;
            Ok((status, body.to_vec()))
        };
        tokio::time::timeout(limit, asked)
            .await
            .unwrap_or_else(|_| {
                let text = format!(
                    "{} did not answer within {} s",
                    self.authority,
                    limit.as_secs()
                );
                Err(Error::new(ErrorKind::TimedOut, text))
            })
    }

    fn uri(&self, path: PathAndQuery) -> Result<Uri> {
        Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(self.authority.as_str())
            .path_and_query(path)
            .build()
            .map_err(|e| Error::caused_by(ErrorKind::Invalid, "name the server behind", e))
    }

    fn unreachable(&self, error: hyper_util::client::legacy::Error) -> Error {
        let text = format!("the server at {} does not answer", self.authority);
        Error::caused_by(ErrorKind::Unavailable, text, error)
    }
}

/// Removes what is about one connection only.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}
