//! `buildstats`: copies the records of finished builds, and tells how long tests take.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use build_client::buildstats::{Datastore, Folder, Given, Kind, RecordSource, sync};
use build_client::secret::MetadataServer;
use clap::{CommandFactory as _, Parser};
use farmer_cli::{Exit, Failure};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::told::failed;

const EXAMPLES: &str = "Examples:
  buildstats -mode=sync -v                   new records of the Go project's builds, into the cache
  buildstats -mode=sync -from exported       records that somebody exported: DIR/builds.jsonl, DIR/spans.jsonl
  buildstats -mode=testspeed                 builder, test, median, runs; separated by tabs
  buildstats -mode=testspeed -json | jq 'select(.seconds > 60)'

Records of Google Cloud Datastore are read in the name of $GOOGLE_ACCESS_TOKEN
(gcloud auth print-access-token), or of the account of the machine in Google Cloud.";

/// Copy the records of finished builds, and tell how long tests take
#[derive(Parser)]
#[command(name = "buildstats", version, after_help = EXAMPLES)]
struct Args {
    /// `sync` or `testspeed`
    #[arg(long, default_value = "", hide_default_value = true)]
    mode: String,
    /// Say what is being done
    #[arg(short = 'v')]
    verbose: bool,
    /// Records of staging
    #[arg(long)]
    staging: bool,
    /// Records of a coordinator on this machine: with -from
    #[arg(long)]
    localdev: bool,
    /// Google Cloud project of the records, instead of the Go project's
    #[arg(long)]
    project: Option<String>,
    /// Directory of exported records, instead of a project
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// Directory of the tables [default: the cache directory + /buildstats]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Server that holds the records
    #[arg(
        long,
        value_name = "URL",
        default_value = "https://datastore.googleapis.com",
        hide = true
    )]
    datastore: String,
    /// Print answers as JSON, an object a line
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
            done = self.act() => done,
            () = stop.cancelled() => Err(Failure::interrupted()),
        }
    }

    async fn act(&self) -> Result<(), Failure> {
        match self.mode.as_str() {
            "sync" => self.sync().await,
            "testspeed" => self.test_speed(),
            mode => {
                eprint!("{}", Self::command().render_usage());
                eprintln!();
                let error = build_client::Error::new(
                    build_client::ErrorKind::Invalid,
                    format!("unknown --mode={mode}"),
                );
                Err(Failure::because(
                    Exit::Failed,
                    &error,
                    Some("-mode=sync or -mode=testspeed"),
                ))
            }
        }
    }

    async fn sync(&self) -> Result<(), Failure> {
        let source = self.source()?;
        let mut folder = self.folder()?;
        let verbose = self.verbose;
        let told = move |line: &str| {
            if verbose {
                eprintln!("{line}");
            }
        };
        for kind in [Kind::Build, Kind::Span] {
            let added = sync(source.as_ref(), &mut folder, kind, &told)
                .await
                .map_err(|e| failed(&e))?;
            if self.json {
                println!("{}", json!({ "kind": kind.name(), "added": added }));
            } else if self.verbose {
                eprintln!("{}: {added} records added", kind.name());
            }
        }
        Ok(())
    }

    fn test_speed(&self) -> Result<(), Failure> {
        use std::io::Write as _;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let stats = self
            .folder()?
            .test_stats(i64::try_from(now).unwrap_or(i64::MAX))
            .map_err(|e| failed(&e))?;
        let text = if self.json {
            stats
                .rows()
                .map(|row| format!("{}\n", json!(row)))
                .collect()
        } else {
            stats.text()
        };
        match std::io::stdout().write_all(text.as_bytes()) {
            // A reader that went away, such as `head`, has seen what it wanted.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            written => Ok(written?),
        }
    }

    fn source(&self) -> Result<Box<dyn RecordSource>, Failure> {
        if let Some(dir) = &self.from {
            let records = |name: &str| {
                let path = dir.join(name);
                let text = std::fs::read_to_string(&path).map_err(|error| {
                    Failure::usage(
                        format!("reading {}: {error}", path.display()),
                        "name the directory of the records with -from",
                    )
                })?;
                Given::parse(&text)
                    .map_err(|error| failed(&error.while_doing(path.display().to_string())))
            };
            return Ok(Box::new(Given {
                builds: records("builds.jsonl")?,
                spans: records("spans.jsonl")?,
            }));
        }
        if self.localdev {
            return Err(Failure::usage(
                "a coordinator on this machine has no Datastore",
                "name its exported records with -from",
            ));
        }
        let project = match (&self.project, self.staging) {
            (Some(project), _) => project,
            (None, true) => "go-dashboard-dev",
            (None, false) => "symbolic-datum-552",
        };
        let source = match std::env::var("GOOGLE_ACCESS_TOKEN") {
            Ok(token) => Datastore::new(project, token),
            Err(_) => MetadataServer::new("http://metadata.google.internal")
                .and_then(|server| Datastore::new(project, server)),
        };
        Ok(Box::new(
            source.map_err(|e| failed(&e))?.at(&self.datastore),
        ))
    }

    fn folder(&self) -> Result<Folder, Failure> {
        let cache = || {
            let cache = std::env::var_os("XDG_CACHE_HOME")
                .filter(|dir| !dir.is_empty())
                .map(PathBuf::from);
            Some(
                cache
                    .or_else(|| Some(std::env::home_dir()?.join(".cache")))?
                    .join("buildstats"),
            )
        };
        let dir = self.store.clone().or_else(cache);
        let dir = dir.ok_or_else(|| {
            Failure::usage(
                "nobody knows where your home is",
                "name a directory with -store",
            )
        })?;
        Folder::open(dir).map_err(|e| failed(&e))
    }
}
