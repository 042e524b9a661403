//! `/queues`: what waits for which kind of machine.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::Query;
use axum::response::Response;
use build_core::go_json;
use build_core::ids::BuilderName;
use serde::{Deserialize, Serialize};

use super::reading::Reading;
use super::{Classic, Said, json};
use crate::http::page::{Frame, html, span};
use crate::record::BuildRow;
#[cfg(feature = "reverse")]
use {crate::store::Records, build_core::Result};

/// Builds that are looked at.
const MOST: usize = 1000;

#[derive(Deserialize)]
pub(super) struct Question {
    #[serde(default)]
    mode: String,
}

#[derive(Default, Serialize)]
struct Queue {
    name: String,
    used: usize,
    limit: usize,
    waiting: Vec<Waiter>,
}

#[derive(Serialize)]
struct Waiter {
    builder: String,
    repo: String,
    branch: String,
    by: String,
    age: String,
}

#[derive(Template)]
#[template(path = "classic_queues.html")]
struct Page {
    frame: Frame,
    queues: Vec<Queue>,
}

pub(super) async fn page(
    Reading(site): Reading,
    Query(question): Query<Question>,
) -> std::result::Result<Response, Said> {
    let now = site.0.clock.now();
    let mut queues: BTreeMap<String, Queue> = BTreeMap::new();
    let status = site.0.handle.status().await?;
    for machine in &status.machines {
        let queue = queues.entry(machine.host_type.to_string()).or_default();
        queue.limit += 1;
        queue.used += usize::from(machine.lease.is_some());
    }
    let waiter = |row: &BuildRow| Waiter {
        builder: row.builder.to_string(),
        repo: row.item.repo.to_string(),
        branch: row
            .item
            .branch
            .as_ref()
            .map_or_else(String::new, ToString::to_string),
        by: row.item.author.clone().unwrap_or_default(),
        age: span(now.since(row.queued)),
    };
    for row in site.records().queued(MOST).await? {
        let kind = kind_of(&site, &row.builder);
        queues.entry(kind).or_default().waiting.push(waiter(&row));
    }
    let named = queues
        .into_iter()
        .map(|(name, queue)| Queue { name, ..queue });
    let queues: Vec<_> = named.collect();
    if question.mode == "json" {
        return Ok(json(go_json::to_string_indented(&queues)));
    }
    Ok(html(&Page {
        frame: site.frame("Queues"),
        queues,
    }))
}

/// The kind of machine that a builder builds on. One that nobody has described has its name as
/// its kind.
fn kind_of(site: &Classic, builder: &BuilderName) -> String {
    if let Some(kind) = site.0.handle.host_type_of(builder) {
        return kind.to_string();
    }
    let described = site.0.farm.builder(builder.as_str());
    described.map_or_else(|| builder.to_string(), |b| b.host().name.clone())
}

/// How many builds and sessions wait for a machine of each kind.
#[cfg(feature = "reverse")]
pub(super) async fn waiting(
    site: &Classic,
    records: &dyn Records,
) -> Result<BTreeMap<String, usize>> {
    let mut waiting = BTreeMap::new();
    let builds = records.queued(MOST).await?;
    let sessions = records.open_sessions().await?;
    let sessions = sessions.iter().filter(|session| session.ready.is_none());
    let builders = builds.iter().map(|row| &row.builder);
    for builder in builders.chain(sessions.map(|session| &session.builder)) {
        *waiting.entry(kind_of(site, builder)).or_default() += 1;
    }
    Ok(waiting)
}
