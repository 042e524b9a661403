//! What is to be carried out for a build.

use crate::buildlet::Exec;
use crate::event::Base;
use crate::ids::{ExecId, HolderId, LeaseId, StepName};
use crate::plan::{Input, Unit};
use crate::pool::{LeaseRecord, LeaseRequest};
use crate::work::{Builder, WorkItem};

/// One thing to carry out. All of them may be given again, after a restart or when an answer
/// is overdue, and then must not happen twice: whoever carries them out ignores a command
/// whose [`Command::key`] it is still working on, and finds out what is done already.
///
/// The answer is [`crate::dispatch::Input::Done`] or [`crate::dispatch::Input::Failed`] with
/// the command's key.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Command {
    /// Asks the recipe for the plan.
    Plan {
        /// The build.
        build: HolderId,
        /// The commit.
        item: WorkItem,
        /// What it is built on.
        builder: Builder,
    },
    /// Makes a machine ready.
    Acquire {
        /// The build it is for.
        build: HolderId,
        /// Which machine, with the ids that are in the log already.
        request: LeaseRequest,
    },
    /// Finds the machine of a lease that an earlier process held. `place` is empty when it was
    /// never ready.
    Adopt {
        /// The build it is for.
        build: HolderId,
        /// What is written down of it.
        record: LeaseRecord,
    },
    /// Fills the work directory, replacing whatever was in it.
    Prepare {
        /// The build.
        build: HolderId,
        /// The machine.
        lease: LeaseId,
        /// The commit to check out below [`super::CHECKOUT_DIR`], or the directory to copy.
        base: Base,
        /// The commit.
        item: WorkItem,
        /// The builder, part of the name of a cache.
        builder: Builder,
        /// Commits of history in the checkout.
        depth: u32,
        /// What lies in it besides; only for a checkout, a copy has it.
        inputs: Vec<Input>,
        /// Directories below the checkout that an earlier build may have kept; only for a checkout.
        caches: Vec<String>,
        /// Whether it begins with directories of an earlier build where it can; only for a checkout.
        warm: bool,
    },
    /// Starts a command unless it was started, and follows it to its end; its output goes to
    /// the log of this attempt, continued where it stops.
    Run {
        /// The build.
        build: HolderId,
        /// The machine.
        lease: LeaseId,
        /// The part of the build.
        unit: Unit,
        /// Counted from 1; each has a log of its own.
        attempt: u32,
        /// The command, with its id and limits.
        exec: Exec,
        /// Programs that must be on `PATH` first: else the unit ends with [`crate::event::UnitEnd::MissingTool`].
        tools: Vec<String>,
    },
    /// Ends a command that [`Command::Run`] follows; that one then answers.
    Kill {
        /// The build.
        build: HolderId,
        /// The machine.
        lease: LeaseId,
        /// The part of the build.
        unit: Unit,
        /// Which attempt.
        attempt: u32,
        /// The command.
        exec: ExecId,
    },
    /// Keeps files of a step that has passed.
    Keep {
        /// The build.
        build: HolderId,
        /// The machine whose directory has them.
        lease: LeaseId,
        /// The step.
        step: StepName,
        /// Globs below the checkout.
        artifacts: Vec<String>,
        /// The directory below the checkout that is kept as a whole.
        snapshot: Option<String>,
    },
    /// Keeps `caches` for later builds, as well as it can, then ends everything on the machine
    /// and gives it back. Whatever else is being carried out on this lease stops.
    Release {
        /// The build.
        build: HolderId,
        /// The lease.
        lease: LeaseId,
        /// The commit; a session has none, and no caches.
        item: Option<WorkItem>,
        /// The builder, part of the name of a cache.
        builder: Option<Builder>,
        /// Directories below the checkout.
        caches: Vec<String>,
        /// Whether later builds may begin with its warm directories: the build has passed.
        warm: bool,
    },
}

/// Names a command: equal for the same command given again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum CommandKey {
    /// [`Command::Plan`].
    Plan(HolderId),
    /// [`Command::Acquire`].
    Acquire(HolderId, LeaseId),
    /// [`Command::Adopt`].
    Adopt(HolderId, LeaseId),
    /// [`Command::Prepare`].
    Prepare(HolderId, LeaseId),
    /// [`Command::Run`], with its attempt.
    Run(HolderId, Unit, u32),
    /// [`Command::Kill`], with the attempt.
    Kill(HolderId, Unit, u32),
    /// [`Command::Keep`].
    Keep(HolderId, StepName, LeaseId),
    /// [`Command::Release`].
    Release(HolderId, LeaseId),
}

impl Command {
    /// The lease that it is about; only a plan is about none.
    pub(crate) fn lease(&self) -> Option<&LeaseId> {
        match self {
            Self::Plan { .. } => None,
            Self::Acquire { request, .. } => Some(&request.lease),
            Self::Adopt { record, .. } => Some(&record.lease),
            Self::Prepare { lease, .. }
            | Self::Run { lease, .. }
            | Self::Kill { lease, .. }
            | Self::Keep { lease, .. }
            | Self::Release { lease, .. } => Some(lease),
        }
    }

    /// The command's name.
    pub fn key(&self) -> CommandKey {
        match self {
            Self::Plan { build, .. } => CommandKey::Plan(build.clone()),
            Self::Acquire { build, request } => {
                CommandKey::Acquire(build.clone(), request.lease.clone())
            }
            Self::Adopt { build, record } => CommandKey::Adopt(build.clone(), record.lease.clone()),
            Self::Prepare { build, lease, .. } => CommandKey::Prepare(build.clone(), lease.clone()),
            Self::Run {
                build,
                unit,
                attempt,
                ..
            } => CommandKey::Run(build.clone(), unit.clone(), *attempt),
            Self::Kill {
                build,
                unit,
                attempt,
                ..
            } => CommandKey::Kill(build.clone(), unit.clone(), *attempt),
            Self::Keep {
                build, step, lease, ..
            } => CommandKey::Keep(build.clone(), step.clone(), lease.clone()),
            Self::Release { build, lease, .. } => CommandKey::Release(build.clone(), lease.clone()),
        }
    }
}

impl CommandKey {
    /// The build that the command belongs to.
    pub fn build(&self) -> &HolderId {
        match self {
            Self::Plan(build)
            | Self::Acquire(build, _)
            | Self::Adopt(build, _)
            | Self::Prepare(build, _)
            | Self::Run(build, ..)
            | Self::Kill(build, ..)
            | Self::Keep(build, ..)
            | Self::Release(build, _) => build,
        }
    }
}
