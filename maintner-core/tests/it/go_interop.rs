//! The Go project's own corpus as judge: it loads our logs and we load its.
//!
//! Without a Go toolchain the tests say that they were skipped; with `CI=true`
//! that is a failure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use maintner_core::dump::Dump;
use maintner_core::generate::{Generator, Profile};
use maintner_core::log::{LogFolder, LogPosition, LogReader, LogWriter};
use maintner_core::pb::Mutation;
use maintner_core::{Corpus, Options};
use prost::Message as _;
use serde_json::{Map, Value};

use crate::made_git::{Git, branches, changes, isolate, run};

/// The folder of the Go programs, built once; `None` without Go.
pub(crate) fn go_programs() -> Option<&'static Path> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    BUILT.get_or_init(build).as_deref()
}

fn build() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-maintner");
    let built = Command::new("go")
        .args(["build", "-o"])
        .arg(format!("{}/", folder.display()))
        .args(["./maintdump", "./maintsync", "./maintfollow", "./maintapid"])
        .arg("golang.org/x/build/maintner/maintq")
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/go"))
        .env("GOFLAGS", "-mod=readonly -buildvcs=false")
        .stdin(Stdio::null())
        .output();
    let trouble = match built {
        Ok(output) if output.status.success() => return Some(folder),
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => format!("go: {error}"),
    };
    let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(!in_ci, "the Go peers cannot be built: {trouble}");
    eprintln!("SKIPPED: no test against the Go corpus, it cannot be built: {trouble}");
    None
}

pub(crate) fn go_dump(programs: &Path, folder: &Path) -> Vec<String> {
    let printed = run(Command::new(programs.join("maintdump")).arg(folder));
    printed.lines().map(str::to_owned).collect()
}

pub(crate) fn our_dump(folder: &Path) -> Dump {
    let corpus = Corpus::open_with(folder, Options::default().workers(2).snapshot(false)).unwrap();
    assert_eq!(corpus.view().anomalies().total(), count_skipped(folder));
    corpus.view().canonical_dump()
}

fn count_skipped(folder: &Path) -> u64 {
    let segments = LogFolder::open(folder).unwrap().segments().to_vec();
    crate::reference::Reference::load(segments).skipped()
}

/// Lines by what they are about; changes with their values apart.
fn index(lines: &[String]) -> BTreeMap<String, Value> {
    lines
        .iter()
        .map(|line| {
            let mut value: Map<String, Value> = serde_json::from_str(line).unwrap();
            let mut key = String::new();
            for name in [
                "kind", "project", "ref", "repo", "number", "id", "hash", "owner",
            ] {
                let part = match name {
                    // The value of a ref and of a change is not its name.
                    "hash" if value.contains_key("project") => None,
                    _ => value.get(name),
                };
                key.push_str(&part.map_or(String::new(), |part| format!("{part} ")));
            }
            value.remove("kind");
            (key, Value::Object(value))
        })
        .collect()
}

/// Compares all values but the documented exceptions.
pub(crate) fn assert_same(go: &[String], ours: &[String]) {
    let (go, ours) = (index(go), index(ours));
    let names = |of: &BTreeMap<String, Value>, other: &BTreeMap<String, Value>| {
        of.keys()
            .filter(|key| !other.contains_key(*key))
            .take(5)
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (names(&go, &ours), names(&ours, &go)),
        (Vec::new(), Vec::new()),
        "only in Go, only in ours"
    );
    let mut differ = Vec::new();
    for (key, theirs) in go {
        let mut theirs = theirs.as_object().unwrap().clone();
        let mut mine = ours[&key].as_object().unwrap().clone();
        drop_exceptions(&key, &mut theirs, &mut mine);
        if theirs != mine {
            let fields: Vec<String> = mine
                .iter()
                .filter(|(name, value)| theirs.get(*name) != Some(value))
                .map(|(name, value)| format!("{name}: Go {:?}, ours {value}", theirs.get(name)))
                .collect();
            differ.push(format!("{key}{fields:?}"));
        }
    }
    let first = &differ[..differ.len().min(10)];
    assert!(
        differ.is_empty(),
        "{} objects differ: {first:#?}",
        differ.len()
    );
}

/// What we do better on purpose: docs/protocol/canonical-dump.md.
fn drop_exceptions(key: &str, go: &mut Map<String, Value>, ours: &mut Map<String, Value>) {
    if key.starts_with("\"issue\"") && go["created"].is_null() {
        go.remove("created");
        ours.remove("created");
    }
    if !key.starts_with("\"cl\"") {
        return;
    }
    if go["private"] == true {
        go.remove("private");
        ours.remove("private");
    }
    if go["version"].as_i64() < ours["version"].as_i64() {
        for field in ["version", "commit", "refs"] {
            go.remove(field);
            ours.remove(field);
        }
    }
}

/// Copies a log into day files, the only names that the Go disk log reads.
fn as_day_files(from: &Path, to: &Path) {
    let payloads = records(from);
    let batch: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
    LogWriter::open(to).unwrap().append(&batch).unwrap();
}

#[test]
fn the_go_corpus_reads_our_logs_as_we_do() {
    let Some(programs) = go_programs() else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let (made, log) = (dir.path().join("made"), dir.path().join("log"));
    Generator::new(Profile::Tiny).seed(1).write(&made).unwrap();
    as_day_files(&made, &log);
    assert_same(&go_dump(programs, &log), our_dump(&log).lines());
}

pub(crate) fn sync(programs: &Path, home: &Path, log: &Path, what: &[&str]) {
    let mut command = Command::new(programs.join("maintsync"));
    command
        .args(what)
        .arg("-log")
        .arg(log)
        .arg("-scratch")
        .arg(home.join("scratch"));
    isolate(&mut command, home);
    std::fs::create_dir_all(home.join("scratch")).unwrap();
    std::fs::create_dir_all(log).unwrap();
    run(&mut command);
}

#[test]
fn we_read_what_the_go_tracker_wrote() {
    let Some(programs) = go_programs() else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let git = Git::init(home, "proj");
    branches(&git);
    changes(&git);
    let instead = format!(
        "[url \"file://{}/\"]\n\tinsteadOf = https://gerrit.test/\n[protocol \"file\"]\n\tallow = always\n",
        home.display()
    );
    std::fs::write(home.join(".gitconfig"), instead).unwrap();

    let gerrit = home.join("gerrit-log");
    sync(programs, home, &gerrit, &["-gerrit", "gerrit.test/proj"]);
    git.commit("README", b"hello again\n", "later\n");
    git.run(&["branch", "--quiet", "-D", "side"]);
    sync(programs, home, &gerrit, &["-gerrit", "gerrit.test/proj"]);
    let deleted = |mutation: &Mutation| {
        let gerrit = mutation.gerrit.as_ref();
        gerrit.is_some_and(|gerrit| gerrit.deleted_refs == ["refs/heads/side"])
    };
    assert!(
        records(&gerrit)
            .iter()
            .any(|payload| deleted(&Mutation::decode(&payload[..]).unwrap()))
    );
    let ours = our_dump(&gerrit);
    let has = |what: &str| ours.lines().iter().any(|line| line.contains(what));
    assert!(!has("refs/heads/side") && has("refs/heads/master"));
    assert!(has(r#""\"\\303\\251.txt\"""#) && has(r#""number":14700"#) && has(r#""version":12"#));
    assert!(has("refs/tags/v1.0.0"));
    assert_same(&go_dump(programs, &gerrit), ours.lines());

    every_record_keeps_its_bytes(&gerrit);
}

/// Decoding and encoding what Go wrote gives Go's bytes.
fn every_record_keeps_its_bytes(log: &Path) {
    for payload in records(log) {
        let decoded = Mutation::decode(&payload[..]).unwrap();
        assert_eq!(decoded.encode_to_vec(), payload, "{decoded:?}");
    }
}

/// The payloads of a log.
pub(crate) fn records(log: &Path) -> Vec<Vec<u8>> {
    let segments = LogFolder::open(log).unwrap().segments().to_vec();
    let mut reader = LogReader::new(segments, LogPosition::START).unwrap();
    let mut payloads = Vec::new();
    while let Some((_, payload)) = reader.next_record().unwrap() {
        payloads.push(payload.to_vec());
    }
    payloads
}

#[cfg(feature = "git")]
#[test]
fn a_plain_repository_gives_the_same_log_by_go_and_by_us() {
    use maintner_core::source::MutationSink as _;
    use maintner_core::sync::git::Repository;

    let Some(programs) = go_programs() else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let git = Git::init(home, "proj");
    branches(&git);

    let (by_go, by_us) = (home.join("by-go"), home.join("by-us"));
    let repo = git.repo.to_str().unwrap();
    // The Go tracker reads the tip alone: parents that a commit names count as known.
    let oldest_first = git.run(&["rev-list", "--all", "--topo-order", "--reverse"]);
    for id in oldest_first.lines() {
        git.set("refs/remotes/origin/master", id);
        sync(programs, home, &by_go, &["-git", repo, "-name", "proj"]);
    }
    let mut writer = LogWriter::open(&by_us).unwrap();
    let batch = Repository::open(&git.repo)
        .unwrap()
        .next_batch(|_| false)
        .unwrap();
    writer.append_mutations(&batch).unwrap();

    let sorted = |log: &Path| {
        let mut payloads = records(log);
        payloads.sort();
        payloads
    };
    assert_eq!(sorted(&by_go).len(), oldest_first.lines().count());
    assert_eq!(sorted(&by_go), sorted(&by_us), "the records, byte for byte");
    let (theirs, ours) = (go_dump(programs, &by_us), our_dump(&by_go));
    assert_eq!(theirs, go_dump(programs, &by_go));
    assert_eq!(theirs, ours.lines());
    assert!(theirs.iter().any(|line| line.contains(r"\\303\\251")));
}
