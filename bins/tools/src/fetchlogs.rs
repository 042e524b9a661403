//! `fetchlogs`: keeps the logs of a dashboard's failures in a directory.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use build_client::build_dashboard::Dashboard;
use build_client::fetchlogs::Sync;
use clap::Parser;
use farmer_cli::{Exit, Failure};
use tokio_util::sync::CancellationToken;

use crate::told::{failed, failure};

const EXAMPLES: &str = "Examples:
  fetchlogs                                   the newest 300 commits of Go, into the cache directory
  fetchlogs -n 1000 -repo net,tools -dir logs
  fetchlogs -dashboard http://localhost:8080 -since 2020-12-01
  cd ~/.cache/fetchlogs && grep -lR 'no space left' rev

Exit codes: 0 everything is there, 1 a log or the directory could not be had, 2 bad usage, 3 the
dashboard did not answer.";

/// Keep the logs of a dashboard's failures in a directory
#[derive(Parser)]
#[command(name = "fetchlogs", version, after_help = EXAMPLES)]
struct Args {
    /// Look at the most recent N commits, of each repository and branch
    #[arg(short = 'n', long = "n", value_name = "N", default_value_t = 300)]
    commits: usize,
    /// Logs to download at the same time
    #[arg(short = 'j', long = "j", value_name = "JOBS", default_value_t = 5)]
    jobs: usize,
    /// Directory to keep logs in; it must be there [default: the cache directory + /fetchlogs]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Repositories, separated by commas: go, or a name below golang.org/x, or NAME=IMPORTPATH
    #[arg(long, default_value = "go", value_delimiter = ',')]
    repo: Vec<String>,
    /// Branches, separated by commas
    #[arg(
        long,
        default_value = "",
        value_delimiter = ',',
        hide_default_value = true
    )]
    branch: Vec<String>,
    /// Only commits since this day or time (2020-12-31, 2020-12-31T23:59:59)
    #[arg(
        long,
        value_name = "TIME",
        default_value = "",
        hide_default_value = true
    )]
    since: String,
    /// Address of the dashboard
    #[arg(long, value_name = "URL", default_value = "https://build.golang.org")]
    dashboard: String,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

/// The entry point: the arguments without the program's name.
pub fn main(args: Vec<OsString>) -> ExitCode {
    farmer_cli::serving(args, Args::run)
}

/// Repositories that are not below golang.org/x.
const ELSEWHERE: &[(&str, &str)] = &[
    ("dl", "golang.org/dl"),
    ("protobuf", "google.golang.org/protobuf"),
];

/// Those of the Go project that its dashboard shows.
const KNOWN: &[&str] = &[
    "arch",
    "benchmarks",
    "blog",
    "build",
    "crypto",
    "debug",
    "example",
    "exp",
    "image",
    "lint",
    "mobile",
    "mod",
    "net",
    "oauth2",
    "perf",
    "pkgsite",
    "playground",
    "review",
    "scratch",
    "sync",
    "sys",
    "talks",
    "term",
    "text",
    "time",
    "tools",
    "tour",
    "vgo",
    "vuln",
    "website",
    "xerrors",
];

fn import_path(repo: &str) -> Result<(String, String), Failure> {
    let named = |path: String| Ok((repo.to_owned(), path));
    if let Some((name, path)) = repo.split_once('=') {
        return Ok((name.to_owned(), path.to_owned()));
    }
    match ELSEWHERE.iter().find(|(name, _)| *name == repo) {
        Some((_, path)) => named((*path).to_owned()),
        None if repo == "go" => named(String::new()),
        None if KNOWN.contains(&repo) => named(format!("golang.org/x/{repo}")),
        None => {
            let error = build_client::Error::new(
                build_client::ErrorKind::NotFound,
                format!("unknown repo {repo}"),
            );
            Err(Failure::because(
                Exit::Failed,
                &error,
                Some("give another project's as NAME=IMPORTPATH"),
            ))
        }
    }
}

impl Args {
    async fn run(self, stop: CancellationToken) -> Result<(), Failure> {
        let repos = self
            .repo
            .iter()
            .map(|repo| import_path(repo))
            .collect::<Result<_, _>>()?;
        let sync = Sync {
            dir: self.dir()?,
            jobs: self.jobs,
            commits: self.commits,
            repos,
            branches: self.branch.clone(),
            since: self.since.clone(),
        };
        let dashboard = Dashboard::new(&self.dashboard).map_err(|e| failure(&e))?;
        // On standard output, as the Go program has it, unless that is for JSON.
        let json = self.json;
        let told = move |line: &str| {
            if json {
                eprintln!("{line}");
            } else {
                println!("{line}");
            }
        };
        let report = tokio::select! {
            report = sync.run(&dashboard, &told) => report.map_err(|e| failed(&e))?,
            () = stop.cancelled() => return Err(Failure::interrupted()),
        };
        if json {
            println!(
                "{}",
                serde_json::to_string(&report).map_err(|e| Failure::because(
                    Exit::Infrastructure,
                    &e,
                    None
                ))?
            );
        }
        for failed in &report.failed {
            eprintln!("fetchlogs: {failed}");
        }
        if report.failed.is_empty() {
            Ok(())
        } else {
            Err(Failure::silent(Exit::Failed))
        }
    }

    fn dir(&self) -> Result<PathBuf, Failure> {
        use std::os::unix::fs::DirBuilderExt as _;
        if let Some(dir) = &self.dir {
            if dir.is_dir() {
                return Ok(dir.clone());
            }
            let error = build_client::Error::new(
                build_client::ErrorKind::NotFound,
                format!("no directory {}", dir.display()),
            );
            return Err(Failure::because(
                Exit::Failed,
                &error,
                Some("make it first"),
            ));
        }
        let dir = default_dir().ok_or_else(|| {
            Failure::usage(
                "nobody knows where your home is",
                "set HOME, or name a directory with -dir",
            )
        })?;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)?;
        Ok(dir)
    }
}

/// Where logs are kept when nobody says; `None` when nobody knows where the home is.
pub(crate) fn default_dir() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .filter(|dir| !dir.is_empty())
        .map(PathBuf::from);
    let below_home = if cfg!(target_os = "macos") {
        "Library/Caches"
    } else {
        ".cache"
    };
    let cache = cache.or_else(|| Some(std::env::home_dir()?.join(below_home)));
    Some(cache?.join("fetchlogs"))
}
