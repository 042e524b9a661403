//! The front page, and the builds after submit for programs.

use askama::Template;
use axum::response::Response;
use build_core::Result;
use build_core::go_json;
use build_core::report::BuildStatus;
use build_core::status_json::ActivePostSubmitBuild;
use build_core::work::{Class, WorkItem};

use super::health::{Level, findings};
use super::reading::Reading;
use super::{Said, json};
use crate::http::page::{Frame, html, span};
use crate::record::{BuildRow, SessionRow};
use crate::store::BuildFilter;

/// Builds that have ended, and those that wait, which are listed.
const SHOWN: usize = 30;
/// Machines that are listed.
const MACHINES: usize = 200;

struct Check {
    id: String,
    title: String,
    words: Vec<(&'static str, String)>,
}

struct Line {
    words: String,
    state: &'static str,
    spent: String,
    log: String,
}

struct Machine {
    name: String,
    kind: String,
    state: String,
}

#[derive(Template)]
#[template(path = "classic_status.html")]
struct Page {
    frame: Frame,
    active: Vec<Line>,
    tries: Vec<Line>,
    pending: Vec<Line>,
    pending_all: usize,
    recent: Vec<Line>,
    checks: Vec<Check>,
    sessions: Vec<(String, String)>,
    machines: Vec<Machine>,
    machines_all: usize,
    busy: usize,
    uptime: String,
    version: &'static str,
    descriptors: usize,
}

pub(super) async fn page(Reading(site): Reading) -> Result<Response, Said> {
    let records = site.records();
    let now = site.0.clock.now();
    let active = records.active().await?;
    let pending = records.queued(SHOWN).await?;
    let pending_all = records.count_queued().await?;
    let newest = records
        .builds(&BuildFilter::default(), None, 10 * SHOWN)
        .await?
        .builds;
    let sessions = records.open_sessions().await?;
    let status = site.0.handle.status().await?;
    let mut checks = Vec::new();
    for check in &site.0.checks {
        let found = findings(&**check).await;
        checks.push(Check {
            id: check.id().to_owned(),
            title: check.title().to_owned(),
            words: found
                .into_iter()
                .map(|finding| (class_of(finding.level), finding.text))
                .collect(),
        });
    }
    let line = |row: &BuildRow| Line {
        words: describe(row),
        state: row.state.as_str(),
        spent: span(row.finished.unwrap_or(now).since(row.queued)),
        log: site.log_path(row),
    };
    let is_try = |row: &&BuildRow| row.item.class == Class::Try;
    let ended = newest.iter().filter(|row| row.state.is_final());
    let machine = |machine: &build_core::pool::MachineStatus| Machine {
        name: machine.machine.to_string(),
        kind: machine.host_type.to_string(),
        state: match (&machine.trouble, &machine.lease) {
            (Some(trouble), _) => trouble.clone(),
            (None, Some(lease)) => format!("busy: {lease}"),
            (None, None) => "idle".into(),
        },
    };
    let session = |row: &SessionRow| {
        let age = span(now.since(row.opened));
        let state = if row.ready.is_some() { "open" } else { "waits" };
        (
            row.id.to_string(),
            format!("{} for {}, {state} for {age}", row.builder, row.by),
        )
    };
    Ok(html(&Page {
        frame: site.frame("Status"),
        tries: active.iter().filter(is_try).map(line).collect(),
        active: active.iter().filter(|row| !is_try(row)).map(line).collect(),
        pending: pending.iter().map(line).collect(),
        pending_all,
        recent: ended.take(SHOWN).map(line).collect(),
        checks,
        sessions: sessions.iter().map(session).collect(),
        machines: status.machines.iter().take(MACHINES).map(machine).collect(),
        machines_all: status.machines.len(),
        busy: status.machines.iter().filter(|m| m.lease.is_some()).count(),
        uptime: span(now.since(site.0.begun)),
        version: env!("CARGO_PKG_VERSION"),
        descriptors: descriptors(),
    }))
}

fn class_of(level: Level) -> &'static str {
    match level {
        Level::Info => "dim",
        Level::Warn => "better",
        Level::Error => "worse",
    }
}

fn describe(row: &BuildRow) -> String {
    let WorkItem { repo, commit, .. } = &row.item;
    format!("{} rev {} of {repo}", row.builder, commit.short())
}

/// How many descriptors this process has open; 0 where nobody tells.
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

pub(super) async fn post_submit_active(Reading(site): Reading) -> Result<Response, Said> {
    let active = site.records().active().await?;
    let is_one = |row: &&BuildRow| {
        let tip = matches!(
            row.item.class,
            Class::ReleaseTip | Class::DefaultTip | Class::BranchTip | Class::Backfill
        );
        tip && row.state == BuildStatus::Running
    };
    let build = |row: &BuildRow| ActivePostSubmitBuild {
        builder: row.builder.to_string(),
        commit: row.item.commit.to_string(),
        go_commit: String::new(),
        status_url: site.log_url(row),
    };
    let builds: Vec<_> = active.iter().filter(is_one).map(build).collect();
    let mut text = go_json::to_string_indented(&builds);
    text.push('\n');
    Ok(json(text))
}
