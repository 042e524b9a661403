//! The requests of a follower.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, RANGE};
use reqwest::{Response, StatusCode, Url};

use super::{FollowError, Options};
use crate::log::Sha224Hex;
use crate::netlog::{Answer, Index};

const CONNECT: Duration = Duration::from_secs(10);
/// An index of a hundred thousand segments.
const LONGEST_INDEX: u64 = 32 << 20;

/// Speaks HTTP to one log server.
#[derive(Debug, Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    index: Url,
    poll: Duration,
    silence: Duration,
}

impl Client {
    pub(super) fn new(options: &Options) -> Result<Self, FollowError> {
        let index = options.address()?;
        let http = reqwest::Client::builder()
            .user_agent(&options.agent)
            .connect_timeout(CONNECT)
            .tls_backend_preconfigured(tls())
            .tcp_nodelay(true)
            .build()
            .map_err(|source| FollowError::Transport {
                url: index.to_string(),
                source,
            })?;
        Ok(Self {
            http,
            index,
            poll: options.poll,
            silence: options.silence,
        })
    }

    /// The index; with `wait` only when the log's length is another one, or after a while.
    pub(super) async fn index(&self, wait: Option<u64>) -> Result<Answer, FollowError> {
        let mut url = self.index.clone();
        if let Some(sum) = wait {
            url.query_pairs_mut()
                .append_pair("waitsizenot", &sum.to_string());
        }
        let request = self.http.get(url.clone());
        let response = self.send(request, &url, self.poll).await?;
        if response.status() == StatusCode::NOT_MODIFIED {
            return Ok(Answer::Unchanged);
        }
        let response = success(response, &url).await?;
        let json = self.body(response, &url, LONGEST_INDEX).await?;
        Ok(Answer::Index(Index::parse(&json)?))
    }

    /// A part of a segment; what came before a connection broke is not lost.
    pub(super) async fn segment(
        &self,
        url: &str,
        from: u64,
        to: u64,
    ) -> Result<Answer, FollowError> {
        let url = self.index.join(url).map_err(|_| FollowError::Address {
            url: url.to_owned(),
        })?;
        let request = self
            .http
            .get(url.clone())
            // A compressed answer would be counted in other bytes than the range.
            .header(ACCEPT_ENCODING, "identity")
            .header(RANGE, format!("bytes={from}-{}", to - 1));
        let response = self.send(request, &url, self.silence).await?;
        let status = response.status();
        let response = success(response, &url).await?;
        let first = if status == StatusCode::PARTIAL_CONTENT {
            from
        } else {
            0
        };
        let mut bytes = BytesMut::new();
        let mut response = response;
        let limit = to - first;
        while (bytes.len() as u64) < limit {
            match self.chunk(&mut response, &url).await {
                Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(error) if bytes.is_empty() => return Err(error),
                // The rest is asked for from here on.
                Err(_) => break,
            }
        }
        if bytes.is_empty() {
            return Err(FollowError::Status {
                url: url.to_string(),
                status: status.as_u16(),
                text: "without any bytes".to_owned(),
            });
        }
        Ok(Answer::Bytes {
            from: first,
            bytes: bytes.freeze(),
        })
    }

    /// The tail from a place on; nothing when the server has none.
    pub(super) async fn tail(
        &self,
        number: u32,
        offset: u64,
        sha224: Sha224Hex,
    ) -> Result<Tail, FollowError> {
        let mut url = self.index.clone();
        url.set_path(&format!("{}/stream", url.path().trim_end_matches('/')));
        url.query_pairs_mut()
            .append_pair("from", &format!("{number}:{offset}"))
            .append_pair("sha224", &sha224.to_string());
        let request = self
            .http
            .get(url.clone())
            .header(ACCEPT, "text/event-stream");
        let response = self.send(request, &url, self.silence).await?;
        if response.status() == StatusCode::CONFLICT {
            return Ok(Tail::Elsewhere);
        }
        // 400: a server of the Go project takes it for a segment's number.
        let has_none = matches!(response.status().as_u16(), 400 | 404 | 405 | 501);
        let kind = response.headers().get(CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if has_none || response.status().is_success() && !kind.starts_with("text/event-stream") {
            return Ok(Tail::None);
        }
        let response = success(response, &url).await?;
        Ok(Tail::Open(Box::new(Stream {
            client: self.clone(),
            response,
            url,
        })))
    }

    /// Sends a request and waits for the head of the answer.
    async fn send(
        &self,
        request: reqwest::RequestBuilder,
        url: &Url,
        patience: Duration,
    ) -> Result<Response, FollowError> {
        match tokio::time::timeout(patience, request.send()).await {
            Ok(sent) => sent.map_err(|source| transport(url, source)),
            Err(_) => Err(silent(url, patience)),
        }
    }

    async fn chunk(
        &self,
        response: &mut Response,
        url: &Url,
    ) -> Result<Option<Bytes>, FollowError> {
        match tokio::time::timeout(self.silence, response.chunk()).await {
            Ok(read) => read.map_err(|source| transport(url, source)),
            Err(_) => Err(silent(url, self.silence)),
        }
    }

    async fn body(
        &self,
        mut response: Response,
        url: &Url,
        limit: u64,
    ) -> Result<Bytes, FollowError> {
        let mut bytes = BytesMut::new();
        while let Some(chunk) = self.chunk(&mut response, url).await? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > limit {
                let url = url.to_string();
                return Err(FollowError::Overlong { url, limit });
            }
        }
        Ok(bytes.freeze())
    }
}

/// What a server says when it is asked for its tail.
pub(super) enum Tail {
    /// It has no such thing.
    None,
    /// The place is none of its log.
    Elsewhere,
    /// Here it is.
    Open(Box<Stream>),
}

/// An open tail.
pub(super) struct Stream {
    client: Client,
    response: Response,
    url: Url,
}

impl Stream {
    /// The next bytes; nothing when the server ended it.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, FollowError> {
        self.client.chunk(&mut self.response, &self.url).await
    }
}

fn transport(url: &Url, source: reqwest::Error) -> FollowError {
    let url = url.to_string();
    // The address is in our own text already.
    let source = source.without_url();
    FollowError::Transport { url, source }
}

fn silent(url: &Url, patience: Duration) -> FollowError {
    FollowError::Silent {
        url: url.to_string(),
        seconds: patience.as_secs(),
    }
}

async fn success(response: Response, url: &Url) -> Result<Response, FollowError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let mut response = response;
    // The text is for people: nothing is lost when it does not come.
    let text = tokio::time::timeout(Duration::from_secs(5), response.chunk()).await;
    let text = text.ok().and_then(Result::ok).flatten().unwrap_or_default();
    Err(FollowError::Status {
        url: url.to_string(),
        status: status.as_u16(),
        text: String::from_utf8_lossy(&text[..text.len().min(200)]).into_owned(),
    })
}

/// TLS with the authorities that browsers trust.
pub(crate) fn tls() -> rustls::ClientConfig {
    let roots = webpki_roots::TLS_SERVER_ROOTS.iter().cloned();
    let roots: rustls::RootCertStore = roots.collect();
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .expect("the provider supports the default versions")
    .with_root_certificates(roots)
    .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}
