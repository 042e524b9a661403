//! Decisions of the scheduler.

use build_core::clock::Timestamp;
use build_core::ids::{BuildId, BuilderName, HostType, MachineId, StepName};
use build_core::plan::{Part, Unit};
use build_core::schedule::{
    Action, DefaultPolicy, Event, Labels, Machine, Scheduler, Waiter, WaiterId,
};
use build_core::work::Class;

use super::figure::{Figure, measure};

pub(super) fn schedule() -> Figure {
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
            build: BuildId::from_bits(n.into()).into(),
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
        repo: None,
        commit_time: Timestamp::default(),
        enqueued: Timestamp::from_micros(n.into()),
        deadline: None,
        helper: false,
    }
}
