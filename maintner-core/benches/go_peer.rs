//! Our corpus beside the Go corpus on one synthetic log, taking turns, each in a
//! process of its own.
//!
//! `cargo bench -p maintner-core --no-default-features --bench go_peer -- [PROFILE] [RUNS]`
//! makes the log (default go2020, 1.6 GB, seed 1; kept in the target folder), builds the
//! Go peer, and prints a table of medians and the raw samples in Markdown. A folder of a
//! finished log may be given by the environment variable `MAINTNER_BENCH_LOG`.
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on ends")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use maintner_core::generate::{Generator, Profile};
use maintner_core::log::{LogFolder, LogWriter, Segment};
use maintner_core::pb::Mutation;
use maintner_core::{Corpus, Options, View};
use prost::Message as _;

mod mutations;

/// What a child measured, by name.
type Sample = BTreeMap<String, u64>;

/// Updates that a child measures.
const UPDATES: u32 = 2_000;

fn main() {
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| arg != "--bench")
        .collect();
    match args.first().map(String::as_str) {
        Some("child") => child(Path::new(&args[1]), &args[2]),
        profile => {
            let profile: Profile = profile.unwrap_or("go2020").parse().unwrap();
            let runs = args.get(1).map_or(3, |runs| runs.parse().unwrap());
            compare(profile, runs);
        }
    }
}

/// Opens the corpus and asks what the Go peer is asked.
fn child(folder: &Path, mode: &str) {
    if mode == "live" {
        return live(folder);
    }
    let start = Instant::now();
    let options = match mode {
        "snapshot" => Options::default().snapshot_file(snapshot_file(folder)),
        _ => Options::default().snapshot(false),
    };
    let corpus = Corpus::open_with(folder, options.verify(true)).unwrap();
    let view = corpus.view();
    let repo = view.github().repo("golang/go").unwrap();
    let issue = repo.issue(1).unwrap();
    println!("title {}", issue.title().split(' ').next().unwrap());
    println!("load {}", start.elapsed().as_nanos());
    kib(
        "/proc/self/smaps_rollup",
        &[("Rss:", "rss"), ("Anonymous:", "anonymous")],
    );
    kib("/proc/self/status", &[("VmHWM:", "peak")]);

    let start = Instant::now();
    let objects: usize = view
        .github()
        .repos()
        .flat_map(|r| r.issues().with_tombstones())
        .map(|i| 1 + i.comments().count())
        .sum();
    println!("objects {objects}");
    println!("scan {}", start.elapsed().as_nanos());
    ancestor(&view);
}

/// Prints lines of a file of the kernel's that hold a name and a number of KiB.
fn kib(file: &str, wanted: &[(&str, &str)]) {
    for line in std::fs::read_to_string(file).unwrap().lines() {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap_or_default();
        if let Some((_, ours)) = wanted.iter().find(|(theirs, _)| *theirs == name) {
            println!("{ours} {}", words.next().unwrap());
        }
    }
}

/// Whether the first commit of master is an ancestor of the last: once, as the peer is asked,
/// and many times.
fn ancestor(view: &View) {
    let project = view.gerrit().project("go.googlesource.com", "go").unwrap();
    let tip = view
        .git()
        .commit(project.try_ref("refs/heads/master").unwrap())
        .unwrap();
    let root = tip.first_parents().last().unwrap();
    let start = Instant::now();
    println!("related {}", tip.has_ancestor(&root));
    println!("ancestor {}", start.elapsed().as_nanos());
    let start = Instant::now();
    let related = (0..1_000).filter(|_| tip.has_ancestor(&root)).count();
    println!("again {related}");
    println!("ancestor_again {}", start.elapsed().as_nanos() / 1_000);
}

/// Follows a log that grows by one mutation at a time, in a copy of the folder.
fn live(folder: &Path) {
    let copy = tempfile::tempdir_in(folder.parent().unwrap()).unwrap();
    for segment in LogFolder::open(folder).unwrap().segments() {
        let name = copy.path().join(segment.name().to_string());
        if segment.name().sha224().is_some() {
            std::os::unix::fs::symlink(segment.path(), name).unwrap();
        } else {
            std::fs::copy(segment.path(), name).unwrap();
        }
    }
    let options = Options::default().snapshot_file(snapshot_file(folder));
    let corpus = Corpus::open_with(copy.path(), options).unwrap();
    let mut writer = LogWriter::open(copy.path()).unwrap();
    let (mut appends, mut updates) = (Vec::new(), Vec::new());
    for n in 0..UPDATES {
        let payload = mutation(n).encode_to_vec();
        let start = Instant::now();
        writer.append(&[&payload]).unwrap();
        appends.push(start.elapsed().as_nanos());
        let before = corpus.view().generation();
        let start = Instant::now();
        let change = corpus.update().unwrap().unwrap();
        updates.push(start.elapsed().as_nanos());
        assert!(change.view().generation() > before, "it is published");
    }
    for (name, mut times) in [("append", appends), ("update", updates)] {
        times.sort_unstable();
        let at = |percent: usize| times[times.len() * percent / 100];
        println!("{name}_p50 {}\n{name}_p99 {}", at(50), at(99));
        println!("{name}_max {}", times[times.len() - 1]);
    }
}

/// By turns a comment on some issue, with a new title, and a commit on master.
fn mutation(n: u32) -> Mutation {
    match n.is_multiple_of(2) {
        true => mutations::comment(n, 1 + n * 7_919 % 40_000),
        false => mutations::commit(n),
    }
}

fn snapshot_file(folder: &Path) -> PathBuf {
    folder.with_extension("snap")
}

fn compare(profile: Profile, runs: usize) {
    let ours = log(profile);
    // Pages that are not on the disk yet cannot be dropped.
    assert!(Command::new("sync").status().unwrap().success());
    let (go_log, _links) = for_go(&ours);
    let peer = build_peer();
    let itself = std::env::current_exe().unwrap();
    let run = |mode: &str| {
        let mut command = Command::new(&itself);
        command.arg("child").arg(&ours).arg(mode);
        command
    };
    // The first run leaves the snapshot behind.
    measure(&mut run("snapshot"));
    assert!(
        snapshot_file(&ours).exists(),
        "opening with a snapshot file writes it"
    );
    let mut samples = Samples::default();
    for _ in 0..runs {
        for cache in ["cold", "warm"] {
            for (who, mut command) in [
                ("ours", run("fresh")),
                ("Go", Command::new(&peer)),
                ("snapshot", run("snapshot")),
            ] {
                if who == "Go" {
                    command.arg(&go_log);
                }
                evict(&ours, cache == "cold");
                samples.add(who, cache, measure(&mut command));
            }
            eprintln!("{cache} round done");
        }
        samples.add("live", "warm", measure(&mut run("live")));
    }
    samples.check();
    let bytes = LogFolder::open(&ours).unwrap().end().bytes();
    println!("Log of {bytes} bytes, profile {}.\n", profile.name());
    samples.print_table();
    samples.print_raw();
}

/// All samples, by who was measured and the state of the page cache.
#[derive(Default)]
struct Samples(BTreeMap<(&'static str, &'static str), Vec<Sample>>);

/// Rows of the table: what, field of ours, field of the peer's, divisor, unit.
const ROWS: [(&str, &str, (&str, &str), f64); 11] = [
    ("load to the first title, s", "ours", ("load", "load"), 1e9),
    ("the same, process CPU, s", "ours", ("cpu", "cpu"), 1e9),
    (
        "resident after load, MB",
        "ours",
        ("rss", "rss"),
        1e6 / 1024.0,
    ),
    (
        "resident at most, MB",
        "ours",
        ("peak", "rss"),
        1e6 / 1024.0,
    ),
    (
        "anonymous after load, MB",
        "ours",
        ("anonymous", "anonymous"),
        1e6 / 1024.0,
    ),
    (
        "snapshot to the first title, ms",
        "snapshot",
        ("load", "load"),
        1e6,
    ),
    ("all issues and comments, ms", "ours", ("scan", "scan"), 1e6),
    (
        "the same, just opened from a snapshot, ms",
        "snapshot",
        ("scan", "scan"),
        1e6,
    ),
    (
        "has_ancestor, first call, µs",
        "ours",
        ("ancestor", "ancestor"),
        1e3,
    ),
    (
        "the same, just opened from a snapshot, µs",
        "snapshot",
        ("ancestor", "ancestor"),
        1e3,
    ),
    (
        "has_ancestor, repeated, µs",
        "ours",
        ("ancestor_again", "ancestor"),
        1e3,
    ),
];

impl Samples {
    fn add(&mut self, who: &'static str, cache: &'static str, sample: Sample) {
        self.0.entry((who, cache)).or_default().push(sample);
    }

    /// Both must have seen the same.
    fn check(&self) {
        let all = self.0.values().flatten();
        let objects: Vec<_> = all.filter_map(|sample| sample.get("objects")).collect();
        assert!(
            objects.windows(2).all(|two| two[0] == two[1]),
            "{objects:?}"
        );
    }

    fn median(&self, who: &'static str, cache: &'static str, field: &str) -> Option<f64> {
        let all = self.0.get(&(who, cache))?.iter();
        let mut values: Vec<u64> = all
            .filter_map(|sample| sample.get(field).copied())
            .collect();
        values.sort_unstable();
        values.get(values.len() / 2).map(|&value| value as f64)
    }

    fn print_table(&self) {
        println!("| medians | cache | ours | Go | ratio |\n|---|---|---|---|---|");
        for (what, who, (field, of_go), divisor) in ROWS {
            for cache in ["cold", "warm"] {
                let ours = self.median(who, cache, field);
                let go = self.median("Go", cache, of_go);
                if let (Some(ours), Some(go)) = (ours, go) {
                    let (a, b) = (ours / divisor, go / divisor);
                    println!("| {what} | {cache} | {a:.3} | {b:.3} | {:.1} |", b / a);
                }
            }
        }
        for field in [
            "update_p50",
            "update_p99",
            "update_max",
            "append_p50",
            "append_p99",
        ] {
            let micros = self.median("live", "warm", field).unwrap_or_default() / 1e3;
            println!("| live: {field}, µs | warm | {micros:.0} | cannot | |");
        }
    }

    fn print_raw(&self) {
        println!("\nTimes in nanoseconds, memory in KiB.\n\n```text");
        for ((who, cache), all) in &self.0 {
            println!("{who} {cache}");
            for field in all[0].keys() {
                let values = all.iter().filter_map(|sample| sample.get(field));
                let values: Vec<String> = values.map(u64::to_string).collect();
                println!("  {field:15} {}", values.join(" "));
            }
        }
        println!("```");
    }
}

/// CPU time of this process' children that have ended, in nanoseconds.
fn children_cpu() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // After the name, which is in parentheses, cutime and cstime are the fields 13 and 14, in
    // hundredths of a second.
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks = fields.split(' ').skip(13).take(2);
    ticks
        .map(|ticks| ticks.parse::<u64>().unwrap())
        .sum::<u64>()
        * 10_000_000
}

/// Runs a child; its numbers, the time from start to end of the process, and its CPU time.
fn measure(command: &mut Command) -> Sample {
    let cpu = children_cpu();
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
    sample.insert("cpu".to_owned(), children_cpu() - cpu);
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
