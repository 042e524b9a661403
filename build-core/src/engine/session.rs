//! A session: one machine, held until it is closed.
//!
//! The same events tell of it as of a build: it is opened, a machine is granted and made
//! ready, and in the end the machine is given back. Nothing is put on it and nothing is run:
//! that is for whoever opened it.

use super::commands::Command;
use super::lease::Phase;
use super::next::{Mode, Next};
use super::orders::acquire;
use super::state::{BuildState, session_unit};
use crate::event::{Outcome, SessionEnd};
use crate::work::{Builder, Trust};

/// What follows from the state of a session.
pub(super) fn next(session: &BuildState, builder: Option<&Builder>, mode: Mode) -> Next {
    if session.outcome().is_some() {
        return give_back(session);
    }
    if let Some(outcome) = ending(session, builder, mode) {
        return Next::finished(outcome);
    }
    if mode == Mode::Stop {
        // It goes on with the next process, which finds its machine as it is.
        return Next::default();
    }
    let mut next = Next::default();
    let granted = session
        .leases()
        .find(|lease| lease.phase() == Phase::Granted);
    match (granted, builder) {
        (Some(lease), Some(builder)) => {
            next.commands.push(acquire(
                session.id(),
                builder,
                lease,
                None,
                Trust::default(),
            ));
        }
        _ if session.leases().next().is_none() => next.wants.push(session_unit()),
        _ => next.commands.extend(found_again(session)),
    }
    next
}

/// Why the session must end, if it must.
fn ending(session: &BuildState, builder: Option<&Builder>, mode: Mode) -> Option<Outcome> {
    if let Some(by) = session.canceled_by() {
        return Some(Outcome::Canceled { by: by.clone() });
    }
    if let Some(text) = session.machine_trouble() {
        return Some(Outcome::Infrastructure {
            text: format!("the machine of the session is gone: {text}"),
        });
    }
    if mode == Mode::Stop {
        // Whoever waits for its machine cannot be told any more when it comes.
        return (!is_ready(session)).then_some(Outcome::Closed(SessionEnd::Stopped));
    }
    builder.is_none().then(|| Outcome::Misconfigured {
        text: format!("there is no builder called {}", session.builder()),
        hint: "add it to the configuration, or open the session on another one".into(),
    })
}

/// Whether it has its machine.
fn is_ready(session: &BuildState) -> bool {
    session.leases().any(|lease| lease.phase() == Phase::Ready)
}

/// A machine that is held by an earlier process must be found again: nothing else asks for it.
fn found_again(session: &BuildState) -> impl Iterator<Item = Command> {
    session.leases().map(|lease| Command::Adopt {
        build: session.id().clone(),
        record: lease.record().clone(),
    })
}

fn give_back(session: &BuildState) -> Next {
    let release = session.leases().map(|lease| Command::Release {
        build: session.id().clone(),
        lease: lease.record().lease.clone(),
        item: None,
        builder: None,
        caches: Vec::new(),
        warm: false,
    });
    Next {
        commands: release.collect(),
        ..Next::default()
    }
}
