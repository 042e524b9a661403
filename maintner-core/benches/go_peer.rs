//! Our corpus beside the Go corpus on one synthetic log, taking turns, each in a
//! process of its own.
//!
//! `cargo bench -p maintner-core --no-default-features --bench go_peer -- [PROFILE] [RUNS]`
//! makes the log (default go2020, 1.6 GB, seed 1; kept in the target folder), builds the
//! Go peer, and prints medians and raw samples. A folder of a finished log may be given by
//! the environment variable `MAINTNER_BENCH_LOG`.
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on ends")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use maintner_core::generate::{Generator, Profile};
use maintner_core::log::{LogFolder, Segment};
use maintner_core::{Corpus, Options};

/// What a child measured, by name.
type Sample = BTreeMap<String, u64>;

fn main() {
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| arg != "--bench")
        .collect();
    match args.first().map(String::as_str) {
        Some("child") => child(Path::new(&args[1]), args[2] == "snapshot"),
        profile => {
            let profile: Profile = profile.unwrap_or("go2020").parse().unwrap();
            let runs = args.get(1).map_or(3, |runs| runs.parse().unwrap());
            compare(profile, runs);
        }
    }
}

/// Opens the corpus and asks what the Go peer is asked.
fn child(folder: &Path, snapshot: bool) {
    let start = Instant::now();
    let options = Options::default().verify(true);
    let options = if snapshot {
        options.snapshot_file(snapshot_file(folder))
    } else {
        options.snapshot(false)
    };
    let corpus = Corpus::open_with(folder, options).unwrap();
    let view = corpus.view();
    let repo = view.github().repo("golang/go").unwrap();
    let issue = repo.issue(1).unwrap();
    println!("title {}", issue.title().split(' ').next().unwrap());
    println!("load {}", start.elapsed().as_nanos());
    for line in std::fs::read_to_string("/proc/self/smaps_rollup")
        .unwrap()
        .lines()
    {
        let mut words = line.split_whitespace();
        if let (Some(name @ ("Rss:" | "Anonymous:")), Some(kib)) = (words.next(), words.next()) {
            println!("{} {kib}", name.trim_end_matches(':').to_lowercase());
        }
    }

    let start = Instant::now();
    let objects: usize = view
        .github()
        .repos()
        .flat_map(|r| r.issues().with_tombstones())
        .map(|i| 1 + i.comments().count())
        .sum();
    println!("objects {objects}");
    println!("scan {}", start.elapsed().as_nanos());

    let project = view.gerrit().project("go.googlesource.com", "go").unwrap();
    let tip = view
        .git()
        .commit(project.try_ref("refs/heads/master").unwrap())
        .unwrap();
    let root = tip.first_parents().last().unwrap();
    let start = Instant::now();
    println!("related {}", tip.has_ancestor(&root));
    println!("ancestor {}", start.elapsed().as_nanos());
}

fn snapshot_file(folder: &Path) -> PathBuf {
    folder.with_extension("snap")
}

fn compare(profile: Profile, runs: usize) {
    let ours = log(profile);
    let (go_log, _links) = for_go(&ours);
    let peer = build_peer();
    let itself = std::env::current_exe().unwrap();
    let mut samples: BTreeMap<&str, Vec<Sample>> = BTreeMap::new();
    let mut take =
        |name, command: &mut Command| samples.entry(name).or_default().push(measure(command));
    // The first run leaves the snapshot behind.
    measure(
        Command::new(&itself)
            .arg("child")
            .arg(&ours)
            .arg("snapshot"),
    );
    assert!(
        snapshot_file(&ours).exists(),
        "opening with a snapshot file writes it"
    );
    for _ in 0..runs {
        for (cache, cold) in [("cold", true), ("warm", false)] {
            evict(&ours, cold);
            take(
                if cold { "ours cold" } else { "ours warm" },
                Command::new(&itself).arg("child").arg(&ours).arg("fresh"),
            );
            evict(&ours, cold);
            take(
                if cold { "go cold" } else { "go warm" },
                Command::new(&peer).arg(&go_log),
            );
            evict(&ours, cold);
            take(
                if cold {
                    "snapshot cold"
                } else {
                    "snapshot warm"
                },
                Command::new(&itself)
                    .arg("child")
                    .arg(&ours)
                    .arg("snapshot"),
            );
            eprintln!("{cache} round done");
        }
    }
    let bytes = LogFolder::open(&ours).unwrap().end().bytes();
    println!(
        "log {bytes} bytes, profile {}, {runs} runs; medians, then raw samples",
        profile.name()
    );
    for (name, all) in &samples {
        println!("\n{name}");
        for field in ["wall", "load", "scan", "ancestor", "rss", "anonymous"] {
            let mut values: Vec<u64> = all.iter().map(|sample| sample[field]).collect();
            let raw = values
                .iter()
                .map(u64::to_string)
                .collect::<Vec<_>>()
                .join(" ");
            values.sort_unstable();
            println!("  {field:9} {:>14}   {raw}", values[values.len() / 2]);
        }
    }
    let objects: Vec<u64> = samples
        .values()
        .flatten()
        .map(|sample| sample["objects"])
        .collect();
    assert!(
        objects.iter().all(|n| *n == objects[0]),
        "both must see the same: {objects:?}"
    );
}

/// Runs a child; its numbers and the time from start to end of the process.
fn measure(command: &mut Command) -> Sample {
    let start = Instant::now();
    let done = command.output().unwrap();
    let wall = start.elapsed().as_nanos();
    assert!(
        done.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    let text = String::from_utf8(done.stdout).unwrap();
    let mut sample: Sample = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
        .collect();
    sample.insert("wall".to_owned(), wall.try_into().unwrap());
    sample
}

fn log(profile: Profile) -> PathBuf {
    if let Some(folder) = std::env::var_os("MAINTNER_BENCH_LOG") {
        return folder.into();
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("log-{}", profile.name()));
    if !folder.join("manifest.json").exists() {
        Generator::new(profile).seed(1).write(&folder).unwrap();
    }
    folder
}

/// The same files under the only names that the Go disk log reads.
fn for_go(ours: &Path) -> (PathBuf, tempfile::TempDir) {
    let links = tempfile::tempdir().unwrap();
    for segment in LogFolder::open(ours).unwrap().segments() {
        let name = links.path().join(format!("maintner-{}", segment.name()));
        std::os::unix::fs::symlink(segment.path(), name).unwrap();
    }
    (links.path().to_owned(), links)
}

fn build_peer() -> PathBuf {
    let peer = Path::new(env!("CARGO_TARGET_TMPDIR")).join("maintload");
    let built = Command::new("go")
        .args(["build", "-o"])
        .arg(&peer)
        .arg("./maintload")
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/go"))
        .status();
    assert!(built.unwrap().success(), "the Go peer cannot be built");
    peer
}

/// Drops the log from the page cache, or brings it in.
fn evict(folder: &Path, cold: bool) {
    let snapshot = snapshot_file(folder);
    let files = LogFolder::open(folder)
        .unwrap()
        .segments()
        .iter()
        .map(Segment::path)
        .chain([snapshot])
        .collect::<Vec<_>>();
    for file in files {
        if cold {
            let arg = format!("if={}", file.display());
            let done = Command::new("dd")
                .args([&arg, "iflag=nocache", "count=0", "status=none"])
                .status();
            assert!(done.unwrap().success());
        } else {
            std::io::copy(
                &mut std::fs::File::open(file).unwrap(),
                &mut std::io::sink(),
            )
            .unwrap();
        }
    }
}
