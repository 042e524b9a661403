//! `/queue`: what waits, for what, and for how long.

use askama::Template;
use axum::response::Response;
use build_core::ErrorKind;
use build_core::schedule::Explanation;
use build_core::sentences::{ahead, eta, reason, tier, took, unblock};

use super::error::{Failure, Guest, Looking};
use super::estimate::Estimates;
use super::page::{self, Frame};
use crate::record::BuildRow;
use crate::web::Site;

/// Units on the page; each explanation looks at what is ahead of it.
const SHOWN: usize = 50;

/// Something that waits.
pub(super) struct WaitingUnit {
    pub(super) build: String,
    pub(super) short: String,
    pub(super) subject: String,
    pub(super) builder: String,
    pub(super) unit: String,
    pub(super) waited: String,
    /// Why it is wanted, and what that is worth.
    pub(super) tier: String,
    /// What holds it back, one sentence.
    pub(super) reason: String,
    /// What would let it go on, one sentence.
    pub(super) unblock: String,
    /// Who is served before it.
    pub(super) ahead: String,
    /// When it is likely to begin, and of how many samples that is known.
    pub(super) eta: String,
    /// How long it will then take.
    pub(super) usual: String,
}

#[derive(Template)]
#[template(path = "queue.html")]
struct Page<'a> {
    frame: &'a Frame,
    waiting: Vec<WaitingUnit>,
    shown: usize,
}

pub(super) async fn page(
    Looking(site): Looking,
    Guest(visitor): Guest,
) -> Result<Response, Failure> {
    let frame = Frame::new(&site, visitor, "Queue", "/queue").await?;
    let waiting = waiting(&site, &frame, SHOWN).await?;
    Ok(page::html(&Page {
        frame: &frame,
        waiting,
        shown: SHOWN,
    }))
}

/// The first `limit` of what waits, in order of being asked for.
pub(super) async fn waiting(
    site: &Site,
    frame: &Frame,
    limit: usize,
) -> Result<Vec<WaitingUnit>, Failure> {
    let mut estimates = Estimates::new(site.records());
    let mut units = Vec::new();
    for row in frame.farm.open(site, limit).await? {
        if units.len() >= limit {
            break;
        }
        units.extend(of_build(site, frame, &row, &mut estimates).await?);
    }
    units.truncate(limit);
    Ok(units)
}

/// What of one build waits.
pub(super) async fn of_build(
    site: &Site,
    frame: &Frame,
    row: &BuildRow,
    estimates: &mut Estimates,
) -> Result<Vec<WaitingUnit>, Failure> {
    let waiting = match site.explain(&row.id).await {
        Ok(waiting) => waiting,
        // It has ended since, or nothing is scheduled: the frame says so.
        Err(e) if [ErrorKind::NotFound, ErrorKind::Unavailable].contains(&e.kind()) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let mut units = Vec::new();
    for waiting in &waiting {
        let usual = estimates.of(row, &waiting.unit).await?;
        let mut unit = explained(row, &waiting.why);
        unit.unit = waiting.unit.to_string();
        unit.usual = usual.map_or_else(
            || "no past run to tell how long it takes".into(),
            |usual| format!("then takes {usual}"),
        );
        units.push(unit);
    }
    if units.is_empty() && row.steps.is_empty() {
        units.push(unplanned(frame, row, estimates).await?);
    }
    Ok(units)
}

fn blank(row: &BuildRow) -> WaitingUnit {
    WaitingUnit {
        build: row.id.to_string(),
        short: row.item.commit.short()[..8].to_owned(),
        subject: row.item.subject.clone(),
        builder: row.builder.to_string(),
        unit: "whole build".into(),
        waited: String::new(),
        tier: String::new(),
        reason: String::new(),
        unblock: String::new(),
        ahead: String::new(),
        eta: String::new(),
        usual: String::new(),
    }
}

async fn unplanned(
    frame: &Frame,
    row: &BuildRow,
    estimates: &mut Estimates,
) -> Result<WaitingUnit, Failure> {
    let usual = estimates.of_build(row).await?;
    Ok(WaitingUnit {
        waited: took(frame.now.since(row.queued)),
        reason: "its steps are being read from the commit".into(),
        unblock: "it goes on by itself once the commit has been fetched".into(),
        usual: usual.map(|u| format!("then takes {u}")).unwrap_or_default(),
        ..blank(row)
    })
}

fn explained(row: &BuildRow, why: &Explanation) -> WaitingUnit {
    WaitingUnit {
        waited: took(why.waited),
        tier: tier(why),
        reason: reason(why),
        unblock: unblock(why),
        ahead: ahead(why),
        eta: eta(why),
        ..blank(row)
    }
}
