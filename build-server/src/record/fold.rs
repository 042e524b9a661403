//! Rows are a pure function of the log: the one fold that every store uses.

use build_core::event::{BuildEvent, Recorded, Seq, SessionEvent, StreamId};
use build_core::ids::{BuildId, BuilderName, RepoName, SessionId};

use super::{BuildRow, SessionRow, Tested, Timing};

/// Counts the changes of this fold: rows of another version are folded anew from the log.
pub const ROWS_VERSION: u32 = 5;

/// Which row an event is folded into.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RowKey {
    /// [`RowSink::build`].
    Build(BuildId),
    /// [`RowSink::session`].
    Session(SessionId),
}

/// Where rows are kept while events are folded into them. A store loads the rows that
/// [`row_keys`] names before, and saves what has changed after.
pub trait RowSink {
    /// The row of a build, to be changed. `seen` tells that it looks different on the board then.
    fn build(&mut self, id: &BuildId, seen: bool) -> Option<&mut BuildRow>;
    /// A new row.
    fn add_build(&mut self, row: BuildRow);
    /// The row of a session, to be changed.
    fn session(&mut self, id: &SessionId) -> Option<&mut SessionRow>;
    /// A new row.
    fn add_session(&mut self, row: SessionRow);
    /// How long a unit took.
    fn add_timing(&mut self, timing: OfStep<Timing>);
    /// What a run printed of tests.
    fn add_tested(&mut self, tested: OfStep<Tested>);
    /// A build that runs another one again.
    fn add_rerun(&mut self, first: &BuildId, again: &BuildId, number: Seq);
}

/// What an event tells of a step of a builder.
#[derive(Clone, Debug)]
pub struct OfStep<T> {
    /// The event.
    pub seq: Seq,
    /// The repository.
    pub repo: RepoName,
    /// The builder.
    pub builder: BuilderName,
    /// What.
    pub told: T,
}

impl<T> OfStep<T> {
    fn new(row: &BuildRow, event: &Recorded, told: T) -> Self {
        Self {
            seq: event.seq,
            repo: row.item.repo.clone(),
            builder: row.builder.clone(),
            told,
        }
    }
}

/// The rows that an event is folded into, as far as its stream tells.
pub fn row_keys(recorded: &Recorded) -> Vec<RowKey> {
    match &recorded.stream {
        StreamId::Build(id) => vec![RowKey::Build(id.clone())],
        StreamId::Session(id) => vec![RowKey::Session(id.clone())],
        _ => Vec::new(),
    }
}

/// Folds an event into its rows. What is not understood changes nothing.
pub fn rows(sink: &mut dyn RowSink, recorded: &Recorded) {
    match &recorded.stream {
        StreamId::Build(id) => {
            if let Some(event) = recorded.read() {
                build_rows(sink, id, recorded, &event);
            }
        }
        StreamId::Session(id) => {
            if let Some(event) = recorded.read() {
                session_rows(sink, id, recorded, &event);
            }
        }
        _ => {}
    }
}

fn build_rows(sink: &mut dyn RowSink, id: &BuildId, recorded: &Recorded, event: &BuildEvent) {
    if let BuildEvent::Queued { item, .. } = event {
        if let Some(first) = &item.rerun_of {
            sink.add_rerun(first, id, recorded.seq);
        }
        if let Some(row) = BuildRow::begin(id, recorded, event) {
            sink.add_build(row);
        }
        return;
    }
    let seen = matches!(
        event,
        BuildEvent::Leased { .. } | BuildEvent::Finished { .. }
    );
    let Some(row) = sink.build(id, seen) else {
        return;
    };
    row.apply(recorded.at, event);
    let timing = row.timing(recorded.at, event);
    let timing = timing.map(|told| OfStep::new(row, recorded, told));
    let tested = row.tested(event);
    let tested = tested.map(|told| OfStep::new(row, recorded, told));
    if let Some(timing) = timing {
        sink.add_timing(timing);
    }
    if let Some(tested) = tested {
        sink.add_tested(tested);
    }
}

fn session_rows(sink: &mut dyn RowSink, id: &SessionId, recorded: &Recorded, event: &SessionEvent) {
    match SessionRow::begin(id, recorded, event) {
        Some(row) => sink.add_session(row),
        None => {
            if let Some(row) = sink.session(id) {
                row.apply(recorded.at, event);
            }
        }
    }
}
