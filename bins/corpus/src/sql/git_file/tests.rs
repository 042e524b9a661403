//! Rows that are kept are those that are read anew, whatever happened to the repository and to
//! the file.

use std::collections::BTreeMap;
use std::process::Command;

use maintner_core::Corpus;
use sqlx::{AssertSqlSafe, Row as _, ValueRef as _};

use super::*;
use crate::rows::TABLES;
use crate::sql::build;

fn git(folder: &Path, args: &[&str]) {
    let output = Command::new("git")
        .args(["-c", "user.name=Ann", "-c", "user.email=ann@example.com"])
        .args([
            "-c",
            "init.defaultBranch=main",
            "-c",
            "commit.gpgsign=false",
        ])
        .args(["-c", "protocol.file.allow=always"])
        .args(args)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {args:?}: {error}");
}

fn commit(folder: &Path, text: &str) {
    fs::write(folder.join("file"), format!("{text}\nstays\n")).unwrap();
    fs::write(folder.join(text), "new\n").unwrap();
    git(folder, &["add", "--all"]);
    git(folder, &["commit", "--quiet", "-m", text]);
}

/// A repository in `dir` with a merge, and where its rows are kept.
fn repository(dir: &Path) -> (PathBuf, PathBuf) {
    let repo = dir.join("repo");
    fs::create_dir(&repo).unwrap();
    git(&repo, &["init", "--quiet"]);
    commit(&repo, "one");
    commit(&repo, "two");
    git(&repo, &["checkout", "--quiet", "-b", "side", "HEAD~1"]);
    fs::write(repo.join("beside"), "s\n").unwrap();
    git(&repo, &["add", "--all"]);
    git(&repo, &["commit", "--quiet", "-m", "beside"]);
    git(&repo, &["checkout", "--quiet", "main"]);
    git(&repo, &["merge", "--quiet", "--no-edit", "side"]);
    (repo, dir.join("rows"))
}

/// Runs `work` where programs do: on a thread that may block, with a runtime.
fn blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async { tokio::task::spawn_blocking(work).await.unwrap() })
}

/// All rows of all tables, in an order of their own.
fn content(file: &Path) -> BTreeMap<&'static str, Vec<String>> {
    let all = Handle::current().block_on(async {
        let mut db = open(file).await.unwrap();
        let mut all = BTreeMap::new();
        for table in TABLES {
            let every = AssertSqlSafe(format!("SELECT * FROM {}", table.name));
            let rows = sqlx::query(every).fetch_all(&mut db).await.unwrap();
            let text = |row: &sqlx::sqlite::SqliteRow| {
                let cells = (0..row.len()).map(|at| {
                    let raw = row.try_get_raw(at).unwrap();
                    match raw.is_null() {
                        true => String::new(),
                        false => row
                            .try_get::<String, _>(at)
                            .unwrap_or_else(|_| row.get::<i64, _>(at).to_string()),
                    }
                });
                cells.collect::<Vec<_>>().join("|")
            };
            let mut rows: Vec<String> = rows.iter().map(text).collect();
            rows.sort();
            all.insert(table.name, rows);
        }
        all
    });
    assert!(!all["commits"].is_empty());
    all
}

/// What the corpus says of the repository, read anew.
fn fresh(repo: &Path) -> BTreeMap<&'static str, Vec<String>> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("corpus-1.sqlite");
    let view = Corpus::from_git(repo).unwrap().view();
    Handle::current().block_on(build(&view, &file)).unwrap();
    content(&file)
}

fn same(repo: &Path, rows: &Path) -> PathBuf {
    let kept = GitRows::new(repo, rows).file(true).unwrap();
    assert_eq!(content(&kept), fresh(repo));
    kept
}

#[test]
fn rows_follow_the_refs_wherever_they_go() {
    let dir = tempfile::tempdir().unwrap();
    let (repo, rows) = repository(dir.path());
    blocking(move || {
        let first = GitRows::new(&repo, &rows).file(false).unwrap();
        let content_first = content(&first);
        assert_eq!(content_first["commits"].len(), 4);
        assert!(content_first["commit_files"].is_empty(), "nobody asked");
        assert_eq!(same(&repo, &rows), first, "added to, not made again");
        commit(&repo, "three");
        let second = GitRows::new(&repo, &rows).file(false).unwrap();
        let commits = |file: &Path| content(file)["commits"].len();
        assert_eq!((&second, commits(&second)), (&first, 5));
        same(&repo, &rows);
        git(&repo, &["branch", "-D", "side"]);
        git(&repo, &["tag", "-a", "-m", "t", "v1"]);
        same(&repo, &rows);
        // A branch that is gone with its commits, a history that was rewritten, an old branch.
        git(&repo, &["checkout", "--quiet", "-b", "gone"]);
        commit(&repo, "four");
        same(&repo, &rows);
        git(&repo, &["checkout", "--quiet", "main"]);
        git(&repo, &["branch", "-D", "gone"]);
        same(&repo, &rows);
        git(&repo, &["tag", "-d", "v1"]);
        git(&repo, &["reset", "--quiet", "--hard", "HEAD~1"]);
        commit(&repo, "other");
        git(&repo, &["branch", "old", "HEAD~2"]);
        assert_eq!(same(&repo, &rows), first);
    });
}

#[test]
fn a_damaged_file_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (repo, rows) = repository(dir.path());
    blocking(move || {
        for damage in [
            |_: &[u8]| b"".to_vec(),
            |_: &[u8]| b"no database at all, but a longer text".repeat(300),
            |whole: &[u8]| whole[..whole.len() / 2].to_vec(),
        ] {
            let file = same(&repo, &rows);
            let torn = damage(&fs::read(&file).unwrap());
            fs::write(&file, torn).unwrap();
            let asked = GitRows::new(&repo, &rows);
            let found = asked.file(false).unwrap();
            // What the first look does not see, the question does.
            if found == file {
                assert!(asked.mend(&file).unwrap());
            }
            let made = same(&repo, &rows);
            assert_ne!(made, file);
            assert!(!asked.mend(&made).unwrap(), "it is sound");
            assert!(!file.exists(), "the damaged one is gone");
        }
    });
}

#[test]
fn shallow_and_partial_clones_say_what_they_have() {
    let dir = tempfile::tempdir().unwrap();
    let (repo, _) = repository(dir.path());
    git(&repo, &["config", "uploadpack.allowFilter", "true"]);
    git(&repo, &["config", "uploadpack.allowAnySHA1InWant", "true"]);
    let url = format!("file://{}", repo.display());
    let clone = |args: &[&str], name: &str| {
        let args = [&["clone", "--quiet"], args, &[&url, name]].concat();
        git(dir.path(), &args);
        dir.path().join(name)
    };
    let shallow = clone(&["--depth", "1"], "shallow");
    let partial = clone(&["--filter=blob:none", "--no-checkout"], "partial");
    let rows = dir.path().join("rows");
    blocking(move || {
        let cut = rows.join("shallow");
        assert_eq!(content(&same(&shallow, &cut))["commits"].len(), 1);
        git(&shallow, &["fetch", "--quiet", "--unshallow"]);
        assert_eq!(content(&same(&shallow, &cut))["commits"].len(), 4);
        commit(&shallow, "local");
        assert_eq!(content(&same(&shallow, &cut))["commits"].len(), 5);

        let lacking = rows.join("partial");
        let file = same(&partial, &lacking);
        let lacks = content(&file);
        assert_eq!(
            (lacks["commits"].len(), lacks["commit_files"].len()),
            (4, 0)
        );
        git(&partial, &["fetch", "--quiet", "--refetch", "--no-filter"]);
        assert_eq!(same(&partial, &lacking), file);
        // The origin has all contents: three commits with one parent, of which one is a root.
        let have = content(&file);
        assert_eq!(have["commit_files"], fresh(&repo)["commit_files"]);
        assert!(!have["commit_files"].is_empty());
    });
}

#[test]
fn several_ask_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (repo, rows) = repository(dir.path());
    blocking(move || {
        let all_ask = || {
            let asked = (0..4).map(|index| {
                let (repo, rows) = (repo.clone(), rows.clone());
                let ask = move || GitRows::new(&repo, &rows).file(index % 2 == 0);
                Handle::current().spawn_blocking(ask)
            });
            for asked in asked.collect::<Vec<_>>() {
                let file = Handle::current().block_on(asked).unwrap().unwrap();
                assert_eq!(file, GitRows::new(&repo, &rows).newest().unwrap().1);
            }
        };
        all_ask();
        same(&repo, &rows);
        commit(&repo, "three");
        all_ask();
        let file = same(&repo, &rows);
        let left = GitRows::new(&repo, &rows).names();
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(left.iter().all(|left| left.starts_with(name)), "{left:?}");
    });
}
