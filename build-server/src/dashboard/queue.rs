//! `/queue`: what waits, for what, and for how long.

use askama::Template;
use axum::response::Response;
use build_core::ErrorKind;
use build_core::ids::HolderId;
use build_core::schedule::{Explanation, FullQuota, Hold, Owner};
use build_core::work::Class;

use super::error::{Failure, Guest, Looking};
use super::estimate::Estimates;
use super::page::{self, Frame};
use super::time::{about, took};
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
    let waiting = match site.handle().explain(&row.id).await {
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

fn machines(count: usize) -> String {
    match count {
        1 => "the one machine".into(),
        n => format!("all {n} machines"),
    }
}

fn reason(why: &Explanation) -> String {
    if let Some(cannot) = why.cannot_run() {
        return cannot;
    }
    let kind = &why.host_type;
    match &why.hold {
        Hold::Busy => format!(
            "{} of kind {kind} that {} in use",
            machines(why.supply.held),
            if why.supply.held == 1 {
                "fits is"
            } else {
                "fit are"
            }
        ),
        Hold::Resting(_) => format!("machines of kind {kind} failed and rest"),
        Hold::Reserved => {
            format!(
                "{} free machines are kept for more urgent work",
                why.supply.reserved
            )
        }
        Hold::Quota(full) => quota(full),
        _ => why.to_string(),
    }
}

/// Whose quota is full. Addresses are shown as everywhere on the pages: by the name before them.
fn quota(full: &FullQuota) -> String {
    let whose = match &full.owner {
        Owner::Author(author) => super::board::person(author),
        Owner::Repo(repo) => format!("the repository {repo}"),
        other => other.name().to_owned(),
    };
    let machines = if full.limit == 1 {
        "machine"
    } else {
        "machines"
    };
    format!(
        "quota: {whose} holds {} of {} {machines}",
        full.held, full.limit
    )
}

/// The ends that make room in a quota.
fn ends(full: &FullQuota) -> String {
    let count = (full.held + 1).saturating_sub(full.limit);
    let of = match count {
        0 | 1 => "one".to_owned(),
        n => n.to_string(),
    };
    let named: Vec<_> = full.holders.iter().map(HolderId::as_str).collect();
    let more = match full.builds.saturating_sub(named.len()) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    format!("the end of {of} of {}{more}", named.join(", "))
}

fn unblock(why: &Explanation) -> String {
    match &why.hold {
        Hold::NoMachines => "start a machine, here or with `farmer join`".into(),
        Hold::NoneFits(_) => format!(
            "a machine of kind {} with {}, or another builder in the configuration",
            why.host_type,
            labels(why)
        ),
        Hold::Busy if why.ahead == 0 => "the next of them that becomes free".into(),
        Hold::Busy if why.ahead == 1 => "the second machine that becomes free".into(),
        Hold::Busy => format!("machine number {} that becomes free", why.ahead + 1),
        Hold::Resting(until) => format!("the next attempt, at {until}"),
        Hold::Reserved => {
            "the next machine that is given back, another machine, or a smaller part in [shares]"
                .into()
        }
        Hold::Quota(full) => format!("{}, or a larger quota in farmer.toml", ends(full)),
        _ => "another machine".into(),
    }
}

fn labels(why: &Explanation) -> String {
    let labels: Vec<_> = why.labels.iter().collect();
    match labels.is_empty() {
        true => "no special labels".into(),
        false => format!("the labels {}", labels.join(", ")),
    }
}

/// A class, and how it stands to others.
fn tier(why: &Explanation) -> String {
    let place = match why.tier {
        0 => "before everything else",
        1 => "after urgent work, before everything that nobody waits for",
        2 => "before batch work, in turn by author",
        _ => "batch work, in which an hour of waiting is worth a class",
    };
    format!("{}: {place}", class(why.class))
}

/// Why something waits: what holds it back, what it is, who is ahead, what lets it go on, and
/// how long waits like it were.
pub(crate) fn told(why: &Explanation) -> String {
    let parts = [
        reason(why),
        tier(why),
        ahead(why),
        format!("it goes on with {}", unblock(why)),
        eta(why),
    ];
    parts.join("; ")
}

/// A class in words.
pub(super) fn class(class: Class) -> &'static str {
    match class {
        Class::Urgent => "urgent",
        Class::Interactive => "somebody waits for it",
        Class::Try => "change under review",
        Class::ReleaseTip => "newest of a release branch",
        Class::DefaultTip => "newest of the default branch",
        Class::BranchTip => "newest of a branch",
        Class::Backfill => "older commit",
        _ => "other",
    }
}

fn ahead(why: &Explanation) -> String {
    if why.ahead == 0 {
        return "it is next".into();
    }
    let group = |ahead: &build_core::schedule::Ahead| {
        let author = ahead.author.as_deref().map(super::board::person);
        let whose = author.map(|name| format!(" by {name}")).unwrap_or_default();
        format!("{} {}{whose}", ahead.count, class(ahead.class))
    };
    let groups: Vec<_> = why.ahead_of.iter().map(group).collect();
    format!("{} ahead: {}", why.ahead, groups.join(", "))
}

/// When it is likely to begin: the work ahead over the machines that fit, or that it is unknown.
fn eta(why: &Explanation) -> String {
    let Some(expected) = why.expected else {
        return match (&why.hold, why.samples) {
            (Hold::Busy | Hold::Resting(_), 0) => {
                "when it begins is unknown: no build has ended since the farm began".into()
            }
            _ => "when it begins is unknown".into(),
        };
    };
    let builds = if why.samples == 1 { "build" } else { "builds" };
    let of = format!("median of {} {builds}", why.samples);
    let fitting = why.supply.held + why.supply.resting;
    let machines = if fitting == 1 { "machine" } else { "machines" };
    match (expected.is_zero(), why.ahead) {
        (true, _) => format!("any moment, what runs takes longer than usual ({of})"),
        (false, 0) => format!("begins in about {} ({of})", about(expected)),
        (false, ahead) => format!(
            "begins in about {} ({ahead} ahead on {fitting} {machines}, {of})",
            about(expected)
        ),
    }
}
