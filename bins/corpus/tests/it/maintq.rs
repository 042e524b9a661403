//! `maintq`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use maintner_core::generate::{Fault, Generator, Profile};
use maintner_core::log::{LogWriter, WriterOptions};
use maintner_core::pb::{
    BoolChange, GerritMutation, GitRef, GithubIssueMutation, GithubUser, Mutation, StringChange,
    Timestamp,
};
use maintner_core::source::MutationSink as _;

use crate::run;

/// The example of the protocol's description: four records, 265 bytes.
fn documented(folder: &Path) -> PathBuf {
    let issue = |number| GithubIssueMutation {
        owner: "golang".into(),
        repo: "go".into(),
        number,
        ..Default::default()
    };
    let of = |issue| Mutation {
        github_issue: Some(issue),
        ..Default::default()
    };
    let at = |seconds| Some(Timestamp { seconds, nanos: 0 });
    let created = GithubIssueMutation {
        user: Some(GithubUser {
            id: 100,
            login: "gopherbot".into(),
        }),
        created: at(1_451_747_040),
        title: "some title".into(),
        no_milestone: true,
        closed: Some(BoolChange { val: false }),
        body_change: Some(StringChange {
            val: "some body".into(),
        }),
        ..issue(3)
    };
    let closed = GithubIssueMutation {
        updated: at(1_451_748_600),
        closed: Some(BoolChange { val: true }),
        ..issue(3)
    };
    let gerrit = GerritMutation {
        project: "go.googlesource.com/go".into(),
        refs: vec![GitRef {
            r#ref: "refs/heads/master".into(),
            sha1: "0123456789abcdef0123456789abcdef01234567".into(),
        }],
        deleted_refs: vec!["refs/heads/dev.old".into()],
        ..Default::default()
    };
    let gone = GithubIssueMutation {
        not_exist: true,
        ..issue(7)
    };
    let gerrit = Mutation {
        gerrit: Some(gerrit),
        ..Default::default()
    };
    let clock = || std::time::SystemTime::UNIX_EPOCH;
    let mut writer = LogWriter::open_with(folder, WriterOptions::default().clock(clock)).unwrap();
    writer
        .append_mutations(&[of(created), of(gone), of(closed), gerrit])
        .unwrap();
    let path = folder.join("maintner-1970-01-01.mutlog");
    assert_eq!(fs::metadata(&path).unwrap().len(), 265);
    path
}

fn mutations(printed: &str) -> usize {
    printed
        .lines()
        .filter(|line| ["github_issue: <", "gerrit: <"].contains(line))
        .count()
}

#[test]
fn cat_prints_every_mutation() {
    let dir = tempfile::tempdir().unwrap();
    let path = documented(dir.path());
    for input in [dir.path(), &path] {
        let ran = run("maintq", &[&"cat", &input]);
        assert_eq!((ran.code, mutations(&ran.out)), (Some(0), 4), "{}", ran.err);
    }
    let ran = run(
        "maintq",
        &[&"cat", &"--json", &"--from", &"107", &dir.path()],
    );
    let first: serde_json::Value = serde_json::from_str(ran.out.lines().next().unwrap()).unwrap();
    assert_eq!(first["pos"], 107);
    assert_eq!(first["mutation"]["github_issue"]["closed"]["val"], true);
}

#[test]
fn a_cut_log_is_shown_up_to_the_cut_and_repaired() {
    let dir = tempfile::tempdir().unwrap();
    let path = documented(dir.path());
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..260]).unwrap();
    let ran = run("maintq", &[&"cat", &dir.path()]);
    assert_eq!((ran.code, mutations(&ran.out)), (Some(1), 3));
    assert!(
        ran.err.contains("truncated record at offset 146"),
        "{}",
        ran.err
    );
    let verified = run("maintq", &[&"verify", &dir.path()]);
    assert_eq!(verified.code, Some(1));
    assert!(
        verified.out.contains("3 records, 260 bytes, 1 problems"),
        "{}",
        verified.out
    );

    let planned = run("maintq", &[&"repair", &"--dry-run", &dir.path()]);
    assert_eq!(
        (planned.code, fs::read(&path).unwrap().len()),
        (Some(0), 260)
    );
    assert!(
        planned.out.contains("146 bytes are whole, 114 are not"),
        "{}",
        planned.out
    );
    assert_eq!(run("maintq", &[&"repair", &dir.path()]).code, Some(0));
    assert_eq!(fs::read(&path).unwrap(), &whole[..146]);
    assert_eq!(
        fs::read(dir.path().join("maintner-1970-01-01.mutlog.torn-146")).unwrap(),
        &whole[146..260]
    );
    assert_eq!(run("maintq", &[&"verify", &dir.path()]).code, Some(0));
}

#[test]
fn repair_waits_for_no_writer() {
    let dir = tempfile::tempdir().unwrap();
    documented(dir.path());
    let _writer = LogWriter::open(dir.path()).unwrap();
    let ran = run("maintq", &[&"repair", &dir.path()]);
    assert_eq!(ran.code, Some(3));
    assert!(ran.err.contains("in use by another writer"), "{}", ran.err);
}

#[test]
fn a_changed_frozen_segment_is_reported_and_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    Generator::new(Profile::Tiny)
        .records(2_000)
        .segment_bytes(1 << 19)
        .write(dir.path())
        .unwrap();
    assert_eq!(run("maintq", &[&"verify", &dir.path()]).code, Some(0));
    let first = fs::read_dir(dir.path())
        .unwrap()
        .map(|e| e.unwrap().path())
        .find(|p| p.to_str().unwrap().contains("/0000."))
        .unwrap();
    let mut bytes = fs::read(&first).unwrap();
    bytes[1] ^= 1;
    fs::write(&first, &bytes).unwrap();
    let ran = run("maintq", &[&"verify", &"--json", &dir.path()]);
    assert_eq!(
        (ran.code, ran.out.lines().count()),
        (Some(1), 3),
        "{}",
        ran.out
    );
    let repaired = run("maintq", &[&"repair", &dir.path()]);
    assert_eq!(repaired.code, Some(1));
    assert_eq!(fs::read(&first).unwrap(), bytes);
}

#[test]
fn dump_and_diff_tell_a_fork() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (dir.path().join("one"), dir.path().join("other"));
    let generator = Generator::new(Profile::Tiny).seed(5);
    generator.write(&one).unwrap();
    generator.fault(Fault::Fork).write(&other).unwrap();
    let hash = |folder: &PathBuf| run("maintq", &[&"dump", &"--hash", folder]).out;
    assert_eq!(hash(&one).trim().len(), 64);
    assert_ne!(hash(&one), hash(&other));
    let same = run("maintq", &[&"diff", &one, &one]);
    assert_eq!((same.code, same.out.as_str()), (Some(0), ""));
    let ran = run("maintq", &[&"diff", &one, &other]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("agree up to position "), "{}", ran.err);
    assert!(
        ran.out.lines().any(|l| l.starts_with("-{"))
            && ran.out.lines().any(|l| l.starts_with("+{"))
    );
}

#[test]
fn export_prints_rows_of_the_asked_tables() {
    let dir = tempfile::tempdir().unwrap();
    documented(dir.path());
    let ran = run("maintq", &[&"export", &"--table", &"issues", &dir.path()]);
    let row: serde_json::Value = serde_json::from_str(ran.out.trim()).unwrap();
    assert_eq!(
        (&row["title"], &row["user"], &row["closed"]),
        (&"some title".into(), &"gopherbot".into(), &1.into())
    );
    assert_eq!(
        run("maintq", &[&"export", &"--table", &"nothing", &dir.path()]).code,
        Some(2)
    );
}

#[test]
fn a_closed_pipe_is_success() {
    let dir = tempfile::tempdir().unwrap();
    Generator::new(Profile::Tiny)
        .records(3_000)
        .write(dir.path())
        .unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_farmer-corpus"))
        .args(["maintq", "cat"])
        .arg(dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn errors_name_the_object_and_have_their_code() {
    let ran = run("maintq", &[&"cat", &"/nonexistent/log"]);
    assert_eq!(ran.code, Some(3));
    assert_eq!(
        ran.err,
        "maintq: cannot read /nonexistent/log: No such file or directory (os error 2)\n"
    );
    assert_eq!(
        run("maintq", &[&"generate", &"--profile", &"huge", &"/tmp/x"]).code,
        Some(2)
    );
    let help = run("maintq", &[&"--help"]);
    assert_eq!(help.code, Some(0));
    assert!(help.out.contains("Examples:"));
}

#[cfg(feature = "sql")]
#[test]
fn sql_asks_the_rows_and_makes_them_once() {
    let dir = tempfile::tempdir().unwrap();
    documented(dir.path());
    let ask = |args: &[&dyn AsRef<Path>]| {
        let mut all: Vec<&dyn AsRef<Path>> = vec![&"sql"];
        all.extend(args);
        run("maintq", &all)
    };
    let folder = dir.path();
    let query = "SELECT number, title, closed FROM issues";
    let ran = ask(&[&folder, &query]);
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (Some(0), "number\ttitle\tclosed\n3\tsome title\t1\n"),
        "{}",
        ran.err
    );
    let files = || {
        let all = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
        all.filter(|p| p.extension().is_some_and(|e| e == "sqlite"))
            .collect::<Vec<_>>()
    };
    let before = files();
    let json = ask(&[&"--json", &folder, &query]);
    assert_eq!(
        json.out,
        "{\"number\":3,\"title\":\"some title\",\"closed\":1}\n"
    );
    assert_eq!((before.len(), files()), (1, before.clone()));
    LogWriter::open(folder).unwrap().append(&[b""]).unwrap();
    let attach = format!("old={}", before[0].display());
    let copy = folder.join("copy.db");
    fs::copy(&before[0], &copy).unwrap();
    let attached = attach.replace(before[0].to_str().unwrap(), copy.to_str().unwrap());
    let ran = ask(&[
        &"--attach",
        &attached,
        &folder,
        &"SELECT count(*) AS n FROM old.issues",
    ]);
    assert_eq!(ran.out, "n\n1\n", "{}", ran.err);
    assert_ne!(files(), before);
    assert_eq!(
        ask(&[&folder, &"SELECT nothing FROM nowhere"]).code,
        Some(2)
    );
    assert_eq!(ask(&[&folder, &"DELETE FROM issues"]).code, Some(2));
    assert!(ask(&[&folder]).out.contains("issues(repo, number, title"));
    let filtered = ask(&[&folder, &"issues", &"closed=1", &"title~SOME"]);
    assert_eq!(filtered.out.lines().count(), 2, "{}", filtered.err);
    let wrong = ask(&[&folder, &"issues", &"colour=red"]);
    assert_eq!(wrong.code, Some(2));
    assert!(
        wrong.err.contains("issues has no column \"colour\""),
        "{}",
        wrong.err
    );
    let none = ask(&[&"--records", &"/nonexistent", &folder, &query]);
    assert_eq!(none.code, Some(2));
    assert!(
        none.err.contains("/nonexistent") && none.err.contains("hint:"),
        "{}",
        none.err
    );
    let other = ask(&[&"--records", &folder, &folder, &query]);
    assert_eq!(other.code, Some(2));
    assert!(other.err.contains("no build records at"), "{}", other.err);
}

#[cfg(feature = "parquet")]
#[test]
fn export_writes_a_parquet_file_for_each_table() {
    use parquet::file::reader::{FileReader as _, SerializedFileReader};

    let dir = tempfile::tempdir().unwrap();
    let (log, rows) = (dir.path().join("log"), dir.path().join("rows"));
    documented(&log);
    let ran = run("maintq", &[&"export", &"--parquet", &rows, &log]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(
        fs::read_dir(&rows).unwrap().count(),
        ran.out.lines().count()
    );
    let file = fs::File::open(rows.join("issues.parquet")).unwrap();
    let reader = SerializedFileReader::new(file).unwrap();
    let row = reader.get_row_iter(None).unwrap().next().unwrap().unwrap();
    let title = row
        .get_column_iter()
        .find(|(name, _)| *name == "title")
        .unwrap()
        .1;
    assert_eq!(title.to_string(), "\"some title\"");
}
