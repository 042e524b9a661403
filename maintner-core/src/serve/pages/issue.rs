//! Issues of a repository.

use askama::Template;

use super::list::{self, Row};
use super::{rendered, shown};
use crate::query::{Issue, Repo};
use crate::serve::answer::Params;

const STATES: &[&str] = &["open", "closed", "all"];

pub(super) fn list(repo: &Repo<'_>, params: &Params) -> Result<String, String> {
    let issues = repo.issues().only_issues();
    let mut all: Vec<Issue<'_>> = match list::state(params, STATES) {
        "open" => issues.open().collect(),
        "closed" => issues.closed().collect(),
        _ => issues.collect(),
    };
    all.reverse();
    list::page(&repo.to_string(), params, STATES, all, row)
}

fn row(issue: &Issue<'_>) -> Row {
    Row {
        number: issue.number(),
        title: issue.title().to_owned(),
        state: state(issue),
        by: author(issue.author()),
        when: shown(issue.created()),
        labels: issue
            .labels()
            .map(|label| label.name().to_owned())
            .collect(),
    }
}

fn state(issue: &Issue<'_>) -> &'static str {
    if issue.is_closed() { "closed" } else { "open" }
}

fn author(user: Option<crate::query::User<'_>>) -> String {
    user.map_or_else(|| "somebody".to_owned(), |user| user.login().to_owned())
}

/// Something that somebody wrote.
struct Said {
    by: String,
    when: String,
    what: String,
    text: String,
}

#[derive(Template)]
#[template(path = "corpus-item.html")]
struct Page {
    title: String,
    place: String,
    number: i32,
    state: String,
    facts: Vec<(&'static str, String)>,
    said: Vec<Said>,
}

pub(super) fn page(repo: &Repo<'_>, number: &str) -> Result<String, String> {
    let missing = || format!("issue {repo}#{number} not found");
    let found = number
        .parse()
        .ok()
        .and_then(|number| repo.try_issue(number));
    let issue = found.filter(Issue::exists).ok_or_else(missing)?;
    let labels: Vec<&str> = issue.labels().map(|label| label.name()).collect();
    let assignees: Vec<&str> = issue.assignees().map(|user| user.login()).collect();
    let mut facts = vec![
        ("labels", labels.join(", ")),
        ("assignees", assignees.join(", ")),
    ];
    facts.push(("closed", shown(issue.closed_at())));
    facts.retain(|(_, value)| !value.is_empty());
    let mut said = vec![Said {
        by: author(issue.author()),
        when: shown(issue.created()),
        what: "wrote".to_owned(),
        text: issue.body().to_owned(),
    }];
    said.extend(issue.comments().map(|comment| Said {
        by: author(comment.author()),
        when: shown(comment.created()),
        what: "commented".to_owned(),
        text: comment.body().to_owned(),
    }));
    rendered(&Page {
        title: issue.title().to_owned(),
        place: repo.to_string(),
        number: issue.number(),
        state: state(&issue).to_owned(),
        facts,
        said,
    })
}
