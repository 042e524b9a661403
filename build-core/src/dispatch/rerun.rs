//! A build that failed by tests ends, and with it begins the one that runs them again.

use super::Dispatcher;
use super::open::Open;
use crate::clock::Timestamp;
use crate::engine::{BuildState, outcome_of};
use crate::event::{BuildEvent, OldNewEvent};
use crate::ids::BuildId;

impl Dispatcher {
    /// Ends a build of which everything has run. Its end and the beginning of its `rerun` are in
    /// the log together or not at all, so that there is exactly one whatever happens.
    pub(super) fn judged(&mut self, build: &BuildId, rerun: Option<BuildId>, now: Timestamp) {
        let Some(outcome) = self.build(build).and_then(outcome_of) else {
            return;
        };
        if self.record(build, BuildEvent::Finished { outcome }, now)
            && let Some(rerun) = rerun
        {
            self.begin_rerun(build, rerun, now);
        }
    }

    fn begin_rerun(&mut self, build: &BuildId, rerun: BuildId, now: Timestamp) {
        let Some(state) = self.build(build).filter(|_| self.build(&rerun).is_none()) else {
            return;
        };
        let Some(item) = state.item() else {
            return;
        };
        let queued = BuildEvent::Queued {
            item: item.rerun(build),
            builder: state.builder().clone(),
        };
        let Ok(state) = BuildState::begin(&rerun, now, &queued) else {
            return;
        };
        let mark = self.outbox.push_joined(OldNewEvent {
            at: now,
            build: rerun.clone(),
            event: queued,
        });
        self.dirty.insert(rerun.clone());
        self.builds.insert(rerun, Open::new(state, mark));
    }
}
