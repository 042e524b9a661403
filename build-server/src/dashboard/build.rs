//! `/builds/ID`: how it went in one sentence, then the steps, then the log.

use askama::Template;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query};
use axum::response::Response;
use build_core::event::Outcome;
use build_core::ids::WishKey;
use build_core::report::{BuildStatus, FailedTest, Review};
use build_core::sentences::outside;
use build_core::{Error, ErrorKind};
use serde::Deserialize;

use super::commit::sentence;
use super::error::{Failure, Guest, Looking};
use super::estimate::Estimates;
use super::kept::{KeptView, kept};
use super::log::search::{Found, find};
use super::log::window::{From, Naming, Window, window};
use super::log::{self, open};
use super::page::{self, Frame};
use super::queue::{self, WaitingUnit};
use super::steps::{self, StepView};
use super::time::When;
use super::words::{Mark, PASSED};
use crate::record::{BuildRow, Run};
use crate::web::Site;

/// Bytes of a log that is put into the page beside the chosen one.
const SMALL_LOG: u64 = 1_500;
/// How many of those.
const SMALL_LOGS: usize = 6;
/// How many failed tests are named.
const FAILED_TESTS: usize = 100;

#[derive(Deserialize)]
pub(super) struct Question {
    /// The run whose log is shown, by its number.
    run: Option<usize>,
    /// The line that is looked for: a number, or `end`.
    line: Option<String>,
    /// Words that are looked for.
    find: Option<String>,
    /// From which line on.
    from: Option<u64>,
}

#[derive(Template)]
#[template(path = "build.html")]
struct Page<'a> {
    frame: &'a Frame,
    row: &'a BuildRow,
    short: &'a str,
    mark: Mark,
    sentence: String,
    hint: Option<String>,
    queued: When,
    waiting: Vec<WaitingUnit>,
    usual: Option<String>,
    steps: Vec<StepView>,
    failed_tests: Vec<FailedTest>,
    failed_tests_more: usize,
    log: Option<LogView>,
    others: Vec<OtherLog>,
    is_open: bool,
    /// Who wants it at present, and how it is taken back.
    wanted: Vec<(String, WishKey)>,
    review: Option<Review>,
    /// What a commit from outside gets and what not.
    outside: Option<String>,
    kept: Vec<KeptView>,
}

/// The log of the chosen run.
struct LogView {
    run: usize,
    name: String,
    mark: Mark,
    window: Option<Window>,
    size: String,
    /// Where its next lines come from, while it is written.
    follow: Option<String>,
    words: String,
    found: Option<Found>,
}

/// The log of another run.
struct OtherLog {
    run: usize,
    name: String,
    mark: Mark,
    html: Option<String>,
    size: String,
}

impl LogView {
    /// Where the search goes on.
    fn further(&self, line: &u64) -> String {
        let mut query = form_urlencoded::Serializer::for_suffix(String::from("?"), 1);
        query.append_pair("run", &self.run.to_string());
        query.append_pair("find", &self.words);
        query.append_pair("from", &line.to_string());
        query.finish() + "#log"
    }
}

pub(super) async fn page(
    Looking(site): Looking,
    Guest(visitor): Guest,
    Path(id): Path<String>,
    question: Result<Query<Question>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(question) = question?;
    let row = log::build(&site, &id).await?;
    let title = format!("{} {}", Mark::from(row.state).sign, row.item.subject);
    let mut frame = Frame::new(&site, visitor, title, "/").await?;
    let is_open = !row.state.is_final();
    frame.live = match is_open {
        true => format!("/api/v1/builds/{}/events", row.id),
        false => String::new(),
    };
    let mut estimates = Estimates::new(site.records());
    let waiting = match is_open {
        true => queue::of_build(&site, &frame, &row, &mut estimates).await?,
        false => Vec::new(),
    };
    let wishes = match is_open {
        true => site.handle().wishes(Some(&row.id)).await?,
        false => Vec::new(),
    };
    let wanted = wishes.iter().map(|wish| (wish.by().text(), wish.key()));
    let usual = estimates.of_build(&row).await?.filter(|_| is_open);
    let chosen = chosen(&row, question.run)?;
    let log = match chosen {
        Some(number) => Some(log_view(&site, &row, number, &question).await?),
        None => None,
    };
    let others = others(&site, &row, chosen).await?;
    let mut failed_tests = site.handle().failed_tests(&row).await?;
    let failed_tests_more = failed_tests.len().saturating_sub(FAILED_TESTS);
    failed_tests.truncate(FAILED_TESTS);
    Ok(page::html(&Page {
        frame: &frame,
        row: &row,
        short: row.item.commit.short(),
        mark: row.state.into(),
        sentence: sentence(&frame, &row),
        hint: hint(&row),
        queued: frame.when(row.queued),
        waiting,
        usual: usual.map(|usual| usual.to_string()),
        steps: steps::steps(&frame, &row),
        failed_tests,
        failed_tests_more,
        log,
        others,
        is_open,
        wanted: wanted.collect(),
        review: site.review(&row.item),
        outside: outside(&row.item),
        kept: kept(&site, &row).await?,
    }))
}

fn hint(row: &BuildRow) -> Option<String> {
    match row.outcome.as_ref()? {
        Outcome::Misconfigured { hint, .. } => Some(hint.clone()),
        _ => None,
    }
}

/// The number of the run whose log is shown: the one asked for, else the one that runs, else the
/// last one that did not pass, else the last.
fn chosen(row: &BuildRow, asked: Option<usize>) -> Result<Option<usize>, Failure> {
    if let Some(number) = asked {
        log::run(row, number)?;
        return Ok(Some(number));
    }
    let last = |wanted: fn(&Run) -> bool| row.runs.iter().rposition(wanted);
    let at = last(|run| run.end.is_none())
        .or_else(|| last(|run| Mark::from(run) != PASSED))
        .or_else(|| row.runs.len().checked_sub(1));
    Ok(at.map(|at| at + 1))
}

async fn log_view(
    site: &Site,
    row: &BuildRow,
    number: usize,
    question: &Question,
) -> Result<LogView, Failure> {
    let run = log::run(row, number)?;
    let log = open(site, row, run).await;
    let from = from(row, run, question)?;
    let failed = |e: std::io::Error| Error::from(e).while_doing("read a log");
    let naming = Naming::of_run(number);
    let window = log.as_ref().map(|log| window(log, from, &naming));
    let window = window.transpose().map_err(failed)?;
    let words = question.find.clone().unwrap_or_default();
    let found = match &log {
        Some(log) if !words.is_empty() => {
            let first = question.from.unwrap_or(1);
            Some(find(log, &words, first).await.map_err(failed)?)
        }
        _ => None,
    };
    let is_live = run.end.is_none() && row.state == BuildStatus::Running;
    let shows_end = window.as_ref().is_none_or(|w| w.later().is_none());
    let next = window.as_ref().map_or(1, |w| w.complete + 1);
    Ok(LogView {
        run: number,
        name: steps::name(run),
        mark: run.into(),
        size: steps::size(window.as_ref().map_or(0, |w| w.bytes)),
        window,
        follow: (is_live && shows_end)
            .then(|| format!("/builds/{}/lines?run={number}&from={next}", row.id)),
        words,
        found,
    })
}

/// Where the window begins: at the line asked for; without one a log that passed is shown from
/// its beginning, any other from where it is interesting, its end.
fn from(row: &BuildRow, run: &Run, question: &Question) -> Result<From, Failure> {
    let Some(line) = question.line.as_deref() else {
        let from_start = Mark::from(run) == PASSED;
        return Ok(if from_start { From::Line(1) } else { From::End });
    };
    if line == "end" {
        return Ok(From::End);
    }
    let number = line.parse().map(From::Line);
    number.map_err(|_| {
        let text = format!("build {} has no line {line:?}", row.id);
        Error::new(ErrorKind::Invalid, text).into()
    })
}

/// The logs of the other runs; small ones are in the page.
async fn others(
    site: &Site,
    row: &BuildRow,
    chosen: Option<usize>,
) -> Result<Vec<OtherLog>, Failure> {
    let mut others = Vec::new();
    let mut inside = 0;
    for (number, run) in (1..).zip(&row.runs) {
        if Some(number) == chosen {
            continue;
        }
        let is_small = run.end.is_some() && run.output_bytes <= SMALL_LOG;
        let mut html = None;
        if is_small && inside < SMALL_LOGS {
            inside += 1;
            html = small(site, row, number, run).await?;
        }
        others.push(OtherLog {
            run: number,
            name: steps::name(run),
            mark: run.into(),
            html,
            size: steps::size(run.output_bytes),
        });
    }
    Ok(others)
}

async fn small(
    site: &Site,
    row: &BuildRow,
    number: usize,
    run: &Run,
) -> Result<Option<String>, Failure> {
    let Some(log) = open(site, row, run).await else {
        return Ok(None);
    };
    let naming = Naming::beside(number);
    let shown = window(&log, From::Line(1), &naming).map_err(Error::from)?;
    Ok(Some(shown.html))
}
