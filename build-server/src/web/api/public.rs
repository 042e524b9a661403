//! What everybody may read of builds: no passwords, no proofs of leases.

use build_core::event::{BuildEvent, Recorded};
use build_core::ids::{BuildId, Nonce};

use crate::record::BuildRow;
use crate::source::without_passwords;
use crate::web::{Refusal, Site};
use build_core::ErrorKind;

/// What stands for a proof that is not shown.
const HIDDEN: &str = "hidden";

/// A row without its secrets.
pub(crate) fn row(mut row: BuildRow) -> BuildRow {
    row.item.origin = without_passwords(&row.item.origin);
    row
}

/// An event without its secrets.
pub(crate) fn event(mut recorded: Recorded) -> Recorded {
    match &mut recorded.event {
        BuildEvent::Queued { item, .. } => item.origin = without_passwords(&item.origin),
        BuildEvent::Leased { nonce, .. } => {
            *nonce = Nonce::new(HIDDEN).expect("a plain word is a nonce");
        }
        _ => {}
    }
    recorded
}

/// The row of a build as it is stored.
pub(crate) async fn find(site: &Site, id: &BuildId) -> Result<BuildRow, Refusal> {
    let row = site.handle().records().build(id).await?;
    row.ok_or_else(|| {
        Refusal::new(
            ErrorKind::NotFound,
            format!("there is no build {id}"),
            "list them with GET /api/v1/builds",
        )
    })
}
