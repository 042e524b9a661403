//! What a coordinator has done since it began, counted.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use build_core::clock::Timestamp;
use build_core::event::{BuildEvent, EventKind, NewEvent, Recorded};
use build_core::ids::BuildId;
use build_core::report::BuildStatus;

/// Upper ends of the buckets, in seconds: from a cached step to a night's work.
pub const BUCKETS: [f64; 12] = [
    0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 21600.0,
];

/// How long something took, many times.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    counts: [u64; BUCKETS.len()],
    count: u64,
    sum: Duration,
}

impl Histogram {
    fn add(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        let first = BUCKETS.partition_point(|end| *end < seconds);
        self.counts[first..]
            .iter_mut()
            .for_each(|count| *count += 1);
        self.count += 1;
        self.sum += took;
    }

    /// How many took at most so many seconds, for each of [`BUCKETS`].
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        BUCKETS.into_iter().zip(self.counts)
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// How long all together took.
    pub fn sum(&self) -> Duration {
        self.sum
    }
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Counts {
    /// Builds that ended, by the word for their outcome.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// From being asked for to the first machine.
    pub waits: Histogram,
    /// From the first machine to the result.
    pub builds: Histogram,
    /// Bytes of output recorded, of commands that have ended.
    pub log_bytes: u64,
}

/// Counts as events become durable. Clones count together.
#[derive(Clone, Default)]
pub(crate) struct Figures(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    counts: Counts,
    open: HashMap<BuildId, Since>,
}

/// When a build was asked for, then when it got its first machine.
enum Since {
    Asked(Timestamp),
    Started(Timestamp),
}

/// What of an event is counted.
pub(super) struct Note {
    at: Timestamp,
    build: BuildId,
    what: What,
}

enum What {
    Asked,
    Leased,
    Output(u64),
    Finished(BuildStatus),
}

/// Whether an event is worth reading: most are not.
fn is_counted(kind: &EventKind) -> bool {
    matches!(kind.as_str(), "queued" | "leased" | "ended" | "finished")
}

impl Note {
    /// `None` for what is not counted.
    pub(super) fn of(event: &NewEvent) -> Option<Self> {
        let build = event.stream.build()?;
        is_counted(&event.kind).then(|| Self::new(event.at, build, &event.read()?))?
    }

    /// As [`Note::of`].
    pub(super) fn recorded(event: &Recorded) -> Option<Self> {
        let build = event.stream.build()?;
        is_counted(&event.kind).then(|| Self::new(event.at, build, &event.read()?))?
    }

    fn new(at: Timestamp, build: &BuildId, event: &BuildEvent) -> Option<Self> {
        let what = match event {
            BuildEvent::Queued { .. } => What::Asked,
            BuildEvent::Leased { .. } => What::Leased,
            BuildEvent::Ended { output_bytes, .. } => What::Output(*output_bytes),
            BuildEvent::Finished { outcome } => What::Finished(outcome.into()),
            _ => return None,
        };
        let build = build.clone();
        Some(Self { at, build, what })
    }
}

impl Figures {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was counted so far.
    pub(crate) fn counts(&self) -> Counts {
        self.state().counts.clone()
    }

    /// Takes up builds of an earlier process: what it has counted is not counted again.
    pub(super) fn restore(&self, notes: impl IntoIterator<Item = Note>) {
        let mut state = self.state();
        notes.into_iter().for_each(|note| state.apply(note));
        state.counts = Counts::default();
    }

    /// Counts what is durable now.
    pub(super) fn count(&self, notes: Vec<Note>) {
        let mut state = self.state();
        notes.into_iter().for_each(|note| state.apply(note));
    }
}

impl State {
    fn apply(&mut self, note: Note) {
        let Note { at, build, what } = note;
        match what {
            What::Asked => {
                self.open.insert(build, Since::Asked(at));
            }
            What::Leased => {
                if let Some(since) = self.open.get_mut(&build)
                    && let Since::Asked(asked) = *since
                {
                    self.counts.waits.add(at.since(asked));
                    *since = Since::Started(at);
                }
            }
            What::Output(bytes) => self.counts.log_bytes += bytes,
            What::Finished(outcome) => {
                *self.counts.outcomes.entry(outcome.as_str()).or_default() += 1;
                if let Some(Since::Started(started)) = self.open.remove(&build) {
                    self.counts.builds.add(at.since(started));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(build: u64, second: i64, what: What) -> Note {
        let at = Timestamp::from_seconds(second);
        let build = BuildId::from_bits(build);
        Note { at, build, what }
    }

    #[test]
    fn a_build_is_counted_once_and_forgotten_when_it_ends() {
        let figures = Figures::default();
        figures.restore([note(1, 0, What::Asked), note(1, 2, What::Leased)]);
        assert_eq!(figures.counts(), Counts::default());
        figures.count(vec![
            note(2, 3, What::Asked),
            note(2, 7, What::Leased),
            note(2, 8, What::Leased),
            note(1, 9, What::Output(100)),
            note(1, 12, What::Finished(BuildStatus::Passed)),
            note(2, 13, What::Finished(BuildStatus::Failed)),
            note(3, 14, What::Asked),
            note(3, 15, What::Finished(BuildStatus::Canceled)),
        ]);
        let counts = figures.counts();
        let outcomes: Vec<_> = counts.outcomes.into_iter().collect();
        assert_eq!(outcomes, [("canceled", 1), ("failed", 1), ("passed", 1)]);
        assert_eq!(counts.log_bytes, 100);
        let sums = (counts.waits.sum().as_secs(), counts.builds.sum().as_secs());
        assert_eq!(sums, (4, 10 + 6));
        assert_eq!((counts.waits.count(), counts.builds.count()), (1, 2));
        let below: Vec<_> = counts.builds.buckets().map(|(_, n)| n).collect();
        assert_eq!(below, [0, 0, 0, 0, 2, 2, 2, 2, 2, 2, 2, 2]);
        assert!(figures.state().open.is_empty());
    }
}
