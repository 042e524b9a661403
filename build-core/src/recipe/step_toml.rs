//! A `[[step]]` of `.farmer.toml`: read, checked, written.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde::Deserialize;

use super::farmer_toml::invalid;
use super::nearest::name_hint;
use super::quantity::{parse_duration, show_duration};
use super::when_toml::RawWhen;
use crate::error::{Error, Result};
use crate::ids::StepName;
use crate::plan::{
    CommandLine, Conditions, KeptWhen, Network, QUIET_TIMEOUT, STEP_TIMEOUT, Sandbox, Shell, Step,
    StepInput, check_place,
};

#[derive(Clone, Deserialize)]
pub(super) struct RawStep {
    pub(super) name: StepName,
    run: RawCommand,
    shell: Option<String>,
    #[serde(default)]
    dir: String,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) needs: Vec<StepName>,
    timeout: Option<String>,
    quiet: Option<String>,
    tests: Option<RawCommand>,
    shards: Option<u32>,
    #[serde(default)]
    artifacts: RawArtifacts,
    #[serde(default)]
    pub(super) cache: Vec<String>,
    snapshot: Option<String>,
    #[serde(default)]
    pub(super) inputs: Vec<StepInput>,
    #[serde(default)]
    pub(super) builders: Vec<String>,
    #[serde(default)]
    tools: Vec<String>,
    no_tests: Option<NoTests>,
    #[serde(default)]
    reports: Vec<String>,
    #[serde(default)]
    pub(super) toolchain: BTreeMap<String, String>,
    sandbox: Option<String>,
    network: Option<String>,
    when: Option<RawWhen>,
    /// Those of its matrix.
    #[serde(skip)]
    pub(super) conditions: Conditions,
}

/// What becomes of a step whose test runner found no test to run.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum NoTests {
    Fail,
    Pass,
}

/// A command as it is written: a line, or the words of it.
#[derive(Clone, Deserialize)]
#[serde(
    untagged,
    expecting = "a line for a shell, or a list of words such as [\"cargo\", \"test\"]"
)]
pub(super) enum RawCommand {
    Line(String),
    Words(Vec<String>),
}

/// Files that are kept: their globs, or with how the step must have ended and how long they stay.
#[derive(Clone, Deserialize)]
#[serde(
    untagged,
    expecting = "a list of patterns, or { paths = [\"out/**\"], when = \"always\", keep = \"30d\" }"
)]
enum RawArtifacts {
    Paths(Vec<String>),
    With {
        paths: Vec<String>,
        when: Option<String>,
        keep: Option<String>,
    },
}

impl Default for RawArtifacts {
    fn default() -> Self {
        Self::Paths(Vec::new())
    }
}

impl RawArtifacts {
    fn paths(&self) -> &[String] {
        let (Self::Paths(paths) | Self::With { paths, .. }) = self;
        paths
    }

    fn keep(&self) -> Result<Option<Duration>> {
        match self {
            Self::With { keep, .. } => keep.as_deref().map(parse_duration).transpose(),
            Self::Paths(_) => Ok(None),
        }
    }

    fn paths_mut(&mut self) -> &mut Vec<String> {
        let (Self::Paths(paths) | Self::With { paths, .. }) = self;
        paths
    }

    fn when(&self) -> Result<KeptWhen> {
        let Self::With {
            when: Some(when), ..
        } = self
        else {
            return Ok(KeptWhen::default());
        };
        let mut known = KeptWhen::ALL.into_iter();
        known.find(|known| known.word() == when).ok_or_else(|| {
            let words = KeptWhen::ALL.map(KeptWhen::word);
            invalid(format!("{when:?} is no end of a step"))
                .with_hint(name_hint(when, words.iter().copied()))
        })
    }
}

impl RawCommand {
    fn is_empty(&self) -> bool {
        match self {
            Self::Line(line) => line.trim().is_empty(),
            Self::Words(words) => words.first().is_none_or(|word| word.trim().is_empty()),
        }
    }

    fn has_nul(&self) -> bool {
        match self {
            Self::Line(line) => line.contains('\0'),
            Self::Words(words) => words.iter().any(|word| word.contains('\0')),
        }
    }

    fn read(self, shell: Option<&str>) -> CommandLine {
        match self {
            // A file with the line ends of Windows runs as well.
            Self::Line(line) => CommandLine::Shell {
                shell: shell.unwrap_or(CommandLine::SHELL).to_owned(),
                script: line.replace("\r\n", "\n"),
            },
            Self::Words(words) => CommandLine::Argv(words),
        }
    }
}

impl RawStep {
    /// Calls `f` with every text in which the value of a matrix may stand.
    pub(super) fn each_text(&mut self, f: &mut dyn FnMut(&mut String) -> Result<()>) -> Result<()> {
        let commands = std::iter::once(&mut self.run).chain(&mut self.tests);
        let commands = commands.flat_map(|command| match command {
            RawCommand::Line(line) => std::slice::from_mut(line),
            RawCommand::Words(words) => words.as_mut_slice(),
        });
        let lists = [
            self.artifacts.paths_mut(),
            &mut self.cache,
            &mut self.builders,
            &mut self.tools,
            &mut self.reports,
        ];
        let maps = self.env.values_mut().chain(self.toolchain.values_mut());
        let inputs = self.inputs.iter_mut().map(|input| &mut input.dir);
        let mut all = commands
            .chain(lists.into_iter().flatten())
            .chain(maps)
            .chain(inputs)
            .chain(std::iter::once(&mut self.dir))
            .chain(&mut self.snapshot)
            .chain(&mut self.shell);
        all.try_for_each(f)
    }

    /// The step; `of_all` is the shell of the file.
    pub(super) fn read(self, of_all: Option<&str>) -> Result<Step> {
        let place = |e: Error, key: &str| {
            let hint = e.hint().unwrap_or_default().to_owned();
            invalid(format!("step \"{}\", {key}: {e}", self.name)).with_hint(hint)
        };
        let duration = |text: &Option<String>, key: &str, default| match text {
            Some(text) => parse_duration(text).map_err(|e| place(e, key)),
            None => Ok(default),
        };
        self.check()?;
        let sandbox = self.sandbox.as_deref();
        let sandbox = sandbox.map_or(Ok(Sandbox::default()), Sandbox::parse);
        let sandbox = sandbox.map_err(|e| place(e, "sandbox"))?;
        let network = self.network.as_deref();
        let network = network.map_or(Ok(Network::default()), Network::parse);
        let network = network.map_err(|e| place(e, "network"))?;
        let mut when = self.conditions.clone();
        if let Some(own) = &self.when {
            when.0.push(own.read(&format!("step \"{}\"", self.name))?);
        }
        let shell = self.shell.as_deref().or(of_all);
        let step = Step::new(self.name.clone(), self.run.read(shell));
        Ok(Step {
            timeout: duration(&self.timeout, "timeout", STEP_TIMEOUT)?,
            quiet: duration(&self.quiet, "quiet", QUIET_TIMEOUT)?,
            shards: self.shards.unwrap_or(1),
            dir: self.dir,
            env: self.env,
            needs: self.needs,
            tests: self.tests.map(|tests| tests.read(shell)),
            artifacts_when: self.artifacts.when().map_err(|e| place(e, "artifacts"))?,
            artifacts_keep: self.artifacts.keep().map_err(|e| place(e, "artifacts"))?,
            artifacts: self.artifacts.paths().to_vec(),
            cache: self.cache,
            snapshot: self.snapshot.as_deref().map(plain_dir),
            inputs: (self.inputs.into_iter())
                .map(|input| StepInput {
                    dir: plain_dir(&input.dir),
                    ..input
                })
                .collect(),
            builders: self.builders,
            when,
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
        self.check_commands(name)?;
        check_toolchain(&format!("step \"{name}\", toolchain"), &self.toolchain)?;
        let dirs = std::iter::once(("dir", &self.dir));
        let reports = self.reports.iter().map(|path| ("reports", path));
        let caches = self.cache.iter().map(|path| ("cache", path));
        let artifacts = self.artifacts.paths().iter();
        let artifacts = artifacts.map(|path| ("artifacts", path));
        let snapshot = self.snapshot.iter().map(|path| ("snapshot", path));
        dirs.chain(caches)
            .chain(artifacts)
            .chain(reports)
            .chain(snapshot)
            .try_for_each(|(key, path)| check_inside(name, key, path))?;
        self.inputs.iter().try_for_each(|input| {
            check_place(&format!("step \"{name}\", inputs"), &plain_dir(&input.dir))
        })
    }
}

impl RawStep {
    fn check_commands(&self, name: &str) -> Result<()> {
        let commands = || std::iter::once(&self.run).chain(&self.tests);
        if self.run.is_empty() {
            return Err(invalid(format!("step \"{name}\" runs nothing"))
                .with_hint("give its command, such as run = \"make test\""));
        }
        if commands().any(RawCommand::has_nul) {
            let text = format!("the command of step \"{name}\" has a NUL, which no system takes");
            return Err(invalid(text).with_hint("take \\u0000 out of it"));
        }
        let Some(shell) = &self.shell else {
            return Ok(());
        };
        check_shell(&format!("step \"{name}\", shell"), shell)?;
        if commands().all(|command| matches!(command, RawCommand::Words(_))) {
            let text =
                format!("step \"{name}\" names a shell and a list of words, which no shell reads");
            return Err(invalid(text).with_hint("take `shell` out, or write `run` as one line"));
        }
        Ok(())
    }
}

/// A shell is one of those whose quotes are known.
pub(super) fn check_shell(place: &str, name: &str) -> Result<()> {
    if Shell::named(name).is_some() {
        return Ok(());
    }
    let known = Shell::ALL.map(Shell::as_str).join(", ");
    Err(
        invalid(format!("{place}: {name:?} is no shell that is known")).with_hint(format!(
            "known are {known}; of another one give the words: run = [\"{name}\", \"-c\", \"...\"]"
        )),
    )
}

/// A directory below the checkout, in its plain form; empty for the checkout itself.
pub(super) fn plain_dir(path: &str) -> String {
    let first = if path.starts_with('/') { "/" } else { "" };
    let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
    first.to_owned() + &parts.collect::<Vec<_>>().join("/")
}

/// Paths of a step are below the checkout: anything else would be refused when it runs.
pub(super) fn check_inside(step: &str, key: &str, path: &str) -> Result<()> {
    if !path.split('/').any(|part| part == "..") {
        return Ok(());
    }
    let text = format!("step \"{step}\", {key}: {path:?} leads out of the checkout");
    Err(invalid(text).with_hint("give a path below it, such as \"web/app\""))
}

/// A version is a number, or the beginning of one; which toolchains there are, the machine says.
pub(super) fn check_toolchain(place: &str, wanted: &BTreeMap<String, String>) -> Result<()> {
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

pub(super) fn write_step(text: &mut String, step: &Step) -> std::fmt::Result {
    let quoted = |s: &str| quote(s);
    let list = |names: &[String]| {
        names
            .iter()
            .map(|n| quoted(n))
            .collect::<Vec<_>>()
            .join(", ")
    };
    writeln!(text, "name = {}", quoted(step.name.as_str()))?;
    let command = |line: &CommandLine| match line {
        CommandLine::Argv(words) => format!("[{}]", list(words)),
        CommandLine::Shell { script, .. } => quoted(script),
    };
    writeln!(text, "run = {}", command(&step.run))?;
    let shells = std::iter::once(&step.run).chain(&step.tests);
    let mut shells = shells.filter_map(CommandLine::shell);
    if let Some(shell) = shells.find(|shell| *shell != CommandLine::SHELL) {
        writeln!(text, "shell = {}", quoted(shell))?;
    }
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
        writeln!(text, "tests = {}\nshards = {}", command(tests), step.shards)?;
    }
    write_artifacts(text, step, &list(&step.artifacts))?;
    let lists = [
        ("cache", &step.cache),
        ("builders", &step.builders),
        ("tools", &step.tools),
        ("reports", &step.reports),
    ];
    for (key, names) in lists.iter().filter(|(_, names)| !names.is_empty()) {
        writeln!(text, "{key} = [{}]", list(names))?;
    }
    if let Some(snapshot) = &step.snapshot {
        let dir = if snapshot.is_empty() { "." } else { snapshot };
        writeln!(text, "snapshot = {}", quoted(dir))?;
    }
    if !step.inputs.is_empty() {
        let input = |input: &StepInput| {
            let (step, dir) = (quoted(input.step.as_str()), quoted(&input.dir));
            format!("{{ step = {step}, dir = {dir} }}")
        };
        let inputs: Vec<_> = step.inputs.iter().map(input).collect();
        writeln!(text, "inputs = [{}]", inputs.join(", "))?;
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

fn write_artifacts(text: &mut String, step: &Step, paths: &str) -> std::fmt::Result {
    let is_plain = step.artifacts_when == KeptWhen::Passed && step.artifacts_keep.is_none();
    if paths.is_empty() {
        return Ok(());
    }
    if is_plain {
        return writeln!(text, "artifacts = [{paths}]");
    }
    write!(text, "artifacts = {{ paths = [{paths}]")?;
    if step.artifacts_when != KeptWhen::Passed {
        write!(text, ", when = {}", quote(step.artifacts_when.word()))?;
    }
    if let Some(keep) = step.artifacts_keep {
        write!(text, ", keep = {}", quote(&show_duration(keep)))?;
    }
    writeln!(text, " }}")
}

/// A TOML basic string: JSON's escapes, and DEL, which JSON leaves as it is.
fn quote(text: &str) -> String {
    serde_json::Value::from(text)
        .to_string()
        .replace('\u{7f}', "\\u007f")
}
