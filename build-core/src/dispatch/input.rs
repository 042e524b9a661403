//! What goes into the dispatcher and what comes out.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::engine::{Command, CommandKey};
use crate::error::{Error, ErrorKind};
use crate::event::{Artifact, Base, Batch, BlobRef, Principal, Snapshot, Start, UnitEnd};
use crate::ids::{BuildId, BuilderName, HolderId, LeaseId, SessionId, WishKey};
use crate::plan::Plan;
use crate::schedule::{Account, Allotment, Machine};
use crate::shard::Durations;
use crate::test_lines::TestCounts;
use crate::wish::Wish;

/// Something that happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Input {
    /// Somebody wants a commit built; see [`crate::wish`]. A second one with the same key changes
    /// nothing.
    Ask {
        /// What.
        wish: Box<Wish>,
        /// An id for each of its builders, in their order, never used before: for those of which
        /// there is no build that is shared.
        drawn: Vec<BuildId>,
    },
    /// A wish is taken back: what only it wants is canceled.
    Withdraw {
        /// Which.
        key: WishKey,
        /// Who says so.
        by: Principal,
    },
    /// Somebody wants a machine to use it by hand. A second one with the same id changes nothing.
    OpenSession {
        /// Its id, never used before.
        session: SessionId,
        /// The builder whose machine it is.
        builder: BuilderName,
        /// For whom.
        by: Principal,
        /// What whoever uses it calls it.
        name: Option<String>,
    },
    /// Somebody still uses a session: it lasts for another [`super::SESSION_TTL`].
    RenewSession {
        /// Which.
        session: SessionId,
    },
    /// Whoever held a session gives its machine back.
    CloseSession {
        /// Which.
        session: SessionId,
    },
    /// A build or a session is not wanted any more.
    Cancel {
        /// Which.
        build: HolderId,
        /// Who says so.
        by: Principal,
    },
    /// All machines that work, whether they are held or not; ones that were there before and
    /// are not named have gone.
    Machines(Vec<Machine>),
    /// The capacities that machines share, all of them. Comes before the machines that draw from
    /// them.
    Accounts(Vec<Account>),
    /// Machines are shared out in another way from now on. Comes before
    /// [`super::Dispatcher::restore`] where it is known then.
    Allot(Allotment),
    /// A machine that is held does not answer any more, or is somebody else's.
    LeaseLost {
        /// The lease.
        lease: LeaseId,
        /// What is known, for people.
        text: String,
        /// Bytes in the log of what ran there.
        output_bytes: u64,
    },
    /// A command was carried out.
    Done(CommandKey, Reply),
    /// A command could not be carried out.
    Failed(CommandKey, Failure),
    /// What [`Effect::Append`] writes is durable.
    Recorded {
        /// Which ones.
        batch: u64,
    },
    /// The events of [`Effect::Append`] are not in the log, for certain: they are given again
    /// later. When nobody knows, begin anew with [`super::Dispatcher::restore`].
    AppendFailed {
        /// Which ones.
        batch: u64,
        /// Why, for people.
        text: String,
    },
    /// The time of [`Effect::WakeAt`] has come.
    Tick,
    /// The program is about to stop: what runs is interrupted, machines are given back. Sessions
    /// that have their machine keep it, for the next process to find; those that wait for one
    /// end. Done when [`super::Dispatcher::is_idle`].
    Stop,
}

/// How a command was carried out, one kind for each.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Reply {
    /// [`Command::Plan`].
    Planned(Plan),
    /// [`Command::Acquire`], or [`Command::Adopt`]: the machine answers and is ours.
    Ready {
        /// Where, in the words of its pool.
        place: String,
    },
    /// [`Command::Adopt`]: the machine is gone, and what ran on it has ended.
    Gone {
        /// Bytes in the log of what ran there.
        output_bytes: u64,
    },
    /// [`Command::Prepare`].
    Prepared {
        /// Where the contents came from, as it was ordered.
        base: Base,
        /// Directories that were put back.
        cache_hits: Vec<String>,
        /// Whether it began with directories of an earlier build.
        start: Option<Start>,
        /// Caches of tools that its commands name and that had something in them.
        tool_caches: Vec<String>,
    },
    /// [`Command::Run`].
    Ran {
        /// How it ended.
        end: UnitEnd,
        /// Bytes in its log.
        output_bytes: u64,
        /// How long it ran, by a clock that is never set; `None` when its beginning was not seen.
        took: Option<Duration>,
        /// What it printed of tests.
        tests: TestCounts,
        /// The result of each test, where they were kept.
        results: Option<BlobRef>,
        /// Files that were kept because it failed.
        salvaged: Vec<Artifact>,
        /// For a listing that passed.
        listing: Option<Listing>,
    },
    /// [`Command::Kill`]; what matters is the answer of [`Command::Run`].
    Killed,
    /// [`Command::Keep`].
    Kept {
        /// The files.
        artifacts: Vec<Artifact>,
        /// The directory that was kept as a whole.
        snapshot: Option<Snapshot>,
    },
    /// [`Command::Release`]: nothing of it is left.
    Released,
}

/// What a listing command printed.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Its output.
    pub text: Vec<u8>,
    /// How long the tests took before, as far as known.
    pub past: Durations,
}

/// Why a command could not be carried out.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Whether trying again may help.
    pub kind: ErrorKind,
    /// One sentence with its causes.
    pub text: String,
    /// What a person can do.
    pub hint: Option<String>,
    /// Bytes in the log of the unit, for [`Command::Run`] and [`Command::Kill`].
    pub output_bytes: u64,
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        Self {
            kind: error.kind(),
            text: error.chain(),
            hint: error.hint().map(str::to_owned),
            output_bytes: 0,
        }
    }
}

/// Something to do.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Effect {
    /// Write this, all or nothing; then say [`Input::Recorded`] or [`Input::AppendFailed`]. There
    /// is one at a time.
    Append {
        /// Names the append.
        batch: u64,
        /// What is written.
        append: Batch,
    },
    /// Carry this out within that time; answer with [`Input::Done`] or [`Input::Failed`], also when
    /// the time is over. Without an answer it is given again, some minutes later.
    Do(Box<Command>, Duration),
    /// Say [`Input::Tick`] at this time or soon after. The last one counts.
    WakeAt(Timestamp),
}
