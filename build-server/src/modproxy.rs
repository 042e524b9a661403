//! A proxy of Go modules for build machines: what was fetched once is there when the proxy behind it
//! is not.
//!
//! A request for `PATH` becomes one for `UPSTREAM/PATH` with the client's fields; redirects are
//! followed, status, fields and body come back as they are. What never changes (`.info`, `.mod`
//! and `.zip` of a version) is kept and not asked for again; lists of versions are kept for the time
//! in which the upstream does not answer. Nothing is kept of a request that shows credentials.

mod cache;

use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use build_core::{Error, ErrorKind, Result};
use bytes::Bytes;
use futures::{Stream, StreamExt as _};

use self::cache::{Cache, Draft};

/// How long the upstream may take to begin an answer.
const ANSWER: Duration = Duration::from_secs(60);
/// Most bytes that are kept.
const KEPT: u64 = 20 << 30;
/// Fields that belong to one connection, or that the client of this proxy makes itself.
const OWN_FIELDS: [HeaderName; 9] = [
    header::CONNECTION,
    header::HOST,
    header::TRANSFER_ENCODING,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::PROXY_AUTHORIZATION,
    header::ACCEPT_ENCODING,
    header::CONTENT_LENGTH,
];

/// A proxy. Clones are the same.
#[derive(Clone, Debug)]
pub struct ModuleProxy {
    upstream: String,
    client: reqwest::Client,
    cache: Cache,
}

impl ModuleProxy {
    /// A proxy before `upstream`, such as `https://proxy.example.com`; what is kept lies in `dir`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for an address that is none; when the directory cannot be made.
    pub fn open(upstream: &str, dir: PathBuf) -> Result<Self> {
        let is_url = ["https://", "http://"]
            .iter()
            .any(|scheme| upstream.len() > scheme.len() && upstream.starts_with(scheme));
        if !is_url {
            let text = format!("{upstream:?} is no address of a module proxy");
            let hint = "give one that begins with https:// or http://";
            return Err(Error::new(ErrorKind::Invalid, text).with_hint(hint));
        }
        Ok(Self {
            upstream: upstream.trim_end_matches('/').to_owned(),
            client: build_client::rest::client(None)?,
            cache: Cache::open(dir, KEPT)?,
        })
    }

    /// Everything that it answers.
    pub fn router(&self) -> Router {
        Router::new().fallback(answer).with_state(self.clone())
    }
}

/// An error as text.
fn said(status: StatusCode, text: &str) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    (status, kind, format!("{text}\n")).into_response()
}

/// Whether what is there never changes.
fn is_immutable(path: &str) -> bool {
    let version = path.rsplit_once("/@v/").map(|(_, version)| version);
    version.is_some_and(|version| {
        [".info", ".mod", ".zip"]
            .iter()
            .any(|end| version.ends_with(end))
    })
}

/// Whether it is a path of modules: no way out of it, and nothing odd.
fn is_plain(path: &str) -> bool {
    let fine = |part: &str| !matches!(part, "." | "..");
    path.starts_with('/') && path.len() <= 1024 && path.split('/').all(fine) && !path.contains('\\')
}

async fn answer(State(proxy): State<ModuleProxy>, request: Request) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = said(StatusCode::METHOD_NOT_ALLOWED, "modules are only read");
        let allowed = header::HeaderValue::from_static("GET, HEAD");
        refused.headers_mut().insert(header::ALLOW, allowed);
        return refused;
    }
    let path = request.uri().path().to_owned();
    if !is_plain(&path)
        || request
            .uri()
            .query()
            .is_some_and(|query| query.len() > 1024)
    {
        return said(StatusCode::BAD_REQUEST, "invalid URL");
    }
    let target = match request.uri().query() {
        Some(query) => format!("{path}?{query}"),
        None => path.clone(),
    };
    let (method, fields) = (request.method().clone(), request.headers());
    // What is shown to somebody with a key is not for everybody, and parts are not wholes.
    let may_keep = method == Method::GET
        && !fields.contains_key(header::AUTHORIZATION)
        && !fields.contains_key(header::COOKIE)
        && !fields.contains_key(header::RANGE);
    if may_keep
        && is_immutable(&path)
        && let Some(kept) = proxy.cache.read(&target).await
    {
        return kept;
    }
    let asked = proxy.ask(method, &target, fields).await;
    let trouble = match asked {
        Ok(response) if !response.status().is_server_error() => {
            let keeps = may_keep && response.status() == StatusCode::OK;
            let draft = match keeps {
                true => proxy.cache.draft(&target, response.headers()).await,
                false => None,
            };
            return pass_on(response, draft);
        }
        Ok(response) => Ok(response),
        Err(error) => Err(error),
    };
    if may_keep && let Some(kept) = proxy.cache.read(&target).await {
        tracing::warn!(
            target,
            "the module proxy behind this one does not answer: as kept"
        );
        return kept;
    }
    match trouble {
        Ok(response) => pass_on(response, None),
        Err(error) => {
            tracing::warn!(
                target,
                error,
                "the module proxy behind this one does not answer"
            );
            let text = format!("the module proxy behind this one does not answer: {error}");
            said(StatusCode::INTERNAL_SERVER_ERROR, &text)
        }
    }
}

impl ModuleProxy {
    async fn ask(
        &self,
        method: Method,
        target: &str,
        fields: &HeaderMap,
    ) -> Result<reqwest::Response, String> {
        let mut asked = self
            .client
            .request(method, format!("{}{target}", self.upstream));
        for (name, value) in fields {
            if !OWN_FIELDS.contains(name) {
                asked = asked.header(name, value);
            }
        }
        let answered = tokio::time::timeout(ANSWER, asked.send()).await;
        match answered {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(error.without_url().to_string()),
            Err(_) => Err(format!("no answer in {} s", ANSWER.as_secs())),
        }
    }
}

/// Fields as they were, but those of the connection.
fn fields_of(headers: &HeaderMap) -> HeaderMap {
    let mut fields = headers.clone();
    for name in OWN_FIELDS
        .iter()
        .filter(|name| **name != header::CONTENT_LENGTH)
    {
        fields.remove(name);
    }
    fields
}

fn pass_on(response: reqwest::Response, draft: Option<Draft>) -> Response {
    let (status, fields) = (response.status(), fields_of(response.headers()));
    let pieces = response.bytes_stream();
    let body = match draft {
        Some(draft) => Body::from_stream(keeping(pieces, draft)),
        None => Body::from_stream(pieces),
    };
    (status, fields, body).into_response()
}

/// The pieces, which are kept when all of them have come.
fn keeping<E: Send + Sync + 'static>(
    pieces: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
    draft: Draft,
) -> impl Stream<Item = Result<Bytes, E>> + Send {
    let state = (Box::pin(pieces), Some(draft));
    futures::stream::unfold(state, |(mut pieces, mut draft)| async move {
        let piece = pieces.next().await;
        draft = match (&piece, draft) {
            (Some(Ok(bytes)), Some(draft)) => draft.write(bytes).await,
            (None, Some(draft)) => {
                draft.keep().await;
                None
            }
            // What has not come whole is not kept.
            _ => None,
        };
        piece.map(|piece| (piece, (pieces, draft)))
    })
}

#[cfg(test)]
mod tests;
