//! `farmer bench`: what this machine can do with Farmer's own parts.

#[cfg(feature = "sim")]
pub(crate) mod chaos;
mod events;
mod figure;
mod machine;
mod pack;
mod schedule;

use std::path::Path;

use clap::ValueEnum;
use farmer_cli::Failure;

use crate::cli::Bench;
use crate::output::{print_json, print_text};
use figure::Figure;

/// What can be measured.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Name {
    /// Decisions of the scheduler
    Schedule,
    /// Events on the disk
    Events,
    /// Archives of text
    Pack,
    /// How soon a local machine answers
    Machine,
    /// What a local machine adds to a command
    Exec,
    /// Lives of a farm on bad days; only when it is named
    #[cfg(feature = "sim")]
    Chaos,
}

/// Runs the named benches, or all of them.
pub(crate) async fn bench(args: Bench, data: &Path, json: bool) -> Result<(), Failure> {
    let names = if args.names.is_empty() {
        Name::value_variants()
    } else {
        &args.names
    };
    for name in names {
        #[cfg(feature = "sim")]
        if args.names.is_empty() && matches!(name, Name::Chaos) {
            continue;
        }
        let figure = run(*name, data).await?;
        if json {
            print_json(&figure)?;
        } else {
            print_text(&figure.line())?;
        }
    }
    Ok(())
}

async fn run(name: Name, data: &Path) -> Result<Figure, Failure> {
    match name {
        Name::Schedule => Ok(schedule::schedule()),
        Name::Events => events::events(data).await,
        Name::Pack => pack::pack(),
        Name::Machine => machine::machine(data).await,
        Name::Exec => machine::exec(data).await,
        // It has a place of its own and is run before.
        #[cfg(feature = "sim")]
        Name::Chaos => Err(Failure::usage("chaos is run alone", "farmer bench chaos")),
    }
}
