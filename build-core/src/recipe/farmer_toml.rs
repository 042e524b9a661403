//! `.farmer.toml`: what a repository says about its builds.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Deserialize;

use super::keys;
use super::nearest::name_hint;
use super::quantity::{parse_duration, parse_size, show_duration};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{BuilderName, HostType, StepName};
use crate::plan::{
    CommandLine, HISTORY_DEPTH, Limits, Network, Plan, QUIET_TIMEOUT, STEP_TIMEOUT, Sandbox, Step,
};
use crate::tarutil::Glob;
use crate::work::Builder;

/// The file's name, at the root of the checkout.
pub const FILE_NAME: &str = ".farmer.toml";

/// What is built when no builder is configured.
const LOCAL: &str = "local";

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
    limits: Limits,
    builders: Vec<Builder>,
    hosts: Vec<Host>,
    depth: u32,
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
}

#[derive(Deserialize)]
struct RawFile {
    depth: Option<u32>,
    #[serde(default)]
    step: Vec<RawStep>,
    #[serde(default)]
    limits: RawLimits,
    #[serde(default)]
    builder: Vec<RawBuilder>,
    #[serde(default)]
    host: Vec<RawHost>,
    #[serde(default)]
    toolchain: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct RawStep {
    name: StepName,
    run: String,
    #[serde(default)]
    dir: String,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    needs: Vec<StepName>,
    timeout: Option<String>,
    quiet: Option<String>,
    tests: Option<String>,
    shards: Option<u32>,
    #[serde(default)]
    artifacts: Vec<String>,
    #[serde(default)]
    cache: Vec<String>,
    #[serde(default)]
    builders: Vec<String>,
    #[serde(default)]
    tools: Vec<String>,
    no_tests: Option<NoTests>,
    #[serde(default)]
    reports: Vec<String>,
    #[serde(default)]
    toolchain: BTreeMap<String, String>,
    sandbox: Option<String>,
    network: Option<String>,
}

/// What becomes of a step whose test runner found no test to run.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum NoTests {
    Fail,
    Pass,
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
enum RawSize {
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
}

impl FarmerToml {
    /// Reads a configuration.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: the place of a syntax error, an unknown key with the nearest
    /// known one as hint, a bad value with its step, steps that cannot be ordered, a builder
    /// whose host is not configured.
    pub fn parse(text: &str) -> Result<Self> {
        let table: toml::Table = text.parse().map_err(|e| not_toml(&e))?;
        keys::check(&table, keys::FILE, "")?;
        let raw: RawFile = toml::from_str(text).map_err(|e| not_toml(&e))?;
        let file = Self::from_raw(raw)?;
        file.check_references()?;
        Ok(file)
    }

    fn from_raw(raw: RawFile) -> Result<Self> {
        let of_all = raw.toolchain;
        check_toolchain("toolchain", &of_all)?;
        let steps = raw
            .step
            .into_iter()
            .map(|mut step| {
                for (name, version) in &of_all {
                    let version = version.clone();
                    step.toolchain.entry(name.clone()).or_insert(version);
                }
                step.read()
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            // Ordering the steps also checks their names and needs.
            steps: Plan::new(steps, "")?.steps,
            limits: raw.limits.read()?,
            builders: raw.builder.into_iter().map(RawBuilder::read).collect(),
            hosts: raw.host.into_iter().map(RawHost::read).collect(),
            depth: raw.depth.unwrap_or(HISTORY_DEPTH).max(1),
        })
    }

    fn check_references(&self) -> Result<()> {
        for builder in &self.builders {
            let host = builder.host_type.as_str();
            if host != LOCAL && !self.hosts.iter().any(|h| h.name == builder.host_type) {
                return Err(invalid(format!(
                    "builder \"{}\" is on host \"{host}\", which is not configured",
                    builder.name
                ))
                .with_hint(format!(
                    "add a [[host]] with name = \"{host}\", or use host = \"local\""
                )));
            }
        }
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

    /// The plan of `builder`: its steps, with `reason` for people, and the builder as it is
    /// configured here.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when it has no step, or one of its steps needs one that only
    /// other builders run.
    pub fn plan(&self, builder: &BuilderName, reason: impl Into<String>) -> Result<Plan> {
        let steps: Vec<Step> = self
            .steps
            .iter()
            .filter(|s| runs_on(s, builder))
            .cloned()
            .collect();
        if steps.is_empty() {
            return Err(
                invalid(format!("no step runs on builder \"{builder}\"")).with_hint(SAMPLE_HINT)
            );
        }
        let plan = Plan::new(steps, reason)
            .map_err(|e| e.while_doing(format!("plan for builder \"{builder}\"")))?;
        Ok(self.govern(plan, builder))
    }

    /// Steps from elsewhere, with what the file says about all of them.
    pub(super) fn govern(&self, plan: Plan, builder: &BuilderName) -> Plan {
        let configured = self.builders.iter().find(|b| b.name == *builder);
        Plan {
            limits: self.limits.clone(),
            depth: self.depth,
            builder: configured.cloned().map(Box::new),
            ..plan
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
    step.builders.is_empty()
        || step
            .builders
            .iter()
            .any(|glob| Glob::new(glob).matches(builder.as_str().as_bytes()))
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

/// Paths of a step are below the checkout: anything else would be refused when it runs.
fn check_inside(step: &str, key: &str, path: &str) -> Result<()> {
    if !path.split('/').any(|part| part == "..") {
        return Ok(());
    }
    let text = format!("step \"{step}\", {key}: {path:?} leads out of the checkout");
    Err(invalid(text).with_hint("give a path below it, such as \"web/app\""))
}

impl RawStep {
    fn read(self) -> Result<Step> {
        let place = |e: Error, key: &str| {
            let hint = e.hint().unwrap_or_default().to_owned();
            invalid(format!("step \"{}\", {key}: {e}", self.name)).with_hint(hint)
        };
        let duration = |text: &Option<String>, key: &str, default| match text {
            Some(text) => parse_duration(text).map_err(|e| place(e, key)),
            None => Ok(default),
        };
        self.check()?;
        let sandbox = self
            .sandbox
            .as_deref()
            .map_or(Ok(Sandbox::default()), Sandbox::parse);
        let sandbox = sandbox.map_err(|e| place(e, "sandbox"))?;
        let network = self
            .network
            .as_deref()
            .map_or(Ok(Network::default()), Network::parse);
        let network = network.map_err(|e| place(e, "network"))?;
        // A file with the line ends of Windows runs as well.
        let run = self.run.replace("\r\n", "\n");
        let step = Step::new(self.name.clone(), run);
        Ok(Step {
            timeout: duration(&self.timeout, "timeout", STEP_TIMEOUT)?,
            quiet: duration(&self.quiet, "quiet", QUIET_TIMEOUT)?,
            shards: self.shards.unwrap_or(1),
            dir: self.dir,
            env: self.env,
            needs: self.needs,
            tests: self.tests.map(CommandLine::from),
            artifacts: self.artifacts,
            cache: self.cache,
            builders: self.builders,
            tools: self.tools,
            may_run_no_tests: self.no_tests == Some(NoTests::Pass),
            reports: self.reports,
            toolchain: self.toolchain,
            sandbox,
            network,
            ..step
        })
    }

    fn check(&self) -> Result<()> {
        let name = self.name.as_str();
        if self.run.trim().is_empty() {
            return Err(invalid(format!("step \"{name}\" runs nothing"))
                .with_hint("give its command, such as run = \"make test\""));
        }
        check_toolchain(&format!("step \"{name}\", toolchain"), &self.toolchain)?;
        let dirs = std::iter::once(("dir", &self.dir));
        let reports = self.reports.iter().map(|path| ("reports", path));
        let caches = self.cache.iter().map(|path| ("cache", path));
        let artifacts = self.artifacts.iter().map(|path| ("artifacts", path));
        dirs.chain(caches)
            .chain(artifacts)
            .chain(reports)
            .try_for_each(|(key, path)| check_inside(name, key, path))
    }
}

/// A version is a number, or the beginning of one; which toolchains there are, the machine says.
fn check_toolchain(place: &str, wanted: &BTreeMap<String, String>) -> Result<()> {
    let is_plain = |text: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+');
        text.len() <= 64 && text.chars().all(plain)
    };
    let is_version = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    for (name, version) in wanted {
        if name.is_empty() || !is_plain(name) || !is_plain(version) || !is_version(version) {
            let text = format!("{place}: {name} = {version:?} is no toolchain and version");
            return Err(invalid(text).with_hint("write it as go = \"1.22\" or node = \"20.11.0\""));
        }
    }
    Ok(())
}

impl RawLimits {
    fn read(self) -> Result<Limits> {
        let default = Limits::default();
        let size = |raw: Option<RawSize>, key: &str| match raw {
            None => Ok(None),
            Some(RawSize::Bytes(bytes)) => Ok(Some(bytes)),
            Some(RawSize::Text(text)) => parse_size(&text)
                .map(Some)
                .map_err(|e| e.while_doing(format!("limits.{key}"))),
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
    fn read(self) -> Host {
        Host {
            name: self.name,
            pool: self.pool.unwrap_or_else(|| LOCAL.to_owned()),
            count: self.count,
            labels: self.labels,
            image: self.image,
        }
    }
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

fn write_step(text: &mut String, step: &Step) -> std::fmt::Result {
    let quoted = |s: &str| quote(s);
    let list = |names: &[String]| {
        names
            .iter()
            .map(|n| quoted(n))
            .collect::<Vec<_>>()
            .join(", ")
    };
    writeln!(text, "name = {}", quoted(step.name.as_str()))?;
    writeln!(text, "run = {}", quoted(&step.run.text()))?;
    if !step.dir.is_empty() {
        writeln!(text, "dir = {}", quoted(&step.dir))?;
    }
    if !step.env.is_empty() {
        let pairs: Vec<_> = step
            .env
            .iter()
            .map(|(k, v)| format!("{} = {}", quoted(k), quoted(v)))
            .collect();
        writeln!(text, "env = {{ {} }}", pairs.join(", "))?;
    }
    if !step.needs.is_empty() {
        let needs: Vec<String> = step.needs.iter().map(ToString::to_string).collect();
        writeln!(text, "needs = [{}]", list(&needs))?;
    }
    if step.timeout != STEP_TIMEOUT {
        writeln!(text, "timeout = {}", quoted(&show_duration(step.timeout)))?;
    }
    if step.quiet != QUIET_TIMEOUT {
        writeln!(text, "quiet = {}", quoted(&show_duration(step.quiet)))?;
    }
    if let Some(tests) = &step.tests {
        writeln!(
            text,
            "tests = {}\nshards = {}",
            quoted(&tests.text()),
            step.shards
        )?;
    }
    let lists = [
        ("artifacts", &step.artifacts),
        ("cache", &step.cache),
        ("builders", &step.builders),
        ("tools", &step.tools),
        ("reports", &step.reports),
    ];
    for (key, names) in lists.iter().filter(|(_, names)| !names.is_empty()) {
        writeln!(text, "{key} = [{}]", list(names))?;
    }
    if !step.toolchain.is_empty() {
        let named = step.toolchain.iter();
        let named = named.map(|(k, v)| format!("{} = {}", quoted(k), quoted(v)));
        let named: Vec<_> = named.collect();
        writeln!(text, "toolchain = {{ {} }}", named.join(", "))?;
    }
    let sandbox = step.sandbox.word();
    if let Some(word) = sandbox.filter(|_| step.sandbox != Sandbox::default()) {
        writeln!(text, "sandbox = {}", quoted(word))?;
    }
    if step.network != Network::default() {
        writeln!(text, "network = {}", quoted(step.network.word()))?;
    }
    if step.may_run_no_tests {
        writeln!(text, "no_tests = \"pass\"")?;
    }
    Ok(())
}

/// A TOML basic string: JSON's escapes, and DEL, which JSON leaves as it is.
fn quote(text: &str) -> String {
    serde_json::Value::from(text)
        .to_string()
        .replace('\u{7f}', "\\u007f")
}

/// Reads `data` as a configuration, for fuzzing; what is accepted must be written back equal.
pub fn fuzz_farmer_toml(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(file) = FarmerToml::parse(text) else {
        return;
    };
    for builder in file.builders() {
        if let Ok(plan) = file.plan(&builder.name, "fuzz") {
            // A step's builders are lost with the builders, which a plan does not hold.
            let steps = plan
                .steps
                .iter()
                .map(|s| Step {
                    builders: Vec::new(),
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
                "[[builder]]\nname='b'\nhost='mac'",
                "builder \"b\" is on host \"mac\", which is not configured",
                "add a [[host]] with name = \"mac\", or use host = \"local\"",
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
    fn the_schema_is_the_committed_one() {
        keys::check_committed("farmer.schema.json", &keys::schema());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(\\[\\[step\\]\\]\n)?(name|run|needs|shards|timeout) ?= ?[\\[\"'a-z0-9\\]]{0,12}\n.{0,40}") {
            fuzz_farmer_toml(text.as_bytes());
        }

        #[test]
        fn steps_written_are_read_back(names in prop::collection::btree_set("[a-z][a-z ]{0,8}[a-z]", 1..5), run in "[!-~].{0,39}", secs in 1u64..1_000_000) {
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
