//! One record read, applied and published, in corpora of several sizes: what an update takes must
//! not grow with what is there.
//!
//! `cargo bench -p maintner-core --no-default-features --bench update -- [RECORDS…]` (100,000 and
//! 1,600,000 when nothing is said) writes a log of each size, opens it, from the log and from a
//! snapshot, and prints the medians and tails of 2,000 updates, the exponents of the growth from
//! the size before, and raw samples: the median of each hundred in a row, µs.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed bench")]

use std::path::Path;
use std::time::Instant;

use maintner_core::generate::{Generator, Profile};
use maintner_core::log::{LogFolder, LogWriter};
use maintner_core::pb::{
    GerritMutation, GitCommit, GitRef, GithubIssueCommentMutation, GithubIssueMutation, Mutation,
    Timestamp,
};
use maintner_core::source::MutationSink as _;
use maintner_core::{Corpus, Options};

const UPDATES: u32 = 2_000;

fn main() {
    let args = std::env::args().skip(1);
    let mut sizes: Vec<u64> = args.filter_map(|arg| arg.parse().ok()).collect();
    if sizes.is_empty() {
        sizes = vec![100_000, 1_600_000];
    }
    println!("| records | log, MB | started from | p50, µs | p99, µs | exponent |");
    println!("|---|---|---|---|---|---|");
    let mut raw = Vec::new();
    let mut before: [Option<(f64, f64)>; 2] = [None; 2];
    for records in sizes {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("log");
        let log = Generator::new(Profile::Go2020).seed(1).records(records);
        log.write(&folder).unwrap();
        let megabytes = LogFolder::open(&folder).unwrap().end().bytes() as f64 / 1e6;
        for (index, from) in ["log", "snapshot"].into_iter().enumerate() {
            let snapshot = dir.path().join("snapshot");
            let options = match from {
                "log" => Options::default().snapshot(false),
                _ => Options::default().snapshot_file(&snapshot),
            };
            if from == "snapshot" {
                let corpus = Corpus::open_with(&folder, options.clone()).unwrap();
                corpus.save_snapshot(&snapshot).unwrap();
            }
            let corpus = Corpus::open_with(&folder, options).unwrap();
            let times = updates(&corpus, &folder, index as u32 * UPDATES);
            let (p50, p99) = (at(&times, 50), at(&times, 99));
            let exponent = before[index].map_or("".to_owned(), |(size, time)| {
                format!("{:.2}", (p50 / time).ln() / (megabytes / size).ln())
            });
            println!("| {records} | {megabytes:.0} | {from} | {p50:.0} | {p99:.0} | {exponent} |");
            before[index] = Some((megabytes, p50));
            let hundreds = times.chunks(100).map(|some| format!("{:.0}", at(some, 50)));
            raw.push(format!(
                "{records} {from}: {}",
                hundreds.collect::<Vec<_>>().join(" ")
            ));
        }
    }
    println!("\n{}", raw.join("\n"));
}

/// A percentile.
fn at(times: &[f64], percent: usize) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() * percent / 100]
}

/// What each update took, µs.
fn updates(corpus: &Corpus, folder: &Path, first: u32) -> Vec<f64> {
    let mut writer = LogWriter::open(folder).unwrap();
    let mut times = Vec::new();
    for n in first..first + UPDATES {
        writer.append_mutations(&[mutation(n)]).unwrap();
        let begin = Instant::now();
        let change = corpus.update().unwrap();
        times.push(begin.elapsed().as_secs_f64() * 1e6);
        assert!(change.is_some(), "it is published");
    }
    times
}

/// By turns a comment on some issue, a new issue, and a commit on master.
fn mutation(n: u32) -> Mutation {
    let time = |seconds: u32| {
        let seconds = i64::from(seconds);
        Some(Timestamp { seconds, nanos: 0 })
    };
    if n % 3 < 2 {
        let fresh = n % 3 == 1;
        let comment = GithubIssueCommentMutation {
            id: i64::from(n) + (1 << 40),
            body: "a comment ".repeat(30),
            created: time(1_600_000_000 + n),
            updated: time(1_600_000_000 + n),
            ..GithubIssueCommentMutation::default()
        };
        let number = if fresh {
            1_000_000 + n
        } else {
            1 + n * 7_919 % 1_000
        };
        let issue = GithubIssueMutation {
            owner: "golang".to_owned(),
            repo: "go".to_owned(),
            number: number.cast_signed(),
            created: time(1_500_000_000),
            title: format!("title {n}"),
            comment: vec![comment],
            ..GithubIssueMutation::default()
        };
        return Mutation {
            github_issue: Some(issue),
            ..Mutation::default()
        };
    }
    let hash = format!("{:08x}{:032x}", n.wrapping_mul(0x9e37_79b9), n);
    let person = "A Gopher <gopher@example.com>";
    let time = 1_600_000_000 + n;
    let raw = format!(
        "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nauthor {person} {time} +0000\n\
         committer {person} {time} +0000\n\nsubject {n}\n\nbody\n"
    );
    let commit = GitCommit {
        sha1: hash.clone(),
        raw: raw.into_bytes(),
        diff_tree: None,
    };
    let reference = GitRef {
        r#ref: "refs/heads/master".to_owned(),
        sha1: hash,
    };
    let gerrit = GerritMutation {
        project: "go.googlesource.com/go".to_owned(),
        commits: vec![commit],
        refs: vec![reference],
        ..GerritMutation::default()
    };
    Mutation {
        gerrit: Some(gerrit),
        ..Mutation::default()
    }
}
