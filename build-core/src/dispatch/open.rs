//! One open build: its state, what it waits for, and what is being carried out for it.

use std::collections::{BTreeMap, BTreeSet};

use super::Dispatcher;
use super::input::{Effect, patience};
use super::outbox::Outbox;
use crate::clock::Timestamp;
use crate::engine::{BuildState, Command, CommandKey};
use crate::event::Version;
use crate::ids::{HolderId, LeaseId, Nonce};
use crate::plan::Unit;
use crate::retry::pause_after;

pub(super) struct Open {
    pub(super) state: BuildState,
    /// Number of its last event: effects wait until that one is durable.
    pub(super) mark: u64,
    /// The version of its stream, with the events that are on their way.
    pub(super) version: Version,
    /// Units in the queue.
    pub(super) wants: BTreeSet<Unit>,
    /// Leases whose machines this process has started or found again.
    pub(super) attached: BTreeSet<LeaseId>,
    /// Commands given out, when their answers are overdue, and the event they waited for.
    commands: BTreeMap<CommandKey, (Timestamp, u64)>,
    /// Commands that were answered, or whose answers are overdue, and the events they waited
    /// for: the ones that were given a second time may wait still.
    stale: Vec<(u64, CommandKey)>,
    /// Commands that failed and may be tried again: how often, since when, and not before when.
    failures: BTreeMap<CommandKey, Failures>,
}

#[derive(Clone, Copy)]
struct Failures {
    count: u32,
    since: Timestamp,
    again_at: Timestamp,
}

impl Open {
    pub(super) fn new(state: BuildState, mark: u64, version: Version) -> Self {
        Self {
            state,
            mark,
            version,
            wants: BTreeSet::new(),
            attached: BTreeSet::new(),
            commands: BTreeMap::new(),
            stale: Vec::new(),
            failures: BTreeMap::new(),
        }
    }

    /// The machines that are being given back: the order to do so cannot be withdrawn any more.
    pub(super) fn leaving(&self, outbox: &Outbox) -> BTreeSet<LeaseId> {
        let given = self
            .commands
            .iter()
            .filter_map(|(key, (_, mark))| match key {
                CommandKey::Release(_, lease) if outbox.is_recorded(*mark) => Some(lease.clone()),
                _ => None,
            });
        given.collect()
    }

    /// A command was answered.
    pub(super) fn answered(&mut self, key: &CommandKey) {
        self.forget(key);
        self.failures.remove(key);
    }

    fn forget(&mut self, key: &CommandKey) {
        let known = self.commands.remove(key);
        self.stale
            .extend(known.map(|(_, mark)| (mark, key.clone())));
    }

    /// A command failed and is to be tried again after a pause: how often by now, since when,
    /// and when next.
    pub(super) fn failed(
        &mut self,
        key: &CommandKey,
        now: Timestamp,
    ) -> (u32, Timestamp, Timestamp) {
        self.forget(key);
        let first = Failures {
            count: 0,
            since: now,
            again_at: now,
        };
        let failures = self.failures.entry(key.clone()).or_insert(first);
        failures.count += 1;
        failures.again_at = now + pause_after(failures.count);
        (failures.count, failures.since, failures.again_at)
    }

    /// The timer of a command has run out: its answer, or its pause, is over.
    pub(super) fn overdue(&mut self, key: &CommandKey, now: Timestamp) {
        if self.commands.get(key).is_some_and(|(due, _)| *due <= now) {
            self.forget(key);
        }
    }
}

impl Dispatcher {
    /// Gives out the commands that are not being carried out, and forgets the ones that are
    /// not wanted any more.
    pub(super) fn sync_commands(
        &mut self,
        build: &HolderId,
        commands: Vec<Command>,
        now: Timestamp,
    ) {
        let Some(open) = self.builds.get_mut(build) else {
            return;
        };
        for (mark, key) in open.stale.drain(..) {
            self.outbox.withdraw(mark, &key);
        }
        let mut wanted = BTreeSet::new();
        for command in commands {
            let Some(command) = adopted_first(open, command) else {
                continue;
            };
            let key = command.key();
            let resting = open.failures.get(&key).is_some_and(|f| f.again_at > now);
            if !wanted.insert(key.clone()) || resting || open.commands.contains_key(&key) {
                continue;
            }
            let due = now + patience(&command);
            open.commands.insert(key.clone(), (due, open.mark));
            self.timers.insert((due, key));
            let command = proven(&self.nonces, command);
            self.outbox.hold(open.mark, Effect::Do(Box::new(command)));
        }
        open.commands.retain(|key, (due, mark)| {
            let stays = wanted.contains(key);
            if !stays {
                self.timers.remove(&(*due, key.clone()));
                self.outbox.withdraw(*mark, key);
            }
            stays
        });
        open.failures.retain(|key, _| wanted.contains(key));
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
    let lease = match &command {
        Command::Plan { .. } => return Some(command),
        Command::Adopt { record, .. } if open.attached.contains(&record.lease) => return None,
        Command::Acquire { request, .. } => &request.lease,
        Command::Adopt { record, .. } => &record.lease,
        Command::Prepare { lease, .. }
        | Command::Run { lease, .. }
        | Command::Kill { lease, .. }
        | Command::Keep { lease, .. }
        | Command::Release { lease, .. } => lease,
    };
    Some(match open.state.lease(lease) {
        Some(known) if !open.attached.contains(lease) => Command::Adopt {
            build: open.state.id().clone(),
            record: known.record().clone(),
        },
        _ => command,
    })
}
