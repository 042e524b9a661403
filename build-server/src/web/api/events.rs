//! Events, as they are recorded: server-sent, each with its position as its id.

use std::time::Duration;

use axum::BoxError;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use build_core::ErrorKind;
use build_core::event::{Seq, Version};
use build_core::report::EventQuery;
use futures::StreamExt;

use super::input::{Id, Params};
use super::public;
use crate::coordinator::EventStream;
use crate::web::{Looking, Refusal};

/// Between two signs of life, for proxies that end silent connections.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The events of one build from the first on, or after the last one the reader has seen; ends
/// when nothing more happens to the build. A reader that has seen all is told not to come back.
pub(super) async fn of_build(
    Looking(site): Looking,
    Id(id): Id,
    Params(from): Params<EventQuery>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let row = public::find(&site, &id).await?;
    let after = seen(&from, &headers)?.unwrap_or(Seq(0));
    if !row.is_open() {
        let events = site.store().events();
        let rest = events
            .read_stream(&(&id).into(), Version(0), usize::MAX)
            .await?;
        if rest.last().is_none_or(|last| last.seq <= after) {
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
    }
    Ok(sent(site.handle().events(&id, after)))
}

/// The events of all builds from now on, or after the last one the reader has seen.
pub(super) async fn all(
    Looking(site): Looking,
    Params(from): Params<EventQuery>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let after = match seen(&from, &headers)? {
        Some(seen) => seen,
        None => site.store().events().head().await?,
    };
    Ok(sent(site.all_events(after)))
}

/// What a browser that connects again says counts more than what its page once asked for.
fn seen(from: &EventQuery, headers: &HeaderMap) -> Result<Option<Seq>, Refusal> {
    let Some(id) = headers.get("last-event-id") else {
        return Ok(from.after.map(Seq));
    };
    let number = id.to_str().ok().and_then(|id| id.trim().parse().ok());
    number.map(|n| Some(Seq(n))).ok_or_else(|| {
        Refusal::new(
            ErrorKind::Invalid,
            "Last-Event-ID is not the id of an event",
            "send the id of the last event that was read, a number",
        )
    })
}

fn sent(events: EventStream) -> Response {
    let events = events.map(|recorded| -> Result<Event, BoxError> {
        let recorded = public::event(recorded?);
        let event = Event::default().id(recorded.seq.0.to_string());
        Ok(event.json_data(&recorded)?)
    });
    let alive = KeepAlive::new().interval(KEEP_ALIVE);
    Sse::new(events).keep_alive(alive).into_response()
}
