//! What it takes to bring a machine to where a build failed.

use std::collections::BTreeSet;

use super::exec::{exec_id, exec_of, told};
use super::state::BuildState;
use super::step::UnitStatus;
use crate::buildlet::Exec;
use crate::error::{Error, ErrorKind, Result};
use crate::name::Name;
use crate::plan::{Input, Part, Plan, Step, StepInput, Unit};
use crate::work::{Builder, WorkItem};

/// A failed unit, and all that comes before it in its work directory: the checkout, the caches,
/// and the steps whose directory it goes on in.
#[derive(Clone, Debug, PartialEq)]
pub struct Repro {
    /// What was built.
    pub item: WorkItem,
    /// The builder, as the build had it.
    pub builder: Builder,
    /// How many commits the checkout has.
    pub depth: u32,
    /// What lies in the directory besides the commit.
    pub inputs: Vec<Input>,
    /// Trees of other steps that the failed one got, or one that ran before it.
    pub trees: Vec<StepInput>,
    /// Directories that were put back, if there were any.
    pub caches: Vec<String>,
    /// What ran before in the same directory, in order.
    pub before: Vec<(Unit, Exec)>,
    /// What failed.
    pub failed: (Unit, Exec),
}

impl Repro {
    /// Of a build; `builder` is the farm's, for builds whose commit brings none.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when no step of it has failed; [`ErrorKind::NotFound`] when
    /// nobody knows its builder any more.
    pub fn of(build: &BuildState, builder: Option<&Builder>) -> Result<Self> {
        let whole = build.item().zip(build.plan());
        let failed = whole.and_then(|(_, plan)| failed_unit(build, plan));
        let Some(((item, plan), (step, unit))) = whole.zip(failed) else {
            let text = format!("no step of build {} has failed", build.id());
            return Err(Error::new(ErrorKind::Conflict, text));
        };
        let builder = plan.builder.as_deref().or(builder).ok_or_else(|| {
            let text = format!("there is no builder {} any more", build.builder());
            Error::new(ErrorKind::NotFound, text)
        })?;
        let exec = |step: &Step, unit: &Unit| {
            let attempt = build.unit(unit).map_or(1, |unit| unit.attempts().max(1));
            let env = told(build.id(), item, builder, unit, attempt);
            let id = exec_id(build.id(), plan, unit, attempt);
            let tests = tests(build, unit);
            let exec = exec_of(id, (step, unit.part), &tests, &plan.limits, builder, env);
            (unit.clone(), Exec { id: None, ..exec })
        };
        let before = ancestors(plan, step);
        let trees = before.iter().copied().chain([step]);
        let trees = trees.flat_map(|step| step.inputs.clone()).collect();
        let before = before.iter().map(|step| {
            let unit = Unit {
                step: step.name.clone(),
                part: Part::Whole,
            };
            exec(step, &unit)
        });
        let mut caches: Vec<String> = Vec::new();
        for path in plan.steps.iter().flat_map(|step| &step.cache) {
            if !caches.contains(path) {
                caches.push(path.clone());
            }
        }
        Ok(Self {
            before: before.collect(),
            failed: exec(step, &unit),
            item: item.clone(),
            builder: builder.clone(),
            depth: plan.depth,
            inputs: plan.inputs.clone(),
            trees,
            caches,
        })
    }
}

/// The first unit, as the plan has them, that will not be run again.
fn failed_unit<'p>(build: &BuildState, plan: &'p Plan) -> Option<(&'p Step, Unit)> {
    plan.steps.iter().find_map(|step| {
        let mut units = build.step(&step.name)?.units();
        let (part, _) = units.find(|(_, unit)| *unit.status() == UnitStatus::Failed)?;
        let step_name = step.name.clone();
        Some((
            step,
            Unit {
                step: step_name,
                part,
            },
        ))
    })
}

/// The steps whose directory a step goes on in, the first one first.
fn ancestors<'p>(plan: &'p Plan, step: &Step) -> Vec<&'p Step> {
    let mut chain = Vec::new();
    let mut seen = BTreeSet::new();
    let mut next = step.needs.first();
    while let Some(step) = next.and_then(|name| plan.step(name)) {
        // A plan has no circles; one that was stored damaged must not hang anybody.
        if !seen.insert(&step.name) {
            break;
        }
        chain.push(step);
        next = step.needs.first();
    }
    chain.reverse();
    chain
}

/// The tests of a shard; of a whole step those of all its shards.
fn tests(build: &BuildState, unit: &Unit) -> Vec<Name> {
    let shards = build.step(&unit.step).and_then(|step| step.shards());
    match (shards, unit.part) {
        (None, _) | (_, Part::List) => Vec::new(),
        (Some(shards), Part::Whole) => shards.concat(),
        (Some(shards), Part::Shard(n)) => shards.get(n as usize).cloned().unwrap_or_default(),
    }
}
