//! Stories of a corpus from its log to its answers.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::log::{LogFolder, LogPosition, LogWriter};
use crate::pb::{GithubIssueMutation, Mutation, Timestamp};
use crate::sample;
use crate::source::{MemoryLog, MutationSink, MutationSource};

fn write(folder: &Path, mutations: &[Mutation]) {
    LogWriter::open(folder)
        .unwrap()
        .append_mutations(mutations)
        .unwrap();
}

fn issue(number: i32, title: &str) -> Mutation {
    Mutation {
        github_issue: Some(GithubIssueMutation {
            owner: "golang".to_owned(),
            repo: "go".to_owned(),
            number,
            title: title.to_owned(),
            created: Some(Timestamp {
                seconds: 1,
                nanos: 0,
            }),
            ..GithubIssueMutation::default()
        }),
        ..Mutation::default()
    }
}

fn fingerprint(view: &View) -> String {
    view.canonical_dump().fingerprint()
}

#[test]
fn one_record_at_a_time_gives_the_same_corpus_as_all_at_once() {
    let whole = sample::corpus();
    let mut log = MemoryLog::new();
    let corpus = Corpus::load(log.clone(), Options::default()).unwrap();
    for mutation in sample::mutations() {
        log.append_mutations(&[mutation]).unwrap();
        assert!(corpus.update().unwrap().is_some());
    }
    assert!(corpus.update().unwrap().is_none(), "nothing new");
    assert_eq!(fingerprint(&corpus.view()), fingerprint(&whole.view()));
}

#[test]
fn views_do_not_change_and_older_ones_can_be_made_again() {
    let mut log = MemoryLog::of(&[issue(1, "old")]);
    let corpus = Corpus::load(log.clone(), Options::default()).unwrap();
    let old = corpus.view();
    log.append_mutations(&[issue(1, "new"), issue(2, "more")])
        .unwrap();
    let change = corpus.update().unwrap().unwrap();
    assert!(change.issues().map(|issue| issue.number()).eq([1, 2]));
    let title = |view: &View| {
        view.github()
            .repo("golang/go")
            .unwrap()
            .issue(1)
            .unwrap()
            .title()
            .to_owned()
    };
    assert_eq!(
        (title(&old), title(&corpus.view())),
        ("old".to_owned(), "new".to_owned())
    );
    let again = corpus.view().at(old.position()).unwrap();
    assert_eq!(fingerprint(&again), fingerprint(&old));
    let between = corpus
        .view()
        .at(LogPosition::new(old.position().bytes() + 3))
        .unwrap();
    assert_eq!(
        between.position(),
        old.position(),
        "the last whole record before"
    );
    assert!(old.at(corpus.view().position()).is_err());
}

#[test]
fn positions_since_the_start_are_reached_from_the_state_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let (log, snap) = (dir.path().join("log"), dir.path().join("snap"));
    std::fs::create_dir(&log).unwrap();
    write(&log, &sample::mutations());
    let options = Options::default().snapshot_file(&snap);
    let first = Corpus::open_with(&log, options.clone()).unwrap();
    first.save_snapshot(&snap).unwrap();
    write(&log, &[issue(21, "later")]);
    for corpus in [&first, &Corpus::open_with(&log, options).unwrap()] {
        corpus.update().unwrap();
        let before = corpus.view();
        write(&log, &[issue(22, "latest"), issue(3, "renamed")]);
        corpus.update().unwrap().unwrap();
        let now = corpus.view();
        let origin = now.state().origin.as_ref().unwrap();
        assert!(origin.position > 0 && origin.position < before.position().bytes());
        let again = now.at(before.position()).unwrap();
        assert_eq!(fingerprint(&again), fingerprint(&before));
        assert_eq!(again.records(), before.records());
        let start = now.at(LogPosition::START).unwrap();
        assert_eq!(start.github().repos().count(), 0);
    }
}

#[test]
fn a_snapshot_is_used_for_its_own_log_only() {
    let dir = tempfile::tempdir().unwrap();
    let (log, snap) = (dir.path().join("log"), dir.path().join("snap"));
    std::fs::create_dir(&log).unwrap();
    write(&log, &sample::mutations());
    let options = Options::default().snapshot_file(&snap);
    let corpus = Corpus::open_with(&log, options.clone()).unwrap();
    assert!(!corpus.started_from_snapshot());
    corpus.save_snapshot(&snap).unwrap();
    let wanted = fingerprint(&corpus.view());

    let reopened = Corpus::open_with(&log, options.clone()).unwrap();
    assert!(reopened.started_from_snapshot());
    assert_eq!(fingerprint(&reopened.view()), wanted);

    write(&log, &[issue(3, "renamed"), issue(9, "new")]);
    reopened.update().unwrap().unwrap();
    let fresh = Corpus::open_with(&log, Options::default().snapshot(false)).unwrap();
    assert_eq!(fingerprint(&reopened.view()), fingerprint(&fresh.view()));
    let late = Corpus::open_with(&log, options.clone()).unwrap();
    assert!(late.started_from_snapshot(), "the log only grew");
    assert_eq!(fingerprint(&late.view()), fingerprint(&fresh.view()));

    let other = dir.path().join("fork");
    std::fs::create_dir(&other).unwrap();
    let mut forked = sample::mutations();
    forked.insert(0, issue(3, "forked"));
    write(&other, &forked);
    assert!(
        !Corpus::open_with(&other, options)
            .unwrap()
            .started_from_snapshot()
    );
}

#[test]
fn a_damaged_snapshot_is_not_used() {
    let dir = tempfile::tempdir().unwrap();
    let (log, snap) = (dir.path().join("log"), dir.path().join("snap"));
    std::fs::create_dir(&log).unwrap();
    write(&log, &sample::mutations());
    let options = Options::default().snapshot_file(&snap);
    let corpus = Corpus::open_with(&log, options.clone()).unwrap();
    corpus.save_snapshot(&snap).unwrap();
    let wanted = fingerprint(&corpus.view());
    let good = std::fs::read(&snap).unwrap();
    let step = good.len() / 97;
    let mut refused = 0;
    for at in (0..good.len()).step_by(step) {
        let mut bad = good.clone();
        bad[at] ^= 0x40;
        std::fs::write(&snap, &bad).unwrap();
        let corpus = Corpus::open_with(&log, options.clone()).unwrap();
        let used = corpus.started_from_snapshot();
        let sound = corpus.check_snapshot().unwrap();
        assert!(sound || used && !corpus.started_from_snapshot());
        refused += usize::from(!used || !sound);
        assert_eq!(fingerprint(&corpus.view()), wanted, "byte {at}");
    }
    // Flips in the padding between sections harm nobody.
    assert!(refused > 30, "{refused} of 98");
    std::fs::write(&snap, &good[..good.len() - 1]).unwrap();
    assert!(
        !Corpus::open_with(&log, options)
            .unwrap()
            .started_from_snapshot()
    );
}

#[test]
fn a_log_that_was_rewritten_is_loaded_anew() {
    let dir = tempfile::tempdir().unwrap();
    write(
        dir.path(),
        &[issue(1, "one"), issue(2, "two"), issue(3, "three")],
    );
    let corpus = Corpus::open(dir.path()).unwrap();
    let file = LogFolder::open(dir.path()).unwrap().segments()[0].path();
    std::fs::remove_file(file).unwrap();
    write(dir.path(), &[issue(4, "four")]);
    let change = corpus.update().unwrap().unwrap();
    assert!(change.is_reset());
    let numbers = |view: &View| {
        let repo = view.github().repo("golang/go").unwrap();
        repo.issues()
            .map(|issue| issue.number())
            .collect::<Vec<_>>()
    };
    assert_eq!(numbers(&corpus.view()), [4]);
}

#[test]
fn a_record_being_written_is_read_once_it_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &[issue(1, "one"), issue(2, "two")]);
    let file = LogFolder::open(dir.path()).unwrap().segments()[0].path();
    let whole = std::fs::read(&file).unwrap();
    for cut in 1..30 {
        std::fs::write(&file, &whole[..whole.len() - cut]).unwrap();
        let corpus = Corpus::open_with(dir.path(), Options::default()).unwrap();
        let repo_issues = |view: &View| view.github().repo("golang/go").unwrap().issues().count();
        assert_eq!(repo_issues(&corpus.view()), 1);
        std::fs::write(&file, &whole).unwrap();
        corpus.update().unwrap().unwrap();
        assert_eq!(repo_issues(&corpus.view()), 2);
    }
}

#[test]
fn a_damaged_record_is_an_error_that_names_the_file() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &[issue(1, "one"), issue(2, "two")]);
    let file = LogFolder::open(dir.path()).unwrap().segments()[0].path();
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[0] = b'r';
    std::fs::write(&file, bytes).unwrap();
    let error = Corpus::open(dir.path()).unwrap_err();
    assert!(
        error.to_string().contains(file.to_str().unwrap()),
        "{error}"
    );
}

#[test]
fn senseless_input_is_counted_and_skipped() {
    let mut log = MemoryLog::of(&[issue(0, "no number"), issue(1, "fine")]);
    let nothing = GithubIssueMutation {
        created: None,
        ..issue(2, "x").github_issue.unwrap()
    };
    log.append_mutations(&[Mutation {
        github_issue: Some(nothing),
        ..Mutation::default()
    }])
    .unwrap();
    log.append(&[b"\x0a\x05junk"]).unwrap();
    let view = Corpus::load(log, Options::default()).unwrap().view();
    let anomalies = view.anomalies();
    let of = |kind| anomalies.of(kind);
    assert_eq!(of(Anomaly::VoidMutation), 1);
    assert_eq!(of(Anomaly::NoCreation), 1);
    assert_eq!(of(Anomaly::UndecodableRecord), 1);
    assert_eq!(anomalies.total(), 3);
    assert_eq!(view.records(), 4);
}

#[test]
fn followers_get_the_newest_state_and_the_sum_of_changes() {
    let mut log = MemoryLog::of(&[issue(1, "one")]);
    let corpus = Corpus::load(log.clone(), Options::default()).unwrap();
    let mut changes = corpus.follow();
    let mut slow = corpus.follow();
    let patience = std::time::Duration::from_secs(60);
    for number in 2..5 {
        log.append_mutations(&[issue(number, "more")]).unwrap();
        let change = changes.wait(patience).unwrap().unwrap();
        assert!(change.issues().map(|issue| issue.number()).eq([number]));
    }
    let sum = slow.wait(patience).unwrap().unwrap();
    assert!(sum.issues().map(|issue| issue.number()).eq([2, 3, 4]));
    assert!(!sum.is_reset());
    assert_eq!(sum.view().generation(), corpus.view().generation());
}

#[test]
fn hot_rows_keep_their_size() {
    assert_eq!(size_of::<text::TextRef>(), 8);
    assert_eq!(size_of::<commits::CommitRow>(), 48);
    assert_eq!(size_of::<commits::Graph>(), 20);
    assert_eq!(size_of::<commits::FileRow>(), 12);
    assert_eq!(size_of::<github::IssueRow>(), 112);
    assert_eq!(size_of::<github::CommentRow>(), 40);
    assert_eq!(size_of::<github::EventRow>(), 24);
    assert_eq!(size_of::<github::ReviewRow>(), 24);
    assert_eq!(size_of::<gerrit::ClRow>(), 48);
    assert_eq!(size_of::<gerrit::MessageRow>(), 16);
    assert_eq!(size_of::<gerrit::PatchSetRow>(), 8);
    assert_eq!(size_of::<scan::IssueOp>(), 24);
}

/// A log that its owner rolls back.
#[derive(Clone, Default)]
struct Rolling(Arc<std::sync::Mutex<(Vec<crate::log::Segment>, crate::source::Rewrites)>>);

impl MutationSource for Rolling {
    fn segments(&self) -> crate::Result<Vec<crate::log::Segment>> {
        Ok(self.0.lock().unwrap().0.clone())
    }

    fn wait(&self, _known: LogPosition, _patience: Duration) -> crate::Result<LogPosition> {
        Ok(self.segments()?.last().unwrap().end())
    }

    fn rewrites(&self, since: u64) -> crate::source::Rewrites {
        let now = self.0.lock().unwrap().1;
        crate::source::Rewrites {
            survived: now.survived.filter(|_| now.epoch > since),
            ..now
        }
    }
}

#[test]
fn a_log_that_is_rolled_back_is_not_read_from_its_beginning() {
    use crate::log::{Segment, SegmentName, Sha224Hex, encode_record};
    use prost::Message as _;

    let record = |out: &mut Vec<u8>, number: i32, title: &str| {
        let issue = crate::pb::GithubIssueMutation {
            owner: "o".into(),
            repo: "r".into(),
            number,
            title: title.into(),
            created: Some(crate::pb::Timestamp {
                seconds: 1,
                nanos: 0,
            }),
            ..Default::default()
        };
        let mutation = crate::pb::Mutation {
            github_issue: Some(issue),
            ..Default::default()
        };
        let offset = out.len() as u64;
        encode_record(out, offset, &mutation.encode_to_vec());
    };
    let dir = tempfile::tempdir().unwrap();
    let mut first = Vec::new();
    record(&mut first, 1, "in a file");
    let sha224 = Sha224Hex::of(&first);
    let name = SegmentName::Frozen { number: 0, sha224 };
    let path = dir.path().join(name.to_string());
    std::fs::write(&path, &first).unwrap();
    let file = Segment::file(name, LogPosition::START, first.len() as u64, path.clone());
    let growing = |bytes: &[u8]| {
        let name = SegmentName::Growing { number: 1 };
        Segment::memory(name, file.end(), bytes::Bytes::copy_from_slice(bytes))
    };
    let source = Rolling::default();
    let show = |bytes: &[u8]| source.0.lock().unwrap().0 = vec![file.clone(), growing(bytes)];
    let mut bytes = Vec::new();
    record(&mut bytes, 2, "stays");
    show(&bytes);
    let corpus = Corpus::load(source.clone(), Options::default().snapshot(false)).unwrap();
    let common = corpus.view().position();
    let kept = bytes.clone();
    record(&mut bytes, 3, "is taken back");
    show(&bytes);
    corpus.update().unwrap().unwrap();

    std::fs::remove_file(path).unwrap();
    bytes = kept;
    // Just as long as before: only the source can know.
    record(&mut bytes, 4, "was instead..");
    show(&bytes);
    source.0.lock().unwrap().1 = crate::source::Rewrites {
        epoch: 1,
        survived: Some(common),
    };
    let change = corpus.update().unwrap().unwrap();
    assert!(change.is_reset());
    let view = corpus.view();
    let numbers: Vec<i32> = view
        .github()
        .repo("o/r")
        .unwrap()
        .issues()
        .map(|issue| issue.number())
        .collect();
    assert_eq!(numbers, [1, 2, 4]);
    assert!(corpus.update().unwrap().is_none());
}
