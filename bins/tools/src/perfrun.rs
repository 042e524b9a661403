//! `perfrun`: runs the benchmarks of several commits on one machine, in turns.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use build_client::HttpBuildlet;
use build_client::perfrun::{Event, Plan, Trees, good_commits, run};
use build_core::benchfmt::Reader;
use build_core::benchstat::tables;
use build_core::clock::{Clock, SystemClock};
use build_core::{Error, ErrorKind};
use clap::Parser;
use farmer_cli::{Exit, Failure, serving};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;

/// For the dashboard's answer, and its bytes.
const STATUS_LIMIT: Duration = Duration::from_secs(60);
const MAX_STATUS: usize = 64 << 20;

/// Runs the benchmarks of several commits on one machine, in turns, and writes what they print.
#[derive(Parser, Debug)]
#[command(
    name = "perfrun",
    after_help = "Examples:\n  perfrun -buildlet 10.0.0.7:5936 -buildlet_src linux-amd64 1a2b3c 4d5e6f\n  \
        perfrun -buildlet localhost:5936 -dashboard http://farm:8119/dashboard\n  \
        perfrun -buildlet localhost:5936 -trees 'trees/{commit}.tar.gz' -build 'make bench' \\\n    \
        -bench ./bench -count 5 -o - a1 b2 | perf compare -\n\n\
        Exit status: 0 when all ran, 1 when a command on the machine failed, 2 for bad usage,\n\
        3 when the machine failed."
)]
struct Args {
    /// The machine: HOST:PORT of a buildlet.
    #[arg(long, value_name = "HOST:PORT")]
    buildlet: String,
    /// The builder whose trees are run, and whose good commits are taken when none is named.
    #[arg(long = "buildlet_src", value_name = "BUILDER")]
    buildlet_src: Option<String>,
    /// The dashboard that knows the good commits; ?mode=json is added.
    #[arg(long, value_name = "URL")]
    dashboard: Option<String>,
    /// A file with what the dashboard answers to ?mode=json.
    #[arg(long, value_name = "FILE", conflicts_with = "dashboard")]
    status: Option<PathBuf>,
    /// Where the trees are: an address, or a file of this machine, with {commit} in it.
    #[arg(long, value_name = "PLACE")]
    trees: Option<String>,
    /// The command that builds the benchmarks in a tree, read by the machine's shell.
    #[arg(long, value_name = "COMMAND", requires = "bench")]
    build: Option<String>,
    /// The command that runs them.
    #[arg(long, value_name = "COMMAND")]
    bench: Option<String>,
    /// Number of rounds.
    #[arg(long, value_name = "N", default_value_t = 10)]
    count: u32,
    /// Begins each round with another commit.
    #[arg(long)]
    rotate: bool,
    /// Seconds that one command may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    limit: u64,
    /// Where the results go; `-` for standard output. Default: perfrun-SRC-MACHINE-TIME.log.
    #[arg(short, long = "o", value_name = "FILE")]
    output: Option<String>,
    /// Prints a summary of the results as JSON, with medians and their intervals.
    #[arg(long)]
    json: bool,
    /// The commits.
    commits: Vec<String>,
}

pub(crate) fn main(args: Vec<OsString>) -> ExitCode {
    serving::<Args>(args, async |args, stop| {
        tokio::select! {
            done = work(args) => done,
            () = stop.cancelled() => Err(Failure::interrupted()),
        }
    })
}

async fn work(args: Args) -> Result<(), Failure> {
    if !args.buildlet.contains(':') {
        return Err(Failure::usage(
            format!("{:?} is no address of a machine", args.buildlet),
            "give -buildlet HOST:PORT; a session of the farm gives a machine of a builder",
        ));
    }
    let source = args
        .buildlet_src
        .clone()
        .unwrap_or_else(|| args.buildlet.clone());
    // Before the machine is touched: a builder that is not known costs nothing.
    let commits = match args.commits.is_empty() {
        true => good_commits(&status(&args).await?, &source).map_err(failure)?,
        false => args.commits.clone(),
    };
    let plan = plan(&args, commits, &source);
    let machine = HttpBuildlet::direct(&args.buildlet);
    let mut told = |event: Event<'_>| match event {
        Event::Installs(commit) => eprintln!("install {commit}"),
        Event::Builds(commit) => eprintln!("build the benchmarks of {commit}"),
        Event::Runs(commit, round) => eprintln!("round {round}: {commit}"),
    };
    let mut results = Tee::open(&args, &source)?;
    run(&machine, &plan, &SystemClock, &mut results, &mut told)
        .await
        .map_err(failure)?;
    if args.json {
        println!("{}", summary(&results.kept)?);
    }
    Ok(())
}

fn plan(args: &Args, commits: Vec<String>, source: &str) -> Plan {
    let mut plan = Plan::go1(commits, source);
    plan.rounds = args.count;
    plan.rotate = args.rotate;
    if let Some(place) = &args.trees {
        plan.trees = match place.contains("://") {
            true => Trees::Url(place.clone()),
            false => Trees::File(place.clone()),
        };
    }
    let shell = |line: &str| ["/bin/sh", "-c", line].map(str::to_owned).to_vec();
    if let Some(bench) = &args.bench {
        plan.bench.words = shell(bench);
        plan.build.words = shell(args.build.as_deref().unwrap_or(":"));
        plan.build.env.clear();
        plan.bench.dir = "{dir}".to_owned();
        plan.build.dir = "{dir}".to_owned();
    }
    plan.build.limit = Duration::from_secs(args.limit);
    plan.bench.limit = Duration::from_secs(args.limit);
    plan
}

/// What the dashboard answers to `?mode=json`.
async fn status(args: &Args) -> Result<Vec<u8>, Failure> {
    if let Some(file) = &args.status {
        return std::fs::read(file)
            .map_err(|e| failure(Error::from(e).while_doing(format!("read {}", file.display()))));
    }
    let Some(url) = &args.dashboard else {
        return Err(Failure::usage(
            "no commit is named, and no dashboard that knows the good ones",
            "name commits, or give -dashboard URL or -status FILE",
        ));
    };
    let url = format!("{url}?mode=json");
    if !url.starts_with("http://") {
        return Err(Failure::usage(
            format!("{url} cannot be read here: only http"),
            format!("save it and give -status FILE: curl -o status.json '{url}'"),
        ));
    }
    let uri: hyper::Uri = url.parse().map_err(anyhow::Error::from)?;
    let executor = hyper_util::rt::TokioExecutor::new();
    let client = hyper_util::client::legacy::Client::builder(executor).build_http();
    let mut request = hyper::Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = uri;
    let asked = async {
        let response = client.request(request).await?;
        let status = response.status();
        anyhow::ensure!(status.is_success(), "it answers {status}");
        let body = Limited::new(response.into_body(), MAX_STATUS)
            .collect()
            .await;
        Ok(body.map_err(anyhow::Error::from_boxed)?.to_bytes().to_vec())
    };
    let answer = tokio::time::timeout(STATUS_LIMIT, asked).await;
    let answer = answer.map_err(anyhow::Error::from).and_then(|asked| asked);
    Ok(answer.map_err(|e| e.context(format!("read {url}")))?)
}

/// Where results go, and what a summary is made of.
struct Tee {
    out: Box<dyn std::io::Write + Send>,
    keep: bool,
    kept: Vec<u8>,
}

impl Tee {
    fn open(args: &Args, source: &str) -> Result<Self, Failure> {
        let out: Box<dyn std::io::Write + Send> = match args.output.as_deref() {
            Some("-") => Box::new(std::io::stdout()),
            other => {
                let digits: String = SystemClock
                    .now()
                    .to_string()
                    .chars()
                    .filter(char::is_ascii_digit)
                    .collect();
                let safe = |name: &str| name.replace(['/', ':'], "_");
                let name = other.map_or_else(
                    || {
                        format!(
                            "perfrun-{}-{}-{digits}.log",
                            safe(source),
                            safe(&args.buildlet)
                        )
                    },
                    str::to_owned,
                );
                eprintln!("results go to {name}");
                let file = std::fs::File::create(&name);
                Box::new(
                    file.map_err(|e| failure(Error::from(e).while_doing(format!("write {name}"))))?,
                )
            }
        };
        Ok(Self {
            out,
            keep: args.json,
            kept: Vec::new(),
        })
    }
}

impl std::io::Write for Tee {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.out.write(bytes)?;
        if self.keep {
            self.kept.extend_from_slice(&bytes[..n]);
        }
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

/// The results by commit, compared with the first one.
fn summary(results: &[u8]) -> Result<String, Failure> {
    let text = String::from_utf8_lossy(results);
    let mut sets: Vec<(String, Vec<_>)> = Vec::new();
    for result in Reader::new(&text) {
        let commit = result.labels.get("commit").cloned().unwrap_or_default();
        match sets.iter_mut().find(|(known, _)| *known == commit) {
            Some((_, set)) => set.push(result),
            None => sets.push((commit, vec![result])),
        }
    }
    Ok(serde_json::to_string_pretty(&tables(&sets, &[], 0.05)).map_err(anyhow::Error::from)?)
}

fn failure(error: Error) -> Failure {
    let exit = match error.kind() {
        ErrorKind::Invalid => Exit::Failed,
        ErrorKind::NotFound => Exit::Usage,
        _ => Exit::Infrastructure,
    };
    let hint = error.hint().map(str::to_owned);
    Failure::because(exit, &error, hint.as_deref())
}
