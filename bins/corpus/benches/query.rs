//! Questions to a git repository, as a user asks them: the whole program, from start to exit.
//!
//! `FARMER=target/release/farmer cargo bench -p farmer-corpus --bench query -- [REPOSITORY [RUNS]]`
//! (this repository and 5, when nothing is said) asks a copy of the repository and prints wall and
//! processor time of each question, in milliseconds and all samples; `git log --numstat` takes
//! turns with it. Processor time is counted in ticks of 10 ms by the system.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

const COUNT: &str = "SELECT count(*) FROM commits";
const FILES: &str = "SELECT sum(added) FROM commit_files";

/// Name, wall and processor time.
type Sample = (&'static str, f64, f64);

fn main() -> Result<()> {
    let Some(farmer) = std::env::var_os("FARMER").map(PathBuf::from) else {
        eprintln!("SKIPPED: name the program to be asked in FARMER");
        return Ok(());
    };
    let farmer = farmer.canonicalize().context("FARMER")?;
    let mut args = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with("--"));
    let repository = PathBuf::from(args.next().unwrap_or_else(|| "../..".to_owned()));
    let runs: usize = args.next().map_or(Ok(5), |runs| runs.parse())?;
    let dir = tempfile::tempdir()?;
    let copy = dir.path().join("copy.git");
    let (from, to) = (text(&repository)?, text(&copy)?);
    git(dir.path(), &["clone", "--quiet", "--bare", &from, &to])?;
    let mut samples = Vec::new();
    for run in 0..runs {
        let data = dir.path().join(format!("data-{run}"));
        let ask = |question: &str| -> Result<()> {
            let mut command = Command::new(&farmer);
            command.args(["query", "--repo", &to, question]);
            run_it(command.env("FARMER_DATA", &data)).map(drop)
        };
        let mut time = |what, work: &dyn Fn() -> Result<()>| -> Result<()> {
            samples.push(measure(what, work)?);
            Ok(())
        };
        time("git log --numstat", &|| {
            git(&copy, &["log", "--numstat", "--all"]).map(drop)
        })?;
        time("commits, first", &|| ask(COUNT))?;
        time("commits, second", &|| ask(COUNT))?;
        one_more(&copy, run)?;
        time("commits, one more", &|| ask(COUNT))?;
        time("files, first", &|| ask(FILES))?;
        time("files, second", &|| ask(FILES))?;
        one_more(&copy, run)?;
        time("files, one more commit", &|| ask(FILES))?;
        time("--version", &|| {
            run_it(Command::new(&farmer).arg("--version")).map(drop)
        })?;
    }
    print(&samples);
    Ok(())
}

fn text(path: &Path) -> Result<String> {
    let path = path.to_str().context("a path that is text")?;
    Ok(path.to_owned())
}

/// Adds a commit.
fn one_more(repository: &Path, run: usize) -> Result<()> {
    let tree = git(repository, &["rev-parse", "HEAD^{tree}"])?;
    let text = format!("commit {run}");
    let by = ["-c", "user.name=a", "-c", "user.email=a@b"];
    let commit = ["commit-tree", "-p", "HEAD", "-m", &text, &tree];
    let commit = git(repository, &[&by[..], &commit].concat())?;
    git(repository, &["update-ref", "HEAD", &commit]).map(drop)
}

fn git(folder: &Path, args: &[&str]) -> Result<String> {
    run_it(Command::new("git").args(args).current_dir(folder))
}

fn run_it(command: &mut Command) -> Result<String> {
    let output = command.output().context("start a program")?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {complaint}");
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn measure(what: &'static str, work: &dyn Fn() -> Result<()>) -> Result<Sample> {
    let (begin, before) = (Instant::now(), processor()?);
    work()?;
    let wall = begin.elapsed().as_secs_f64() * 1e3;
    Ok((what, wall, processor()? - before))
}

/// Processor time of the children that this process waited for, ms.
fn processor() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, after_name) = stat.rsplit_once(") ").context("a line of numbers")?;
    let ticks = after_name
        .split(' ')
        .skip(13)
        .take(2)
        .map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? * 10.0)
}

fn print(samples: &[Sample]) {
    let mut names: Vec<&str> = Vec::new();
    for (name, ..) in samples {
        if !names.contains(name) {
            names.push(name);
        }
    }
    let of = |name: &str, part: fn(&Sample) -> f64| {
        let times = samples.iter().filter(|sample| sample.0 == name).map(part);
        times.collect::<Vec<f64>>()
    };
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    println!("| ms | median, wall | median, processor |\n|---|---|---|");
    for name in &names {
        let (wall, cpu) = (median(of(name, |s| s.1)), median(of(name, |s| s.2)));
        println!("| {name} | {wall:.1} | {cpu:.0} |");
    }
    println!();
    for name in names {
        let shown = |times: Vec<f64>| {
            let times = times.iter().map(|time| format!("{time:.1}"));
            times.collect::<Vec<_>>().join(" ")
        };
        println!("{name}, wall: {}", shown(of(name, |s| s.1)));
        println!("{name}, processor: {}", shown(of(name, |s| s.2)));
    }
}
