//! A dispatcher goes on where an earlier one stopped.

use std::collections::BTreeMap;

use super::Dispatcher;
use super::input::Effect;
use super::open::Open;
use crate::clock::Timestamp;
use crate::engine::BuildState;
use crate::error::{Error, ErrorKind};
use crate::event::{Memo, MemoKey, Recorded, Version};
use crate::ids::{HolderId, LeaseId, Nonce};
use crate::schedule::Event;

/// What came out of the log.
pub struct Restored {
    /// What there is to do at once.
    pub effects: Vec<Effect>,
    /// Builds whose events contradict each other or are not understood: they are left alone.
    pub damaged: Vec<Error>,
}

impl Dispatcher {
    /// Takes over the builds of an earlier process: `events` holds all events of every build
    /// that has no result or still holds machines, in order. Builds that are closed are
    /// skipped, so the whole log is fine as well. Called once, before anything else.
    ///
    /// `memos` are those whose keys begin with [`LEASE_MEMOS`], the proofs of leases, and with
    /// [`MACHINE_MEMOS`](crate::machine::MACHINE_MEMOS), what is remembered of machines.
    pub fn restore(
        &mut self,
        events: impl IntoIterator<Item = Recorded>,
        memos: impl IntoIterator<Item = Memo>,
        now: Timestamp,
    ) -> Restored {
        let memos: Vec<Memo> = memos.into_iter().collect();
        self.restore_records(&memos, now);
        self.nonces.extend(memos.into_iter().filter_map(proof_in));
        let events: Vec<Recorded> = events.into_iter().collect();
        self.restore_wishes(events.iter());
        let mut states: BTreeMap<HolderId, Result<(BuildState, Version), Error>> = BTreeMap::new();
        for recorded in events {
            let Some(holder) = recorded.stream.holder() else {
                continue;
            };
            match states.get_mut(&holder) {
                None => {
                    let state = BuildState::new(&recorded).map(|state| (state, recorded.version));
                    states.insert(holder, state);
                }
                Some(Ok((state, version))) => match state.apply(&recorded) {
                    Ok(()) => *version = recorded.version,
                    Err(error) => drop(states.insert(holder, Err(error))),
                },
                Some(Err(_)) => {}
            }
        }
        let mut damaged = Vec::new();
        for (build, state) in states {
            match state {
                Ok((state, _)) if state.is_closed() => {}
                Ok((state, version)) => {
                    damaged.extend(not_understood(&state));
                    self.reopen(build, state, version, now);
                }
                Err(error) => damaged.push(error),
            }
        }
        self.settle(now);
        Restored {
            effects: self.flush(now),
            damaged,
        }
    }

    fn reopen(&mut self, build: HolderId, state: BuildState, version: Version, now: Timestamp) {
        for lease in state.leases() {
            let record = lease.record();
            self.leases.insert(record.lease.clone(), build.clone());
            let holder = self.waiter(&state, lease.unit().clone(), false);
            let hold = Event::Hold(record.machine.clone(), Box::new(holder));
            self.scheduler.step(hold, now);
        }
        self.dirty.insert(build.clone());
        self.wishes.begun(&state);
        self.builds
            .insert(build.clone(), Open::new(state, 0, version));
        self.renew_session(&build, now);
    }
}

/// What the keys of memos begin with that hold the proofs of leases.
pub const LEASE_MEMOS: &str = "lease/";

/// The memo that holds the proof of a lease.
pub(super) fn memo_of(lease: &LeaseId) -> MemoKey {
    MemoKey::new(format!("{LEASE_MEMOS}{lease}")).expect("an id is short and printable")
}

fn proof_in(memo: Memo) -> Option<(LeaseId, Nonce)> {
    let lease = memo.key.as_str().strip_prefix(LEASE_MEMOS)?;
    let nonce = memo.value?;
    let nonce = std::str::from_utf8(&nonce).ok()?;
    Some((LeaseId::new(lease).ok()?, Nonce::new(nonce).ok()?))
}

/// A newer version has written what must be understood: its machines count as held.
fn not_understood(state: &BuildState) -> Option<Error> {
    let kind = state.foreign()?;
    let (what, id) = (state.id().what(), state.id());
    let text = format!("{what} {id} has an event that is not understood: {kind}");
    let error = Error::new(ErrorKind::Unsupported, text);
    Some(error.with_hint("run the version that wrote it, or a newer one"))
}
