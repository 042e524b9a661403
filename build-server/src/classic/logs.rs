//! `/temporarylogs`: what happened to a build, and its output, live while it runs.

use std::collections::VecDeque;

use axum::body::Body;
use axum::extract::Query;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use build_core::Result;
use build_core::buildlet::ByteStream;
use build_core::event::{BuildEvent, Recorded, Seq, StreamId, Version};
use build_core::ids::{BuildId, BuilderName};
use build_core::report::BuildStatus;
use bytes::Bytes;
use futures::StreamExt as _;
use serde::Deserialize;

use super::reading::Reading;
use super::{Classic, Said};
use crate::coordinator::{EventStream, Handle};
use crate::record::{BuildRow, Run};
use crate::store::{BuildFilter, Records};

/// Events that are shown.
const MOST: usize = 10_000;

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Question {
    name: String,
    rev: String,
    st: String,
    nostream: Option<String>,
}

pub(super) async fn page(
    Reading(site): Reading,
    Query(question): Query<Question>,
) -> Result<Response, Said> {
    let row = find(site.records(), &question).await?;
    let row = row.ok_or_else(|| Said::not_found("404 page not found"))?;
    let (events, seen) = events(&site.0.handle, &row).await?;
    let head = head(&site, &row, &events);
    let is_over = row.state.is_final() || question.nostream.is_some();
    let begun = futures::stream::iter([Ok(Bytes::from(head))]);
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    if row.runs.is_empty() && !is_over {
        let waits = "  (no machine has begun; come back later)\n";
        let all = begun.chain(futures::stream::iter([Ok(Bytes::from(waits))]));
        return Ok((headers, Body::from_stream(all)).into_response());
    }
    let output = output(site.0.handle.clone(), row, seen, !is_over);
    let all = begun.chain(output);
    Ok((headers, Body::from_stream(all)).into_response())
}

/// By its id, which must be of that builder and commit; without one the newest.
async fn find(records: &dyn Records, question: &Question) -> Result<Option<BuildRow>> {
    let is_it = |row: &BuildRow| {
        row.builder.as_str() == question.name && row.item.commit.as_str() == question.rev
    };
    if let Ok(id) = question.st.parse::<BuildId>() {
        let row = records.build(&id).await?;
        return Ok(row.filter(is_it));
    }
    let Ok(builder) = question.name.parse::<BuilderName>() else {
        return Ok(None);
    };
    if question.rev.is_empty() || !question.st.is_empty() {
        return Ok(None);
    }
    let filter = BuildFilter {
        builder: Some(builder),
        commit: Some(question.rev.clone()),
        ..BuildFilter::default()
    };
    let found = records.builds(&filter, None, 1).await?;
    Ok(found.builds.into_iter().find(is_it))
}

/// What has happened so far, and up to where that is.
async fn events(handle: &Handle, row: &BuildRow) -> Result<(Vec<Recorded>, Seq)> {
    let stream = StreamId::from(row.id.clone());
    let page = handle.ledger().events();
    let page = page.read_stream(&stream, Version(0), MOST).await?;
    let seen = page.last().map_or(Seq(0), |event| event.seq);
    Ok((page, seen))
}

fn head(site: &Classic, row: &BuildRow, events: &[Recorded]) -> String {
    let now = site.0.clock.now();
    let machine = events.iter().rev().find_map(machine_of);
    let mut text = format!(
        "  builder: {}\n      rev: {}\n buildlet: {}\n  started: {}\n",
        row.builder,
        row.item.commit,
        machine.unwrap_or_default(),
        row.started.unwrap_or(row.queued),
    );
    match row.finished {
        Some(ended) => {
            let success = row.state == BuildStatus::Passed;
            text.push_str(&format!("    ended: {ended}\n  success: {success}\n"));
        }
        None => text.push_str("   status: still running\n"),
    }
    text.push_str("\nEvents:\n");
    for event in events {
        text.push_str(&format!("  {} {}\n", event.at, event.kind));
    }
    if let (None, Some(last)) = (row.finished, events.last()) {
        let spent = now.since(last.at).as_secs_f64();
        text.push_str(&format!(" +{spent:.1}s (now)\n"));
    }
    text.push_str("\nBuild log:\n");
    text
}

fn machine_of(event: &Recorded) -> Option<String> {
    match event.read() {
        Some(BuildEvent::Leased { machine, .. }) => Some(machine.to_string()),
        _ => None,
    }
}

/// The output of all runs, one after the other; with `follow` until the build has ended.
fn output(
    handle: Handle,
    row: BuildRow,
    seen: Seq,
    follow: bool,
) -> impl futures::Stream<Item = Result<Bytes>> + Send + use<> {
    let changes = handle.events(row.id.clone(), seen);
    let reader = Reader {
        done: 0,
        runs: row.runs.into(),
        id: row.id,
        now: None,
        changes,
        handle,
        follow,
    };
    futures::stream::try_unfold(reader, Reader::next)
}

struct Reader {
    handle: Handle,
    id: BuildId,
    /// Runs that were read to their end, or are being read.
    done: usize,
    runs: VecDeque<Run>,
    now: Option<ByteStream>,
    changes: EventStream,
    follow: bool,
}

impl Reader {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>> {
        loop {
            if let Some(output) = &mut self.now {
                if let Some(piece) = output.next().await {
                    return Ok(Some((piece?, self)));
                }
                self.now = None;
            }
            if let Some(run) = self.runs.pop_front() {
                self.done += 1;
                let log = self
                    .handle
                    .log(&self.id, &run.unit, Some(run.attempt), 0, self.follow);
                self.now = Some(log.await?);
                continue;
            }
            // The stream ends with the build.
            if !self.follow || self.changes.next().await.transpose()?.is_none() {
                return Ok(None);
            }
            let row = self.handle.records().build(&self.id).await?;
            let runs = row.map(|row| row.runs).unwrap_or_default();
            self.runs = runs.into_iter().skip(self.done).collect();
        }
    }
}
