//! `maintserve`: serves a corpus to people and programs on this machine.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use axum::Router;
use axum::serve::ListenerExt as _;
use clap::Parser;
use farmer_cli::{Exit, Failure};
use maintner_core::godata::{self, GO_SERVER};
use maintner_core::maintapi::{Api, GerritSearch, Policy};
use maintner_core::net::Ready;
use maintner_core::serve::{LogServer, Options, Pages};
use maintner_core::source::DiskSource;
use maintner_core::{Corpus, Error};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::maintq::failure;

const EXAMPLES: &str = "Examples:
  maintserve                                  the Go project's corpus on http://localhost:8080/
  maintserve -http=:9000 ~/var/maintnerd      a log folder, for the whole network
  maintserve http://localhost:6343/logs       what another server has: a mirror of it

It answers
  /                          repositories and projects, to be read by people
  /OWNER/REPO[/N]            issues; /HOST/PROJECT[/N] changes
  /logs                      the log, for followers: maintwatch -server=http://localhost:8080/logs
  apipb.MaintnerService      gRPC: maintq -server=http://localhost:8080 list-releases

Exit codes: 0 ended by a signal; 2 bad usage; 3 the machine failed.";

/// Serves a corpus: pages, its log, gRPC
#[derive(Parser)]
#[command(name = "maintserve", version, after_help = EXAMPLES)]
struct Args {
    /// Address to listen on; :PORT means all addresses of this machine
    #[arg(long, value_name = "HOST:PORT", default_value = "localhost:8080")]
    http: String,
    /// Log folder, or the address of a log server
    #[arg(value_name = "LOG", default_value = GO_SERVER)]
    log: PathBuf,
    /// Folder for the log of a server
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// The review server that is asked for try work
    #[arg(
        long,
        value_name = "URL",
        default_value = "https://go-review.googlesource.com"
    )]
    review: String,
}

/// The entry point: the arguments without the program's name.
pub fn main(args: Vec<OsString>) -> ExitCode {
    farmer_cli::serving(args, Args::run)
}

impl Args {
    async fn run(self, stop: CancellationToken) -> Result<(), Failure> {
        let address = match self.http.strip_prefix(':') {
            Some(port) => format!("[::]:{port}"),
            None => self.http.clone(),
        };
        // First the address: loading for a minute only to learn that it is taken is no good.
        let listener = TcpListener::bind(&address).await.map_err(|error| {
            let error =
                anyhow::Error::new(error).context(format!("cannot listen on {}", self.http));
            Failure::because(
                Exit::Infrastructure,
                error.as_ref(),
                Some("choose another one with -http"),
            )
        })?;
        let (corpus, logs) = tokio::select! {
            opened = self.open() => opened.map_err(|error| failure(&error))?,
            () = stop.cancelled() => return Err(Failure::interrupted()),
        };
        let search = GerritSearch::new(&self.review)
            .map_err(|error| Failure::from(anyhow::anyhow!("{error}")))?;
        let api = Api::with_search(corpus.clone(), Policy::default(), search);
        let routes = Router::new()
            .merge(logs.router())
            .merge(api.router())
            .merge(Pages::new(corpus.clone()).router());
        eprintln!("maintserve: http://{}/", listener.local_addr()?);
        // While it is there, the corpus is kept up to date.
        let _following = corpus.follow();
        // News are small and must not wait for each other.
        let listener = listener.tap_io(|tcp| {
            let _slower = tcp.set_nodelay(true);
        });
        let serve =
            axum::serve(listener, routes).with_graceful_shutdown(stop.clone().cancelled_owned());
        let (served, ()) = tokio::join!(serve, logs.run(stop));
        Ok(served?)
    }

    /// The corpus, and the server of its log.
    async fn open(&self) -> Result<(Corpus, LogServer), Error> {
        let text = self.log.to_string_lossy();
        if text.starts_with("http://") || text.starts_with("https://") {
            let mut options = godata::Options::default().server(&*text);
            if let Some(cache) = &self.cache {
                options = options.cache_dir(cache);
            }
            eprintln!("maintserve: following {text}");
            let (corpus, source, ready) = godata::open_with_status(options).await?;
            if let Ready::Offline { warning } = ready {
                eprintln!("maintserve: {text} cannot be reached ({warning}); showing what is kept");
            }
            let logs = blocking(move || LogServer::new(source, Options::default())).await?;
            return Ok((corpus, logs));
        }
        let folder = self.log.clone();
        blocking(move || {
            let corpus = Corpus::open(&folder)?;
            let logs = LogServer::new(DiskSource::new(&folder), Options::default())?;
            Ok((corpus, logs))
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| {
            Err(Error::Io {
                action: "load",
                path: Path::new("corpus").to_owned(),
                source: std::io::Error::other(error.to_string()),
            })
        })
}
