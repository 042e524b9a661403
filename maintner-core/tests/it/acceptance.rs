//! The protocol's acceptance checks that need no server, by their numbers. Where another
//! module has the test:
//!
//! | Check | Test |
//! |---|---|
//! | 1, the documented bytes | `pb::tests::the_documented_segment_comes_out_byte_for_byte` |
//! | 2, cat and repair | `maintq::a_cut_log_is_shown_up_to_the_cut_and_repaired` of the programs |
//! | 3, faulty headers | `log::record::tests::each_fault_has_its_text`, fuzz target `records` |
//! | 4, logs of Go load and the reverse | `go_interop` |
//! | 10, equal to the reference | `corpus`, and `check_10_…` below for the large profiles |
//! | 11, readers and a writer | below, and `check_11_at_its_full_size` on request |
//! | 12, what Go cannot survive | `corpus::tests::senseless_input_is_counted_and_skipped` |
//! | 13, forked logs and damaged snapshots | `corpus::tests::a_snapshot_is_used_for_its_own_log_only` |
//! | 19, quoted names, tags, deleted branches | `go_interop`, `git` |
//! | 30, files by changes | `gostats` of the programs |
//! | 13, made-up snapshots | `snapshot::fuzz`, fuzz target `snapshot` |
//! | cuts, flips, forks, a full disk | `damage`, and `a_cut_anywhere_…` below |

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use maintner_core::generate::{Fault, Generator, Profile};
use maintner_core::log::{LogFolder, LogPosition, LogReader, LogWriter, Records, Sha224Hex};
use maintner_core::pb::{
    BoolChange, GitCommit, GitMutation, GithubIssueMutation, Mutation, Timestamp,
};
use maintner_core::query::UnixTime;
use maintner_core::source::{MemoryLog, MutationSink as _};
use maintner_core::{Corpus, GitHash, Options, View};
use prost::Message as _;

use crate::reference::Reference;

fn options() -> Options {
    Options::default().workers(2).snapshot(false)
}

fn payloads(folder: &Path) -> Vec<Vec<u8>> {
    let segments = LogFolder::open(folder).unwrap().segments().to_vec();
    let mut reader = LogReader::new(segments, LogPosition::START).unwrap();
    let mut all = Vec::new();
    while let Some((_, payload)) = reader.next_record().unwrap() {
        all.push(payload.to_vec());
    }
    all
}

#[test]
fn check_04_every_generated_record_is_decoded_and_encoded_to_its_bytes() {
    let dir = tempfile::tempdir().unwrap();
    Generator::new(Profile::Tiny)
        .seed(11)
        .records(8_000)
        .write(dir.path())
        .unwrap();
    for payload in payloads(dir.path()) {
        let mutation = Mutation::decode(&payload[..]).unwrap();
        assert_eq!(mutation.encode_to_vec(), payload, "{mutation:?}");
    }
}

#[test]
fn check_04_records_are_relayed_as_they_are() {
    // Fields and encodings of another version would be lost in decoding; a relay never decodes.
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    Generator::new(Profile::Tiny)
        .fault(Fault::UnknownFields)
        .fault(Fault::Unpacked)
        .records(2_000)
        .write(&from)
        .unwrap();
    let sent = payloads(&from);
    let changes =
        |payload: &Vec<u8>| Mutation::decode(&payload[..]).unwrap().encode_to_vec() != *payload;
    assert!(sent.iter().any(changes));
    let all: Vec<&[u8]> = sent.iter().map(Vec::as_slice).collect();
    LogWriter::open(&to).unwrap().append(&all).unwrap();
    assert_eq!(payloads(&to), sent);
    let dump = |folder: &Path| {
        let corpus = Corpus::open_with(folder, options()).unwrap();
        corpus.view().canonical_dump()
    };
    assert_eq!(dump(&from).lines(), dump(&to).lines());
}

#[test]
#[ignore = "gigabytes of logs: cargo test --release -p maintner-core --test it -- --ignored check_10"]
fn check_10_every_profile_equals_the_reference() {
    let dir = tempfile::tempdir().unwrap();
    for profile in Profile::ALL {
        let folder = dir.path().join(profile.name());
        Generator::new(profile).write(&folder).unwrap();
        let segments = LogFolder::open(&folder).unwrap().segments().to_vec();
        let wanted = Reference::load(segments).dump();
        let corpus = Corpus::open_with(&folder, options()).unwrap();
        let ours = corpus.view().canonical_dump();
        assert_eq!(
            ours.fingerprint(),
            wanted.fingerprint(),
            "{}",
            profile.name()
        );
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

#[test]
fn a_cut_anywhere_leaves_the_corpus_of_what_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    Generator::new(Profile::Tiny)
        .records(1_500)
        .segment_bytes(u64::MAX)
        .write(dir.path())
        .unwrap();
    let path = dir.path().join("0000.growing.mutlog");
    let log = std::fs::read(&path).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    let last = log.len() - (64 << 10);
    for cut in (last..log.len()).rev().step_by(4_099) {
        file.set_len(cut as u64).unwrap();
        let whole = Records::new(&log[..cut]).flatten();
        let (count, end) = whole.fold((0, 0), |(n, _), record| (n + 1, record.header().end()));
        let view = Corpus::open_with(dir.path(), options()).unwrap().view();
        assert_eq!(
            (view.records(), view.position().bytes()),
            (count, end),
            "cut at {cut}"
        );
    }
}

fn issue(number: i32) -> GithubIssueMutation {
    GithubIssueMutation {
        owner: "o".into(),
        repo: "r".into(),
        number,
        ..Default::default()
    }
}

fn of(issue: GithubIssueMutation) -> Mutation {
    Mutation {
        github_issue: Some(issue),
        ..Default::default()
    }
}

fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 0 })
}

/// Closes one issue and opens the other, in two records of one batch.
fn swap(round: usize) -> [Mutation; 2] {
    [1, 2].map(|number| {
        let closed = (round + number).is_multiple_of(2);
        of(GithubIssueMutation {
            closed: Some(BoolChange { val: closed }),
            updated: at(1_600_000_000 + round as i64),
            ..issue(number as i32)
        })
    })
}

/// The issues that are open, and when each was changed.
fn seen(view: &View) -> (usize, Vec<i64>) {
    let repo = view.github().repo("o/r").unwrap();
    let times = repo
        .issues()
        .map(|issue| issue.updated().unwrap().seconds());
    (repo.issues().open().count(), times.collect())
}

/// How often the calling thread has gone to sleep to wait for something; `None` where the system
/// does not tell.
fn sleeps() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/thread-self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("voluntary_"))?;
    line.split_whitespace().last()?.parse().ok()
}

/// What a reader saw.
#[derive(Default)]
struct Looks {
    looks: usize,
    /// Looks that slept for more than a millisecond before they had a view.
    waited: usize,
}

impl Looks {
    /// Looks at the newest version. A thread whose turn on a processor is over does not sleep,
    /// so what the other threads take is not counted.
    fn look(&mut self, corpus: &Corpus) {
        let before = sleeps();
        let start = Instant::now();
        let view = corpus.view();
        let long = start.elapsed() > Duration::from_millis(1);
        self.waited += usize::from(long && sleeps() > before);
        let (open, times) = seen(&view);
        assert_eq!((open, times[0]), (1, times[1]));
        self.looks += 1;
    }
}

/// 32 readers look while a writer applies batches of two records.
fn readers_and_a_writer(updates: usize) {
    let begin = [1, 2].map(|number| {
        of(GithubIssueMutation {
            created: at(1_500_000_000),
            ..issue(number)
        })
    });
    let mut log = MemoryLog::of(&begin);
    log.append_mutations(&swap(0)).unwrap();
    let corpus = Corpus::load(log.clone(), options()).unwrap();
    let done = AtomicBool::new(false);
    let read = || {
        let mut looks = Looks::default();
        while !done.load(Ordering::Relaxed) || looks.looks == 0 {
            looks.look(&corpus);
            std::thread::yield_now();
        }
        looks
    };
    let all: Vec<Looks> = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..32).map(|_| scope.spawn(read)).collect();
        for round in 1..=updates {
            log.append_mutations(&swap(round)).unwrap();
            corpus.update().unwrap().unwrap();
        }
        done.store(true, Ordering::Relaxed);
        let joined = readers.into_iter().map(|reader| reader.join().unwrap());
        joined.collect()
    });
    let sum = |what: fn(&Looks) -> usize| all.iter().map(what).sum::<usize>();
    println!("{} looks, {updates} updates", sum(|all| all.looks));
    assert_eq!(sum(|all| all.waited), 0, "readers never wait");
    assert!(all.iter().all(|reader| reader.looks > 0));
    let last = 1_600_000_000 + updates as i64;
    assert_eq!(seen(&corpus.view()).1, [last; 2]);
}

#[test]
fn check_11_no_reader_sees_half_a_batch_or_waits() {
    readers_and_a_writer(300);
}

#[test]
#[ignore = "minutes: cargo test --release -p maintner-core --test it -- --ignored check_11"]
fn check_11_at_its_full_size() {
    readers_and_a_writer(10_000);
}

#[test]
fn check_12_a_tombstone_that_comes_to_life_has_all_its_fields() {
    let gone = GithubIssueMutation {
        not_exist: true,
        ..issue(7)
    };
    let alive = GithubIssueMutation {
        created: at(1_500_000_000),
        updated: at(1_500_000_001),
        title: "back again".into(),
        ..issue(7)
    };
    let mut log = MemoryLog::of(&[of(gone.clone())]);
    let corpus = Corpus::load(log.clone(), options()).unwrap();
    let state = |corpus: &Corpus| {
        let view = corpus.view();
        let issue = view.github().repo("o/r").unwrap().issue(7).unwrap();
        (
            issue.exists(),
            issue.created().map(UnixTime::seconds),
            issue.title().to_owned(),
        )
    };
    assert!(!state(&corpus).0);
    log.append_mutations(&[of(alive)]).unwrap();
    corpus.update().unwrap().unwrap();
    let revived = (true, Some(1_500_000_000), "back again".to_owned());
    assert_eq!(state(&corpus), revived);
    log.append_mutations(&[of(gone)]).unwrap();
    corpus.update().unwrap().unwrap();
    assert!(!state(&corpus).0, "and gone again");
    assert_eq!(corpus.view().anomalies().total(), 0);
}

#[test]
fn check_13_a_snapshot_and_a_thousand_more_records_equal_a_full_load() {
    let dir = tempfile::tempdir().unwrap();
    let (made, log) = (dir.path().join("made"), dir.path().join("log"));
    Generator::new(Profile::Tiny)
        .seed(2)
        .records(4_000)
        .write(&made)
        .unwrap();
    let all = payloads(&made);
    let all: Vec<&[u8]> = all.iter().map(Vec::as_slice).collect();
    let (old, new) = all.split_at(all.len() - 1_000);
    let mut writer = LogWriter::open(&log).unwrap();
    writer.append(old).unwrap();
    let snapshot = dir.path().join("corpus.snap");
    let opened = || Corpus::open_with(&log, options().snapshot_file(&snapshot)).unwrap();
    opened().save_snapshot(&snapshot).unwrap();
    writer.append(new).unwrap();
    let (started, full) = (opened(), Corpus::open_with(&log, options()).unwrap());
    assert!(started.started_from_snapshot() && !full.started_from_snapshot());
    let dump = |corpus: &Corpus| corpus.view().canonical_dump();
    assert_eq!(dump(&started).lines(), dump(&full).lines());
}

#[test]
fn check_23_ancestors_in_a_long_chain() {
    const LONG: u32 = 30_000;
    let name = |n: u32| {
        let hash = Sha224Hex::of(&n.to_be_bytes());
        GitHash::new(*hash.as_bytes().first_chunk().unwrap())
    };
    let commit = |n: u32| {
        let parent = match n {
            0 => String::new(),
            n => format!("parent {}\n", name(n - 1)),
        };
        let who = "A <a@b> 1500000000 +0000";
        let raw = format!(
            "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n{parent}author {who}\ncommitter {who}\n\nx\n"
        );
        let commit = GitCommit {
            sha1: name(n).to_string(),
            raw: raw.into_bytes(),
            diff_tree: None,
        };
        let git = GitMutation {
            commit: Some(commit),
            ..Default::default()
        };
        Mutation {
            git: Some(git),
            ..Default::default()
        }
    };
    // Children first, as trackers write them.
    let chain: Vec<Mutation> = (0..LONG).rev().map(commit).collect();
    let view = Corpus::load(MemoryLog::of(&chain), options())
        .unwrap()
        .view();
    let related = |a, b| view.git().has_ancestor(name(a), name(b)).unwrap();
    assert!(related(LONG - 1, 0) && related(1, 0) && related(LONG - 1, LONG - 2));
    assert!(!related(0, LONG - 1) && !related(5, 5) && !related(5, 6));
    assert!(
        view.git().has_ancestor(name(LONG), name(0)).is_err(),
        "an unknown commit"
    );
}
