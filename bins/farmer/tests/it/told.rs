//! What is said of builds: that one can never run, that a test failed, and what hostile text is.

use crate::repo::{Repo, Run};
use crate::up::{Farm, wait_for_build};

const HOSTILE: &str = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\u{202e}end";

#[track_caller]
fn is_harmless(what: &str, run: &Run) {
    let said = run.out() + &run.err();
    let bad = |c: char| (c.is_control() && !matches!(c, '\n' | '\t')) || c == '\u{202e}';
    assert!(!said.contains(bad), "{what}: {said:?}");
}

#[test]
fn a_label_that_no_machine_has_is_an_error_before_anything_waits() {
    let repo = Repo::new();
    repo.write(
        ".farmer.toml",
        "[[step]]\nname = \"x\"\nrun = \"true\"\n[[builder]]\nname = \"m\"\nlabels = [\"mac\"]\n",
    )
    .commit("first");
    for verb in ["check", "build"] {
        let run = repo.run(&[verb]).exits(2);
        let said = run.err();
        assert!(said.contains("no machine has label mac"), "{verb}: {said}");
        assert!(said.contains("[[host]]"), "{verb}: {said}");
    }
    // Labels that every machine of this program has are no matter.
    let own = format!(
        "[[step]]\nname = \"x\"\nrun = \"true\"\n[[builder]]\nname = \"m\"\nlabels = [\"{}\"]\n",
        std::env::consts::OS
    );
    repo.write(".farmer.toml", &own).commit("second");
    repo.run(&["check"]).exits(0);
}

#[test]
fn what_a_commit_says_is_shown_and_not_obeyed() {
    let repo = Repo::new();
    repo.write(
        ".farmer.toml",
        "[[step]]\nname = \"x\"\nrun = \"printf 'test a%b ... FAILED\\\\n' '\\\\033]0;t\\\\007'; exit 1\"\n",
    );
    repo.commit(HOSTILE);
    let built = repo.run(&["build", "--quiet"]).exits(1);
    is_harmless("build", &built);
    for args in [
        &["status"][..],
        &["status", "--json"],
        &["why"],
        &["why", "--json"],
        &["log", "--events"],
        &["log", "--events", "--json"],
        &["query", "commits"],
        &["query", "commits", "--json"],
        &["query", "builds"],
    ] {
        let run = repo.run(args).exits(0);
        is_harmless(&args.join(" "), &run);
    }
    let status = repo.run(&["status"]).exits(0).out();
    assert!(status.contains(r"\x1b]0;owned\x07"), "{status}");
    let subject = &repo.run(&["status", "--json"]).exits(0).events()[0]["item"]["subject"];
    assert_eq!(subject, HOSTILE);
    // A file gets what the step has printed.
    let log = repo.run(&["log"]).exits(0).out();
    assert!(log.contains("\u{1b}]0;t\u{7}"), "{log:?}");
}

#[test]
fn a_farm_says_on_which_builder_and_by_which_test_a_build_failed() {
    let repo = Repo::new();
    let commit = repo
        .write(
            ".farmer.toml",
            "[limits]\nrerun = false\n[[step]]\nname = \"x\"\nrun = \"echo 'test a::b ... FAILED'; exit 1\"\n",
        )
        .commit("first");
    let farm = Farm::start_with(&repo, &["--machines", "1"]);
    let build = wait_for_build(&repo, &commit, "failed");
    let said = farm.stop().err();
    let line = said
        .lines()
        .find(|line| line.starts_with(build["id"].as_str().unwrap()));
    let line = line.unwrap_or_else(|| panic!("{said}"));
    assert!(line.contains(" on local "), "{line}");
    assert!(line.ends_with("; failed: a::b"), "{line}");
}
