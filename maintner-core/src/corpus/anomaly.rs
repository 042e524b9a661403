//! Input that makes no sense is skipped and counted, never fatal and never silent.

/// Kinds of input that were skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Anomaly {
    /// A record that is no mutation: broken encoding, or a text that is not UTF-8.
    UndecodableRecord,
    /// A mutation without repository, project or issue number.
    VoidMutation,
    /// A commit whose hash or header cannot be read.
    BadCommit,
    /// A ref whose name is empty or whose target is no hash.
    BadRef,
    /// A ref that was set to a commit the log had not shown yet.
    UnknownCommit,
    /// A label, milestone, comment, event or review with id 0.
    ZeroId,
    /// An issue that began without its time of creation.
    NoCreation,
    /// A change whose history of meta commits is not a line.
    BrokenMeta,
}

const KINDS: usize = Anomaly::BrokenMeta as usize + 1;

/// How often each kind of senseless input was met.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Anomalies([u64; KINDS]);

const ALL: [Anomaly; KINDS] = [
    Anomaly::UndecodableRecord,
    Anomaly::VoidMutation,
    Anomaly::BadCommit,
    Anomaly::BadRef,
    Anomaly::UnknownCommit,
    Anomaly::ZeroId,
    Anomaly::NoCreation,
    Anomaly::BrokenMeta,
];

impl Anomalies {
    /// Every kind, and how often it was met.
    pub fn iter(&self) -> impl Iterator<Item = (Anomaly, u64)> {
        ALL.into_iter().map(|kind| (kind, self.of(kind)))
    }

    /// Times that `kind` was met.
    pub fn of(&self, kind: Anomaly) -> u64 {
        self.0[kind as usize]
    }

    /// Times that anything was met.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    pub(crate) fn count(&mut self, kind: Anomaly) {
        self.0[kind as usize] += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine += theirs;
        }
    }

    pub(crate) fn as_counts(&self) -> &[u64] {
        &self.0
    }

    pub(crate) fn from_counts(counts: &[u64]) -> Option<Self> {
        counts.try_into().ok().map(Self)
    }
}
