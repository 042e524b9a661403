//! Programs that answer one request through their streams: the common gateway interface.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use build_core::{Error, ErrorKind, Result};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::ChildStdout;

use crate::child::{Command, Running};

/// Bytes of a request's body: what a client has and wants of a repository.
pub(super) const MAX_BODY: usize = 16 << 20;
/// Bytes of the answer's head.
const MAX_HEAD: usize = 64 << 10;
/// Until the head of the answer, and between two pieces of its body.
const PIECE_LIMIT: Duration = Duration::from_secs(50);

/// An answer that is on its way.
struct Exchange {
    // Kills the program when whoever asked has gone.
    _running: Running,
    stdout: ChildStdout,
    /// The request's body on its way in, until it is.
    write: Option<BoxFuture<'static, ()>>,
}

/// Has `command` answer the request for `path` below `prefix`.
pub(super) async fn answer(
    command: Command,
    prefix: &str,
    path: &str,
    request: Request,
) -> Result<Response> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, MAX_BODY)
        .await
        .map_err(|e| Error::caused_by(ErrorKind::Limit, "read the request", e))?;
    let host = parts
        .headers
        .get(header::HOST)
        .and_then(|h| h.to_str().ok());
    let host = host.unwrap_or("localhost");
    let (name, port) = host.rsplit_once(':').unwrap_or((host, "80"));
    let mut command = command
        .env("GATEWAY_INTERFACE", "CGI/1.1")
        .env("SERVER_SOFTWARE", "vcweb")
        .env("SERVER_PROTOCOL", "HTTP/1.1")
        .env("SERVER_NAME", name)
        .env("SERVER_PORT", port)
        .env("HTTP_HOST", host)
        .env("REMOTE_ADDR", "127.0.0.1")
        .env("REMOTE_HOST", "127.0.0.1")
        .env("REQUEST_METHOD", parts.method.as_str())
        .env(
            "REQUEST_URI",
            parts.uri.path_and_query().map_or("/", |p| p.as_str()),
        )
        .env("SCRIPT_NAME", prefix)
        .env("PATH_INFO", path)
        .env("QUERY_STRING", parts.uri.query().unwrap_or(""))
        .env("CONTENT_LENGTH", body.len().to_string());
    for (name, value) in &parts.headers {
        // `Proxy` would become the variable by which many programs find a proxy.
        let (Ok(value), false) = (value.to_str(), name == "proxy") else {
            continue;
        };
        let variable = name.as_str().to_ascii_uppercase().replace('-', "_");
        command = match variable.as_str() {
            "CONTENT_TYPE" => command.env("CONTENT_TYPE", value),
            "HOST" | "CONTENT_LENGTH" | "TRANSFER_ENCODING" => command,
            variable => command.env(format!("HTTP_{variable}"), value),
        };
    }
    let (running, pipes) = command.start_piped()?;
    let mut stdin = pipes.stdin;
    let write = async move {
        // A program that does not read all of it answers all the same.
        let _ = stdin.write_all(&body).await;
    };
    let mut exchange = Exchange {
        _running: running,
        stdout: pipes.stdout,
        write: Some(write.boxed()),
    };
    let mut head = Vec::new();
    let split = loop {
        if let Some(split) = end_of_head(&head) {
            break split;
        }
        let piece = exchange.read().await?;
        if piece.is_empty() || head.len() > MAX_HEAD {
            let mut complaint = String::new();
            let mut stderr = pipes.stderr.take(4096);
            let read = stderr.read_to_string(&mut complaint);
            let _late = tokio::time::timeout(Duration::from_secs(1), read).await;
            let text = format!("{} gave no answer: {}", command.shown(), complaint.trim());
            return Err(Error::new(ErrorKind::Unavailable, text));
        }
        head.extend_from_slice(&piece);
    };
    let first = Bytes::copy_from_slice(&head[split..]);
    let mut response = read_head(&head[..split])?;
    let rest = futures::stream::unfold(Some(exchange), async |exchange| {
        let mut exchange = exchange?;
        match exchange.read().await {
            Ok(piece) if piece.is_empty() => None,
            Ok(piece) => Some((Ok(piece), Some(exchange))),
            Err(error) => Some((Err(error), None)),
        }
    });
    let first = futures::stream::iter([Ok(first)]);
    *response.body_mut() = Body::from_stream(futures::StreamExt::chain(first, rest));
    Ok(response)
}

impl Exchange {
    /// The next piece of what the program prints; nothing at its end. The request's body goes
    /// in meanwhile.
    async fn read(&mut self) -> Result<Bytes> {
        let mut piece = Vec::with_capacity(32 << 10);
        let read = async {
            loop {
                match &mut self.write {
                    Some(write) => tokio::select! {
                        () = write => self.write = None,
                        read = self.stdout.read_buf(&mut piece) => return read,
                    },
                    None => return self.stdout.read_buf(&mut piece).await,
                }
            }
        };
        match tokio::time::timeout(PIECE_LIMIT, read).await {
            Ok(read) => {
                read?;
                Ok(piece.into())
            }
            Err(_) => Err(Error::new(ErrorKind::TimedOut, "the program says nothing")),
        }
    }
}

/// Where the body begins.
fn end_of_head(head: &[u8]) -> Option<usize> {
    let lines = |end: &[u8]| {
        head.windows(end.len())
            .position(|w| w == end)
            .map(|n| n + end.len())
    };
    match (lines(b"\r\n\r\n"), lines(b"\n\n")) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

fn read_head(head: &[u8]) -> Result<Response> {
    let wrong =
        |text: &str| Error::new(ErrorKind::Corrupt, format!("the program answers {text:?}"));
    let head = std::str::from_utf8(head).map_err(|_| wrong("no text"))?;
    let mut response = Response::new(Body::empty());
    for line in head.lines().filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').ok_or_else(|| wrong(line))?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("status") {
            let code = value.split(' ').next().unwrap_or("").as_bytes();
            *response.status_mut() = StatusCode::from_bytes(code).map_err(|_| wrong(line))?;
            continue;
        }
        let name: HeaderName = name.parse().map_err(|_| wrong(line))?;
        let value = HeaderValue::from_str(value).map_err(|_| wrong(line))?;
        if name == header::LOCATION && response.status() == StatusCode::OK {
            *response.status_mut() = StatusCode::FOUND;
        }
        // Framing is the server's matter.
        if name != header::CONNECTION && name != header::TRANSFER_ENCODING {
            response.headers_mut().append(name, value);
        }
    }
    Ok(response)
}
