//! Damage to what the farm keeps, through the real program.

use std::path::{Path, PathBuf};

use crate::repo::Repo;

/// The files of a folder below the data directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = dir.read_dir().unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_file()).collect()
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = at.min(bytes.len() - 1);
    bytes[at] ^= 0x20;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_flipped_byte_in_a_cache_or_a_packed_source_is_made_good() {
    let repo = Repo::new();
    let config = "[[step]]\nname = \"x\"\ncache = [\"c\"]\n\
                  run = \"test -e c/kept && echo warm || echo cold; mkdir -p c; date > c/kept\"\n";
    repo.write(".farmer.toml", config).commit("first");
    let cold = repo.run(&["build"]).exits(0).out();
    assert!(cold.contains("cold"), "{cold}");
    repo.commit("second");
    let warm = repo.run(&["build"]).exits(0).out();
    assert!(warm.contains("warm"), "{warm}");
    let blobs = repo.data().join("blobs");
    // The begin, somewhere inside, the checksum.
    for at in [0, 60, usize::MAX] {
        let kinds = ["cache", "source"];
        let damaged: Vec<_> = kinds
            .iter()
            .flat_map(|kind| files(&blobs.join(kind)))
            .collect();
        assert!(damaged.len() >= 3, "{damaged:?}");
        damaged.iter().for_each(|path| flip(path, at));
        let same_commit = repo.run(&["build"]).exits(0).out();
        assert!(same_commit.contains("cold"), "{same_commit}");
        repo.commit("next");
        repo.run(&["build"]).exits(0);
    }
    // The source of a commit knows its tags.
    let describe = "[[step]]\nname = \"x\"\nrun = \"git describe --always\"\n";
    repo.write(".farmer.toml", describe).commit("describe");
    repo.run(&["build"]).exits(0);
    repo.git(&["tag", "-a", "-m", "v1", "v1"]);
    let told = repo.run(&["build", "--rev", "v1"]).exits(0).out();
    assert!(told.lines().any(|line| line.trim() == "x | v1"), "{told}");
}

#[test]
fn a_finished_build_leaves_no_machines_behind() {
    let repo = Repo::new();
    repo.write(".farmer.toml", "[[step]]\nname = \"x\"\nrun = \"true\"\n")
        .commit("first");
    repo.run(&["build"]).exits(0);
    let left: Vec<_> = repo
        .data()
        .join("machines/local")
        .read_dir()
        .unwrap()
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_damaged_log_is_said_as_such() {
    let repo = Repo::new();
    repo.write(
        ".farmer.toml",
        "[[step]]\nname = \"x\"\nrun = \"echo hello\"\n",
    )
    .commit("first");
    repo.run(&["build"]).exits(0);
    let build = repo
        .data()
        .join("logs")
        .read_dir()
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let log = files(&build)
        .into_iter()
        .find(|path| path.extension().is_some_and(|e| e == "log"));
    flip(&log.unwrap(), 2);
    let run = repo.run(&["log"]).exits(3);
    assert!(run.err().contains("the log is damaged"), "{}", run.err());
    let told = repo.run(&["doctor"]).exits(1).out();
    assert!(
        told.contains("the log ") && told.contains("1 thing is wrong"),
        "{told}"
    );
    let told = repo.run(&["doctor", "--mend", "--json"]).exits(1).events();
    assert_eq!(told[0]["mended"], false, "{told:?}");
}
