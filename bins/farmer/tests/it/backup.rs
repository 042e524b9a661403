//! `farmer backup` of a farm that runs, and `farmer restore`.

use crate::repo::Repo;
use crate::up::{ECHO, Farm, wait_for_build};

#[test]
fn a_farm_that_runs_is_backed_up_and_answers_the_same_elsewhere() {
    let repo = Repo::new();
    let commit = repo
        .write(".farmer.toml", ECHO)
        .write("word", "alpha\n")
        .commit("first");
    let farm = Farm::start_with(&repo, &["--machines", "1"]);
    wait_for_build(&repo, &commit, "passed");
    let file = repo.home().join("farm.backup");
    let file = file.to_str().unwrap();
    let made = repo.run(&["backup", file, "--json"]).exits(0).events();
    assert!(made[0]["files"].as_u64().unwrap() >= 3, "{made:?}");
    let taken = repo.run(&["backup", file]).exits(2);
    assert!(taken.err().contains("is there already"), "{}", taken.err());
    let used = repo.run(&["restore", file]).exits(2);
    assert!(used.err().contains("in use by"), "{}", used.err());
    farm.stop().exits(0);

    let other = repo.home().join("other");
    let at = ["--data", other.to_str().unwrap()];
    let restored = repo.run(&[&["restore", file][..], &at].concat()).exits(0);
    assert!(
        restored.out().contains("has again events up to"),
        "{}",
        restored.out()
    );
    for verb in [
        &["status", "--json"][..],
        &["why", "--json"],
        &["log"],
        &["log", "--events"],
    ] {
        let here = repo.run(verb).exits(0).out();
        assert_eq!(
            here,
            repo.run(&[verb, &at].concat()).exits(0).out(),
            "{verb:?}"
        );
        assert!(!here.is_empty());
    }
    repo.run(&[&["doctor"][..], &at].concat()).exits(0);
}
