//! The corpus against the reference applier: whatever the log, however it is loaded.

use std::path::Path;

use maintner_core::dump::Dump;
use maintner_core::generate::{Fault, Generator, Profile};
use maintner_core::log::{LogFolder, LogWriter, Records};
use maintner_core::{Corpus, Options};

use crate::reference::Reference;

fn options() -> Options {
    Options::default().snapshot(false)
}

/// The first lines that differ, for people.
fn assert_same(ours: &Dump, wanted: &Dump, what: &str) {
    if ours.fingerprint() == wanted.fingerprint() {
        return;
    }
    let missing: Vec<_> = wanted
        .lines()
        .iter()
        .filter(|line| ours.lines().binary_search(line).is_err())
        .take(3)
        .collect();
    let extra: Vec<_> = ours
        .lines()
        .iter()
        .filter(|line| wanted.lines().binary_search(line).is_err())
        .take(3)
        .collect();
    panic!("{what}: missing {missing:#?}, instead of them {extra:#?}");
}

fn check(folder: &Path, what: &str) {
    let segments = LogFolder::open(folder).unwrap().segments().to_vec();
    let wanted = Reference::load(segments).dump();
    for workers in [1, 2] {
        let corpus = Corpus::open_with(folder, options().workers(workers)).unwrap();
        assert_same(
            &corpus.view().canonical_dump(),
            &wanted,
            &format!("{what}, {workers} workers"),
        );
    }
}

#[test]
fn every_fault_gives_the_same_dump_as_the_reference() {
    let dir = tempfile::tempdir().unwrap();
    for fault in Fault::ALL {
        let folder = dir.path().join(fault.name());
        Generator::new(Profile::Tiny)
            .seed(3)
            .fault(fault)
            .records(4_000)
            .write(&folder)
            .unwrap();
        check(&folder, fault.name());
    }
}

#[test]
fn a_whole_log_gives_the_same_dump_as_the_reference() {
    let dir = tempfile::tempdir().unwrap();
    Generator::new(Profile::Tiny)
        .seed(1)
        .write(dir.path())
        .unwrap();
    check(dir.path(), "seed 1");
}

#[test]
fn a_log_read_bit_by_bit_gives_the_same_dump_as_the_reference() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    Generator::new(Profile::Tiny)
        .seed(5)
        .records(6_000)
        .write(&whole)
        .unwrap();
    let folder = LogFolder::open(&whole).unwrap();
    let wanted = Reference::load(folder.segments().to_vec()).dump();
    let bytes = folder.segments()[0].load().unwrap();
    let payloads: Vec<&[u8]> = Records::new(&bytes)
        .map(|record| record.unwrap().payload())
        .collect();

    let snapshot = dir.path().join("corpus.snap");
    let part = dir.path().join("part");
    std::fs::create_dir(&part).unwrap();
    let mut writer = LogWriter::open(&part).unwrap();
    let options = options().snapshot_file(&snapshot);
    let mut corpus = Corpus::open_with(&part, options.clone()).unwrap();
    let mut first = None;
    for (round, some) in payloads.chunks(97).enumerate() {
        writer.append(some).unwrap();
        corpus.update().unwrap().unwrap();
        if round == 20 {
            first = Some(corpus.view());
        }
        if round % 10 == 0 {
            corpus.save_snapshot(&snapshot).unwrap();
            corpus = Corpus::open_with(&part, options.clone()).unwrap();
            assert!(corpus.started_from_snapshot());
        }
    }
    assert_same(&corpus.view().canonical_dump(), &wanted, "in rounds");
    let first = first.unwrap();
    let again = corpus.view().at(first.position()).unwrap();
    assert_same(
        &again.canonical_dump(),
        &first.canonical_dump(),
        "position travel",
    );
}
