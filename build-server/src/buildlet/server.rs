//! A buildlet from its start to its end.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use build_core::buildlet::{EnvStyle, Environment};
use build_core::env_list::{self, NameCase};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::agent::Agents;
use super::config::Config;
use super::connection;
use super::detached::Detached;
use super::exec::END_GRACE;
use super::lease::Lease;
use super::listen::Listener;
use super::processes::{Grace, MARK, Processes};
use super::resting::Resting;
use super::state::{Description, StateDir, StateError, own_start_ticks};
use super::trees::Trees;
use crate::supervise::Supervisor;

/// Connections that are served at a time. When another one comes, the one that has rested longest makes
/// room; where all have a request under way, it waits.
const MOST_CONNECTIONS: usize = 512;
/// Time for everything to end: SIGTERM, three seconds, SIGKILL, and the last answers.
const DRAIN: Duration = Duration::from_millis(5_500);

/// A buildlet: takes files, runs commands, gives files back.
///
/// ```
/// use build_server::buildlet::{Address, BuildletServer, Config, Ended, Listener};
/// use tokio_util::sync::CancellationToken;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let dir = tempfile::tempdir()?;
/// let socket: Address = format!("unix:{}/s", dir.path().display()).parse()?;
/// let server = BuildletServer::open(Config::new(dir.path(), dir.path().join("state")))?;
/// let stop = CancellationToken::new();
/// stop.cancel();
/// let ended = server.run(vec![Listener::bind(&socket).await?], stop).await?;
/// assert_eq!(ended, Ended::Stopped);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct BuildletServer {
    app: Arc<App>,
    state: StateDir,
    /// An earlier process of this buildlet did not end by itself.
    crashed_before: bool,
}

/// What all handlers share.
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) work_dir: PathBuf,
    pub(crate) environment: Environment,
    /// Where programs of the system are looked up.
    pub(crate) search_path: Vec<PathBuf>,
    pub(crate) supervisor: Supervisor,
    pub(crate) processes: Processes,
    pub(crate) detached: Detached,
    pub(crate) lease: Option<Lease>,
    pub(crate) agents: Agents,
    pub(crate) trees: Trees,
    pub(crate) resting: Resting,
    /// Canceled when `/halt` was asked for: no request is accepted any more.
    pub(crate) halting: CancellationToken,
    /// Canceled when it is time to act on it.
    pub(crate) halted: CancellationToken,
    /// Whether commands of this process may be reached by programs that show no password.
    pub(crate) open_to_tcp: AtomicBool,
    commands: AtomicU64,
}

impl App {
    /// Makes the work directory when somebody has removed it.
    pub(crate) fn ensure_work_dir(&self) -> io::Result<()> {
        fs::create_dir_all(&self.work_dir)
    }

    /// Makes the directories that every command may count on.
    pub(crate) fn ensure_command_dirs(&self) -> io::Result<()> {
        let mut dirs = ["tmp", "gocache"]
            .map(|name| self.work_dir.join(name))
            .into_iter();
        dirs.try_for_each(|dir| match dir.is_dir() {
            true => Ok(()),
            false => fs::create_dir_all(dir),
        })
    }

    /// Ends what ended commands have left behind; at once when there is nothing.
    pub(crate) async fn end_strays(&self) {
        if self.processes.may_have_strays() {
            self.processes.end_strays(Grace::Wait(END_GRACE)).await;
        }
    }

    /// Names a command that the client has not named.
    pub(crate) fn next_exec_id(&self) -> String {
        format!("x{}", self.commands.fetch_add(1, Ordering::Relaxed))
    }
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// Why a buildlet ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// It was told to stop.
    Stopped,
    /// Somebody asked by `/halt`: the machine may be turned off.
    Halted,
    /// Nobody has renewed its lease.
    LeaseExpired,
}

/// Why a buildlet could not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The work directory is not there.
    #[error("cannot use work directory {}", path.display())]
    WorkDir {
        /// The directory.
        path: PathBuf,
        /// The refusal of the system.
        #[source]
        source: io::Error,
    },
    /// The state directory cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The spool of detached commands cannot be used.
    #[error("cannot use the spool of detached commands")]
    Spool(#[source] io::Error),
    /// The process cannot become child subreaper.
    #[error("cannot adopt orphaned processes")]
    Adopt(#[source] io::Error),
    /// The description of the running buildlet cannot be written.
    #[error("cannot describe the running buildlet")]
    Describe(#[source] io::Error),
    /// Tasks panicked or did not end.
    #[error("buildlet did not end well")]
    Drain(#[from] crate::supervise::DrainError),
}

/// Tells whether somebody has taken the lease of a buildlet.
#[derive(Clone, Debug)]
pub struct Held(Option<Lease>);

impl Held {
    /// Whether somebody has it.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.0.as_ref().is_some_and(Lease::is_taken)
    }
}

impl BuildletServer {
    /// Tells whether somebody has taken the lease, also while it runs.
    #[must_use]
    pub fn held(&self) -> Held {
        Held(self.app.lease.clone())
    }

    /// Takes hold of the directories; nothing is listened on yet.
    ///
    /// Detached commands that an earlier process of this buildlet had not ended are lost from
    /// now on.
    ///
    /// # Errors
    /// A directory cannot be used, or belongs to another buildlet.
    pub fn open(config: Config) -> Result<Self, Error> {
        let no_work_dir = |source| Error::WorkDir {
            path: config.work_dir.clone(),
            source,
        };
        let work_dir = config.work_dir.canonicalize().map_err(no_work_dir)?;
        if !work_dir.is_dir() {
            return Err(no_work_dir(io::ErrorKind::NotADirectory.into()));
        }
        let state = StateDir::lock(&config.state_dir)?;
        let crashed_before = config.state_dir.join(StateDir::DESCRIPTION).exists();
        let supervisor = Supervisor::new("buildlet");
        let variable = |name| env_list::get(&config.env, name, NameCase::Distinct);
        let outer_mark = variable(MARK).map(str::to_owned);
        let search_path = std::env::split_paths(variable("PATH").unwrap_or_default()).collect();
        let work_dir_text = work_dir.display().to_string();
        let environment = Environment::new(EnvStyle::HERE, &work_dir_text, config.env.clone())
            .go_cache(config.go_cache.clone());
        let instance = state.instance();
        let fenced = config.sandbox.clone();
        let fenced = fenced.map(|launcher| (launcher, config.state_dir.clone()));
        let processes = Processes::new(
            supervisor.clone(),
            instance,
            outer_mark,
            config.adopt_orphans,
            fenced,
        )
        .map_err(Error::Adopt)?;
        let detached = Detached::open(supervisor.clone(), processes.clone(), state.spool_dir())
            .map_err(Error::Spool)?;
        let lease = config.lease.clone().map(Lease::new);
        let trees = Trees::new(config.keep_dir.clone(), config.keep_bytes);
        let (halting, halted) = (CancellationToken::new(), CancellationToken::new());
        let app = App {
            config,
            work_dir,
            environment,
            search_path,
            supervisor,
            processes,
            detached,
            lease,
            agents: Agents::default(),
            trees,
            resting: Resting::default(),
            halting,
            halted,
            open_to_tcp: AtomicBool::new(false),
            commands: AtomicU64::new(0),
        };
        Ok(Self {
            app: Arc::new(app),
            state,
            crashed_before,
        })
    }

    /// Serves until `stop` is canceled, `/halt` is called, or the lease expires; then ends every
    /// command with all its processes.
    ///
    /// Not cancel safe: a dropped future leaves commands running until the process ends.
    ///
    /// # Errors
    /// The description cannot be written; or something went wrong on the way, which is told
    /// after the end.
    pub async fn run(
        self,
        listeners: Vec<Listener>,
        stop: CancellationToken,
    ) -> Result<Ended, Error> {
        let app = &self.app;
        if self.crashed_before {
            app.processes.end_earlier(Grace::None).await;
        }
        self.state
            .describe(&self.description(&listeners))
            .map_err(Error::Describe)?;
        let open = app.config.password.is_none() && listeners.iter().any(Listener::is_tcp);
        app.open_to_tcp.store(open, Ordering::Relaxed);
        let permits = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        for listener in listeners {
            let accepting = accept(app.clone(), listener, permits.clone());
            app.supervisor.spawn("accept", accepting);
        }
        let ended = tokio::select! {
            () = stop.cancelled() => Ended::Stopped,
            () = app.halted.cancelled() => Ended::Halted,
            () = lease_expired(app.lease.as_ref()) => Ended::LeaseExpired,
            // A task that panicked has canceled its group.
            () = app.supervisor.token().cancelled() => Ended::Stopped,
        };
        tracing::info!(?ended, "buildlet ends");
        let drained = app.supervisor.drain(DRAIN).await;
        app.processes.end_strays(Grace::None).await;
        self.state.forget();
        match drained {
            // A client that neither sends nor takes is no reason to complain at the end.
            Err(error) if error.panics().is_empty() => tracing::warn!(%error, "tasks were cut off"),
            drained => drained?,
        }
        Ok(ended)
    }

    fn description(&self, listeners: &[Listener]) -> Description {
        Description {
            pid: std::process::id(),
            started_ticks: own_start_ticks(),
            listens: listeners.iter().map(Listener::address).collect(),
            work_dir: self.app.work_dir.clone(),
            nonce_sha256: self
                .app
                .config
                .lease
                .as_ref()
                .and_then(|lease| lease.nonce.as_ref())
                .map(super::config::Secret::sha256),
        }
    }
}

async fn lease_expired(lease: Option<&Lease>) {
    match lease {
        Some(lease) => lease.expired().await,
        None => std::future::pending().await,
    }
}

/// Accepts until the end. Each connection is a group of its own: what goes wrong in one does
/// not end the others.
async fn accept(app: Arc<App>, listener: Listener, permits: Arc<Semaphore>) {
    let stop = app.supervisor.token().clone();
    loop {
        let next = async {
            let accepted = listener.accept().await;
            if permits.available_permits() == 0 {
                app.resting.end_longest();
            }
            (permits.clone().acquire_owned().await, accepted)
        };
        let (permit, accepted) = tokio::select! {
            next = next => next,
            () = stop.cancelled() => return,
        };
        let serving = connection::serve(app.clone(), accepted);
        app.supervisor
            .group("connection")
            .spawn("serve", async move {
                serving.await;
                drop(permit);
            });
    }
}
