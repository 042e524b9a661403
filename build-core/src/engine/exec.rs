//! The command line of a unit.

use std::fmt;

use crate::buildlet::Exec;
use crate::ids::ExecId;
use crate::name::Name;
use crate::plan::{CommandLine, Limits, Part, Plan, Shell, Step, TESTS_MARK, Unit};
use crate::work::{Builder, WorkItem};

/// Where the checkout is, below the work directory.
pub const CHECKOUT_DIR: &str = "src";

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
    exec_id_at(build, step, unit.part, attempt)
}

/// As [`exec_id`], of a step by its number.
pub(super) fn exec_id_at(
    build: &impl fmt::Display,
    step: usize,
    part: Part,
    attempt: u32,
) -> ExecId {
    let part = match part {
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
) -> Vec<Name> {
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
    let change = item.change.iter();
    told.extend(change.map(|change| format!("FARMER_CHANGE={change}")));
    let named = [("FARMER_BRANCH", &item.branch), ("FARMER_TAG", &item.tag)];
    let assigned = named.map(|(variable, name)| {
        let name = name.as_ref()?;
        Some([variable.as_bytes(), b"=", name.as_bytes()].concat().into())
    });
    let told = told.into_iter().map(Name::from);
    told.chain(assigned.into_iter().flatten()).collect()
}

/// The command of a unit, with its id and limits; what the builder and the step set comes after
/// what is told.
pub(super) fn exec_of(
    id: ExecId,
    (step, part): (&Step, Part),
    tests: &[Name],
    limits: &Limits,
    builder: &Builder,
    told: Vec<Name>,
) -> Exec {
    let line = match (part, &step.tests) {
        (Part::List, Some(list)) => list,
        _ => &step.run,
    };
    let dir = match step.dir.trim_matches('/') {
        "" => CHECKOUT_DIR.to_owned(),
        dir => format!("{CHECKOUT_DIR}/{dir}"),
    };
    let (text, bytes): (Vec<Name>, Vec<Name>) =
        told.into_iter().partition(|name| name.as_str().is_some());
    let text = text.iter().filter_map(Name::as_str);
    let mut env: Vec<String> = text.map(str::to_owned).collect();
    let variables = builder.env.iter().chain(&step.env);
    env.extend(variables.map(|(name, value)| format!("{name}={value}")));
    Exec {
        env,
        env_bytes: bytes,
        timeout: Some(step.timeout),
        quiet: Some(step.quiet),
        disk_floor_bytes: Some(limits.disk_floor_bytes),
        log_bytes: limits.log_bytes,
        memory_bytes: limits.memory_bytes,
        processes: limits.processes,
        sandbox: step.sandbox,
        network: step.network,
        ..started(line, tests, &dir).dir(dir.clone()).id(id)
    }
}

/// The program that a command line starts; `{tests}` in it stands for `tests`.
fn started(line: &CommandLine, tests: &[Name], dir: &str) -> Exec {
    match line {
        CommandLine::Shell { shell, script } => {
            let known = Shell::named(shell).unwrap_or(Shell::Sh);
            let (program, flags) = match Shell::named(shell) {
                Some(shell) => shell.program(),
                None => (shell.as_str(), &["-c"][..]),
            };
            let script = match is_split(known) && script.contains(TESTS_MARK) {
                true => in_parts(tests, MOST_NAMES, |part| {
                    script.replace(TESTS_MARK, &quoted(known, part))
                }),
                false => script.replace(TESTS_MARK, &quoted(known, tests)),
            };
            let exec = flags
                .iter()
                .fold(Exec::new(program), |exec, flag| exec.arg(*flag));
            exec.arg(script)
        }
        CommandLine::Argv(words) if cost(tests) > most_of(words) => {
            let call = |part: &[Name]| {
                let words = words.iter().flat_map(|word| with_tests(word, part));
                quoted(Shell::Sh, &words.collect::<Vec<_>>())
            };
            Exec::shell(in_parts(tests, most_of(words), call))
        }
        CommandLine::Argv(words) => {
            let all = words.iter().flat_map(|word| with_tests(word, tests));
            let text: Option<Vec<String>> = all
                .clone()
                .map(|word| word.as_str().map(str::to_owned))
                .collect();
            let Some(text) = text else {
                // Arguments are text: where the name of a test is not, a shell says its bytes.
                let words: Vec<Name> = all.collect();
                return Exec::shell(format!("exec {}", quoted(Shell::Sh, &words)));
            };
            let mut text = text.into_iter();
            let program = text.next().unwrap_or_default();
            let mut exec = match below(dir, &program) {
                Some(place) => Exec::in_work_dir(place),
                None => Exec::new(program),
            };
            exec.args.extend(text);
            exec
        }
    }
}

/// Names of tests in one call: half of what Linux takes of arguments and environment.
const MOST_NAMES: usize = 1 << 20;
/// The same where they are one argument: Linux takes 128 KiB.
const MOST_IN_ONE: usize = 96 << 10;

/// Names that one call of a program takes.
fn most_of(words: &[String]) -> usize {
    let is_joined = |word: &String| word != TESTS_MARK && word.contains(TESTS_MARK);
    match words.iter().any(is_joined) {
        true => MOST_IN_ONE,
        false if words.iter().any(|word| word == TESTS_MARK) => MOST_NAMES,
        false => usize::MAX,
    }
}

/// Shells that run a script for each part of the names, where these are too many for one.
fn is_split(shell: Shell) -> bool {
    matches!(shell, Shell::Sh | Shell::Bash)
}

/// What names take of the room for arguments: each has an end and an address.
fn cost(names: &[Name]) -> usize {
    names.iter().map(|name| name.as_bytes().len() + 9).sum()
}

/// A script that says what `call` says of all names; of more than `most` once for each part of them,
/// one after the other. It fails as the last call that fails.
fn in_parts(names: &[Name], most: usize, call: impl Fn(&[Name]) -> String) -> String {
    if cost(names) <= most {
        return call(names);
    }
    let mut script = String::from("failed=0\n");
    let mut rest = names;
    while !rest.is_empty() {
        let mut room = most;
        let fits = rest.iter().take_while(|name| {
            let taken = cost(std::slice::from_ref(*name));
            room.checked_sub(taken).map(|left| room = left).is_some()
        });
        let (part, after) = rest.split_at(fits.count().max(1));
        // Not in a condition: there `set -e` of the script would mean nothing.
        let call = call(part);
        script.push_str(&format!(
            "(\n{call}\n)\nended=$?\n[ $ended = 0 ] || failed=$ended\n"
        ));
        rest = after;
    }
    script.push_str("exit $failed");
    script
}

/// Where a program lies that is named by a relative path, such as `./build`: below the work
/// directory. `None` for one that is looked up, and for one that would lead out.
fn below(dir: &str, program: &str) -> Option<String> {
    if !program.contains('/') || program.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = dir.split('/').collect();
    for part in program.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// A word of a command, with `tests` in it or in its place.
fn with_tests(word: &str, tests: &[Name]) -> Vec<Name> {
    if word == TESTS_MARK {
        return tests.to_vec();
    }
    let joined: Vec<&[u8]> = tests.iter().map(Name::as_bytes).collect();
    let joined = joined.join(&b' ');
    let parts: Vec<&[u8]> = word.split(TESTS_MARK).map(str::as_bytes).collect();
    vec![parts.join(&joined[..]).into()]
}

/// Names as words of a shell.
fn quoted(shell: Shell, names: &[Name]) -> String {
    let words: Vec<String> = names.iter().map(|name| quoted_name(shell, name)).collect();
    words.join(" ")
}

fn quoted_name(shell: Shell, name: &Name) -> String {
    match (name.as_str(), shell) {
        (Some(text), _) => shell.quote(text),
        (None, Shell::Sh | Shell::Bash) => {
            // No name has line ends at its end, which a substitution would drop.
            let octal = |byte: &u8| format!("\\0{byte:03o}");
            let bytes: String = name.as_bytes().iter().map(octal).collect();
            format!("\"$(printf %b '{bytes}')\"")
        }
        // Their systems have no names that are not text.
        (None, _) => shell.quote(&String::from_utf8_lossy(name.as_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::buildlet::Program;
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
        let tests = ["a::b", "it's; rm"].map(Name::from);
        let id = ExecId::new("x").unwrap();
        let exec = exec_of(
            id,
            (&step, Part::Shard(0)),
            &tests,
            &Limits::default(),
            &builder,
            vec!["CI=true".into(), b"B=caf\xe9"[..].into()],
        );
        assert_eq!(exec.args, ["-c", r"run -- a::b 'it'\''s; rm'"]);
        assert_eq!(exec.dir, "src/sub");
        assert_eq!(exec.env, ["CI=true", "A=1", "A=2"]);
        assert_eq!(exec.env_bytes, [Name::from(b"B=caf\xe9".to_vec())]);
        assert_eq!(exec.timeout, Some(step.timeout));

        let words = ["run", "--only={tests}", "{tests}"].map(str::to_owned);
        step.run = CommandLine::Argv(words.to_vec());
        let id = ExecId::new("y").unwrap();
        let whole = (&step, Part::Shard(0));
        let exec = exec_of(id, whole, &tests, &Limits::default(), &builder, Vec::new());
        assert_eq!(exec.cmd, "run");
        assert_eq!(exec.args, ["--only=a::b it's; rm", "a::b", "it's; rm"]);

        step.run = CommandLine::Argv(vec!["./do.sh".to_owned(), "$HOME".to_owned()]);
        let id = ExecId::new("w").unwrap();
        let exec = exec_of(
            id,
            (&step, Part::Whole),
            &[],
            &Limits::default(),
            &builder,
            Vec::new(),
        );
        assert_eq!(
            (exec.cmd.as_str(), exec.lookup),
            ("src/sub/do.sh", Program::InWorkDir)
        );
        assert_eq!(exec.args, ["$HOME"]);
        let shell = |shell: &str| CommandLine::Shell {
            shell: shell.to_owned(),
            script: "run {tests}".to_owned(),
        };
        for (named, first, script) in [
            ("bash", "-c", r"run a::b 'it'\''s; rm'"),
            ("pwsh", "-NoLogo", "run 'a::b' 'it''s; rm'"),
            ("rc", "-c", "run 'a::b' 'it''s; rm'"),
        ] {
            step.run = shell(named);
            let id = ExecId::new(named).unwrap();
            let exec = exec_of(
                id,
                (&step, Part::Whole),
                &["a::b", "it's; rm"].map(Name::from),
                &Limits::default(),
                &builder,
                Vec::new(),
            );
            assert_eq!((exec.cmd.as_str(), exec.args[0].as_str()), (named, first));
            assert_eq!(exec.args.last().unwrap(), script);
        }
        step.run = CommandLine::Argv(words.to_vec());
        let whole = (&step, Part::Shard(0));

        // An argument is text, so a shell says what is not.
        let tests = [Name::from(b"a\xff".to_vec())];
        let id = ExecId::new("z").unwrap();
        let exec = exec_of(id, whole, &tests, &Limits::default(), &builder, Vec::new());
        let said = r#""$(printf %b '\0055\0055\0157"#;
        assert!(
            exec.args[1].starts_with(&format!("exec run {said}")),
            "{:?}",
            exec.args
        );
        assert!(
            exec.args[1].ends_with(r#"'\0141\0377')""#),
            "{:?}",
            exec.args
        );
    }
    #[test]
    fn more_names_than_the_system_takes_are_several_calls() {
        let names: Vec<Name> = (0..30_000)
            .map(|n| Name::from(format!("a::test::with::a::name::of::some::length::{n:010}")))
            .collect();
        let all = |text: &str| {
            let said: BTreeSet<&str> = text.split([' ', '\n', '\'', '=']).collect();
            names
                .iter()
                .all(|name| said.contains(name.as_str().unwrap()))
        };
        let run = |line: &CommandLine| started(line, &names, "src").args.pop().unwrap();
        let script = run(&CommandLine::from("run {tests}"));
        let calls: Vec<_> = script
            .lines()
            .filter(|line| line.starts_with("run "))
            .collect();
        assert_eq!(calls.len(), 2);
        assert!(calls.iter().all(|call| call.len() < 3 << 19) && all(&script));
        assert!(script.ends_with("exit $failed"));
        let words = ["run", "{tests}"].map(str::to_owned).to_vec();
        let script = run(&CommandLine::Argv(words));
        assert_eq!(script.matches("\nrun ").count(), 2);
        let joined = ["run", "--only={tests}"].map(str::to_owned).to_vec();
        let script = run(&CommandLine::Argv(joined));
        assert!(script.lines().all(|line| line.len() < 128 << 10) && all(&script));
        // A command that does not name them is called once.
        assert_eq!(run(&CommandLine::from("make")), "make");
        let few = started(&CommandLine::from("run {tests}"), &names[..2], "src");
        assert_eq!(few.args.last().unwrap().lines().count(), 1);
    }
}
