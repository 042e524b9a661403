//! Sessions: opened, renewed by whoever uses them, closed, or given up when nobody does.

use std::time::Duration;

use super::Dispatcher;
use crate::clock::Timestamp;
use crate::engine::Phase;
use crate::event::{BuildEvent, Outcome, SessionEnd};
use crate::ids::{HolderId, LeaseId, SessionId};

/// How long a session lasts without being renewed; after a restart it begins anew.
pub const SESSION_TTL: Duration = Duration::from_secs(30 * 60);

impl Dispatcher {
    /// The machine of a session that is ready to be used: it answers, this process holds it,
    /// and the log says so.
    pub fn session_machine(&self, session: &SessionId) -> Option<&LeaseId> {
        let open = self.builds.get(&HolderId::from(session.clone()))?;
        let is_usable = open.state.opened_by().is_some()
            && open.state.outcome().is_none()
            && self.outbox.is_recorded(open.mark);
        let mut leases = open.state.leases().filter(|lease| {
            lease.phase() == Phase::Ready && open.attached.contains(&lease.record().lease)
        });
        let lease = leases.next().filter(|_| is_usable)?;
        Some(&lease.record().lease)
    }

    /// Lets a session that is open last for another [`SESSION_TTL`].
    pub(super) fn renew_session(&mut self, session: &HolderId, now: Timestamp) {
        let open = self.builds.get(session);
        if open.is_some_and(|open| open.state.opened_by().is_some()) {
            self.sessions.insert(session.clone(), now + SESSION_TTL);
        }
    }

    pub(super) fn close_session(&mut self, session: &HolderId, end: SessionEnd, now: Timestamp) {
        let open = self.builds.get(session);
        if open.is_none_or(|open| open.state.opened_by().is_none()) {
            return;
        }
        self.sessions.remove(session);
        let outcome = Outcome::Closed(end);
        self.record(session, BuildEvent::Finished { outcome }, now);
    }

    /// Closes the sessions that nobody renewed.
    pub(super) fn expire_sessions(&mut self, now: Timestamp) {
        let due = |(_, due): &(&HolderId, &Timestamp)| **due <= now;
        let due: Vec<_> = self.sessions.iter().filter(due).collect();
        let due: Vec<HolderId> = due.into_iter().map(|(id, _)| id.clone()).collect();
        for session in due {
            self.close_session(&session, SessionEnd::Abandoned, now);
        }
    }
}
