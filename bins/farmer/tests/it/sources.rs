//! What a step sees of its repository, and what is said about repositories that cannot be built.

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::repo::{Repo, Run, git_in, has_tool};

#[test]
fn a_step_sees_submodules() {
    let (library, repo) = (Repo::new(), Repo::new());
    library.write("answer", "42\n").commit("library");
    repo.git(&[
        "submodule",
        "add",
        "-q",
        library.path().to_str().unwrap(),
        "lib",
    ]);
    repo.write("Makefile", "all:\n\tcat lib/answer\n")
        .commit("uses the library");
    let run = repo.run(&["build"]).exits(0);
    assert!(run.out().contains("42"), "{}", run.out());
}

/// A repository that keeps 100 kB in Git LFS, whose step tells how many bytes it sees.
fn with_large_file() -> Repo {
    let repo = Repo::new();
    repo.git(&["lfs", "install", "--local"]);
    repo.write(".gitattributes", "*.bin filter=lfs -text\n")
        .write("a.bin", &"large".repeat(20_000))
        .write(
            "Makefile",
            "all:\n\t@wc -c <a.bin\n\t@git status --porcelain\n",
        )
        .commit("large");
    let stored = repo.git(&["cat-file", "-p", "HEAD:a.bin"]);
    assert!(
        stored.starts_with("version https://git-lfs.github.com"),
        "{stored}"
    );
    repo
}

#[test]
fn a_step_sees_the_files_of_git_lfs() {
    if !has_tool("git-lfs") {
        return;
    }
    let repo = with_large_file();
    let run = repo.run(&["build"]).exits(0);
    assert_eq!(run.out(), "make | 100000\n");

    let elsewhere = repo.home().join("elsewhere.git");
    git_in(
        repo.home(),
        &["clone", "-q", "--bare", "project", "elsewhere.git"],
    );
    let url = format!("file://{}", elsewhere.display());
    repo.git(&["lfs", "push", "--all", &url]);
    std::fs::remove_dir_all(repo.path().join(".git/lfs")).unwrap();
    let run = repo.run(&["build", &url]).exits(0);
    assert_eq!(run.out(), "make | 100000\n");
}

#[test]
fn git_lfs_is_asked_for_where_it_is_missing() {
    if !has_tool("git-lfs") {
        return;
    }
    let repo = with_large_file();
    repo.git(&["lfs", "uninstall", "--local"]);
    let tools = repo.home().join("tools");
    std::fs::create_dir(&tools).unwrap();
    for tool in ["git", "make", "sh"] {
        let found = std::env::split_paths(&std::env::var_os("PATH").unwrap())
            .map(|dir| dir.join(tool))
            .find(|path| path.exists())
            .unwrap();
        std::os::unix::fs::symlink(found, tools.join(tool)).unwrap();
    }
    // As on a machine that never had it: nothing in git's configuration tells of it either.
    let output = repo
        .farmer()
        .arg("build")
        .env("PATH", &tools)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output();
    let run = Run::of(output.unwrap()).exits(2);
    assert!(run.err().contains("Git LFS"), "{}", run.err());
    assert!(run.err().contains("install git-lfs"), "{}", run.err());
}

#[test]
fn a_step_can_describe_its_commit() {
    let repo = Repo::new();
    repo.write("Makefile", "all:\n\tgit describe --tags\n")
        .commit("first");
    repo.git(&["tag", "-a", "v1.2.3", "-m", "release"]);
    for n in 0..60 {
        repo.write("n", &n.to_string()).commit("more");
    }
    let run = repo.run(&["build"]).exits(0);
    assert!(run.out().contains("v1.2.3-60-g"), "{}", run.out());
}

#[test]
fn modes_and_times_are_those_of_the_commit() {
    let repo = Repo::new();
    repo.write(
        "run.sh",
        "#!/bin/sh\nstat -c %Y run.sh; git log -1 --format=%ct; git status --porcelain\n",
    )
    .write("Makefile", "all:\n\t@./run.sh\n");
    repo.git(&["add", "-A"]);
    repo.git(&["update-index", "--chmod=+x", "run.sh"]);
    repo.git(&["commit", "-q", "-m", "first"]);
    let run = repo.run(&["build"]).exits(0);
    let times: Vec<String> = run
        .out()
        .lines()
        .filter_map(|l| l.split_whitespace().last())
        .map(str::to_owned)
        .filter(|w| w.parse::<u64>().is_ok())
        .collect();
    assert_eq!(times.len(), 2, "{}", run.out());
    assert_eq!(times[0], times[1], "{}", run.out());
}

#[test]
fn uncommitted_files_are_counted_and_built_only_when_asked() {
    let repo = Repo::new();
    repo.write("Makefile", "all:\n\tcat word\n")
        .write("word", "committed\n")
        .commit("first");
    repo.write("word", "edited\n").write("other", "");
    let run = repo.run(&["build"]).exits(0);
    assert!(
        run.err()
            .contains("2 uncommitted files are not built; --worktree builds them"),
        "{}",
        run.err()
    );
    assert!(run.out().contains("committed"), "{}", run.out());
    let run = repo.run(&["build", "--worktree"]).exits(0);
    assert!(run.out().contains("edited"), "{}", run.out());
}

#[test]
fn an_empty_repository_is_refused_in_one_sentence() {
    let run = Repo::new().run(&["build"]).exits(2);
    assert!(run.err().contains("no commit"), "{}", run.err());
}

#[test]
fn a_directory_that_is_no_repository_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let repo = Repo::new();
    let run = repo.run(&["build", dir.path().to_str().unwrap()]).exits(2);
    assert!(
        run.err().contains("not in a git repository"),
        "{}",
        run.err()
    );
}

#[test]
fn an_unknown_revision_is_refused_by_name() {
    let repo = Repo::new();
    repo.write("Makefile", "all:\n").commit("first");
    let run = repo.run(&["build", "--rev", "nope"]).exits(2);
    assert!(run.err().contains("nope"), "{}", run.err());
}

#[test]
fn nothing_to_run_shows_a_sample() {
    let repo = Repo::new();
    repo.write("README", "hello\n").commit("first");
    let run = repo.run(&["build"]).exits(2);
    assert!(run.err().contains("[[step]]"), "{}", run.err());
}

#[test]
fn a_missing_tool_is_a_configuration_error_and_not_a_failure() {
    let repo = Repo::new();
    repo.write(
        ".farmer.toml",
        "[[step]]\nname = \"x\"\nrun = \"frobnicate\"\ntools = [\"frobnicate\"]\n",
    )
    .commit("first");
    let run = repo.run(&["build"]).exits(2);
    assert!(
        run.err()
            .contains("frobnicate: not found on PATH of builder local"),
        "{}",
        run.err()
    );
}

/// A mebibyte that does not compress, the same each time.
fn noise() -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let words = std::iter::repeat_with(next).take(1 << 17);
    words.flatten().collect()
}

/// Ten commits of 30 MB that does not compress, then one without them, written by one process.
fn import_long_history(repo: &Repo) {
    let mut import = Command::new("git")
        .args(["-c", "core.compression=0", "fast-import", "--quiet"])
        .args(["--depth=0", "--big-file-threshold=1m", "--force"])
        .current_dir(repo.path())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut to = BufWriter::new(import.stdin.take().unwrap());
    let mut noise = noise();
    for n in 0..=10 {
        write!(to, "commit refs/heads/main\ncommitter A <a@b> {n} +0000\n").unwrap();
        write!(to, "data 5\nnoise\n").unwrap();
        if n == 0 {
            let makefile = "all:\n\t@echo first output\n";
            write!(to, "M 644 inline Makefile\ndata {}\n", makefile.len()).unwrap();
            writeln!(to, "{makefile}").unwrap();
        }
        if n < 10 {
            write!(to, "M 644 inline noise\ndata {}\n", 30 * noise.len()).unwrap();
            for piece in 0..30u64 {
                noise[..8].copy_from_slice(&(n * 30 + piece).to_le_bytes());
                to.write_all(&noise).unwrap();
            }
            writeln!(to).unwrap();
        } else {
            writeln!(to, "D noise").unwrap();
        }
    }
    to.into_inner().unwrap();
    assert!(import.wait().unwrap().success());
}

/// 300 MB of history are a matter of seconds: the first byte of a step comes in ten.
#[test]
fn a_long_history_does_not_delay_the_first_output() {
    let repo = Repo::new();
    import_long_history(&repo);
    let begin = Instant::now();
    let mut farmer = repo.farmer();
    let mut farmer = farmer.arg("build").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(farmer.stdout.take().unwrap()).lines();
    let came = lines.any(|line| line.unwrap().contains("first output"));
    let first = begin.elapsed();
    assert!(came, "the step printed nothing");
    lines.for_each(drop);
    assert!(farmer.wait().unwrap().success());
    assert!(first < Duration::from_secs(10), "took {first:?}");
}

#[test]
fn settings_of_git_that_change_what_commands_mean_change_nothing_and_ways_to_a_repository_stay() {
    let repo = Repo::new();
    let run = "[[step]]\nname = \"x\"\nrun = \"git log -1 --format=%s; test -L link\"\n";
    std::os::unix::fs::symlink("nowhere", repo.path().join("link")).unwrap();
    repo.write(".farmer.toml", run).commit("größe");
    let home = repo.home().display().to_string();
    git_in(
        repo.home(),
        &["clone", "-q", "--bare", "project", "bare.git"],
    );
    let settings = repo.home().join("gitconfig");
    let text = format!(
        "[safe]\nbareRepository = explicit\n[i18n]\nlogOutputEncoding = ISO-8859-1\n\
         [log]\nshowSignature = true\nfollow = true\n[core]\nsymlinks = false\nquotePath = true\n\
         autocrlf = true\n[color]\nui = always\n[init]\ndefaultObjectFormat = sha256\n\
         [submodule]\nrecurse = true\n[fetch]\nprune = false\n[status]\nshort = true\n\
         [url \"file://{home}/\"]\ninsteadOf = farm:\n"
    );
    std::fs::write(&settings, text).unwrap();
    for origin in [".", &format!("file://{home}/bare.git"), "farm:bare.git"] {
        let built = repo
            .farmer()
            .args(["build", origin])
            .env("GIT_CONFIG_GLOBAL", &settings)
            .env("GIT_DEFAULT_HASH", "sha256")
            .env("GIT_LITERAL_PATHSPECS", "1")
            .output()
            .unwrap();
        let built = Run::of(built).exits(0);
        let subject = &repo.run(&["status", "--json"]).exits(0).events()[0]["item"]["subject"];
        assert_eq!(subject, "größe", "{origin}: {}", built.err());
    }
}

#[test]
fn names_of_any_bytes_are_built_and_their_changes_seen() {
    use std::os::unix::ffi::OsStrExt;

    let repo = Repo::new();
    repo.write(
        ".farmer.toml",
        "[[step]]\nname = \"x\"\ncache = [\"c\"]\nrun = \"test -e c/x && echo warm; mkdir -p c; echo >c/x; cat caf*\"\n",
    );
    let odd = repo.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9"));
    std::fs::write(&odd, "1\n").unwrap();
    repo.commit("first");
    let first = repo.run(&["build"]).exits(0).out();
    assert!(first.contains("| 1\n"), "{first}");
    std::fs::write(&odd, "2\n").unwrap();
    repo.commit("second");
    let second = repo.run(&["build"]).exits(0).out();
    assert!(second.contains("| 2\n"), "{second}");
    assert!(second.contains("warm"), "{second}");
    std::fs::write(&odd, "3\n").unwrap();
    let mine = repo.run(&["build", "--worktree"]).exits(0).out();
    assert!(mine.contains("| 3\n") && mine.contains("warm"), "{mine}");
}

/// A git that keeps branches and tags in tables (2.45 or newer) makes the repository. An older one
/// can neither make nor read it: nothing is shown there, on no machine.
#[test]
fn a_repository_with_reftables_is_built() {
    let repo = Repo::new();
    let made = Command::new("git")
        .args([
            "init",
            "-q",
            "-b",
            "main",
            "--ref-format=reftable",
            "tables",
        ])
        .current_dir(repo.home())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    if !made.success() {
        eprintln!("SKIPPED: this git cannot make a repository with reftables");
        return;
    }
    let at = repo.home().join("tables");
    std::fs::write(at.join("Makefile"), "all:\n\t@git describe\n").unwrap();
    git_in(&at, &["add", "-A"]);
    git_in(&at, &["commit", "-q", "-m", "first"]);
    git_in(&at, &["tag", "-am", "v1", "v1"]);
    let run = repo.run(&["build", at.to_str().unwrap()]).exits(0);
    assert_eq!(run.out(), "make | v1\n");
    let run = repo.run(&["build", &format!("file://{}", at.display())]);
    assert_eq!(run.exits(0).out(), "make | v1\n");
}
