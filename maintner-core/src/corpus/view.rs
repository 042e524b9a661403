//! One version of the corpus, for reading.

use std::sync::Arc;

use super::apply::State;
use super::load::load_at;
use super::{Anomalies, Options};
use crate::log::LogPosition;
use crate::query::{Gerrit, Git, GitHub};
use crate::{Error, Result};

/// The corpus at one moment. Cheap to clone, `'static`, and never changes.
///
/// ```
/// # let corpus = maintner_core::sample::corpus();
/// let view = corpus.view();
/// let reader = std::thread::spawn(move || view.github().repos().count());
/// assert_eq!(reader.join().expect("no panic"), 1);
/// ```
#[derive(Debug, Clone)]
pub struct View {
    state: Arc<State>,
}

impl View {
    pub(crate) fn new(state: Arc<State>) -> Self {
        Self { state }
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Number of this version; grows with every change.
    pub fn generation(&self) -> u64 {
        self.state.generation
    }

    /// How much of the log this version contains.
    pub fn position(&self) -> LogPosition {
        LogPosition::new(self.state.position)
    }

    /// Records applied so far (since the last snapshot was made, those before included).
    pub fn records(&self) -> u64 {
        self.state.records
    }

    /// What was skipped because it made no sense.
    pub fn anomalies(&self) -> Anomalies {
        self.state.anomalies
    }

    /// Repositories, issues, users on GitHub.
    pub fn github(&self) -> GitHub<'_> {
        GitHub::new(&self.state)
    }

    /// Projects and changes on Gerrit servers.
    pub fn gerrit(&self) -> Gerrit<'_> {
        Gerrit::new(&self.state)
    }

    /// All commits, from wherever they came.
    pub fn git(&self) -> Git<'_> {
        Git::new(&self.state)
    }

    /// The corpus as it was when the log ended at `position` (or at the last record before it).
    ///
    /// Positions that were reached after the corpus was opened are replayed from the state it
    /// had then (which shares all that did not change since): the time is that of loading the
    /// log in between. Earlier ones take as long as loading that much of the log from its
    /// beginning. Run it on a thread that may wait.
    ///
    /// ```
    /// # let corpus = maintner_core::sample::corpus();
    /// use maintner_core::log::LogPosition;
    /// let before = corpus.view().at(LogPosition::START)?;
    /// assert_eq!(before.github().repos().count(), 0);
    /// # Ok::<(), maintner_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::BeyondEnd`] for positions that this view has not reached.
    pub fn at(&self, position: LogPosition) -> Result<Self> {
        if position > self.position() {
            return Err(Error::BeyondEnd {
                pos: position,
                end: self.position(),
            });
        }
        let state = load_at(&self.state, position.bytes(), &Options::default())?;
        Ok(Self::new(Arc::new(state)))
    }
}
