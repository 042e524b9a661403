//! What one manifest leads to: steps, and what was found beside and is not run.

use crate::ids::StepName;
use crate::plan::Step;

/// Notes that are written out; more are counted.
const MAX_NOTES: usize = 6;

/// Steps, and notes for people.
#[derive(Default)]
pub(super) struct Guess {
    pub(super) steps: Vec<Step>,
    notes: Vec<String>,
}

impl Guess {
    /// Each step after the one before it.
    pub(super) fn chain(steps: Vec<Step>) -> Self {
        Self {
            steps: chain(steps),
            notes: Vec::new(),
        }
    }

    /// Steps that need nothing of each other.
    pub(super) fn beside(steps: Vec<Step>) -> Self {
        Self {
            steps,
            notes: Vec::new(),
        }
    }

    /// Says that `what` was found and is not run.
    pub(super) fn not_run(&mut self, what: &str, because: &str) {
        self.notes
            .push(format!("also found {what}: not run, because {because}"));
    }

    /// What is said behind the guess.
    pub(super) fn notes(&self) -> String {
        let mut text = String::new();
        for note in self.notes.iter().take(MAX_NOTES) {
            text.push_str("; ");
            text.push_str(note);
        }
        match self.notes.len().saturating_sub(MAX_NOTES) {
            0 => {}
            1 => text.push_str("; and 1 more manifest is not run"),
            more => text.push_str(&format!("; and {more} more manifests are not run")),
        }
        text
    }

    /// The same steps in a directory below the root, named after it.
    pub(super) fn within(mut self, dir: &str) -> Self {
        if dir.is_empty() {
            return self;
        }
        for step in &mut self.steps {
            step.name = below(dir, &step.name);
            step.dir = dir.to_owned();
            step.needs = step.needs.iter().map(|need| below(dir, need)).collect();
            step.cache
                .iter_mut()
                .for_each(|c| *c = format!("{dir}/{c}"));
        }
        self
    }

    /// Adds what another manifest leads to.
    pub(super) fn join(&mut self, other: Self) {
        self.steps.extend(other.steps);
        self.notes.extend(other.notes);
    }
}

/// `test` below `web/app` is `web/app: test`.
fn below(dir: &str, name: &StepName) -> StepName {
    let shown: String = dir.chars().filter(|c| !c.is_control()).take(80).collect();
    StepName::new(format!("{}: {name}", shown.trim())).unwrap_or_else(|_| name.clone())
}

/// A step that needs programs.
pub(super) fn step(name: &str, run: &str, tools: &[&str]) -> Step {
    let name = StepName::new(name).expect("a valid step name");
    Step {
        tools: tools.iter().map(ToString::to_string).collect(),
        ..Step::new(name, run)
    }
}

/// Each step after the one before it.
pub(super) fn chain(mut steps: Vec<Step>) -> Vec<Step> {
    for n in 1..steps.len() {
        steps[n].needs = vec![steps[n - 1].name.clone()];
    }
    steps
}
