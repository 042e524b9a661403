//! `farmer up` for a team: settings of the farm, several repositories, new builders.

use std::path::Path;

use crate::processes::wait_until;
use crate::repo::{Repo, git_in};
use crate::up::{ECHO, Farm, SOON, builds, id, wait_for_build};

/// Writes the settings of the farm of a repository.
fn settings(repo: &Repo, text: &str) {
    std::fs::create_dir_all(repo.data()).unwrap();
    let new = repo.home().join("new.toml");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, repo.data().join("farmer.toml")).unwrap();
}

/// A step that runs until the file `GO` beside the repository is there.
fn waits_for_go(repo: &Repo) -> String {
    let go = repo.home().join("GO").display().to_string();
    format!("[[step]]\nname = \"wait\"\nrun = \"until [ -e {go} ]; do sleep 0.05; done\"\n")
}

fn is_told(farm: &Farm, figure: &str) -> bool {
    let (status, text) = farm.ask("GET", "/metrics", &[]);
    status == 200 && text.lines().any(|line| line == figure)
}

#[test]
fn quotas_of_the_file_count_at_once_and_a_faulty_file_changes_nothing() {
    let repo = Repo::new();
    let first = repo
        .write(".farmer.toml", &waits_for_go(&repo))
        .commit("first");
    settings(&repo, "machines = 2\n[quotas]\nrepo = 1\n");
    let farm = Farm::start_with(&repo, &[]);
    let held = wait_for_build(&repo, &first, "running");
    let second = repo.commit("second");
    let why = || {
        let of_second = |b: &serde_json::Value| b["item"]["commit"] == *second;
        let build = builds(&repo).into_iter().find(of_second);
        build.map_or_else(String::new, |b| repo.run(&["why", id(&b)]).out())
    };
    let waits = format!("the end of one of {}, or a larger quota", id(&held));
    wait_until("the second build waits for a quota", SOON, || {
        let why = why();
        why.contains("holds 1 of 1 machine;") && why.contains(&waits)
    });

    settings(&repo, "[quotas]\nrepos = 2\n");
    wait_until("the fault is told", SOON, || {
        is_told(&farm, "farmer_misconfigured 1")
    });
    let (_, page) = farm.ask("GET", "/", &[]);
    assert!(page.contains("unknown key"), "{page}");
    assert!(why().contains("holds 1 of 1 machine;"), "{}", why());

    settings(
        &repo,
        "machines = 3\nkeep_logs = \"9d\"\n[quotas]\nrepo = 2\n",
    );
    wait_for_build(&repo, &second, "running");
    assert!(is_told(&farm, "farmer_misconfigured 0"));
    std::fs::write(repo.home().join("GO"), "").unwrap();
    wait_for_build(&repo, &first, "passed");
    wait_for_build(&repo, &second, "passed");
    let said = farm.stop().exits(0).err();
    for part in [
        "did you mean \"repo\"?; the settings before it go on",
        "was read again: any number of machines for one author, 2 machines for one repository",
        "was read again: 3 machines of each kind",
        "[shares] and [quotas] count from the next start",
    ] {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
}

#[test]
fn settings_are_checked_before_a_farm_begins() {
    let repo = Repo::new();
    repo.write(".farmer.toml", ECHO).commit("first");
    settings(
        &repo,
        "port = 8000\nbranches = [\"release/*\"]\n[quotas]\nauthor = 3\n",
    );
    let run = repo.run(&["check"]).exits(0);
    for part in ["port 8000", "release/*", "3 machines for one author"] {
        assert!(run.out().contains(part), "{}", run.out());
    }
    settings(&repo, "[quotas]\nauthor = 0\n");
    for command in ["check", "up"] {
        let run = repo.run(&[command]).exits(2);
        assert!(run.err().contains("quotas.author is 0"), "{}", run.err());
        assert!(run.err().contains("farmer.toml"), "{}", run.err());
    }
    let missing = repo.run(&["up", "--farm", "nowhere.toml"]).exits(2);
    assert!(missing.err().contains("nowhere.toml"), "{}", missing.err());
}

/// A bare copy of a repository, and its address as of one elsewhere.
fn remote(of: &Repo) -> String {
    git_in(
        of.home(),
        &["clone", "-q", "--bare", "project", "served.git"],
    );
    format!("file://{}", of.home().join("served.git").display())
}

fn notice(farm: &Farm, data: &Path) {
    let token = std::fs::read_to_string(data.join("token")).unwrap();
    let header = format!("Authorization: Bearer {}", token.trim());
    let (status, body) = farm.ask("POST", "/api/v1/hooks/push", &[&header]);
    assert!((200..300).contains(&status), "{status} {body}");
}

#[test]
fn one_farm_builds_several_repositories_one_of_them_remote() {
    let (near, far) = (Repo::new(), Repo::new());
    let first = near
        .write(".farmer.toml", ECHO)
        .write("word", "near\n")
        .commit("near one");
    let second = far
        .write(".farmer.toml", ECHO)
        .write("word", "far\n")
        .commit("far one");
    let url = remote(&far);
    let farm = Farm::start_with(&near, &["--machines", "2", ".", &url]);
    wait_for_build(&near, &first, "passed");
    let build = wait_for_build(&near, &second, "passed");
    let log = near.run(&["log", id(&build)]).exits(0);
    assert!(log.out().contains("far"), "{}", log.out());

    let pushed = far.write("word", "farther\n").commit("far two");
    far.git(&["push", "-q", &url, "main"]);
    notice(&farm, &near.data());
    let build = wait_for_build(&near, &pushed, "passed");
    let log = near.run(&["log", id(&build)]).exits(0);
    assert!(log.out().contains("farther"), "{}", log.out());
    let committed = near.commit("near two");
    wait_for_build(&near, &committed, "passed");

    let (_, page) = farm.ask("GET", "/", &[]);
    for text in ["near one", "near two", "far one", "far two"] {
        assert!(page.contains(text), "{text:?} is not in {page}");
    }
    farm.stop().exits(0);
}

/// A file with a builder whose variable `WORD` is set, and one more.
fn with_builders(word: &str, more: &str) -> String {
    format!(
        "[[step]]\nname = \"echo\"\nrun = \"echo word=$WORD\"\n\
         [[builder]]\nname = \"plain\"\n\
         [[builder]]\nname = \"special\"\nenv = {{ WORD = \"{word}\" }}\n{more}"
    )
}

/// Waits for the build of a commit on a builder to come to its end.
fn wait_for_end(repo: &Repo, commit: &str, builder: &str, state: &str) -> serde_json::Value {
    let mut found = None;
    let wanted = |b: &serde_json::Value| {
        b["item"]["commit"] == commit && b["builder"] == builder && b["state"] == state
    };
    wait_until(&format!("{builder} {state} at {commit}"), SOON, || {
        found = builds(repo).into_iter().find(wanted);
        found.is_some()
    });
    found.unwrap()
}

#[test]
fn commits_are_built_on_the_builders_that_they_name_themselves() {
    let repo = Repo::new();
    let first = repo
        .write(".farmer.toml", ECHO)
        .write("word", "alpha\n")
        .commit("first");
    let farm = Farm::start_with(&repo, &["--machines", "1"]);
    wait_for_end(&repo, &first, "local", "passed");
    for word in ["one", "two"] {
        let commit = repo
            .write(".farmer.toml", &with_builders(word, ""))
            .commit(word);
        wait_for_end(&repo, &commit, "plain", "passed");
        let build = wait_for_end(&repo, &commit, "special", "passed");
        let log = repo.run(&["log", id(&build)]).exits(0).out();
        assert!(log.contains(&format!("word={word}")), "{log}");
    }
    let asked = repo.run(&["build", "--builder", "special"]).exits(0);
    assert!(asked.out().contains("word=two"), "{}", asked.out());
    let wrong = repo.run(&["build", "--builder", "specal"]).exits(2);
    assert!(wrong.err().contains("special"), "{}", wrong.err());

    let mac = "[[builder]]\nname = \"apple\"\nhost = \"mac\"\n[[host]]\nname = \"mac\"\n";
    let commit = repo
        .write(".farmer.toml", &with_builders("three", mac))
        .commit("needs a mac");
    wait_for_end(&repo, &commit, "special", "passed");
    let build = wait_for_end(&repo, &commit, "apple", "misconfigured");
    let why = repo.run(&["why", id(&build)]).exits(0).out();
    for part in ["on host \"mac\"", "start it again", "it has: local"] {
        assert!(why.contains(part), "{part:?} is not in {why}");
    }

    // The owner of the farm says that it has such a machine: that is so at once.
    settings(
        &repo,
        "[[account]]\nname = \"cores\"\nunits = 8\n[[host]]\nname = \"mac\"\ncount = 1\ndraws = { cores = 4 }\n",
    );
    let pools = |part: &str| {
        let (_, pools) = farm.ask("GET", "/api/v1/pools", &[]);
        pools.contains(part)
    };
    wait_until("the new host", SOON, || pools("\"mac\""));
    wait_until("its account", SOON, || {
        pools("\"name\":\"cores\",\"units\":8,\"unit\":\"units\",\"used\":0")
    });
    let built = repo.run(&["build", "--builder", "apple"]).exits(0);
    assert!(built.out().contains("word="), "{}", built.out());
    let page = || farm.ask("GET", "/machines", &[]).1;
    wait_until("its machine to be given back", SOON, || {
        page().contains("Account cores: 0 of 8 units are in use")
    });
    // A file that is wrong is refused as a whole, and says why; what was goes on.
    settings(&repo, "[[host]]\nname = \"mac\"\ndraws = { cars = 4 }\n");
    wait_until("the refusal", SOON, || {
        pools("account \\\"cars\\\", which is not there")
    });
    assert!(pools("\"mac\"") && pools("\"units\":8"));
    // Somebody sets it aside: that is told, with what to do.
    let held = repo
        .run(&["machine", "hold", "mac-1", "--why", "new disk"])
        .exits(0);
    assert!(held.out().contains("set aside by"), "{}", held.out());
    let listed = repo.run(&["machine", "list"]).exits(0).out();
    assert!(listed.contains("farmer machine release mac-1"), "{listed}");
    assert!(page().contains("new disk; once it is mended"), "{}", page());
    repo.run(&["machine", "hold", "mac-9", "--why", "x"])
        .exits(2);
    settings(&repo, "");
    wait_until("the host to go", SOON, || !pools("\"mac\""));
    farm.stop().exits(0);
    // What the commit has brought is there at the next start.
    let farm = Farm::start_with(&repo, &["--machines", "1"]);
    let listed = repo.run(&["machine", "list"]).exits(0).out();
    assert!(listed.contains("new disk"), "it stays set aside: {listed}");
    let released = repo.run(&["machine", "release", "mac-1"]).exits(0).out();
    assert!(released.starts_with("mac-1  mac  free"), "{released}");
    let again = repo.run(&["build", "--builder", "apple"]).exits(0);
    assert!(again.out().contains("word="), "{}", again.out());
    farm.stop().exits(0);
}
