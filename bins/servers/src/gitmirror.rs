//! `gitmirror`: mirrors repositories, and serves archives of any revision.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use build_core::repos::Repos;
use build_server::gitmirror::{Config, DestSpec, GitMirror, Project, RepoSpec};
use build_server::http::Hosts;
use clap::{Parser, ValueEnum};
use farmer_cli::{Failure, serving};

use crate::listen::{failure, listen};

/// Mirrors repositories from their sources to their destinations, and serves archives of any
/// revision.
#[derive(Parser, Debug)]
#[command(
    name = "gitmirror",
    after_help = "Examples:\n  gitmirror -http 127.0.0.1:8585 -cachedir /var/cache/gitmirror -config mirror.toml -mirror\n  \
        gitmirror -http :8585 -host gitmirror -repo go=https://go.googlesource.com/go\n  \
        gitmirror -http :8585 -cachedir /var/cache/gitmirror -project go -ssh-key /etc/gitmirror/key -mirror\n  \
        curl -sO 'http://127.0.0.1:8585/go.tar.gz?rev=go1.15'\n  \
        curl -X POST http://127.0.0.1:8585/notify/go\n\n\
        Pages: / (one line a repository), /status, /status.json, /debug/watcher/NAME.\n\
        Health: /healthz?max-lag=SECONDS. See docs/programs/gitmirror.md."
)]
struct Args {
    /// Where to listen; nowhere when empty.
    #[arg(long, value_name = "ADDRESS", default_value = "")]
    http: String,
    /// Where copies are kept. Default: a temporary directory, removed at the end.
    #[arg(
        long,
        value_name = "DIR",
        default_value = "",
        hide_default_value = true
    )]
    cachedir: String,
    /// Time between two looks at a source: a number with s, m or h.
    #[arg(long, value_name = "TIME")]
    poll: Option<String>,
    /// Pushes to the destinations; without it repositories are only fetched and served.
    #[arg(long)]
    mirror: bool,
    /// The repositories, with their destinations.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The repositories of a project, by a list that is built in.
    #[arg(long, value_enum, value_name = "PROJECT")]
    project: Option<Known>,
    /// Only this repository of -project; may be repeated.
    #[arg(long, value_name = "NAME", requires = "project")]
    only: Vec<String>,
    /// What addresses of sources of -project begin with.
    #[arg(
        long,
        value_name = "URL",
        default_value = "https://go.googlesource.com/"
    )]
    source_base: String,
    /// What addresses of destinations of -project begin with, before OWNER/NAME.git.
    #[arg(long, value_name = "URL", default_value = "git@github.com:")]
    dest_base: String,
    /// The key for SSH of -project's destinations. Default: this machine's own.
    #[arg(long, value_name = "FILE", requires = "project")]
    ssh_key: Option<PathBuf>,
    /// A file with USER:TOKEN for -project's destinations by HTTPS.
    #[arg(long, value_name = "FILE", requires = "project")]
    credentials: Option<PathBuf>,
    /// A repository: NAME=SOURCE or NAME=SOURCE=DESTINATION; may be repeated.
    #[arg(long, value_name = "REPO")]
    repo: Vec<String>,
    /// A name that it answers to, besides loopback; may be repeated.
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
}

/// A project whose repositories are known.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Known {
    /// The Go project, as it was at the end of 2020
    Go,
}

/// The repositories of a project, with their destinations.
fn known(args: &Args, project: Known) -> Result<Vec<RepoSpec>, Failure> {
    let Known::Go = project;
    let places = Project {
        source: args.source_base.clone(),
        dest: args.dest_base.clone(),
        ssh_key: args.ssh_key.clone(),
        credentials: args.credentials.clone(),
    };
    let mut repos = places.repos(&Repos::go2020());
    let is_known = |name: &&String| repos.iter().any(|repo| repo.name == **name);
    if let Some(name) = args.only.iter().find(|name| !is_known(name)) {
        let names: Vec<_> = repos.iter().map(|repo| repo.name.as_str()).collect();
        return Err(Failure::usage(
            format!("the project has no repository {name:?}"),
            format!("its repositories are {}", names.join(", ")),
        ));
    }
    repos.retain(|repo| args.only.is_empty() || args.only.contains(&repo.name));
    Ok(repos)
}

pub(crate) fn main(args: Vec<OsString>) -> ExitCode {
    serving::<Args>(args, async |args, stop| {
        let config = config(&args)?;
        let temporary = tempfile::Builder::new().prefix("gitmirror").tempdir()?;
        let cache = match args.cachedir.as_str() {
            "" => temporary.path(),
            folder => Path::new(folder),
        };
        let hosts = args.host.iter().fold(Hosts::default(), Hosts::and);
        let mirror = GitMirror::new(config, cache, args.mirror)
            .map_err(failure)?
            .with_hosts(hosts);
        let listener = match args.http.as_str() {
            "" => None,
            address => Some(listen(address, "repositories are mirrored").await?),
        };
        mirror.run(listener, stop).await.map_err(failure)
    })
}

fn config(args: &Args) -> Result<Config, Failure> {
    let mut config = match &args.config {
        Some(file) => {
            let name = file.display().to_string();
            let text = std::fs::read_to_string(file).map_err(|e| {
                failure(build_core::Error::from(e).while_doing(format!("read {name}")))
            })?;
            Config::parse(&text, &name).map_err(failure)?
        }
        None => Config::of(Vec::new()),
    };
    if let Some(project) = args.project {
        config.repos.extend(known(args, project)?);
    }
    for repo in &args.repo {
        let mut parts = repo.splitn(3, '=');
        let (Some(name), Some(source), dest) = (parts.next(), parts.next(), parts.next()) else {
            return Err(Failure::usage(
                format!("{repo:?} is no repository"),
                "write NAME=SOURCE or NAME=SOURCE=DESTINATION",
            ));
        };
        let dest = dest.map(|url| DestSpec {
            name: "mirror".to_owned(),
            url: url.to_owned(),
            ssh_key: None,
            credentials: None,
        });
        config.repos.push(RepoSpec {
            name: name.to_owned(),
            source: source.to_owned(),
            dests: dest.into_iter().collect(),
            include: Vec::new(),
            exclude: Vec::new(),
            max_deletions: None,
            changes: false,
        });
    }
    if config.repos.is_empty() {
        return Err(Failure::usage(
            "no repository is named",
            "give -config FILE, -project go or -repo NAME=SOURCE=DESTINATION",
        ));
    }
    if let Some(poll) = &args.poll {
        config.poll_seconds = time(poll).ok_or_else(|| {
            Failure::usage(
                format!("{poll:?} is no time"),
                "write it as 60s, 500ms, 2m or 1h",
            )
        })?;
    }
    Ok(config)
}

/// A time as Go writes it, of one unit, in seconds.
fn time(text: &str) -> Option<f64> {
    let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let (number, unit) = units
        .iter()
        .find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)))?;
    let number: f64 = number.parse().ok()?;
    (number.is_finite() && number >= 0.0).then_some(number * unit)
}
