//! `/commits/HASH`: every build of a commit.

use askama::Template;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::response::Response;
use build_core::report::Review;
use build_core::sentences::took;
use build_core::work::WorkItem;

use super::board::address;
use super::error::{Failure, Guest, Looking};
use super::page::{self, Frame};
use super::time::When;
use super::words::{self, Mark};
use crate::record::BuildRow;
use crate::store::BuildFilter;

/// Builds on the page.
const SHOWN: usize = 200;
/// Digits of a hash that name a commit well enough.
const FEWEST_DIGITS: usize = 7;

struct Build {
    id: String,
    builder: String,
    mark: Mark,
    sentence: String,
    when: When,
}

#[derive(Template)]
#[template(path = "commit.html")]
struct Page<'a> {
    frame: &'a Frame,
    item: &'a WorkItem,
    /// Where its repository is.
    repo: String,
    builds: Vec<Build>,
    review: Option<Review>,
}

pub(super) async fn page(
    Looking(site): Looking,
    Guest(visitor): Guest,
    hash: Result<Path<String>, PathRejection>,
) -> Result<Response, Failure> {
    let Path(hash) = hash?;
    let absent = || {
        let text = format!("nothing was built of a commit {hash:?}");
        Failure::not_found(text, "the dashboard lists the commits")
    };
    let is_hash = hash.len() >= FEWEST_DIGITS && hash.bytes().all(|b| b.is_ascii_hexdigit());
    if !is_hash {
        return Err(absent());
    }
    let which = BuildFilter {
        commit: Some(hash.to_ascii_lowercase()),
        ..BuildFilter::default()
    };
    let found = site.records().builds(&which, None, SHOWN).await?;
    let newest = found.builds.first().ok_or_else(absent)?;
    let title = format!("Commit {}", newest.item.commit.short());
    let frame = Frame::new(&site, visitor, title, "/").await?;
    let builds = found.builds.iter().map(|row| build(&frame, row)).collect();
    Ok(page::html(&Page {
        frame: &frame,
        item: &newest.item,
        repo: address(&newest.item.repo, None, None),
        builds,
        review: site.review(&newest.item),
    }))
}

fn build(frame: &Frame, row: &BuildRow) -> Build {
    Build {
        id: row.id.to_string(),
        builder: row.builder.to_string(),
        mark: row.state.into(),
        sentence: sentence(frame, row),
        when: frame.when(row.queued),
    }
}

/// How a build did or does, as one sentence.
pub(super) fn sentence(frame: &Frame, row: &BuildRow) -> String {
    match (&row.outcome, row.started) {
        (Some(outcome), _) => words::ended(row, outcome),
        (None, None) => format!("Waiting for {}.", took(frame.now.since(row.queued))),
        (None, Some(started)) => {
            let units = row.runs.iter().filter(|run| run.end.is_none());
            let units: Vec<_> = units.map(|run| run.unit.to_string()).collect();
            let what = match units.is_empty() {
                true => "a machine is being made ready".to_owned(),
                false => units.join(", "),
            };
            let spent = took(frame.now.since(started));
            format!("Running for {spent} on {}: {what}.", row.builder)
        }
    }
}
