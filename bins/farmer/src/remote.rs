//! A farm that runs, asked over its API.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use build_core::buildlet::ByteStream;
use build_core::{Error, ErrorKind, Result};
use build_server::store::{DataLock, Owner};
use build_server::supervise::Supervisor;
use bytes::Bytes;
use farmer_cli::{Exit, Failure};
use futures::StreamExt;
use http_body_util::{BodyExt, BodyStream, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;

use crate::output::failure;

/// Until a farm of this machine takes a connection, and until the head of its answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of an answer that is not streamed.
const MAX_ANSWER: usize = 64 << 20;

/// A farm that runs. Clones talk to the same one.
#[derive(Clone)]
pub(crate) struct Remote {
    authority: Arc<str>,
    token: Option<Arc<str>>,
    connections: Supervisor,
    owner: Arc<str>,
}

/// What a farm says when it says no.
#[derive(serde::Deserialize)]
struct Refused {
    code: String,
    message: String,
    hint: String,
}

impl Remote {
    /// The farm that owns a data directory and answers, if there is one.
    pub(crate) fn find(data: &Path) -> Result<Option<Self>, Failure> {
        let owner = DataLock::owner(data).map_err(|e| failure(&e))?;
        Ok(owner.and_then(|owner| Self::of(&owner)))
    }

    /// As [`Remote::find`]; without one the caller has nothing to ask.
    pub(crate) fn expect(data: &Path) -> Result<Self, Failure> {
        Self::find(data)?.ok_or_else(|| {
            Failure::usage(
                format!("no farm runs on {}", data.display()),
                "start one with: farmer up",
            )
        })
    }

    fn of(owner: &Owner) -> Option<Self> {
        let authority = owner.address.as_deref()?.strip_prefix("http://")?;
        Some(Self {
            authority: authority.into(),
            token: owner.token.as_deref().map(Arc::from),
            connections: Supervisor::new("client"),
            owner: owner.to_string().into(),
        })
    }

    /// The program that runs it, for people.
    pub(crate) fn owner(&self) -> &str {
        &self.owner
    }

    /// What the farm answers to a question.
    ///
    /// # Errors
    /// What the farm said, or that it does not answer.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let response = self.send(Method::GET, path, Bytes::new()).await?;
        read(path, response).await
    }

    /// What the farm answers to a wish.
    ///
    /// # Errors
    /// As [`Remote::get`].
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        wish: &impl Serialize,
    ) -> Result<T> {
        let body = serde_json::to_vec(wish)
            .map_err(|e| Error::caused_by(ErrorKind::Bug, "write a request", e))?;
        let response = self.send(Method::POST, path, body.into()).await?;
        read(path, response).await
    }

    /// An answer piece by piece, as it comes.
    ///
    /// # Errors
    /// As [`Remote::get`].
    pub(crate) async fn stream(&self, path: &str) -> Result<ByteStream> {
        let response = self.send(Method::GET, path, Bytes::new()).await?;
        let path = path.to_owned();
        let pieces = BodyStream::new(response.into_body()).filter_map(move |frame| {
            let piece = match frame {
                Ok(frame) => frame.into_data().ok().map(Ok),
                Err(error) => Some(Err(broken(&path, error))),
            };
            std::future::ready(piece)
        });
        Ok(pieces.boxed())
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>> {
        let sent = tokio::time::timeout(PATIENCE, self.exchange(method, path, body)).await;
        let response = sent.map_err(|_| {
            let text = format!(
                "{} did not answer within {} s",
                self.owner,
                PATIENCE.as_secs()
            );
            Error::new(ErrorKind::TimedOut, text)
        })??;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(refused(response).await)
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>> {
        let gone = |error: std::io::Error| {
            Error::caused_by(
                ErrorKind::Unavailable,
                format!("connect to {}", self.owner),
                error,
            )
        };
        let stream = TcpStream::connect(&*self.authority).await.map_err(gone)?;
        let shaken = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = shaken.map_err(|e| broken(path, e))?;
        self.connections.spawn("connection", async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the farm has ended");
            }
        });
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &*self.authority)
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request
            .body(Full::new(body))
            .map_err(|e| Error::caused_by(ErrorKind::Bug, "make a request", e))?;
        sender
            .send_request(request)
            .await
            .map_err(|e| broken(path, e))
    }
}

async fn read<T: DeserializeOwned>(path: &str, response: Response<Incoming>) -> Result<T> {
    let body = collect(path, response).await?;
    serde_json::from_slice(&body)
        .map_err(|e| Error::caused_by(ErrorKind::Corrupt, format!("read the answer to {path}"), e))
}

async fn collect(path: &str, response: Response<Incoming>) -> Result<Bytes> {
    let body = http_body_util::Limited::new(response.into_body(), MAX_ANSWER);
    let body = body.collect().await;
    let body = body.map_err(|e| {
        Error::caused_by(
            ErrorKind::Unavailable,
            format!("read the answer to {path}"),
            e,
        )
    })?;
    Ok(body.to_bytes())
}

fn broken(path: &str, error: hyper::Error) -> Error {
    Error::caused_by(
        ErrorKind::Unavailable,
        format!("ask the farm for {path}"),
        error,
    )
}

async fn refused(response: Response<Incoming>) -> Error {
    let status = response.status();
    let body = collect("the request", response).await.unwrap_or_default();
    let Ok(refused) = serde_json::from_slice::<Refused>(&body) else {
        let text = format!("the farm answered {status}");
        return Error::new(ErrorKind::Unavailable, text);
    };
    Error::new(kind(&refused.code, status), refused.message).with_hint(refused.hint)
}

fn kind(code: &str, status: StatusCode) -> ErrorKind {
    match code {
        "invalid" => ErrorKind::Invalid,
        "not_found" => ErrorKind::NotFound,
        "conflict" => ErrorKind::Conflict,
        "denied" => ErrorKind::Denied,
        "limit" => ErrorKind::Limit,
        _ if status.is_client_error() => ErrorKind::Invalid,
        _ => ErrorKind::Unavailable,
    }
}

/// The exit code of a wish that the farm refused: nothing was done.
pub(crate) fn refusal(error: &Error) -> Failure {
    match error.kind() {
        ErrorKind::Conflict => Failure::because(Exit::Usage, error, error.hint()),
        _ => failure(error),
    }
}
