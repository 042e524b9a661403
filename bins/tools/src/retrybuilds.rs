//! `retrybuilds`: clears failures, so that they are built again.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use build_client::build_dashboard::{Dashboard, Failure as Failed};
use build_client::{Error, ErrorKind};
use build_core::flaky_log::{Phrases, is_flaky};
use build_core::key::MasterKey;
use build_server::grpc::ClearClient;
use clap::Parser;
use farmer_cli::{Exit, Failure};
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::told::failure;

const EXAMPLES: &str = "Examples:
  retrybuilds -loghash=f572d396                  the failure with this log
  retrybuilds -builder=linux-amd64 -hash=2695716 one cell
  retrybuilds -builder=linux-amd64               all failures of a builder
  retrybuilds -substr='no space left on device'  all whose log has these words
  retrybuilds -redo-flaky -dry-run               which failures look like the machine's fault

Exit codes: 0 all were cleared, 1 nothing was asked for or refused, 2 bad usage, 3 some could not
be cleared.";

/// Wait between tries when somebody else writes to the same place.
const WAIT: Duration = Duration::from_secs(1);

/// Clear failures, so that they are built again
#[derive(Parser)]
#[command(name = "retrybuilds", version, after_help = EXAMPLES)]
struct Args {
    /// File with the master key; when it can be read, keys are made from it [default:
    /// ~/keys/gobuilder-master.key]
    #[arg(long, value_name = "FILE")]
    masterkey: Option<PathBuf>,
    /// File with the key of the builder
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Send the master key itself, which also clears for builders whose keys are revoked
    #[arg(long)]
    sendmaster: bool,
    /// Only failures of this builder
    #[arg(long, default_value = "", hide_default_value = true)]
    builder: String,
    /// Only the failure of this commit; a beginning of its hash is enough
    #[arg(long, default_value = "", hide_default_value = true)]
    hash: String,
    /// The failures whose log has a hash with this beginning
    #[arg(long, default_value = "", hide_default_value = true)]
    loghash: String,
    /// The failures whose log has these words
    #[arg(long, default_value = "", hide_default_value = true)]
    substr: String,
    /// The failures that look like the machine's fault
    #[arg(long)]
    redo_flaky: bool,
    /// File with the phrases of -redo-flaky, one a line; ^ before one asks for it at the beginning
    #[arg(long, value_name = "FILE")]
    phrases: Option<PathBuf>,
    /// Branch of the failures
    #[arg(long, default_value = "master")]
    branch: String,
    /// Address of the dashboard
    #[arg(long, value_name = "URL", default_value = "https://build.golang.org")]
    builder_prefix: String,
    /// Clear by gRPC at this coordinator, HOST:PORT; the certificate of localhost is not checked
    #[arg(
        long,
        value_name = "HOST",
        default_value = "",
        hide_default_value = true
    )]
    grpc_host: String,
    /// Say what would be cleared, and clear nothing
    #[arg(long)]
    dry_run: bool,
    /// Logs to read at the same time
    #[arg(long, value_name = "N", default_value_t = 50)]
    max_concurrent: usize,
    /// One JSON object for each failure on standard output
    #[arg(long)]
    json: bool,
}

/// The entry point: the arguments without the program's name.
pub fn main(args: Vec<OsString>) -> ExitCode {
    farmer_cli::serving(args, Args::run)
}

impl Args {
    async fn run(self, stop: CancellationToken) -> Result<(), Failure> {
        tokio::select! {
            done = self.retry() => done,
            () = stop.cancelled() => Err(Failure::interrupted()),
        }
    }

    async fn retry(&self) -> Result<(), Failure> {
        let dashboard = Dashboard::new(&self.builder_prefix).map_err(|e| failure(&e))?;
        let chosen = self.choose(&dashboard).await?;
        let coordinator = match self.grpc_host.as_str() {
            host if !host.is_empty() && !self.dry_run && !chosen.is_empty() => {
                Some(ClearClient::connect(host).await.map_err(|e| failure(&e))?)
            }
            _ => None,
        };
        let mut left = 0;
        for (failed, why) in &chosen {
            let outcome = if self.dry_run {
                "would be cleared".to_owned()
            } else {
                let key = self.key_of(&failed.builder)?;
                let (builder, hash) = (&failed.builder, &failed.hash);
                let cleared = match &coordinator {
                    Some(coordinator) => coordinator.clear(builder, hash, &key).await,
                    None => dashboard.clear(builder, hash, &key, WAIT).await,
                };
                match cleared {
                    Ok(()) => "cleared".to_owned(),
                    Err(error) => {
                        left += 1;
                        error.chain()
                    }
                }
            };
            if self.json {
                println!(
                    "{}",
                    json!({ "builder": failed.builder, "hash": failed.hash, "log": failed.log, "why": why, "outcome": outcome })
                );
            } else {
                eprintln!("{} {} ({why}): {outcome}", failed.hash, failed.builder);
            }
        }
        if left == 0 {
            return Ok(());
        }
        eprintln!("{left} of {} failures could not be cleared", chosen.len());
        Err(Failure::silent(Exit::Infrastructure))
    }

    /// The failures to clear, each with why.
    async fn choose(&self, dashboard: &Dashboard) -> Result<Vec<(Failed, String)>, Failure> {
        let full_hash = self.hash.len() == 40 && !self.builder.is_empty();
        let by_log = !self.loghash.is_empty();
        let by_text = !self.substr.is_empty() || self.redo_flaky;
        if !(by_log || by_text) && self.builder.is_empty() {
            return Err(refused(
                "Missing -builder, -redo-flaky, -substr, or -loghash flag.",
            ));
        }
        if full_hash && !by_log && !by_text {
            let cell = Failed {
                hash: self.hash.clone(),
                builder: self.builder.clone(),
                log: String::new(),
            };
            return Ok(vec![(cell, "asked for".to_owned())]);
        }
        let failures = dashboard
            .failures(&self.branch)
            .await
            .map_err(|e| failure(&e))?;
        if by_log {
            let part = format!("/log/{}", self.loghash);
            return Ok(failures
                .into_iter()
                .filter(|f| f.log.contains(&part))
                .map(|f| (f, "log hash".to_owned()))
                .collect());
        }
        if by_text {
            return self.by_text(dashboard, failures).await;
        }
        let own = failures.iter().filter(|f| f.builder == self.builder);
        if self.hash.is_empty() {
            return Ok(own.cloned().map(|f| (f, "builder".to_owned())).collect());
        }
        // The commit may be known by another builder's failure.
        let hash = failures
            .iter()
            .find(|f| f.hash.starts_with(&self.hash))
            .map(|f| f.hash.clone())
            .ok_or_else(|| {
                refused(&format!(
                    "invalid hash {:?}; failed to finds its full hash. Not a recent failure?",
                    self.hash
                ))
            })?;
        let cell = Failed {
            hash,
            builder: self.builder.clone(),
            log: String::new(),
        };
        Ok(vec![(cell, "asked for".to_owned())])
    }

    async fn by_text(
        &self,
        dashboard: &Dashboard,
        failures: Vec<Failed>,
    ) -> Result<Vec<(Failed, String)>, Failure> {
        let phrases = match &self.phrases {
            None => Phrases::go(),
            Some(file) => Phrases::parse(&read(file)?),
        };
        let phrases = &phrases;
        let wanted = failures
            .into_iter()
            .filter(|f| self.builder.is_empty() || f.builder == self.builder);
        let read = futures::stream::iter(wanted).map(|failed| async move {
            let log = dashboard.log(&failed.log).await?;
            let log = String::from_utf8_lossy(&log);
            let why = if self.substr.is_empty() {
                is_flaky(&log, phrases).map(str::to_owned)
            } else {
                log.contains(&self.substr).then(|| self.substr.clone())
            };
            Ok::<_, Error>(why.map(|why| (failed, why)))
        });
        let found: Vec<_> = read
            .buffered(self.max_concurrent.max(1))
            .try_collect()
            .await
            .map_err(|e| failure(&e))?;
        Ok(found.into_iter().flatten().collect())
    }

    /// The key to clear with. It stands in no message.
    fn key_of(&self, builder: &str) -> Result<String, Failure> {
        let default = std::env::home_dir().map(|home| home.join("keys/gobuilder-master.key"));
        let master = self
            .masterkey
            .clone()
            .or(default)
            .and_then(|file| std::fs::read_to_string(file).ok());
        if let Some(text) = master {
            if self.sendmaster {
                return Ok(text.trim().to_owned());
            }
            let master = MasterKey::new(text).map_err(|e| failure(&e))?;
            return Ok(master.key_of(builder));
        }
        match &self.key {
            Some(file) => Ok(read(file)?.trim().to_owned()),
            None => Err(refused(&format!(
                "No --key specified for builder {builder}"
            ))),
        }
    }
}

fn read(file: &std::path::Path) -> Result<String, Failure> {
    std::fs::read_to_string(file)
        .map_err(|error| refused(&format!("reading {}: {error}", file.display())))
}

fn refused(text: &str) -> Failure {
    Failure::because(
        Exit::Failed,
        &Error::new(ErrorKind::Invalid, text),
        Some("see: retrybuilds --help"),
    )
}
