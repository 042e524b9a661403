//! Machines that share capacities: the scheduler against what must be true of every grant.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::clock::Timestamp;
use crate::ids::{AccountName, BuildId, BuilderName, HolderId, HostType, MachineId, StepName};
use crate::plan::{Part, Unit};
use crate::plant::Plant;
use crate::work::Class;

const CORES: u32 = 8;

fn start() -> Timestamp {
    Timestamp::from_seconds(1_000_000)
}

fn waiter(n: u64, host: &str, class: Class, enqueued: Timestamp) -> Waiter {
    Waiter {
        id: WaiterId {
            build: BuildId::from_bits(n).into(),
            unit: Unit {
                step: StepName::new("test").unwrap(),
                part: Part::Whole,
            },
        },
        builder: BuilderName::new("b").unwrap(),
        host_type: HostType::new(host).unwrap(),
        needs: Labels::default(),
        tags: Labels::default(),
        class,
        author: None,
        repo: None,
        commit_time: enqueued,
        enqueued,
        deadline: None,
        helper: false,
    }
}

fn cores(units: u32) -> Draw {
    Draw {
        account: AccountName::new("cores").unwrap(),
        units: NonZeroU32::new(units).unwrap(),
    }
}

fn account(units: u32) -> Event {
    let account = Account {
        unit: "cores".into(),
        ..Account::new(AccountName::new("cores").unwrap(), units)
    };
    Event::Accounts(vec![account])
}

fn id(host: &str, n: u32) -> MachineId {
    MachineId::new(format!("{host}-{n}")).unwrap()
}

/// Machines of three kinds: `small-…` take one core, `mid-…` two, `big-…` eight.
fn farm(each: u32) -> Scheduler {
    let mut scheduler = Scheduler::new(DefaultPolicy);
    assert_eq!(scheduler.step(account(CORES), start()), []);
    for (host, units) in [("small", 1), ("mid", 2), ("big", 8)] {
        for n in 0..each {
            let machine =
                Machine::new(id(host, n), HostType::new(host).unwrap(), Labels::default());
            let up = Event::Up(machine.drawing([cores(units)]));
            assert_eq!(scheduler.step(up, start()), []);
        }
    }
    scheduler
}

fn granted(actions: Vec<Action>) -> Vec<(HolderId, MachineId)> {
    let grants = actions.into_iter().map(|action| match action {
        Action::Grant { waiter, machine } => (waiter.build, machine),
        Action::Expired(id) => panic!("{id:?} has no deadline"),
    });
    grants.collect()
}

fn enter(
    scheduler: &mut Scheduler,
    n: u64,
    host: &str,
    class: Class,
) -> Vec<(HolderId, MachineId)> {
    let now = start() + Duration::from_secs(n);
    granted(scheduler.step(Event::Enter(waiter(n, host, class, now)), now))
}

fn used(scheduler: &Scheduler) -> Vec<u32> {
    scheduler.accounts().map(|account| account.used).collect()
}

/// What a machine takes, by its name.
fn takes(machine: &MachineId) -> u32 {
    match machine.as_str().split('-').next() {
        Some("small") => 1,
        Some("mid") => 2,
        _ => 8,
    }
}

/// Small ones come all the time: the big one that waits gets its machine once those have ended
/// that were there before it.
#[test]
fn what_is_left_is_kept_for_the_first_until_it_is_enough() {
    let mut scheduler = farm(8);
    let now = start() + Duration::from_secs(100);
    let held: Vec<_> = (0..3)
        .flat_map(|n| enter(&mut scheduler, n, "mid", Class::DefaultTip))
        .collect();
    assert_eq!((held.len(), used(&scheduler)), (3, vec![6]));
    assert_eq!(enter(&mut scheduler, 3, "big", Class::DefaultTip), []);
    assert_eq!(enter(&mut scheduler, 4, "small", Class::DefaultTip), []);
    let why = |scheduler: &Scheduler, n: u64, host: &str| {
        let id = waiter(n, host, Class::DefaultTip, now).id;
        scheduler.explain(&id, now).unwrap()
    };
    let big = why(&scheduler, 3, "big");
    assert_eq!(
        crate::sentences::waiting(&big).split("; ").next().unwrap(),
        "it waits for 8 cores of account cores: 6 of 8 are in use by B000000000, B000000001, B000000002"
    );
    let small = why(&scheduler, 4, "small");
    assert_eq!(
        crate::sentences::waiting(&small)
            .split("; ")
            .next()
            .unwrap(),
        "it waits for 1 core of account cores: 6 of 8 are in use, the rest is kept for B000000003"
    );
    let unknown = small.clone().discreet(|_| false);
    assert!(unknown.to_string().contains("kept for somebody ahead"));
    assert_eq!((small.holders().count(), unknown.holders().count()), (4, 0));
    for (_, machine) in held.iter().take(2) {
        assert_eq!(scheduler.step(Event::Free(machine.clone()), now), []);
    }
    let last = scheduler.step(Event::Free(held[2].1.clone()), now);
    assert_eq!(
        granted(last),
        [(BuildId::from_bits(3).into(), id("big", 0))]
    );
    let after = granted(scheduler.step(Event::Free(id("big", 0)), now));
    assert_eq!(after, [(BuildId::from_bits(4).into(), id("small", 0))]);
}

#[test]
fn who_gives_up_waiting_leaves_what_was_kept_to_the_next() {
    let mut scheduler = farm(8);
    enter(&mut scheduler, 0, "mid", Class::DefaultTip);
    enter(&mut scheduler, 1, "big", Class::DefaultTip);
    assert_eq!(enter(&mut scheduler, 2, "small", Class::Backfill), []);
    // More urgent work does not wait for less urgent.
    assert_eq!(enter(&mut scheduler, 3, "small", Class::Urgent).len(), 1);
    let gone = waiter(1, "big", Class::DefaultTip, start()).id;
    let served = granted(scheduler.step(Event::Leave(gone), start()));
    assert_eq!(served, [(BuildId::from_bits(2).into(), id("small", 1))]);
}

#[test]
fn what_can_never_be_had_holds_up_nobody_and_says_so() {
    let mut scheduler = farm(2);
    let now = start() + Duration::from_secs(50);
    scheduler.step(account(4), now);
    assert_eq!(enter(&mut scheduler, 1, "big", Class::Urgent), []);
    assert_eq!(enter(&mut scheduler, 2, "mid", Class::Backfill).len(), 1);
    let id = waiter(1, "big", Class::Urgent, now).id;
    let why = scheduler.explain(&id, now).unwrap();
    assert_eq!(
        why.cannot_run().unwrap(),
        "cannot run: it needs 8 cores of account cores: it has 4"
    );
    let served = granted(scheduler.step(account(10), now));
    assert_eq!(served.len(), 1, "there is more of it");
    assert_eq!(used(&scheduler), [10]);
}

/// What is held takes its part after a restart, and when its machine goes and comes back dearer.
#[test]
fn what_is_held_counts_whatever_becomes_of_its_machine() {
    let mut scheduler = farm(1);
    let holder = waiter(9, "mid", Class::DefaultTip, start());
    scheduler.step(Event::Hold(id("mid", 0), Box::new(holder)), start());
    assert_eq!(used(&scheduler), [2]);
    scheduler.step(Event::Down(id("mid", 0)), start());
    assert_eq!(used(&scheduler), [2]);
    assert_eq!(enter(&mut scheduler, 1, "big", Class::DefaultTip), []);
    let machine = Machine::new(
        id("mid", 0),
        HostType::new("mid").unwrap(),
        Labels::default(),
    );
    scheduler.step(Event::Up(machine.drawing([cores(3)])), start());
    assert_eq!(used(&scheduler), [3]);
    assert_eq!(
        granted(scheduler.step(Event::Free(id("mid", 0)), start())).len(),
        1
    );
    assert_eq!(used(&scheduler), [8]);
}

/// After a restart machines that are held may not be there yet: they take what others of their kind
/// take, before anybody gets what is left.
#[test]
fn what_is_held_and_away_counts_before_anything_is_given_out() {
    let mut scheduler = Scheduler::new(DefaultPolicy);
    scheduler.step(account(CORES), start());
    for n in 0..3 {
        let holder = waiter(n, "mid", Class::DefaultTip, start());
        scheduler.step(Event::Hold(id("mid", n as u32), Box::new(holder)), start());
    }
    for n in 3..6 {
        enter(&mut scheduler, n, "small", Class::DefaultTip);
    }
    assert_eq!(used(&scheduler), [0], "nobody knows of such a kind yet");
    let up = |host: &str, n: u32, units: u32| {
        let machine = Machine::new(id(host, n), HostType::new(host).unwrap(), Labels::default());
        Event::Up(machine.drawing([cores(units)]))
    };
    let all = vec![
        up("small", 0, 1),
        up("small", 1, 1),
        up("small", 2, 1),
        up("mid", 2, 2),
    ];
    let served = granted(scheduler.step(Event::All(all), start()));
    assert_eq!((served.len(), used(&scheduler)), (2, vec![8]));
    scheduler.step(up("mid", 0, 3), start());
    assert_eq!(used(&scheduler), [9], "it takes more than was thought");
    let last = scheduler.step(Event::Free(id("mid", 1)), start());
    assert_eq!((granted(last).len(), used(&scheduler)), (1, vec![8]));
}

/// A farm that is always full of small work; how many small ones get a machine before the big one
/// does, at most `rounds`.
fn overtaken(plant: Option<Plant>, rounds: u64) -> u64 {
    let mut scheduler = farm(16);
    scheduler.plant(plant);
    let mut held: Vec<_> = (0..8)
        .flat_map(|n| enter(&mut scheduler, n, "small", Class::DefaultTip))
        .collect();
    enter(&mut scheduler, 8, "big", Class::DefaultTip);
    let mut overtaken = 0;
    for n in 9..rounds {
        enter(&mut scheduler, n, "small", Class::DefaultTip);
        let (_, machine) = held.remove(0);
        let now = start() + Duration::from_secs(n);
        let served = granted(scheduler.step(Event::Free(machine), now));
        if served.iter().any(|(_, machine)| *machine == id("big", 0)) {
            break;
        }
        overtaken += served.len() as u64;
        held.extend(served);
    }
    overtaken
}

#[test]
fn a_big_one_is_not_starved_by_small_ones_and_would_be_if_nothing_were_kept() {
    assert_eq!(overtaken(None, 1_000), 0);
    let starved = overtaken(Some(Plant::NothingKept), 1_000);
    assert_eq!(starved, 991, "the planted bug is seen");
}

#[derive(Clone, Debug)]
enum Op {
    Enter { host: usize, class: usize },
    Leave(usize),
    Free(usize),
    Failed(usize),
    Tick,
    Units(u32),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => (0usize..3, 0usize..3).prop_map(|(host, class)| Op::Enter { host, class }),
        1 => any::<usize>().prop_map(Op::Leave),
        4 => any::<usize>().prop_map(Op::Free),
        1 => any::<usize>().prop_map(Op::Failed),
        1 => Just(Op::Tick),
        1 => (6u32..12).prop_map(Op::Units),
    ]
}

const HOSTS: [&str; 3] = ["small", "mid", "big"];
const CLASSES: [Class; 3] = [Class::Urgent, Class::DefaultTip, Class::Backfill];

/// What must be true, kept by looking at everything.
struct Model {
    scheduler: Scheduler,
    now: Timestamp,
    waiting: BTreeMap<WaiterId, Waiter>,
    held: BTreeMap<MachineId, u32>,
    units: u32,
}

impl Model {
    fn step(&mut self, event: Event) {
        let before: u32 = self.held.values().sum();
        let actions = self.scheduler.step(event, self.now);
        let mut sum = before;
        for action in actions {
            let Action::Grant { waiter, machine } = action else {
                panic!("nobody has a deadline");
            };
            let served = self
                .waiting
                .remove(&waiter)
                .expect("only who waits is served");
            sum += takes(&machine);
            assert!(sum <= self.units, "more than there is");
            self.check_overtaking(&served);
            assert!(self.held.insert(machine.clone(), takes(&machine)).is_none());
        }
        let used: u32 = self.scheduler.accounts().map(|account| account.used).sum();
        assert_eq!(used, self.held.values().sum::<u32>());
        self.check_idle();
    }

    fn place(&self, waiter: &Waiter) -> (Rank, WaiterId) {
        (DefaultPolicy.rank(waiter, self.now), waiter.id.clone())
    }

    /// Whether a machine of the waiter's kind is free.
    fn has_machine(&self, waiter: &Waiter) -> bool {
        let is_free = |(machine, state): (&Machine, MachineState)| {
            *machine.host_type() == waiter.host_type && state == MachineState::Free
        };
        self.scheduler.machines().any(is_free)
    }

    fn needs(waiter: &Waiter) -> u32 {
        takes(&id(waiter.host_type.as_str(), 0))
    }

    /// Nobody is served before somebody who is ahead and whose machine is free and affordable.
    fn check_overtaking(&self, served: &Waiter) {
        let ahead = self.waiting.values().filter(|other| {
            self.place(other).0 < self.place(served).0
                && self.has_machine(other)
                && Self::needs(other) <= self.units
        });
        let first = ahead.min_by_key(|other| self.place(other));
        assert!(first.is_none(), "{:?} overtakes {first:?}", served.id);
    }

    /// A machine is idle though somebody waits for it only when that one, or one ahead of it, needs
    /// more than is left.
    fn check_idle(&self) {
        let left = self.units.saturating_sub(self.held.values().sum());
        let could = self
            .waiting
            .values()
            .filter(|waiter| self.has_machine(waiter) && Self::needs(waiter) <= self.units);
        let first = could.min_by_key(|waiter| self.place(waiter));
        if let Some(first) = first {
            assert!(Self::needs(first) > left, "{:?} need not wait", first.id);
        }
        for waiter in self.waiting.values() {
            let why = self.scheduler.explain(&waiter.id, self.now).unwrap();
            if self.has_machine(waiter) {
                assert!(matches!(why.hold, Hold::Account(_)), "{why}");
            }
        }
    }

    fn nth(&self, n: usize) -> Option<MachineId> {
        self.held.keys().nth(n % self.held.len().max(1)).cloned()
    }

    fn take(&mut self, n: u64, op: Op) {
        self.now = self.now + Duration::from_secs(1);
        match op {
            Op::Enter { host, class } => {
                let new = waiter(n, HOSTS[host], CLASSES[class], self.now);
                self.waiting.insert(new.id.clone(), new.clone());
                self.step(Event::Enter(new));
            }
            Op::Leave(nth) => {
                let len = self.waiting.len().max(1);
                let Some(id) = self.waiting.keys().nth(nth % len).cloned() else {
                    return;
                };
                self.waiting.remove(&id);
                self.step(Event::Leave(id));
            }
            Op::Free(n) | Op::Failed(n) => {
                let Some(machine) = self.nth(n) else { return };
                self.held.remove(&machine);
                self.step(match op {
                    Op::Free(_) => Event::Free(machine),
                    _ => Event::Failed(machine),
                });
            }
            Op::Tick => {
                self.now = self.now + Duration::from_secs(60);
                self.step(Event::Tick);
            }
            Op::Units(units) => {
                self.units = units;
                self.step(account(units));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Nothing takes more than there is, nobody overtakes who could be served, nothing is idle that
    /// is not kept for somebody, and in the end everybody was served.
    #[test]
    fn the_first_is_served_first_and_nobody_is_forgotten(ops in prop::collection::vec(op(), 1..80)) {
        let mut model = Model {
            scheduler: farm(3),
            now: start(),
            waiting: BTreeMap::new(),
            held: BTreeMap::new(),
            units: CORES,
        };
        for (n, op) in (0..).zip(ops) {
            model.take(n, op);
        }
        model.take(1_000, Op::Units(CORES));
        for n in 0..1_000 {
            model.take(2_000 + n, Op::Tick);
            model.take(4_000 + n, Op::Free(n as usize));
            if model.waiting.is_empty() && model.held.is_empty() {
                return Ok(());
            }
        }
        prop_assert!(model.waiting.is_empty(), "somebody waits for ever");
    }
}
