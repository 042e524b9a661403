//! `farmer bench chaos`: a farm of its own lives through bad days, under a seed.
//!
//! A life has a repository of hostile and plain commits, a farm that builds them on a small disk,
//! and faults one after the other. When they are over, the farm must answer, know every commit's
//! true verdict, have touched nothing outside, stop at once, and leave nothing behind.

mod clock;
mod draw;
mod farm;
mod fault;
mod guest;
mod life;
mod yard;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use build_core::plant::ProcessPlant;
use build_core::recipe::parse_duration;
use build_server::front::Limits;
use clap::Args;
use farmer_cli::{Exit, Failure};

pub(crate) use clock::shifted;
use life::Life;

/// The variable that names a planted bug, for the program and its machines.
pub(crate) const PLANT: &str = "FARMER_PLANT";

/// The variable with how many connections a farm takes at a time.
const PLACES: &str = "FARMER_PLACES";

/// The limits of a door, with fewer connections where the environment says so.
pub(crate) fn fewer_places(limits: Limits) -> Limits {
    let places = std::env::var(PLACES).ok();
    match places.and_then(|places| places.parse().ok()) {
        Some(connections) => Limits {
            connections,
            connections_of_address: connections / 2,
            ..limits
        },
        None => limits,
    }
}

/// Flags of `farmer bench chaos`.
#[derive(Args, Debug)]
pub(crate) struct Chaos {
    /// The seed of the first life of `chaos`; each further life has the next one
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How many lives `chaos` has
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    lives: u64,
    /// Begin no further life of `chaos` after this long, such as 2m
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    time: Option<Duration>,
    /// A bug that is planted into the farm: its lives must end with a fault that was found
    #[arg(long, value_name = "BUG")]
    plant: Option<ProcessPlant>,
}

/// Plants into this process what its environment names.
///
/// # Errors
/// A name that is no planted bug.
pub(crate) fn plant_from_environment() -> Result<(), Failure> {
    let Some(name) = std::env::var_os(PLANT) else {
        return Ok(());
    };
    let name = name.to_string_lossy();
    let plant: ProcessPlant = name.parse().map_err(|_| {
        let text = format!("{PLANT} names no bug that can be planted: {name:?}");
        Failure::usage(text, format!("one of: {}", ProcessPlant::names()))
    })?;
    build_core::plant::grow(plant);
    Ok(())
}

/// Runs the lives.
pub(crate) fn run(args: &Chaos) -> ExitCode {
    farmer_cli::finish("farmer", lives(args))
}

fn lives(args: &Chaos) -> Result<(), Failure> {
    allow_many_files();
    let begin = Instant::now();
    let mut lived = 0;
    for seed in args.seed..args.seed.saturating_add(args.lives) {
        if args.time.is_some_and(|time| begin.elapsed() >= time) {
            break;
        }
        let alive = Instant::now();
        let ended = Life::begin(seed, args.plant)?.live();
        let took = alive.elapsed().as_secs_f64();
        lived += 1;
        match ended {
            Ok(history) => {
                farmer_cli::say!("seed {seed}: {took:.1} s: {}", history.join(", "));
            }
            Err(found) => {
                farmer_cli::say!("seed {seed}: {took:.1} s: {found}");
                return verdict(args.plant, Some(format!("seed {seed}, life {lived}")));
            }
        }
    }
    farmer_cli::say!("{lived} lives in {:.0} s", begin.elapsed().as_secs_f64());
    verdict(args.plant, None)
}

/// Silent clients take a descriptor each, and a farm that deletes by recursion one for each level.
fn allow_many_files() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let most = rustix::process::Rlimit {
        current: limit.maximum,
        ..limit
    };
    // With fewer there are fewer silent clients.
    let _refused = rustix::process::setrlimit(rustix::process::Resource::Nofile, most);
}

/// A fault that was found is bad news, but of a planted bug good ones.
fn verdict(plant: Option<ProcessPlant>, found: Option<String>) -> Result<(), Failure> {
    let (text, is_well) = match (plant, found) {
        (None, None) => return Ok(()),
        (Some(plant), Some(place)) => (format!("the planted bug {plant} was found: {place}"), true),
        (None, Some(place)) => (format!("a fault was found: {place}"), false),
        (Some(plant), None) => (format!("the planted bug {plant} was not found"), false),
    };
    farmer_cli::say!("{text}");
    match is_well {
        true => Ok(()),
        false => Err(Failure::silent(Exit::Failed)),
    }
}
