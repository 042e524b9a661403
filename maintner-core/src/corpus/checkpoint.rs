//! Earlier states, kept for the day when the log is rolled back to one of them.

use std::sync::Arc;

use super::apply::State;

/// States kept. They share all that did not change between them.
const MOST: usize = 12;

/// States of the past, the dense end of which is now.
#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    /// By position, ascending.
    states: Vec<Arc<State>>,
}

impl Checkpoints {
    /// The newest state of which a log that keeps its first `common` bytes has everything.
    pub(super) fn newest_at(&self, common: u64) -> Option<Arc<State>> {
        let mut states = self.states.iter().rev();
        states.find(|state| state.position <= common).cloned()
    }

    /// Drops what is not the log's past any more.
    pub(super) fn forget_after(&mut self, position: u64) {
        let newest = self.states.last().cloned();
        self.states.retain(|state| state.position <= position);
        // That of now was added after the roll-back.
        if let Some(newest) = newest.filter(|newest| newest.position > position) {
            self.states.push(newest);
        }
    }

    pub(super) fn add(&mut self, state: Arc<State>) {
        // A state from before the first position would save nothing.
        if state.position == 0 {
            return;
        }
        self.states.retain(|old| old.position < state.position);
        self.states.push(state);
        if self.states.len() > MOST {
            self.states.remove(self.least_useful());
        }
    }

    /// The state whose removal leaves the gap that is smallest for its age: what remains lies
    /// ever further apart towards the past.
    fn least_useful(&self) -> usize {
        let at = |index: usize| self.states[index].position as f64;
        let now = at(self.states.len() - 1);
        let gap = |index: usize| (at(index + 1) - at(index - 1)) / (now - at(index - 1) + 1.0);
        (1..self.states.len() - 1)
            .min_by(|&a, &b| gap(a).total_cmp(&gap(b)))
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_lies_ever_further_apart() {
        let mut kept = Checkpoints::default();
        for position in 1..=10_000 {
            kept.add(Arc::new(State {
                position,
                ..State::default()
            }));
        }
        assert_eq!(kept.states.len(), MOST);
        let lost = |common: u64| common - kept.newest_at(common).unwrap().position;
        assert!(lost(9_999) < 10 && lost(9_900) < 200 && lost(5_000) < 5_000);
        kept.forget_after(3_000);
        assert!(kept.newest_at(9_000).unwrap().position <= 3_000);
        assert_eq!(kept.newest_at(0).map(|state| state.position), None);
    }
}
