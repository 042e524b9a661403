//! `/machines`: what each machine does.

use askama::Template;
use axum::response::Response;
use build_core::pool::MachineStatus;
use build_core::report::{self, Aside, Wear};
use build_core::schedule::AccountUse;
use build_core::sentences::took;

use super::error::{Failure, Guest, Looking};
use super::page::{self, Frame};
use super::words::{LOST, Mark, NOT_RUN, RUNNING};

struct Machine {
    name: String,
    kind: String,
    labels: String,
    /// By what commands are bounded there.
    limits: Option<String>,
    mark: Mark,
    state: String,
    build: Option<(String, String)>,
    past: String,
}

#[derive(Template)]
#[template(path = "machines.html")]
struct Page<'a> {
    frame: &'a Frame,
    machines: Vec<Machine>,
    /// What no machine could get rid of.
    set_aside: &'a [String],
    accounts: &'a [AccountUse],
    join_line: Option<&'a str>,
}

pub(super) async fn page(
    Looking(site): Looking,
    Guest(visitor): Guest,
) -> Result<Response, Failure> {
    let frame = Frame::new(&site, visitor, "Machines", "/machines").await?;
    let machines = frame.farm.machines.iter().map(|m| machine(&frame, m));
    let machines = machines.collect();
    Ok(page::html(&Page {
        frame: &frame,
        machines,
        set_aside: &frame.farm.set_aside,
        accounts: &frame.farm.accounts,
        join_line: site.join_line(),
    }))
}

fn machine(frame: &Frame, status: &MachineStatus) -> Machine {
    let holder = status.lease.as_ref().and_then(|lease| {
        let row = frame.farm.holder(lease)?;
        let mut runs = row.runs.iter().rev();
        Some((row, runs.find(|r| r.lease == *lease && r.end.is_none())))
    });
    let mut records = frame.farm.records.iter();
    let record = records.find(|record| record.machine == status.machine);
    let told = report::Machine::new(status.clone(), None, record, frame.now);
    let (mark, state) = match (&status.trouble, &status.lease, holder) {
        (Some(trouble), _, _) => (LOST, trouble.clone()),
        (None, None, _) if told.aside.is_some() => {
            (LOST, told.aside.as_ref().map_or_else(String::new, aside))
        }
        (None, Some(_), Some((_, Some(run)))) => {
            let spent = took(frame.now.since(run.started));
            (RUNNING, format!("{} for {spent}", run.unit))
        }
        (None, Some(_), _) => (RUNNING, "held: starting, fetching or copying files".into()),
        (None, None, _) => (NOT_RUN, "free".into()),
    };
    let sandbox = status
        .sandbox
        .iter()
        .map(|level| format!("sandbox: {level}"));
    let labels: Vec<_> = status.labels.iter().cloned().chain(sandbox).collect();
    Machine {
        past: told.wear.as_ref().map_or_else(String::new, wear),
        name: status.machine.to_string(),
        kind: status.host_type.to_string(),
        labels: labels.join(", "),
        limits: status.limits.clone(),
        mark,
        state,
        build: holder.map(|(row, _)| (row.id.to_string(), row.item.subject.clone())),
    }
}

/// Why a machine is set aside, until when, and what a person can do.
fn aside(aside: &Aside) -> String {
    let by = aside.by.as_ref().map(|by| format!(" by {by}"));
    let (until, by) = (aside.until, by.unwrap_or_default());
    format!("set aside{by} until {until}: {}; {}", aside.why, aside.cure)
}

/// What is remembered of a machine.
fn wear(wear: &Wear) -> String {
    let times = if wear.leases == 1 { "time" } else { "times" };
    let held = format!("held {} {times}", wear.leases);
    match (&wear.last_words, wear.failures) {
        (_, 0) => held,
        (None, failures) => format!("{held}, failed {failures}"),
        (Some(words), failures) => format!("{held}, failed {failures}, at last: {words}"),
    }
}
