//! A build that failed by tests ends, and with it begins the one that runs them again.

use super::{Dispatcher, beginning};
use crate::clock::Timestamp;
use crate::engine::{BuildState, outcome_of};
use crate::event::{BuildEvent, Principal};
use crate::ids::{BuildId, HolderId};

impl Dispatcher {
    /// Ends a build of which everything has run. Its end and the beginning of its `rerun` are in
    /// the log together or not at all, so that there is exactly one whatever happens.
    pub(super) fn judged(&mut self, build: &HolderId, rerun: Option<BuildId>, now: Timestamp) {
        let Some(outcome) = self.build(build).and_then(outcome_of) else {
            return;
        };
        if self.record(build, BuildEvent::Finished { outcome }, now)
            && let Some(rerun) = rerun
        {
            self.begin_rerun(build, rerun, now);
        }
    }

    fn begin_rerun(&mut self, build: &HolderId, rerun: BuildId, now: Timestamp) {
        let id = HolderId::from(rerun.clone());
        let Some(state) = self.build(build).filter(|_| self.build(&id).is_none()) else {
            return;
        };
        let (Some(item), Some(first)) = (state.item(), build.build()) else {
            return;
        };
        let (item, builder) = (item.rerun(first), state.builder().clone());
        let state = BuildState::queued(&rerun, now, item.clone(), builder.clone());
        let queued = BuildEvent::Queued { item, builder };
        let Some(pending) = beginning(&id, &queued, Principal::farm(), now) else {
            return;
        };
        let mark = self.outbox.push_joined(pending);
        self.open(state, mark);
    }
}
