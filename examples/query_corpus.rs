//! Asks a project's history: who wrote it, which files change most, what an issue is about.
//!
//! `cargo run --example query_corpus [REPOSITORY]`; without a repository, a small log in memory
//! is asked.

use std::collections::HashMap;
use std::hash::Hash;

use maintner_core::pb::{GithubIssueMutation, GithubLabel, Mutation, Timestamp};
use maintner_core::source::{MemoryLog, MutationSink};
use maintner_core::{Corpus, Options, View};

fn main() -> anyhow::Result<()> {
    match std::env::args().nth(1) {
        Some(repository) => history(&Corpus::from_git(repository)?.view()),
        None => issues()?,
    }
    Ok(())
}

/// Commits: columns in memory, texts where the repository has them.
fn history(view: &View) {
    println!("{} commits", view.git().commits().count());
    let authors = view
        .git()
        .commits()
        .map(|commit| commit.author().name().to_owned());
    print_most("author", authors);
    let files = view
        .git()
        .commits()
        .flat_map(|commit| commit.files().map(|file| file.name()));
    print_most("file", files);
}

fn print_most<T: Hash + Eq + std::fmt::Display>(what: &str, all: impl Iterator<Item = T>) {
    let mut counts: HashMap<T, u32> = HashMap::new();
    all.for_each(|one| *counts.entry(one).or_default() += 1);
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    for (one, count) in counts.iter().take(5) {
        println!("{what} {one}: {count}");
    }
}

/// Issues, and what a program sees that holds on to a view while the log grows.
fn issues() -> anyhow::Result<()> {
    let mut log = MemoryLog::of(&[
        issue(1, "builds are slow", "NeedsFix"),
        issue(2, "say why", "Documentation"),
    ]);
    let corpus = Corpus::load(log.clone(), Options::default())?;
    let before = corpus.view();

    log.append_mutations(&[issue(3, "tests are slow", "NeedsFix")])?;
    let change = corpus.update()?.expect("the log has grown");
    for issue in change.issues() {
        println!("new: {} {}", issue.number(), issue.title());
    }

    let wanted = |view: &View| -> anyhow::Result<Vec<i32>> {
        let open = view.github().repo("golang/go")?.issues().open();
        Ok(open.label("NeedsFix").map(|issue| issue.number()).collect())
    };
    println!(
        "NeedsFix before {:?}, now {:?}",
        wanted(&before)?,
        wanted(change.view())?
    );
    // Every view knows its place in the log, and can go back to an earlier one.
    let again = change.view().at(before.position())?;
    assert_eq!(wanted(&again)?, wanted(&before)?);
    Ok(())
}

fn issue(number: i32, title: &str, label: &str) -> Mutation {
    let label = GithubLabel {
        id: i64::from(number),
        name: label.to_owned(),
    };
    let issue = GithubIssueMutation {
        owner: "golang".to_owned(),
        repo: "go".to_owned(),
        number,
        created: Some(Timestamp {
            seconds: 1_600_000_000,
            nanos: 0,
        }),
        title: title.to_owned(),
        add_label: vec![label],
        ..Default::default()
    };
    Mutation {
        github_issue: Some(issue),
        ..Default::default()
    }
}
