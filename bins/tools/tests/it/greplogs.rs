//! `greplogs`, over a directory as `fetchlogs` keeps it.

use std::path::Path;
use std::process::Command;

use crate::go_peer::go_program_of;
use crate::{Ran, program, run, write};

const PANIC: &str = "##### Testing packages.\nok  \tfmt\t0.1s\npanic: runtime error: index out of range\n\n\
    goroutine 1 [running]:\nmain.f(0x1)\n\t/x/f.go:12 +0x1d\nexit status 2\nFAIL\texample.com/p\t0.1s\n";
const TEST: &str = "##### Testing packages.\n--- FAIL: TestA (0.00s)\n    a_test.go:7: unexpected EOF\nFAIL\nFAIL\texample.com/q\t0.1s\n";

/// Two commits with three failures.
fn keep(dir: &Path) {
    for (rev, builder, hash, text) in [
        ("2020-12-22T09:00:00-0123abc", "linux-amd64", "aa11", PANIC),
        (
            "2020-12-23T10:00:00-4567def-89abcde",
            "linux-amd64",
            "bb22",
            TEST,
        ),
        (
            "2020-12-23T10:00:00-4567def-89abcde",
            "plan9-386",
            "bb22",
            TEST,
        ),
    ] {
        write(&dir.join("log").join(hash), text);
        let link = dir.join("rev").join(rev).join(builder);
        write(&link.with_file_name(".rev.json"), "{}\n");
        std::os::unix::fs::symlink(format!("../../log/{hash}"), link).unwrap();
    }
}

fn grep(dir: &Path, args: &[&str]) -> Ran {
    run(program("greplogs").arg("-dir").arg(dir).args(args))
}

#[test]
fn greplogs_finds_failures_and_makes_lists_to_tick_off() {
    let dir = tempfile::tempdir().unwrap();
    keep(dir.path());
    let names = grep(dir.path(), &["-md=false", "-l", "-e", "FAIL"]);
    assert_eq!(
        names.out,
        "2020-12-23T10:00:00-4567def-89abcde/linux-amd64\n\
         2020-12-23T10:00:00-4567def-89abcde/plan9-386\n2020-12-22T09:00:00-0123abc/linux-amd64\n"
    );
    assert_eq!(names.code, Some(0));
    let found = grep(dir.path(), &["-E", "index out of", "-since", "2020-12-01"]);
    let link =
        "[2020-12-22T09:00:00-0123abc/linux-amd64](https://build.golang.org/log/aa11):\n```\n";
    assert!(found.out.starts_with("`greplogs -dir "), "{}", found.out);
    assert!(found.out.contains(link), "{}", found.out);
    assert!(found.out.contains("main.f(0x1)"), "{}", found.out);
    assert_eq!(found.out.matches("```").count(), 2);
    let colored = grep(dir.path(), &["-color=always", "-md=false", "-E", "EOF"]);
    assert!(
        colored.out.contains("unexpected \x1b[1;31mEOF\x1b[0m"),
        "{}",
        colored.out
    );

    let triage = grep(
        dir.path(),
        &[
            "-triage",
            "-broken",
            "plan9-386",
            "-known-issue",
            "go.dev/issue/1=index out",
        ],
    );
    assert!(
        triage
            .out
            .contains("- [ ] [2020-12-23T10:00:00-4567def-89abcde/linux-amd64](https://")
    );
    assert!(
        triage.out.contains("- [x] (go.dev/issue/1) [2020-12-22"),
        "{}",
        triage.out
    );
    assert!(triage.out.ends_with("\n(2 matching logs)\n") && !triage.out.contains("/plan9"));

    let json = grep(
        dir.path(),
        &[
            "-json",
            "-omit",
            "plan9",
            "-before=2020-12-23T10:00:01",
            "-E=EOF",
        ],
    );
    let told: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(told["failures"][0]["test"], "TestA");
    assert_eq!(told["failures"][0]["line"], 7);
    assert_eq!(told["url"], "https://build.golang.org/log/bb22");

    let nothing = grep(dir.path(), &["-e", "no such text"]);
    assert_eq!(nothing.code, Some(1));
    assert!(
        nothing.out.ends_with("\n(0 matching logs)\n"),
        "{}",
        nothing.out
    );
    assert_eq!(
        grep(dir.path(), &["-e", "FAIL", "-omit", "^4567def"])
            .out
            .matches("aa11")
            .count(),
        1
    );
}

#[test]
fn greplogs_says_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    keep(dir.path());
    for (args, told) in [
        (vec!["-e", "("], "the expression \"(\" cannot be read"),
        (vec!["-since", "yesterday"], "write 2020-12-31"),
        (vec!["x.log"], "-dashboard and paths are incompatible"),
        (vec!["-known-issue", "x"], "missing key"),
    ] {
        let done = grep(dir.path(), &args);
        assert_eq!(done.code, Some(2), "{args:?}");
        assert!(done.err.contains(told), "{args:?}: {}", done.err);
    }
    // Logs that are no dashboard's have no time, and all of them are looked at.
    write(&dir.path().join("other/a"), "FAIL\tp\t1s\n");
    let other = dir.path().join("other").display().to_string();
    let done = grep(
        dir.path(),
        &[
            "-dashboard=false",
            "-md=false",
            "-l",
            "-e=FAIL",
            &other,
            "/no/such",
        ],
    );
    assert_eq!(done.code, Some(2));
    assert!(
        done.out.contains("other/a") && done.err.contains("/no/such"),
        "{}",
        done.err
    );
    let done = grep(
        dir.path(),
        &["-dashboard=false", "-since=2020-01-01", "-e=FAIL", &other],
    );
    assert!(
        done.err.contains("timestamp not found in rev dir name"),
        "{}",
        done.err
    );
}

/// What is in a log of a whole build: a program that does not build, a test that hangs, a panic
/// of a test, a message of a machine.
const BUILD: &str = "##### Building packages and commands for linux/amd64.\n# cmd/go/internal/work\n\
    cmd/go/internal/work/exec.go:12:3: undefined: x\ngo tool dist: FAILED: go install cmd: exit status 1\n";
const HANGS: &str = "##### Testing packages.\nok  \tfmt\t0.1s\npanic: test timed out after 3m0s\n\n\
    goroutine 17 [running]:\ntesting.(*M).startAlarm.func1()\n\t/x/testing.go:1618 +0xe5\n\
    created by time.goFunc\n\t/x/sleep.go:169 +0x44\n\ngoroutine 1 [chan receive, 3 minutes]:\n\
    testing.(*T).Run(0xc0)\n\t/x/testing.go:1169 +0x2e3\nFAIL\tnet/http\t180.1s\nFAIL\n2020/12/23 10:00:00 Failed: exit status 1\n";

#[test]
fn greplogs_prints_what_the_go_program_of_later_years_prints() {
    let Some(theirs) = go_program_of("greplogsnewest", "greplogs") else {
        return;
    };
    let cache = tempfile::tempdir().unwrap();
    let dir = cache.path().join("fetchlogs");
    keep(&dir);
    for (builder, hash, text) in [("freebsd-386", "cc33", BUILD), ("js-wasm", "dd44", HANGS)] {
        write(&dir.join("log").join(hash), text);
        let link = dir.join("rev/2020-12-24T11:00:00-fedcba9").join(builder);
        std::fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(format!("../../log/{hash}"), link).unwrap();
    }
    let log = dir.join("log/dd44");
    let log = log.to_str().unwrap();
    for args in [
        &["-e", "FAIL"][..],
        &["-l", "-e", "FAIL", "-e", "panic"],
        &["-md=false", "-e", "."],
        &["-details", "-e", "undefined"],
        &["-color=always", "-md=false", "-E", "EOF"],
        &[
            "-since=2020-12-23",
            "-before=2020-12-24T00:00:00",
            "-l",
            "-e",
            "FAIL",
        ],
        &["-omit", "plan9", "-omit", "js", "-l", "-e", "FAIL"],
        &["-l", "-e", "no such text"],
        &[
            "-dashboard=false",
            "-e",
            "it's",
            "-e",
            "a 'b' $",
            "-e",
            "(x|y)*?",
            log,
        ],
        &["-dashboard=false", "-e", "timed out", log],
    ] {
        let of =
            |command: &mut Command| run(command.args(args).env("XDG_CACHE_HOME", cache.path()));
        let (theirs, ours) = (of(&mut Command::new(&theirs)), of(&mut program("greplogs")));
        assert_eq!(ours.out, theirs.out, "{args:?}");
        assert_eq!(ours.code, theirs.code, "{args:?}: {}", ours.err);
    }
}
