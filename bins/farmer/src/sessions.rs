//! Sentences about sessions: machines held by hand.

use build_core::clock::Timestamp;
use build_core::dispatch::SESSION_TTL;
use build_core::ids::SessionId;
use build_server::record::SessionRow;
use farmer_cli::Failure;

use crate::describe::{self, took};
use crate::output::failure;
use crate::records::Recorded;

/// One line for `farmer status`.
pub(crate) fn line(row: &SessionRow, now: Timestamp) -> String {
    let state = if row.ready.is_some() { "held" } else { "waits" };
    let since = took(now.since(row.ready.unwrap_or(row.opened)));
    let machine = row.machine.as_ref().map_or("-", |m| m.as_str());
    let (id, builder, by) = (&row.id, row.builder.as_str(), row.by.text());
    format!("{id}  {state:<14} {since:>8}  {builder:<10} {machine:<14} session of {by}\n")
}

/// What becomes of the sessions that are held when a farm stops, and how they are ended; `None`
/// when there are none.
pub(crate) fn staying(open: &[SessionRow]) -> Option<String> {
    let held = open
        .iter()
        .filter(|row| row.outcome.is_none() && row.ready.is_some());
    let names: Vec<&str> = held
        .map(|row| row.name.as_deref().unwrap_or(row.id.as_str()))
        .collect();
    let (first, count) = (names.first()?, names.len());
    let what = match count {
        1 => format!("1 session stays open with its machine ({first})"),
        n => format!(
            "{n} sessions stay open with their machines ({})",
            names.join(", ")
        ),
    };
    let minutes = SESSION_TTL.as_secs() / 60;
    Some(format!(
        "{what} for {minutes} min, for the next start to find; then gomote destroy ends one, and \
         farmer down --sessions ends all now"
    ))
}

/// The session called `id`, when that is what it is the name of.
pub(crate) async fn find(recorded: &Recorded, id: &str) -> Result<Option<SessionRow>, Failure> {
    match SessionId::new(id).ok() {
        Some(id) => recorded
            .store
            .records()
            .session(&id)
            .await
            .map_err(|e| failure(&e)),
        None => Ok(None),
    }
}

/// What it does at present, or how it ended.
pub(crate) fn sentence(row: &SessionRow, now: Timestamp) -> String {
    match (&row.outcome, &row.machine) {
        (Some(outcome), _) => describe::outcome(outcome),
        (None, Some(machine)) if row.ready.is_some() => {
            let since = row.ready.unwrap_or(row.opened);
            format!("holds {machine} for {}", took(now.since(since)))
        }
        _ => format!(
            "waits for a machine of {} for {}",
            row.builder,
            took(now.since(row.opened))
        ),
    }
}
