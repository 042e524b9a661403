//! Mirrors repositories, and serves archives of any of their revisions.
//!
//! Each repository has a copy here. It is brought up to date when its source has something new:
//! a look every minute, a notice (`POST /notify/NAME`), and every five minutes in any case. Then
//! each destination is brought to what the copy has, by leases: a reference changes from what
//! was seen there or not at all. What is overwritten or deleted at a destination is kept here;
//! a source or a destination that would suddenly lose many references is left alone until
//! somebody has looked.

mod archive;
mod config;
mod copy;
mod front;
mod status;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use build_core::clock::{Clock, SystemClock, Timestamp};
use build_core::{Error, ErrorKind, Result};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::config::{Config, DestSpec, Project, RepoSpec};
pub use self::status::{Entry, Health};

use self::archive::Archives;
use self::copy::{Copy, Refs};
use crate::file_lock::FileLock;
use crate::http::Hosts;
use crate::supervise::Supervisor;

/// Pauses before each attempt of a fetch or a push.
const ATTEMPTS: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_secs(5),
    Duration::from_secs(10),
];
/// After a round that failed.
const PAUSE: Duration = Duration::from_secs(10);
/// For rounds that run at the end: git is ended within a second.
const END: Duration = Duration::from_secs(5);

/// The mirror. See the module.
pub struct GitMirror {
    site: Site,
    config: Config,
    push: bool,
    hosts: Hosts,
    // Held until the end: two mirrors must not push against each other.
    _lock: FileLock,
}

/// What handlers are given.
#[derive(Clone)]
struct Site {
    repos: Arc<BTreeMap<String, Arc<Repo>>>,
    archives: Archives,
}

/// A repository that is mirrored.
struct Repo {
    spec: RepoSpec,
    copy: Copy,
    state: Mutex<State>,
    /// Somebody says that there is something new.
    tickled: Notify,
}

struct State {
    health: Health,
    dests: BTreeMap<String, Dest>,
    /// When the source's present state was first seen, while a destination lacks it.
    behind_since: Option<Timestamp>,
}

/// How a destination does.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Dest {
    /// When it was last the same as the source.
    pub last_good: Option<Timestamp>,
    /// Why it is not now.
    pub error: Option<String>,
    /// References changed there since the start.
    pub updated: usize,
    /// References deleted there since the start.
    pub deleted: usize,
}

impl GitMirror {
    /// A mirror with its copies below `cache`; pushes when `push` says so.
    ///
    /// # Errors
    /// When the configuration cannot be carried out, the directory cannot be made, or another
    /// mirror uses it.
    pub fn new(config: Config, cache: &Path, push: bool) -> Result<Self> {
        config.check()?;
        if cache.exists() && !cache.is_dir() {
            let text = format!(
                "invalid -cachedir={:?}; not a directory",
                cache.display().to_string()
            );
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        let named = |e: std::io::Error| Error::from(e).while_doing(cache.display().to_string());
        fs::create_dir_all(cache).map_err(named)?;
        let cache: PathBuf = fs::canonicalize(cache).map_err(named)?;
        let lock = File::create(cache.join("lock")).map_err(named)?;
        let lock = FileLock::take(lock, Duration::ZERO).map_err(named)?;
        let lock = lock.ok_or_else(|| {
            let text = format!("{} is used by another mirror", cache.display());
            Error::new(ErrorKind::Conflict, text)
        })?;
        let limit = seconds(config.limit_seconds);
        let now = SystemClock.now();
        let repos = config.repos.iter().map(|spec| {
            let repo = Repo {
                copy: Copy::new(&cache, &spec.name, limit),
                state: Mutex::new(State {
                    health: Health::new(now),
                    dests: spec
                        .dests
                        .iter()
                        .map(|d| (d.name.clone(), Dest::default()))
                        .collect(),
                    behind_since: None,
                }),
                spec: spec.clone(),
                tickled: Notify::new(),
            };
            (spec.name.clone(), Arc::new(repo))
        });
        Ok(Self {
            site: Site {
                repos: Arc::new(repos.collect()),
                archives: Archives::new(cache.join("archives"))?,
            },
            config,
            push,
            hosts: Hosts::default(),
            _lock: lock,
        })
    }

    /// The names it answers to. Default: loopback.
    #[must_use]
    pub fn with_hosts(mut self, hosts: Hosts) -> Self {
        self.hosts = hosts;
        self
    }

    /// Mirrors until `token` is canceled; serves pages and archives on `listener`, if there is
    /// one.
    ///
    /// # Errors
    /// When the listener fails for good.
    pub async fn run(self, listener: Option<TcpListener>, token: CancellationToken) -> Result<()> {
        let tasks = Supervisor::with_token("gitmirror", token.child_token());
        for repo in self.site.repos.values() {
            let (repo, ends) = (repo.clone(), tasks.token().clone());
            let (poll, safety) = (
                seconds(self.config.poll_seconds),
                seconds(self.config.safety_seconds),
            );
            let push = self.push;
            // A repository that fails for good is told on its page; the others go on.
            tasks
                .group(repo.spec.name.clone())
                .spawn("mirror", async move {
                    ends.run_until_cancelled(repo.follow(push, poll, safety))
                        .await;
                });
        }
        let served = match listener {
            Some(listener) => {
                let router = front::router(self.site.clone(), self.hosts.clone());
                crate::http::serve(listener, router, token.clone()).await
            }
            None => {
                token.cancelled().await;
                Ok(())
            }
        };
        if let Err(error) = tasks.drain(END).await {
            tracing::warn!(%error, "a repository did not end well");
        }
        served
    }
}

impl Repo {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, text: impl Into<String>) {
        self.state().health.note(SystemClock.now(), text);
    }

    /// Keeps the copy and the destinations up to date, for ever.
    async fn follow(&self, push: bool, poll: Duration, safety: Duration) {
        // What the source had when everything was last in order.
        let mut known: Option<Refs> = None;
        let mut whole = Instant::now();
        loop {
            let source = self.look(known.as_ref()).await;
            let is_same = matches!((&source, &known), (Ok(source), Some(known)) if source == known);
            let done = match source {
                Ok(_) if is_same && whole.elapsed() < safety => Ok(None),
                Ok(source) => self.round(push, source).await.map(Some),
                Err(error) => Err(error),
            };
            let pause = match done {
                Ok(new) => {
                    if let Some(source) = new {
                        known = Some(source);
                        whole = Instant::now();
                    }
                    let mut state = self.state();
                    state.health.good(SystemClock.now());
                    state.behind_since = None;
                    poll
                }
                Err(error) => {
                    known = None;
                    let name = &self.spec.name;
                    tracing::warn!(name, error = error.chain(), "a repository is not mirrored");
                    self.state().health.bad(SystemClock.now(), told(&error));
                    PAUSE.min(poll)
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.tickled.notified() => self.note("tickled"),
            }
        }
    }

    /// What the source has.
    async fn look(&self, known: Option<&Refs>) -> Result<Refs> {
        self.copy.prepare(SystemClock.now()).await?;
        let source = self.copy.source(&self.spec).await;
        let source = source.map_err(|e| e.while_doing("list the source"))?;
        if known != Some(&source) {
            let mut state = self.state();
            state.behind_since.get_or_insert(SystemClock.now());
        }
        Ok(source)
    }

    /// Fetches, and pushes to each destination; one that fails does not hold up the others.
    async fn round(&self, push: bool, source: Refs) -> Result<Refs> {
        self.note("fetching");
        attempt(|| self.copy.fetch(&self.spec, &source).boxed())
            .await
            .map_err(|e| e.while_doing("fetch"))?;
        let mut failed = None;
        for dest in self.spec.dests.iter().filter(|_| push) {
            self.note(format!("pushing to {}", dest.name));
            let pushed = attempt(|| self.copy.push(&self.spec, dest).boxed()).await;
            let mut state = self.state();
            let known = state.dests.entry(dest.name.clone()).or_default();
            match pushed {
                Ok(pushed) => {
                    known.last_good = Some(SystemClock.now());
                    known.error = None;
                    known.updated += pushed.updated;
                    known.deleted += pushed.deleted;
                }
                Err(error) => {
                    known.error = Some(told(&error));
                    let doing = format!("push to {}", dest.name);
                    failed.get_or_insert(error.while_doing(doing));
                }
            }
        }
        match failed {
            Some(error) => Err(error),
            None => {
                self.note("waiting");
                Ok(source)
            }
        }
    }

    /// How long a destination has lacked what the source has.
    fn lag(&self, now: Timestamp) -> Duration {
        self.state()
            .behind_since
            .map_or(Duration::ZERO, |since| now.since(since))
    }
}

/// Tries a few times; what was refused on purpose is not tried again.
async fn attempt<'a, T>(what: impl Fn() -> BoxFuture<'a, Result<T>> + Send) -> Result<T> {
    let mut last = None;
    for pause in ATTEMPTS {
        tokio::time::sleep(pause).await;
        match what().await {
            Ok(done) => return Ok(done),
            Err(error) if error.kind() == ErrorKind::Conflict => return Err(error),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| Error::new(ErrorKind::Bug, "nothing was tried")))
}

/// An error on one line.
fn told(error: &Error) -> String {
    error
        .chain()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

fn seconds(number: f64) -> Duration {
    Duration::try_from_secs_f64(number).unwrap_or_default()
}
