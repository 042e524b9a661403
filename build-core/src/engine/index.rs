//! The steps of a plan by number: names are looked up once, when the plan comes.

use std::collections::BTreeMap;

use crate::ids::StepName;
use crate::plan::Plan;

/// Which step has which number, and which ones need each other.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Index {
    numbers: BTreeMap<StepName, usize>,
    links: Vec<Links>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Links {
    needs: Vec<usize>,
    needed_by: Vec<usize>,
    base: Option<usize>,
    /// It needs something that does not come before it: it never runs.
    lacks: bool,
}

impl Index {
    /// Of a plan; `None` when two of its steps have one name.
    pub(super) fn of(plan: &Plan) -> Option<Self> {
        let mut index = Self::default();
        for (at, step) in plan.steps.iter().enumerate() {
            let known = |need| index.numbers.get(need).copied();
            let needs: Vec<usize> = step.needs.iter().filter_map(known).collect();
            let base = step.needs.first().and_then(known);
            for need in &needs {
                index.links[*need].needed_by.push(at);
            }
            index.links.push(Links {
                lacks: needs.len() != step.needs.len(),
                needs,
                base,
                needed_by: Vec::new(),
            });
            if index.numbers.insert(step.name.clone(), at).is_some() {
                return None;
            }
        }
        Some(index)
    }

    /// Of a session, which has one step of its own.
    pub(super) fn only(name: StepName) -> Self {
        Self {
            numbers: BTreeMap::from([(name, 0)]),
            links: vec![Links::default()],
        }
    }

    pub(super) fn number(&self, step: &StepName) -> Option<usize> {
        self.numbers.get(step).copied()
    }

    /// What a step needs, by number.
    pub(super) fn needs(&self, step: usize) -> &[usize] {
        &self.links[step].needs
    }

    /// The steps that need a step.
    pub(super) fn needed_by(&self, step: usize) -> &[usize] {
        &self.links[step].needed_by
    }

    /// The step in whose directory a step goes on.
    pub(super) fn base(&self, step: usize) -> Option<usize> {
        self.links[step].base
    }

    /// Whether a step needs what does not come before it; checked plans have no such step.
    pub(super) fn lacks(&self, step: usize) -> bool {
        self.links[step].lacks
    }
}
