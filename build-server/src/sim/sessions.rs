//! People who hold machines by hand, and sometimes forget them.

use std::time::Duration;

use build_core::dispatch::{Input, SESSION_TTL};
use build_core::event::{Outcome, SessionEnd};
use build_core::ids::{BuilderName, SessionId};

use super::happenings::Happening;
use super::world::{Held, World};

/// Sessions are opened this much less often than builds come in.
const BUILDS_FOR_A_SESSION: u32 = 5;
/// Longest use of a session, in milliseconds.
const LONGEST_USE: u64 = 2 * 60 * 60 * 1000;
/// Between two signs of life of a session's holder.
const SIGN_OF_LIFE: Duration = Duration::from_secs(SESSION_TTL.as_secs() / 4);

/// What a session's holder has done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    Uses,
    Gave,
    Forgot,
}

impl World {
    /// Somebody opens a session, and will give it back or forget it.
    pub(super) fn open_session(&mut self) -> Held {
        if !self.is_busy() {
            return Ok(());
        }
        let next = self.next_arrival() * BUILDS_FOR_A_SESSION;
        self.plan(next, Happening::OpenSession);
        let session = SessionId::from_bits(self.rng.bits());
        let until = self.between(1, LONGEST_USE);
        let last = match self.rng.chance(300) {
            true => Holder::Forgot,
            false => Holder::Gave,
        };
        self.holders.insert(session.clone(), Holder::Uses);
        let stop = Happening::StopUsing(session.clone(), last);
        self.plan(until, stop);
        self.plan(SIGN_OF_LIFE, Happening::UseSession(session.clone()));
        if self.rng.chance(150) {
            let after = self.between(1, LONGEST_USE);
            self.plan(after, Happening::Cancel(session.clone().into()));
        }
        self.tell(Input::OpenSession {
            name: None,
            session,
            builder: BuilderName::new("sim").expect("a plain word"),
            by: "somebody".into(),
        })
    }

    pub(super) fn use_session(&mut self, session: SessionId) -> Held {
        if self.holders.get(&session) != Some(&Holder::Uses) {
            return Ok(());
        }
        self.plan(SIGN_OF_LIFE, Happening::UseSession(session.clone()));
        self.tell(Input::RenewSession { session })
    }

    pub(super) fn stop_using(&mut self, session: SessionId, how: Holder) -> Held {
        self.holders.insert(session.clone(), how);
        match how {
            Holder::Gave => self.tell(Input::CloseSession { session }),
            _ => Ok(()),
        }
    }

    /// A session ends for a reason that is true.
    pub(super) fn check_session_end(&self, session: &SessionId, outcome: &Outcome) -> Held {
        let holder = self.holders.get(session);
        match (outcome, holder) {
            (Outcome::Closed(SessionEnd::Returned), Some(Holder::Gave)) => Ok(()),
            (Outcome::Closed(SessionEnd::Returned), _) => {
                Err(format!("{session} was given back, but not by its holder"))
            }
            (_, None) => Err(format!("{session} was never opened")),
            _ => Ok(()),
        }
    }
}
