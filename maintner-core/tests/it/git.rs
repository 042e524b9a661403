//! Repositories as corpora: what git itself prints is the oracle.

use std::path::Path;
use std::process::Command;

use maintner_core::query::Commit;
use maintner_core::{Corpus, GitHash};

fn git(folder: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("git")
        .args([
            "-c",
            "user.name=Gopher",
            "-c",
            "user.email=gopher@example.com",
        ])
        .args([
            "-c",
            "init.defaultBranch=main",
            "-c",
            "protocol.file.allow=always",
        ])
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {arguments:?}: {error}");
    output.stdout
}

/// Whether there is a git program; says so when there is none.
fn have_git() -> bool {
    let have = Command::new("git").arg("--version").output().is_ok();
    assert!(
        have || std::env::var_os("CI").is_none(),
        "CI has no git program"
    );
    if !have {
        eprintln!("SKIPPED: there is no git program to compare with");
    }
    have
}

fn commit(folder: &Path, message: &str) {
    git(folder, &["add", "--all"]);
    git(
        folder,
        &["commit", "--quiet", "--allow-empty", "--message", message],
    );
}

/// A history with everything that is special about a commit's files.
fn history(folder: &Path) {
    let write = |name: &str, content: &[u8]| std::fs::write(folder.join(name), content).unwrap();
    git(folder, &["init", "--quiet"]);
    write("text", b"1\n2\n3\n4\n5\n6\n");
    write("moved", b"stays\nthe\nsame\n");
    write("gone", b"x\ny\n");
    commit(folder, "root");
    write("text", b"1\n2\nthree\n5\n6\n7");
    write("bin \u{e9}", b"\0\x01\x02");
    write("quo\"te\\", b"a\n");
    write("empty", b"");
    std::fs::create_dir_all(folder.join("deep/er")).unwrap();
    write("deep/er/file", b"no line end");
    write("deep.x", b"sorts before deep/\n");
    std::fs::remove_file(folder.join("gone")).unwrap();
    commit(folder, "many kinds\n\nbody");
    git(folder, &["mv", "moved", "deep/moved"]);
    write("bin \u{e9}", b"\0\x01\x03");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.join("text"), executable).unwrap();
    commit(folder, "rename and mode");
    git(folder, &["checkout", "--quiet", "-b", "side", "HEAD~1"]);
    write("side", b"s\n");
    std::fs::remove_file(folder.join("deep.x")).unwrap();
    std::os::unix::fs::symlink("text", folder.join("deep.x")).unwrap();
    commit(folder, "a file becomes a link");
    git(folder, &["checkout", "--quiet", "main"]);
    git(folder, &["merge", "--quiet", "--no-edit", "side"]);
    std::fs::remove_dir_all(folder.join("deep")).unwrap();
    write("deep", b"now a file\n");
    commit(folder, "a folder becomes a file");
    let own = String::from_utf8(git(folder, &["rev-parse", "HEAD"])).unwrap();
    let entry = format!("160000,{},module", own.trim());
    git(folder, &["update-index", "--add", "--cacheinfo", &entry]);
    git(folder, &["commit", "--quiet", "--message", "a submodule"]);
    git(folder, &["tag", "--annotate", "v1", "--message", "release"]);
    commit(folder, "nothing");
}

/// Compares every commit that git lists with the corpus.
fn compare(folder: &Path, corpus: &Corpus, at_most: usize) -> usize {
    let listed = String::from_utf8(git(folder, &["rev-list", "--all", "HEAD"])).unwrap();
    let view = corpus.view();
    for id in listed.lines().take(at_most) {
        let commit = view.git().commit(id.parse::<GitHash>().unwrap()).unwrap();
        assert_eq!(
            commit.raw(),
            git(folder, &["cat-file", "commit", id]),
            "{id}"
        );
        assert_eq!(numstat(commit), expected_numstat(folder, id), "{id}");
    }
    listed.lines().count()
}

fn numstat(commit: Commit<'_>) -> Vec<String> {
    let line = |file: maintner_core::query::File<'_>| match file.is_binary() {
        true => format!("-\t-\t{}", file.name()),
        false => format!("{}\t{}\t{}", file.added(), file.deleted(), file.name()),
    };
    commit.files().map(line).collect()
}

fn expected_numstat(folder: &Path, id: &str) -> Vec<String> {
    let output = git(folder, &["diff-tree", "--numstat", "-r", id]);
    let output = String::from_utf8(output).unwrap();
    let mut lines: Vec<_> = output
        .lines()
        .filter(|line| *line != id)
        .map(str::to_owned)
        .collect();
    lines.sort_by(|a, b| a.split('\t').nth(2).cmp(&b.split('\t').nth(2)));
    lines
}

#[test]
fn a_repository_is_a_corpus() {
    if !have_git() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    history(dir.path());
    let corpus = Corpus::from_git(dir.path()).unwrap();
    assert_eq!(compare(dir.path(), &corpus, usize::MAX), 8);
    assert_eq!(corpus.view().git().commits().count(), 8);
    assert!(corpus.update().unwrap().is_none());

    std::fs::write(dir.path().join("text"), b"new\n").unwrap();
    commit(dir.path(), "one more");
    let change = corpus.update().unwrap().unwrap();
    assert_eq!(
        change
            .commits()
            .map(|commit| commit.summary().into_owned())
            .next()
            .as_deref(),
        Some("one more")
    );
    assert_eq!(compare(dir.path(), &corpus, usize::MAX), 9);

    let head: GitHash = String::from_utf8(git(dir.path(), &["rev-parse", "HEAD"]))
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let view = corpus.view();
    let below = view
        .git()
        .commits()
        .filter(|commit| view.git().has_ancestor(head, commit.hash()).unwrap());
    assert_eq!(below.count(), 8, "all but itself");
}

#[test]
fn packed_bare_and_linked_repositories_are_read() {
    if !have_git() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let origin = dir.path().join("origin");
    std::fs::create_dir(&origin).unwrap();
    history(&origin);
    git(&origin, &["gc", "--quiet"]);
    git(
        &origin,
        &["worktree", "add", "--quiet", "../linked", "side"],
    );
    git(
        dir.path(),
        &["clone", "--quiet", "--bare", "origin", "bare.git"],
    );
    for name in ["origin", "linked", "bare.git"] {
        let folder = dir.path().join(name);
        let corpus = Corpus::from_git(&folder).unwrap();
        assert_eq!(compare(&folder, &corpus, usize::MAX), 8, "{name}");
    }
    let url = format!("file://{}", origin.display());
    git(
        dir.path(),
        &["clone", "--quiet", "--depth", "2", &url, "shallow"],
    );
    let shallow = Corpus::from_git(dir.path().join("shallow")).unwrap();
    let view = shallow.view();
    let (known, named): (Vec<_>, Vec<_>) = view.git().commits().partition(Commit::is_known);
    assert_eq!(
        (known.len(), named.len()),
        (2, 1),
        "the parent beyond the cut is only named"
    );
}

#[test]
fn our_own_history_is_read_as_git_does() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    if !have_git() || !here.join("../.git").exists() {
        eprintln!("SKIPPED: this is no git checkout");
        return;
    }
    let corpus = Corpus::from_git(here).unwrap();
    compare(here, &corpus, 40);
}

#[test]
fn what_is_no_repository_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let error = Corpus::from_git(dir.path()).unwrap_err();
    assert!(
        error.to_string().contains(dir.path().to_str().unwrap()),
        "{error}"
    );
}
