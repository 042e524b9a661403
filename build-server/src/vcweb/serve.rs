//! How a made repository is served: one handler for each kind.

use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use build_core::{Error, ErrorKind, Result};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

use super::{Tools, cgi, files};
use crate::child::{Command, Running};
use crate::http::Upstream;
use crate::http::page::text;

/// Until `hg serve` says where it listens.
const HG_START: Duration = Duration::from_secs(30);

/// How something is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Auth,
    Bzr,
    Dir,
    Fossil,
    Git,
    Hg,
    Insecure,
    Svn,
}

const KINDS: [(&str, Kind); 8] = [
    ("auth", Kind::Auth),
    ("bzr", Kind::Bzr),
    ("dir", Kind::Dir),
    ("fossil", Kind::Fossil),
    ("git", Kind::Git),
    ("hg", Kind::Hg),
    ("insecure", Kind::Insecure),
    ("svn", Kind::Svn),
];

impl Kind {
    pub(super) fn named(name: &str) -> Option<Self> {
        KINDS
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, kind)| *kind)
    }

    pub(super) fn name(self) -> &'static str {
        KINDS
            .iter()
            .find(|(_, kind)| *kind == self)
            .map_or("", |(name, _)| name)
    }

    /// The program without which it cannot be served.
    pub(super) fn program(self) -> Option<&'static str> {
        match self {
            Self::Fossil => Some("fossil"),
            Self::Git => Some("git"),
            Self::Hg => Some("hg"),
            Self::Svn => Some("svnserve"),
            Self::Auth | Self::Bzr | Self::Dir | Self::Insecure => None,
        }
    }
}

/// A made repository, and how it is served.
pub(super) struct Handler {
    pub(super) kind: Kind,
    dir: PathBuf,
    hg: tokio::sync::Mutex<Option<Hg>>,
}

/// A server of one Mercurial repository.
struct Hg {
    running: Running,
    upstream: Upstream,
}

/// What a handler is given besides the request.
pub(super) struct Context<'a> {
    pub(super) tools: &'a Tools,
    /// Where svnserve listens, if it does.
    pub(super) svn: Option<&'a str>,
    /// The path of the repository, as visitors write it: `/git/hello`.
    pub(super) prefix: &'a str,
    /// What comes after it: empty, or from a slash on.
    pub(super) path: &'a str,
}

impl Handler {
    pub(super) fn new(kind: Kind, dir: PathBuf) -> Self {
        Self {
            kind,
            dir,
            hg: tokio::sync::Mutex::default(),
        }
    }

    /// Answers a request for what is below the repository.
    pub(super) async fn answer(&self, context: Context<'_>, request: Request) -> Result<Response> {
        match self.kind {
            Kind::Dir | Kind::Bzr => files::serve(&self.dir, context.path, request.uri().path()),
            Kind::Auth => files::serve_to_some(&self.dir, &context, &request),
            Kind::Insecure => Ok(insecure(StatusCode::FOUND, context.path, &request)),
            Kind::Git => self.git(&context, request).await,
            Kind::Fossil => self.fossil(&context, request).await,
            Kind::Hg => self.hg(&context, request).await,
            Kind::Svn => Ok(svn(&context, &request)),
        }
    }

    async fn git(&self, context: &Context<'_>, request: Request) -> Result<Response> {
        let mut command = Command::new("git")
            .arg("http-backend")
            .dir(&self.dir)
            .clear_env()
            .envs(context.tools.env.clone())
            .env("GIT_PROJECT_ROOT", &self.dir)
            .env("GIT_HTTP_EXPORT_ALL", "1");
        // Programs before 2.34 read this variable only.
        if let Some(protocol) = request.headers().get("git-protocol")
            && let Ok(protocol) = protocol.to_str()
        {
            command = command.env("GIT_PROTOCOL", protocol);
        }
        cgi::answer(command, context.prefix, context.path, request).await
    }

    async fn fossil(&self, context: &Context<'_>, request: Request) -> Result<Response> {
        let name = self.dir.file_name().unwrap_or_default().to_string_lossy();
        let database = self.dir.join(format!("{name}.fossil"));
        if !database.exists() {
            let text = format!("there is no {name}.fossil in the repository's directory");
            return Err(Error::new(ErrorKind::NotFound, text));
        }
        let script = self.dir.join(format!("{name}.fossil.cgi"));
        std::fs::write(
            &script,
            format!(
                "#!/usr/bin/env fossil\nrepository: {}\n",
                database.display()
            ),
        )?;
        let command = Command::new("fossil")
            .arg(&script)
            .dir(&self.dir)
            .clear_env()
            .envs(context.tools.env.clone());
        cgi::answer(command, context.prefix, context.path, request).await
    }

    async fn hg(&self, context: &Context<'_>, mut request: Request) -> Result<Response> {
        let upstream = {
            let mut hg = self.hg.lock().await;
            let lives = hg
                .as_mut()
                .is_some_and(|hg| hg.running.try_wait().is_none());
            if !lives {
                *hg = Some(start_hg(context.tools, &self.dir).await?);
            }
            hg.as_ref().map(|hg| hg.upstream.clone())
        };
        let Some(upstream) = upstream else {
            return Err(Error::new(
                ErrorKind::Bug,
                "hg was started and is not there",
            ));
        };
        let path = if context.path.is_empty() {
            "/"
        } else {
            context.path
        };
        let query = request
            .uri()
            .query()
            .map(|q| format!("?{q}"))
            .unwrap_or_default();
        *request.uri_mut() = format!("{path}{query}")
            .parse::<Uri>()
            .map_err(|e| Error::caused_by(ErrorKind::Invalid, "read the path", e))?;
        upstream.forward(request).await
    }
}

/// Starts a server for one repository: `hg` is too slow to be started for each request.
async fn start_hg(tools: &Tools, dir: &Path) -> Result<Hg> {
    let args = [
        "serve",
        "--port",
        "0",
        "--address",
        "127.0.0.1",
        "--accesslog",
        "/dev/null",
        "--name",
        "vcweb",
        "--print-url",
    ];
    let command = Command::new("hg").args(args).dir(dir).clear_env();
    let (running, pipes) = command.envs(tools.env.clone()).start_piped()?;
    let mut lines = BufReader::new(pipes.stdout);
    let mut line = String::new();
    let said = tokio::time::timeout(HG_START, lines.read_line(&mut line)).await;
    let port = line
        .trim()
        .trim_end_matches('/')
        .rsplit(':')
        .next()
        .and_then(|port| port.parse::<u16>().ok());
    match (said, port) {
        (Ok(Ok(_)), Some(port)) => Ok(Hg {
            running,
            upstream: Upstream::new(format!("127.0.0.1:{port}")),
        }),
        _ => {
            let mut complaint = String::new();
            let mut stderr = pipes.stderr.take(4096);
            let read = stderr.read_to_string(&mut complaint);
            let _late = tokio::time::timeout(Duration::from_secs(1), read).await;
            let text = format!(
                "hg serve did not say where it listens: {}",
                complaint.trim()
            );
            Err(Error::new(ErrorKind::Unavailable, text))
        }
    }
}

/// Clients of Subversion are told where they find the repository under its own protocol.
fn svn(context: &Context<'_>, request: &Request) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let mut fields = form_urlencoded::parse(query.as_bytes());
    match context.svn {
        Some(address) if fields.any(|(name, value)| name == "vcwebsvn" && !value.is_empty()) => {
            text(StatusCode::OK, format!("svn://{address}\n"))
        }
        Some(address) => text(
            StatusCode::NOT_FOUND,
            format!("this repository is at svn://{address}{}\n", context.prefix),
        ),
        None => text(StatusCode::NOT_IMPLEMENTED, "svnserve does not run here\n"),
    }
}

/// Sends the browser to the same host without TLS.
pub(super) fn insecure(status: StatusCode, path: &str, request: &Request) -> Response {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
    }
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|h| h.to_str().ok());
    let host = request
        .uri()
        .authority()
        .map(axum::http::uri::Authority::as_str)
        .or(host);
    let Some(host) = host else {
        return text(StatusCode::BAD_REQUEST, "the request names no host\n");
    };
    let path = if path.is_empty() { "/" } else { path };
    let query = request
        .uri()
        .query()
        .map(|q| format!("?{q}"))
        .unwrap_or_default();
    let to = format!("http://{host}{path}{query}");
    (status, [(header::LOCATION, to)], Body::empty()).into_response()
}
