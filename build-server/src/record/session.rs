//! A session as pages and questions see it.

use build_core::clock::Timestamp;
use build_core::event::{Outcome, Principal, Recorded, Seq, SessionEvent};
use build_core::ids::{BuilderName, LeaseId, MachineId, SessionId};
use serde::{Deserialize, Serialize};

/// One session, folded from its events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRow {
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
    pub opened: Timestamp,
    /// When its machine was ready; `None` while it waits for one.
    pub ready: Option<Timestamp>,
    /// The machine, the last one it had once it has ended.
    pub machine: Option<MachineId>,
    /// What it holds; after its end it is still given back.
    pub held: Vec<LeaseId>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// When it ended.
    pub ended: Option<Timestamp>,
}

impl SessionRow {
    /// The row that begins with `event`, if that one begins a session.
    pub fn begin(id: &SessionId, first: &Recorded, event: &SessionEvent) -> Option<Self> {
        let SessionEvent::Opened { builder, by, name } = event else {
            return None;
        };
        Some(Self {
            id: id.clone(),
            number: first.seq,
            builder: builder.clone(),
            by: by.clone(),
            name: name.clone(),
            opened: first.at,
            ready: None,
            machine: None,
            held: Vec::new(),
            outcome: None,
            ended: None,
        })
    }

    /// Whether something may still happen to it: it has not ended, or still holds a machine.
    pub fn is_open(&self) -> bool {
        self.outcome.is_none() || !self.held.is_empty()
    }

    /// Applies the next event of the session. Events that no page shows change nothing.
    pub fn apply(&mut self, at: Timestamp, event: &SessionEvent) {
        match event {
            SessionEvent::Leased { lease, machine, .. } => {
                self.held.push(lease.clone());
                self.machine = Some(machine.clone());
            }
            SessionEvent::Ready { .. } => self.ready = Some(at),
            SessionEvent::LeaseEnded { lease, .. } => self.held.retain(|held| held != lease),
            SessionEvent::Finished { outcome } => {
                self.outcome = Some(outcome.clone());
                self.ended = Some(at);
            }
            _ => {}
        }
    }
}
