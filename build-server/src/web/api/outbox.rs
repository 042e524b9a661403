//! What readers have to do.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use build_core::ids::{EffectKey, ReaderName};
use serde::{Deserialize, Serialize};

use super::input::Body;
use crate::readers::{Outbox, ReaderStatus};
use crate::web::{Admin, Refusal, Site};

/// How long what was given up is tried again.
const PATIENCE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Every reader.
#[derive(Debug, Serialize)]
pub(super) struct OutboxView {
    readers: Vec<ReaderStatus>,
}

/// Addresses and what they answered are nobody else's business: it needs a token.
pub(super) async fn list(State(site): State<Site>, _: Admin) -> Json<OutboxView> {
    let mut readers = Vec::new();
    for outbox in site.outboxes().all() {
        // One that has just ended is left out.
        readers.extend(outbox.status().await.ok());
    }
    Json(OutboxView { readers })
}

/// What is to be tried again.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Retry {
    /// One effect; everything that was given up when it is not given.
    key: Option<EffectKey>,
}

/// What is to be forgotten.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Forget {
    /// Which effect.
    key: EffectKey,
}

/// How much was changed.
#[derive(Debug, Serialize)]
pub(super) struct Changed {
    entries: usize,
}

fn outbox(site: &Site, reader: &str) -> Result<Outbox, Refusal> {
    Ok(site.outboxes().of(&ReaderName::new(reader)?)?)
}

pub(super) async fn retry(
    State(site): State<Site>,
    _: Admin,
    Path(reader): Path<String>,
    Body(wish): Body<Retry>,
) -> Result<Json<Changed>, Refusal> {
    let until = site.clock().now() + PATIENCE;
    let entries = outbox(&site, &reader)?.retry(wish.key, until).await?;
    Ok(Json(Changed { entries }))
}

pub(super) async fn forget(
    State(site): State<Site>,
    _: Admin,
    Path(reader): Path<String>,
    Body(wish): Body<Forget>,
) -> Result<Json<Changed>, Refusal> {
    let entries = outbox(&site, &reader)?.forget(wish.key).await?;
    Ok(Json(Changed { entries }))
}
