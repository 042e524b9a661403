//! The plan of a build: named steps, what they need, and their limits.

mod command;
mod input;
mod when;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::command::{CommandLine, Shell};
pub use self::input::{ARCHIVE_BYTES, FoundSnapshot, Input, InputFrom, StepInput, identity};
use self::input::{check_inputs, check_places};
#[cfg(feature = "config")]
pub(crate) use self::input::{check_place, overlap};
pub use self::when::{Conditions, LeftOut, When};
use crate::clock::micros;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{SecretName, StepName};
use crate::work::Builder;

/// Longest run of a step when nothing is said.
pub const STEP_TIMEOUT: Duration = Duration::from_secs(2 * 60 * 60);
/// Longest silence of a step when nothing is said.
pub const QUIET_TIMEOUT: Duration = Duration::from_secs(20 * 60);
/// Free disk below which a build is stopped when nothing is said.
pub const DISK_FLOOR_BYTES: u64 = 1 << 30;
/// How often a unit is tried when the machine fails.
pub const INFRASTRUCTURE_ATTEMPTS: u32 = 2;
/// History given to a step when nothing is said, in commits.
pub const HISTORY_DEPTH: u32 = 50;

/// What is run to build one commit on one builder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The steps, each after everything it needs.
    pub steps: Vec<Step>,
    /// Why these steps: the file they were read from, or what was detected.
    pub reason: String,
    /// Bounds on what the build may use.
    #[serde(default)]
    pub limits: Limits,
    /// Commits of history in the checkout that steps see.
    #[serde(default = "default_depth")]
    pub depth: u32,
    /// What lies in the work directory besides the commit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Input>,
    /// Directories below the checkout with which a build begins as an earlier one has left them,
    /// where its machine has them and that is safe.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warm: Vec<String>,
    /// Steps that do not run for this commit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// The builder as the commit configures it; `None`: as the farm does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub builder: Option<Box<Builder>>,
}

fn default_depth() -> u32 {
    HISTORY_DEPTH
}

/// How much of its machine a step may touch; the later ones are stricter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Sandbox {
    /// As the machine is set up; where nothing is set, as little as a build runs with unchanged.
    #[default]
    #[serde(rename = "machine")]
    Auto,
    /// All of it: the machine is the fence.
    None,
    /// Its own directories and processes; tools, for reading.
    #[serde(rename = "process")]
    User,
    /// The same, and it sees nothing else: no other process, no home, on request no network.
    #[serde(rename = "container")]
    Namespaces,
    /// A machine of its own that is thrown away.
    Vm,
}

impl Sandbox {
    /// The words of configurations.
    pub const WORDS: [&str; 4] = ["auto", "none", "user", "namespaces"];
    const VALUES: [Self; 4] = [Self::Auto, Self::None, Self::User, Self::Namespaces];

    /// Its word in a configuration; `None` when none stands for it.
    pub fn word(self) -> Option<&'static str> {
        let mut all = Self::WORDS.iter().zip(Self::VALUES);
        all.find(|(_, value)| *value == self).map(|(word, _)| *word)
    }

    /// What stands in a configuration.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] with the words that are known.
    pub fn parse(text: &str) -> Result<Self> {
        let found = Self::WORDS.iter().zip(Self::VALUES);
        let mut found = found.filter(|(word, _)| **word == text);
        found.next().map(|(_, value)| value).ok_or_else(|| {
            Error::new(ErrorKind::Invalid, format!("{text:?} is no sandbox level"))
                .with_hint(format!("the levels are: {}", Self::WORDS.join(", ")))
        })
    }
}

/// Which network a step sees; the later ones are stricter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Network {
    /// Whatever its machine sees.
    #[default]
    Open,
    /// Only itself: what listens on loopback is the step's own.
    Loopback,
    /// None.
    Closed,
}

impl Network {
    /// The words of configurations.
    pub const WORDS: [&str; 3] = ["on", "loopback", "off"];

    /// Its word in a configuration.
    pub fn word(self) -> &'static str {
        let [on, loopback, off] = Self::WORDS;
        match self {
            Self::Open => on,
            Self::Loopback => loopback,
            Self::Closed => off,
        }
    }

    /// What stands in a configuration.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] with the words that are known.
    pub fn parse(text: &str) -> Result<Self> {
        let values = [Self::Open, Self::Loopback, Self::Closed];
        let mut found = values.into_iter().filter(|value| value.word() == text);
        found.next().ok_or_else(|| {
            Error::new(
                ErrorKind::Invalid,
                format!("{text:?} is no network of a step"),
            )
            .with_hint(format!("write one of: {}", Self::WORDS.join(", ")))
        })
    }
}

/// How a step must have ended for its files to be kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KeptWhen {
    /// It passed.
    #[default]
    Passed,
    /// The code failed: a command that said so, or that took too long.
    Failed,
    /// Either.
    Always,
}

impl KeptWhen {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Passed, Self::Failed, Self::Always];

    /// Its word in a configuration.
    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Always => "always",
        }
    }

    fn is_passed(&self) -> bool {
        *self == Self::Passed
    }
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Unique in its plan.
    pub name: StepName,
    /// What runs. `{tests}` stands for the names of a shard.
    pub run: CommandLine,
    /// Where, below the checkout; empty for its root.
    #[serde(default)]
    pub dir: String,
    /// Added to the environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Steps that must have passed. The step runs in the work directory of the first of them.
    #[serde(default)]
    pub needs: Vec<StepName>,
    /// Longest run.
    #[serde(rename = "timeout_us", default = "default_timeout", with = "micros")]
    pub timeout: Duration,
    /// Longest silence.
    #[serde(rename = "quiet_us", default = "default_quiet", with = "micros")]
    pub quiet: Duration,
    /// Prints the names of the tests, separated by white space, when there are shards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tests: Option<CommandLine>,
    /// On how many machines the tests are run at once; at least 1.
    #[serde(default = "one")]
    pub shards: u32,
    /// Files that are kept: globs below the checkout.
    #[serde(default)]
    pub artifacts: Vec<String>,
    /// How the step must have ended for its files to be kept.
    #[serde(default, skip_serializing_if = "KeptWhen::is_passed")]
    pub artifacts_when: KeptWhen,
    /// How long its files stay after the build has ended; as long as the farm keeps any when not
    /// given.
    #[serde(
        rename = "artifacts_keep_us",
        default,
        with = "micros::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub artifacts_keep: Option<Duration>,
    /// Directories kept for the next build: paths below the checkout.
    #[serde(default)]
    pub cache: Vec<String>,
    /// The directory, below the checkout, that is kept as a whole when the step has passed: for
    /// steps that get it ([`Step::inputs`]) and for builds to come ([`InputFrom::Snapshot`]).
    /// Empty: the checkout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// Snapshots of steps it needs, put in place before it runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<StepInput>,
    /// Builders that run this step: globs over their names. Empty: all.
    #[serde(default)]
    pub builders: Vec<String>,
    /// For which commits it runs; nothing: for all.
    #[serde(default, skip_serializing_if = "Conditions::is_empty")]
    pub when: Conditions,
    /// Programs that must be on `PATH`; a missing one is a configuration error, not a failure.
    #[serde(default)]
    pub tools: Vec<String>,
    /// Files with the results of its tests, in the form of JUnit: globs below the checkout. Where
    /// there are some, what the step prints of tests is not counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reports: Vec<String>,
    /// Toolchains that come first on its `PATH`, each with its version or the beginning of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub toolchain: BTreeMap<String, String>,
    /// Whether it passes though its test runner found no test to run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_run_no_tests: bool,
    /// How much of its machine it may touch.
    #[serde(default)]
    pub sandbox: Sandbox,
    /// Which network it sees.
    #[serde(default)]
    pub network: Network,
    /// The image that it runs in, for machines that have any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Secrets it is given, by the variables that hold them: names to look them up by, never
    /// what they are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, SecretName>,
    /// What a newer version says beside.
    #[serde(flatten)]
    pub rest: BTreeMap<String, serde_json::Value>,
}

fn default_timeout() -> Duration {
    STEP_TIMEOUT
}

fn default_quiet() -> Duration {
    QUIET_TIMEOUT
}

fn one() -> u32 {
    1
}

impl Step {
    /// A step with the default limits.
    pub fn new(name: StepName, run: impl Into<CommandLine>) -> Self {
        Self {
            name,
            run: run.into(),
            dir: String::new(),
            env: BTreeMap::new(),
            needs: Vec::new(),
            timeout: STEP_TIMEOUT,
            quiet: QUIET_TIMEOUT,
            tests: None,
            shards: 1,
            artifacts: Vec::new(),
            artifacts_when: KeptWhen::default(),
            artifacts_keep: None,
            cache: Vec::new(),
            snapshot: None,
            inputs: Vec::new(),
            builders: Vec::new(),
            when: Conditions::default(),
            tools: Vec::new(),
            may_run_no_tests: false,
            reports: Vec::new(),
            toolchain: BTreeMap::new(),
            sandbox: Sandbox::default(),
            network: Network::default(),
            image: None,
            secrets: BTreeMap::new(),
            rest: BTreeMap::new(),
        }
    }

    /// Whether something of it is kept when it has passed.
    pub fn keeps(&self) -> bool {
        !self.artifacts_of(true).is_empty() || self.snapshot.is_some()
    }

    /// The files that are kept of it when it has passed, or when it has failed.
    pub fn artifacts_of(&self, passed: bool) -> &[String] {
        match (self.artifacts_when, passed) {
            (KeptWhen::Failed, true) | (KeptWhen::Passed, false) => &[],
            _ => &self.artifacts,
        }
    }

    /// Runs only after `step` has passed.
    #[must_use]
    pub fn needing(mut self, step: &StepName) -> Self {
        self.needs.push(step.clone());
        self
    }
}

/// Bounds on what a build may use. `None` is no bound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Bytes of log kept for each step: the head and the last 64 KiB.
    pub log_bytes: Option<u64>,
    /// Bytes that must stay free on the disk of the work directory.
    pub disk_floor_bytes: u64,
    /// Bytes of memory of each step's process tree.
    pub memory_bytes: Option<u64>,
    /// Processes of each step's tree.
    pub processes: Option<u32>,
    /// How often a unit is tried when the machine, not the code, fails.
    pub attempts: u32,
    /// Whether a build that failed by tests is run once more when machines are idle; see
    /// [`crate::flakes`].
    pub rerun: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            log_bytes: None,
            disk_floor_bytes: DISK_FLOOR_BYTES,
            memory_bytes: None,
            processes: None,
            attempts: INFRASTRUCTURE_ATTEMPTS,
            rerun: true,
        }
    }
}

impl Plan {
    /// Checks that names are unique, needs exist, and nothing needs itself; sorts the
    /// steps so that each comes after what it needs, otherwise in the order given.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] naming the step.
    pub fn new(steps: Vec<Step>, reason: impl Into<String>) -> Result<Self> {
        let steps = in_order_of_need(steps)?;
        Ok(Self {
            steps,
            reason: reason.into(),
            limits: Limits::default(),
            depth: HISTORY_DEPTH,
            inputs: Vec::new(),
            warm: Vec::new(),
            left_out: Vec::new(),
            builder: None,
        })
    }

    /// The same plan, checked and sorted as by [`Plan::new`], whoever made it.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] naming the step, or the input.
    pub(crate) fn checked(self) -> Result<Self> {
        let steps = in_order_of_need(self.steps)?;
        let plan = Self { steps, ..self };
        check_places(&plan)?;
        Ok(plan)
    }

    /// Whether nothing of it runs, because all of it passed before and nothing has changed since.
    pub fn is_unchanged(&self) -> bool {
        let passed = |step: &LeftOut| step.passed.is_some();
        self.steps.is_empty() && !self.left_out.is_empty() && self.left_out.iter().all(passed)
    }

    /// The step called `name`.
    pub fn step(&self, name: &StepName) -> Option<&Step> {
        self.steps.iter().find(|s| s.name == *name)
    }
}

/// The first of those that need nothing more comes first, always.
fn in_order_of_need(steps: Vec<Step>) -> Result<Vec<Step>> {
    let names: BTreeSet<StepName> = steps.iter().map(|s| s.name.clone()).collect();
    check_names(&steps, &names)?;
    let numbers: BTreeMap<StepName, usize> = steps
        .iter()
        .enumerate()
        .map(|(at, step)| (step.name.clone(), at))
        .collect();
    let mut needed_by = vec![Vec::new(); steps.len()];
    let mut missing: Vec<usize> = steps.iter().map(|step| step.needs.len()).collect();
    for (at, step) in steps.iter().enumerate() {
        for need in step.needs.iter().filter_map(|need| numbers.get(need)) {
            needed_by[*need].push(at);
        }
    }
    let mut ready: BTreeSet<usize> = (0..steps.len()).filter(|at| missing[*at] == 0).collect();
    let mut waiting: Vec<Option<Step>> = steps.into_iter().map(Some).collect();
    let mut sorted = Vec::with_capacity(waiting.len());
    while let Some(at) = ready.pop_first() {
        sorted.extend(waiting[at].take());
        for next in &needed_by[at] {
            missing[*next] -= 1;
            if missing[*next] == 0 {
                ready.insert(*next);
            }
        }
    }
    let circle: Vec<_> = waiting.iter().flatten().map(|s| s.name.as_str()).collect();
    if circle.is_empty() {
        return Ok(sorted);
    }
    let text = format!("steps need each other: {}", circle.join(", "));
    Err(Error::new(ErrorKind::Invalid, text)
        .with_hint("take one of them from the `needs` of another"))
}

fn listed(names: &BTreeSet<StepName>) -> String {
    let names: Vec<_> = names.iter().map(StepName::as_str).collect();
    names.join(", ")
}

fn check_names(steps: &[Step], names: &BTreeSet<StepName>) -> Result<()> {
    if names.len() != steps.len() {
        let twice = steps
            .iter()
            .find(|s| steps.iter().filter(|o| o.name == s.name).count() > 1);
        let name = twice.map_or("", |s| s.name.as_str());
        return Err(
            Error::new(ErrorKind::Invalid, format!("two steps are called {name:?}"))
                .with_hint("logs and `needs` go by names: call one of them otherwise"),
        );
    }
    for step in steps {
        if let Some(missing) = step.needs.iter().find(|n| !names.contains(n)) {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!(
                    "step {:?} needs {:?}, which is not a step",
                    step.name.as_str(),
                    missing.as_str()
                ),
            )
            .with_hint(format!("the steps are: {}", listed(names))));
        }
        if step.shards == 0 || (step.shards > 1 && step.tests.is_none()) {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!(
                    "step {:?} has shards but no command that lists its tests",
                    step.name.as_str()
                ),
            )
            .with_hint("add `tests = \"command that prints test names\"`"));
        }
        check_tests_fit(step)?;
        check_inputs(step, steps)?;
    }
    Ok(())
}

/// What stands for the names of a shard in the command of a step.
pub(crate) const TESTS_MARK: &str = "{tests}";

/// Names of tests are quoted for the shell of their step.
fn check_tests_fit(step: &Step) -> Result<()> {
    let shell = step.run.shell().and_then(Shell::named);
    if shell.is_none_or(Shell::can_quote) || !step.run.text().contains(TESTS_MARK) {
        return Ok(());
    }
    let text = format!(
        "step {:?} hands names of tests to the shell \"cmd\", which has no safe quotes for them",
        step.name.as_str()
    );
    Err(Error::new(ErrorKind::Invalid, text)
        .with_hint("give `run` as a list of words, or use shell = \"pwsh\""))
}

/// What runs on one machine at one time: a step, the listing of its tests, or one of its shards.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Unit {
    /// The step.
    pub step: StepName,
    /// Which part of it.
    #[serde(default)]
    pub part: Part,
}

/// Which part of a step a unit is.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// All of it.
    #[default]
    Whole,
    /// The command that lists the tests.
    List,
    /// One share of the tests, counted from 0.
    Shard(u32),
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.part {
            Part::Whole => write!(f, "{}", self.step),
            Part::List => write!(f, "{} (list)", self.step),
            Part::Shard(n) => write!(f, "{} (shard {})", self.step, n + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: &str, needs: &[&str]) -> Step {
        let mut step = Step::new(StepName::new(name).unwrap(), "true");
        step.needs = needs.iter().map(|n| StepName::new(n).unwrap()).collect();
        step
    }

    #[test]
    fn steps_come_after_what_they_need() {
        let plan = Plan::new(
            vec![
                step("test", &["build"]),
                step("lint", &[]),
                step("build", &[]),
            ],
            "test",
        )
        .unwrap();
        let order: Vec<_> = plan.steps.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(order, ["lint", "build", "test"]);
    }

    #[test]
    fn impossible_plans_are_refused_by_name() {
        let circle = Plan::new(vec![step("a", &["b"]), step("b", &["a"])], "").unwrap_err();
        assert_eq!(circle.to_string(), "steps need each other: a, b");
        let missing = Plan::new(vec![step("a", &["x"])], "").unwrap_err();
        assert_eq!(
            missing.to_string(),
            "step \"a\" needs \"x\", which is not a step"
        );
        let twice = Plan::new(vec![step("a", &[]), step("a", &[])], "").unwrap_err();
        assert_eq!(twice.to_string(), "two steps are called \"a\"");
    }
}
