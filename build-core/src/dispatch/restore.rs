//! A dispatcher goes on where an earlier one stopped.

use std::collections::BTreeMap;

use super::Dispatcher;
use super::input::Effect;
use super::open::Open;
use crate::clock::Timestamp;
use crate::engine::BuildState;
use crate::error::Error;
use crate::event::OldRecorded;
use crate::ids::BuildId;
use crate::schedule::Event;

/// What came out of the log.
pub struct Restored {
    /// What there is to do at once.
    pub effects: Vec<Effect>,
    /// Builds whose events contradict each other: they are left alone.
    pub damaged: Vec<Error>,
}

impl Dispatcher {
    /// Takes over the builds of an earlier process: `events` holds all events of every build
    /// that has no result or still holds machines, in order. Builds that are closed are
    /// skipped, so the whole log is fine as well. Called once, before anything else.
    pub fn restore(
        &mut self,
        events: impl IntoIterator<Item = OldRecorded>,
        now: Timestamp,
    ) -> Restored {
        let mut states: BTreeMap<BuildId, Result<BuildState, Error>> = BTreeMap::new();
        for recorded in events {
            match states.get_mut(&recorded.build) {
                None => {
                    states.insert(recorded.build.clone(), BuildState::new(&recorded));
                }
                Some(Ok(state)) => {
                    if let Err(error) = state.apply(&recorded) {
                        states.insert(recorded.build, Err(error));
                    }
                }
                Some(Err(_)) => {}
            }
        }
        let mut damaged = Vec::new();
        for (build, state) in states {
            match state {
                Ok(state) if state.is_closed() => {}
                Ok(state) => self.reopen(build, state, now),
                Err(error) => damaged.push(error),
            }
        }
        self.settle(now);
        Restored {
            effects: self.flush(now),
            damaged,
        }
    }

    fn reopen(&mut self, build: BuildId, state: BuildState, now: Timestamp) {
        for lease in state.leases() {
            let record = lease.record();
            self.leases.insert(record.lease.clone(), build.clone());
            let holder = self.waiter(&state, lease.unit().clone(), false);
            let hold = Event::Hold(record.machine.clone(), Box::new(holder));
            self.scheduler.step(hold, now);
        }
        self.dirty.insert(build.clone());
        self.builds.insert(build.clone(), Open::new(state, 0));
        self.renew_session(&build, now);
    }
}
