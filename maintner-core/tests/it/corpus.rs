//! The corpus against the reference applier: whatever the log, however it is loaded.

use std::path::Path;

use maintner_core::dump::Dump;
use maintner_core::generate::{Fault, Generator, Profile};
use maintner_core::log::LogFolder;
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
            .records(8_000)
            .write(&folder)
            .unwrap();
        check(&folder, fault.name());
    }
}

#[test]
fn several_seeds_give_the_same_dump_as_the_reference() {
    let dir = tempfile::tempdir().unwrap();
    for seed in 1..3 {
        let folder = dir.path().join(seed.to_string());
        Generator::new(Profile::Tiny)
            .seed(seed)
            .write(&folder)
            .unwrap();
        check(&folder, &format!("seed {seed}"));
    }
}
