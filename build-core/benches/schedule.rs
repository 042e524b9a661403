//! Decisions of the scheduler with a long queue and many machines.
//!
//! One decision: a machine is given back, goes to the best waiter that fits, and something new
//! begins to wait. In each hundred decisions a machine goes away and comes back, and five
//! waiters give up and are replaced. `FARMER_BENCH_WAITERS` and `FARMER_BENCH_MACHINES` set
//! other sizes than 1,000,000 and 20,000.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::{Duration, Instant};

use build_core::clock::Timestamp;
use build_core::ids::{BuildId, BuilderName, HostType, MachineId, RepoName, StepName};
use build_core::plan::{Part, Unit};
use build_core::schedule::{
    Action, DefaultPolicy, Event, Labels, Machine, Scheduler, Waiter, WaiterId,
};
use build_core::work::Class;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const HOSTS: u64 = 20;
const LABELS: u64 = 500;
const AUTHORS: u64 = 2_000;
const REPOS: u64 = 50;
/// Kinds of machines: host types with the labels of their location and equipment.
const KINDS: u64 = 400;
const CLASSES: [Class; 7] = [
    Class::Urgent,
    Class::Interactive,
    Class::Try,
    Class::ReleaseTip,
    Class::DefaultTip,
    Class::BranchTip,
    Class::Backfill,
];

struct Bench {
    scheduler: Scheduler,
    random: u64,
    entered: u64,
    now: Timestamp,
    held: VecDeque<MachineId>,
    recent: VecDeque<WaiterId>,
    machines: Vec<Machine>,
}

impl Bench {
    fn new(waiters: u64, machines: u64) -> Self {
        let mut bench = Self {
            scheduler: Scheduler::new(DefaultPolicy),
            random: 1,
            entered: 0,
            now: Timestamp::from_seconds(1_600_000_000),
            held: VecDeque::new(),
            recent: VecDeque::new(),
            machines: (0..machines).map(machine).collect(),
        };
        for _ in 0..waiters {
            let waiter = bench.waiter();
            bench.step(Event::Enter(waiter));
        }
        for n in 0..bench.machines.len() {
            let machine = bench.machines[n].clone();
            bench.step(Event::Up(machine));
        }
        bench
    }

    fn bits(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn waiter(&mut self) -> Waiter {
        self.entered += 1;
        self.now = self.now + Duration::from_micros(10);
        let (kind, class, author, wants) = (
            self.bits() % KINDS,
            // Mostly batch work: strict tiers would starve it otherwise.
            CLASSES[if self.bits() % 100 < 5 {
                self.bits() % 3
            } else {
                3 + self.bits() % 4
            } as usize],
            self.bits() % AUTHORS,
            self.bits() % 3,
        );
        Waiter {
            id: WaiterId {
                build: BuildId::from_bits(self.entered).into(),
                unit: Unit {
                    step: StepName::new("test").unwrap(),
                    part: Part::Whole,
                },
            },
            builder: BuilderName::new("builder").unwrap(),
            host_type: host(kind),
            needs: labels(kind).take(wants as usize).collect(),
            tags: Labels::default(),
            class,
            author: Some(format!("author{author}")),
            repo: Some(RepoName::new(format!("repo{}", kind % REPOS)).unwrap()),
            commit_time: self.now,
            enqueued: self.now,
            deadline: Some(self.now + Duration::from_secs(86_400)),
            helper: false,
        }
    }

    fn step(&mut self, event: Event) -> usize {
        let actions = self.scheduler.step(event, self.now);
        let decisions = actions.len();
        for action in actions {
            if let Action::Grant { machine, .. } = action {
                self.held.push_back(machine);
            }
        }
        decisions
    }

    /// The time of `count` decisions, from making at least as many: a few are too short for the
    /// clock. Only the scheduler's own processor time is counted.
    fn decide(&mut self, count: u64) -> Duration {
        let mut spent = Duration::ZERO;
        let mut made = 0;
        while made < count {
            let events: Vec<Event> = (0..100).flat_map(|_| self.hundred()).collect();
            let start = processor_time();
            for event in events {
                made += self.step(black_box(event)) as u64;
            }
            spent += processor_time().saturating_sub(start);
        }
        spent.mul_f64(count as f64 / made as f64)
    }

    /// The events of about a hundred decisions.
    fn hundred(&mut self) -> Vec<Event> {
        let mut events = Vec::with_capacity(212);
        for _ in 0..100 {
            let waiter = self.waiter();
            self.recent.push_back(waiter.id.clone());
            events.push(Event::Enter(waiter));
            events.extend(self.held.pop_front().map(Event::Free));
        }
        for _ in 0..5 {
            let waiter = self.waiter();
            events.push(Event::Enter(waiter));
            if self.recent.len() > 10_000 {
                events.extend(self.recent.pop_front().map(Event::Leave));
            }
        }
        let nth = (self.bits() % self.machines.len() as u64) as usize;
        let machine = self.machines[nth].clone();
        events.push(Event::Down(machine.id().clone()));
        events.push(Event::Up(machine));
        events
    }
}

/// Time this thread was on a processor: other work on the machine does not count. Elsewhere
/// than on Linux the time of the wall.
fn processor_time() -> Duration {
    static BEGIN: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat");
    let nanos = stat
        .ok()
        .and_then(|text| text.split(' ').next()?.parse().ok());
    nanos.map_or_else(|| BEGIN.elapsed(), Duration::from_nanos)
}

fn host(kind: u64) -> HostType {
    HostType::new(format!("host{}", kind % HOSTS)).unwrap()
}

/// The labels of a kind: one that all of its host type share, and some of its own.
fn labels(kind: u64) -> impl Iterator<Item = String> {
    let own = (0..4u64).map(move |n| (kind * 7 + n * 131) % LABELS);
    std::iter::once(kind % HOSTS)
        .chain(own)
        .map(|n| format!("label{n}"))
}

fn machine(n: u64) -> Machine {
    let kind = n % KINDS;
    Machine::new(
        MachineId::new(format!("machine{n}")).unwrap(),
        host(kind),
        labels(kind).collect(),
    )
}

fn size(variable: &str, default: u64) -> u64 {
    std::env::var(variable)
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(default)
}

fn decisions(c: &mut Criterion) {
    let waiters = size("FARMER_BENCH_WAITERS", 1_000_000);
    let machines = size("FARMER_BENCH_MACHINES", 20_000);
    let mut bench = Bench::new(waiters, machines);
    let mut group = c.benchmark_group("schedule");
    group.throughput(Throughput::Elements(1)).sample_size(20);
    group.bench_function(
        format!("decision/{waiters} waiters/{machines} machines"),
        |b| {
            b.iter_custom(|count| bench.decide(count));
        },
    );
    group.finish();
}

criterion_group!(benches, decisions);
criterion_main!(benches);
