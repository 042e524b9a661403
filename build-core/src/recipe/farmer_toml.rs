//! `.farmer.toml`: what a repository says about its builds.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use toml::Spanned;

use super::input_toml::{Given, RawInput};
use super::keys;
use super::matrix_toml::{Lines, RawMatrix, Unfolded, unfold};
use super::nearest::name_hint;
use super::quantity::parse_size;
use super::step_toml::{RawStep, check_shell, check_toolchain, plain_dir, write_step};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{BuilderName, HostType, StepName};
use crate::plan::{HISTORY_DEPTH, LeftOut, Limits, Plan, Sandbox, Step, check_place, overlap};
use crate::schedule::Draw;
use crate::tarutil::Glob;
use crate::work::{Builder, WorkItem};

/// The file's name, at the root of the checkout.
pub const FILE_NAME: &str = ".farmer.toml";

/// What is built when no builder is configured.
pub(super) const LOCAL: &str = "local";

/// A configuration: steps, limits, builders and hosts.
///
/// ```
/// use build_core::recipe::FarmerToml;
///
/// let file = FarmerToml::parse(r#"
///     [[step]]
///     name = "test"
///     run = "cargo test"
///     timeout = "30m"
/// "#)?;
/// assert_eq!(file.steps()[0].timeout.as_secs(), 1800);
/// let error = FarmerToml::parse("[[step]]\nname = \"x\"\nrun = \"x\"\ntimout = \"1m\"").unwrap_err();
/// assert_eq!(error.hint(), Some("did you mean \"timeout\"?"));
/// # Ok::<(), build_core::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FarmerToml {
    steps: Vec<Step>,
    /// Of each step, what it needs only because it needs all cells of a matrix.
    of_cells: BTreeMap<StepName, BTreeSet<StepName>>,
    limits: Limits,
    builders: Vec<Builder>,
    hosts: Vec<Host>,
    depth: u32,
    inputs: Vec<Given>,
    warm: Vec<String>,
}

/// A host type of a configuration: which machines, from which pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its name, which builders refer to.
    pub name: HostType,
    /// The pool that supplies it.
    pub pool: String,
    /// How many machines; `None`: as many as the pool sees fit.
    pub count: Option<u32>,
    /// What the machines have.
    pub labels: BTreeSet<String>,
    /// The image they are started from, for pools that use one.
    pub image: Option<String>,
    /// How builds are kept apart from them; [`Sandbox::Auto`]: as the farm says.
    pub sandbox: Sandbox,
    /// What each takes of capacities that machines of the farm share; of a host of a commit
    /// nothing.
    pub draws: Vec<Draw>,
}

#[derive(Deserialize)]
struct RawFile {
    depth: Option<u32>,
    #[serde(default)]
    warm: Vec<String>,
    shell: Option<String>,
    #[serde(default)]
    step: Vec<Spanned<RawStep>>,
    #[serde(default)]
    matrix: Vec<Spanned<RawMatrix>>,
    #[serde(default)]
    input: Vec<RawInput>,
    #[serde(default)]
    limits: RawLimits,
    #[serde(default)]
    builder: Vec<RawBuilder>,
    #[serde(default)]
    host: Vec<RawHost>,
    #[serde(default)]
    toolchain: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
struct RawLimits {
    log: Option<RawSize>,
    disk: Option<RawSize>,
    memory: Option<RawSize>,
    processes: Option<u32>,
    attempts: Option<u32>,
    rerun: Option<bool>,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum RawSize {
    Bytes(u64),
    Text(String),
}

#[derive(Deserialize)]
struct RawBuilder {
    name: BuilderName,
    host: Option<HostType>,
    #[serde(default)]
    labels: BTreeSet<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct RawHost {
    name: HostType,
    pool: Option<String>,
    count: Option<u32>,
    #[serde(default)]
    labels: BTreeSet<String>,
    image: Option<String>,
    sandbox: Option<String>,
}

impl FarmerToml {
    /// Reads a configuration.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: the place of a syntax error, an unknown key with the nearest
    /// known one as hint, a bad value with its step, steps that cannot be ordered, a step
    /// for a builder that is not there. A builder may be on a host that the farm has.
    pub fn parse(text: &str) -> Result<Self> {
        let table: toml::Table = text.parse().map_err(|e| not_toml(&e))?;
        keys::check(&table, keys::FILE, "")?;
        let raw: RawFile = toml::from_str(text).map_err(|e| not_toml(&e))?;
        let file = Self::from_raw(raw, &Lines(text))?;
        file.check_references()?;
        Ok(file)
    }

    fn from_raw(raw: RawFile, lines: &Lines<'_>) -> Result<Self> {
        let of_all = raw.toolchain;
        check_toolchain("toolchain", &of_all)?;
        if let Some(shell) = &raw.shell {
            check_shell("shell", shell)?;
        }
        let Unfolded { steps, of_cells } = unfold(raw.step, raw.matrix, lines)?;
        let steps = steps
            .into_iter()
            .map(|mut step| {
                for (name, version) in &of_all {
                    let version = version.clone();
                    step.toolchain.entry(name.clone()).or_insert(version);
                }
                step.read(raw.shell.as_deref())
            })
            .collect::<Result<Vec<_>>>()?;
        let warm = warm_dirs(&raw.warm, &steps)?;
        Ok(Self {
            warm,
            of_cells,
            // Ordering the steps also checks their names and needs.
            steps: Plan::new(steps, "")?.steps,
            limits: raw.limits.read()?,
            builders: raw.builder.into_iter().map(RawBuilder::read).collect(),
            hosts: (raw.host.into_iter())
                .map(RawHost::read)
                .collect::<Result<_>>()?,
            depth: raw.depth.unwrap_or(HISTORY_DEPTH).max(1),
            inputs: (0..)
                .zip(raw.input)
                .map(|(n, input)| input.read(n))
                .collect::<Result<_>>()?,
        })
    }

    fn check_references(&self) -> Result<()> {
        let builders = self.builders();
        let names = builders.iter().map(|b| b.name.as_str());
        for step in &self.steps {
            let is_unknown = |name: &&String| {
                !name.contains(['*', '?', '[', '{']) && names.clone().all(|known| known != *name)
            };
            if let Some(name) = step.builders.iter().find(is_unknown) {
                return Err(invalid(format!(
                    "step \"{}\" is for builder \"{name}\", which is not configured",
                    step.name
                ))
                .with_hint(name_hint(name, names)));
            }
            let reachable = builders.iter().any(|b| runs_on(step, &b.name));
            if !reachable {
                return Err(invalid(format!(
                    "step \"{}\" runs on no builder: {:?} matches none",
                    step.name, step.builders
                ))
                .with_hint(format!(
                    "there are: {}",
                    names.collect::<Vec<_>>().join(", ")
                )));
            }
        }
        Ok(())
    }

    /// The steps, each after what it needs.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Bounds on what a build may use.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The builders: the configured ones, or one called `local`.
    pub fn builders(&self) -> Vec<Builder> {
        if self.builders.is_empty() {
            vec![local_builder()]
        } else {
            self.builders.clone()
        }
    }

    /// Whether the file says itself which builders there are.
    pub fn names_builders(&self) -> bool {
        !self.builders.is_empty()
    }

    /// The host types that are configured beside the local one.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The plan of `builder`: its steps, whatever their conditions, with `reason` for people, and
    /// the builder as it is configured here.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when it has no step, or one of its steps needs one that only
    /// other builders run.
    pub fn plan(&self, builder: &BuilderName, reason: impl Into<String>) -> Result<Plan> {
        self.plan_of(self.steps_on(builder), builder, reason.into())
    }

    /// The plan of `builder` for a commit: as [`FarmerToml::plan`], without the steps whose
    /// conditions do not hold, and those that need them. What files have to change for it is not
    /// known here: it stays a condition of the step.
    ///
    /// # Errors
    /// As [`FarmerToml::plan`], and when no step is left.
    pub fn plan_for(
        &self,
        item: &WorkItem,
        builder: &BuilderName,
        reason: impl Into<String>,
    ) -> Result<Plan> {
        let reason = reason.into();
        let (steps, left_out) = self.steps_for(item, builder);
        if steps.is_empty() && !left_out.is_empty() {
            let text = LeftOut::told_with("no step runs for this commit", &left_out);
            return Err(invalid(text).with_hint(
                "leave a step without `when` that runs for every commit, or let its `when` say more",
            ));
        }
        let reason = LeftOut::told_with(&reason, &left_out);
        let plan = self.plan_of(steps, builder, reason)?;
        Ok(Plan { left_out, ..plan })
    }

    /// The builders that have something to run for a commit.
    pub fn builders_for(&self, item: &WorkItem) -> Vec<Builder> {
        let all = self.builders();
        if self.steps.is_empty() {
            return all;
        }
        let has_some = |builder: &&Builder| {
            let (steps, left_out) = self.steps_for(item, &builder.name);
            // One without any step at all is told so.
            !steps.is_empty() || left_out.is_empty()
        };
        let some: Vec<Builder> = all.iter().filter(has_some).cloned().collect();
        if some.is_empty() { all } else { some }
    }

    fn plan_of(&self, steps: Vec<Step>, builder: &BuilderName, reason: String) -> Result<Plan> {
        if steps.is_empty() {
            return Err(
                invalid(format!("no step runs on builder \"{builder}\"")).with_hint(SAMPLE_HINT)
            );
        }
        let plan = Plan::new(steps, reason)
            .map_err(|e| e.while_doing(format!("plan for builder \"{builder}\"")))?;
        self.govern(plan, builder).checked()
    }

    /// The steps of a builder. One that needs all cells of a matrix needs those that it runs.
    fn steps_on(&self, builder: &BuilderName) -> Vec<Step> {
        let here = self.steps.iter().filter(|s| runs_on(s, builder));
        let mut steps: Vec<Step> = here.cloned().collect();
        let names: BTreeSet<StepName> = steps.iter().map(|step| step.name.clone()).collect();
        for step in &mut steps {
            let Some(of_cells) = self.of_cells.get(&step.name) else {
                continue;
            };
            if of_cells.iter().any(|cell| names.contains(cell)) {
                step.needs
                    .retain(|need| names.contains(need) || !of_cells.contains(need));
            }
        }
        steps
    }

    /// The steps of a builder for a commit, and those that are left out.
    fn steps_for(&self, item: &WorkItem, builder: &BuilderName) -> (Vec<Step>, Vec<LeftOut>) {
        let (mut kept, mut left_out) = (Vec::new(), Vec::new());
        let mut out = BTreeSet::new();
        // Each comes after what it needs.
        for mut step in self.steps_on(builder) {
            let of_cells = self.of_cells.get(&step.name);
            let is_cell = |need: &StepName| of_cells.is_some_and(|cells| cells.contains(need));
            let gone: Vec<StepName> = (step
                .needs
                .iter()
                .filter(|need| out.contains(*need))
                .cloned())
            .collect();
            let others = step.needs.len() > gone.len();
            let missing = gone.iter().find(|need| !(is_cell(need) && others));
            let why = match (step.when.open_for(item), missing) {
                (None, _) => format!("only {}", step.when),
                (_, Some(need)) => format!("it needs {need}"),
                (Some(open), None) => {
                    step.when = open;
                    step.needs.retain(|need| !gone.contains(need));
                    kept.push(step);
                    continue;
                }
            };
            out.insert(step.name.clone());
            left_out.push(LeftOut {
                step: step.name,
                why,
                passed: None,
            });
        }
        (kept, left_out)
    }

    /// Steps from elsewhere, with what the file says about all of them.
    pub(super) fn govern(&self, plan: Plan, builder: &BuilderName) -> Plan {
        let configured = self.builders.iter().find(|b| b.name == *builder);
        let mut plan = plan;
        for step in &mut plan.steps {
            // Of a guess: what is warm is not packed too.
            step.cache.retain(|_| self.warm.is_empty());
        }
        Plan {
            warm: self.warm.clone(),
            limits: self.limits.clone(),
            depth: self.depth,
            inputs: self
                .inputs
                .iter()
                .filter_map(|given| given.on(builder))
                .collect(),
            builder: configured.cloned().map(Box::new),
            ..plan
        }
    }
}

/// Directories that stay warm, in their plain form. A directory is kept in one way: files have one
/// time each.
fn warm_dirs(dirs: &[String], steps: &[Step]) -> Result<Vec<String>> {
    let dirs: Vec<String> = dirs.iter().map(|dir| plain_dir(dir)).collect();
    for (n, dir) in dirs.iter().enumerate() {
        check_place("warm", dir)?;
        if let Some(other) = dirs[..n].iter().find(|other| overlap(other, dir)) {
            let text = format!("warm: {dir:?} and {other:?} are one in the other");
            return Err(invalid(text).with_hint("name the outer one alone"));
        }
    }
    let cached = steps.iter().find(|step| !step.cache.is_empty());
    match cached.filter(|_| !dirs.is_empty()) {
        None => Ok(dirs),
        Some(step) => {
            let text = format!(
                "step \"{}\" has `cache`, and the file has `warm`",
                step.name
            );
            Err(invalid(text).with_hint(
                "choose one: `warm` is faster on the farm's own machine, `cache` works on every machine",
            ))
        }
    }
}

/// What to write when nothing is configured or detected.
pub(super) const SAMPLE_HINT: &str = "write a .farmer.toml, for example:\n\n    [[step]]\n    name = \"test\"\n    run = \"./run-tests.sh\"\n";

/// The builder of a repository that configures none.
pub(super) fn local_builder() -> Builder {
    Builder {
        name: BuilderName::new(LOCAL).expect("a valid name"),
        host_type: HostType::new(LOCAL).expect("a valid name"),
        labels: BTreeSet::new(),
        env: BTreeMap::new(),
    }
}

fn runs_on(step: &Step, builder: &BuilderName) -> bool {
    runs_here(&step.builders, builder)
}

/// Whether one of `globs` names a builder; none of them: all are named.
pub(super) fn runs_here(globs: &[String], builder: &BuilderName) -> bool {
    let matches = |glob: &String| Glob::new(glob).matches(builder.as_str().as_bytes());
    globs.is_empty() || globs.iter().any(matches)
}

pub(super) fn invalid(text: String) -> Error {
    Error::new(ErrorKind::Invalid, text)
}

fn not_toml(error: &toml::de::Error) -> Error {
    unreadable(error).with_hint(
        "docs/configuration.md shows each key; a file that works is printed by: farmer init --print",
    )
}

/// The parser's own text spans lines and draws the place; it is kept whole.
pub(super) fn unreadable(error: &toml::de::Error) -> Error {
    invalid(error.to_string().trim_end().to_owned())
}

impl RawSize {
    /// The bytes of the size called `key`.
    pub(super) fn read(self, key: &str) -> Result<u64> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Text(text) => parse_size(&text).map_err(|e| e.while_doing(key.to_owned())),
        }
    }
}

impl RawLimits {
    fn read(self) -> Result<Limits> {
        let default = Limits::default();
        let size = |raw: Option<RawSize>, key: &str| {
            let read = raw.map(|size| size.read(&format!("limits.{key}")));
            read.transpose()
        };
        Ok(Limits {
            log_bytes: size(self.log, "log")?,
            disk_floor_bytes: size(self.disk, "disk")?.unwrap_or(default.disk_floor_bytes),
            memory_bytes: size(self.memory, "memory")?,
            processes: self.processes,
            attempts: self.attempts.unwrap_or(default.attempts).max(1),
            rerun: self.rerun.unwrap_or(default.rerun),
        })
    }
}

impl RawBuilder {
    fn read(self) -> Builder {
        let host_type = self.host.unwrap_or_else(|| local_builder().host_type);
        Builder {
            name: self.name,
            host_type,
            labels: self.labels,
            env: self.env,
        }
    }
}

impl RawHost {
    fn read(self) -> Result<Host> {
        Ok(Host {
            sandbox: sandbox_of(&self.name, self.sandbox.as_deref())?,
            name: self.name,
            pool: self.pool.unwrap_or_else(|| LOCAL.to_owned()),
            count: self.count,
            labels: self.labels,
            image: self.image,
            draws: Vec::new(),
        })
    }
}

/// The level of a host.
pub(super) fn sandbox_of(host: &HostType, text: Option<&str>) -> Result<Sandbox> {
    let sandbox = text.map_or(Ok(Sandbox::default()), Sandbox::parse);
    sandbox.map_err(|e| {
        let hint = e.hint().unwrap_or_default().to_owned();
        invalid(format!("host \"{host}\": sandbox: {e}")).with_hint(hint)
    })
}

/// Writes steps as a `.farmer.toml` that reads back as the same steps.
pub(super) fn write(plan: &Plan) -> String {
    let mut text = format!("# {}\n", plan.reason);
    for step in &plan.steps {
        text.push_str("\n[[step]]\n");
        write_step(&mut text, step).expect("writing to a string");
    }
    text
}

/// Reads `data` as a configuration, for fuzzing; what is accepted must be written back equal.
pub fn fuzz_farmer_toml(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(file) = FarmerToml::parse(text) else {
        return;
    };
    use crate::plan::Conditions;
    for builder in file.builders() {
        if let Ok(plan) = file.plan(&builder.name, "fuzz") {
            // Its builders are lost with the builders, which a plan does not hold, and guesses,
            // which are written, have no conditions.
            let steps = plan
                .steps
                .iter()
                .map(|s| Step {
                    builders: Vec::new(),
                    when: Conditions::default(),
                    ..s.clone()
                })
                .collect();
            let plan = Plan { steps, ..plan };
            let again = FarmerToml::parse(&write(&plan)).expect("what is written can be read");
            assert_eq!(again.steps(), plan.steps);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::StepName;
    use proptest::prelude::*;

    const WHOLE: &str = r#"
        depth = 10
        [[step]]
        name = "test"
        run = "cargo test -- {tests}"
        dir = "sub"
        env = { RUST_BACKTRACE = "1" }
        needs = ["build"]
        timeout = "30m"
        quiet = "10m"
        tests = "cargo test -- --list"
        shards = 4
        artifacts = ["out/**"]
        [[step]]
        name = "build"
        run = "cargo build"
        cache = ["target"]
        builders = ["linux*"]
        [limits]
        log = "64 MiB"
        disk = 1024
        memory = "4 GiB"
        processes = 100
        rerun = false
        [[builder]]
        name = "linux-amd64"
        host = "big"
        labels = ["gpu"]
        [[host]]
        name = "big"
        pool = "local"
        count = 2
    "#;

    #[test]
    fn a_whole_file_is_read_and_its_steps_are_ordered() {
        let file = FarmerToml::parse(WHOLE).unwrap();
        let plan = file.plan(&file.builders()[0].name, "test").unwrap();
        assert_eq!(plan.steps[0].name.as_str(), "build");
        assert_eq!(plan.steps[1].shards, 4);
        assert_eq!((plan.depth, plan.limits.disk_floor_bytes), (10, 1024));
        assert_eq!(plan.limits.log_bytes, Some(64 << 20));
        assert!(!plan.limits.rerun);
        assert_eq!(file.hosts()[0].count, Some(2));
        assert_eq!(
            FarmerToml::parse(&write(&plan)).unwrap_err().to_string(),
            "step \"build\" runs on no builder: [\"linux*\"] matches none"
        );
    }

    #[test]
    fn errors_name_the_object_and_the_remedy() {
        let cases = [
            (
                "[[step]]\nname='a'\nrun='x'\nshard=2",
                "unknown key \"step[0].shard\"",
                "did you mean \"shards\"?",
            ),
            (
                "[limit]\nlog='1 B'",
                "unknown key \"limit\"",
                "did you mean \"limits\"?",
            ),
            (
                "[[step]]\nname='a'\nrun='x'\ntimeout='soon'",
                "step \"a\", timeout: bad duration \"soon\"",
                "write it like \"90s\", \"30m\" or \"1h30m\"",
            ),
            (
                "[[step]]\nname='a'\nrun='x'\nshards=2",
                "step \"a\" has shards but no command that lists its tests",
                "add `tests = \"command that prints test names\"`",
            ),
            (
                "[[step]]\nname='a'\nrun='x'\nshell='zsh'",
                "step \"a\", shell: \"zsh\" is no shell that is known",
                "known are sh, bash, pwsh, cmd, rc; of another one give the words: run = [\"zsh\", \"-c\", \"...\"]",
            ),
            (
                "[[step]]\nname='a'\nrun=['x']\nshell='bash'",
                "step \"a\" names a shell and a list of words, which no shell reads",
                "take `shell` out, or write `run` as one line",
            ),
            (
                "[[step]]\nname='a'\nrun=[]",
                "step \"a\" runs nothing",
                "give its command, such as run = \"make test\"",
            ),
            (
                "shell='cmd'\n[[step]]\nname='a'\nrun='x {tests}'\ntests='y'",
                "step \"a\" hands names of tests to the shell \"cmd\", which has no safe quotes for them",
                "give `run` as a list of words, or use shell = \"pwsh\"",
            ),
            (
                "[[host]]\nname='h'\nsandbox='strong'",
                "host \"h\": sandbox: \"strong\" is no sandbox level",
                "the levels are: auto, none, user, namespaces",
            ),
            (
                "[[builder]]\nname='linux'\n[[step]]\nname='a'\nrun='x'\nbuilders=['linux','lunix']",
                "step \"a\" is for builder \"lunix\", which is not configured",
                "did you mean \"linux\"?",
            ),
        ];
        for (text, message, hint) in cases {
            let error = FarmerToml::parse(text).unwrap_err();
            assert_eq!(
                (error.to_string().as_str(), error.hint()),
                (message, Some(hint))
            );
        }
        let syntax = FarmerToml::parse("[[step]\n").unwrap_err().to_string();
        assert!(syntax.contains("line 1"), "{syntax}");
    }

    #[test]
    fn kept_files_say_when_and_for_how_long() {
        let file = FarmerToml::parse(
            "[[step]]\nname = 'a'\nrun = 'x'\nartifacts = { paths = ['out/**'], keep = '30d' }\n\
             [[step]]\nname = 'b'\nrun = 'x'\nartifacts = { paths = ['core'], when = 'failed', keep = '2h' }",
        )
        .unwrap();
        let hours = |step: &Step| step.artifacts_keep.map(|keep| keep.as_secs() / 3600);
        let kept: Vec<_> = file.steps().iter().map(hours).collect();
        assert_eq!(kept, [Some(720), Some(2)]);
        let plan = file.plan(&file.builders()[0].name, "test").unwrap();
        let again = FarmerToml::parse(&write(&plan)).unwrap();
        assert_eq!(again.steps(), file.steps());
        let wrong = "[[step]]\nname = 'a'\nrun = 'x'\nartifacts = { paths = ['o'], keep = 'long' }";
        let said = FarmerToml::parse(wrong).unwrap_err().to_string();
        assert!(
            said.contains("step \"a\", artifacts: bad duration"),
            "{said}"
        );
    }

    #[test]
    fn a_command_is_words_or_a_line_for_a_named_shell() {
        let file = FarmerToml::parse(
            "shell = 'pwsh'\n[[step]]\nname = 'a'\nrun = ['cargo', 'test', '$HOME']\n\
             [[step]]\nname = 'b'\nrun = 'dir'\n[[step]]\nname = 'c'\nrun = 'ls'\nshell = 'bash'",
        )
        .unwrap();
        let shells: Vec<_> = file.steps().iter().map(|s| s.run.shell()).collect();
        assert_eq!(shells, [None, Some("pwsh"), Some("bash")]);
        let plan = file.plan(&file.builders()[0].name, "test").unwrap();
        let again = FarmerToml::parse(&write(&plan)).unwrap();
        assert_eq!(again.steps(), file.steps());
        let wrong = FarmerToml::parse("[[step]]\nname = 'a'\nrun = 7").unwrap_err();
        let said = wrong.to_string();
        assert!(
            said.contains("a line for a shell, or a list of words"),
            "{said}"
        );
    }

    #[test]
    fn a_file_with_the_line_ends_of_windows_says_the_same() {
        let text = "[[step]]\nname = 'a'\nrun = \"\"\"\nset -e\ntrue\n\"\"\"\ntests = '''\nls\n'''\nshards = 2\n";
        let plain = FarmerToml::parse(text).unwrap();
        let windows = FarmerToml::parse(&text.replace('\n', "\r\n")).unwrap();
        assert_eq!(plain, windows);
        assert_eq!(plain.steps()[0].run.text(), "set -e\ntrue\n");
    }

    #[test]
    fn the_schema_is_the_committed_one() {
        keys::check_committed("farmer.schema.json", &keys::schema());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(\\[\\[step\\]\\]\n)?(name|run|needs|shards|timeout) ?= ?[\\[\"'a-z0-9\\]]{0,12}\n.{0,40}") {
            fuzz_farmer_toml(text.as_bytes());
        }

        #[test]
        fn steps_written_are_read_back(names in prop::collection::btree_set("[a-z][a-z ]{0,8}[a-z]", 1..5), run in "[!-~][^\\x00\n]{0,39}", secs in 1u64..1_000_000) {
            let mut steps: Vec<Step> = Vec::new();
            for name in names {
                let mut step = Step::new(StepName::new(name).unwrap(), run.clone());
                step.timeout = std::time::Duration::from_secs(secs);
                step.needs = steps.last().map(|s| s.name.clone()).into_iter().collect();
                steps.push(step);
            }
            let plan = Plan::new(steps, "test").unwrap();
            let again = FarmerToml::parse(&write(&plan)).unwrap();
            prop_assert_eq!(again.steps(), &plan.steps[..]);
        }
    }
}
