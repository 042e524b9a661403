//! Links that lead out of a tree: they may exist, and nothing of ours follows them.

use std::os::unix::fs::symlink;
use std::path::Path;

use crate::repo::Repo;

/// A directory outside of the repository, and what is in it.
fn victim(repo: &Repo) -> std::path::PathBuf {
    let victim = repo.home().join("victim");
    std::fs::create_dir(&victim).unwrap();
    std::fs::write(victim.join("secret"), "theirs").unwrap();
    std::fs::write(victim.join("file"), "theirs").unwrap();
    victim
}

#[track_caller]
fn untouched(victim: &Path) {
    let mut names: Vec<_> = (victim.read_dir().unwrap())
        .map(|e| e.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["file", "secret"]);
    for name in names {
        let text = std::fs::read_to_string(victim.join(name)).unwrap();
        assert_eq!(text, "theirs");
    }
}

/// As a virtual environment of Python is made, and used by steps that run side by side.
const VENV: &str = r#"
[[step]]
name = "make"
cache = ["venv"]
run = """
test -e venv/bin/python3 && echo warm || echo cold
mkdir -p venv/bin
ln -sfn /bin/sh venv/bin/python3
ln -sfn ../../../.. venv/up
readlink n l
"""

[[step]]
name = "use"
needs = ["make"]
run = "venv/bin/python3 -c 'echo used'; readlink venv/up"

[[step]]
name = "use-too"
needs = ["make"]
run = "venv/bin/python3 -c 'echo used'; readlink venv/up"
"#;

#[test]
fn commits_caches_and_copies_hold_links_that_lead_out() {
    let repo = Repo::new();
    let victim = victim(&repo);
    symlink("/dev/null", repo.path().join("n")).unwrap();
    symlink("../../outside", repo.path().join("l")).unwrap();
    repo.write(".farmer.toml", VENV).commit("links");
    let said = repo.run(&["build"]).exits(0).out();
    assert!(
        said.contains("cold") && said.contains("/dev/null\n"),
        "{said}"
    );
    assert!(said.contains("../../outside"), "{said}");
    assert_eq!(said.matches("used").count(), 2, "{said}");
    repo.commit("the same");
    let said = repo.run(&["build"]).exits(0).out();
    assert!(said.contains("warm") && !said.contains("cold"), "{said}");

    // What was cached is a link to somewhere else by now: no cache is put there, nor made of it.
    symlink(&victim, repo.path().join("venv")).unwrap();
    let looks = "[[step]]\nname = \"look\"\ncache = [\"venv\"]\nrun = \"readlink venv || ls venv venv/bin\"\n";
    repo.write(".farmer.toml", looks)
        .commit("a link in its place");
    let said = repo.run(&["build"]).exits(0).out();
    assert!(said.contains("victim"), "{said}");
    untouched(&victim);
    std::fs::remove_file(repo.path().join("venv")).unwrap();
    repo.commit("a directory again");
    let said = repo.run(&["build"]).exits(0).out();
    assert!(
        said.contains("python3") && !said.contains("secret"),
        "{said}"
    );
    untouched(&victim);
}

#[test]
fn no_step_artifact_or_work_tree_is_led_out_by_a_link() {
    let repo = Repo::new();
    let victim = victim(&repo);
    symlink(&victim, repo.path().join("out")).unwrap();
    let steals = r#"
[[step]]
name = "steal"
artifacts = ["out/**", "stolen/**", "alone", "kept"]
run = """
ln -s ../out stolen
ln -s out/secret alone
echo mine >kept
"""
"#;
    repo.write(".farmer.toml", steals).commit("a link");
    let run = repo.run(&["build", "--json"]).exits(0);
    let kept = run.out();
    assert!(kept.contains(r#""path":"kept""#), "{kept}");
    assert_eq!(kept.matches(r#""path":"#).count(), 1, "{kept}");

    let inside = "[[step]]\nname = \"in\"\ndir = \"out\"\nrun = \"echo evil >evil\"\n";
    repo.write(".farmer.toml", inside).commit("a step in it");
    let run = repo.run(&["build"]).exits(1);
    let said = format!("{}{}", run.out(), run.err());
    assert!(
        said.contains("a link leads \"src/out\" out of the work directory"),
        "{said}"
    );
    untouched(&victim);

    // In the work tree it is a directory.
    std::fs::remove_file(repo.path().join("out")).unwrap();
    repo.write("out/file", "mine\n").write(
        ".farmer.toml",
        "[[step]]\nname = \"cat\"\nrun = \"cat out/file\"\n",
    );
    let run = repo.run(&["build", "--worktree"]).exits(0);
    assert!(run.out().contains("mine"), "{}", run.out());
    untouched(&victim);
    // And the file that says what to build is no link out of it.
    std::fs::write(
        repo.home().join("plan"),
        "[[step]]\nname = \"x\"\nrun = \"true\"\n",
    )
    .unwrap();
    std::fs::remove_file(repo.path().join(".farmer.toml")).unwrap();
    symlink("../plan", repo.path().join(".farmer.toml")).unwrap();
    let run = repo.run(&["build", "--worktree"]).exits(2);
    let said = run.err();
    assert!(
        said.contains(".farmer.toml is a link that leads out of the repository"),
        "{said}"
    );
}
