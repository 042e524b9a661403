//! Every mistake is answered with its cause and what to do next.

use std::os::unix::fs::PermissionsExt;

use crate::repo::Repo;

/// A step that works, to be spoiled.
const STEP: &str = "[[step]]\nname = \"a\"\nrun = \"true\"\n";

/// What is added to [`STEP`] (or stands alone, behind `!`), the cause that is named, and the way on.
const CONFIGURATIONS: [(&str, &str, &str); 32] = [
    (
        "x = 1",
        "unknown key \"step[0].x\"",
        "known keys here: name",
    ),
    ("!x = 1", "unknown key \"x\"", "known keys here: "),
    ("![[stp]]", "unknown key \"stp\"", "did you mean \"step\"?"),
    (
        "tmeout = \"3m\"",
        "unknown key \"step[0].tmeout\"",
        "did you mean \"timeout\"?",
    ),
    (
        "timeout = \"soon\"",
        "step \"a\", timeout: bad duration \"soon\"",
        "write it like",
    ),
    (
        "quiet = \"5 parsecs\"",
        "step \"a\", quiet: bad duration",
        "write it like",
    ),
    (
        "timeout = 5",
        "invalid type: integer `5`",
        "farmer init --print",
    ),
    (
        "needs = [\"b\"]",
        "needs \"b\", which is not a step",
        "the steps are: a",
    ),
    ("needs = [\"a\"]", "steps need each other: a", "`needs`"),
    (
        "![[step]]\nname = \"a\"",
        "missing field `run`",
        "farmer init --print",
    ),
    (
        "![[step]]\nrun = \"true\"",
        "missing field `name`",
        "farmer init --print",
    ),
    (
        "![[step]]\nname = \"a\"\nrun = \" \"",
        "step \"a\" runs nothing",
        "run = \"make test\"",
    ),
    (
        "[[step]]\nname = \"a\"\nrun = \"t\"",
        "two steps are called \"a\"",
        "call one of them",
    ),
    (
        "shards = 4",
        "has shards but no command that lists",
        "add `tests = ",
    ),
    ("shards = -1", "shards", "farmer init --print"),
    (
        "dir = \"../x\"",
        "dir: \"../x\" leads out of the checkout",
        "below it",
    ),
    (
        "cache = [\"a/../../x\"]",
        "cache: \"a/../../x\" leads out",
        "below it",
    ),
    (
        "artifacts = [\"../x\"]",
        "artifacts: \"../x\" leads out",
        "below it",
    ),
    (
        "builders = [\"nope\"]",
        "is for builder \"nope\", which is not configured",
        "there are: ",
    ),
    (
        "env = { A = 1 }",
        "invalid type: integer `1`",
        "farmer init --print",
    ),
    (
        "[limits]\nlog = \"lots\"",
        "limits.log: bad size \"lots\"",
        "write it like",
    ),
    (
        "[limits]\ndisk = \"1 XB\"",
        "limits.disk: bad size",
        "write it like",
    ),
    (
        "[limits]\nprocesses = \"many\"",
        "expected u32",
        "farmer init --print",
    ),
    (
        "[limits]\ncpu = 1",
        "unknown key \"limits.cpu\"",
        "known keys here: log",
    ),
    (
        "[shares]\nurgent = 0.5",
        "unknown key \"shares\"",
        "known keys here: depth",
    ),
    (
        "[[builder]]\nname = \"b\"\nhost = \"h\"",
        "host \"h\", which is not configured",
        "add a [[host]]",
    ),
    (
        "[[builder]]\nnam = \"b\"",
        "unknown key \"builder[0].nam\"",
        "did you mean \"name\"?",
    ),
    (
        "[[builder]]\nname = \"b\"\nhost = \"h\"\n[[host]]\nname = \"h\"\npool = \"moon\"",
        "pool \"moon\", which is not known",
        "known pools: local",
    ),
    (
        "[[builder]]\nname = \"b\"\nhost = \"h\"\nlabels = [\"gpu\"]\n[[host]]\nname = \"h\"\npool = \"local\"",
        "no machine has label gpu",
        "add \"gpu\" to the labels",
    ),
    ("![[step", "unclosed array table", "farmer init --print"),
    (
        "!step = 1",
        "invalid type: integer `1`, expected a sequence",
        "farmer init --print",
    ),
    (
        "!depth = \"x\"",
        "invalid type: string \"x\"",
        "farmer init --print",
    ),
];

#[test]
fn every_mistake_in_a_configuration_is_named_with_the_way_on() {
    let repo = Repo::new();
    for (text, cause, next) in CONFIGURATIONS {
        let text = match text.strip_prefix('!') {
            Some(alone) => alone.to_owned(),
            None => format!("{STEP}{text}"),
        };
        repo.write("c.toml", &text);
        let run = repo.run(&["check", "--config", "c.toml"]).exits(2);
        expect(&text, &run.err(), cause, next);
    }
}

/// A cause, and behind it what to do about it.
#[track_caller]
fn expect(what: &str, said: &str, cause: &str, next: &str) {
    assert!(
        said.contains(cause),
        "{what}: {cause:?} is not named:\n{said}"
    );
    let (_, hint) = said.split_once(cause).unwrap();
    assert!(
        hint.contains(next),
        "{what}: no way on with {next:?}:\n{said}"
    );
}

/// What is asked for, the exit code, the cause that is named, and the next command.
type Mistake = (&'static [&'static str], i32, &'static str, &'static str);

/// Before anything was built.
const EARLY: [Mistake; 14] = [
    (&["log"], 2, "nothing has been built yet", "farmer build"),
    (&["why"], 2, "nothing has been built yet", "farmer build"),
    (&["status"], 2, "nothing has been built yet", "farmer build"),
    (&["rerun", "B000000001"], 2, "no farm runs on", "farmer up"),
    (&["cancel", "B000000001"], 2, "no farm runs on", "farmer up"),
    (&["wish", "list"], 2, "no farm runs on", "farmer up"),
    (&["repo", "list"], 2, "no farm runs on", "farmer up"),
    (
        &["wish", "list", "--build", "x"],
        2,
        "neither a wish nor a build",
        "farmer wish list",
    ),
    (
        &["rerun", "nonsense"],
        2,
        "\"nonsense\" is not a build",
        "farmer status",
    ),
    (&["build"], 2, "has no commits yet", "commit something"),
    (
        &["init"],
        2,
        "the commit has no files",
        "write a .farmer.toml",
    ),
    (
        &["check"],
        2,
        "the commit has no files",
        "write a .farmer.toml",
    ),
    (
        &["init", "/nowhere"],
        2,
        "/nowhere is not a directory",
        "the path of a repository",
    ),
    (
        &["check", "/nowhere"],
        2,
        "/nowhere is not a directory",
        "the path of a repository",
    ),
];

const MISTAKES: [Mistake; 24] = [
    (
        &["build", "/nowhere"],
        2,
        "/nowhere is not a directory",
        "or its URL",
    ),
    (
        &["up", "/nowhere", "--port", "0"],
        2,
        "/nowhere is not a directory",
        "or its URL",
    ),
    (
        &["build", "--rev", "nope"],
        2,
        "has no revision \"nope\"",
        "branch --all",
    ),
    (
        &["build", "--builder", "nope"],
        2,
        "no builder \"nope\"",
        "there are: local",
    ),
    (
        &["build", "--config", "/nowhere"],
        2,
        "cannot read /nowhere",
        "a .farmer.toml",
    ),
    (
        &["check", "--config", "/nowhere"],
        2,
        "cannot read /nowhere",
        "a .farmer.toml",
    ),
    (
        &["build", "http://127.0.0.1:1/x.git"],
        3,
        "fetch http://127.0.0.1:1/x.git",
        "git ls-remote",
    ),
    (
        &["build", "--data", "/proc/nope"],
        2,
        "data directory /proc/nope",
        "--data",
    ),
    (
        &["build", "--frob"],
        2,
        "unexpected argument '--frob'",
        "--help",
    ),
    (
        &["up", "--addr", "0.0.0.0"],
        2,
        "other machines",
        "--insecure-http",
    ),
    (
        &["up", "--addr", "203.0.113.1", "--insecure-http"],
        2,
        "cannot listen on",
        "--addr and --port",
    ),
    (&["up", "--port", "99999"], 2, "'99999'", "--help"),
    (
        &["up", "--keep-logs", "never"],
        2,
        "bad duration \"never\"",
        "write it like",
    ),
    (
        &["log", "B000000000"],
        2,
        "there is no build \"B000000000\"",
        "farmer status",
    ),
    (
        &["log", "--step", "nope"],
        2,
        "no output of step \"nope\"",
        "its steps: a",
    ),
    (
        &["why", "nope"],
        2,
        "\"nope\" is not a build",
        "farmer status",
    ),
    (&["init"], 2, ".farmer.toml exists", "farmer init --force"),
    (
        &["frobnicate"],
        2,
        "no command \"frobnicate\"",
        "farmer --help",
    ),
    (&[], 2, "requires a subcommand", "Usage: farmer"),
    (
        &["query", "nothing"],
        2,
        "there is no table \"nothing\"",
        "the tables are",
    ),
    (
        &["query", "builds", "nonsense=1"],
        2,
        "no column \"nonsense\"",
        "its columns are",
    ),
    (&["bench", "nope"], 2, "'nope'", "possible values"),
    (&["completions", "nope"], 2, "'nope'", "possible values"),
    (
        &["buildlet", "--nope"],
        2,
        "unknown flag --nope",
        "buildlet --help",
    ),
];

#[test]
fn every_mistake_of_a_caller_is_named_with_the_next_command() {
    let repo = Repo::new();
    let check = |mistakes: &[Mistake]| {
        for (args, code, cause, next) in mistakes {
            let run = repo.run(args);
            assert_eq!(run.code(), *code, "{args:?}: {}", run.err());
            expect(&format!("{args:?}"), &run.err(), cause, next);
        }
    };
    check(&EARLY);
    repo.write(".farmer.toml", STEP).commit("first");
    repo.run(&["build"]).exits(0);
    check(&MISTAKES);
    assert!(CONFIGURATIONS.len() + EARLY.len() + MISTAKES.len() >= 50);
}

/// A repository with something to run, and a data directory.
fn ready() -> Repo {
    let repo = Repo::new();
    repo.write(".farmer.toml", STEP).commit("first");
    std::fs::create_dir(repo.data()).unwrap();
    repo
}

#[test]
fn a_token_that_is_none_or_open_to_others_is_told_with_the_way_on() {
    let repo = ready();
    let token = repo.data().join("token");
    let up = |mode| {
        std::fs::write(&token, "garbage").unwrap();
        std::fs::set_permissions(&token, std::fs::Permissions::from_mode(mode)).unwrap();
        repo.run(&["up", "--port", "0"]).exits(3).err()
    };
    expect("no token", &up(0o600), "holds no token", "remove it");
    expect("an open one", &up(0o644), "can be read by others", "rm ");
}

#[test]
fn a_damaged_database_is_told_with_the_way_on() {
    let repo = ready();
    let damage = "no database ".repeat(500);
    std::fs::write(repo.data().join("farmer.db"), &damage).unwrap();
    for command in [&["up", "--port", "0"][..], &["build"], &["status"]] {
        let said = repo.run(command).exits(3).err();
        expect(command[0], &said, "farmer.db", "restore a copy");
    }
    let kept = std::fs::read_to_string(repo.data().join("farmer.db"));
    assert_eq!(kept.unwrap(), damage);
}
