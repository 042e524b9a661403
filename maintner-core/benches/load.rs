//! How fast a log becomes answers.
//!
//! Reads the log in `$MAINTNER_BENCH_LOG`, or writes one of the profile `tiny` (seed 1) first.
//! Prints what the corpus takes in memory for each object, then measures; elements are
//! segments.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed bench")]

use std::hint::black_box;
use std::path::PathBuf;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use maintner_core::generate::{Generator, Profile};
use maintner_core::log::{LogFolder, LogPosition};
use maintner_core::pb::{GithubIssueMutation, Mutation, Timestamp};
use maintner_core::source::{MemoryLog, MutationSink};
use maintner_core::{Corpus, GitHash, Options, View};

/// The log to measure, and the folder to remove afterwards if it was made here.
fn log() -> (PathBuf, Option<tempfile::TempDir>) {
    if let Some(folder) = std::env::var_os("MAINTNER_BENCH_LOG") {
        return (folder.into(), None);
    }
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("log");
    Generator::new(Profile::Tiny)
        .seed(1)
        .write(&folder)
        .unwrap();
    (folder, Some(dir))
}

fn options() -> Options {
    Options::default().snapshot(false)
}

/// Kilobytes of one kind of memory of this process.
fn memory(kind: &str) -> f64 {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = rollup
        .lines()
        .find(|line| line.starts_with(kind))
        .unwrap_or_default();
    line.split_whitespace()
        .nth(1)
        .map_or(f64::NAN, |number| number.parse().unwrap())
}

fn count(view: &View) -> (usize, usize) {
    let mut objects = view
        .git()
        .commits()
        .map(|commit| 1 + commit.files().count())
        .sum();
    let mut bytes = 0;
    for issue in view.github().repos().flat_map(|repo| repo.issues()) {
        objects += 1 + issue.events().count();
        bytes += issue.title().len() + issue.body().len();
        for comment in issue.comments() {
            objects += 1;
            bytes += comment.body().len();
        }
    }
    (objects, bytes)
}

fn loading(c: &mut Criterion) {
    let (folder, _keep) = log();
    let segments = LogFolder::open(&folder).unwrap().segments().len();
    let before = memory("Anonymous");
    let corpus = Corpus::open_with(&folder, options()).unwrap();
    let used = memory("Anonymous") - before;
    let (objects, _) = count(&corpus.view());
    println!(
        "{objects} objects in {used:.0} kB: {:.1} bytes each",
        used * 1024.0 / objects as f64
    );

    let mut group = c.benchmark_group("load");
    group
        .sample_size(10)
        .throughput(Throughput::Elements(segments as u64));
    group.bench_function("checked", |b| {
        b.iter(|| Corpus::open_with(&folder, options()).unwrap());
    });
    group.bench_function("unchecked", |b| {
        b.iter(|| Corpus::open_with(&folder, options().verify(false)).unwrap());
    });
    let snapshot = tempfile::NamedTempFile::new().unwrap();
    corpus.save_snapshot(snapshot.path()).unwrap();
    group.bench_function("snapshot", |b| {
        b.iter(|| {
            let options = Options::default().snapshot_file(snapshot.path());
            let corpus = Corpus::open_with(&folder, options).unwrap();
            assert!(corpus.started_from_snapshot());
            corpus
        });
    });
    group.finish();
}

fn asking(c: &mut Criterion) {
    let (folder, _keep) = log();
    let view = Corpus::open_with(&folder, options()).unwrap().view();
    c.bench_function("scan issues and comments", |b| {
        b.iter(|| count(black_box(&view)));
    });
    c.bench_function("open issues with labels", |b| {
        b.iter(|| {
            let open = view.github().repos().flat_map(|repo| repo.issues().open());
            open.map(|issue| issue.labels().count()).sum::<usize>()
        });
    });
    let longest = view.gerrit().projects().flat_map(|project| project.refs());
    let longest = longest
        .max_by_key(|found| found.commit().first_parents().count())
        .unwrap();
    let line: Vec<GitHash> = longest
        .commit()
        .first_parents()
        .map(|commit| commit.hash())
        .collect();
    let (tip, root) = (line[0], line[line.len() - 1]);
    println!(
        "the longest line of first parents has {} commits",
        line.len()
    );
    c.bench_function("has_ancestor, tip to root", |b| {
        b.iter(|| {
            view.git()
                .has_ancestor(black_box(tip), black_box(root))
                .unwrap()
        });
    });
    c.bench_function("has_ancestor, not", |b| {
        b.iter(|| {
            view.git()
                .has_ancestor(black_box(line[line.len() / 2]), black_box(tip))
                .unwrap()
        });
    });
}

/// One issue changes: read, applied and published, while an older view is still held.
fn updating(c: &mut Criterion) {
    let (folder, _keep) = log();
    let mut bytes = Vec::new();
    for segment in LogFolder::open(&folder).unwrap().segments() {
        for record in maintner_core::log::Records::new(&segment.load().unwrap()) {
            bytes.push(record.unwrap().payload().to_vec());
        }
        if bytes.len() > 100_000 {
            break;
        }
    }
    let mut log = MemoryLog::new();
    let payloads: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
    log.append(&payloads).unwrap();
    let corpus = Corpus::load(log.clone(), options()).unwrap();
    let mut number = 0;
    c.bench_function("live update", |b| {
        b.iter(|| {
            number += 1;
            let issue = GithubIssueMutation {
                owner: "golang".to_owned(),
                repo: "go".to_owned(),
                number: 1 + number % 300,
                created: Some(Timestamp {
                    seconds: 1,
                    nanos: 0,
                }),
                title: format!("title {number}"),
                ..GithubIssueMutation::default()
            };
            let held = corpus.view();
            log.append_mutations(&[Mutation {
                github_issue: Some(issue),
                ..Mutation::default()
            }])
            .unwrap();
            assert!(corpus.update().unwrap().is_some());
            held.position() > LogPosition::START
        });
    });
}

criterion_group!(benches, loading, asking, updating);
criterion_main!(benches);
