//! Steps, shards, caches and limits, through the real program.

use crate::repo::Repo;

fn repo_with(config: &str) -> Repo {
    let repo = Repo::new();
    repo.write(".farmer.toml", config).commit("first");
    repo
}

fn events(repo: &Repo) -> Vec<serde_json::Value> {
    repo.run(&["log", "--events", "--json"]).exits(0).events()
}

#[test]
fn independent_steps_hold_two_leases_at_the_same_time() {
    let wait_for = |other: &str, mine: &str| {
        // Each step waits for a sign of the other: they pass only when both run at once.
        format!(
            "touch $MEET/{mine}; for n in $(seq 1 200); do test -e $MEET/{other} && exit 0; sleep 0.05; done; exit 1"
        )
    };
    let meet = tempfile::tempdir().unwrap();
    let place = meet.path().display();
    let (left, right) = (wait_for("right", "left"), wait_for("left", "right"));
    let repo = repo_with(&format!(
        "[[step]]\nname = \"left\"\nrun = \"{left}\"\nenv = {{ MEET = \"{place}\" }}\n\
         [[step]]\nname = \"right\"\nrun = \"{right}\"\nenv = {{ MEET = \"{place}\" }}\n"
    ));
    repo.run(&["build", "--machines", "2"]).exits(0);
    let leases: std::collections::BTreeSet<String> = events(&repo)
        .iter()
        .filter(|e| e["kind"] == "started")
        .map(|e| e["body"]["lease"].to_string())
        .collect();
    assert_eq!(leases.len(), 2);
}

#[test]
fn tests_are_shared_between_shards() {
    let repo = repo_with(
        "[[step]]\nname = \"build\"\nrun = \"echo built > out\"\n\
         [[step]]\nname = \"test\"\nneeds = [\"build\"]\ntests = \"seq 1 9\"\nshards = 3\n\
         run = \"cat out; for t in {tests}; do echo ran test $t; done\"\n",
    );
    let run = repo.run(&["build", "--machines", "3"]).exits(0);
    for n in 1..=9 {
        assert_eq!(
            run.out().matches(&format!("ran test {n}\n")).count(),
            1,
            "{}",
            run.out()
        );
    }
    assert_eq!(
        run.out().matches("built").count(),
        3,
        "each shard has what the needed step made:\n{}",
        run.out()
    );
}

#[test]
fn a_cached_directory_is_there_at_the_next_build() {
    let repo = repo_with(
        "[[step]]\nname = \"x\"\nrun = \"ls cached/word 2>/dev/null || echo cold; mkdir -p cached; echo hi > cached/word\"\ncache = [\"cached\"]\n",
    );
    assert!(repo.run(&["build"]).exits(0).out().contains("cold"));
    repo.write("more", "").commit("second");
    let warm = repo.run(&["build"]).exits(0);
    assert!(!warm.out().contains("cold"), "{}", warm.out());
    assert!(
        warm.err().contains("cached"),
        "the hit is not shown:\n{}",
        warm.err()
    );
}

#[test]
fn artifacts_of_a_passed_step_are_kept() {
    let repo = repo_with(
        "[[step]]\nname = \"x\"\nrun = \"mkdir -p out/a; echo hi > out/a/b.txt\"\nartifacts = [\"out/**\"]\n",
    );
    repo.run(&["build"]).exits(0);
    let events = events(&repo);
    let kept = events.iter().find(|e| e["kind"] == "kept").unwrap();
    assert_eq!(kept["body"]["artifacts"][0]["path"], "out/a/b.txt");
    assert_eq!(kept["body"]["artifacts"][0]["size"], 3);
}

#[test]
fn kept_files_are_listed_and_downloaded_without_a_farm() {
    let repo = repo_with(
        "[[step]]\nname = \"x\"\nrun = \"mkdir -p out/a; echo hi > out/a/b.txt; echo no > out/c\"\nartifacts = [\"out/**\"]\n",
    );
    repo.run(&["build"]).exits(0);
    let listed = repo.run(&["artifact", "list"]).exits(0).out();
    assert!(
        listed.contains("out/a/b.txt") && listed.contains("out/c"),
        "{listed}"
    );
    let list = repo.run(&["artifact", "list", "--json"]).exits(0).events();
    let build = list[0]["build"].as_str().unwrap().to_owned();
    let out = repo.home().join("here");
    let out_text = out.to_str().unwrap();
    repo.run(&["artifact", "download", &build, "**/*.txt", "-o", out_text])
        .exits(0);
    assert_eq!(
        std::fs::read_to_string(out.join("out/a/b.txt")).unwrap(),
        "hi\n"
    );
    assert!(!out.join("out/c").exists());
    let none = repo
        .run(&["artifact", "download", &build, "*.nothing"])
        .exits(2);
    assert!(
        none.err().contains("farmer artifact list"),
        "{}",
        none.err()
    );
}

#[test]
fn a_step_that_runs_too_long_is_ended_and_named() {
    let repo = repo_with("[[step]]\nname = \"x\"\nrun = \"sleep 1000\"\ntimeout = \"1s\"\n");
    let run = repo.run(&["build"]).exits(1);
    assert!(run.err().contains("ran longer than 1s"), "{}", run.err());
}

#[test]
fn a_silent_step_is_ended_and_named() {
    let repo =
        repo_with("[[step]]\nname = \"x\"\nrun = \"echo once; sleep 1000\"\nquiet = \"1s\"\n");
    let run = repo.run(&["build"]).exits(1);
    assert!(
        run.err().contains("printed nothing for 1s"),
        "{}",
        run.err()
    );
}

#[test]
fn a_full_disk_ends_the_step_as_a_disk_quota() {
    // More than any disk has: the floor is crossed from the start.
    let repo =
        repo_with("[limits]\ndisk = \"8 TiB\"\n[[step]]\nname = \"x\"\nrun = \"sleep 1000\"\n");
    let run = repo.run(&["build"]).exits(1);
    assert!(run.err().contains("disk quota"), "{}", run.err());
}

#[test]
fn a_build_cannot_see_credentials() {
    let repo = repo_with("[[step]]\nname = \"x\"\nrun = \"env; echo home is $HOME\"\n");
    let output = repo
        .farmer()
        .args(["build"])
        .env("AWS_SECRET_ACCESS_KEY", "canary-aws")
        .env("GITHUB_TOKEN", "canary-github")
        .env("SSH_AUTH_SOCK", "/canary-ssh")
        .output()
        .unwrap();
    let log = String::from_utf8(output.stdout).unwrap();
    assert!(log.contains("home is "), "{log}");
    assert!(!log.contains("canary"), "{log}");
    let home = std::env::var("HOME").unwrap();
    assert!(!log.contains(&format!("home is {home}\n")), "{log}");
}

#[test]
fn events_as_json_are_one_object_a_line() {
    let repo = repo_with("[[step]]\nname = \"x\"\nrun = \"echo hi\"\n");
    let kinds: Vec<String> = repo
        .run(&["build", "--json"])
        .exits(0)
        .events()
        .iter()
        .map(|e| e["kind"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(kinds.first().unwrap(), "queued");
    assert_eq!(
        kinds.iter().filter(|kind| *kind == "finished").count(),
        1,
        "{kinds:?}"
    );
}

/// The levels of this machine, as `farmer check` tells them, hold for the builds of `farmer`.
#[test]
fn the_sandbox_that_check_tells_of_is_the_one_that_builds_get() {
    let repo = Repo::new();
    repo.write(
        ".farmer.toml",
        "[[step]]\nname = \"a\"\nrun = \"grep NoNewPrivs /proc/self/status; ls /proc | grep -c '^[0-9]'\"\n",
    );
    repo.commit("tell");
    let check = repo.run_apart(&["check"]);
    let highest = check.out();
    let highest = highest.split("the highest level is ").nth(1).unwrap();
    let level = highest.split_whitespace().next().unwrap().to_owned();
    let limits = check.out();
    let limits = limits.split("limits of builds here: ").nth(1).unwrap();
    assert!(limits.starts_with("memory"), "{limits}");
    if let Some((_, why)) = highest.split_once("not higher, because") {
        assert!(!why.contains("the trial ended"), "no reason is told: {why}");
        eprintln!("SKIPPED: this machine has only {level}: {why}");
    }
    let out = repo.run_apart(&["build"]).out();
    let fenced = out.contains("NoNewPrivs:\t1");
    assert_eq!(fenced, level != "none", "{level}: {out}");
    let none = repo.run(&["build", "--sandbox", "none"]).out();
    assert!(none.contains("NoNewPrivs:\t0"), "{none}");
    let wrong = repo.run(&["build", "--sandbox", "nmespaces"]);
    assert_eq!(wrong.code(), 2);
    assert!(
        wrong
            .err()
            .contains("the levels are: auto, none, user, namespaces"),
        "{}",
        wrong.err()
    );
}

#[test]
fn a_change_from_outside_runs_in_namespaces_whatever_it_and_the_farm_ask_for() {
    let repo = repo_with(
        "[[step]]\nname = \"a\"\nsandbox = \"none\"\ncache = [\"kept\"]\n\
         run = \"echo in $(readlink /proc/self/ns/pid) for $FARMER_CHANGE; mkdir -p kept; echo $FARMER_COMMIT >> kept/of\"\n",
    );
    let here = std::fs::read_link("/proc/self/ns/pid").unwrap();
    let here = format!("in {} for", here.display());
    let branch = repo.run(&["build"]).exits(0);
    assert!(branch.out().contains(&here), "{}", branch.out());
    let kept = |repo: &Repo| {
        let blobs = repo.data().join("blobs/cache");
        let mut names: Vec<_> = std::fs::read_dir(blobs)
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    let before = kept(&repo);
    let change = repo.commit("of somebody");
    repo.git(&["update-ref", "refs/pull/7/head", "HEAD"]);
    repo.git(&["reset", "-q", "--hard", "HEAD~1"]);
    for rev in ["refs/pull/7/head", &change] {
        let built = repo.run(&["build", "--rev", rev]);
        assert!(
            built.err().contains("comes from outside"),
            "{}",
            built.err()
        );
        if built.code() == 2 {
            let why = "this step needs sandbox level \"namespaces\"";
            assert!(built.err().contains(why), "{}", built.err());
            eprintln!(
                "SKIPPED: changes from outside are refused here: {}",
                built.err()
            );
            continue;
        }
        let out = built.exits(0).out();
        assert!(out.contains("in pid:[") && !out.contains(&here), "{out}");
    }
    assert_eq!(kept(&repo), before, "a change leaves nothing to others");
    let why = repo.run(&["why"]).exits(0).out();
    assert!(
        why.contains("  trust  the commit comes from outside"),
        "{why}"
    );
}

/// Ordinary builds go on as they are: a cache, kept files, a directory handed on, tests by shards.
#[test]
fn a_build_that_is_kept_apart_needs_no_other_configuration() {
    let repo = repo_with(
        "[[step]]\nname = \"build\"\nrun = \"mkdir -p out c && date > c/when && echo made > out/file && cp out/file $TMPDIR/copy && test -w $HOME\"\n\
         cache = [\"c\"]\nartifacts = [\"out/**\"]\n\
         [[step]]\nname = \"test\"\nneeds = [\"build\"]\ntests = \"seq 1 4\"\nshards = 2\n\
         run = \"cat out/file; git log -1 --format=%s; for t in {tests}; do echo ran test $t; done\"\n",
    );
    let out = repo.run_apart(&["build", "--machines", "2"]).exits(0).out();
    for n in 1..=4 {
        assert!(out.contains(&format!("ran test {n}\n")), "{out}");
    }
    // With what the first one has put into the cache.
    repo.commit("second");
    repo.run_apart(&["build"]).exits(0);
}
