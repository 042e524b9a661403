//! The command line of a unit.

use std::fmt;

use crate::buildlet::Exec;
use crate::ids::ExecId;
use crate::plan::{CommandLine, Limits, Part, Plan, Step, Unit};
use crate::work::{Builder, WorkItem};

/// Where the checkout is, below the work directory.
pub const CHECKOUT_DIR: &str = "src";

/// What stands for the names of a shard in the command of a step.
const TESTS_MARK: &str = "{tests}";

/// The id of the command of one attempt: the same whenever it is asked for, so that starting
/// it again after a restart finds what was started.
///
/// ```
/// use build_core::engine::exec_id;
/// use build_core::ids::{BuildId, StepName};
/// use build_core::plan::{Part, Plan, Step, Unit};
/// # fn main() -> build_core::Result<()> {
/// let step = StepName::new("unit tests")?;
/// let plan = Plan::new(vec![Step::new(step.clone(), "make test")], "example")?;
/// let unit = Unit { step, part: Part::Shard(2) };
/// assert_eq!(exec_id(&BuildId::from_bits(7), &plan, &unit, 1).as_str(), "B000000007-0-s2-1");
/// # Ok(()) }
/// ```
pub fn exec_id(build: &impl fmt::Display, plan: &Plan, unit: &Unit, attempt: u32) -> ExecId {
    let step = plan
        .steps
        .iter()
        .position(|s| s.name == unit.step)
        .unwrap_or(plan.steps.len());
    let part = match unit.part {
        Part::Whole => "w".to_owned(),
        Part::List => "l".to_owned(),
        Part::Shard(n) => format!("s{n}"),
    };
    ExecId::new(format!("{build}-{step}-{part}-{attempt}"))
        .expect("a build id and numbers, joined by dashes, are a short plain word")
}

/// What every step is told of its build, in the environment.
pub(super) fn told(
    build: &impl fmt::Display,
    item: &WorkItem,
    builder: &Builder,
    unit: &Unit,
    attempt: u32,
) -> Vec<String> {
    let mut told = vec![
        // Tools write snapshots, watch files or ask questions without it.
        "CI=true".to_owned(),
        format!("FARMER_BUILD={build}"),
        format!("FARMER_COMMIT={}", item.commit),
        format!("FARMER_REPO={}", item.repo),
        format!("FARMER_BUILDER={}", builder.name),
        format!("FARMER_STEP={}", unit.step),
        format!("FARMER_ATTEMPT={attempt}"),
    ];
    told.extend(
        item.branch
            .iter()
            .map(|branch| format!("FARMER_BRANCH={branch}")),
    );
    told
}

/// The command of a unit, with its id and limits; what the builder and the step set comes after
/// what is told.
pub(super) fn exec_of(
    id: ExecId,
    (step, part): (&Step, Part),
    tests: &[String],
    limits: &Limits,
    builder: &Builder,
    mut env: Vec<String>,
) -> Exec {
    let line = match (part, &step.tests) {
        (Part::List, Some(list)) => list,
        _ => &step.run,
    };
    let dir = match step.dir.trim_matches('/') {
        "" => CHECKOUT_DIR.to_owned(),
        dir => format!("{CHECKOUT_DIR}/{dir}"),
    };
    let variables = builder.env.iter().chain(&step.env);
    env.extend(variables.map(|(name, value)| format!("{name}={value}")));
    Exec {
        env,
        timeout: Some(step.timeout),
        quiet: Some(step.quiet),
        disk_floor_bytes: Some(limits.disk_floor_bytes),
        log_bytes: limits.log_bytes,
        memory_bytes: limits.memory_bytes,
        processes: limits.processes,
        ..started(line, tests).dir(dir).id(id)
    }
}

/// The program that a command line starts; `{tests}` in it stands for `tests`.
fn started(line: &CommandLine, tests: &[String]) -> Exec {
    match line {
        CommandLine::Shell { shell, script } => {
            let script = script.replace(TESTS_MARK, &quoted(tests));
            match shell == CommandLine::SHELL {
                true => Exec::shell(script),
                false => Exec::new(shell.as_str()).arg("-c").arg(script),
            }
        }
        CommandLine::Argv(words) => {
            let mut words = words.iter().flat_map(|word| match word == TESTS_MARK {
                true => tests.to_vec(),
                false => vec![word.replace(TESTS_MARK, &tests.join(" "))],
            });
            let mut exec = Exec::new(words.next().unwrap_or_default());
            exec.args.extend(words);
            exec
        }
    }
}

/// Names as words of a POSIX shell.
fn quoted(names: &[String]) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:,+@%=".contains(c);
    let words: Vec<String> = names
        .iter()
        .map(
            |name| match name.chars().all(is_plain) && !name.is_empty() {
                true => name.clone(),
                false => format!("'{}'", name.replace('\'', r"'\''")),
            },
        )
        .collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::ids::{BuilderName, HostType, StepName};

    #[test]
    fn the_command_of_a_shard_names_its_tests_safely() {
        let mut step = Step::new(StepName::new("test").unwrap(), "run -- {tests}");
        step.dir = "/sub/".into();
        step.env.insert("A".into(), "2".into());
        let builder = Builder {
            name: BuilderName::new("local").unwrap(),
            host_type: HostType::new("local").unwrap(),
            labels: BTreeSet::new(),
            env: BTreeMap::from([("A".into(), "1".into())]),
        };
        let tests = ["a::b".to_owned(), "it's; rm".to_owned()];
        let id = ExecId::new("x").unwrap();
        let exec = exec_of(
            id,
            (&step, Part::Shard(0)),
            &tests,
            &Limits::default(),
            &builder,
            vec!["CI=true".to_owned()],
        );
        assert_eq!(exec.args, ["-c", r"run -- a::b 'it'\''s; rm'"]);
        assert_eq!(exec.dir, "src/sub");
        assert_eq!(exec.env, ["CI=true", "A=1", "A=2"]);
        assert_eq!(exec.timeout, Some(step.timeout));

        let words = ["run", "--only={tests}", "{tests}"].map(str::to_owned);
        step.run = CommandLine::Argv(words.to_vec());
        let id = ExecId::new("y").unwrap();
        let whole = (&step, Part::Shard(0));
        let exec = exec_of(id, whole, &tests, &Limits::default(), &builder, Vec::new());
        assert_eq!(exec.cmd, "run");
        assert_eq!(exec.args, ["--only=a::b it's; rm", "a::b", "it's; rm"]);
    }
}
