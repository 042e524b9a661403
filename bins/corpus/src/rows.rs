//! The corpus as tables of rows.

use std::borrow::Cow;

use farmer_cli::Failure;
use maintner_core::View;
use maintner_core::query::{Cl, Commit, Issue, IssueMilestone, Project, Repo, UnixTime, User};

/// A table and its columns with their SQL types. Times are Unix seconds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) columns: &'static [(&'static str, &'static str)],
}

/// A value of a row.
#[derive(Debug, Clone)]
pub(crate) enum Cell<'a> {
    Null,
    Int(i64),
    Text(Cow<'a, str>),
}

impl Cell<'_> {
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Int(n) => (*n).into(),
            Self::Text(text) => text.as_ref().into(),
        }
    }
}

const I: &str = "INTEGER";
const T: &str = "TEXT";

/// All tables, in the order of their rows.
pub(crate) const TABLES: &[Table] = &[
    Table {
        name: "users",
        columns: &[("id", I), ("login", T)],
    },
    Table {
        name: "labels",
        columns: &[("repo", T), ("id", I), ("name", T)],
    },
    Table {
        name: "milestones",
        columns: &[
            ("repo", T),
            ("id", I),
            ("number", I),
            ("title", T),
            ("closed", I),
        ],
    },
    Table {
        name: "issues",
        columns: &[
            ("repo", T),
            ("number", I),
            ("title", T),
            ("body", T),
            ("user", T),
            ("closed", I),
            ("locked", I),
            ("pull_request", I),
            ("milestone", T),
            ("created", I),
            ("updated", I),
            ("closed_at", I),
            ("closed_by", T),
        ],
    },
    Table {
        name: "issue_labels",
        columns: &[("repo", T), ("number", I), ("label", T)],
    },
    Table {
        name: "assignees",
        columns: &[("repo", T), ("number", I), ("user", T)],
    },
    Table {
        name: "comments",
        columns: &[
            ("repo", T),
            ("number", I),
            ("id", I),
            ("user", T),
            ("body", T),
            ("created", I),
            ("updated", I),
        ],
    },
    Table {
        name: "events",
        columns: &[
            ("repo", T),
            ("number", I),
            ("id", I),
            ("type", T),
            ("actor", T),
            ("created", I),
            ("label", T),
            ("milestone", T),
            ("assignee", T),
            ("renamed_from", T),
            ("renamed_to", T),
        ],
    },
    Table {
        name: "reviews",
        columns: &[
            ("repo", T),
            ("number", I),
            ("id", I),
            ("user", T),
            ("state", T),
            ("body", T),
            ("commit_id", T),
            ("created", I),
        ],
    },
    Table {
        name: "commits",
        columns: &[
            ("hash", T),
            ("author", T),
            ("author_time", I),
            ("committer", T),
            ("commit_time", I),
            ("subject", T),
            ("message", T),
        ],
    },
    Table {
        name: "commit_parents",
        columns: &[("hash", T), ("position", I), ("parent", T)],
    },
    Table {
        name: "commit_files",
        columns: &[
            ("hash", T),
            ("file", T),
            ("added", I),
            ("deleted", I),
            ("binary", I),
        ],
    },
    Table {
        name: "refs",
        columns: &[("project", T), ("ref", T), ("hash", T)],
    },
    Table {
        name: "cls",
        columns: &[
            ("project", T),
            ("number", I),
            ("subject", T),
            ("status", T),
            ("branch", T),
            ("owner", T),
            ("version", I),
            ("hash", T),
            ("change_id", T),
            ("private", I),
            ("wip", I),
            ("created", I),
            ("hashtags", T),
        ],
    },
    Table {
        name: "cl_messages",
        columns: &[
            ("project", T),
            ("number", I),
            ("version", I),
            ("author", T),
            ("date", I),
            ("text", T),
        ],
    },
    Table {
        name: "cl_votes",
        columns: &[
            ("project", T),
            ("number", I),
            ("label", T),
            ("voter", T),
            ("value", I),
        ],
    },
    Table {
        name: "cl_issues",
        columns: &[
            ("project", T),
            ("number", I),
            ("issue_repo", T),
            ("issue", I),
        ],
    },
];

/// Takes rows.
pub(crate) type Sink<'s> = dyn FnMut(&'static Table, &[Cell<'_>]) -> Result<(), Failure> + 's;

/// Hands every row of the corpus to `sink`.
pub(crate) fn each_row(view: &View, sink: &mut Sink<'_>) -> Result<(), Failure> {
    for user in view.github().users() {
        sink(table("users"), &[Cell::Int(user.id()), text(user.login())])?;
    }
    view.github()
        .repos()
        .try_for_each(|repo| repo_rows(&repo, sink))?;
    view.git()
        .commits()
        .filter(Commit::is_known)
        .try_for_each(|commit| commit_rows(&commit, sink))?;
    view.gerrit()
        .projects()
        .try_for_each(|project| project_rows(&project, sink))
}

fn repo_rows(repo: &Repo<'_>, sink: &mut Sink<'_>) -> Result<(), Failure> {
    let name = repo.to_string();
    for label in repo.labels() {
        sink(
            table("labels"),
            &[text(&name), Cell::Int(label.id()), text(label.name())],
        )?;
    }
    for m in repo.milestones() {
        let row = [
            text(&name),
            Cell::Int(m.id()),
            Cell::Int(m.number()),
            text(m.title()),
            flag(m.is_closed()),
        ];
        sink(table("milestones"), &row)?;
    }
    repo.issues()
        .try_for_each(|issue| issue_rows(&name, &issue, sink))
}

fn issue_rows(repo: &str, issue: &Issue<'_>, sink: &mut Sink<'_>) -> Result<(), Failure> {
    let number = Cell::Int(issue.number().into());
    let row = [
        text(repo),
        number.clone(),
        text(issue.title()),
        text(issue.body()),
        login(issue.author()),
        flag(issue.is_closed()),
        flag(issue.is_locked()),
        flag(issue.is_pull_request()),
        match issue.milestone() {
            IssueMilestone::Some(milestone) => text(milestone.title()),
            _ => Cell::Null,
        },
        time(issue.created()),
        time(issue.updated()),
        time(issue.closed_at()),
        login(issue.closed_by()),
    ];
    sink(table("issues"), &row)?;
    for label in issue.labels() {
        sink(
            table("issue_labels"),
            &[text(repo), number.clone(), text(label.name())],
        )?;
    }
    for user in issue.assignees() {
        sink(
            table("assignees"),
            &[text(repo), number.clone(), text(user.login())],
        )?;
    }
    for c in issue.comments() {
        let row = [
            text(repo),
            number.clone(),
            Cell::Int(c.id()),
            login(c.author()),
            text(c.body()),
            time(c.created()),
            time(c.updated()),
        ];
        sink(table("comments"), &row)?;
    }
    for e in issue.events() {
        let (from, to) = e.rename();
        let row = [
            text(repo),
            number.clone(),
            Cell::Int(e.id()),
            text(e.event_type()),
            login(e.actor()),
            time(e.created()),
            some(e.label()),
            some(e.milestone()),
            login(e.assignee()),
            some(from),
            some(to),
        ];
        sink(table("events"), &row)?;
    }
    for r in issue.reviews() {
        let row = [
            text(repo),
            number.clone(),
            Cell::Int(r.id()),
            login(r.reviewer()),
            text(r.review_state()),
            text(r.body()),
            text(r.commit_id()),
            time(r.created()),
        ];
        sink(table("reviews"), &row)?;
    }
    Ok(())
}

fn commit_rows(commit: &Commit<'_>, sink: &mut Sink<'_>) -> Result<(), Failure> {
    let hash = commit.hash().to_string();
    let (author, committer) = (commit.author(), commit.committer());
    let row = [
        text(&hash),
        text(author.full()),
        Cell::Int(author.time().seconds()),
        text(committer.full()),
        Cell::Int(committer.time().seconds()),
        Cell::Text(commit.summary()),
        Cell::Text(commit.message()),
    ];
    sink(table("commits"), &row)?;
    for (position, parent) in (0..).zip(commit.parents()) {
        sink(
            table("commit_parents"),
            &[
                text(&hash),
                Cell::Int(position),
                Cell::Text(parent.hash().to_string().into()),
            ],
        )?;
    }
    for f in commit.files() {
        let row = [
            text(&hash),
            text(f.name()),
            Cell::Int(f.added().into()),
            Cell::Int(f.deleted().into()),
            flag(f.is_binary()),
        ];
        sink(table("commit_files"), &row)?;
    }
    Ok(())
}

fn project_rows(project: &Project<'_>, sink: &mut Sink<'_>) -> Result<(), Failure> {
    let name = project.full_name();
    for found in project.refs() {
        sink(
            table("refs"),
            &[
                text(name),
                text(found.name()),
                Cell::Text(found.hash().to_string().into()),
            ],
        )?;
    }
    project.cls().try_for_each(|cl| cl_rows(name, &cl, sink))
}

fn cl_rows(project: &str, cl: &Cl<'_>, sink: &mut Sink<'_>) -> Result<(), Failure> {
    let number = Cell::Int(cl.number().into());
    let owned = |value: Option<String>| value.map_or(Cell::Null, |value| Cell::Text(value.into()));
    let row = [
        text(project),
        number.clone(),
        Cell::Text(cl.subject().into()),
        text(cl.status().as_str()),
        text(cl.branch()),
        owned(cl.owner()),
        Cell::Int(cl.version().into()),
        Cell::Text(cl.commit().hash().to_string().into()),
        owned(cl.change_id()),
        flag(cl.is_private()),
        flag(cl.is_work_in_progress()),
        Cell::Int(cl.created().seconds()),
        Cell::Text(cl.hashtags().as_str().to_owned().into()),
    ];
    sink(table("cls"), &row)?;
    for m in cl.messages() {
        let author = m.author();
        let row = [
            text(project),
            number.clone(),
            Cell::Int(m.version().into()),
            text(author.full()),
            Cell::Int(m.date().seconds()),
            Cell::Text(m.text()),
        ];
        sink(table("cl_messages"), &row)?;
    }
    for vote in cl.votes() {
        let row = [
            text(project),
            number.clone(),
            text(vote.label()),
            text(vote.voter()),
            Cell::Int(vote.value().into()),
        ];
        sink(table("cl_votes"), &row)?;
    }
    for found in cl.references() {
        let repo = format!("{}/{}", found.owner(), found.repo());
        sink(
            table("cl_issues"),
            &[
                text(project),
                number.clone(),
                text(&repo),
                Cell::Int(found.number().into()),
            ],
        )?;
    }
    Ok(())
}

pub(crate) fn table(name: &'static str) -> &'static Table {
    TABLES
        .iter()
        .find(|table| table.name == name)
        .expect("every table that has rows is in TABLES")
}

fn text(text: &str) -> Cell<'_> {
    Cell::Text(text.into())
}

/// Empty means absent.
fn some(value: &str) -> Cell<'_> {
    if value.is_empty() {
        Cell::Null
    } else {
        text(value)
    }
}

fn flag(on: bool) -> Cell<'static> {
    Cell::Int(on.into())
}

fn time(time: Option<UnixTime>) -> Cell<'static> {
    time.map_or(Cell::Null, |time| Cell::Int(time.seconds()))
}

fn login<'a>(user: Option<User<'a>>) -> Cell<'a> {
    user.map_or(Cell::Null, |user| text(user.login()))
}

#[cfg(test)]
mod tests {
    use maintner_core::generate::{Generator, Profile};
    use maintner_core::{Corpus, Options};

    use super::*;

    #[test]
    fn every_row_fits_its_table_and_no_table_stays_empty() {
        let dir = tempfile::tempdir().unwrap();
        Generator::new(Profile::Tiny)
            .records(20_000)
            .write(dir.path())
            .unwrap();
        let corpus = Corpus::open_with(dir.path(), Options::default().snapshot(false)).unwrap();
        let mut seen = std::collections::HashMap::new();
        each_row(&corpus.view(), &mut |table, cells| {
            assert_eq!(cells.len(), table.columns.len(), "{}", table.name);
            *seen.entry(table.name).or_insert(0) += 1;
            Ok(())
        })
        .unwrap();
        for table in TABLES {
            assert!(seen.contains_key(table.name), "{} has no rows", table.name);
        }
    }
}
