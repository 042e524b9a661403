//! What waits, and why.

use axum::Json;
use build_core::ErrorKind;
use build_core::report::{BuildStatus, Queue, QueuedBuild, WaitingUnit, Why};
use serde::Deserialize;

use super::input::{Id, Params};
use super::public;
use crate::record::BuildRow;
use crate::web::{Looking, Refusal, Site};

/// Builds that are explained in one answer, when nothing is said and at most.
const SHOWN: usize = 100;
const MAX_SHOWN: usize = 1000;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct HowMany {
    limit: Option<usize>,
}

pub(super) async fn queue(
    Looking(site): Looking,
    Params(how_many): Params<HowMany>,
) -> Result<Json<Queue>, Refusal> {
    let limit = how_many.limit.unwrap_or(SHOWN).min(MAX_SHOWN);
    let records = site.records();
    let mut rows = records.active().await?;
    let open = rows.len() + records.count_queued().await?;
    rows.extend(records.queued(limit).await?);
    rows.sort_by_key(|row| row.number);
    // It got its machine between the two looks.
    rows.dedup_by_key(|row| row.number);
    let mut waiting = Vec::new();
    for row in rows.into_iter().filter(|row| !row.state.is_final()) {
        if waiting.len() == limit {
            break;
        }
        let units = units(&site, &row).await?;
        if !units.is_empty() || row.state == BuildStatus::Queued {
            let build = row.into();
            waiting.push(QueuedBuild { build, units });
        }
    }
    Ok(Json(Queue { open, waiting }))
}

pub(super) async fn why(Looking(site): Looking, Id(id): Id) -> Result<Json<Why>, Refusal> {
    let row = public::find(&site, &id).await?;
    let units = units(&site, &row).await?;
    let why = sentence(&row, &units);
    let build = row.into();
    Ok(Json(Why { build, why, units }))
}

/// The units that wait; none for a build that has ended meanwhile.
async fn units(site: &Site, row: &BuildRow) -> Result<Vec<WaitingUnit>, Refusal> {
    if row.state.is_final() {
        return Ok(Vec::new());
    }
    match site.explain(&row.id).await {
        Ok(waiting) => {
            let told = waiting.into_iter();
            Ok(told.map(|w| WaitingUnit::new(&w.unit, w.why)).collect())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

fn sentence(row: &BuildRow, units: &[WaitingUnit]) -> String {
    if row.state.is_final() {
        let state = row.state.as_str();
        return match &row.rerun {
            Some(rerun) => format!("it does not wait: {state}; {}", rerun.verdict()),
            None => format!("it does not wait: {state}"),
        };
    }
    match units {
        [] if row.state == BuildStatus::Queued => "it waits for its plan".to_owned(),
        [] => "it runs and waits for no machine".to_owned(),
        [only] => format!("{} waits: {}", only.unit, only.text),
        [first, rest @ ..] => format!(
            "{} waits: {}; so do {} others of it",
            first.unit,
            first.text,
            rest.len()
        ),
    }
}
