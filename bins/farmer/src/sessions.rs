//! Sentences about sessions: machines held by hand.

use build_core::clock::Timestamp;
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
