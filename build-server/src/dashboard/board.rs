//! `/`: the dashboard. Commits down, builders across; what runs, and what waits for what.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use askama::Template;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::response::Response;
use build_core::ids::{BuilderName, RepoName};
use build_core::name::Name;
use build_core::report::{BuildStatus, Rerun};
use build_core::sentences::{person, took};
use serde::Deserialize;

use super::error::{Failure, Guest, Looking};
use super::farm::RunningBuild;
use super::merges::{self, Brought};
use super::page::{self, Frame};
use super::queue::{self, WaitingUnit};
use super::time::When;
use super::words::{LEGEND, Mark};
use crate::store::{BoardCell, BoardCommit, BoardFilter, BoardLine, BoardPage, KnownRepo};
use crate::web::Site;

/// Commits on a page, when there are few builders.
const COMMITS: usize = 30;
/// Commits on a page, however many builders there are.
const FEWEST_COMMITS: usize = 6;
/// Cells on a page: with their links, this many stay below its 60 KB.
const CELLS: usize = 720;
/// Builders from which on a cell is a sign without words.
const DENSE: usize = 8;
/// Commits of each repository while none is chosen.
const COMMITS_OF_EACH: usize = 6;
/// Repositories shown while none is chosen; the others are links.
const REPOS: usize = 5;
/// Builds that run and units that wait, shown above the board.
const SHOWN_NOW: usize = 5;

#[derive(Deserialize)]
pub(super) struct Question {
    repo: Option<String>,
    branch: Option<String>,
    before: Option<String>,
    /// Anything: merges are shown with what they brought.
    merges: Option<String>,
}

#[derive(Template)]
#[template(path = "board.html")]
struct Page<'a> {
    frame: &'a Frame,
    running: Vec<RunningBuild<'a>>,
    waiting: Vec<WaitingUnit>,
    repos: Vec<Link>,
    tables: Vec<Table>,
    legend: [Mark; 7],
}

/// A choice among others.
struct Link {
    name: String,
    url: String,
    here: bool,
}

/// The board of one repository.
struct Table {
    repo: String,
    url: String,
    branches: Vec<Link>,
    dense: bool,
    builders: Vec<BuilderName>,
    rows: Vec<Row>,
    newest: Option<String>,
    older: Option<String>,
    /// Shows merges with what they brought, or without; there when one repository is chosen.
    merges: Option<Link>,
}

struct Row {
    hash: String,
    short: String,
    subject: String,
    author: String,
    branch: Option<String>,
    when: When,
    cells: Vec<Option<Cell>>,
    /// What is said of a merge and what it brought.
    merge: Option<String>,
    /// A merge brought it: it stands below that one.
    is_brought: bool,
}

struct Cell {
    build: String,
    mark: Mark,
    took: String,
    /// What running its failed tests again has shown.
    again: Option<&'static str>,
    /// Why it can never begin on the machines that there are.
    cannot: Option<String>,
}

pub(super) async fn page(
    Looking(site): Looking,
    Guest(visitor): Guest,
    question: Result<Query<Question>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(question) = question?;
    let known = site.records().repos().await?;
    let frame = Frame::new(&site, visitor, "Dashboard", "/").await?;
    let chosen = chosen(&question, &known)?;
    let tables = match chosen {
        Some(repo) => vec![table(&site, &frame, repo, &question, COMMITS).await?],
        None => overview(&site, &frame, &known).await?,
    };
    let running = frame.farm.running_builds(&site, SHOWN_NOW).await?;
    let waiting = queue::waiting(&site, &frame, SHOWN_NOW).await?;
    let link = |known: &KnownRepo| Link {
        name: known.repo.to_string(),
        url: address(&known.repo, None, None),
        here: chosen.is_some_and(|chosen| chosen.repo == known.repo),
    };
    let repos = known.iter().map(link).collect();
    Ok(page::html(&Page {
        frame: &frame,
        running,
        waiting,
        repos,
        tables,
        legend: LEGEND,
    }))
}

/// The repository that is asked for, or the only one.
fn chosen<'a>(
    question: &Question,
    known: &'a [KnownRepo],
) -> Result<Option<&'a KnownRepo>, Failure> {
    let Some(name) = &question.repo else {
        return Ok(Some(known).filter(|k| k.len() == 1).and_then(|k| k.first()));
    };
    let found = known.iter().find(|known| known.repo.as_str() == name);
    found.map(Some).ok_or_else(|| {
        let text = format!("nothing was built of a repository called {name:?}");
        Failure::not_found(text, "the dashboard lists the repositories")
    })
}

async fn overview(site: &Site, frame: &Frame, known: &[KnownRepo]) -> Result<Vec<Table>, Failure> {
    let mut tables = Vec::new();
    let all = Question {
        repo: None,
        branch: None,
        before: None,
        merges: None,
    };
    for repo in known.iter().take(REPOS) {
        tables.push(table(site, frame, repo, &all, COMMITS_OF_EACH).await?);
    }
    Ok(tables)
}

async fn table(
    site: &Site,
    frame: &Frame,
    known: &KnownRepo,
    question: &Question,
    commits: usize,
) -> Result<Table, Failure> {
    let before = question.before.as_deref().map(str::parse).transpose()?;
    let which = BoardFilter {
        repo: known.repo.clone(),
        branch: question.branch.as_deref().map(Name::unescape),
    };
    let builders = site.handle().builders();
    let limit = commits.min(commits_for(builders.len()));
    let mut board = site.records().board(&which, before, limit).await?;
    let builders = columns(builders, &board.lines);
    shorten(&mut board, commits_for(builders.len()));
    let branch = question.branch.as_deref();
    let with_merges = question.merges.is_some();
    let at = |before: Option<String>, merges: bool| {
        let address = address(&known.repo, branch, before);
        if merges {
            format!("{address}&merges=1")
        } else {
            address
        }
    };
    let older = board
        .next
        .map(|next| at(Some(next.to_string()), with_merges));
    let unable = unable(site, &board.lines, &builders).await;
    let mut brought = match with_merges {
        true => merges::brought(site, &board.lines, commits_for(builders.len())).await?,
        false => BTreeMap::new(),
    };
    let mut rows = Vec::new();
    for line in &board.lines {
        let mut merge = row(frame, &line.commit, &line.cells, &builders, &unable);
        let brought = brought.remove(&line.commit.hash);
        merge.merge = brought.as_ref().map(told);
        rows.push(merge);
        for (item, cells) in brought.into_iter().flat_map(|brought| brought.commits) {
            let row = row(frame, &BoardCommit::of(&item), &cells, &builders, &unable);
            rows.push(Row {
                is_brought: true,
                ..row
            });
        }
    }
    let merges = question.repo.is_some().then(|| Link {
        name: "merges with their branches".to_owned(),
        url: at(question.before.clone(), !with_merges),
        here: with_merges,
    });
    Ok(Table {
        repo: known.repo.to_string(),
        url: address(&known.repo, None, None),
        branches: branches(known, branch),
        dense: builders.len() > DENSE,
        rows,
        builders,
        newest: before.map(|_| at(None, with_merges)),
        older,
        merges,
    })
}

/// The builders whose builds cannot run, asked of one that waits of each.
async fn unable(
    site: &Site,
    lines: &[BoardLine],
    builders: &[BuilderName],
) -> HashMap<BuilderName, String> {
    let mut unable = HashMap::new();
    for name in builders {
        let cells = lines.iter().filter_map(|line| line.cells.get(name));
        let mut waiting = cells.filter(|cell| cell.state == BuildStatus::Queued);
        let Some(cell) = waiting.next() else {
            continue;
        };
        // One that has ended since, or a farm without coordinator: the page says so elsewhere.
        let units = site.handle().explain(&cell.build).await.unwrap_or_default();
        let cannot = units.iter().find_map(|unit| unit.why.cannot_run());
        unable.extend(cannot.map(|cannot| (name.clone(), cannot)));
    }
    unable
}

fn commits_for(builders: usize) -> usize {
    (CELLS / builders.max(1)).clamp(FEWEST_COMMITS, COMMITS)
}

/// More builders were found than are configured: fewer commits fit.
fn shorten(board: &mut BoardPage, commits: usize) {
    if board.lines.len() > commits {
        board.lines.truncate(commits);
        board.next = board.lines.last().map(|line| line.place);
    }
}

/// The configured builders in their order, then others that have built one of the commits.
fn columns(configured: &[BuilderName], lines: &[BoardLine]) -> Vec<BuilderName> {
    let others: BTreeSet<_> = lines
        .iter()
        .flat_map(|line| line.cells.keys())
        .filter(|name| !configured.contains(name))
        .collect();
    configured.iter().chain(others).cloned().collect()
}

fn branches(known: &KnownRepo, chosen: Option<&str>) -> Vec<Link> {
    let link = |name: String, branch: Option<&str>| Link {
        name,
        url: address(&known.repo, branch, None),
        here: branch == chosen,
    };
    let of = |branch: &Name| link(branch.to_string(), Some(&branch.escaped()));
    let each = known.branches.iter().map(of);
    std::iter::once(link("all".into(), None))
        .chain(each)
        .collect()
}

pub(super) fn address(repo: &RepoName, branch: Option<&str>, before: Option<String>) -> String {
    let mut query = form_urlencoded::Serializer::for_suffix(String::from("/?"), 2);
    query.append_pair("repo", repo.as_str());
    if let Some(branch) = branch {
        query.append_pair("branch", branch);
    }
    if let Some(before) = before {
        query.append_pair("before", &before);
    }
    query.finish()
}

/// What is said of a merge.
fn told(brought: &Brought) -> String {
    match (brought.commits.len(), brought.is_cut) {
        (0, false) => "merge of nothing new".to_owned(),
        (1, false) => "merge of 1 commit".to_owned(),
        (count, false) => format!("merge of {count} commits"),
        (0, true) => "merge; its commits are not shown here".to_owned(),
        (count, true) => format!("merge of more commits than the {count} shown"),
    }
}

fn row(
    frame: &Frame,
    commit: &BoardCommit,
    cells: &BTreeMap<BuilderName, BoardCell>,
    builders: &[BuilderName],
    unable: &HashMap<BuilderName, String>,
) -> Row {
    let cells = builders.iter().map(|name| cells.get(name));
    Row {
        hash: commit.hash.to_string(),
        short: commit.hash.short()[..8].to_owned(),
        subject: commit.subject.clone(),
        author: commit.author.as_deref().map(person).unwrap_or_default(),
        branch: commit.branch.as_ref().map(Name::to_string),
        when: frame.when(commit.time),
        cells: cells
            .map(|found| found.map(|c| cell(frame, c, unable)))
            .collect(),
        merge: None,
        is_brought: false,
    }
}

fn cell(frame: &Frame, cell: &BoardCell, unable: &HashMap<BuilderName, String>) -> Cell {
    let waits = cell.state == BuildStatus::Queued;
    let end = cell.finished.unwrap_or(frame.now);
    Cell {
        build: cell.build.to_string(),
        mark: cell.state.into(),
        took: cell.started.map(|s| took(end.since(s))).unwrap_or_default(),
        again: cell.rerun.as_ref().map(Rerun::verdict),
        cannot: unable.get(&cell.builder).filter(|_| waits).cloned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_fewer_commits_the_more_builders_there_are() {
        let commits = [0, 1, 24, 48, 100, 10_000].map(commits_for);
        assert_eq!(commits, [30, 30, 30, 15, 7, 6]);
    }
}
