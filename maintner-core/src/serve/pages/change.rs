//! Changes of a Gerrit project.

use askama::Template;

use super::list::{self, Row};
use super::{rendered, shown};
use crate::query::{Cl, Project};
use crate::serve::answer::Params;

const STATES: &[&str] = &["new", "merged", "abandoned", "all"];

pub(super) fn list(project: &Project<'_>, params: &Params) -> Result<String, String> {
    let wanted = list::state(params, STATES);
    let public = project.cls().filter(|cl| !cl.is_private());
    let mut all: Vec<Cl<'_>> = public
        .filter(|cl| wanted == "all" || state(cl) == wanted)
        .collect();
    all.reverse();
    list::page(&project.to_string(), params, STATES, all, row)
}

fn state(cl: &Cl<'_>) -> &'static str {
    match cl.status() {
        crate::Status::Merged => "merged",
        crate::Status::Abandoned => "abandoned",
        _ => "new",
    }
}

fn row(cl: &Cl<'_>) -> Row {
    Row {
        number: cl.number(),
        title: cl.subject(),
        state: state(cl),
        by: cl.commit().author().name().to_owned(),
        when: shown(Some(cl.created())),
        labels: cl.hashtags().iter().map(ToOwned::to_owned).collect(),
    }
}

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

pub(super) fn page(project: &Project<'_>, number: &str) -> Result<String, String> {
    let missing = || format!("change {project}/{number} not found");
    let found = number
        .parse()
        .ok()
        .and_then(|number| project.try_cl(number));
    let cl = found.filter(|cl| !cl.is_private()).ok_or_else(missing)?;
    let votes: Vec<String> = cl
        .votes()
        .iter()
        .map(|vote| format!("{}{:+}", vote.label(), vote.value()))
        .collect();
    let mut facts = vec![
        ("branch", cl.branch().to_owned()),
        ("patch set", cl.version().to_string()),
        ("commit", cl.commit().hash().to_string()),
        ("votes", votes.join(", ")),
    ];
    facts.retain(|(_, value)| !value.is_empty());
    let commit = cl.commit();
    let mut said = vec![Said {
        by: commit.author().name().to_owned(),
        when: shown(Some(commit.time())),
        what: "wrote".to_owned(),
        text: commit.message().into_owned(),
    }];
    said.extend(cl.messages().map(|message| Said {
        by: message.author().name().to_owned(),
        when: shown(Some(message.date())),
        what: format!("said of patch set {}", message.version()),
        text: message.text().into_owned(),
    }));
    rendered(&Page {
        title: cl.subject(),
        place: project.to_string(),
        number: cl.number(),
        state: state(&cl).to_owned(),
        facts,
        said,
    })
}
