//! What readers have to do.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use build_core::ids::ReaderName;
use build_core::report::{self, ForgetEffect, OutboxChanged, RetryEffects};

use super::input::Body;
use crate::readers::Outbox;
use crate::web::{Admin, Refusal, Site};

/// How long what was given up is tried again.
const PATIENCE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Addresses and what they answered are nobody else's business: it needs a token.
pub(super) async fn list(State(site): State<Site>, _: Admin) -> Json<report::Outbox> {
    let mut readers = Vec::new();
    for outbox in site.outboxes().all() {
        // One that has just ended is left out.
        readers.extend(outbox.status().await.ok());
    }
    Json(report::Outbox { readers })
}

fn outbox(site: &Site, reader: &str) -> Result<Outbox, Refusal> {
    Ok(site.outboxes().of(&ReaderName::new(reader)?)?)
}

pub(super) async fn retry(
    State(site): State<Site>,
    _: Admin,
    Path(reader): Path<String>,
    Body(wish): Body<RetryEffects>,
) -> Result<Json<OutboxChanged>, Refusal> {
    let until = site.clock().now() + PATIENCE;
    let entries = outbox(&site, &reader)?.retry(wish.key, until).await?;
    Ok(Json(OutboxChanged { entries }))
}

pub(super) async fn forget(
    State(site): State<Site>,
    _: Admin,
    Path(reader): Path<String>,
    Body(wish): Body<ForgetEffect>,
) -> Result<Json<OutboxChanged>, Refusal> {
    let entries = outbox(&site, &reader)?.forget(wish.key).await?;
    Ok(Json(OutboxChanged { entries }))
}
