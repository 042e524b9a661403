//! `/queues`: what waits for which kind of machine.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use build_core::go_json;
use serde::{Deserialize, Serialize};

use super::{Classic, Said, json};
use crate::http::page::{Frame, html, span};
use crate::record::BuildRow;

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
    State(site): State<Classic>,
    Query(question): Query<Question>,
) -> Result<Response, Said> {
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
    for row in site.0.handle.records().queued(MOST).await? {
        let builder = site.0.farm.builder(row.builder.as_str());
        // A builder of the farm's own has its name as its kind of machine.
        let kind = builder.map_or_else(
            || row.builder.to_string(),
            |builder| builder.host().name.clone(),
        );
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
