//! A git repository as a corpus, beside `git log --numstat` of the same history.
//!
//! `cargo bench -p maintner-core --bench git -- [REPOSITORY [RUNS]]` (this repository and 5, when
//! nothing is said) prints wall and processor time of each, in milliseconds and all samples; git
//! and ours take turns. Processor time is counted in ticks of 10 ms by the system.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed bench")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use maintner_core::Corpus;
use maintner_core::sync::git::Repository;

/// Name, wall and processor time.
type Sample = (&'static str, f64, f64);

fn main() {
    let mut args = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with("--"));
    let repository = args.next().unwrap_or_else(|| "..".to_owned());
    let repository = Path::new(&repository).canonicalize().unwrap();
    let runs: usize = args.next().map_or(5, |runs| runs.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("copy.git");
    let cloned = Command::new("git")
        .args(["clone", "--quiet", "--bare"])
        .args([&repository, &copy])
        .status();
    assert!(cloned.unwrap().success());
    let mut samples = Vec::new();
    for run in 0..runs {
        take_turns(&copy, dir.path(), run, &mut samples);
    }
    print(&samples);
}

fn take_turns(copy: &Path, dir: &Path, run: usize, samples: &mut Vec<Sample>) {
    let kept = dir.join(format!("kept-{run}"));
    samples.push(measure("git log --numstat", || {
        git(copy, &["log", "--numstat", "--all"]);
    }));
    samples.push(measure("commits and their files", || {
        let mut repository = Repository::open(copy).unwrap();
        while !repository.next_batch(|_| false).unwrap().is_empty() {}
    }));
    samples.push(measure("commits alone", || {
        let mut repository = Repository::open(copy).unwrap().without_files();
        while !repository.next_batch(|_| false).unwrap().is_empty() {}
    }));
    samples.push(measure("from_git", || {
        Corpus::from_git(copy).unwrap();
    }));
    for what in ["from_git_kept, first", "from_git_kept, second"] {
        samples.push(measure(what, || {
            Corpus::from_git_kept(copy, &kept).unwrap();
        }));
    }
    let tree = git(copy, &["rev-parse", "HEAD^{tree}"]);
    let text = format!("commit {run}");
    let commit = git(
        copy,
        &[
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b",
            "commit-tree",
            "-p",
            "HEAD",
            "-m",
            &text,
            &tree,
        ],
    );
    git(copy, &["update-ref", "HEAD", &commit]);
    samples.push(measure("from_git_kept, one new commit", || {
        Corpus::from_git_kept(copy, &kept).unwrap();
    }));
    samples.push(measure("position", || {
        Repository::open(copy).unwrap().position().unwrap();
    }));
}

fn git(folder: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .args(args)
        .current_dir(folder)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "git {args:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn measure(what: &'static str, work: impl FnOnce()) -> Sample {
    let (begin, cpu) = (Instant::now(), processor());
    work();
    let wall = begin.elapsed().as_secs_f64() * 1e3;
    (what, wall, processor() - cpu)
}

/// Processor time of this process and of the children that it waited for, ms.
fn processor() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks = after_name.split(' ').skip(11).take(4);
    ticks
        .map(|ticks| ticks.parse::<f64>().unwrap())
        .sum::<f64>()
        * 10.0
}

fn print(samples: &[Sample]) {
    let mut names: Vec<&str> = Vec::new();
    for (name, ..) in samples {
        if !names.contains(name) {
            names.push(name);
        }
    }
    println!("| ms | median, wall | median, processor |\n|---|---|---|");
    let of = |name: &str, part: fn(&Sample) -> f64| {
        let times = samples.iter().filter(|sample| sample.0 == name).map(part);
        times.collect::<Vec<f64>>()
    };
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
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
