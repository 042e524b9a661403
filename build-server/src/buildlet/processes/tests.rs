//! Commands that do not want to end, in the process of the test: it adopts nobody, so orphans
//! are found by their mark alone. What a child subreaper adds is tested with the program.

use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use super::*;

fn processes() -> Processes {
    let supervisor = Supervisor::new("test");
    Processes::new(
        supervisor,
        format!("{:x}", getrandom::u64().unwrap()),
        None,
        false,
        None,
    )
    .unwrap()
}

fn shell(line: &str) -> Command {
    Command {
        program: PathBuf::from("/bin/sh"),
        args: vec!["-c".into(), line.into()],
        env: vec!["PATH=/usr/bin:/bin".into()],
        env_bytes: Vec::new(),
        dir: std::env::temp_dir(),
        sandbox: Default::default(),
        network: Default::default(),
        bounds: Default::default(),
    }
}

/// Reads until the command has printed `count` lines.
fn first_lines(output: &std::os::fd::OwnedFd, count: usize) -> String {
    let mut file = std::fs::File::from(output.try_clone().unwrap());
    let mut text = String::new();
    let mut byte = [0];
    while text.matches('\n').count() < count && file.read(&mut byte).unwrap() == 1 {
        text.push(byte[0].into());
    }
    text
}

fn is_alive(pid: i32) -> bool {
    Process::of(pid).is_some_and(|process| !process.zombie)
}

async fn ends_all(line: &str, lines: usize) {
    let processes = processes();
    let (mut child, output) = processes.spawn("x1", &shell(line)).unwrap();
    let text = first_lines(&output, lines);
    let pids: Vec<i32> = text
        .split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect();
    assert_eq!(pids.len(), lines, "{text:?}");
    assert!(pids.iter().all(|pid| is_alive(*pid)), "{text:?}");
    let report = child
        .end_tree(Grace::Wait(Duration::from_millis(300)))
        .await;
    assert!(report.left.is_empty());
    assert!(!pids.iter().any(|pid| is_alive(*pid)), "{text:?}");
    child.wait().await;
}

#[tokio::test]
async fn children_end_with_their_command() {
    ends_all("sleep 1000 & echo $!; echo $$; wait", 2).await;
}

#[tokio::test]
async fn a_daemon_in_its_own_session_ends_too() {
    ends_all(
        "echo $$; (setsid sh -c 'echo $$; exec sleep 1000' &) ; sleep 1000",
        2,
    )
    .await;
}

#[tokio::test]
async fn who_ignores_sigterm_is_killed() {
    ends_all("trap '' TERM; echo $$; (trap '' TERM; setsid sh -c 'echo $$; while :; do sleep 1; done') & wait", 2).await;
}

#[tokio::test]
async fn exits_and_signals_are_told_apart() {
    let processes = processes();
    for (line, exit) in [
        ("exit 0", Exit::Code(0)),
        ("exit 7", Exit::Code(7)),
        (
            "kill -9 $$",
            Exit::Signal {
                number: 9,
                core: false,
            },
        ),
    ] {
        let (mut child, _output) = processes.spawn("x2", &shell(line)).unwrap();
        assert_eq!(child.wait().await, exit, "{line}");
        assert_eq!(child.wait().await, exit, "{line}");
    }
    assert!(processes.known().is_empty());
}

#[tokio::test]
async fn what_cannot_be_started_is_told_in_the_words_of_the_protocol() {
    let processes = processes();
    let missing = Command {
        program: "/no/such".into(),
        ..shell("")
    };
    let error = processes.spawn("x3", &missing).err().unwrap();
    assert_eq!(
        missing.spawn_failure(&error),
        "fork/exec /no/such: no such file or directory"
    );
    let nowhere = Command {
        dir: "/no/dir".into(),
        ..shell("true")
    };
    let error = processes.spawn("x3", &nowhere).err().unwrap();
    assert_eq!(
        nowhere.spawn_failure(&error),
        "chdir /no/dir: no such file or directory"
    );
}

#[tokio::test]
async fn a_dropped_command_takes_its_group_along() {
    let processes = processes();
    let (child, output) = processes
        .spawn("x4", &shell("sleep 1000 & echo $!; wait"))
        .unwrap();
    let pid: i32 = first_lines(&output, 1).trim().parse().unwrap();
    drop(child);
    // The output ends when nobody holds it any more; the number goes a moment later.
    let mut rest = Vec::new();
    std::fs::File::from(output).read_to_end(&mut rest).unwrap();
    let end = std::time::Instant::now() + Duration::from_secs(5);
    while is_alive(pid) {
        assert!(std::time::Instant::now() < end, "{pid} lives on");
        std::thread::yield_now();
    }
}

#[test]
fn marks_name_the_command_also_below_another_buildlet() {
    let inner = Processes::new(
        Supervisor::new("t"),
        "i2".into(),
        Some("a/i1".into()),
        false,
        None,
    )
    .unwrap();
    assert_eq!(inner.mark("b"), "a/i1,b/i2");
    assert_eq!(inner.marked("a/i1,b/i2"), Some("b"));
    assert_eq!(inner.marked("a/i1"), None);
    let outer = Processes::new(Supervisor::new("t"), "i1".into(), None, false, None).unwrap();
    assert_eq!(outer.marked("a/i1,b/i2"), Some("a"));
}
