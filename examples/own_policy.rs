//! A scheduling rule of one's own: machines with a graphics card are kept for work that needs
//! one, and what a person waits for goes first.
//!
//! The rule is tried alone, then for a simulated day under a seed, with machines that die.

use build_core::clock::Timestamp;
use build_core::ids::{BuildId, BuilderName, HostType, MachineId, StepName};
use build_core::plan::{Part, Unit};
use build_core::schedule::{
    Action, Event, Labels, Machine, Policy, Rank, Reason, Scheduler, Waiter, WaiterId,
};
use build_core::work::Class;
use build_server::sim::{Faults, HOUR, Sim};

#[derive(Clone, Copy)]
struct KeepGraphics;

impl Policy for KeepGraphics {
    fn rank(&self, item: &Waiter, _now: Timestamp) -> Rank {
        if item.has_label("somebody-waits") {
            Rank::new(1, item.enqueued.as_micros())
        } else {
            Rank::fifo(item)
        }
    }

    fn fits(&self, item: &Waiter, machine: &Machine) -> Result<(), Reason> {
        machine.labels().require(item.labels())?;
        if machine.labels().has("gpu") && !item.labels().has("gpu") {
            return Err(Reason::Rule("kept for work that needs a gpu".to_owned()));
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut scheduler = Scheduler::new(KeepGraphics);
    let start = Timestamp::from_micros(0);
    scheduler.step(Event::Enter(waiter(1, &[])?), start);
    scheduler.step(Event::Enter(waiter(2, &["gpu"])?), start);
    let machine = Machine::new(
        MachineId::new("m1")?,
        HostType::new("linux")?,
        labels(&["gpu"]),
    );
    for action in scheduler.step(Event::Up(machine), start) {
        if let Action::Grant { waiter, machine } = action {
            println!("{} gets {machine}", waiter.build);
        }
    }
    let left = waiter(1, &[])?.id;
    let why = scheduler
        .explain(&left, start)
        .ok_or("it waits no longer")?;
    println!("{} waits: {why}", left.build);

    let day = Sim::seed(7)
        .policy(KeepGraphics)
        .machines(20)
        .faults(Faults::ALL);
    let report = day.run_for(24 * HOUR).check()?;
    println!(
        "a simulated day: {} builds, {} crashes",
        report.builds(),
        report.crashes()
    );
    Ok(())
}

fn waiter(number: u64, needs: &[&str]) -> build_core::Result<Waiter> {
    Ok(Waiter {
        id: WaiterId {
            build: BuildId::from_bits(number).into(),
            unit: Unit {
                step: StepName::new("test")?,
                part: Part::Whole,
            },
        },
        builder: BuilderName::new("linux")?,
        host_type: HostType::new("linux")?,
        needs: labels(needs),
        tags: Labels::default(),
        class: Class::default(),
        author: None,
        repo: None,
        commit_time: Timestamp::default(),
        enqueued: Timestamp::default(),
        deadline: None,
        helper: false,
    })
}

fn labels(names: &[&str]) -> Labels {
    names.iter().copied().collect()
}
