//! Sessions: machines held by hand.

use serde::{Deserialize, Serialize};

use super::{Outcome, rfc3339};
use crate::clock::Timestamp;
use crate::event::{Principal, Seq};
use crate::ids::{BuilderName, LeaseId, MachineId, SessionId};

/// The sessions that are open, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions {
    /// The sessions.
    pub sessions: Vec<Session>,
}

/// One session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Which.
    pub id: SessionId,
    /// Position of its first event: sessions in order of being opened.
    pub number: Seq,
    /// The builder whose machine it is.
    pub builder: BuilderName,
    /// For whom.
    pub by: Principal,
    /// What whoever uses it calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When it was opened.
    #[serde(with = "rfc3339")]
    pub opened: Timestamp,
    /// When its machine was ready; nothing while it waits for one.
    #[serde(with = "rfc3339::option")]
    pub ready: Option<Timestamp>,
    /// The machine, the last one it had once it has ended.
    pub machine: Option<MachineId>,
    /// What it holds; after its end it is still given back.
    pub held: Vec<LeaseId>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// When it ended.
    #[serde(with = "rfc3339::option")]
    pub ended: Option<Timestamp>,
}
