//! The keys of `.farmer.toml` and of `farmer.toml`: a table for each that the reader, the errors
//! and the schema share.

use serde_json::{Value, json};

use super::nearest::nearest;
use crate::error::{Error, ErrorKind, Result};

/// What a key holds.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Text,
    Number,
    Flag,
    /// A part of something, from 0 to 1.
    Share,
    Duration,
    Size,
    Texts,
    /// A line for a shell, or a list of words.
    Command,
    TextMap,
    Table(&'static [Key]),
    Tables(&'static [Key]),
    /// A list of texts, or a table.
    TextsOr(&'static [Key]),
    /// A table, or several of which one is enough.
    Ways(&'static [Key]),
    /// A text, or a list of them.
    Globs,
    /// A table with keys that the file chooses, and what is under each.
    Free(&'static Key),
    /// A list of those.
    FreeTables(&'static Key),
    /// A text, a whole number, true or false.
    Value,
    /// A list of those.
    Values,
}

/// One key: its name, what it holds, what it is for.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Key {
    pub(super) name: &'static str,
    kind: Kind,
    required: bool,
    about: &'static str,
}

const fn key(name: &'static str, kind: Kind, about: &'static str) -> Key {
    Key {
        name,
        kind,
        required: false,
        about,
    }
}

const fn required(name: &'static str, kind: Kind, about: &'static str) -> Key {
    Key {
        name,
        kind,
        required: true,
        about,
    }
}

const SHELL_ABOUT: &str = "The shell that reads lines: \"sh\", \"bash\", \"pwsh\", \"cmd\" or \"rc\"; \"sh\" when not given.";

const WHEN: &[Key] = &[
    key("branch", Kind::Globs, "Globs of branches of the commit."),
    key(
        "tag",
        Kind::Globs,
        "Globs of the tag for which the commit is built.",
    ),
    key(
        "paths",
        Kind::Globs,
        "Globs of files, one of which has changed since the step passed; \"!\" in front takes files out.",
    ),
    key(
        "trust",
        Kind::Globs,
        "How far the author is trusted: \"trusted\", \"untrusted\", \"unknown\".",
    ),
];

const AXIS: Key = key("", Kind::Values, "The values of one axis.");
const OF_AXIS: Key = key("", Kind::Value, "The value of one axis.");

const MATRIX: &[Key] = &[
    key(
        "steps",
        Kind::Texts,
        "Steps that are run once for each combination; all when not given.",
    ),
    required(
        "axes",
        Kind::Free(&AXIS),
        "Names, each with its values; {matrix.NAME} stands for one of them in the texts of the steps.",
    ),
    key(
        "exclude",
        Kind::FreeTables(&OF_AXIS),
        "Combinations that are left out: values of some axes.",
    ),
    key(
        "include",
        Kind::FreeTables(&OF_AXIS),
        "Combinations that are added: a value of each axis.",
    ),
    key(
        "when",
        Kind::Ways(WHEN),
        "For which commits its steps run; all when not given.",
    ),
];

const STEP: &[Key] = &[
    required("name", Kind::Text, "Name of the step, unique in the file."),
    required(
        "run",
        Kind::Command,
        "A line for a shell, or a program and its arguments; {tests} stands for the names of a shard.",
    ),
    key("shell", Kind::Text, SHELL_ABOUT),
    key(
        "dir",
        Kind::Text,
        "Directory below the checkout where it runs.",
    ),
    key("env", Kind::TextMap, "Variables added to the environment."),
    key(
        "needs",
        Kind::Texts,
        "Steps that must have passed; it runs in the work directory of the first.",
    ),
    key(
        "timeout",
        Kind::Duration,
        "Longest run, such as \"30m\"; 2h when not given.",
    ),
    key(
        "quiet",
        Kind::Duration,
        "Longest time without output; 20m when not given.",
    ),
    key(
        "tests",
        Kind::Command,
        "Command that prints the names of the tests.",
    ),
    key(
        "shards",
        Kind::Number,
        "On how many machines the tests run at once.",
    ),
    key(
        "artifacts",
        Kind::TextsOr(ARTIFACTS),
        "Globs of files that are kept when the step has passed, or with how it must have ended.",
    ),
    key(
        "cache",
        Kind::Texts,
        "Directories that are kept for the next build.",
    ),
    key(
        "snapshot",
        Kind::Text,
        "A directory that is kept as a whole when the step has passed, for other steps and later builds; \".\" for the checkout.",
    ),
    key(
        "inputs",
        Kind::Tables(STEP_INPUT),
        "Snapshots of steps it needs, each with the directory where it goes.",
    ),
    key(
        "builders",
        Kind::Texts,
        "Globs of the builders that run the step; all when not given.",
    ),
    key(
        "when",
        Kind::Ways(WHEN),
        "For which commits it runs; all when not given.",
    ),
    key("tools", Kind::Texts, "Programs that must be on PATH."),
    key(
        "reports",
        Kind::Texts,
        "Globs of JUnit XML files with the results of its tests.",
    ),
    key(
        "toolchain",
        Kind::TextMap,
        "Toolchains of the step, such as { go = \"1.22\" }; those of the file hold for all steps.",
    ),
    key(
        "sandbox",
        Kind::Text,
        "How it is kept apart from its machine: \"auto\", \"none\", \"user\" or \"namespaces\".",
    ),
    key(
        "network",
        Kind::Text,
        "What it sees of the network: \"on\", \"loopback\" or \"off\".",
    ),
    key(
        "no_tests",
        Kind::Text,
        "What becomes of the step when its test runner finds no test: \"fail\", or \"pass\".",
    ),
];

const ARTIFACTS: &[Key] = &[
    required("paths", Kind::Texts, "Globs of files that are kept."),
    key(
        "when",
        Kind::Text,
        "How the step must have ended: \"passed\" when not given, \"failed\", or \"always\" for both.",
    ),
    key(
        "keep",
        Kind::Duration,
        "How long they stay after the build has ended; never longer than the farm keeps files.",
    ),
];

const STEP_INPUT: &[Key] = &[
    required("step", Kind::Text, "The step whose snapshot it is."),
    required("dir", Kind::Text, "Where it goes, below the checkout."),
];

const INPUT: &[Key] = &[
    required(
        "dir",
        Kind::Text,
        "Where it goes, below the checkout; of a file that is not unpacked its name.",
    ),
    key(
        "repo",
        Kind::Text,
        "A repository that is checked out: its name in the farm, a git URL, or ../PATH beside a repository on the farm's machine.",
    ),
    key(
        "rev",
        Kind::Text,
        "Its branch, tag or commit; its default branch when not given.",
    ),
    key(
        "url",
        Kind::Text,
        "An archive (.tar.gz, .tar.xz, .tar, .zip), fetched by the farm.",
    ),
    key("sha256", Kind::Text, "Its SHA-256; needed with `url`."),
    key(
        "size",
        Kind::Size,
        "Bytes it may have; 1 GiB when not given.",
    ),
    key(
        "unpack",
        Kind::Flag,
        "Whether it is an archive that is unpacked, and not just a file; true when not given.",
    ),
    key(
        "strip",
        Kind::Number,
        "Folders at the beginning of each name in it that are left out.",
    ),
    key(
        "snapshot",
        Kind::Text,
        "The step of an earlier build whose snapshot it is.",
    ),
    key(
        "builder",
        Kind::Text,
        "The builder of that build; the same when not given.",
    ),
    key(
        "optional",
        Kind::Flag,
        "Whether the build goes on when there is no such snapshot; false when not given.",
    ),
    key(
        "builders",
        Kind::Texts,
        "Globs of the builders whose builds have it; all when not given.",
    ),
];

const LIMITS: &[Key] = &[
    key(
        "log",
        Kind::Size,
        "Bytes of log kept for each step: the head and the last 64 KiB.",
    ),
    key(
        "disk",
        Kind::Size,
        "Bytes that must stay free on the disk; 1 GiB when not given.",
    ),
    key(
        "memory",
        Kind::Size,
        "Bytes of memory of each step's processes.",
    ),
    key("processes", Kind::Number, "Processes of each step."),
    key(
        "attempts",
        Kind::Number,
        "How often a step is tried when the machine fails; 2 when not given.",
    ),
    key(
        "rerun",
        Kind::Flag,
        "Whether a build that failed by tests is run once more when machines are idle; true when not given.",
    ),
];

const BUILDER: &[Key] = &[
    required("name", Kind::Text, "Name of the builder."),
    key(
        "host",
        Kind::Text,
        "Host type it needs; \"local\" when not given.",
    ),
    key("labels", Kind::Texts, "What its machine must have."),
    key(
        "env",
        Kind::TextMap,
        "Variables added to the environment of each step.",
    ),
];

const HOST: &[Key] = &[
    HOST_NAME,
    HOST_POOL,
    HOST_COUNT,
    HOST_LABELS,
    key(
        "image",
        Kind::Text,
        "Image the machines are started from, for pools that use one.",
    ),
    HOST_SANDBOX,
];

const HOST_NAME: Key = required("name", Kind::Text, "Name of the host type.");

const HOST_POOL: Key = key(
    "pool",
    Kind::Text,
    "Pool that supplies it; \"local\" when not given.",
);

const HOST_COUNT: Key = key(
    "count",
    Kind::Number,
    "How many machines; as many as cores when not given.",
);

const HOST_LABELS: Key = key("labels", Kind::Texts, "What the machines have.");

const HOST_SANDBOX: Key = key(
    "sandbox",
    Kind::Text,
    "How builds are kept apart from these machines: \"auto\", \"none\", \"user\" or \"namespaces\"; as the farm when not given.",
);

const FARM_HOST: &[Key] = &[
    HOST_NAME,
    HOST_POOL,
    HOST_COUNT,
    HOST_LABELS,
    HOST_SANDBOX,
    key(
        "draws",
        Kind::Free(&DRAW),
        "What each machine takes of accounts while it is held, such as { cores = 4 }.",
    ),
];

const DRAW: Key = key("", Kind::Number, "How many units of that account.");

const ACCOUNT: &[Key] = &[
    required(
        "name",
        Kind::Text,
        "Name of the capacity, unique in the file.",
    ),
    required(
        "units",
        Kind::Number,
        "How much there is: machines that are held take no more together.",
    ),
    key(
        "unit",
        Kind::Text,
        "What a unit is, for people, in the plural; \"units\" when not given.",
    ),
];

const SHARES: &[Key] = &[
    key(
        "urgent",
        Kind::Share,
        "For releases and security fixes; nothing when not given.",
    ),
    key(
        "interactive",
        Kind::Share,
        "For builds and sessions that somebody waits for; 0 when not given.",
    ),
    key(
        "try",
        Kind::Share,
        "For changes under review; 0 when not given.",
    ),
];

const QUOTAS: &[Key] = &[
    key(
        "author",
        Kind::Number,
        "By the work of one author, over all repositories; any number when not given.",
    ),
    key(
        "repo",
        Kind::Number,
        "By the work of one repository, over all authors; any number when not given.",
    ),
];

const NOTIFY: &[Key] = &[
    required(
        "name",
        Kind::Text,
        "Name of whoever is told, unique in the file.",
    ),
    key(
        "on",
        Kind::Texts,
        "What is told: \"broken\", \"fixed\"; both when not given.",
    ),
    key(
        "command",
        Kind::Texts,
        "A program and its arguments; it reads the news from its standard input.",
    ),
    key(
        "webhook",
        Kind::Text,
        "An address to which the news are posted.",
    ),
    key(
        "secret_file",
        Kind::Text,
        "The file that holds the secret by which posted news are signed.",
    ),
    key("mail", Kind::Texts, "Addresses to which mail is sent."),
];

const MAIL: &[Key] = &[
    required(
        "server",
        Kind::Text,
        "Through which mail goes, such as \"smtps://mail.example.org\".",
    ),
    required(
        "from",
        Kind::Text,
        "Who writes, such as \"Farm <farm@example.org>\".",
    ),
    key("user", Kind::Text, "As whom to sign in to the server."),
    key(
        "password_file",
        Kind::Text,
        "The file that holds the password.",
    ),
];

const STEP_LIMITS: &[Key] = &[
    key(
        "memory",
        Kind::Size,
        "Bytes of memory of the processes of a step.",
    ),
    key("processes", Kind::Number, "Processes of a step."),
    key(
        "quota",
        Kind::Size,
        "Bytes on the disk in the directory of a machine.",
    ),
    key(
        "files",
        Kind::Number,
        "Files and directories in the directory of a machine.",
    ),
];

const REPO: &[Key] = &[
    required(
        "name",
        Kind::Text,
        "Which repositories: a name, or a pattern such as \"team/*\"; \"**\" for all.",
    ),
    key(
        "changes",
        Kind::Texts,
        "Whole names of refs, as patterns, of changes that are built when they come: \"refs/pull/*/head\".",
    ),
    key(
        "untrusted",
        Kind::Texts,
        "Refs that anybody may write to, besides all that are neither branches nor tags.",
    ),
    key(
        "trusted",
        Kind::Texts,
        "Refs that only those may write to who may have the machines do what they like.",
    ),
];

const IDENTITY: &[Key] = &[
    required(
        "issuer",
        Kind::Text,
        "The address of the provider, as its tokens name it.",
    ),
    required(
        "audience",
        Kind::Text,
        "What tokens must be made for: the name of this farm at the provider.",
    ),
    key(
        "user",
        Kind::Text,
        "The claim that names the user; \"email\" when not given.",
    ),
    key(
        "groups",
        Kind::Text,
        "The claim that lists the groups of the user; \"groups\" when not given.",
    ),
    key("admins", Kind::Texts, "Groups whose members are admins."),
    key(
        "users",
        Kind::Texts,
        "Groups whose members are users; \"*\" for everybody whom the provider knows.",
    ),
    key(
        "ca_file",
        Kind::Text,
        "A file of certificates that are trusted besides the usual ones.",
    ),
];

/// The keys of `farmer.toml`.
pub(super) const FARM: &[Key] = &[
    key(
        "branches",
        Kind::Texts,
        "Globs of branches that are watched too; as --branch.",
    ),
    key(
        "tags",
        Kind::Texts,
        "Globs of tags that are built when they come; as --tag.",
    ),
    key(
        "addr",
        Kind::Text,
        "The address to answer on; \"127.0.0.1\" when not given; as --addr.",
    ),
    key(
        "port",
        Kind::Number,
        "The port to answer on; 8119 when not given; as --port.",
    ),
    key(
        "names",
        Kind::Texts,
        "Names under which the machine is opened; as --host.",
    ),
    key(
        "machines",
        Kind::Number,
        "Machines to start at most; as many as cores when not given; as --machines.",
    ),
    key(
        "keep_logs",
        Kind::Duration,
        "How long logs are kept after a build has ended; \"90d\" when not given; as --keep-logs.",
    ),
    key(
        "keep_artifacts",
        Kind::Duration,
        "How long files that builds have kept stay after the build has ended; for ever when not given.",
    ),
    key(
        "max_artifacts",
        Kind::Size,
        "Bytes of all files that builds have kept: those of the oldest builds make room; any number when not given.",
    ),
    key(
        "sandbox",
        Kind::Text,
        "How builds are kept apart from its machines: \"auto\", \"none\", \"user\" or \"namespaces\"; \"auto\" when not given; as --sandbox.",
    ),
    key(
        "shares",
        Kind::Table(SHARES),
        "Parts of the machines of each host type that less urgent work never holds.",
    ),
    key(
        "quotas",
        Kind::Table(QUOTAS),
        "Machines of the farm that may be held at once; urgent work is neither held back nor counted.",
    ),
    key(
        "account",
        Kind::Tables(ACCOUNT),
        "Capacities that machines of several hosts share.",
    ),
    key(
        "host",
        Kind::Tables(FARM_HOST),
        "The kinds of machines of the farm, beside those that repositories name; these come first.",
    ),
    key(
        "notify",
        Kind::Tables(NOTIFY),
        "Who is told when a branch breaks and when it is mended.",
    ),
    key("mail", Kind::Table(MAIL), "Through which server mail goes."),
    key(
        "limits",
        Kind::Table(STEP_LIMITS),
        "What each step may take at most on the farm's own machines; a commit can only ask for less.",
    ),
    key(
        "repo",
        Kind::Tables(REPO),
        "Which changes of a repository are built, and whose commits come from outside.",
    ),
    key(
        "private",
        Kind::Texts,
        "Repositories that only admins and those may read who were given it: names, or how names begin, such as \"team-*\".",
    ),
    key(
        "identity",
        Kind::Tables(IDENTITY),
        "Identity providers (OpenID Connect) whose signed tokens are taken.",
    ),
];

/// The keys of the whole file.
pub(super) const FILE: &[Key] = &[
    key(
        "depth",
        Kind::Number,
        "Commits of history in the checkout; 50 when not given.",
    ),
    key(
        "warm",
        Kind::Texts,
        "Directories with which a build begins as an earlier one has left them, on the farm's own machine.",
    ),
    key("shell", Kind::Text, SHELL_ABOUT),
    key("step", Kind::Tables(STEP), "The steps, in any order."),
    key(
        "matrix",
        Kind::Tables(MATRIX),
        "Steps that are run once for each combination of some values.",
    ),
    key(
        "input",
        Kind::Tables(INPUT),
        "What lies in the work directory besides the commit.",
    ),
    key(
        "limits",
        Kind::Table(LIMITS),
        "Bounds on what a build may use.",
    ),
    key(
        "builder",
        Kind::Tables(BUILDER),
        "The builders; one called \"local\" when not given.",
    ),
    key("host", Kind::Tables(HOST), "The host types."),
    key(
        "toolchain",
        Kind::TextMap,
        "Toolchains of all steps, each with its version or the beginning of it: go = \"1.22\".",
    ),
];

/// Checks that every key of `table` is known, all the way down.
///
/// # Errors
/// [`ErrorKind::Invalid`] naming the path of the key and the nearest known one.
pub(super) fn check(table: &toml::Table, known: &[Key], path: &str) -> Result<()> {
    for (name, value) in table {
        let Some(key) = known.iter().find(|k| k.name == name) else {
            return Err(unknown(name, known, path));
        };
        let here = format!("{path}{name}");
        match (key.kind, value) {
            (
                Kind::Table(keys) | Kind::TextsOr(keys) | Kind::Ways(keys),
                toml::Value::Table(inner),
            ) => {
                check(inner, keys, &format!("{here}."))?;
            }
            (Kind::Tables(keys) | Kind::Ways(keys), toml::Value::Array(items)) => {
                for (n, item) in items.iter().enumerate() {
                    if let toml::Value::Table(inner) = item {
                        check(inner, keys, &format!("{here}[{n}]."))?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn unknown(name: &str, known: &[Key], path: &str) -> Error {
    let hint = match nearest(name, known.iter().map(|k| k.name)) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!(
            "known keys here: {}",
            known.iter().map(|k| k.name).collect::<Vec<_>>().join(", ")
        ),
    };
    Error::new(ErrorKind::Invalid, format!("unknown key \"{path}{name}\"")).with_hint(hint)
}

/// The JSON schema of `.farmer.toml`, as committed in `docs/farmer.schema.json`.
pub fn schema() -> Value {
    titled(".farmer.toml", FILE)
}

/// The JSON schema of a farm's `farmer.toml`, as committed in `docs/farm.schema.json`.
pub fn farm_schema() -> Value {
    titled("farmer.toml", FARM)
}

fn titled(title: &str, keys: &[Key]) -> Value {
    let mut schema = object(keys);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!(title);
    schema
}

/// Whether the schema in `docs/` is the one of the keys; with `UPDATE` set it is written.
#[cfg(test)]
pub(super) fn check_committed(name: &str, schema: &Value) {
    let path = format!("{}/../docs/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, format!("{schema:#}\n")).unwrap();
    }
    // Compared as values: the order of keys depends on features of other crates.
    let committed = std::fs::read_to_string(&path).unwrap();
    let committed: Value = serde_json::from_str(&committed).unwrap();
    assert_eq!(committed, *schema, "run with UPDATE=1 to write it");
}

fn object(keys: &[Key]) -> Value {
    let properties: serde_json::Map<_, _> = keys
        .iter()
        .map(|k| (k.name.to_owned(), property(k)))
        .collect();
    let required: Vec<_> = keys.iter().filter(|k| k.required).map(|k| k.name).collect();
    json!({ "type": "object", "additionalProperties": false, "properties": properties, "required": required })
}

fn of_kind(kind: Kind) -> Value {
    match kind {
        Kind::Text => json!({ "type": "string" }),
        Kind::Number => json!({ "type": "integer", "minimum": 1 }),
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Share => json!({ "type": "number", "minimum": 0, "maximum": 1 }),
        Kind::Duration => json!({ "type": "string", "examples": ["90s", "30m", "1h30m"] }),
        Kind::Size => json!({ "type": ["string", "integer"], "examples": ["64 MiB", "10GB"] }),
        Kind::Texts => json!({ "type": "array", "items": { "type": "string" } }),
        Kind::Command => json!({ "oneOf": [
            { "type": "string" },
            { "type": "array", "minItems": 1, "items": { "type": "string" } },
        ] }),
        Kind::TextMap => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
        Kind::Table(keys) => object(keys),
        Kind::Tables(keys) => json!({ "type": "array", "items": object(keys) }),
        Kind::TextsOr(keys) => json!({ "oneOf": [
            { "type": "array", "items": { "type": "string" } },
            object(keys),
        ] }),
        Kind::Ways(keys) => json!({ "oneOf": [
            object(keys),
            { "type": "array", "minItems": 1, "items": object(keys) },
        ] }),
        Kind::Globs => json!({ "oneOf": [
            { "type": "string" },
            { "type": "array", "minItems": 1, "items": { "type": "string" } },
        ] }),
        Kind::Value => json!({ "type": ["string", "integer", "boolean"] }),
        Kind::Values => json!({ "type": "array", "minItems": 1, "items": of_kind(Kind::Value) }),
        Kind::Free(value) => {
            json!({ "type": "object", "additionalProperties": property(value) })
        }
        Kind::FreeTables(value) => {
            json!({ "type": "array", "items": of_kind(Kind::Free(value)) })
        }
    }
}

fn property(key: &Key) -> Value {
    let mut property = of_kind(key.kind);
    property["description"] = json!(key.about);
    property
}
