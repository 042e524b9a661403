//! Running failed tests again: which builds are worth it, told from what happened to them.

use std::collections::{BTreeMap, BTreeSet};

use crate::buildlet::ExecOutcome;
use crate::engine::{BuildState, StepState, UnitStatus};
use crate::error::Result;
use crate::event::{BuildEvent, Outcome, Principal, PrincipalKind, Recorded, UnitEnd};
use crate::ids::{BuildId, WishKey};
use crate::plan::Unit;
use crate::wish::Wish;

/// What to ask for when a build that has ended failed by its tests alone: the wish to run it
/// again. `None` when something else went wrong too, when it is a second run itself or was made of
/// uncommitted files, which may have changed since, and when its plan says that it is not wanted.
///
/// `events` are all events of the build. The key of the wish is made of the build, so asking twice
/// is asking once.
///
/// # Errors
/// [`crate::ErrorKind::Corrupt`] when the events contradict each other.
pub fn rerun_of(events: &[Recorded]) -> Result<Option<Wish>> {
    let Some((first, rest)) = events.split_first() else {
        return Ok(None);
    };
    let mut state = BuildState::new(first)?;
    let mut told = Told::default();
    for event in rest {
        state.apply(event)?;
        told.note(event);
    }
    let (Some(build), Some(item)) = (state.id().build(), state.item()) else {
        return Ok(None);
    };
    let failed = matches!(state.outcome(), Some(Outcome::Failed { .. }));
    let is_first = item.rerun_of.is_none() && !item.worktree;
    let is_wanted = state.plan().is_some_and(|plan| plan.limits.rerun);
    if !failed || !is_first || !is_wanted || !told.explains(&state) {
        return Ok(None);
    }
    let by = Principal::new(PrincipalKind::Reader, "rerun");
    let builders = vec![state.builder().clone()];
    let mut wish = Wish::new(key_of(build), item.rerun(build), builders, by);
    wish.alone = true;
    Ok(Some(wish))
}

/// The key of the wish to run a build again.
fn key_of(build: &BuildId) -> WishKey {
    WishKey::of(&[b"rerun", build.as_str().as_bytes()])
}

/// What the last attempt of each unit printed of tests, and how it ended.
#[derive(Default)]
struct Told {
    failures: BTreeSet<Unit>,
    by_itself: BTreeMap<Unit, bool>,
}

impl Told {
    fn note(&mut self, recorded: &Recorded) {
        match recorded.read() {
            Some(BuildEvent::Started { unit, .. }) => {
                self.failures.remove(&unit);
            }
            Some(BuildEvent::Tested { unit, tests, .. }) if tests.failed > 0 => {
                self.failures.insert(unit);
            }
            Some(BuildEvent::Ended { unit, end, .. }) => {
                let exited = matches!(end, UnitEnd::Exited(ExecOutcome::Exit(_)));
                self.by_itself.insert(unit, exited);
            }
            _ => {}
        }
    }

    /// Whether everything that failed are commands that failed because tests did.
    fn explains(&self, state: &BuildState) -> bool {
        let steps = state.plan().into_iter().flat_map(|plan| &plan.steps);
        let units = steps.flat_map(|step| {
            let units = state.step(&step.name).into_iter();
            units.flat_map(StepState::units).map(|(part, unit)| {
                let name = Unit {
                    step: step.name.clone(),
                    part,
                };
                (name, unit)
            })
        });
        let mut failed = units.filter(|(_, unit)| *unit.status() == UnitStatus::Failed);
        failed.all(|(name, _)| {
            self.by_itself.get(&name) == Some(&true) && self.failures.contains(&name)
        })
    }
}
