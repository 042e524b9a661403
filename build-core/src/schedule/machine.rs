//! A machine as the scheduler sees it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::capacity::Draw;
use super::policy::Reason;
use crate::ids::{HostType, MachineId};
use crate::pool::Patience;

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
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    draws: Vec<Draw>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    patience: Option<Patience>,
}

impl Machine {
    /// A machine of a kind, with what it has. It shares nothing with others.
    pub fn new(id: MachineId, host_type: HostType, labels: Labels) -> Self {
        Self {
            id,
            host_type,
            labels,
            draws: Vec::new(),
            patience: None,
        }
    }

    /// The same machine, which takes so much of capacities that it shares with others for as long
    /// as somebody holds it.
    #[must_use]
    pub fn drawing(self, draws: impl IntoIterator<Item = Draw>) -> Self {
        Self {
            draws: draws.into_iter().collect(),
            ..self
        }
    }

    /// The same machine, with what its pool says of how long things take; one that says so of
    /// itself keeps that.
    #[must_use]
    pub fn patient(self, patience: Patience) -> Self {
        Self {
            patience: self.patience.or(Some(patience)),
            ..self
        }
    }

    /// How long things may take with it; `None`: as long as [`Patience::default`] says.
    pub fn patience(&self) -> Option<Patience> {
        self.patience
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

    /// What it takes of capacities that it shares with others, while somebody holds it.
    pub fn draws(&self) -> &[Draw] {
        &self.draws
    }
}
