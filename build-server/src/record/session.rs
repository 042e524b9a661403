//! A session as pages and questions see it.

use build_core::clock::Timestamp;
use build_core::event::{BuildEvent, Recorded, Outcome, Seq};
use build_core::ids::{BuildId, BuilderName, LeaseId, MachineId};
use serde::{Deserialize, Serialize};

/// One session, folded from its events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRow {
    /// Which.
    pub id: BuildId,
    /// Position of its first event: sessions in order of being opened.
    pub number: Seq,
    /// The builder whose machine it is.
    pub builder: BuilderName,
    /// For whom, for people.
    pub by: String,
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
    /// The row that begins with `first`, if that event begins a session.
    pub fn begin(first: &Recorded) -> Option<Self> {
        let BuildEvent::SessionOpened { builder, by } = &first.event else {
            return None;
        };
        Some(Self {
            id: first.build.clone(),
            number: first.seq,
            builder: builder.clone(),
            by: by.clone(),
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
    pub fn apply(&mut self, recorded: &Recorded) {
        match &recorded.event {
            BuildEvent::Leased { lease, machine, .. } => {
                self.held.push(lease.clone());
                self.machine = Some(machine.clone());
            }
            BuildEvent::Ready { .. } => self.ready = Some(recorded.at),
            BuildEvent::LeaseEnded { lease, .. } => self.held.retain(|held| held != lease),
            BuildEvent::Finished { outcome } => {
                self.outcome = Some(outcome.clone());
                self.ended = Some(recorded.at);
            }
            _ => {}
        }
    }
}
