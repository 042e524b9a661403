//! What a build costs by the number of its steps: everything the dispatcher does from the wish to
//! the last machine given back, with a log that is written at once and machines that are quick.
//!
//! Prints, for each kind of plan, the time of a whole build at each size, the time per unit, and
//! the exponent by which the time grew from the size before. `FARMER_BENCH_STEPS` bounds the
//! sizes.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use build_core::buildlet::ExecOutcome;
use build_core::clock::Timestamp;
use build_core::dispatch::{Dispatcher, Effect, Input, Listing, Reply};
use build_core::engine::Command;
use build_core::event::{Principal, UnitEnd};
use build_core::ids::{
    BuildId, BuilderName, CommitHash, HostType, MachineId, RepoName, StepName, WishKey,
};
use build_core::plan::{Plan, Step};
use build_core::schedule::{DefaultPolicy, Labels, Machine};
use build_core::test_lines::TestCounts;
use build_core::wish::Wish;
use build_core::work::{Builder, Class, WorkItem};

const SIZES: [usize; 4] = [10, 100, 1_000, 3_000];
const MACHINES: usize = 20;

#[derive(Clone, Copy)]
enum Kind {
    Independent,
    Chain,
    Chains,
    FanOut,
    Shards,
}

const KINDS: [(&str, Kind, usize); 6] = [
    ("independent, 20 machines", Kind::Independent, MACHINES),
    ("independent, a machine each", Kind::Independent, 0),
    ("one chain", Kind::Chain, MACHINES),
    ("chains of 10", Kind::Chains, MACHINES),
    ("all go on from the first", Kind::FanOut, MACHINES),
    ("shards, a machine each", Kind::Shards, 0),
];

fn name(n: usize) -> StepName {
    StepName::new(format!("step {n}")).unwrap()
}

fn plan(kind: Kind, size: usize) -> Plan {
    if let Kind::Shards = kind {
        let mut step = Step::new(name(0), "run {tests}");
        step.tests = Some("list".into());
        step.shards = size as u32;
        return Plan::new(vec![step], "bench").unwrap();
    }
    let step = |n: usize| {
        let step = Step::new(name(n), "true");
        match kind {
            Kind::Chain if n > 0 => step.needing(&name(n - 1)),
            Kind::Chains if !n.is_multiple_of(10) => step.needing(&name(n - 1)),
            Kind::FanOut if n > 0 => step.needing(&name(0)),
            _ => step,
        }
    };
    Plan::new((0..size).map(step).collect(), "bench").unwrap()
}

fn wish() -> Wish {
    let item = WorkItem {
        repo: RepoName::new("r").unwrap(),
        origin: "/r".into(),
        commit: CommitHash::new("0".repeat(40)).unwrap(),
        commit_time: Timestamp::default(),
        subject: String::new(),
        branch: None,
        tag: None,
        order: None,
        change: None,
        author: None,
        class: Class::DefaultTip,
        labels: BTreeSet::new(),
        worktree: false,
        rerun_of: None,
        repo_id: None,
        host: None,
        patch_set: None,
        trust: Default::default(),
        rest: Default::default(),
    };
    let builder = BuilderName::new("local").unwrap();
    let key = WishKey::of(&[b"bench"]);
    Wish::new(key, item, vec![builder], Principal::farm())
}

fn machines(count: usize) -> Vec<Machine> {
    let host = HostType::new("local").unwrap();
    let id = |n| MachineId::new(format!("m{n}")).unwrap();
    let machine = |n| Machine::new(id(n), host.clone(), Labels::default());
    (0..count).map(machine).collect()
}

/// One build from beginning to end; the answer is how many commands it took.
fn run(plan: &Plan, listing: &str, count: usize) -> usize {
    let builder = Builder {
        name: BuilderName::new("local").unwrap(),
        host_type: HostType::new("local").unwrap(),
        labels: BTreeSet::new(),
        env: BTreeMap::new(),
    };
    let mut dispatcher = Dispatcher::new(DefaultPolicy, [builder], [7; 32]);
    let now = Timestamp::from_seconds(1_600_000_000);
    let mut inputs = VecDeque::from([
        Input::Machines(machines(count)),
        Input::Ask {
            wish: Box::new(wish()),
            drawn: vec![BuildId::from_bits(1)],
        },
    ]);
    let mut commands = 0;
    while let Some(input) = inputs.pop_front() {
        for effect in dispatcher.handle(input, now) {
            match effect {
                Effect::Append { batch, .. } => inputs.push_front(Input::Recorded { batch }),
                Effect::Do(command, _) => {
                    commands += 1;
                    inputs.push_back(answer(*command, plan, listing));
                }
                _ => {}
            }
        }
    }
    assert_eq!(dispatcher.builds().count(), 0, "the build does not end");
    commands
}

fn answer(command: Command, plan: &Plan, listing: &str) -> Input {
    let key = command.key();
    let reply = match command {
        Command::Plan { .. } => Reply::Planned(plan.clone()),
        Command::Acquire { .. } | Command::Adopt { .. } => Reply::Ready { place: "m".into() },
        Command::Prepare { base, .. } => Reply::Prepared {
            base,
            cache_hits: Vec::new(),
            start: None,
            tool_caches: Vec::new(),
        },
        Command::Run { .. } => Reply::Ran {
            end: UnitEnd::Exited(ExecOutcome::Ok),
            output_bytes: 0,
            took: Some(Duration::from_millis(1)),
            tests: TestCounts::default(),
            results: None,
            salvaged: Vec::new(),
            listing: Some(Listing {
                text: listing.as_bytes().to_vec(),
                ..Listing::default()
            }),
        },
        Command::Kill { .. } => Reply::Killed,
        Command::Keep { .. } => Reply::Kept {
            artifacts: Vec::new(),
            snapshot: None,
        },
        _ => Reply::Released,
    };
    Input::Done(key, reply)
}

fn main() {
    let most = std::env::var("FARMER_BENCH_STEPS").ok();
    let most = most.and_then(|most| most.parse().ok()).unwrap_or(3_000);
    println!(
        "{:<28}{:>7}{:>12}{:>12}{:>10}",
        "plan", "units", "ms", "us/unit", "exponent"
    );
    for (what, kind, count) in KINDS {
        let mut before: Option<(usize, f64)> = None;
        for size in SIZES.into_iter().filter(|size| *size <= most) {
            let plan = plan(kind, size);
            let tests: Vec<String> = (0..size).map(|n| format!("t{n}")).collect();
            let listing = tests.join("\n");
            let machines = if count == 0 { size } else { count };
            let rounds = (3_000 / size).clamp(3, 50);
            let mut best = f64::MAX;
            for _ in 0..rounds {
                let begun = Instant::now();
                assert!(run(&plan, &listing, machines) > size);
                best = best.min(begun.elapsed().as_secs_f64());
            }
            let grown = before.map(|(size_before, time)| {
                (best / time).ln() / (size as f64 / size_before as f64).ln()
            });
            let grown = grown.map_or(String::new(), |grown| format!("{grown:.2}"));
            let (ms, each) = (best * 1e3, best * 1e6 / size as f64);
            println!("{what:<28}{size:>7}{ms:>12.2}{each:>12.1}{grown:>10}");
            before = Some((size, best));
        }
    }
}
