//! Steps with conditions, and matrices: what runs, what is left out, and that nothing gets greener by it.

use crate::repo::Repo;

const STEPS: &str = r#"
[[step]]
name = "always"
run = "echo built on $FARMER_BRANCH"

[[step]]
name = "docs"
run = "echo checked; ! grep -r wrong docs"
when = { paths = ["docs/**", "!**/*.png"] }

[[step]]
name = "deploy"
run = "echo deployed"
when = [{ branch = "release/*" }, { tag = "v*" }]

[[step]]
name = "test"
run = "echo {matrix.db} {matrix.level}"

[[matrix]]
steps = ["test"]
axes = { db = ["lite", "big"], level = [1, 2] }
exclude = [{ db = "big", level = 2 }]

[[matrix]]
steps = ["test"]
axes = { db = ["huge"], level = [1] }
when = { branch = "release/*" }
"#;

#[test]
fn steps_run_where_their_conditions_hold_and_a_failure_is_never_left_out() {
    let repo = Repo::new();
    repo.write(".farmer.toml", STEPS)
        .write("docs/a", "right\n")
        .commit("first");
    let ran = |out: &str| {
        let mut steps: Vec<String> = out
            .lines()
            .filter_map(|line| Some(line.split_once(" | ")?.0.to_owned()))
            .collect();
        steps.sort();
        steps.dedup();
        steps
    };
    let cells = [
        "test [db=big, level=1]",
        "test [db=lite, level=1]",
        "test [db=lite, level=2]",
    ];
    let with = |first: &[&str]| {
        let all = first.iter().chain(&cells);
        all.map(|step| (*step).to_owned()).collect::<Vec<_>>()
    };
    let first = repo.run(&["build"]).exits(0);
    assert_eq!(ran(&first.out()), with(&["always", "docs"]));
    assert!(first.out().contains("built on main"), "{}", first.out());
    assert!(
        first
            .err()
            .contains("deploy (only on branch release/*, or for tag v*)"),
        "{}",
        first.err()
    );

    // Neither a picture nor another file is anything that the step is for.
    repo.write("docs/b.png", "\u{1}")
        .write("src", "x")
        .commit("no text");
    let second = repo.run(&["build"]).exits(0);
    assert_eq!(ran(&second.out()), with(&["always"]));
    assert!(
        second
            .err()
            .contains("docs (only when docs/** changes, and not **/*.png; it passed in B"),
        "{}",
        second.err()
    );

    repo.write("docs/a", "wrong\n").commit("breaks the text");
    assert_eq!(
        ran(&repo.run(&["build"]).exits(1).out()),
        with(&["always", "docs"])
    );
    // It has not passed since: what this commit changes does not matter.
    repo.write("src", "y").commit("something else");
    assert_eq!(
        ran(&repo.run(&["build"]).exits(1).out()),
        with(&["always", "docs"])
    );

    repo.write("docs/a", "right again\n").commit("mends it");
    repo.git(&["checkout", "-q", "-b", "release/1"]);
    let release = repo.run(&["build"]).exits(0);
    let mut expected = with(&["always", "deploy", "docs"]);
    expected.insert(4, "test [db=huge, level=1]".to_owned());
    assert_eq!(ran(&release.out()), expected);

    let told = repo.run(&["check"]).exits(0).out();
    assert!(
        told.contains("only on branch release/*, or for tag v*"),
        "{told}"
    );
    assert!(
        told.contains("test [db=huge, level=1] echo huge 1"),
        "{told}"
    );
    // With conditions that no commit of this branch meets there is nothing that could be green.
    repo.write(
        ".farmer.toml",
        "[[step]]\nname = \"a\"\nrun = \"true\"\nwhen = { tag = \"v*\" }\n",
    )
    .commit("tags alone");
    let none = repo.run(&["build"]).exits(2);
    assert!(
        none.err()
            .contains("no step runs for this commit; left out: a (only for tag v*)"),
        "{}",
        none.err()
    );
}

#[test]
fn files_of_a_failure_are_kept_where_that_is_asked_for() {
    let repo = Repo::new();
    let step = |name: &str, run: &str, when: &str| {
        format!(
            "[[step]]\nname = \"{name}\"\nrun = \"echo x > {name}.txt; {run}\"\n\
             artifacts = {{ paths = [\"{name}.txt\"], when = \"{when}\" }}\n"
        )
    };
    let steps = [
        ("good", "true", "always"),
        ("quiet", "true", "failed"),
        ("bad", "exit 3", "failed"),
        ("worse", "exit 4", "always"),
        ("lost", "exit 5", "passed"),
        ("slow", "sleep 60", "failed"),
    ];
    let mut text: String = steps
        .map(|(name, run, when)| step(name, run, when))
        .concat();
    text += "timeout = \"1s\"\n";
    repo.write(".farmer.toml", &text).commit("six ends");
    let run = repo.run(&["build"]).exits(1);
    assert!(
        run.err().contains("bad: failed, and kept 1 files"),
        "{}",
        run.err()
    );
    let listed = repo.run(&["artifact", "list"]).exits(0).out();
    let kept: Vec<bool> = (steps.iter())
        .map(|(name, ..)| listed.contains(&format!("{name}.txt")))
        .collect();
    assert_eq!(kept, [true, false, true, true, false, true], "{listed}");
    repo.write(".farmer.toml", &step("bad", "exit 3", "fail"))
        .commit("a word");
    let wrong = repo.run(&["build"]).exits(2);
    assert!(
        wrong.err().contains("did you mean \"failed\"?"),
        "{}",
        wrong.err()
    );
}
