//! What follows from the state of a build, at the cost of what changed.
//!
//! [`Agenda`] answers as [`super::next`] does, which is the rule and is read more easily. It
//! keeps what follows from each step and each machine, and is told which of them an event
//! touched. What it looks at each time, beside that, is the machines with a directory and
//! without work: few, since they get work or are given back.

#[cfg(test)]
mod check;
mod notes;
mod ready;
mod round;
mod seat;

use std::collections::{BTreeMap, BTreeSet};

use super::commands::Command;
use super::lease::Phase;
use super::next::{Mode, Next, Stage, outcome, plan};
use super::ordered::Ordered;
use super::orders::Orders;
use super::session;
use super::standing::Standing;
use super::state::BuildState;
use super::step::UnitState;
use super::touched::Touched;
use crate::event::BuildEvent;
use crate::ids::LeaseId;
use crate::plan::{Part, Unit};
use crate::work::Builder;
use ready::Ready;
use round::Round;
use seat::{Order, Seat, Wait};

/// What follows from the state of one build, kept up to date.
#[derive(Debug)]
pub(crate) struct Agenda {
    ordered: Ordered,
    stage: Option<Stage>,
    standing: Standing,
    ready: Ready,
    seats: BTreeMap<u32, Seat>,
    numbers: BTreeMap<LeaseId, u32>,
    /// Machines with a directory and without work.
    idle: BTreeSet<u32>,
    /// Machines without a directory whose units cannot run, or have an older machine.
    loose: BTreeSet<u32>,
    waits: BTreeSet<(Wait, u32)>,
    /// Machines that are being filled, by the machine whose directory they get.
    copies: BTreeMap<LeaseId, BTreeSet<u32>>,
    /// The machines with a step's directory, the oldest first.
    holders: BTreeMap<usize, BTreeSet<u32>>,
    /// How many open steps need a step's directory.
    demand: BTreeMap<usize, usize>,
    /// Steps that count in `demand`.
    open: BTreeSet<usize>,
    running: usize,
    round: Round,

    everything: bool,
    steps: BTreeMap<usize, BTreeSet<Part>>,
    whole_steps: BTreeSet<usize>,
    leases: BTreeSet<LeaseId>,
    /// Machines whose orders may be other ones.
    undecided: BTreeSet<u32>,
    /// Machines whose orders are given again, though they are the same.
    again: BTreeSet<LeaseId>,
    gone: BTreeSet<LeaseId>,
    plan_again: bool,
}

/// The orders to one machine, or to the build itself: all of them. What was ordered before and
/// is not among them is not wanted any more.
pub(crate) type ToMachine = (Option<LeaseId>, Vec<Command>);

/// Events that follow and units that are wanted, as in [`Next`].
#[derive(Debug, Default)]
pub(crate) struct Due {
    pub(crate) events: Vec<BuildEvent>,
    pub(crate) wants: Vec<Unit>,
}

impl Agenda {
    /// Of a build of which nothing has been looked at.
    pub(crate) fn new() -> Self {
        Self {
            ordered: Ordered::default(),
            stage: None,
            standing: Standing::default(),
            ready: Ready::default(),
            seats: BTreeMap::new(),
            numbers: BTreeMap::new(),
            idle: BTreeSet::new(),
            loose: BTreeSet::new(),
            waits: BTreeSet::new(),
            copies: BTreeMap::new(),
            holders: BTreeMap::new(),
            demand: BTreeMap::new(),
            open: BTreeSet::new(),
            running: 0,
            round: Round::default(),
            everything: true,
            steps: BTreeMap::new(),
            whole_steps: BTreeSet::new(),
            leases: BTreeSet::new(),
            undecided: BTreeSet::new(),
            again: BTreeSet::new(),
            gone: BTreeSet::new(),
            plan_again: true,
        }
    }

    /// An event changed this of the build.
    pub(crate) fn touch(&mut self, touched: Touched) {
        self.everything |= touched.plan;
        match touched.step {
            Some((step, Some(part))) => drop(self.steps.entry(step).or_default().insert(part)),
            Some((step, None)) => drop(self.whole_steps.insert(step)),
            None => {}
        }
        self.leases.extend(touched.lease);
    }

    /// A command was answered, or is to be given again: `None` when it is of no machine.
    pub(crate) fn ask_again(&mut self, lease: Option<&LeaseId>) {
        match lease {
            Some(lease) => drop(self.again.insert(lease.clone())),
            None => self.plan_again = true,
        }
    }

    /// A machine takes long to start.
    pub(crate) fn is_slow(&mut self, lease: &LeaseId) {
        self.ordered.slow.insert(lease.clone());
        self.leases.insert(lease.clone());
    }

    /// The events that follow, and the units that wait for machines. As long as there are some,
    /// apply them and ask again; then ask for [`Agenda::orders`].
    pub(crate) fn due(&mut self, build: &BuildState, builder: Option<&Builder>, mode: Mode) -> Due {
        if build.foreign().is_some() {
            self.stage = Some(Stage::Foreign);
            return Due::default();
        }
        if build.item().is_none() {
            let next = session::next(build, builder, mode);
            return Due {
                events: next.events,
                wants: next.wants,
            };
        }
        self.catch_up(build);
        let stage = Stage::of(build, builder, mode);
        if self.stage.as_ref() != Some(&stage) {
            self.undecided.extend(self.seats.keys());
            self.stage = Some(stage.clone());
        }
        let due = match stage {
            Stage::WindingDown(Some(outcome)) if self.running == 0 => finished(outcome),
            Stage::Building if self.standing.is_over() => {
                finished(outcome(build, self.standing.given_up()))
            }
            Stage::Building => self.play(build),
            _ => Due::default(),
        };
        #[cfg(test)]
        self.check_due(&self.by_rule(build, builder, mode), &due);
        due
    }

    /// The orders that are others than before.
    pub(crate) fn orders(
        &mut self,
        build: &BuildState,
        builder: Option<&Builder>,
        mode: Mode,
    ) -> Vec<ToMachine> {
        let Some(item) = build.item() else {
            return of_session(build, session::next(build, builder, mode), &mut self.leases);
        };
        #[cfg(test)]
        let rule = self.by_rule(build, builder, mode);
        let gone = std::mem::take(&mut self.gone).into_iter();
        let mut all: Vec<ToMachine> = gone.map(|lease| (Some(lease), Vec::new())).collect();
        let plans = self.stage == Some(Stage::Planning);
        if std::mem::take(&mut self.plan_again) || !plans {
            let asked = plans.then(|| plan(build, builder, item));
            all.push((None, asked.into_iter().collect()));
        }
        let orders = Orders {
            build,
            item,
            builder,
        };
        self.round
            .add_undecided(&self.idle, &self.loose, &mut self.undecided);
        let again = std::mem::take(&mut self.again);
        let forced = again.iter().filter_map(|lease| self.numbers.get(lease));
        let forced: BTreeSet<u32> = forced.copied().collect();
        self.undecided.extend(&forced);
        for machine in std::mem::take(&mut self.undecided) {
            let Some(seat) = self.seats.get(&machine) else {
                continue;
            };
            let decided = self.decide(build, machine, seat);
            if seat.orders == decided && !forced.contains(&machine) {
                continue;
            }
            let commands = commands(&orders, seat, &decided);
            all.push((Some(seat.lease.clone()), commands));
            self.remember(machine, decided);
        }
        #[cfg(test)]
        self.check_orders(&orders, &rule);
        all
    }

    /// Keeps what cannot be taken back.
    fn remember(&mut self, machine: u32, decided: Vec<Order>) {
        let Some(seat) = self.seats.get_mut(&machine) else {
            return;
        };
        let id = seat.lease.clone();
        for order in &decided {
            match order {
                Order::Release if self.ordered.leaving.insert(id.clone()) => {
                    self.leases.insert(id.clone());
                }
                Order::Prepare(base) => {
                    self.ordered.filling.insert(id.clone(), base.clone());
                    self.leases.insert(id.clone());
                }
                _ => {}
            }
        }
        seat.orders = decided;
    }

    fn decide(&self, build: &BuildState, machine: u32, seat: &Seat) -> Vec<Order> {
        let Some(lease) = build.lease(&seat.lease) else {
            return Vec::new();
        };
        let attempts = |unit: &Unit| build.unit(unit).map_or(0, UnitState::attempts);
        let run = lease
            .running()
            .map(|unit| Order::Run(unit.clone(), attempts(unit)));
        match &self.stage {
            Some(Stage::Building) => {}
            Some(Stage::Foreign | Stage::Planning) | None => return Vec::new(),
            Some(Stage::WindingDown(_) | Stage::Over) => {
                let kill = lease
                    .running()
                    .map(|unit| Order::Kill(unit.clone(), attempts(unit)));
                return match (run, kill) {
                    (Some(run), Some(kill)) => vec![run, kill],
                    _ => vec![Order::Release],
                };
            }
        }
        if seat.works() {
            let keeps = seat.keeps.iter().map(|step| Order::Keep(*step));
            return keeps.chain(run).collect();
        }
        let is_matched = self.round.matched(&self.loose, machine);
        match seat.phase {
            _ if seat.leaving => vec![Order::Release],
            Phase::Granted if is_matched => vec![Order::Acquire],
            Phase::Ready if is_matched => {
                let base = self.round.filled_from((self, build), machine, seat);
                base.map(Order::Prepare).into_iter().collect()
            }
            Phase::Prepared if self.round.uses(machine) || self.stays(machine, seat) => Vec::new(),
            _ => vec![Order::Release],
        }
    }

    /// Whether a machine without work has the only directory, or the oldest, that is needed and
    /// that no machine with work has.
    fn stays(&self, machine: u32, seat: &Seat) -> bool {
        let works = |other: &u32| self.seats.get(other).is_some_and(Seat::works);
        seat.needed.iter().any(|step| {
            let holders = self.holders.get(step);
            holders.is_some_and(|all| all.first() == Some(&machine) && !all.iter().any(works))
        })
    }
}

fn finished(outcome: crate::event::Outcome) -> Due {
    Due {
        events: vec![BuildEvent::Finished { outcome }],
        wants: Vec::new(),
    }
}

fn commands(orders: &Orders<'_>, seat: &Seat, decided: &[Order]) -> Vec<Command> {
    let (Some(lease), plan) = (orders.build.lease(&seat.lease), orders.build.plan()) else {
        return Vec::new();
    };
    let command = |order: &Order| match order {
        Order::Acquire => orders.acquire(lease),
        Order::Prepare(base) => orders.prepare(plan?, lease, base.clone()),
        Order::Run(unit, _) => orders.run(lease, unit),
        Order::Kill(unit, _) => orders.kill(lease, unit),
        Order::Keep(step) => Some(orders.keep(lease, plan?.steps.get(*step)?)),
        Order::Release => Some(orders.release(lease)),
    };
    decided.iter().filter_map(command).collect()
}

/// A session has one machine: everything is said each time.
fn of_session(build: &BuildState, next: Next, ended: &mut BTreeSet<LeaseId>) -> Vec<ToMachine> {
    let gone = std::mem::take(ended).into_iter();
    let gone = gone.filter(|lease| build.lease(lease).is_none());
    let mut all: Vec<ToMachine> = gone.map(|lease| (Some(lease), Vec::new())).collect();
    for lease in build.leases() {
        let of_lease = |command: &&Command| command.lease() == Some(&lease.record.lease);
        let commands = next.commands.iter().filter(of_lease).cloned();
        all.push((Some(lease.record.lease.clone()), commands.collect()));
    }
    all
}
