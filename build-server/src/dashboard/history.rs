//! `/tests`: how each test that ever failed, and each unit, went, commit after commit.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::response::Response;
use build_core::ids::BuilderName;
use build_core::plan::Unit;
use serde::Deserialize;

use super::error::{Failure, Guest, Looking};
use super::failures::{TestHistory, test_histories};
use super::page::{self, Frame};
use super::words::{FAILED, LOST, Mark, PASSED};
use crate::record::BuildRow;
use crate::store::{BuildFilter, KnownRepo};
use crate::web::Site;

/// Builds across.
const BUILDS: usize = 20;
/// Units down.
const UNITS: usize = 20;

#[derive(Deserialize)]
pub(super) struct Question {
    repo: Option<String>,
    builder: Option<String>,
}

#[derive(Template)]
#[template(path = "tests.html")]
struct Page<'a> {
    frame: &'a Frame,
    repo: String,
    builder: String,
    choices: Vec<Choice>,
    builds: Vec<Column>,
    tests: Vec<TestHistory>,
    units: Vec<History>,
}

struct Choice {
    repo: String,
    builder: String,
    url: String,
    here: bool,
}

struct Column {
    build: String,
    short: String,
    subject: String,
}

/// One unit in each build; empty where it did not run.
struct History {
    name: String,
    summary: String,
    cells: Vec<Option<Cell>>,
}

struct Cell {
    build: String,
    run: usize,
    mark: Mark,
}

pub(super) async fn page(
    Looking(site): Looking,
    Guest(visitor): Guest,
    question: Result<Query<Question>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(question) = question?;
    let known = site.records().repos().await?;
    let frame = Frame::new(&site, visitor, "Tests", "/tests").await?;
    let builders = site.handle().builders();
    let repo = match &question.repo {
        Some(name) => known.iter().find(|k| k.repo.as_str() == name),
        None => known.first(),
    };
    let builder = match &question.builder {
        Some(name) => Some(BuilderName::new(name)?),
        None => builders.first().cloned(),
    };
    let rows = match (repo, &builder) {
        (Some(repo), Some(builder)) => rows(&site, repo, builder).await?,
        _ => Vec::new(),
    };
    let repo = repo.map(|known| known.repo.to_string()).unwrap_or_default();
    let builder = builder.map(|name| name.to_string()).unwrap_or_default();
    let tests = test_histories(&site, &rows).await?;
    Ok(page::html(&Page {
        frame: &frame,
        choices: choices(&known, builders, &repo, &builder),
        builds: rows.iter().map(column).collect(),
        tests,
        units: histories(&rows),
        repo,
        builder,
    }))
}

async fn rows(
    site: &Site,
    repo: &KnownRepo,
    builder: &BuilderName,
) -> Result<Vec<BuildRow>, Failure> {
    let which = BuildFilter {
        repo: Some(repo.repo.clone()),
        builder: Some(builder.clone()),
        ..BuildFilter::default()
    };
    let page = site.records().builds(&which, None, BUILDS).await?;
    Ok(page.builds)
}

fn choices(
    known: &[KnownRepo],
    builders: &[BuilderName],
    repo: &str,
    builder: &str,
) -> Vec<Choice> {
    let pairs = known
        .iter()
        .flat_map(|k| builders.iter().map(move |b| (k, b)));
    let choice = |(known, name): (&KnownRepo, &BuilderName)| {
        let mut query = form_urlencoded::Serializer::for_suffix(String::from("/tests?"), 7);
        query.append_pair("repo", known.repo.as_str());
        query.append_pair("builder", name.as_str());
        Choice {
            repo: known.repo.to_string(),
            builder: name.to_string(),
            url: query.finish(),
            here: known.repo.as_str() == repo && name.as_str() == builder,
        }
    };
    pairs.map(choice).collect()
}

fn column(row: &BuildRow) -> Column {
    Column {
        build: row.id.to_string(),
        short: row.item.commit.short()[..8].to_owned(),
        subject: row.item.subject.clone(),
    }
}

fn histories(rows: &[BuildRow]) -> Vec<History> {
    let mut units: BTreeMap<&Unit, Vec<Option<Cell>>> = BTreeMap::new();
    for (at, row) in rows.iter().enumerate() {
        for (number, run) in (1..).zip(&row.runs) {
            let blank = || (0..rows.len()).map(|_| None).collect();
            let cells = units.entry(&run.unit).or_insert_with(blank);
            cells[at] = Some(Cell {
                build: row.id.to_string(),
                run: number,
                mark: run.into(),
            });
        }
    }
    let history = |(unit, cells): (&Unit, Vec<Option<Cell>>)| History {
        name: unit.to_string(),
        summary: summary(&cells),
        cells,
    };
    units.into_iter().take(UNITS).map(history).collect()
}

/// Failures among so many, and whether what failed last is new.
fn summary(cells: &[Option<Cell>]) -> String {
    let ended: Vec<Mark> = cells.iter().flatten().map(|cell| cell.mark).collect();
    let ended: Vec<Mark> = ended
        .into_iter()
        .filter(|mark| [PASSED, FAILED].contains(mark))
        .collect();
    let failures = ended.iter().filter(|mark| **mark == FAILED).count();
    let lost = cells.iter().flatten().filter(|c| c.mark == LOST).count();
    let since = ended.iter().take_while(|mark| **mark == FAILED).count();
    let word = match (failures, since) {
        (0, _) => "always passed".to_owned(),
        (_, 0) => format!("failed {failures} in {}, passes now", ended.len()),
        (_, 1) if failures == 1 => format!("new failure, 1 in {}", ended.len()),
        (_, n) if n == ended.len() => format!("failed all {n} times"),
        (_, 1) => format!("failed the last time, {failures} in {}", ended.len()),
        (_, n) => format!("broken for {n} builds, {failures} in {}", ended.len()),
    };
    match (ended.len(), lost) {
        (0, _) => "no result yet".into(),
        (_, 0) => word,
        (_, n) => format!("{word}; {n} machines lost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::words::RUNNING;

    fn said(marks: &[Mark]) -> String {
        let cell = |mark: &Mark| {
            Some(Cell {
                build: String::new(),
                run: 1,
                mark: *mark,
            })
        };
        summary(&marks.iter().map(cell).collect::<Vec<_>>())
    }

    #[test]
    fn a_history_says_what_is_new_and_what_is_old() {
        assert_eq!(said(&[PASSED, PASSED]), "always passed");
        assert_eq!(said(&[FAILED, PASSED]), "new failure, 1 in 2");
        assert_eq!(
            said(&[FAILED, FAILED, PASSED]),
            "broken for 2 builds, 2 in 3"
        );
        assert_eq!(said(&[PASSED, FAILED, PASSED]), "failed 1 in 3, passes now");
        assert_eq!(said(&[FAILED, FAILED]), "failed all 2 times");
        assert_eq!(
            said(&[FAILED, PASSED, FAILED]),
            "failed the last time, 2 in 3"
        );
        assert_eq!(said(&[RUNNING]), "no result yet");
        assert_eq!(said(&[PASSED, LOST]), "always passed; 1 machines lost");
    }
}
