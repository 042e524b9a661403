//! What a step sees of its repository, and what is said about repositories that cannot be built.

use std::time::{Duration, Instant};

use crate::repo::{Repo, git_in};

#[test]
fn a_step_sees_submodules() {
    let (library, repo) = (Repo::new(), Repo::new());
    library.write("answer", "42\n").commit("library");
    repo.git(&[
        "submodule",
        "add",
        "-q",
        library.path().to_str().unwrap(),
        "lib",
    ]);
    repo.write("Makefile", "all:\n\tcat lib/answer\n")
        .commit("uses the library");
    let run = repo.run(&["build"]).exits(0);
    assert!(run.out().contains("42"), "{}", run.out());
}

#[test]
fn a_step_can_describe_its_commit() {
    let repo = Repo::new();
    repo.write("Makefile", "all:\n\tgit describe --tags\n")
        .commit("first");
    repo.git(&["tag", "-a", "v1.2.3", "-m", "release"]);
    for n in 0..60 {
        repo.write("n", &n.to_string()).commit("more");
    }
    let run = repo.run(&["build"]).exits(0);
    assert!(run.out().contains("v1.2.3-60-g"), "{}", run.out());
}

#[test]
fn modes_and_times_are_those_of_the_commit() {
    let repo = Repo::new();
    repo.write(
        "run.sh",
        "#!/bin/sh\nstat -c %Y run.sh; git log -1 --format=%ct; git status --porcelain\n",
    )
    .write("Makefile", "all:\n\t@./run.sh\n");
    repo.git(&["add", "-A"]);
    repo.git(&["update-index", "--chmod=+x", "run.sh"]);
    repo.git(&["commit", "-q", "-m", "first"]);
    let run = repo.run(&["build"]).exits(0);
    let times: Vec<String> = run
        .out()
        .lines()
        .filter_map(|l| l.split_whitespace().last())
        .map(str::to_owned)
        .filter(|w| w.parse::<u64>().is_ok())
        .collect();
    assert_eq!(times.len(), 2, "{}", run.out());
    assert_eq!(times[0], times[1], "{}", run.out());
}

#[test]
fn uncommitted_files_are_counted_and_built_only_when_asked() {
    let repo = Repo::new();
    repo.write("Makefile", "all:\n\tcat word\n")
        .write("word", "committed\n")
        .commit("first");
    repo.write("word", "edited\n").write("other", "");
    let run = repo.run(&["build"]).exits(0);
    assert!(
        run.err()
            .contains("2 uncommitted files are not built; --worktree builds them"),
        "{}",
        run.err()
    );
    assert!(run.out().contains("committed"), "{}", run.out());
    let run = repo.run(&["build", "--worktree"]).exits(0);
    assert!(run.out().contains("edited"), "{}", run.out());
}

#[test]
fn an_empty_repository_is_refused_in_one_sentence() {
    let run = Repo::new().run(&["build"]).exits(2);
    assert!(run.err().contains("no commit"), "{}", run.err());
}

#[test]
fn a_directory_that_is_no_repository_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let repo = Repo::new();
    let run = repo.run(&["build", dir.path().to_str().unwrap()]).exits(2);
    assert!(
        run.err().contains("not in a git repository"),
        "{}",
        run.err()
    );
}

#[test]
fn an_unknown_revision_is_refused_by_name() {
    let repo = Repo::new();
    repo.write("Makefile", "all:\n").commit("first");
    let run = repo.run(&["build", "--rev", "nope"]).exits(2);
    assert!(run.err().contains("nope"), "{}", run.err());
}

#[test]
fn nothing_to_run_shows_a_sample() {
    let repo = Repo::new();
    repo.write("README", "hello\n").commit("first");
    let run = repo.run(&["build"]).exits(2);
    assert!(run.err().contains("[[step]]"), "{}", run.err());
}

#[test]
fn a_missing_tool_is_a_configuration_error_and_not_a_failure() {
    let repo = Repo::new();
    repo.write(
        ".farmer.toml",
        "[[step]]\nname = \"x\"\nrun = \"frobnicate\"\ntools = [\"frobnicate\"]\n",
    )
    .commit("first");
    let run = repo.run(&["build"]).exits(2);
    assert!(
        run.err()
            .contains("frobnicate: not found on PATH of builder local"),
        "{}",
        run.err()
    );
}

/// 300 MB of history must not be copied to build one commit of it.
#[test]
fn a_long_history_does_not_delay_the_first_output() {
    let repo = Repo::new();
    repo.write("Makefile", "all:\n\t@echo first output\n")
        .commit("first");
    let mut noise = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..10 {
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            noise.to_le_bytes()
        })
        .take(30 << 17)
        .flatten()
        .collect();
        std::fs::write(repo.path().join("noise"), bytes).unwrap();
        git_in(&repo.path(), &["-c", "core.compression=0", "add", "-A"]);
        repo.git(&["-c", "core.compression=0", "commit", "-q", "-m", "noise"]);
    }
    repo.git(&["rm", "-q", "noise"]);
    repo.commit("without the noise");
    let begin = Instant::now();
    repo.run(&["build"]).exits(0);
    // The promise is ten seconds to the first byte; the whole build, with the machine busy, is the upper bound.
    assert!(
        begin.elapsed() < Duration::from_secs(30),
        "took {:?}",
        begin.elapsed()
    );
}
