//! `farmer status`: the machines held by hand, and the newest builds.

use std::path::Path;

use build_core::clock::{Clock, SystemClock, Timestamp};
use build_core::name::Name;
use build_core::report::Build;
use build_server::record::BuildRow;
use build_server::store::DataLock;
use farmer_cli::Failure;

use crate::cli::Status;
use crate::describe::took;
use crate::output::{failure, print_json, print_text};
use crate::records::Recorded;
use crate::sessions;

/// Lists the open sessions, then the newest builds, newest first.
pub(crate) async fn status(args: Status, data: &Path, json: bool) -> Result<(), Failure> {
    let recorded = Recorded::open(data).await?;
    let builds = recorded.newest(args.limit.max(1)).await?;
    if json {
        let mut builds = builds.into_iter().map(Build::from);
        return builds.try_for_each(|build| print_json(&build));
    }
    if let Some(owner) = DataLock::owner(data).map_err(|e| failure(&e))? {
        farmer_cli::say!("{owner} is at work in {}", data.display());
    }
    let now = SystemClock.now();
    let open = recorded.store.records().open_sessions().await;
    let open = open.map_err(|e| failure(&e))?;
    let held = open.iter().map(|row| sessions::line(row, now));
    let table: String = held
        .chain(builds.iter().map(|row| line(row, now)))
        .collect();
    print_text(&table)
}

fn line(row: &BuildRow, now: Timestamp) -> String {
    let ran = row.started.map_or(String::new(), |at| {
        took(row.finished.unwrap_or(now).since(at))
    });
    let branch = row.item.branch.as_ref().map(Name::to_string);
    let branch = branch.as_deref().unwrap_or("-");
    format!(
        "{}  {:<14} {:>8}  {:<10} {:<14} {:<12} {} {}\n",
        row.id,
        row.state.as_str(),
        ran,
        row.builder.as_str(),
        row.item.repo.as_str(),
        branch,
        row.item.commit.short(),
        row.item.subject,
    )
}
