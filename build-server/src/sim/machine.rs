//! A machine that keeps its state while coordinators come and go.

use std::collections::{BTreeMap, BTreeSet};

use build_core::buildlet::ExecOutcome;
use build_core::engine::CommandKey;
use build_core::ids::{ExecId, HolderId, LeaseId, Nonce, StepName};
use build_core::pool::LeaseRecord;
use build_core::schedule::Machine;

/// One machine.
pub(super) struct SimMachine {
    pub(super) machine: Machine,
    pub(super) alive: bool,
    pub(super) slow: bool,
    /// It has registered by itself, and may be cut off.
    pub(super) registers: bool,
    /// It is cut off: nobody reaches it, and what it runs goes on.
    pub(super) away: bool,
    pub(super) held: Option<Held>,
}

/// What is on a machine while somebody holds it.
pub(super) struct Held {
    pub(super) build: HolderId,
    pub(super) lease: LeaseId,
    pub(super) nonce: Nonce,
    /// Ends everything unless it is renewed before, in true time.
    pub(super) expires: i64,
    /// Renewals get lost until then.
    pub(super) deaf_until: i64,
    pub(super) dir: Option<Dir>,
    pub(super) execs: BTreeMap<ExecId, SimExec>,
}

/// A work directory.
#[derive(Clone)]
pub(super) struct Dir {
    pub(super) build: HolderId,
    /// Steps whose work is in it.
    pub(super) steps: BTreeSet<StepName>,
}

/// A command, running or ended.
pub(super) struct SimExec {
    pub(super) step: StepName,
    /// Whether it leaves the work of its step in the directory when it passes.
    pub(super) leaves_work: bool,
    pub(super) outcome: Option<ExecOutcome>,
    /// What it will be, at its natural end.
    pub(super) fate: ExecOutcome,
    pub(super) output_bytes: u64,
    /// Who of which process is told.
    pub(super) follower: Option<(u64, CommandKey)>,
}

impl Held {
    pub(super) fn is_running(&self) -> bool {
        self.execs.values().any(|exec| exec.outcome.is_none())
    }

    /// A command ends. Whoever followed it is told by the caller.
    pub(super) fn end(&mut self, id: &ExecId, outcome: ExecOutcome) -> Option<(u64, CommandKey)> {
        let exec = self
            .execs
            .get_mut(id)
            .filter(|exec| exec.outcome.is_none())?;
        if let (true, true, Some(dir)) = (outcome.is_ok(), exec.leaves_work, &mut self.dir) {
            dir.steps.insert(exec.step.clone());
        }
        exec.outcome = Some(outcome);
        exec.follower.take()
    }
}

impl SimMachine {
    /// What a lease holds here, if it does and the machine answers.
    pub(super) fn of_lease(&mut self, lease: &LeaseId) -> Option<&mut Held> {
        self.held
            .as_mut()
            .filter(|held| self.alive && held.lease == *lease)
    }

    pub(super) fn is_of(&self, record: &LeaseRecord) -> bool {
        self.held
            .as_ref()
            .is_some_and(|held| held.lease == record.lease && held.nonce == record.nonce)
    }
}
