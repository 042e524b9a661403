//! Repositories for tests of version control clients: git, Mercurial, Subversion, Bazaar and
//! Fossil, and plain files.
//!
//! A repository is made when it is asked for first, by a script that says each commit with its
//! author and time, so that its hashes are the same on every machine. The script is a text
//! file, an archive of the files that it commits; `/git/hello` is made by `git/hello.txt`.
//! When the script changes, the repository is made anew. Beside made ones there may be ready
//! ones: directories that are served as they are. Programs that are not installed are named
//! with the answer 501.
//!
//! The scripts are those of the Go command's own tests. They run a few commands of their own
//! and version control programs, nothing else, below a directory of their own, with an
//! environment of their own, within bounds of time and output.

mod archive;
mod cgi;
mod files;
mod modzip;
mod overview;
mod script;
mod serve;
mod svnserve;
mod tls;
mod words;
mod zips;

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::get;
use build_core::clock::{Clock, SystemClock, Timestamp};
use build_core::{Error, ErrorKind, Result};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::serve::{Context, Handler, Kind, insecure};
pub use self::zips::ZipSource;
use self::zips::Zips;
use crate::http::page::{files as page_files, text};
use crate::http::{Doors, Guard, Hosts, Upstream, guarded};
use crate::https::Hellos;

/// The pages about this server.
const LINKS: &[(&str, &str)] = &[("/", "Repositories"), ("/tls", "TLS")];
/// Version control programs: their names, and what is shown when they are absent.
const PROGRAMS: [&str; 7] = ["bzr", "fossil", "git", "hg", "svn", "svnadmin", "svnserve"];
/// Settings of git, so that the same script makes the same commits.
const GITCONFIG: &str = "[user]\n\tname = Go Gopher\n\temail = gopher@golang.org\n[init]\n\
    \tdefaultBranch = main\n[core]\n\teol = lf\n[gui]\n\tencoding = utf-8\n";
/// The same for Mercurial.
const HGRC: &str = "[ui]\nusername=Go Gopher <gopher@golang.org>\n[phases]\nnew-commit=public\n\
    [extensions]\nconvert=\n";

/// Which programs there are, and the environment in which they run.
struct Tools {
    env: BTreeMap<String, String>,
    path: OsString,
}

impl Tools {
    fn new(home: PathBuf, path: OsString) -> Result<Self> {
        fs::create_dir_all(home.join(".config/git"))?;
        fs::create_dir_all(home.join("tmp"))?;
        fs::write(home.join(".gitconfig"), GITCONFIG)?;
        fs::write(home.join(".config/git/ignore"), "")?;
        fs::write(home.join(".hgrc"), HGRC)?;
        let home = fs::canonicalize(home)?;
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let env = [
            ("USER", "gopher".to_owned()),
            ("HOME", text(&home)),
            ("GIT_CONFIG_NOSYSTEM", "1".to_owned()),
            ("HGRCPATH", text(&home.join(".hgrc"))),
            ("HGENCODING", "utf-8".to_owned()),
            ("TMPDIR", text(&home.join("tmp"))),
            ("PATH", path.to_string_lossy().into_owned()),
            ("LC_ALL", "C.UTF-8".to_owned()),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value));
        Ok(Self {
            env: env.into(),
            path,
        })
    }

    /// Whether a program is installed.
    fn has(&self, program: &str) -> bool {
        let mut dirs = self.path.as_encoded_bytes().split(|b| *b == b':');
        dirs.any(|dir| {
            // Each piece between colons is a path as the system writes it.
            let dir = <OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(dir);
            Path::new(dir).join(program).is_file()
        })
    }
}

/// What the server is told.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Options {
    /// Ready repositories by kind, such as `git/hello`, and the place of made ones.
    pub data: PathBuf,
    /// Scripts that make repositories.
    pub scripts: Option<PathBuf>,
    /// Where programs are looked for, as in `PATH`.
    pub path: OsString,
    /// A server of Subversion over HTTP, for the ready repositories below `svn`.
    pub svn_over_http: Option<String>,
    /// Archives of ready repositories, such as `git/hello.zip`.
    pub zips: Option<ZipSource>,
    /// Handshakes of this server's TLS, shown on a page; without TLS there are none.
    pub hellos: Option<Hellos>,
    /// The names it answers to.
    pub hosts: Hosts,
}

impl Options {
    /// Repositories below `data`, with programs from `path`.
    pub fn new(data: impl Into<PathBuf>, path: impl Into<OsString>) -> Self {
        Self {
            data: data.into(),
            path: path.into(),
            ..Self::default()
        }
    }
}

/// The server. See the module.
pub struct Vcweb {
    options: Options,
    tools: Tools,
    made: PathBuf,
    known: Mutex<HashMap<PathBuf, Arc<Entry>>>,
    svn: Option<String>,
    svn_over_http: Option<Upstream>,
    zips: Option<Zips>,
    asked: tls::Asked,
    hellos: Hellos,
    has_tls: bool,
}

/// What came of a script.
#[derive(Default)]
struct Entry {
    outcome: tokio::sync::RwLock<Option<Outcome>>,
}

struct Outcome {
    hash: [u8; 32],
    at: Timestamp,
    made: Result<Handler, (ErrorKind, String)>,
}

impl Vcweb {
    /// A server; its directories are made.
    ///
    /// # Errors
    /// When they cannot be.
    pub fn new(options: Options) -> Result<Self> {
        let named = |e: Error| e.while_doing(options.data.display().to_string());
        fs::create_dir_all(&options.data).map_err(|e| named(e.into()))?;
        if let Some(scripts) = options.scripts.as_ref().filter(|dir| !dir.is_dir()) {
            let text = format!("{} is not a directory of scripts", scripts.display());
            return Err(Error::new(ErrorKind::NotFound, text));
        }
        let data = fs::canonicalize(&options.data)?;
        let made = data.join(".made");
        fs::create_dir_all(&made)?;
        let tools = Tools::new(data.join(".home"), options.path.clone())?;
        let svn_over_http = options.svn_over_http.clone().map(Upstream::new);
        let zips = options.zips.clone();
        let zips = zips.map(|source| Zips::new(source, &data)).transpose()?;
        Ok(Self {
            zips,
            asked: tls::Asked::default(),
            has_tls: options.hellos.is_some(),
            hellos: options.hellos.clone().unwrap_or_default(),
            options: Options { data, ..options },
            tools,
            made,
            known: Mutex::default(),
            svn: None,
            svn_over_http,
        })
    }

    /// Serves until `token` is canceled. Subversion's own protocol is served on `svn`.
    ///
    /// # Errors
    /// When a listener fails for good.
    pub async fn run(
        mut self,
        doors: impl Into<Doors>,
        svn: Option<TcpListener>,
        token: CancellationToken,
    ) -> Result<()> {
        let svn = svn.filter(|_| self.tools.has("svnserve"));
        if let Some(svn) = &svn {
            self.svn = Some(svn.local_addr()?.to_string());
        }
        let root = match &self.options.scripts {
            Some(_) => self.made.clone(),
            None => self.options.data.clone(),
        };
        let env = self.tools.env.clone();
        let router = Arc::new(self).router();
        let pages = crate::http::serve(doors, router, token.clone());
        let svn = async {
            match svn {
                Some(svn) => svnserve::serve(svn, root, env, token.clone()).await,
                None => Ok(()),
            }
        };
        tokio::try_join!(pages, svn).map(|((), ())| ())
    }

    fn router(self: Arc<Self>) -> Router {
        let guard = Guard::new(self.options.hosts.clone()).with_max_body(cgi::MAX_BODY);
        // Whoever asks first waits until the repository is made.
        let guard = guard.with_max_wait(script::SCRIPT_LIMIT * 2);
        let routes = Router::new()
            .route("/", get(overview::page))
            .route("/tls", get(tls::page))
            .route("/healthz", get(async || "ok\n"))
            .fallback(answer)
            .layer(from_fn_with_state(self.clone(), tls::remember));
        guarded(routes.merge(page_files()), guard).with_state(self)
    }

    /// Makes what the script `script` says, or answers what came of it before.
    async fn make(&self, script: &Path) -> Result<Arc<Entry>> {
        let Some(scripts) = &self.options.scripts else {
            return Err(Error::new(ErrorKind::NotFound, "there are no scripts"));
        };
        let file = scripts.join(script).with_added_extension("txt");
        let about = fs::metadata(&file).map_err(|e| Error::from(e).while_doing("find a script"))?;
        if about.len() > script::MAX_SCRIPT {
            return Err(Error::new(ErrorKind::Limit, "the script is too large"));
        }
        let content = fs::read(&file)?;
        let hash: [u8; 32] = Sha256::digest(&content).into();
        let entry = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.entry(script.to_owned()).or_default().clone()
        };
        let is_made = |outcome: &Option<Outcome>| outcome.as_ref().is_some_and(|o| o.hash == hash);
        if is_made(&*entry.outcome.read().await) {
            return Ok(entry);
        }
        // Whoever else asks waits here until it is made; whoever reads it has ended before.
        let mut outcome = entry.outcome.write().await;
        if !is_made(&outcome) {
            let root = self.made.join(script);
            // The server of the old one ends before its files do.
            *outcome = None;
            if root.exists() {
                fs::remove_dir_all(&root)?;
            }
            let run = script::run(&self.tools, &content, &root);
            let run = tokio::time::timeout(script::SCRIPT_LIMIT, run).await;
            let made = run.unwrap_or_else(|_| {
                Err(Error::new(ErrorKind::TimedOut, "the script takes too long"))
            });
            if let Err(error) = &made {
                let script = script.display();
                tracing::warn!(%script, error = error.chain(), "a script failed");
            }
            *outcome = Some(Outcome {
                hash,
                at: SystemClock.now(),
                made: made.map_err(|e| (e.kind(), e.chain())),
            });
        }
        drop(outcome);
        Ok(entry)
    }

    /// Answers a request by a script's repository; the request is given back when none makes it.
    async fn by_script(
        &self,
        parts: &[&str],
        path: &str,
        request: Request,
    ) -> Result<Response, Request> {
        let Some(scripts) = &self.options.scripts else {
            return Err(request);
        };
        // Directories first: the first part that is none is the script.
        let depth = (1..=parts.len()).find(|n| !scripts.join(parts[..*n].join("/")).is_dir());
        let Some(depth) = depth else {
            return Err(request);
        };
        let script = PathBuf::from(parts[..depth].join("/"));
        let prefix = format!("/{}", parts[..depth].join("/"));
        let entry = match self.make(&script).await {
            Ok(entry) => entry,
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(request),
            Err(error) => return Ok(refused(&error)),
        };
        let outcome = entry.outcome.read().await;
        Ok(match outcome.as_ref().map(|outcome| &outcome.made) {
            Some(Ok(handler)) => self.by_handler(handler, &prefix, path, request).await,
            Some(Err((kind, told))) => refused(&Error::new(*kind, told.clone())),
            None => text(
                StatusCode::SERVICE_UNAVAILABLE,
                "it is being made; ask again\n",
            ),
        })
    }

    /// Answers a request by a ready repository.
    async fn by_data(&self, parts: &[&str], path: &str, request: Request) -> Response {
        let (first, name) = match parts {
            [first, name, ..] => (*first, *name),
            _ => return not_found(),
        };
        if let Some(zips) = &self.zips {
            zips.load(first, name, insists(request.uri().query())).await;
        }
        if first == "svn"
            && let Some(upstream) = &self.svn_over_http
        {
            return svn_over_http(upstream, request).await;
        }
        let kind = match first {
            "go" => Some(Kind::Dir),
            "dir" | "insecure" => None,
            other => Kind::named(other),
        };
        let fine = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        let Some(kind) = kind.filter(|_| name.chars().all(fine) && !name.starts_with('.')) else {
            return not_found();
        };
        let dir = self.options.data.join(first).join(name);
        let missing = kind.program().filter(|program| !self.tools.has(program));
        match (dir.exists(), missing) {
            (true, None) if dir.is_dir() => {
                let handler = Handler::new(kind, dir);
                self.by_handler(&handler, &format!("/{first}/{name}"), path, request)
                    .await
            }
            (true, None) => {
                let top = self.options.data.join(first);
                let handler = Handler::new(kind, top);
                self.by_handler(&handler, &format!("/{first}"), path, request)
                    .await
            }
            (true, Some(program)) => refused(&script::absent(program)),
            (false, _) => not_found(),
        }
    }

    async fn by_handler(
        &self,
        handler: &Handler,
        prefix: &str,
        path: &str,
        request: Request,
    ) -> Response {
        let context = Context {
            tools: &self.tools,
            svn: self.svn.as_deref(),
            prefix,
            path: path.strip_prefix(prefix).unwrap_or(""),
        };
        match handler.answer(context, request).await {
            Ok(response) => response,
            Err(error) => refused(&error),
        }
    }
}

/// Answers anything but the overview.
async fn answer(State(site): State<Arc<Vcweb>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    tracing::info!(method = %request.method(), path, "asked");
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let hostile = |part: &&str| {
        let plain = percent_encoding::percent_decode_str(part).decode_utf8_lossy();
        plain == ".." || plain == "." || plain.contains(['/', '\0', '\\'])
    };
    if parts.iter().any(hostile) {
        return text(StatusCode::BAD_REQUEST, "the path is not clean\n");
    }
    if parts.is_empty() {
        return not_found();
    }
    match site.by_script(&parts, &path, request).await {
        Ok(response) => response,
        Err(request) => match path.strip_prefix("/insecure") {
            Some(rest) if rest.starts_with('/') => {
                insecure(StatusCode::MOVED_PERMANENTLY, rest, &request)
            }
            _ => site.by_data(&parts, &path, request).await,
        },
    }
}

/// Whether a client wants what is new, however short ago somebody looked.
fn insists(query: Option<&str>) -> bool {
    let mut fields = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    fields.any(|(name, value)| matches!(&*name, "vcweb-force-reload" | "go-get") && value == "1")
}

/// Passes what only reads on to a server of Subversion over HTTP.
async fn svn_over_http(upstream: &Upstream, request: Request) -> Response {
    let reads = ["GET", "HEAD", "PROPFIND", "OPTIONS", "REPORT"];
    if !reads.contains(&request.method().as_str()) {
        return text(
            StatusCode::METHOD_NOT_ALLOWED,
            "this repository is only read\n",
        );
    }
    match upstream.forward(request).await {
        Ok(response) => response,
        Err(error) => refused(&error),
    }
}

fn not_found() -> Response {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

fn refused(error: &Error) -> Response {
    let status = match error.kind() {
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Invalid if error.to_string().contains("leaves") => StatusCode::BAD_REQUEST,
        ErrorKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
        ErrorKind::Unavailable => StatusCode::BAD_GATEWAY,
        ErrorKind::Limit => StatusCode::PAYLOAD_TOO_LARGE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    text(status, format!("{}\n", error.chain()))
}
