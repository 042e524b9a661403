//! Something that waits for a machine.

use serde::{Deserialize, Serialize};

use super::machine::Labels;
use crate::clock::Timestamp;
use crate::ids::{BuilderName, HolderId, HostType, RepoName};
use crate::plan::Unit;
use crate::work::Class;

/// Which waiter; unique while it waits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WaiterId {
    /// The build.
    pub build: HolderId,
    /// The unit of it that needs a machine.
    pub unit: Unit,
}

/// Something that waits for a machine: a unit of a build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiter {
    /// Which.
    pub id: WaiterId,
    /// The builder it is for.
    pub builder: BuilderName,
    /// The kind of machine it needs.
    pub host_type: HostType,
    /// What the machine must have.
    pub needs: Labels,
    /// Words on the work item that policies look at, such as `hotfix`.
    pub tags: Labels,
    /// Why the build is wanted.
    pub class: Class,
    /// Who wrote the change, for fairness and quotas.
    pub author: Option<String>,
    /// The repository, for quotas; `None` for a session.
    pub repo: Option<RepoName>,
    /// When the commit was made.
    pub commit_time: Timestamp,
    /// When it began to wait; kept over restarts.
    pub enqueued: Timestamp,
    /// When it gives up waiting.
    pub deadline: Option<Timestamp>,
    /// The build holds a machine already: this one only makes it faster.
    pub helper: bool,
}

impl Waiter {
    /// Whether the work item, or what the machine must have, carries `label`.
    pub fn has_label(&self, label: &str) -> bool {
        self.tags.has(label) || self.needs.has(label)
    }

    /// What the machine must have.
    pub fn labels(&self) -> &Labels {
        &self.needs
    }
}
