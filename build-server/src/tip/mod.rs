//! Serves a site from the newest good commit of its sources.
//!
//! [`Tip`] looks at the sources, builds a new side beside the live one, starts it, waits until
//! its probe is good, and then sends requests to it. The side before goes on for a while: when
//! the new one dies or turns bad in that time, the old one is switched back to. A request
//! belongs to one side from its first byte to its last; a side ends when it has answered what
//! it was asked. A commit that fails is tried again with growing pauses, and never replaces a
//! good one. A live side whose process dies is started again.
//!
//! ```no_run
//! # async fn serve() -> build_core::Result<()> {
//! use build_server::tip::{Config, Tip};
//!
//! let config = Config::parse(&std::fs::read_to_string("tip.toml")?, "tip.toml")?;
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//! let tip = Tip::new(config, "/var/lib/tip")?;
//! tip.run(listener, tokio_util::sync::CancellationToken::new()).await
//! # }
//! ```

mod build;
mod config;
mod front;
mod side;
mod source;

use std::collections::VecDeque;
use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use build_core::clock::{Clock, SystemClock, Timestamp};
use build_core::{Error, ErrorKind, Result};
use serde::Serialize;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;

use self::config::seconds;
pub use self::config::{Config, Probe, Serve, Source, Step};
use self::side::Side;
use self::source::{Head, signature};
use crate::file_lock::FileLock;
use crate::http::{Doors, Hosts};
use crate::supervise::Supervisor;

/// Attempts that the page shows.
const REMEMBERED: usize = 50;
/// Longest pause before a commit that failed is built again.
const MAX_RETRY: Duration = Duration::from_secs(3600);
/// Bad looks in a row by which a new side is given up.
const BAD_LOOKS: u32 = 3;
/// Between two looks while a new side settles.
const SETTLE_LOOK: Duration = Duration::from_millis(500);
/// Longest pause before a live side whose process died is started again.
const MAX_RESTART: Duration = Duration::from_secs(30);
/// For sides and connections at the end.
const END: Duration = Duration::from_secs(8);

/// How an attempt to serve new commits ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Attempt {
    /// The commits, in short.
    pub signature: String,
    /// When it began.
    pub began: Timestamp,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Why it failed; `None` when its side went live.
    pub error: Option<String>,
    /// The end of its log, when it failed.
    pub log: String,
}

/// What there is to know.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Which of the two sides is live: `a`, `b`, or nothing.
    pub side: String,
    /// The commits of the live side, in short.
    pub current: String,
    /// The newest commits that were seen.
    pub newest: String,
    /// What went wrong last; `None` when nothing has since the last switch.
    pub error: Option<String>,
    /// Seconds since this program began.
    pub uptime_seconds: u64,
    /// Switches since then.
    pub switches: u64,
    /// The last attempts, the newest first.
    pub attempts: VecDeque<Attempt>,
}

/// The server. See the module.
pub struct Tip {
    config: Config,
    data: PathBuf,
    hosts: Hosts,
    shared: Arc<Shared>,
    // Held until the end: no second server builds in the same place.
    _lock: FileLock,
}

/// What handlers and the builder have in common.
struct Shared {
    live: RwLock<Option<Arc<Side>>>,
    /// Told at each switch.
    switched: Notify,
    known: Mutex<Known>,
    began: Instant,
}

#[derive(Default)]
struct Known {
    newest: String,
    error: Option<String>,
    switches: u64,
    attempts: VecDeque<Attempt>,
}

/// Commits that failed, and when they are tried again.
struct Failed {
    signature: String,
    times: u32,
    again: Instant,
}

impl Tip {
    /// A server of what `config` says, with its sides in the directory `data`.
    ///
    /// # Errors
    /// When the directory cannot be made, or another server uses it.
    pub fn new(config: Config, data: impl Into<PathBuf>) -> Result<Self> {
        let data = data.into();
        let open = || -> std::io::Result<File> {
            fs::create_dir_all(data.join("sides"))?;
            File::create(data.join("lock"))
        };
        let lock = open().map_err(|e| Error::from(e).while_doing(data.display().to_string()))?;
        let lock = FileLock::take(lock, Duration::ZERO)?.ok_or_else(|| {
            let text = format!("{} is used by another server", data.display());
            Error::new(ErrorKind::Conflict, text)
                .with_hint("end the other one, or give another directory with -data DIR")
        })?;
        // Commands run in directories of their own, so theirs are named from the root.
        let data = fs::canonicalize(&data)?;
        Ok(Self {
            config,
            data,
            hosts: Hosts::default(),
            shared: Arc::new(Shared {
                live: RwLock::default(),
                switched: Notify::new(),
                known: Mutex::default(),
                began: Instant::now(),
            }),
            _lock: lock,
        })
    }

    /// The names that the pages about this server answer to. Default: loopback.
    #[must_use]
    pub fn with_hosts(mut self, hosts: Hosts) -> Self {
        self.hosts = hosts;
        self
    }

    /// Serves until `token` is canceled, then ends all sides.
    ///
    /// # Errors
    /// When the listener fails for good.
    pub async fn run(self, doors: impl Into<Doors>, token: CancellationToken) -> Result<()> {
        // The sides outlive the front: running answers end before their servers do.
        let tasks = Supervisor::new("tip");
        let router = front::router(self.shared.clone(), &self.config, self.hosts.clone());
        let serve = crate::http::serve(doors, router, token.clone());
        let work = async {
            self.restore(&tasks).await;
            tokio::join!(self.follow(&tasks), self.keep_alive(&tasks));
        };
        let served = tokio::select! {
            served = serve => served,
            () = work => Ok(()),
        };
        self.shared.replace(None);
        if let Err(error) = tasks.drain(END).await {
            tracing::warn!(%error, "a side did not end well");
        }
        served
    }

    /// Starts the side that was live last, so that a restart serves at once.
    async fn restore(&self, tasks: &Supervisor) {
        let last = build::last_live(&self.data);
        let keep: Vec<u64> = last.iter().map(|(number, _)| *number).collect();
        build::sweep(&self.data, self.config.keep, &keep);
        let Some((number, signature)) = last else {
            return;
        };
        match self.start(tasks, number, &signature).await {
            Ok(side) => {
                self.shared.replace(Some(Arc::new(side)));
            }
            Err(error) => self.shared.fail(&error),
        }
    }

    async fn start(&self, tasks: &Supervisor, number: u64, signature: &str) -> Result<Side> {
        let dir = build::side_dir(&self.data, number);
        let side = Side::start(&self.config, tasks, number, signature, &dir)?;
        side.become_good(&self.config.probe).await?;
        Ok(side)
    }

    /// Looks at the sources for ever, and builds what is new.
    async fn follow(&self, tasks: &Supervisor) {
        let mut number = build::last_number(&self.data);
        let mut failed: Option<Failed> = None;
        loop {
            match source::heads(&self.config.sources, &self.data).await {
                Ok(heads) => self.go_to(tasks, &heads, &mut number, &mut failed).await,
                Err(error) => self.shared.fail(&error),
            }
            tokio::time::sleep(seconds(self.config.every_seconds)).await;
        }
    }

    /// Makes `heads` live unless they are, or failed a short while ago.
    async fn go_to(
        &self,
        tasks: &Supervisor,
        heads: &[Head],
        number: &mut u64,
        failed: &mut Option<Failed>,
    ) {
        let wanted = signature(heads);
        self.shared.known().newest.clone_from(&wanted);
        let live = self.shared.live().map(|side| side.signature.clone());
        if live.as_ref() == Some(&wanted) {
            // A head that was taken back leaves nothing to complain of.
            *failed = None;
            return;
        }
        let before = failed.take().filter(|f| f.signature == wanted);
        if let Some(before) = before.as_ref().filter(|f| Instant::now() < f.again) {
            *failed = Some(Failed {
                signature: wanted,
                times: before.times,
                again: before.again,
            });
            return;
        }
        *number += 1;
        let (began, clock) = (Instant::now(), SystemClock.now());
        let made = self.make_live(tasks, heads, *number).await;
        let mut attempt = Attempt {
            signature: wanted.clone(),
            began: clock,
            seconds: began.elapsed().as_secs_f64(),
            error: None,
            log: String::new(),
        };
        if let Err(error) = made {
            tracing::warn!(
                error = error.chain(),
                signature = wanted,
                "new commits fail"
            );
            let dir = build::side_dir(&self.data, *number);
            attempt.error = Some(error.chain());
            attempt.log = build::log_tail(&dir, "build.log");
            let site = build::log_tail(&dir, "site.log");
            if !site.is_empty() {
                attempt.log.push_str("\n# the site\n");
                attempt.log.push_str(&site);
            }
            self.shared.fail(&error);
            let times = before.map_or(0, |f| f.times) + 1;
            let pause = seconds(self.config.retry_seconds) * 2u32.pow(times.min(12) - 1);
            *failed = Some(Failed {
                signature: wanted,
                times,
                again: Instant::now() + pause.min(MAX_RETRY),
            });
        }
        self.shared.remember(attempt);
        let used: Vec<u64> = self.shared.live().iter().map(|side| side.number).collect();
        build::sweep(&self.data, self.config.keep, &used);
    }

    /// Builds a side, starts it, switches to it, and back when it turns bad.
    async fn make_live(&self, tasks: &Supervisor, heads: &[Head], number: u64) -> Result<()> {
        let dir = build::side_dir(&self.data, number);
        build::build(&self.config, &self.data, heads, &dir).await?;
        let signature = signature(heads);
        let side = Arc::new(self.start(tasks, number, &signature).await?);
        let old = self.shared.replace(Some(side.clone()));
        self.shared.known().switches += 1;
        // Without a side to switch back to there is nothing to wait for.
        if let Some(before) = &old
            && let Err(error) = self.settle(&side).await
        {
            let back = before.has_ended().is_none();
            let what = match back {
                true => format!("switched back to {}", before.signature),
                false => "the side before has ended too".to_owned(),
            };
            self.shared.replace(back.then(|| before.clone()));
            self.retire(tasks, side);
            return Err(error.while_doing(what));
        }
        build::mark_live(&self.data, number, &signature)?;
        self.shared.known().error = None;
        tracing::info!(signature, number, "switched");
        if let Some(old) = old {
            self.retire(tasks, old);
        }
        Ok(())
    }

    /// Looks at a side that just went live, for as long as the old one goes on.
    async fn settle(&self, side: &Side) -> Result<()> {
        let until = Instant::now() + seconds(self.config.settle_seconds);
        let mut bad = 0;
        while Instant::now() < until {
            let pause = SETTLE_LOOK.min(until - Instant::now());
            tokio::select! {
                () = side.ended() => {
                    let how = side.has_ended().unwrap_or_default();
                    return Err(Error::new(ErrorKind::Unavailable, how));
                }
                () = tokio::time::sleep(pause) => {}
            }
            match side.look(&self.config.probe).await {
                Ok(()) => bad = 0,
                Err(error) => {
                    bad += 1;
                    if bad == BAD_LOOKS {
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }

    fn retire(&self, tasks: &Supervisor, side: Arc<Side>) {
        tasks
            .group("retired")
            .spawn("retire", async move { side.retire().await });
    }

    /// Starts the live side again whenever its process dies.
    async fn keep_alive(&self, tasks: &Supervisor) {
        let mut pause = Duration::from_millis(100);
        loop {
            let switched = self.shared.switched.notified();
            let Some(side) = self.shared.live() else {
                switched.await;
                continue;
            };
            tokio::select! {
                () = switched => {
                    pause = Duration::from_millis(100);
                    continue;
                }
                () = side.ended() => {}
            }
            // A new side that dies while it settles is switched back from, not started again:
            // only sides that are marked on disk are.
            let marked = build::last_live(&self.data).is_some_and(|(n, _)| n == side.number);
            if marked {
                let how = side.has_ended().unwrap_or_default().to_owned();
                self.shared.fail(&Error::new(ErrorKind::Unavailable, how));
                match self.start(tasks, side.number, &side.signature).await {
                    Ok(new) => {
                        // Another side may be live by now; then this one ends again.
                        self.shared.replace_if(&side, Arc::new(new));
                        continue;
                    }
                    Err(error) => self.shared.fail(&error),
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_RESTART);
        }
    }
}

impl Shared {
    /// The live side.
    fn live(&self) -> Option<Arc<Side>> {
        self.live
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The live side, with a token that keeps it from ending before the token is dropped.
    fn enter(&self) -> Option<(Arc<Side>, TaskTrackerToken)> {
        // Both under one lock: a side that is replaced has all its tokens.
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        live.as_ref()
            .map(|side| (side.clone(), side.requests.token()))
    }

    /// Makes `side` the live one; answers the one before.
    fn replace(&self, side: Option<Arc<Side>>) -> Option<Arc<Side>> {
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *live, side);
        self.switched.notify_waiters();
        old
    }

    /// Makes `new` the live one if `old` still is.
    fn replace_if(&self, old: &Arc<Side>, new: Arc<Side>) {
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        if live.as_ref().is_some_and(|side| Arc::ptr_eq(side, old)) {
            *live = Some(new);
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, error: &Error) {
        self.known().error = Some(error.chain());
    }

    fn remember(&self, attempt: Attempt) {
        let mut known = self.known();
        known.attempts.push_front(attempt);
        known.attempts.truncate(REMEMBERED);
    }

    fn status(&self) -> Status {
        let live = self.live();
        let known = self.known();
        Status {
            side: live.as_ref().map_or("", |side| side.letter()).to_owned(),
            current: live.map_or_else(String::new, |side| side.signature.clone()),
            newest: known.newest.clone(),
            error: known.error.clone(),
            uptime_seconds: self.began.elapsed().as_secs(),
            switches: known.switches,
            attempts: known.attempts.clone(),
        }
    }
}
