//! Properties: the scheduler against a model that looks at everything each time.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::clock::Timestamp;
use crate::ids::{BuildId, BuilderName, HostType, MachineId, RepoName, StepName};
use crate::plan::{Part, Unit};
use crate::work::Class;

const CLASSES: [Class; 7] = [
    Class::Urgent,
    Class::Interactive,
    Class::Try,
    Class::ReleaseTip,
    Class::DefaultTip,
    Class::BranchTip,
    Class::Backfill,
];

#[derive(Clone, Debug)]
enum Op {
    Enter {
        class: usize,
        author: u8,
        host: u8,
        label: Option<u8>,
        deadline: Option<u8>,
    },
    Leave(usize),
    Up {
        machine: u8,
        host: u8,
        labels: u8,
    },
    Down(u8),
    Free(u8),
    Failed(u8),
    Tick(u16),
    Quotas(Quotas),
}

fn quotas() -> impl Strategy<Value = Quotas> {
    let quota = || prop::option::of(1u32..5).prop_map(|n| n.and_then(NonZeroU32::new));
    (quota(), quota()).prop_map(|(author, repo)| Quotas { author, repo })
}

fn allot(shares: Shares, quotas: Quotas) -> Event {
    Event::Allot(Allotment { shares, quotas })
}

/// Nothing is reserved, nothing limited.
fn without_shares() -> Scheduler {
    let mut scheduler = Scheduler::new(DefaultPolicy);
    scheduler.step(allot(Shares::NONE, Quotas::default()), Timestamp::default());
    scheduler
}

fn op() -> impl Strategy<Value = Op> {
    let label = prop::option::weighted(0.4, 0u8..3);
    let deadline = prop::option::weighted(0.1, any::<u8>());
    prop_oneof![
        6 => (0..CLASSES.len(), 0u8..3, 0u8..2, label, deadline)
            .prop_map(|(class, author, host, label, deadline)| Op::Enter { class, author, host, label, deadline }),
        1 => any::<usize>().prop_map(Op::Leave),
        3 => (0u8..8, 0u8..2, 0u8..8).prop_map(|(machine, host, labels)| Op::Up { machine, host, labels }),
        1 => (0u8..8).prop_map(Op::Down),
        5 => (0u8..8).prop_map(Op::Free),
        1 => (0u8..8).prop_map(Op::Failed),
        1 => (0u16..600).prop_map(Op::Tick),
        1 => quotas().prop_map(Op::Quotas),
    ]
}

fn waiter(
    n: u64,
    class: Class,
    author: &str,
    host: &str,
    label: Option<u8>,
    now: Timestamp,
) -> Waiter {
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
        needs: label.into_iter().map(|l| format!("l{l}")).collect(),
        tags: Labels::default(),
        class,
        author: Some(author.into()),
        repo: Some(RepoName::new(format!("r{}", n % 2)).unwrap()),
        commit_time: now,
        enqueued: now,
        deadline: None,
        helper: false,
    }
}

fn machine(n: u8, host: u8, labels: u8) -> Machine {
    let labels = (0..3)
        .filter(|bit| labels & (1 << bit) != 0)
        .map(|bit| format!("l{bit}"));
    let id = MachineId::new(format!("m{n}")).unwrap();
    Machine::new(
        id,
        HostType::new(format!("h{host}")).unwrap(),
        labels.collect(),
    )
}

/// What must be true, kept by looking at everything.
#[derive(Default)]
struct Model {
    waiting: BTreeMap<WaiterId, Waiter>,
    up: BTreeMap<MachineId, Machine>,
    held: BTreeMap<MachineId, Waiter>,
    quotas: Quotas,
    served: BTreeSet<WaiterId>,
    gone: BTreeSet<WaiterId>,
}

impl Model {
    fn fits(waiter: &Waiter, machine: &Machine) -> bool {
        DefaultPolicy.fits(waiter, machine).is_ok()
    }

    /// Whether a waiter may have one more machine.
    fn is_within_quota(&self, waiter: &Waiter) -> bool {
        let held = |is_same: &dyn Fn(&Waiter) -> bool| {
            let counted = |held: &&Waiter| held.class != Class::Urgent && is_same(held);
            self.held.values().filter(counted).count() as u32
        };
        let is_below = |quota: Option<NonZeroU32>, held| quota.is_none_or(|q| held < q.get());
        waiter.class == Class::Urgent
            || is_below(self.quotas.author, held(&|h| h.author == waiter.author))
                && is_below(self.quotas.repo, held(&|h| h.repo == waiter.repo))
    }

    fn check(&mut self, scheduler: &Scheduler, actions: &[Action], now: Timestamp) {
        for action in actions {
            match action {
                Action::Grant { waiter, machine } => self.granted(waiter, machine, now),
                Action::Expired(waiter) => {
                    let gone = self.waiting.remove(waiter).expect("only waiters expire");
                    assert!(gone.deadline.is_some_and(|deadline| deadline <= now));
                }
            }
        }
        assert_eq!(scheduler.waiting(), self.waiting.len());
        for (machine, state) in scheduler.machines() {
            assert_eq!(
                self.held.contains_key(machine.id()),
                state == MachineState::Held
            );
            let idle = state == MachineState::Free;
            let missed = self
                .waiting
                .values()
                .find(|w| idle && Self::fits(w, machine) && self.is_within_quota(w));
            assert!(
                missed.is_none(),
                "{:?} is free and {missed:?} waits",
                machine.id()
            );
        }
        for id in self.waiting.keys() {
            let why = scheduler
                .explain(id, now)
                .expect("every waiter can be explained");
            assert!(why.ahead < self.waiting.len());
            assert!(!why.to_string().is_empty());
            if let Hold::Quota(full) = &why.hold {
                assert!(!self.is_within_quota(&self.waiting[id]));
                assert!(full.held >= full.limit && !full.holders.is_empty());
            }
        }
    }

    fn granted(&mut self, waiter: &WaiterId, machine: &MachineId, now: Timestamp) {
        let served = self
            .waiting
            .remove(waiter)
            .expect("only who waits is served, and only once");
        assert!(!self.gone.contains(waiter), "a canceled waiter was served");
        let place = self
            .up
            .get(machine)
            .expect("only machines that are up are granted");
        assert!(Self::fits(&served, place));
        assert!(self.is_within_quota(&served), "over its quota");
        self.served.insert(waiter.clone());
        let rank = DefaultPolicy.rank(&served, now);
        for other in self
            .waiting
            .values()
            .filter(|other| Self::fits(other, place) && self.is_within_quota(other))
        {
            let ahead = DefaultPolicy.rank(other, now);
            assert!(ahead.tier() >= rank.tier(), "a lower tier waits");
            let is_unfair = ahead.tier() == rank.tier()
                && !rank.is_fair_by_author()
                && ahead.key() < rank.key();
            assert!(!is_unfair, "an earlier one of the same tier waits");
        }
        let before = self.held.insert(machine.clone(), served);
        assert!(before.is_none(), "two holders");
    }
}

fn run(ops: Vec<Op>) {
    let mut scheduler = without_shares();
    let mut model = Model::default();
    let mut now = Timestamp::from_seconds(1_000_000);
    for (n, op) in (0u64..).zip(ops) {
        now = now + Duration::from_secs(1);
        let id = |n| MachineId::new(format!("m{n}")).unwrap();
        let event = match op {
            Op::Enter {
                class,
                author,
                host,
                label,
                deadline,
            } => {
                let mut new = waiter(
                    n,
                    CLASSES[class],
                    &format!("a{author}"),
                    &format!("h{host}"),
                    label,
                    now,
                );
                new.deadline = deadline.map(|s| now + Duration::from_secs(s.into()));
                model.waiting.insert(new.id.clone(), new.clone());
                Event::Enter(new)
            }
            Op::Leave(nth) => {
                let Some(id) = model
                    .waiting
                    .keys()
                    .nth(nth % model.waiting.len().max(1))
                    .cloned()
                else {
                    continue;
                };
                model.waiting.remove(&id);
                model.gone.insert(id.clone());
                Event::Leave(id)
            }
            Op::Up {
                machine: n,
                host,
                labels,
            } => {
                let machine = machine(n, host, labels);
                model.up.insert(machine.id().clone(), machine.clone());
                Event::Up(machine)
            }
            Op::Down(n) => {
                model.up.remove(&id(n));
                Event::Down(id(n))
            }
            Op::Free(n) => {
                model.held.remove(&id(n));
                Event::Free(id(n))
            }
            Op::Failed(n) => {
                model.held.remove(&id(n));
                Event::Failed(id(n))
            }
            Op::Tick(seconds) => {
                now = now + Duration::from_secs(seconds.into());
                Event::Tick
            }
            Op::Quotas(quotas) => {
                model.quotas = quotas;
                allot(Shares::NONE, quotas)
            }
        };
        let mut actions = scheduler.step(event, now);
        while scheduler.wake_at().is_some_and(|at| at <= now) {
            actions.extend(scheduler.step(Event::Tick, now));
        }
        model.check(&scheduler, &actions, now);
    }
}

fn cases() -> u32 {
    std::env::var("FARMER_CASES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(256)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    /// Never two holders, nobody lost, cancelled waiters get nothing, no machine idles while
    /// something within its quotas fits it, nobody gets more than a quota, and nothing overtakes
    /// what is more urgent.
    #[test]
    fn the_scheduler_agrees_with_the_model(ops in prop::collection::vec(op(), 1..120)) {
        run(ops);
    }

    /// Reserved machines are never held by what is less urgent, and urgent work gets them.
    #[test]
    fn reserved_machines_are_for_the_urgent(total in 1u8..60, share in 0.0f64..1.0, urgent in 0usize..60) {
        let shares = Shares { urgent: share, ..Shares::NONE };
        let mut scheduler = Scheduler::new(DefaultPolicy);
        let now = Timestamp::from_seconds(1);
        scheduler.step(allot(shares, Quotas::default()), now);
        let reserved = (share * f64::from(total)) as usize;
        let mut grants = Vec::new();
        for n in 0..100 {
            scheduler.step(Event::Enter(waiter(n, Class::Backfill, "a", "h0", None, now)), now);
        }
        for n in 0..total {
            grants.extend(scheduler.step(Event::Up(machine(n, 0, 0)), now));
        }
        prop_assert_eq!(grants.len(), usize::from(total) - reserved);
        if reserved > 0 {
            let id = waiter(99, Class::Backfill, "a", "h0", None, now).id;
            prop_assert_eq!(scheduler.explain(&id, now).map(|why| why.hold), Some(Hold::Reserved));
        }
        let served = (0..urgent as u64)
            .flat_map(|n| scheduler.step(Event::Enter(waiter(1000 + n, Class::Urgent, "a", "h0", None, now)), now))
            .count();
        prop_assert_eq!(served, urgent.min(reserved));
        // One of the less urgent gives back: it is served again, or the reserve fills up.
        if let Some(Action::Grant { machine, .. }) = grants.into_iter().next() {
            let next = scheduler.step(Event::Free(machine), now);
            prop_assert_eq!(next.len(), 1);
        }
    }

    /// Everybody within a quota is served, however much one author asks for.
    #[test]
    fn a_quota_of_others_starves_nobody(
        limits in quotas(),
        waiters in prop::collection::vec((0usize..7, 0u8..4, 0u8..2, prop::option::of(0u8..3)), 1..60),
        machines in 1u8..8,
    ) {
        let mut scheduler = without_shares();
        let now = Timestamp::from_seconds(1);
        scheduler.step(allot(Shares::NONE, limits), now);
        let mut held = Vec::new();
        for n in 0..machines {
            held.extend(scheduler.step(Event::Up(machine(n, n % 2, 7)), now));
        }
        for (n, (class, author, host, label)) in (0u64..).zip(&waiters) {
            let author = format!("a{author}");
            let host = format!("h{}", if machines == 1 { 0 } else { *host });
            let new = waiter(n, CLASSES[*class], &author, &host, *label, now);
            held.extend(scheduler.step(Event::Enter(new), now));
        }
        let mut served = 0;
        while let Some(Action::Grant { machine, .. }) = held.pop() {
            served += 1;
            held.extend(scheduler.step(Event::Free(machine), now));
        }
        prop_assert_eq!(served, waiters.len());
        prop_assert_eq!(scheduler.lanes.iter().count(), 0);
    }

    /// While what is strictly above comes slower than machines become free, everything is
    /// served after as many machines became free as were ahead, and some more for each author.
    #[test]
    fn everything_is_served_in_bounded_steps(
        class in 0..CLASSES.len(),
        ahead in 0usize..60,
        authors in 1u64..5,
        per_round in 2u8..5,
    ) {
        let mut scheduler = without_shares();
        let mut now = Timestamp::from_seconds(10_000_000);
        let mut n = 0;
        let mut enter = |scheduler: &mut Scheduler, class, author: u64, now| {
            n += 1;
            scheduler.step(Event::Enter(waiter(n, class, &format!("a{author}"), "h0", None, now)), now);
            n
        };
        for m in 0..per_round {
            enter(&mut scheduler, Class::Urgent, 0, now);
            scheduler.step(Event::Up(machine(m, 0, 0)), now);
        }
        for k in 0..ahead {
            enter(&mut scheduler, CLASSES[k % CLASSES.len()], k as u64 % authors, now);
        }
        let mine = enter(&mut scheduler, CLASSES[class], 99, now);
        let mine = BuildId::from_bits(mine).into();
        // A batch item is overtaken by newer ones of better classes for three hours at most.
        let aging = 3 * 60 + 1;
        let bound = aging + (ahead + 2) * usize::try_from(authors + 1).unwrap();
        let mut served = false;
        for _ in 0..bound {
            now = now + Duration::from_secs(60);
            // Strictly above: fewer than become free. Beside and below: as many as like.
            for k in 0..per_round - 1 {
                if class > 0 {
                    enter(&mut scheduler, Class::Urgent, u64::from(k), now);
                }
            }
            for k in 0..6 {
                enter(&mut scheduler, CLASSES[class], k % authors, now);
            }
            for m in 0..per_round {
                let id = MachineId::new(format!("m{m}")).unwrap();
                let actions = scheduler.step(Event::Free(id), now);
                served |= actions.iter().any(|a| matches!(a, Action::Grant { waiter, .. } if waiter.build == mine));
            }
        }
        prop_assert!(served);
    }
}

#[test]
fn who_was_turned_away_is_served_when_the_reserve_has_filled_up() {
    let mut scheduler = Scheduler::new(DefaultPolicy);
    let now = Timestamp::from_seconds(1);
    let shares = Shares {
        urgent: 0.05,
        ..Shares::NONE
    };
    scheduler.step(allot(shares, Quotas::default()), now);
    for n in 0..19 {
        scheduler.step(Event::Up(machine(n, 0, 0)), now);
        scheduler.step(
            Event::Enter(waiter(n.into(), Class::Backfill, "a", "h0", None, now)),
            now,
        );
    }
    scheduler.step(Event::Up(machine(19, 0, 1)), now);
    let picky = waiter(99, Class::Backfill, "a", "h0", Some(0), now);
    assert_eq!(scheduler.step(Event::Enter(picky.clone()), now), []);
    let actions = scheduler.step(Event::Free(machine(0, 0, 0).id().clone()), now);
    assert!(matches!(&actions[..], [Action::Grant { waiter, .. }] if *waiter == picky.id));
}

#[test]
fn authors_take_turns_in_try_work() {
    let mut scheduler = Scheduler::new(DefaultPolicy);
    let now = Timestamp::from_seconds(1);
    for n in 0..10 {
        scheduler.step(
            Event::Enter(waiter(n, Class::Try, "many", "h0", None, now)),
            now,
        );
    }
    scheduler.step(
        Event::Enter(waiter(10, Class::Try, "few", "h0", None, now)),
        now,
    );
    let order: Vec<_> = (0..3)
        .flat_map(|n| scheduler.step(Event::Up(machine(n, 0, 0)), now))
        .map(|action| match action {
            Action::Grant { waiter, .. } => waiter.build,
            Action::Expired(id) => panic!("{id:?} has no deadline"),
        })
        .collect();
    assert_eq!(order, [0, 10, 1].map(|n| BuildId::from_bits(n).into()));
}

/// A hundred thousand of one author wait for a quota: events of others do not look at them.
#[test]
fn what_a_quota_holds_back_costs_the_others_nothing() {
    let mut scheduler = without_shares();
    let now = Timestamp::from_seconds(1);
    let quotas = Quotas {
        author: NonZeroU32::new(2),
        repo: None,
    };
    scheduler.step(allot(Shares::NONE, quotas), now);
    for n in 0..20_000 {
        let label = Some((n % 3) as u8);
        let waiter = waiter(n, Class::DefaultTip, "many", "h0", label, now);
        scheduler.step(Event::Enter(waiter), now);
    }
    let up = |n| Event::Up(machine(n, 0, 7));
    let grants: Vec<_> = (0..3).flat_map(|n| scheduler.step(up(n), now)).collect();
    assert_eq!(grants.len(), 2);
    let why = scheduler.explain(
        &waiter(7, Class::DefaultTip, "many", "h0", None, now).id,
        now,
    );
    let why = why.unwrap();
    assert_eq!(
        why.to_string(),
        "quota: many holds 2 of 2 machines; 5 ahead"
    );
    // One lane for each label; those of others come and go.
    let ready = |scheduler: &Scheduler| scheduler.lanes.ready_lanes();
    assert_eq!((scheduler.lanes.iter().count(), ready(&scheduler)), (3, 0));
    let few = waiter(20_000, Class::Backfill, "few", "h0", None, now);
    let actions = scheduler.step(Event::Enter(few.clone()), now);
    assert!(matches!(&actions[..], [Action::Grant { waiter, .. }] if *waiter == few.id));
    // One gives back: the lanes come up, one is served, at most one of each need is ready.
    let actions = scheduler.step(Event::Free(machine(0, 0, 0).id().clone()), now);
    assert_eq!(actions.len(), 1);
    assert!(ready(&scheduler) <= 3);
    // Urgent work does not wait for a quota and is not counted.
    let urgent = waiter(20_001, Class::Urgent, "many", "h1", None, now);
    let actions = scheduler.step(Event::Up(machine(9, 1, 0)), now);
    assert!(actions.is_empty());
    assert_eq!(scheduler.step(Event::Enter(urgent), now).len(), 1);
}

/// What is held is known after a restart from who held it, and a smaller quota takes nothing away.
#[test]
fn machines_held_before_a_restart_count() {
    let mut scheduler = without_shares();
    let now = Timestamp::from_seconds(1);
    for n in 0..2u8 {
        let holder = waiter(n.into(), Class::Try, "ada", "h0", None, now);
        let held = Event::Hold(machine(n, 0, 0).id().clone(), Box::new(holder));
        scheduler.step(held, now);
    }
    let quotas = Quotas {
        author: NonZeroU32::new(1),
        repo: None,
    };
    scheduler.step(allot(Shares::NONE, quotas), now);
    let next = waiter(9, Class::Try, "ada", "h0", None, now);
    scheduler.step(Event::Enter(next.clone()), now);
    for n in 0..3 {
        assert_eq!(scheduler.step(Event::Up(machine(n, 0, 0)), now), []);
    }
    let Hold::Quota(full) = scheduler.explain(&next.id, now).unwrap().hold else {
        panic!("the quota is full");
    };
    assert_eq!((full.held, full.limit), (2, 1));
    assert_eq!(full.holders, [0, 1].map(|n| BuildId::from_bits(n).into()));
    let free = |n| Event::Free(machine(n, 0, 0).id().clone());
    assert_eq!(scheduler.step(free(0), now), []);
    assert_eq!(scheduler.step(free(1), now).len(), 1);
}

#[test]
fn odd_labels_are_forgotten_and_nobody_is_lost() {
    let mut scheduler = Scheduler::new(DefaultPolicy);
    let now = Timestamp::from_seconds(1);
    let mut kept = waiter(0, Class::DefaultTip, "a", "h0", None, now);
    kept.tags = ["kept"].into_iter().collect();
    scheduler.step(Event::Enter(kept.clone()), now);
    for n in 1..5_000 {
        let mut odd = waiter(n, Class::DefaultTip, "a", "h0", None, now);
        odd.tags = [format!("odd{n}")].into_iter().collect();
        scheduler.step(Event::Enter(odd.clone()), now);
        scheduler.step(Event::Leave(odd.id), now);
    }
    assert!(scheduler.shapes.needs.len() < 2_000);
    let actions = scheduler.step(Event::Up(machine(0, 0, 0)), now);
    assert!(matches!(&actions[..], [Action::Grant { waiter, .. }] if *waiter == kept.id));
}

#[test]
fn an_explanation_says_what_is_missing() {
    let mut scheduler = Scheduler::new(DefaultPolicy);
    let now = Timestamp::from_seconds(1_000);
    let first = waiter(1, Class::DefaultTip, "gopher", "h0", Some(2), now);
    scheduler.step(Event::Enter(first.clone()), now);
    let why = scheduler.explain(&first.id, now).unwrap();
    assert_eq!(
        why.to_string(),
        "cannot run: there are no machines; 0 ahead"
    );
    scheduler.step(Event::Up(machine(1, 0, 0)), now);
    let why = scheduler.explain(&first.id, now).unwrap();
    assert_eq!(
        why.to_string(),
        "cannot run: no machine has label l2; 0 ahead"
    );
    assert_eq!(why.expected, None);
    scheduler.step(Event::Up(machine(2, 0, 7)), now);
    let later = now + Duration::from_secs(60);
    let second = waiter(2, Class::DefaultTip, "gopher", "h0", Some(2), later);
    let third = waiter(3, Class::DefaultTip, "gopher", "h0", Some(2), later);
    scheduler.step(Event::Enter(second), later);
    scheduler.step(Event::Enter(third.clone()), later);
    let why = scheduler.explain(&third.id, later).unwrap();
    assert_eq!(
        why.to_string(),
        "all 1 machines of h0 that fit are in use; 1 ahead"
    );
    assert_eq!(why.ahead_of[0].author.as_deref(), Some("gopher"));
    let told = why.clone().discreet(|_| false);
    assert_eq!((told.ahead, told.ahead_of.len()), (1, 1));
    assert_eq!(
        (&told.ahead_of[0].author, told.ahead_of[0].count),
        (&None, 1)
    );
    // No build has ended yet.
    assert_eq!((why.expected, why.samples), (None, 0));
    scheduler.step(Event::Failed(MachineId::new("m2").unwrap()), later);
    let why = scheduler.explain(&third.id, later).unwrap();
    assert_eq!(why.hold, Hold::Resting(later + Duration::from_secs(1)));
}

#[test]
fn what_waits_is_told_of_the_work_ahead_over_the_machines_that_fit() {
    let mut scheduler = Scheduler::new(DefaultPolicy);
    let start = Timestamp::from_seconds(1_000);
    let at = |seconds: u64| start + Duration::from_secs(seconds);
    let enter = |scheduler: &mut Scheduler, n: u64, now| {
        let waiter = waiter(n, Class::DefaultTip, "gopher", "h0", Some(2), now);
        scheduler.step(Event::Enter(waiter.clone()), now);
        waiter.id
    };
    // Two machines have the label; a third one, which has not, is no help.
    scheduler.step(Event::Up(machine(1, 0, 0)), start);
    scheduler.step(Event::Up(machine(2, 0, 7)), start);
    scheduler.step(Event::Up(machine(3, 0, 7)), start);
    enter(&mut scheduler, 1, start);
    enter(&mut scheduler, 2, start);
    let next = enter(&mut scheduler, 3, start);
    assert_eq!(scheduler.explain(&next, at(5)).unwrap().expected, None);
    // The first one took 100 s.
    let machine = |n: u64| MachineId::new(format!("m{n}")).unwrap();
    scheduler.step(Event::Free(machine(2)), at(100));
    let ids: Vec<_> = (4..8).map(|n| enter(&mut scheduler, n, at(100))).collect();
    let expected = |n: usize| {
        let why = scheduler.explain(&ids[n], at(100)).unwrap();
        (why.ahead, why.expected.map(|d| d.as_secs()), why.samples)
    };
    // One machine is due now, the other in 100 s.
    assert_eq!(expected(0), (0, Some(0), 1));
    assert_eq!(expected(1), (1, Some(100), 1));
    assert_eq!(expected(2), (2, Some(100), 1));
    assert_eq!(expected(3), (3, Some(200), 1));
}
