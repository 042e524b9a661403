//! `/dashboard`: the newest commits, and what became of them on the builders of each system.

use askama::Template;
use axum::extract::Query;
use axum::http::StatusCode;
use axum::response::Response;
use build_core::Result;
use build_core::builders::{Builder, Target};
use build_core::ids::{BuilderName, RepoName};
use build_core::name::Name;
use build_core::report::BuildStatus;
use serde::Deserialize;

use super::Said;
use super::reading::Reading;
use crate::http::page::{Frame, html};
use crate::store::{BoardFilter, BoardLine};

/// Commits on the page.
const COMMITS: usize = 30;
/// Ports that come first.
const FIRST_CLASS: [&str; 7] = [
    "darwin-amd64",
    "linux-386",
    "linux-amd64",
    "linux-arm",
    "linux-arm64",
    "windows-386",
    "windows-amd64",
];

#[derive(Deserialize)]
pub(super) struct Question {
    #[serde(default)]
    repo: String,
    #[serde(default)]
    branch: String,
    /// Only first-class ports.
    short: Option<String>,
}

/// An operating system and its builders.
#[derive(Debug, PartialEq, Eq)]
struct System {
    name: String,
    columns: Vec<Column>,
}

#[derive(Debug, PartialEq, Eq)]
struct Column {
    builder: String,
    arch: String,
    /// What its name says besides the port.
    tag: String,
    first_class: bool,
}

impl System {
    fn is_first_class(&self) -> bool {
        self.columns.iter().any(|column| column.first_class)
    }
}

struct Row {
    hash: String,
    short: String,
    author: String,
    time: String,
    subject: String,
    cells: Vec<Cell>,
}

#[derive(Default)]
struct Cell {
    class: &'static str,
    word: &'static str,
    log: String,
}

#[derive(Template)]
#[template(path = "classic_dashboard.html")]
struct Page {
    frame: Frame,
    repo: String,
    systems: Vec<System>,
    rows: Vec<Row>,
}

pub(super) async fn page(
    Reading(site): Reading,
    Query(question): Query<Question>,
) -> Result<Response, Said> {
    let repo = match question.repo.as_str() {
        "" => "go",
        named => named,
    };
    let bad = |text: String| Said(StatusCode::BAD_REQUEST, text);
    let name = RepoName::new(repo).map_err(|error| bad(error.to_string()))?;
    let target = match repo {
        "go" => Target::go("master"),
        other => Target::subrepo(other, "master", "master"),
    };
    let builders = site.0.farm.post_submit_builders(&target)?;
    let mut systems = systems(&builders);
    if question.short.is_some() {
        systems.retain(System::is_first_class);
        for system in &mut systems {
            system.columns.retain(|column| column.first_class);
        }
    }
    let filter = BoardFilter {
        repo: name,
        branch: (!question.branch.is_empty()).then(|| Name::unescape(&question.branch)),
    };
    let board = site.records().board(&filter, None, COMMITS).await?;
    let columns: Vec<_> = systems.iter().flat_map(|system| &system.columns).collect();
    let rows = board.lines.iter().map(|line| row(&columns, line)).collect();
    Ok(html(&Page {
        frame: site.frame("Dashboard"),
        repo: repo.to_owned(),
        systems,
        rows,
    }))
}

/// The builders by their systems, both first-class ones first, then by name.
fn systems(builders: &[Builder<'_>]) -> Vec<System> {
    let mut systems: Vec<System> = Vec::new();
    for builder in builders {
        let port = format!("{}-{}", builder.goos(), builder.goarch());
        let rest = builder.name().strip_prefix(&port).unwrap_or_default();
        let column = Column {
            builder: builder.name().to_owned(),
            arch: builder.goarch().to_owned(),
            tag: rest.trim_start_matches('-').to_owned(),
            first_class: FIRST_CLASS.contains(&port.as_str()),
        };
        match systems
            .iter_mut()
            .find(|system| system.name == builder.goos())
        {
            Some(system) => system.columns.push(column),
            None => systems.push(System {
                name: builder.goos().to_owned(),
                columns: vec![column],
            }),
        }
    }
    for system in &mut systems {
        let order = |c: &Column| (!c.first_class, c.builder.clone());
        system.columns.sort_by_key(order);
    }
    systems.sort_by_key(|system| (!system.is_first_class(), system.name.clone()));
    systems
}

fn row(columns: &[&Column], line: &BoardLine) -> Row {
    let cell = |column: &&Column| {
        let name = BuilderName::new(&column.builder).ok()?;
        let cell = line.cells.get(&name)?;
        let (class, word) = match cell.state {
            BuildStatus::Passed => ("better", "ok"),
            BuildStatus::Failed => ("worse", "fail"),
            BuildStatus::Queued | BuildStatus::Running => ("dim", "\u{2022}"),
            _ => ("dim", "error"),
        };
        let log = format!(
            "/temporarylogs?name={}&rev={}&st={}",
            column.builder, line.commit.hash, cell.build
        );
        Some(Cell { class, word, log })
    };
    Row {
        hash: line.commit.hash.to_string(),
        short: line.commit.hash.short().to_string(),
        author: user(line.commit.author.as_deref().unwrap_or_default()).to_owned(),
        time: line.commit.time.to_string(),
        subject: line.commit.subject.clone(),
        cells: columns
            .iter()
            .map(|c| cell(c).unwrap_or_default())
            .collect(),
    }
}

/// The local part of an author's address; the name without one.
fn user(author: &str) -> &str {
    let address = author.split_once('<').map_or(author, |(_, rest)| rest);
    let address = address.trim_end_matches('>');
    address.split_once('@').map_or(address, |(local, _)| local)
}

#[cfg(test)]
mod tests {
    use build_core::builders::Farm;

    use super::*;

    /// The example of the Go project's own handler, with its builders of 2020.
    #[test]
    fn first_class_ports_come_first() {
        let farm = Farm::go2020();
        let names = [
            "linux-amd64-race",
            "linux-386",
            "darwin-amd64-10_15",
            "android-386-emu",
            "linux-ppc64le-buildlet",
        ];
        let builders: Vec<_> = names
            .iter()
            .map(|name| farm.builder(name).unwrap())
            .collect();
        let systems = systems(&builders);
        let shown: Vec<_> = systems
            .iter()
            .map(|system| {
                let columns = system.columns.iter();
                let columns = columns.map(|c| (c.arch.as_str(), c.tag.as_str(), c.first_class));
                (system.name.as_str(), columns.collect::<Vec<_>>())
            })
            .collect();
        assert_eq!(
            shown,
            [
                ("darwin", vec![("amd64", "10_15", true)]),
                (
                    "linux",
                    vec![
                        ("386", "", true),
                        ("amd64", "race", true),
                        ("ppc64le", "buildlet", false)
                    ]
                ),
                ("android", vec![("386", "emu", false)]),
            ]
        );
    }

    #[test]
    fn authors_are_shown_by_the_local_part_of_their_address() {
        for (author, shown) in [
            ("Foo <foo@bar.com>", "foo"),
            ("<foo@bar.com>", "foo"),
            ("Foo", "Foo"),
            ("", ""),
        ] {
            assert_eq!(user(author), shown);
        }
    }
}
