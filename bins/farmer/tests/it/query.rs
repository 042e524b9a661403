//! `farmer query`: the history of a repository together with its builds.

use crate::repo::Repo;

#[test]
fn commits_and_builds_are_asked_together() {
    let repo = Repo::new();
    repo.write(".farmer.toml", "[[step]]\nname = \"x\"\nrun = \"true\"\n");
    let first = repo.commit("first");
    let without = repo.run(&["query"]).exits(0).out();
    assert!(without.contains("commits(hash, author") && !without.contains("builds("));
    let early = repo.run(&["query", "builds"]).exits(2);
    assert!(early.err().contains("builds"), "{}", early.err());

    repo.run(&["build"]).exits(0);
    repo.commit("second, not built");
    let joined = "SELECT commits.subject, builds.state FROM builds \
                  JOIN commits ON commits.hash = builds.commit_hash";
    let rows = repo.run(&["query", "--json", joined]).exits(0).events();
    assert_eq!(
        rows,
        [serde_json::json!({ "subject": "first", "state": "passed" })]
    );
    let filtered = repo
        .run(&["query", "--json", "commits", "subject~SECOND"])
        .exits(0);
    assert_eq!(filtered.events()[0]["subject"], "second, not built");
    let built = repo
        .run(&["query", "builds", "state=passed", "--limit", "1"])
        .exits(0);
    assert!(built.out().contains(&first), "{}", built.out());
    assert!(
        repo.run(&["query"])
            .exits(0)
            .out()
            .contains("builds(id, state")
    );
}

#[test]
fn what_cannot_be_asked_is_named_with_a_remedy() {
    let repo = Repo::new();
    repo.commit("first");
    for (args, part) in [
        (&["query", "commits", "colour=red"][..], "colour"),
        (&["query", "SELECT x FROM nowhere"], "nowhere"),
        (&["query", "DELETE FROM commits"], "readonly"),
        (
            &["query", "--repo", "/nonexistent", "commits"],
            "/nonexistent",
        ),
    ] {
        let run = repo.run(args).exits(2);
        assert!(
            run.err().contains(part) && run.err().contains("hint: "),
            "{}",
            run.err()
        );
    }
    let help = repo.run(&["query", "--help"]).exits(0).out();
    assert!(help.contains("Examples:") && help.contains("--log"));
}

#[test]
fn the_programs_over_logs_are_inside() {
    let repo = Repo::new();
    let log = repo.home().join("log");
    let log = log.to_str().unwrap();
    repo.run(&["maintq", "generate", "--records", "500", log])
        .exits(0);
    repo.run(&["maintq", "verify", log]).exits(0);
    let files = repo
        .run(&[
            "query",
            "--json",
            "--log",
            log,
            "commit_files",
            "--limit",
            "3",
        ])
        .exits(0);
    assert_eq!(files.events().len(), 3);
}
