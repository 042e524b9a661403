//! The oracle and what it says about generated logs.

use std::path::Path;

use maintner_core::generate::{Fault, Generator, Profile};
use maintner_core::log::LogFolder;

use crate::reference::Reference;

fn reference_of(folder: &Path) -> Reference {
    Reference::load(LogFolder::open(folder).unwrap().segments().to_vec())
}

#[test]
fn the_reference_does_not_drift() {
    let dir = tempfile::tempdir().unwrap();
    Generator::new(Profile::Tiny)
        .seed(1)
        .write(dir.path())
        .unwrap();
    let reference = reference_of(dir.path());
    // Refs whose commits come later.
    assert_eq!(reference.skipped(), 11);
    let dump = reference.dump();
    assert_eq!(
        dump.fingerprint(),
        "54beefb9b7e4961f6f2bdc4ea8ca5e8a4663ebad3df54be7a28513d1f6542412"
    );
    for kind in [
        "cl",
        "comment",
        "commit",
        "event",
        "ghrepo",
        "ghuser",
        "issue",
        "label",
        "milestone",
        "ref",
        "review",
        "tombstone",
    ] {
        let start = format!("{{\"kind\":\"{kind}\",");
        assert!(
            dump.lines().iter().any(|line| line.starts_with(&start)),
            "no {kind}"
        );
    }
}

#[test]
fn each_fault_has_its_effect() {
    let dir = tempfile::tempdir().unwrap();
    let load = |name: &str, generator: Generator| {
        let folder = dir.path().join(name);
        generator.write(&folder).unwrap();
        reference_of(&folder)
    };
    let plain = load("plain", Generator::new(Profile::Tiny));
    let plain_dump = plain.dump();
    for fault in Fault::ALL {
        let faulty = load(fault.name(), Generator::new(Profile::Tiny).fault(fault));
        let (more, dump) = (faulty.skipped() - plain.skipped(), faulty.dump());
        let same = dump.fingerprint() == plain_dump.fingerprint();
        let placeholders = dump
            .lines()
            .iter()
            .filter(|l| l.contains("\"placeholder\""))
            .count();
        match fault {
            Fault::UnknownFields => assert!(same && more == 0),
            Fault::InvalidUtf8 => assert!(!same && more > 100),
            Fault::Unsafe => assert!(same && more > 100),
            Fault::Placeholders => assert!(!same && placeholders > 0),
            _ => assert!(!same && more == 0, "{}", fault.name()),
        }
    }
}
