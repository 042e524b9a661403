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
use maintner_core::pb::Mutation;
use maintner_core::source::MutationSink as _;
use maintner_core::{Corpus, Options};

mod mutations;

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
    match n % 3 {
        0 => mutations::comment(n, 1 + n * 7_919 % 1_000),
        1 => mutations::comment(n, 1_000_000 + n),
        _ => mutations::commit(n),
    }
}
