//! Questions to a project's history, with `maintner-core` alone: no network, no C, no account.

use std::path::Path;

use maintner_core::log::LogWriter;
use maintner_core::pb::{BoolChange, GithubIssueMutation, GithubLabel, Mutation, Timestamp};
use maintner_core::source::MutationSink;
use maintner_core::{Change, Corpus, GitHash};

use crate::Result;

/// Any git repository is a corpus.
pub fn of_a_repository(repo: &Path, tip: GitHash, base: GitHash) -> Result<()> {
    let corpus = Corpus::from_git(repo)?;
    let view = corpus.view();
    for commit in view.git().commits() {
        println!("{} {} by {}", commit.hash(), commit.summary(), commit.author().name());
    }
    let yes = view.git().has_ancestor(tip, base)?;
    if yes { Ok(()) } else { Err(format!("{base} is an ancestor of {tip}").into()) }
}

/// A log that grows while it is read.
pub async fn of_a_log(folder: &Path) -> Result<()> {
    let mut log = LogWriter::open(folder)?;
    log.append_mutations(&[labelled(1, "builds are slow", "NeedsFix"), labelled(2, "say why", "Documentation")])?;

    let corpus = Corpus::open(folder)?;
    let view = corpus.view();
    for issue in view.github().repo("golang/go")?.issues().open().label("NeedsFix") {
        println!("{} {}", issue.number(), issue.title());
    }

    let mut changes = corpus.follow();
    log.append_mutations(&[closed(1)])?;
    while let Some(change) = changes.next().await {
        if handle(&change?) {
            break;
        }
    }
    // A view stays as it was; the next one knows more.
    assert_eq!(view.github().repo("golang/go")?.issues().open().count(), 2);
    assert_eq!(corpus.view().github().repo("golang/go")?.issues().open().count(), 1);
    Ok(())
}

/// Whether an issue was closed.
fn handle(change: &Change) -> bool {
    for issue in change.issues() {
        println!("{issue} is {}", if issue.is_open() { "open" } else { "closed" });
    }
    change.issues().any(|issue| !issue.is_open())
}

fn issue(number: i32) -> GithubIssueMutation {
    GithubIssueMutation { owner: "golang".to_owned(), repo: "go".to_owned(), number, ..Default::default() }
}

fn labelled(number: i32, title: &str, label: &str) -> Mutation {
    let issue = GithubIssueMutation {
        created: Some(Timestamp { seconds: 1_600_000_000, nanos: 0 }),
        title: title.to_owned(),
        add_label: vec![GithubLabel { id: i64::from(number), name: label.to_owned() }],
        ..issue(number)
    };
    Mutation { github_issue: Some(issue), ..Default::default() }
}

fn closed(number: i32) -> Mutation {
    let issue = GithubIssueMutation { closed: Some(BoolChange { val: true }), ..issue(number) };
    Mutation { github_issue: Some(issue), ..Default::default() }
}
