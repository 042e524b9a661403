//! Logs of any size in a page: a window of lines, found by the line index; nothing is loaded whole.

pub(super) mod ansi;
pub(super) mod cutter;
pub(super) mod follow;
pub(super) mod raw;
pub(super) mod search;
pub(super) mod window;

use build_core::ErrorKind;
use build_core::ids::BuildId;
use build_core::livelog::LiveLog;

use super::error::Failure;
use crate::record::{BuildRow, Run};
use crate::web::Site;

/// A build by the text of its id.
pub(super) async fn build(site: &Site, id: &str) -> Result<BuildRow, Failure> {
    let absent = || {
        Failure::not_found(
            format!("there is no build {id}"),
            "the dashboard and the pages of commits have links to builds",
        )
    };
    let id = BuildId::new(id).map_err(|_| absent())?;
    site.records().build(&id).await?.ok_or_else(absent)
}

/// A run of a build by its number, counted from 1 in order of being started.
pub(super) fn run(row: &BuildRow, number: usize) -> Result<&Run, Failure> {
    let run = number.checked_sub(1).and_then(|at| row.runs.get(at));
    run.ok_or_else(|| {
        Failure::not_found(
            format!("build {} has no run {number}", row.id),
            format!("its page lists them: /builds/{}", row.id),
        )
    })
}

/// The log of a run, if it is there still.
pub(super) async fn open(site: &Site, row: &BuildRow, run: &Run) -> Option<LiveLog> {
    match site.handle().logs().open(&row.id, &run.exec).await {
        Ok(log) => Some(log),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => {
            tracing::error!(error = error.chain(), "a log cannot be shown");
            None
        }
    }
}
