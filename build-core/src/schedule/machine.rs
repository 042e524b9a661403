//! A machine as the scheduler sees it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::policy::Reason;
use crate::ids::{HostType, MachineId};

/// What a machine has, or what a build needs: words such as `linux`, `gpu`, `mem-32g`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Labels(BTreeSet<String>);

impl Labels {
    /// Whether `label` is among them.
    pub fn has(&self, label: &str) -> bool {
        self.0.contains(label)
    }

    /// The labels in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Checks that everything in `needed` is here.
    ///
    /// # Errors
    /// The [`Reason`] naming the first label that is not.
    pub fn require(&self, needed: &Self) -> Result<(), Reason> {
        match needed.0.iter().find(|label| !self.0.contains(*label)) {
            Some(missing) => Err(Reason::MissingLabel(missing.clone())),
            None => Ok(()),
        }
    }
}

impl<T: Into<String>> FromIterator<T> for Labels {
    fn from_iter<I: IntoIterator<Item = T>>(labels: I) -> Self {
        Self(labels.into_iter().map(Into::into).collect())
    }
}

/// One machine, or one slot of a machine, that runs one thing at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    id: MachineId,
    host_type: HostType,
    labels: Labels,
}

impl Machine {
    /// A machine of a kind, with what it has.
    pub fn new(id: MachineId, host_type: HostType, labels: Labels) -> Self {
        Self {
            id,
            host_type,
            labels,
        }
    }

    /// Which one.
    pub fn id(&self) -> &MachineId {
        &self.id
    }

    /// Its kind.
    pub fn host_type(&self) -> &HostType {
        &self.host_type
    }

    /// What it has.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }
}
