//! `gopherstats`, over a generated corpus.

use std::path::Path;

use maintner_core::generate::{Generator, Profile};
use serde_json::Value;

use crate::run;

fn corpus(dir: &Path) {
    Generator::new(Profile::Tiny)
        .records(8_000)
        .write(dir)
        .unwrap();
}

fn json(args: &[&dyn AsRef<Path>]) -> Value {
    let ran = run("gopherstats", args);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    serde_json::from_str(&ran.out).unwrap()
}

/// Everybody who wrote a change or an issue, as people of one organisation or none.
fn people(dir: &Path) -> std::path::PathBuf {
    let view =
        maintner_core::Corpus::open_with(dir, maintner_core::Options::default().snapshot(false))
            .unwrap()
            .view();
    let mut names = std::collections::BTreeSet::new();
    for project in view.gerrit().projects() {
        names.extend(
            project
                .cls()
                .map(|cl| cl.commit().author().email().to_owned()),
        );
    }
    let mut text = String::new();
    for (number, email) in names.iter().filter(|email| email.contains('@')).enumerate() {
        let tag = if number % 2 == 0 { "org:example" } else { "x" };
        text.push_str(&format!(
            "[[person]]\nname = \"P{number}\"\nemails = [\"{email}\"]\ntags = [\"{tag}\"]\n"
        ));
    }
    for (number, user) in view.github().users().enumerate() {
        let login = user.login();
        text.push_str(&format!(
            "[[person]]\nname = \"U{number}\"\ngithub = [\"{login}\"]\n"
        ));
    }
    let file = dir.join("people.toml");
    std::fs::write(&file, text).unwrap();
    file
}

#[test]
fn gopherstats_counts_the_same_in_every_format() {
    let dir = tempfile::tempdir().unwrap();
    corpus(dir.path());
    let file = people(dir.path());
    let flag = format!("-people={}", file.display());
    let org = "-org=org:example";

    let told = json(&[
        &"-mode=gerrit-cls",
        &flag,
        &org,
        &"-format=json",
        &dir.path(),
    ]);
    let quarters = told["quarters"].as_array().unwrap();
    assert!(!quarters.is_empty());
    let sum = |name: &str| {
        quarters
            .iter()
            .map(|q| q[name].as_u64().unwrap())
            .sum::<u64>()
    };
    let view = maintner_core::Corpus::open_with(
        dir.path(),
        maintner_core::Options::default().snapshot(false),
    )
    .unwrap()
    .view();
    let changes: usize = view.gerrit().projects().map(|p| p.cls().count()).sum();
    assert_eq!(sum("inside") + sum("outside"), changes as u64);
    assert!(sum("inside") > 0 && sum("outside") > 0, "{told}");
    let csv = run(
        "gopherstats",
        &[
            &"-mode=gerrit-cls",
            &flag,
            &org,
            &"-format=csv",
            &dir.path(),
        ],
    );
    assert_eq!(csv.out.lines().count(), quarters.len() + 1);
    let table = run(
        "gopherstats",
        &[&"-mode=gerrit-cls", &flag, &org, &dir.path()],
    );
    assert!(table.out.contains(" commits ("), "{}", table.out);

    let all = json(&[
        &"-mode=range-stats",
        &flag,
        &"-format=json",
        &"-top=1000000",
        &dir.path(),
    ]);
    let lists = all.as_array().unwrap();
    assert_eq!(lists.len(), 7);
    let total = |list: &Value| {
        let people = list["people"].as_array().unwrap();
        people
            .iter()
            .map(|one| one[0].as_u64().unwrap())
            .sum::<u64>()
    };
    assert_eq!(
        total(&lists[0]),
        changes as u64,
        "every change has an author who is known"
    );
    let table = run(
        "gopherstats",
        &[&"-mode=range-stats", &flag, &"-top=1000000", &dir.path()],
    );
    let shown: u64 = table
        .out
        .lines()
        .filter(|line| line.starts_with(' '))
        .map(|line| line[..6].trim().parse::<u64>().unwrap())
        .sum();
    assert_eq!(
        shown,
        lists.iter().map(total).sum::<u64>(),
        "the table says the same"
    );
    let none = json(&[
        &"-mode=range-stats",
        &flag,
        &"-to=1990-01-01",
        &"-format=json",
        &dir.path(),
    ]);
    assert!(none.as_array().unwrap().iter().all(|list| total(list) == 0));

    // One project has less than all.
    let first = view.gerrit().projects().next().unwrap();
    let project = format!("-projects={}", first.full_name());
    let one = json(&[
        &"-mode=gerrit-cls",
        &project,
        &flag,
        &"-format=json",
        &dir.path(),
    ]);
    let ones: u64 = one["quarters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|q| q["inside"].as_u64().unwrap() + q["outside"].as_u64().unwrap())
        .sum();
    assert_eq!(ones, first.cls().count() as u64);
}

#[test]
fn gopherstats_says_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    corpus(dir.path());
    let told = |args: &[&str], code: i32| {
        let mut all: Vec<&dyn AsRef<Path>> = Vec::new();
        for arg in args {
            all.push(arg);
        }
        let path = dir.path();
        all.push(&path);
        let ran = run("gopherstats", &all);
        assert_eq!(ran.code, Some(code), "{args:?}: {}", ran.err);
        ran.err
    };
    assert!(told(&[], 1).contains("range-stats"), "the modes are listed");
    assert!(told(&["-mode=x"], 1).contains("Unknown --mode flag."));
    let text = told(&["-mode=range-stats", "-from=yesterday"], 2);
    assert!(text.contains("2020-12-31T23:59:59-08:00"), "{text}");
    assert!(told(&["-mode=gerrit-cls", "-projects=none"], 2).contains("\"none\""));
    assert!(told(&["-mode=workshop-stats"], 2).contains("-issue"));
    assert!(told(&["-mode=github-issue-close", "-repo=a/b"], 2).contains("a/b"));
}
