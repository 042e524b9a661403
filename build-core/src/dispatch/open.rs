//! One open build: its state, what it waits for, and what is being carried out for it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Dispatcher;
use super::input::Effect;
use super::limits::overdue;
use crate::clock::Timestamp;
use crate::engine::{Agenda, BuildState, Command, CommandKey, ToMachine};
use crate::event::Version;
use crate::ids::{HolderId, LeaseId, Nonce};
use crate::plan::Unit;
use crate::retry::pause_after;

/// How long a directory is kept idle for a machine that starts and is to get a copy of it. After
/// that the directory's own machine goes on, and the other one waits.
const START_GRACE: Duration = Duration::from_secs(2);

pub(super) struct Open {
    pub(super) state: BuildState,
    /// What follows from the state.
    pub(super) agenda: Agenda,
    /// Number of its last event: effects wait until that one is durable.
    pub(super) mark: u64,
    /// The version of its stream, with the events that are on their way.
    pub(super) version: Version,
    /// Units in the queue.
    pub(super) wants: BTreeSet<Unit>,
    /// Leases whose machines this process has started or found again.
    pub(super) attached: BTreeSet<LeaseId>,
    /// Commands given out.
    commands: BTreeMap<CommandKey, Given>,
    /// Those of them, and the failed ones, by their leases.
    of_lease: BTreeMap<Option<LeaseId>, BTreeSet<CommandKey>>,
    /// Commands that were answered, or whose answers are overdue, and the events they waited
    /// for: the ones that were given a second time may wait still.
    stale: Vec<(u64, CommandKey)>,
    /// Commands that failed and may be tried again: how often, since when, and not before when.
    failures: BTreeMap<CommandKey, Failures>,
}

/// A command that was given out.
struct Given {
    lease: Option<LeaseId>,
    /// When its answer is overdue.
    due: Timestamp,
    /// The event it waited for.
    mark: u64,
}

#[derive(Clone)]
struct Failures {
    lease: Option<LeaseId>,
    count: u32,
    since: Timestamp,
    again_at: Timestamp,
}

impl Open {
    pub(super) fn new(state: BuildState, mark: u64, version: Version) -> Self {
        Self {
            state,
            agenda: Agenda::new(),
            mark,
            version,
            wants: BTreeSet::new(),
            attached: BTreeSet::new(),
            commands: BTreeMap::new(),
            of_lease: BTreeMap::new(),
            stale: Vec::new(),
            failures: BTreeMap::new(),
        }
    }

    /// A command was answered.
    pub(super) fn answered(&mut self, key: &CommandKey) {
        self.forget(key);
        if let Some(failures) = self.failures.remove(key) {
            self.agenda.ask_again(failures.lease.as_ref());
        }
    }

    /// A command is not being carried out any more; the answer is its lease.
    fn forget(&mut self, key: &CommandKey) -> Option<LeaseId> {
        let known = self.commands.remove(key)?;
        self.stale.push((known.mark, key.clone()));
        self.agenda.ask_again(known.lease.as_ref());
        known.lease
    }

    /// A command failed and is to be tried again after a pause: how often by now, since when,
    /// and when next.
    pub(super) fn failed(
        &mut self,
        key: &CommandKey,
        now: Timestamp,
    ) -> (u32, Timestamp, Timestamp) {
        let lease = self.forget(key);
        let first = Failures {
            lease,
            count: 0,
            since: now,
            again_at: now,
        };
        let failures = self.failures.entry(key.clone()).or_insert(first);
        failures.count += 1;
        failures.again_at = now + pause_after(failures.count);
        let lease = failures.lease.clone();
        let (count, since, again_at) = (failures.count, failures.since, failures.again_at);
        self.of_lease.entry(lease).or_default().insert(key.clone());
        (count, since, again_at)
    }

    /// A timer of a command has run out: its answer, its pause, or the time for which a directory
    /// is kept for its machine.
    pub(super) fn overdue(&mut self, key: &CommandKey, now: Timestamp) {
        if self.commands.get(key).is_some_and(|given| given.due <= now) {
            self.forget(key);
        } else if let Some(failures) = self.failures.get(key) {
            self.agenda.ask_again(failures.lease.as_ref());
        }
        if let CommandKey::Acquire(_, lease) | CommandKey::Adopt(_, lease) = key
            && self.state.lease(lease).is_some()
        {
            self.agenda.is_slow(lease);
        }
    }

    /// The commands to one machine, or for the plan, that are given out or rest.
    fn known(&self, lease: &Option<LeaseId>) -> Vec<CommandKey> {
        let keys = self.of_lease.get(lease).into_iter().flatten();
        keys.cloned().collect()
    }
}

impl Dispatcher {
    /// Gives out the commands that are not being carried out, and forgets the ones that are
    /// not wanted any more: of the machines in `orders` alone, for the others all is as it was.
    pub(super) fn sync_commands(
        &mut self,
        build: &HolderId,
        orders: Vec<ToMachine>,
        now: Timestamp,
    ) {
        if let Some(open) = self.builds.get_mut(build) {
            for (mark, key) in open.stale.drain(..) {
                self.outbox.withdraw(mark, &key);
            }
        }
        for (lease, commands) in orders {
            self.sync_machine(build, lease, commands, now);
        }
    }

    fn sync_machine(
        &mut self,
        build: &HolderId,
        lease: Option<LeaseId>,
        commands: Vec<Command>,
        now: Timestamp,
    ) {
        let Some(open) = self.builds.get(build) else {
            return;
        };
        let commands = commands.into_iter().filter_map(|command| {
            let command = adopted_first(open, command)?;
            let limit = self.limit_of(&command);
            Some((command, limit))
        });
        let commands: Vec<_> = commands.collect();
        let Some(open) = self.builds.get_mut(build) else {
            return;
        };
        let mut wanted = BTreeSet::new();
        for (command, limit) in commands {
            let key = command.key();
            let resting = open.failures.get(&key).is_some_and(|f| f.again_at > now);
            if !wanted.insert(key.clone()) || resting || open.commands.contains_key(&key) {
                continue;
            }
            let given = Given {
                lease: lease.clone(),
                due: now + overdue(limit),
                mark: open.mark,
            };
            self.timers.insert((given.due, key.clone()));
            if matches!(command, Command::Acquire { .. } | Command::Adopt { .. }) {
                self.timers.insert((now + START_GRACE, key.clone()));
            }
            open.commands.insert(key, given);
            let command = proven(&self.nonces, command);
            self.outbox
                .hold(open.mark, Effect::Do(Box::new(command), limit));
        }
        for key in open.known(&lease) {
            if wanted.contains(&key) {
                continue;
            }
            if let Some(given) = open.commands.remove(&key) {
                self.timers.remove(&(given.due, key.clone()));
                self.outbox.withdraw(given.mark, &key);
            }
            open.failures.remove(&key);
        }
        match wanted.is_empty() {
            true => drop(open.of_lease.remove(&lease)),
            false => drop(open.of_lease.insert(lease, wanted)),
        }
    }
}

/// Adds the proof of the lease to a command that shows it.
fn proven(nonces: &BTreeMap<LeaseId, Nonce>, mut command: Command) -> Command {
    let (lease, nonce) = match &mut command {
        Command::Acquire { request, .. } => (&request.lease, &mut request.nonce),
        Command::Adopt { record, .. } => (&record.lease, &mut record.nonce),
        _ => return command,
    };
    if let Some(known) = nonces.get(lease) {
        *nonce = known.clone();
    }
    command
}

/// A machine of an earlier process is found again before anything is done with it; one that
/// is held by this process needs no finding.
fn adopted_first(open: &Open, command: Command) -> Option<Command> {
    let Some(lease) = command.lease() else {
        return Some(command);
    };
    if matches!(command, Command::Adopt { .. }) && open.attached.contains(lease) {
        return None;
    }
    Some(match open.state.lease(lease) {
        Some(known) if !open.attached.contains(lease) => Command::Adopt {
            build: open.state.id().clone(),
            record: known.record().clone(),
        },
        _ => command,
    })
}
