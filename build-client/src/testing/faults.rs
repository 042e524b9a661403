use std::sync::Mutex;

use super::lock;
use crate::ErrorKind;

/// A call of [`build_core::buildlet::Buildlet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is named after its method")]
pub enum Call {
    Status,
    WorkDir,
    Put,
    PutTar,
    GetTar,
    ListDir,
    RemoveAll,
    Stream,
    Start,
    Attach,
    ExecStatus,
    Kill,
    Close,
}

/// How a call goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// It fails at once and does nothing.
    Fail(ErrorKind),
    /// It never answers, until the buildlet dies.
    Hang,
    /// Output and downloads are cut after so many bytes; other calls go well.
    CutAfter(u64),
}

/// The faults to come and the calls that were.
#[derive(Default)]
pub(super) struct Faults(Mutex<State>);

#[derive(Default)]
struct State {
    to_come: Vec<(Call, Fault)>,
    calls: Vec<Call>,
}

impl Faults {
    pub(super) fn inject(&self, call: Call, fault: Fault) {
        lock(&self.0).to_come.push((call, fault));
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        lock(&self.0).calls.clone()
    }

    /// Notes a call, and takes the fault that waits for it.
    pub(super) fn next(&self, call: Call) -> Option<Fault> {
        let mut state = lock(&self.0);
        state.calls.push(call);
        let at = state
            .to_come
            .iter()
            .position(|(waiting, _)| *waiting == call)?;
        Some(state.to_come.remove(at).1)
    }
}
