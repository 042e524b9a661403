//! `/try` and `/try.json`: the builds of a change under review.

use askama::Template;
use axum::extract::Query;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use build_core::Result;
use build_core::report::BuildStatus;
use build_core::work::Class;
use serde::{Deserialize, Serialize};

use super::reading::Reading;
use super::{Classic, Said};
use crate::http::page::{Frame, html};
use crate::record::BuildRow;
use crate::store::BuildFilter;

/// Builds of one commit that are looked at: as many as there are builders, several times.
const MOST: usize = 1000;
const MISSING: &str = "TryBot result not found (already done, invalid, or not yet discovered from \
    Gerrit). Check Gerrit for results.";

#[derive(Deserialize)]
pub(super) struct Question {
    #[serde(default)]
    commit: String,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Answer {
    Found { success: bool, payload: Payload },
    Missing { success: bool, error: &'static str },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    change_id: String,
    commit: String,
    builds: Vec<Build>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Build {
    name: String,
    start_time: String,
    done: bool,
    succeeded: bool,
}

/// The builds of a change whose commit begins so, newest first on each builder.
async fn find(site: &Classic, commit: &str) -> Result<Vec<BuildRow>> {
    if commit.is_empty() || !commit.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(Vec::new());
    }
    let filter = BuildFilter {
        commit: Some(commit.to_ascii_lowercase()),
        ..BuildFilter::default()
    };
    let records = site.records();
    let mut rows = records.builds(&filter, None, MOST).await?.builds;
    rows.retain(|row| row.item.class == Class::Try);
    let Some(first) = rows.first().map(|row| row.item.commit.clone()) else {
        return Ok(rows);
    };
    // A beginning that two commits share means the newer one; a builder counts once.
    rows.retain(|row| row.item.commit == first);
    rows.sort_by(|a, b| (&a.builder, b.number).cmp(&(&b.builder, a.number)));
    rows.dedup_by(|later, first| later.builder == first.builder);
    Ok(rows)
}

fn change_of(row: &BuildRow) -> String {
    let change = row.item.change.as_ref();
    change.map(ToString::to_string).unwrap_or_default()
}

fn started(row: &BuildRow) -> String {
    row.started.unwrap_or(row.queued).to_string()
}

pub(super) async fn json(
    Reading(site): Reading,
    Query(question): Query<Question>,
) -> Result<Response, Said> {
    let rows = find(&site, &question.commit).await?;
    let (status, answer) = match rows.first() {
        None => {
            let (success, error) = (false, MISSING);
            (StatusCode::NOT_FOUND, Answer::Missing { success, error })
        }
        Some(first) => {
            let payload = Payload {
                change_id: change_of(first),
                commit: first.item.commit.to_string(),
                builds: rows.iter().map(build).collect(),
            };
            let success = true;
            (StatusCode::OK, Answer::Found { success, payload })
        }
    };
    let mut text = serde_json::to_string(&answer)
        .map_err(|error| Said(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    text.push('\n');
    let mut response = super::json(text);
    *response.status_mut() = status;
    for_everybody(&mut response);
    Ok(response)
}

fn build(row: &BuildRow) -> Build {
    Build {
        name: row.builder.to_string(),
        start_time: started(row),
        done: row.state.is_final(),
        succeeded: row.state == BuildStatus::Passed,
    }
}

/// Pages of review servers read it.
fn for_everybody(response: &mut Response) {
    let headers = response.headers_mut();
    let all = HeaderValue::from_static("*");
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, all);
    let cross = HeaderValue::from_static("cross-origin");
    headers.insert("cross-origin-resource-policy", cross);
}

pub(super) async fn options() -> Response {
    let mut response = StatusCode::OK.into_response();
    for_everybody(&mut response);
    response
}

struct Line {
    name: String,
    words: &'static str,
    started: String,
    log: String,
}

#[derive(Template)]
#[template(path = "classic_try.html")]
struct Page {
    frame: Frame,
    change: String,
    commit: String,
    left: usize,
    lines: Vec<Line>,
}

pub(super) async fn page(
    Reading(site): Reading,
    Query(question): Query<Question>,
) -> Result<Response, Said> {
    let rows = find(&site, &question.commit).await?;
    let Some(first) = rows.first() else {
        return Err(Said::not_found(MISSING));
    };
    let line = |row: &BuildRow| Line {
        name: row.builder.to_string(),
        words: match row.state {
            BuildStatus::Passed => "pass",
            BuildStatus::Failed => "FAIL",
            other => other.as_str(),
        },
        started: started(row),
        log: site.log_path(row),
    };
    Ok(html(&Page {
        frame: site.frame("Try runs"),
        change: change_of(first),
        commit: first.item.commit.to_string(),
        left: rows.iter().filter(|row| !row.state.is_final()).count(),
        lines: rows.iter().map(line).collect(),
    }))
}
