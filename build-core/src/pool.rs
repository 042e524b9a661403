//! Where machines come from.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::buildlet::Buildlet;
use crate::error::Result;
use crate::ids::{BuilderName, HostType, LeaseId, MachineId, Nonce};
use crate::plan::{Network, Sandbox};
use crate::schedule::{Account, Machine};

/// How long a lease lasts without being renewed.
pub const LEASE_TTL: Duration = Duration::from_secs(60);

/// The wish for a machine, made of what the scheduler has granted.
///
/// The ids are chosen, and recorded, before anything is started: whoever finds the machine
/// later knows whose it is.
#[derive(Clone, Debug)]
pub struct LeaseRequest {
    /// The lease to come.
    pub lease: LeaseId,
    /// The proof that its holder shows.
    pub nonce: Nonce,
    /// The machine that was granted.
    pub machine: MachineId,
    /// Its kind.
    pub host_type: HostType,
    /// The builder it is for.
    pub builder: BuilderName,
    /// How much of the machine may be touched by what it is for.
    pub sandbox: Sandbox,
    /// Which network that sees.
    pub network: Network,
    /// The image that it runs in, for pools that have any.
    pub image: Option<String>,
    /// How long it lasts without being renewed.
    pub ttl: Duration,
}

/// What is written down of a lease, enough to find its machine again.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRecord {
    /// The lease.
    pub lease: LeaseId,
    /// The proof that its holder shows.
    pub nonce: Nonce,
    /// The machine.
    pub machine: MachineId,
    /// Where it answers, in the words of its pool; empty when it was never ready.
    pub place: String,
}

impl fmt::Debug for LeaseRecord {
    /// Leaves out the nonce, which is a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {} at {:?}", self.lease, self.machine, self.place)
    }
}

/// What became of a lease of an earlier process.
pub enum Adoption {
    /// The machine is there and is ours again.
    Adopted(Arc<dyn Lease>),
    /// It is gone, and everything that ran on it has ended.
    Gone,
}

/// Where the files of a machine are on the machine of whoever holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilesHere {
    /// Its work directory.
    pub work_dir: PathBuf,
    /// A directory on the same disk that outlives the machine and that no build sees.
    pub keep_dir: PathBuf,
    /// Names the tools that builds see there, and their system: another one when they are others.
    pub tools: String,
}

/// A cache of a tool that outlives machines: downloads, or results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToolCache {
    /// For people, such as `cargo registry`.
    pub name: &'static str,
    /// Programs that use it.
    pub programs: &'static [&'static str],
}

/// A machine held for some time.
///
/// Give it back with [`Lease::release`]. A lease that is merely dropped ends on its own once
/// nobody renews it.
#[async_trait]
pub trait Lease: Send + Sync {
    /// What is written down of it.
    fn record(&self) -> &LeaseRecord;

    /// The machine.
    fn buildlet(&self) -> &dyn Buildlet;

    /// Extends it by `ttl` from now.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unavailable`] when the machine does not answer,
    /// [`crate::ErrorKind::Denied`] when it is somebody else's by now,
    /// [`crate::ErrorKind::NotFound`] when it is known to have ended.
    async fn renew(&self, ttl: Duration) -> Result<()>;

    /// Ends everything that runs on the machine and gives it back. Calling it again does nothing.
    ///
    /// Not cancel safe: when the future is dropped the lease ends by expiry.
    ///
    /// # Errors
    /// When the end could not be confirmed; expiry is then the backstop.
    async fn release(&self) -> Result<()>;

    /// Where its files are, for whoever runs on the same machine and may keep some of them. The
    /// default says that they are elsewhere.
    ///
    /// # Errors
    /// When the machine cannot be looked at.
    async fn files_here(&self) -> Result<Option<FilesHere>> {
        Ok(None)
    }

    /// Whether what runs on it sees the files of its holder's machine, a toolchain above all. The
    /// default says no: then what it needs is sent.
    fn sees_our_files(&self) -> bool {
        false
    }

    /// The caches of tools that have something in them, from earlier builds or from the user. The
    /// default knows none.
    async fn warm_tools(&self) -> Vec<ToolCache> {
        Vec::new()
    }

    /// As [`Lease::release`]. When nothing runs on the machine any more, and before its files are
    /// removed, each first path is moved to the second one, as far as it is there. The default
    /// moves nothing.
    ///
    /// # Errors
    /// As [`Lease::release`].
    async fn release_keeping(&self, moves: &[(PathBuf, PathBuf)]) -> Result<()> {
        let _elsewhere = moves;
        self.release().await
    }

    /// Asks the machine to end by itself, without waiting: its holder ends now and cannot give
    /// it back. The next one finds it gone.
    ///
    /// Default: nothing; it ends by expiry.
    fn let_go(&self) {}
}

/// One machine of a pool, for the status of the farm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineStatus {
    /// The machine.
    pub machine: MachineId,
    /// Its kind.
    pub host_type: HostType,
    /// What it has.
    pub labels: BTreeSet<String>,
    /// The lease that holds it.
    pub lease: Option<LeaseId>,
    /// Why it cannot be used, when it cannot.
    pub trouble: Option<String>,
    /// What it keeps builds apart with, when nothing else is asked for: `none`, `user` or
    /// `namespaces`; absent when it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
    /// By what memory, processes and disk of a command are bounded there, in words; absent when it is
    /// not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<String>,
}

/// How long what is asked of a machine may take before it is given up. Whoever carries it out and
/// whoever waits for the answer go by the same numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Patience {
    /// Until a machine that was granted is ready (9 min). A cloud may need more.
    pub start: Duration,
    /// Until all files are there, or are kept (55 min).
    pub copy: Duration,
    /// Until it has answered anything else (4 min). A command that runs may take its own time and
    /// twice this.
    pub answer: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        const MINUTE: Duration = Duration::from_secs(60);
        Self {
            start: 9 * MINUTE,
            copy: 55 * MINUTE,
            answer: 4 * MINUTE,
        }
    }
}

/// A supply of machines.
#[async_trait]
pub trait Pool: Send + Sync {
    /// A name for people and for metrics, such as `local`.
    fn name(&self) -> &str;

    /// The machines that may be leased now: what the scheduler plans with.
    fn machines(&self) -> Vec<Machine>;

    /// The capacities that its machines draw from, see [`Machine::drawing`]: a cloud's cores, a
    /// cluster's instances. Of one that several pools name, the least that one of them says counts.
    ///
    /// Default: none; each machine is there for itself.
    fn accounts(&self) -> Vec<Account> {
        Vec::new()
    }

    /// How long things may take with its machines.
    ///
    /// Default: [`Patience::default`].
    fn patience(&self) -> Patience {
        Patience::default()
    }

    /// Makes the granted machine ready to use.
    ///
    /// Idempotent by lease id. Not cancel safe: a machine that was being started when the
    /// future was dropped ends by expiry.
    ///
    /// # Errors
    /// When the machine could not be made ready; nothing of it is left running.
    async fn acquire(&self, request: &LeaseRequest) -> Result<Arc<dyn Lease>>;

    /// Finds the machine of a lease that an earlier process held.
    ///
    /// # Errors
    /// When neither the machine nor its end could be confirmed; ask again.
    async fn adopt(&self, record: &LeaseRecord) -> Result<Adoption>;

    /// Every machine, with what it does.
    fn status(&self) -> Vec<MachineStatus>;

    /// Work that nobody could do and that is left alone, such as a directory that cannot be deleted:
    /// a sentence each, for people. The default has none.
    fn set_aside(&self) -> Vec<String> {
        Vec::new()
    }

    /// Waits until [`Pool::machines`] or [`Pool::accounts`] may answer something else. A hint: it may come for nothing,
    /// and pools are asked now and then without it.
    ///
    /// Default: never comes.
    ///
    /// # Cancel safety
    /// A change during a dropped wait may be missed.
    async fn changed(&self) {
        std::future::pending::<()>().await;
    }
}
