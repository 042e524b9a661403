//! What everybody may read of builds: no passwords, no proofs of leases.

use build_core::event::Recorded;
use build_core::ids::BuildId;
use build_core::report::Event;
use serde_json::Value;
use serde_json::value::to_raw_value;

use crate::record::BuildRow;
use crate::source::without_passwords;
use crate::web::{Refusal, Site};
use build_core::ErrorKind;

/// An event without its secrets.
///
/// An origin may hold a password wherever it stands, in a kind that is not known too: whatever is
/// called so is shown without it.
pub(crate) fn event(mut recorded: Recorded) -> Event {
    if recorded.body.get().contains("\"origin\"")
        && let Ok(mut body) = serde_json::from_str(recorded.body.get())
        && hide_passwords(&mut body)
    {
        recorded.body = to_raw_value(&body).unwrap_or_default();
    }
    recorded.into()
}

/// Whether there were any.
fn hide_passwords(value: &mut Value) -> bool {
    let mut hidden = false;
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(origin) if name == "origin" => {
                        let shown = without_passwords(origin);
                        hidden |= shown != *origin;
                        *origin = shown;
                    }
                    other => hidden |= hide_passwords(other),
                }
            }
        }
        Value::Array(values) => {
            for value in values {
                hidden |= hide_passwords(value);
            }
        }
        _ => {}
    }
    hidden
}

/// The row of a build as it is stored.
pub(crate) async fn find(site: &Site, id: &BuildId) -> Result<BuildRow, Refusal> {
    let row = site.records().build(id).await?;
    row.ok_or_else(|| {
        Refusal::new(
            ErrorKind::NotFound,
            format!("there is no build {id}"),
            "list them with GET /api/v1/builds",
        )
    })
}
