//! Results of benchmarks: stored, searched, compared, and shown over commits.
//!
//! Programs upload results in the format in which benchmarks print them, and search them with
//! terms over labels ([`build_core::benchfmt`]). Pages compare sets of results
//! ([`build_core::benchstat`]) and show each benchmark over commits, with the changes that are
//! not noise. The store is a folder of text files with an index.
//!
//! ```no_run
//! # async fn serve() -> build_core::Result<()> {
//! use build_server::perf::{PerfData, PerfStore};
//!
//! let store = PerfStore::open("/var/lib/perfdata")?;
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8083").await?;
//! let stop = tokio_util::sync::CancellationToken::new();
//! PerfData::new(store).run(listener, stop).await
//! # }
//! ```

mod api;
mod chart;
mod index;
mod pages;
mod series;
mod store;
mod summary;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use build_core::clock::{Clock, SystemClock};
use build_core::{Error, ErrorKind, Result};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use self::store::{NewFile, PerfStore, Stored, Upload};
use crate::http::page::files;
use crate::http::{Guard, Hosts, guarded};
use crate::supervise::Supervisor;

/// Bytes of one upload, when nothing else is said.
const MAX_UPLOAD: u64 = 64 << 20;
/// For uploads that are being written at the end.
const END: Duration = Duration::from_secs(5);

/// The server. See the module.
#[derive(Clone)]
pub struct PerfData {
    site: Site,
    hosts: Hosts,
}

/// What handlers are given.
#[derive(Clone)]
struct Site {
    store: PerfStore,
    clock: Arc<dyn Clock>,
    token: Option<Arc<str>>,
    max_upload: u64,
    tasks: Supervisor,
}

impl Site {
    /// Does where it may wait what reads files.
    async fn read<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Self) -> Result<T> + Send + 'static,
    {
        let site = self.clone();
        let done = self.tasks.group("read");
        let done = done.spawn_blocking("read", move || work(&site));
        done.await
            .map_err(|e| Error::caused_by(ErrorKind::Bug, "read uploads", e))?
    }
}

impl PerfData {
    /// A server of `store`, to which everybody who reaches it may upload.
    pub fn new(store: PerfStore) -> Self {
        Self {
            site: Site {
                store,
                clock: Arc::new(SystemClock),
                token: None,
                max_upload: MAX_UPLOAD,
                tasks: Supervisor::new("perfdata"),
            },
            hosts: Hosts::default(),
        }
    }

    /// Takes uploads only from those who show `token`.
    #[must_use]
    pub fn with_token(mut self, token: &str) -> Self {
        self.site.token = Some(token.trim().into());
        self
    }

    /// Takes uploads of at most `bytes`. Default: 64 MiB.
    #[must_use]
    pub fn with_max_upload(mut self, bytes: u64) -> Self {
        self.site.max_upload = bytes;
        self
    }

    /// Where the time comes from.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock + 'static) -> Self {
        self.site.clock = Arc::new(clock);
        self
    }

    /// The names it answers to. Default: loopback.
    #[must_use]
    pub fn with_hosts(mut self, hosts: Hosts) -> Self {
        self.hosts = hosts;
        self
    }

    /// Its pages and JSON.
    pub fn router(self) -> Router {
        let routes = Router::new()
            .route("/", get(pages::home))
            .route("/upload", post(api::upload))
            .route("/search", get(api::search))
            .route("/uploads", get(api::uploads))
            .route("/results", get(pages::results))
            .route("/compare", get(pages::compare))
            .route("/dashboard/", get(pages::dashboard))
            .route("/dashboard/benchmarks.json", get(pages::benchmarks_json))
            .route("/dashboard/data.json", get(pages::data_json))
            .route("/dashboard/formfields.json", get(pages::form_fields_json))
            .route("/healthz", get(async || "ok\n"))
            .merge(files());
        let most = usize::try_from(self.site.max_upload).unwrap_or(usize::MAX);
        let guard = Guard::new(self.hosts).with_max_body(most);
        guarded(routes, guard).with_state(self.site)
    }

    /// Serves until `token` is canceled, and finishes uploads that are being written.
    ///
    /// # Errors
    /// When the listener fails for good.
    pub async fn run(self, listener: TcpListener, token: CancellationToken) -> Result<()> {
        let tasks = self.site.tasks.clone();
        let served = crate::http::serve(listener, self.router(), token).await;
        if let Err(error) = tasks.drain(END).await {
            tracing::warn!(%error, "an upload did not end well");
        }
        served
    }
}
