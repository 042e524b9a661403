//! `farmer rerun` and `farmer cancel`: wishes to the farm that runs.

use std::path::Path;

use build_core::ids::BuildId;
use build_core::report::Build;
use farmer_cli::Failure;

use crate::cli::Named;
use crate::output::{print_json, print_text};
use crate::running::{expect, refusal};

/// Builds the commit of a build again.
pub(crate) async fn rerun(args: Named, data: &Path, as_json: bool) -> Result<(), Failure> {
    let old = id(&args)?;
    let again = expect(data)?.rerun(&old).await.map_err(|e| refusal(&e))?;
    tell(&again, as_json, || {
        let commit = again.item.commit.short();
        format!("{} builds {commit} of {old} again\n", again.id)
    })
}

/// Ends a build.
pub(crate) async fn cancel(args: Named, data: &Path, as_json: bool) -> Result<(), Failure> {
    let id = id(&args)?;
    let build = expect(data)?.cancel(&id).await.map_err(|e| refusal(&e))?;
    tell(&build, as_json, || format!("{id} is being canceled\n"))
}

fn tell(build: &Build, as_json: bool, text: impl FnOnce() -> String) -> Result<(), Failure> {
    match as_json {
        true => print_json(build),
        false => print_text(&text()),
    }
}

fn id(args: &Named) -> Result<BuildId, Failure> {
    BuildId::new(&args.build).map_err(|_| {
        Failure::usage(
            format!(
                "{:?} is not a build: they look like B0123456789",
                args.build
            ),
            "list them with: farmer status",
        )
    })
}
