//! `gomote`, `farmer repro` and `farmer ssh` against a farm of this machine: no login at all.

use serde_json::Value;

use crate::repo::{Repo, Run};
use crate::up::Farm;

fn gomote(repo: &Repo, args: &[&str]) -> Run {
    let mut command = repo.farmer();
    command
        .arg("gomote")
        .args(args)
        .env("HOME", repo.home())
        .env("USER", "tester")
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("GOMOTE_GROUP")
        .env_remove("GOMOTE_SERVER");
    Run::of(command.output().unwrap())
}

#[test]
fn a_machine_of_this_farm_needs_no_login() {
    let repo = Repo::new();
    repo.write("hello", "hi\n").commit("first");
    let nobody = gomote(&repo, &["list"]).exits(2);
    assert!(nobody.err().contains("farmer up"), "{}", nobody.err());
    let farm = Farm::start_with(&repo, &["--machines", "2"]);
    let created = gomote(&repo, &["create", "local"]).exits(0);
    let name = created.out().trim().to_owned();
    assert_eq!(name, "user-owner-local-0");
    let listed = gomote(&repo, &["list"]).exits(0);
    assert!(
        listed.out().starts_with(&format!("{name}\tlocal\t")),
        "{}",
        listed.out()
    );
    let root = repo.path();
    let push = [
        "push",
        "-root",
        root.to_str().unwrap(),
        "-remote-dir",
        "tree",
        name.as_str(),
    ];
    gomote(&repo, &push).exits(0);
    let ran = gomote(
        &repo,
        &["run", &name, "/bin/sh", "-c", "cat tree/hello; exit 7"],
    )
    .exits(7);
    assert_eq!(ran.out(), "hi\n");
    let status = repo.run(&["status"]).exits(0);
    assert!(
        status.out().contains("session of owner"),
        "{}",
        status.out()
    );
    let unknown = gomote(&repo, &["create", "nosuch"]).exits(1);
    let said = unknown.err();
    assert!(
        said.contains("unknown builder type in 'builderType' parameter"),
        "{said}"
    );

    // Groups: three at once, and gone at once.
    gomote(&repo, &["destroy", &name]).exits(0);
    let two = gomote(
        &repo,
        &[
            "-group",
            "g",
            "create",
            "-new-group",
            "-count",
            "2",
            "local",
        ],
    );
    assert_eq!(two.exits(0).out().lines().count(), 2);
    gomote(&repo, &["-group", "g", "run", "/bin/false"]).exits(1);
    gomote(&repo, &["-group", "g", "ping"]).exits(0);
    gomote(&repo, &["-group", "g", "destroy", "-destroy-group"]).exits(0);
    assert_eq!(gomote(&repo, &["list"]).exits(0).out(), "");
    assert!(gomote(&repo, &["group", "list"]).out().lines().count() == 1);
    farm.stop().exits(0);
}

#[test]
fn a_build_that_fails_by_a_cached_file_fails_again_on_the_machine_that_is_held() {
    let repo = Repo::new();
    let steps = "[[step]]\nname = \"make\"\nrun = \"echo made > out\"\n\n\
        [[step]]\nname = \"test\"\nneeds = [\"make\"]\ncache = [\"cache\"]\n\
        run = \"cat out; echo at $FARMER_STEP; if [ -e cache/stale ]; then echo stale; exit 3; fi; mkdir -p cache; touch cache/stale\"\n";
    repo.write(".farmer.toml", steps).commit("first");
    let farm = Farm::start_with(&repo, &["--machines", "1"]);
    repo.run(&["build", "--quiet"]).exits(0);
    repo.write("more", "x").commit("second");
    let failed = repo.run(&["build", "--quiet", "--json"]).exits(1);
    let events = failed.events();
    let build = events
        .iter()
        .find_map(|e| e["stream"].as_str()?.strip_prefix("build/"))
        .unwrap_or_else(|| panic!("{}", failed.out()));

    let passing = repo.run(&["repro", "B000000000"]).exits(1);
    assert!(
        passing.err().contains("there is no build"),
        "{}",
        passing.err()
    );
    let again = repo.run(&["--json", "repro", "-run", build]).exits(3);
    assert!(again.err().contains("put back: cache"), "{}", again.err());
    assert!(
        again.err().contains("made\nat test\nstale\n"),
        "{}",
        again.err()
    );
    let told: Value = serde_json::from_str(again.out().lines().next().unwrap()).unwrap();
    let name = told["reproduced"]["buildlet"]["Name"].as_str().unwrap();
    let command = told["command"].as_str().unwrap();
    assert!(
        command.starts_with("gomote run -system -dir src -e CI=true"),
        "{command}"
    );

    // The printed command, as it would be pasted: the same failure; without the file it passes.
    let paste = |line: &str| {
        let mut shell = std::process::Command::new("sh");
        let line = line.replacen(
            "gomote",
            &format!("{} gomote", env!("CARGO_BIN_EXE_farmer")),
            1,
        );
        shell.args(["-c", &line]).env("FARMER_DATA", repo.data());
        Run::of(shell.output().unwrap())
    };
    assert_eq!(paste(command).exits(3).out(), "made\nat test\nstale\n");
    gomote(&repo, &["rm", name, "src/cache"]).exits(0);
    paste(command).exits(0);
    gomote(&repo, &["destroy", name]).exits(0);
    farm.stop().exits(0);
}
