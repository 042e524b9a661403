//! When snapshots are written: in the background, after enough new log, and at the end.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use super::apply::State;
use super::options::Snapshots;
use crate::log::Segment;
use crate::snapshot::{Check, Opened};
use crate::{Result, snapshot};

/// A log that is shorter loads as fast as a snapshot opens.
const WORTH: u64 = 4 << 20;
/// A running corpus renews its snapshot after this much new log.
const STEP: u64 = 64 << 20;

/// Keeps the snapshot of one corpus.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    path: Option<PathBuf>,
    /// How much of the log the newest snapshot contains.
    saved: u64,
    /// Of the snapshot that the corpus started from, until it is known to be sound.
    check: Option<Arc<Check>>,
    job: Option<JoinHandle<()>>,
}

impl Keeper {
    pub(super) fn new(wanted: &Snapshots, segments: &[Segment]) -> Self {
        let path = match wanted {
            Snapshots::Off => None,
            Snapshots::Beside => snapshot::beside(segments),
            Snapshots::At(path) => Some(path.clone()),
        };
        Self {
            path,
            ..Self::default()
        }
    }

    /// The state of the snapshot, if there is one of this log.
    pub(super) fn open(&mut self, segments: &[Segment]) -> Option<State> {
        let Opened { state, check } = snapshot::open(self.path.as_ref()?, segments).ok()?;
        self.saved = state.position;
        self.check = Some(Arc::new(check));
        Some(state)
    }

    /// What is to be checked of the snapshot that the corpus started from.
    pub(super) fn check(&self) -> Option<Arc<Check>> {
        self.check.clone()
    }

    /// The snapshot is sound.
    pub(super) fn trust(&mut self) {
        self.check = None;
    }

    /// What was forgotten is still in use.
    pub(super) fn doubt(&mut self, check: Option<Arc<Check>>) {
        self.check = check;
    }

    /// The log was rewritten, or the snapshot is damaged: it is not the log's any more.
    pub(super) fn forget(&mut self) {
        self.saved = 0;
        if let Some(check) = self.check.take() {
            check.stop();
        }
    }

    /// Writes a snapshot in the background if enough is new.
    pub(super) fn published(&mut self, state: &Arc<State>, segments: &[Segment]) {
        let step = if self.saved == 0 { WORTH } else { STEP };
        // What may be damaged is not written again.
        if state.position.saturating_sub(self.saved) < step || self.check.is_some() {
            return;
        }
        let Some(path) = self.path.clone() else {
            return;
        };
        self.wait();
        self.saved = state.position;
        let (state, segments) = (Arc::clone(state), segments.to_vec());
        self.job = Some(std::thread::spawn(move || {
            // A folder that cannot be written to only makes the next start slower.
            let _ = snapshot::write(&path, &state, &segments);
        }));
    }

    /// Writes a snapshot to a file that somebody chose, perhaps the corpus' own: not while the
    /// background writes an older one, which would replace it.
    pub(super) fn save(&mut self, path: &Path, state: &State, segments: &[Segment]) -> Result<()> {
        self.wait();
        snapshot::write(path, state, segments)?;
        if self.path.as_deref() == Some(path) {
            self.saved = state.position;
        }
        Ok(())
    }

    /// Waits for a snapshot being written, and writes a last one if it is worth it.
    pub(super) fn close(&mut self, state: &State, segments: &[Segment]) {
        self.wait();
        let worth = state.position.saturating_sub(self.saved) >= WORTH;
        let check = self.check.take();
        let sound = |check: &Arc<Check>| check.is_sound() == Some(true);
        if let Some(path) = &self.path
            && worth
            && check.as_ref().is_none_or(sound)
        {
            // As above.
            let _ = snapshot::write(path, state, segments);
        }
        if let Some(check) = check {
            check.stop();
        }
    }

    fn wait(&mut self) {
        if let Some(job) = self.job.take() {
            // A panic there was reported by the thread; the snapshot is then the old one.
            let _ = job.join();
        }
    }
}
