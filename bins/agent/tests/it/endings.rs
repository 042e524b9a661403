//! Process trees that do not want to end, and buildlets that do.

use build_core::buildlet::{ExecEvent, ExecOutcome};
use futures::StreamExt as _;

use super::*;

/// A daemon that lost its parent, its session, its group and its environment.
const DAEMON: &str = "(setsid env -i sh -c 'trap \"\" TERM HUP; echo $$; exec >&- 2>&-; while :; do /bin/sleep 1; done' &)";

#[tokio::test]
async fn nothing_of_a_killed_command_is_left() {
    let program = Program::start(&[]);
    let line = format!(
        "echo $$; {DAEMON}; (setsid sh -c 'echo $$; exec sleep 1000' &); trap '' TERM; while :; do sleep 1; done"
    );
    let pids = program.start_and_read("e1", &line, 3).await;
    assert!(pids.iter().all(|pid| is_alive(pid)), "{pids:?}");
    program
        .client()
        .kill(&ExecId::new("e1").unwrap())
        .await
        .unwrap();
    assert!(none_alive(&pids), "{pids:?}");
}

#[tokio::test]
async fn what_an_ended_command_has_left_ends_with_it() {
    let program = Program::start(&[]);
    let pids = program.start_and_read("e1", DAEMON, 1).await;
    let mut events = program
        .client()
        .attach(&ExecId::new("e1").unwrap(), 0)
        .await
        .unwrap();
    let mut outcome = None;
    while let Some(event) = events.next().await {
        if let ExecEvent::Ended(ended) = event.unwrap() {
            outcome = Some(ended);
        }
    }
    assert_eq!(outcome, Some(ExecOutcome::Ok));
    assert!(none_alive(&pids), "{pids:?}");
}

/// As with the Go buildlet, what a plain command leaves behind lives on: until the next one.
#[tokio::test]
async fn strays_end_before_the_next_command() {
    let program = Program::start(&[]);
    let client = program.client();
    let first = client.exec(Exec::shell(DAEMON)).await.unwrap();
    let pid = first.text().trim().to_owned();
    assert!(is_alive(&pid));
    let next = client
        .exec(Exec::shell(format!("kill -0 {pid} || echo gone")))
        .await
        .unwrap();
    assert!(next.text().ends_with("gone\n"), "{}", next.text());
}

#[tokio::test]
async fn zombies_are_taken_off() {
    let program = Program::start(&[]);
    let client = program.client();
    client
        .exec(Exec::shell(
            "for i in 1 2 3 4 5; do (sleep 0.01 &) ; done; exit 0",
        ))
        .await
        .unwrap();
    let pid = program.child.id();
    until("no child is left", || {
        let children = format!("/proc/{pid}/task/{pid}/children");
        let left = std::fs::read_to_string(children).unwrap();
        // A zombie goes at the latest with the next command.
        left.split_whitespace().all(|child| !is_alive(child))
    });
    client.exec(Exec::new("true")).await.unwrap();
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let children: String = tasks
        .map(|task| std::fs::read_to_string(task.unwrap().path().join("children")).unwrap())
        .collect();
    assert_eq!(children.trim(), "");
}

#[tokio::test]
async fn a_signal_ends_everything_in_time() {
    let mut program = Program::start(&[]);
    let line = format!("echo $$; {DAEMON}; trap '' TERM; while :; do sleep 1; done");
    let pids = program.start_and_read("e1", &line, 2).await;
    let begin = Instant::now();
    program.signal("TERM");
    assert_eq!(program.ended().code(), Some(0));
    assert!(
        begin.elapsed() <= Duration::from_secs(15),
        "{:?}",
        begin.elapsed()
    );
    assert!(none_alive(&pids), "{pids:?}");
}

#[tokio::test]
async fn without_renewal_everything_ends() {
    let mut program = Program::start(&["--lease-ttl=2s"]);
    let pids = program
        .start_and_read("e1", &format!("echo $$; {DAEMON}; sleep 1000"), 2)
        .await;
    assert_eq!(program.ended().code(), Some(0));
    assert!(none_alive(&pids), "{pids:?}");
}

/// Nobody knows how it would have ended, and nobody makes it up; what it left behind ends.
#[tokio::test]
async fn after_a_crash_unfinished_commands_are_lost() {
    let mut program = Program::start(&[]);
    let line = "echo $$; (setsid sh -c 'echo $$; exec sleep 1000' &); sleep 1000";
    let mut pids = program.start_and_read("e1", line, 2).await;
    program.child.kill().unwrap();
    program.ended();
    let dir = std::mem::replace(&mut program.dir, tempfile::tempdir().unwrap());
    let again = Program::resume(dir, &[]);
    let status = again
        .client()
        .exec_status(&ExecId::new("e1").unwrap())
        .await
        .unwrap();
    assert_eq!(status.outcome, Some(ExecOutcome::Lost));
    let mut events = again
        .client()
        .attach(&ExecId::new("e1").unwrap(), 0)
        .await
        .unwrap();
    let first = events.next().await.unwrap().unwrap();
    pids.sort();
    let ExecEvent::Output(kept) = first else {
        panic!("{first:?}")
    };
    let mut kept: Vec<_> = std::str::from_utf8(&kept)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    kept.sort();
    assert_eq!(kept, pids);
    assert_eq!(
        events.next().await.unwrap().unwrap(),
        ExecEvent::Ended(ExecOutcome::Lost)
    );
    until("leftovers end", || none_alive(&pids));
}
