//! The change stream as JSON lines.

use std::io::Write;
use std::time::Duration;

use farmer_cli::Failure;
use maintner_core::{Change, Corpus};
use serde_json::json;

/// How long one wait for a change takes at most before the end is looked for.
const PATIENCE: Duration = Duration::from_millis(200);

/// Prints what changes in a corpus from now on, until `stopped`. Lines are flushed one by one.
pub(crate) fn print(
    corpus: &Corpus,
    out: &mut dyn Write,
    stopped: &dyn Fn() -> bool,
) -> Result<(), Failure> {
    let mut changes = corpus.follow();
    while !stopped() {
        let Some(change) = changes.wait(PATIENCE) else {
            continue;
        };
        let change = change.map_err(|error| crate::maintq::failure(&error))?;
        for line in lines(&change) {
            writeln!(out, "{line}")?;
        }
        out.flush()?;
    }
    Ok(())
}

/// What a change says, one object each.
pub(crate) fn lines(change: &Change) -> Vec<serde_json::Value> {
    let position = change.view().position().bytes();
    let mut lines = Vec::new();
    if change.is_reset() {
        lines.push(json!({"position": position, "kind": "reset"}));
    }
    lines.extend(change.issues().map(|issue| {
        json!({
            "position": position,
            "kind": if issue.is_pull_request() { "pull_request" } else { "issue" },
            "repo": issue.repo().to_string(),
            "number": issue.number(),
            "exists": issue.exists(),
            "state": if issue.is_closed() { "closed" } else { "open" },
            "title": issue.title(),
            "updated": issue.updated().map(maintner_core::query::UnixTime::seconds),
            "comments": issue.comments().count(),
            "events": issue.events().count(),
        })
    }));
    lines.extend(change.cls().map(|cl| {
        json!({
            "position": position,
            "kind": "change",
            "project": cl.project().full_name(),
            "number": cl.number(),
            "status": cl.status().as_str(),
            "version": cl.version(),
            "branch": cl.branch(),
            "subject": cl.subject(),
        })
    }));
    lines.extend(change.refs().map(|found| {
        json!({
            "position": position,
            "kind": "ref",
            "project": found.project().full_name(),
            "name": found.name(),
            "hash": found.hash().to_string(),
        })
    }));
    lines.extend(
        change
            .commits()
            .filter(maintner_core::query::Commit::is_known)
            .map(|commit| {
                json!({
                    "position": position,
                    "kind": "commit",
                    "hash": commit.hash().to_string(),
                    "author": commit.author().full(),
                    "subject": commit.summary(),
                })
            }),
    );
    lines
}
