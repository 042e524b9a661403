//! `farmer bench`: what this machine can do with Farmer's own parts.

#[cfg(feature = "sim")]
pub(crate) mod chaos;
mod events;
mod figure;
mod machine;
mod pack;
mod schedule;
mod warm;

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
    /// A change of one file beside its author's own build, for Rust, Go and C++; only when it is named
    Warm,
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
        if args.names.is_empty() && name.is_long() {
            continue;
        }
        for figure in run(*name, data).await? {
            if json {
                print_json(&figure)?;
            } else {
                print_text(&figure.line())?;
            }
        }
    }
    Ok(())
}

impl Name {
    /// Whether it takes minutes.
    fn is_long(self) -> bool {
        match self {
            Self::Warm => true,
            #[cfg(feature = "sim")]
            Self::Chaos => true,
            _ => false,
        }
    }
}

async fn run(name: Name, data: &Path) -> Result<Vec<Figure>, Failure> {
    let one = |figure| vec![figure];
    match name {
        Name::Schedule => Ok(one(schedule::schedule())),
        Name::Events => events::events(data).await.map(one),
        Name::Pack => pack::pack().map(one),
        Name::Machine => machine::machine(data).await.map(one),
        Name::Exec => machine::exec(data).await.map(one),
        Name::Warm => warm::warm(data).await,
        // It has a place of its own and is run before.
        #[cfg(feature = "sim")]
        Name::Chaos => Err(Failure::usage("chaos is run alone", "farmer bench chaos")),
    }
}
