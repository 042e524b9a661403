//! `farmer rerun` and `farmer cancel`: wishes to the farm that runs.

use std::path::Path;

use build_core::ids::BuildId;
use build_server::record::BuildRow;
use farmer_cli::Failure;
use serde_json::json;

use crate::cli::Named;
use crate::output::{print_json, print_text};
use crate::remote::{Remote, refusal};

/// Builds the commit of a build again.
pub(crate) async fn rerun(args: Named, data: &Path, as_json: bool) -> Result<(), Failure> {
    let (old, row) = act(&args, data, "rerun").await?;
    if as_json {
        return print_json(&row);
    }
    let commit = row.item.commit.short();
    print_text(&format!("{} builds {commit} of {old} again\n", row.id))
}

/// Ends a build.
pub(crate) async fn cancel(args: Named, data: &Path, as_json: bool) -> Result<(), Failure> {
    let (build, row) = act(&args, data, "cancel").await?;
    if as_json {
        return print_json(&row);
    }
    print_text(&format!("{build} is being canceled\n"))
}

async fn act(args: &Named, data: &Path, verb: &str) -> Result<(BuildId, BuildRow), Failure> {
    let build = BuildId::new(&args.build).map_err(|_| {
        Failure::usage(
            format!(
                "{:?} is not a build: they look like B0123456789",
                args.build
            ),
            "list them with: farmer status",
        )
    })?;
    let farm = Remote::expect(data)?;
    let path = format!("/api/v1/builds/{build}/{verb}");
    let row = farm.post(&path, &json!({})).await;
    Ok((build, row.map_err(|e| refusal(&e))?))
}
