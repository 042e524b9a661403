//! Connections that rest: their peers have not said what they want, or not yet again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// All that rest at present. One that rests longest makes room when others come, so that silence
/// keeps nobody out.
#[derive(Clone, Default)]
pub(crate) struct Resting(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    begun: u64,
    all: BTreeMap<u64, CancellationToken>,
}

impl Resting {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection begins to rest, until what this returns is dropped.
    pub(crate) fn begin(&self) -> Rest {
        let mut state = self.state();
        let (number, end) = (state.begun, CancellationToken::new());
        state.begun += 1;
        state.all.insert(number, end.clone());
        Rest {
            resting: self.clone(),
            number,
            end,
        }
    }

    /// Ends the connection that has rested longest, if one rests.
    pub(crate) fn end_longest(&self) {
        if let Some((_, end)) = self.state().all.pop_first() {
            end.cancel();
        }
    }
}

/// The rest of one connection.
pub(crate) struct Rest {
    resting: Resting,
    number: u64,
    end: CancellationToken,
}

impl Rest {
    /// Waits until the connection is to make room.
    ///
    /// Cancel safe.
    pub(crate) async fn ended(&self) {
        self.end.cancelled().await;
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        self.resting.state().all.remove(&self.number);
    }
}
