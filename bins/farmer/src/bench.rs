//! `farmer bench`: what this machine can do with Farmer's own parts.

use std::path::Path;
use std::time::Instant;

use build_core::clock::Timestamp;
use build_core::event::{BuildEvent, NewEvent, Seq};
use build_core::ids::{BuildId, BuilderName, HostType, MachineId, StepName};
use build_core::plan::{Part, Unit};
use build_core::schedule::{
    Action, DefaultPolicy, Event, Labels, Machine, Scheduler, Waiter, WaiterId,
};
use build_core::tarutil::{GzipOptions, Pack};
use build_core::work::Class;
use build_server::store::{EventLog, SqliteOptions, SqliteStore};
use farmer_cli::{Exit, Failure};
use serde::Serialize;

use crate::cli::Bench;
use crate::output::{failure, print_bytes, print_json};

/// One figure.
#[derive(Serialize)]
struct Figure {
    bench: &'static str,
    what: String,
    value: f64,
    unit: &'static str,
    samples: Vec<f64>,
}

const NAMES: [&str; 3] = ["schedule", "events", "pack"];
const REPEATS: usize = 5;

/// Runs the named benches, or all of them.
pub(crate) async fn bench(args: Bench, data: &Path, json: bool) -> Result<(), Failure> {
    if let Some(unknown) = args
        .names
        .iter()
        .find(|name| !NAMES.contains(&name.as_str()))
    {
        return Err(Failure::usage(
            format!("there is no bench {unknown:?}"),
            format!("benches: {}", NAMES.join(", ")),
        ));
    }
    for name in NAMES
        .iter()
        .filter(|n| args.names.is_empty() || args.names.iter().any(|a| a == *n))
    {
        let figure = match *name {
            "schedule" => schedule(),
            "events" => events(data).await?,
            _ => pack()?,
        };
        if json {
            print_json(&figure)?;
        } else {
            print_bytes(
                format!(
                    "{:<10} {:>12.0} {:<10} {}\n",
                    figure.bench, figure.value, figure.unit, figure.what
                )
                .as_bytes(),
            )?;
        }
    }
    Ok(())
}

/// The median of some runs, each giving how much was done; the figure is per second.
fn measure(
    bench: &'static str,
    what: String,
    unit: &'static str,
    mut run: impl FnMut() -> f64,
) -> Figure {
    let samples = (0..REPEATS).map(|_| timed(&mut run)).collect();
    figure(bench, what, unit, samples)
}

fn timed(run: &mut impl FnMut() -> f64) -> f64 {
    let begin = Instant::now();
    let done = run();
    done / begin.elapsed().as_secs_f64()
}

fn figure(bench: &'static str, what: String, unit: &'static str, samples: Vec<f64>) -> Figure {
    let mut sorted = samples.clone();
    sorted.sort_by(f64::total_cmp);
    Figure {
        bench,
        what,
        value: sorted[sorted.len() / 2],
        unit,
        samples,
    }
}

fn schedule() -> Figure {
    const QUEUED: u32 = 100_000;
    const MACHINES: u32 = 1_000;
    let what = format!("decisions with {QUEUED} queued items and {MACHINES} machines");
    measure("schedule", what, "1/s", || {
        f64::from(decide_all(QUEUED, MACHINES))
    })
}

/// Fills a queue and empties it through machines that are given back at once.
fn decide_all(queued: u32, machines: u32) -> u32 {
    let now = Timestamp::from_seconds(1);
    let mut scheduler = Scheduler::new(DefaultPolicy);
    for n in 0..queued {
        scheduler.step(Event::Enter(waiter(n)), now);
    }
    let host = HostType::new("local").expect("a valid name");
    let mut held: Vec<MachineId> = Vec::new();
    let mut granted = 0;
    for n in 0..machines {
        let id = MachineId::new(format!("m{n}")).expect("a valid id");
        take(
            scheduler.step(
                Event::Up(Machine::new(id, host.clone(), Labels::default())),
                now,
            ),
            &mut held,
        );
    }
    while let Some(machine) = held.pop() {
        granted += 1;
        take(scheduler.step(Event::Free(machine), now), &mut held);
    }
    granted
}

fn take(actions: Vec<Action>, held: &mut Vec<MachineId>) {
    held.extend(actions.into_iter().filter_map(|action| match action {
        Action::Grant { machine, .. } => Some(machine),
        _ => None,
    }));
}

fn waiter(n: u32) -> Waiter {
    let unit = Unit {
        step: StepName::new("test").expect("a valid name"),
        part: Part::Whole,
    };
    Waiter {
        id: WaiterId {
            build: BuildId::from_bits(n.into()),
            unit,
        },
        builder: BuilderName::new("local").expect("a valid name"),
        host_type: HostType::new("local").expect("a valid name"),
        needs: Labels::default(),
        tags: Labels::default(),
        class: if n.is_multiple_of(3) {
            Class::Try
        } else {
            Class::DefaultTip
        },
        author: Some(format!("author {}", n % 50)),
        commit_time: Timestamp::default(),
        enqueued: Timestamp::from_micros(n.into()),
        deadline: None,
        helper: false,
    }
}

async fn events(data: &Path) -> Result<Figure, Failure> {
    const APPENDS: u64 = 2_000;
    const AT_ONCE: usize = 64;
    std::fs::create_dir_all(data)?;
    let dir = tempfile::tempdir_in(data)?;
    let mut samples = Vec::new();
    for repeat in 0..REPEATS {
        let path = dir.path().join(format!("{repeat}.db"));
        let store = SqliteStore::open(&path, SqliteOptions::default())
            .await
            .map_err(|e| failure(&e))?;
        let begin = Instant::now();
        append_all(&store, APPENDS, AT_ONCE).await?;
        samples.push(APPENDS as f64 / begin.elapsed().as_secs_f64());
    }
    let what =
        format!("durable events, {AT_ONCE} in a batch, each batch on the disk before the next");
    Ok(figure("events", what, "1/s", samples))
}

async fn append_all(store: &SqliteStore, count: u64, batch: usize) -> Result<(), Failure> {
    let mut head = Seq(0);
    while head.0 < count {
        let events = (0..batch as u64)
            .map(|n| NewEvent {
                at: Timestamp::from_seconds(1),
                build: BuildId::from_bits(head.0 + n),
                event: BuildEvent::CancelRequested {
                    by: "bench".to_owned(),
                },
            })
            .collect();
        head = store.append(head, events).await.map_err(|e| failure(&e))?;
    }
    Ok(())
}

/// Packs a megabyte of text that compresses like source code, again and again.
fn pack() -> Result<Figure, Failure> {
    const FILES: usize = 64;
    const FILE_BYTES: usize = 1 << 20;
    let dir = tempfile::tempdir()?;
    let words = [
        "let", "value", "=", "self", "fn", "return", "(", ")", "{", "}\n", "match", "some", "none",
        "index",
    ];
    let mut state = 1u64;
    for n in 0..FILES {
        let mut text = String::with_capacity(FILE_BYTES + 16);
        while text.len() < FILE_BYTES {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            text.push_str(words[(state >> 33) as usize % words.len()]);
            text.push(' ');
        }
        std::fs::write(dir.path().join(format!("{n}.txt")), text)?;
    }
    let megabytes = (FILES * FILE_BYTES) as f64 / 1e6;
    let mut trouble = None;
    let figure = measure(
        "pack",
        "of text packed as tar.gz, level 1".to_owned(),
        "MB/s",
        || {
            let packed = Pack::open(dir.path())
                .map_err(|e| e.to_string())
                .and_then(|p| {
                    p.write_gz(std::io::sink(), &GzipOptions::default().level(1))
                        .map_err(|e| e.to_string())
                });
            trouble = trouble.take().or(packed.err());
            megabytes
        },
    );
    match trouble {
        Some(text) => Err(Failure::because(
            Exit::Infrastructure,
            &std::io::Error::other(text),
            None,
        )),
        None => Ok(figure),
    }
}
