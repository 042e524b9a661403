//! What people see, and the same as JSON.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use askama::Template;
use axum::Json;
use axum::extract::{Query as Params, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use build_core::benchfmt::{Better, Query, Result as Bench, better, scaled};
use build_core::benchstat::{Table, tables};
use serde_json::json;

use super::api::{unreadable, written};
use super::chart::{description, svg};
use super::series::{Series, Wanted, benchmarks, series};
use super::{Site, store};
use crate::http::page::{Frame, html, html_with, text};

/// Differences less probable than this by chance are told.
const ALPHA: f64 = 0.05;
/// Charts on one page.
const MAX_CHARTS: usize = 60;
/// Results on one page.
const MAX_RESULTS: usize = 5000;

const LINKS: &[(&str, &str)] = &[
    ("/", "Uploads"),
    ("/compare", "Compare"),
    ("/dashboard/", "Dashboard"),
];

type Fields = Params<BTreeMap<String, String>>;

fn frame(site: &Site, title: impl Into<String>) -> Frame {
    Frame::new("perfdata", title, site.clock.now()).with_links(LINKS)
}

fn in_address(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[derive(Template)]
#[template(path = "perf_home.html")]
struct Home {
    frame: Frame,
    uploads: Vec<(String, usize, String)>,
    count: usize,
}

pub(super) async fn home(State(site): State<Site>) -> Response {
    let all = site.store.uploads();
    let count = all.len();
    let latest = all.iter().rev().take(100);
    let uploads = latest.map(|u| (u.id.clone(), u.count(), u.time().to_owned()));
    html(&Home {
        frame: frame(&site, "Results of benchmarks"),
        uploads: uploads.collect(),
        count,
    })
}

#[derive(Template)]
#[template(path = "perf_results.html")]
struct Results {
    frame: Frame,
    q: String,
    /// The same, as it is in an address.
    link: String,
    error: Option<String>,
    text: String,
    count: usize,
    shown: usize,
}

pub(super) async fn results(State(site): State<Site>, Params(fields): Fields) -> Response {
    let q = fields.get("q").cloned().unwrap_or_default();
    let mut page = Results {
        frame: frame(&site, "Results"),
        link: in_address(&q),
        q,
        error: None,
        text: String::new(),
        count: 0,
        shown: 0,
    };
    let status = match Query::parse(&page.q) {
        Ok(query) => match site.read(move |site| find(site, &query)).await {
            Ok((found, count)) => {
                (page.count, page.shown) = (count, found.len());
                page.text = written(&found);
                StatusCode::OK
            }
            Err(error) => return unreadable(&error),
        },
        Err(error) => {
            page.error = Some(error.to_string());
            StatusCode::BAD_REQUEST
        }
    };
    html_with(status, &page)
}

/// As many results as are shown, and how many there are.
fn find(site: &Site, query: &Query) -> build_core::Result<(Vec<Bench>, usize)> {
    let (mut found, mut count) = (Vec::new(), 0);
    site.store.visit(
        |summary| summary.may_hold(query),
        |result| {
            if store::matches(query, result) {
                count += 1;
                if count <= MAX_RESULTS {
                    found.push(result.clone());
                }
            }
            ControlFlow::Continue(())
        },
    )?;
    Ok((found, count))
}

#[derive(Template)]
#[template(path = "perf_compare.html")]
struct Compare {
    frame: Frame,
    q: String,
    /// The same, as it is in an address.
    link: String,
    error: Option<String>,
    tables: Vec<Shown>,
}

/// A table as it is drawn.
struct Shown {
    unit: String,
    sets: Vec<String>,
    rows: Vec<(String, Vec<ShownCell>)>,
    geomean: Vec<ShownCell>,
}

struct ShownCell {
    value: String,
    class: &'static str,
    sign: &'static str,
    delta: String,
}

/// `prefix | a vs b`: the queries of the sets, each with the prefix before it.
pub(super) fn sets(q: &str) -> Vec<(String, String)> {
    let (prefix, rest) = match q.split_once('|') {
        Some((prefix, rest)) => (prefix.trim(), rest),
        None => ("", q),
    };
    let mut sets = vec![String::new()];
    for word in rest.split_whitespace() {
        match (word, sets.last_mut()) {
            ("vs", _) => sets.push(String::new()),
            (word, Some(set)) => {
                if !set.is_empty() {
                    set.push(' ');
                }
                set.push_str(word);
            }
            (_, None) => {}
        }
    }
    let full = |set: &String| format!("{prefix} {set}").trim().to_owned();
    sets.iter().map(|set| (set.clone(), full(set))).collect()
}

fn compared(site: &Site, q: &str) -> Result<Vec<Table>, build_core::Error> {
    let mut all: Vec<(String, Vec<Bench>)> = Vec::new();
    for (name, query) in sets(q) {
        let name = if name.is_empty() {
            "all".to_owned()
        } else {
            name
        };
        all.push((name, site.store.search(&Query::parse(&query)?)?));
    }
    Ok(tables(&all, &[], ALPHA))
}

pub(super) async fn compare(State(site): State<Site>, Params(fields): Fields) -> Response {
    let q = fields.get("q").cloned().unwrap_or_default();
    let found = match q.trim() {
        "" => Ok(Vec::new()),
        asked => {
            let asked = asked.to_owned();
            site.read(move |site| compared(site, &asked)).await
        }
    };
    if fields.get("format").is_some_and(|f| f == "json") {
        return match found {
            Ok(tables) => Json(tables).into_response(),
            Err(error) => text(StatusCode::BAD_REQUEST, format!("{error}\n")),
        };
    }
    let (status, error, tables) = match found {
        Ok(tables) => (StatusCode::OK, None, tables),
        Err(error) => (StatusCode::BAD_REQUEST, Some(error.to_string()), Vec::new()),
    };
    let page = Compare {
        frame: frame(&site, "Compare"),
        link: in_address(&q),
        q,
        error,
        tables: tables.iter().map(shown).collect(),
    };
    html_with(status, &page)
}

fn shown(table: &Table) -> Shown {
    let class = |delta: Option<f64>| match delta {
        None => ("", ""),
        Some(delta) if (delta > 0.0) == (better(&table.unit) == Better::Higher) => ("better", "✓"),
        Some(_) => ("worse", "✗"),
    };
    let rows = table.rows.iter().map(|row| {
        let cells = row.cells.iter().map(|cell| {
            let (class, sign) = class(cell.compare.and_then(|c| c.delta));
            let value = cell.summary.map(|s| {
                let spread = s.interval.map(|(low, high)| {
                    let far = (s.center - low).max(high - s.center) / s.center.abs().max(1e-300);
                    format!(" ± {:.0}%", far * 100.0)
                });
                format!(
                    "{}{}",
                    scaled(s.center, &table.unit).0,
                    spread.unwrap_or_default()
                )
            });
            ShownCell {
                value: value.unwrap_or_default(),
                class,
                sign,
                delta: cell.compare.map(|c| c.to_string()).unwrap_or_default(),
            }
        });
        (row.name.clone(), cells.collect())
    });
    let geomean = table.geomeans.iter().enumerate().map(|(n, mean)| {
        let delta = (n > 0).then(|| table.geomean_delta(n)).flatten();
        ShownCell {
            value: mean.map(|m| scaled(m, &table.unit).0).unwrap_or_default(),
            class: "",
            sign: "",
            delta: delta
                .map(|d| format!("{:+.2}%", d * 100.0))
                .unwrap_or_default(),
        }
    });
    Shown {
        unit: scaled(0.0, &table.unit).1,
        sets: table.sets.clone(),
        rows: rows.collect(),
        geomean: geomean.collect(),
    }
}

#[derive(Template)]
#[template(path = "perf_dashboard.html")]
struct Dashboard {
    frame: Frame,
    benchmark: String,
    days: u64,
    only_regressions: bool,
    names: Vec<String>,
    charts: Vec<Chart>,
    more: usize,
}

struct Chart {
    title: String,
    told: String,
    /// Made of numbers and escaped text.
    svg: String,
    rows: Vec<(String, String, String, String)>,
    regressed: bool,
}

/// What a request asks for; the answer that says no otherwise.
fn wanted(site: &Site, fields: &BTreeMap<String, String>) -> Result<(Wanted, u64), Box<Response>> {
    let field = |name: &str| fields.get(name).cloned().unwrap_or_default();
    let refuse = |told: &str| Box::new(text(StatusCode::BAD_REQUEST, format!("{told}\n")));
    let days = match field("days").as_str() {
        "" => 30,
        days => match days.parse::<u64>() {
            Ok(days @ 1..=366) => days,
            _ => {
                let told = "day parameter must be a positive integer less than or equal to 366";
                return Err(refuse(told));
            }
        },
    };
    let (until, end) = match field("end").as_str() {
        "" => (String::new(), site.clock.now()),
        end => {
            let full = format!("{end}:00Z");
            let Ok(time) = full.parse::<jiff::Timestamp>() else {
                return Err(refuse("end parameter must be YYYY-MM-DDTHH:MM"));
            };
            let time = build_core::clock::Timestamp::from_seconds(time.as_second());
            (time.to_string(), time)
        }
    };
    let since = end - Duration::from_secs(days * 86400);
    let wanted = Wanted {
        benchmark: field("benchmark"),
        unit: field("unit"),
        repository: field("repository"),
        branch: field("branch"),
        platform: field("platform"),
        since: since.to_string(),
        until,
    };
    Ok((wanted, days))
}

/// The series that a request asks for, those for the worse alone when it says so.
async fn found(
    site: &Site,
    fields: &BTreeMap<String, String>,
    wanted: &Wanted,
) -> build_core::Result<Vec<Series>> {
    let wanted = wanted.clone();
    let mut all = site.read(move |site| series(&site.store, &wanted)).await?;
    if fields
        .get("regressions")
        .is_some_and(|v| v == "true" || v == "on")
    {
        all.retain(|series| series.regression.is_some());
        let size = |s: &Series| s.regression.map_or(0.0, |r| r.change.abs());
        all.sort_by(|a, b| size(b).total_cmp(&size(a)));
    }
    Ok(all)
}

pub(super) async fn dashboard(State(site): State<Site>, Params(fields): Fields) -> Response {
    let (wanted, days) = match wanted(&site, &fields) {
        Ok(wanted) => wanted,
        Err(response) => return *response,
    };
    let names = site.read(|site| benchmarks(&site.store)).await;
    let (all, names) = match (found(&site, &fields, &wanted).await, names) {
        (Ok(all), Ok(names)) => (all, names),
        (Err(error), _) | (_, Err(error)) => return unreadable(&error),
    };
    let more = all.len().saturating_sub(MAX_CHARTS);
    let charts = all.iter().take(MAX_CHARTS).map(|series| Chart {
        title: format!("{} · {} · {}", series.name, series.unit, series.platform),
        told: description(series),
        svg: svg(series),
        regressed: series.regression.is_some(),
        rows: series
            .values
            .iter()
            .map(|p| {
                let (value, unit) = scaled(p.median, &series.unit);
                let hash: String = p.commit_hash.chars().take(12).collect();
                let delta = format!("{:+.2}%", p.center * 100.0);
                (
                    hash,
                    p.commit_date.clone(),
                    format!("{value} {unit}"),
                    delta,
                )
            })
            .collect(),
    });
    html(&Dashboard {
        benchmark: wanted.benchmark.clone(),
        days,
        only_regressions: fields.contains_key("regressions"),
        names: names.into_keys().collect(),
        charts: charts.collect(),
        more,
        frame: frame(&site, "Benchmarks over commits"),
    })
}

pub(super) async fn benchmarks_json(State(site): State<Site>) -> Response {
    let read = |site: &Site| Ok((benchmarks(&site.store)?, site.store.values("commit")?));
    let (names, commits) = match site.read(read).await {
        Ok(both) => both,
        Err(error) => return unreadable(&error),
    };
    let list: Vec<_> = names
        .iter()
        .map(|(name, repository)| json!({"Name": name, "Repository": repository}))
        .collect();
    Json(json!({"Benchmarks": list, "Commits": commits})).into_response()
}

pub(super) async fn data_json(State(site): State<Site>, Params(fields): Fields) -> Response {
    let (wanted, _) = match wanted(&site, &fields) {
        Ok(wanted) => wanted,
        Err(response) => return *response,
    };
    let only_regressions = fields.contains_key("regressions");
    if wanted.benchmark.is_empty() && !only_regressions {
        return text(StatusCode::BAD_REQUEST, "No benchmark name specified\n");
    }
    let all = match found(&site, &fields, &wanted).await {
        Ok(all) => all,
        Err(error) => return unreadable(&error),
    };
    if all.is_empty() {
        return text(StatusCode::NOT_FOUND, "No benchmark results found\n");
    }
    Json(json!({"Benchmarks": all})).into_response()
}

pub(super) async fn form_fields_json(State(site): State<Site>) -> Response {
    let read = |site: &Site| {
        let keys = ["branch", "goarch", "goos", "repository"].into_iter();
        keys.map(|key| Ok((key, site.store.values(key)?))).collect()
    };
    match site.read(read).await {
        Ok(fields) => Json::<BTreeMap<_, _>>(fields).into_response(),
        Err(error) => unreadable(&error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_of_sets_share_their_prefix() {
        let full = |q: &str| sets(q).into_iter().map(|(_, q)| q).collect::<Vec<_>>();
        assert_eq!(full("a:1 | b:2 vs b:3 c:4"), ["a:1 b:2", "a:1 b:3 c:4"]);
        assert_eq!(full("b:2 vs b:3"), ["b:2", "b:3"]);
        assert_eq!(full("b:2"), ["b:2"]);
        assert_eq!(full("name:vsx"), ["name:vsx"]);
    }
}
