use std::path::PathBuf;

use super::*;

impl Peer {
    async fn start_shell(&self, id: &str, limits: &str, line: &str) -> serde_json::Value {
        self.post(
            "/exec/start",
            &format!("id={id}&{limits}&{}", shell_form(line)),
        )
        .await
        .json()
    }

    async fn follow(&self, id: &str, offset: u64) -> Answer {
        self.get(&format!("/exec/{id}/log?offset={offset}&follow=1"))
            .await
    }

    fn work_file(&self, name: &str) -> PathBuf {
        self.work_dir().join(name)
    }
}

#[tokio::test]
async fn a_command_is_started_once_however_often_it_is_asked_for() {
    let peer = Peer::start().await;
    let line = "echo one >> count; while [ ! -e go-on ]; do sleep 0.01; done; echo two";
    let first = peer.start_shell("e1", "", line).await;
    assert_eq!(first["state"], "running");
    let again = peer.start_shell("e1", "", line).await;
    assert_eq!(again["pid"], first["pid"]);
    std::fs::write(peer.work_file("go-on"), "").unwrap();
    let log = peer.follow("e1", 0).await;
    assert_eq!((log.text(), log.state()), ("two\n", "ok"));
    let ended = peer.start_shell("e1", "", line).await;
    assert_eq!(
        (&ended["state"], &ended["pid"]),
        (&"ended".into(), &first["pid"])
    );
    assert_eq!(std::fs::read(peer.work_file("count")).unwrap(), b"one\n");
    assert_eq!(peer.get("/exec").await.json().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_id_whose_path_is_taken_is_refused() {
    let peer = Peer::start().await;
    let form = format!("id=start&{}", shell_form("true"));
    let answer = peer.post("/exec/start", &form).await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("\"start\""), "{}", answer.text());
}

#[tokio::test]
async fn every_offset_gives_the_same_bytes() {
    let peer = Peer::start().await;
    let line = "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done";
    peer.start_shell("e1", "", line).await;
    let whole = peer.follow("e1", 0).await;
    assert!(whole.text().ends_with("line 1999\n"));
    let bytes = whole.trailers.get_str("X-Output-Bytes").unwrap();
    assert_eq!(bytes.parse(), Ok(whole.body.len()));
    for offset in [1, 4096, whole.body.len() - 1, whole.body.len()] {
        let part = peer.follow("e1", offset as u64).await;
        assert_eq!(
            (part.body.as_slice(), part.state()),
            (&whole.body[offset..], "ok"),
            "{offset}"
        );
    }
    assert_eq!(
        peer.follow("e1", whole.body.len() as u64 + 1).await.status,
        416
    );
}

/// Readers that are cut off and come back where they were see what one that stays sees.
#[tokio::test]
async fn an_interrupted_reader_loses_nothing() {
    use futures::StreamExt as _;
    let peer = Peer::start().await;
    let line = "i=0; while [ $i -lt 300 ]; do echo line $i; i=$((i+1)); done; while [ ! -e go-on ]; do sleep 0.01; done; echo end";
    peer.start_shell("e1", "", line).await;
    let id = build_core::ids::ExecId::new("e1").unwrap();
    let client = peer.client();
    let mut got = Vec::new();
    let mut ended = None;
    use build_core::buildlet::{Buildlet as _, ExecEvent, ExecOutcome};
    while ended.is_none() {
        let mut stream = client.attach(&id, got.len() as u64).await.unwrap();
        // One event of each connection, then it is dropped.
        match stream.next().await.unwrap().unwrap() {
            ExecEvent::Output(bytes) => got.extend_from_slice(&bytes),
            ExecEvent::Ended(outcome) => ended = Some(outcome),
        }
        if got.ends_with(b"line 299\n") {
            std::fs::write(peer.work_file("go-on"), "").unwrap();
        }
    }
    assert_eq!(ended, Some(ExecOutcome::Ok));
    assert_eq!(got, peer.follow("e1", 0).await.body);
}

#[tokio::test]
async fn a_log_without_follow_ends_where_the_output_is() {
    let peer = Peer::start().await;
    peer.start_shell(
        "e1",
        "",
        "echo one; while [ ! -e go-on ]; do sleep 0.01; done",
    )
    .await;
    loop {
        let now = peer.get("/exec/e1/log").await;
        assert_eq!(now.trailers.get("Process-State"), None);
        if now.text() == "one\n" {
            break;
        }
    }
    std::fs::write(peer.work_file("go-on"), "").unwrap();
    assert_eq!(peer.follow("e1", 4).await.text(), "");
}

#[tokio::test]
async fn limits_end_a_command_and_say_which() {
    let peer = Peer::start().await;
    let huge = u64::MAX / 2;
    for (id, limits, line, state) in [
        (
            "time",
            "timeout_ms=200".to_owned(),
            "sleep 1000",
            "timed out",
        ),
        (
            "quiet",
            "quiet_ms=300".to_owned(),
            "echo x; sleep 1000",
            "no output for too long",
        ),
        (
            "disk",
            format!("disk_floor={huge}"),
            "sleep 1000",
            "disk quota",
        ),
        (
            "count",
            "process_limit=3".to_owned(),
            "for i in 1 2 3 4 5; do sleep 1000 & done; wait",
            "limit: 3 processes",
        ),
        (
            "memory",
            "memory_limit=30000000".to_owned(),
            "x=$(head -c 50000000 /dev/zero | tr '\\0' x); sleep 1000",
            "limit: memory of 30000000 bytes",
        ),
    ] {
        let started = peer.start_shell(id, &limits, line).await;
        let log = peer.follow(id, 0).await;
        assert_eq!(log.state(), state, "{id}");
        assert!(!is_alive(&started["pid"].to_string()), "{id}");
    }
}

#[tokio::test]
async fn a_command_that_talks_is_not_quiet() {
    let peer = Peer::start().await;
    peer.start_shell(
        "e1",
        "quiet_ms=2000",
        "for i in 1 2 3 4 5 6; do echo $i; sleep 0.5; done",
    )
    .await;
    assert_eq!(peer.follow("e1", 0).await.state(), "ok");
}

#[tokio::test]
async fn a_capped_log_keeps_head_and_tail() {
    let peer = Peer::start().await;
    peer.start_shell("e1", "log_limit=200000", "seq 1 100000")
        .await;
    let log = peer.follow("e1", 0).await;
    assert!(log.text().starts_with("1\n2\n") && log.text().ends_with("\n99999\n100000\n"));
    assert!(log.text().contains("bytes of output left out]"));
    assert!(log.body.len() < 200_100, "{}", log.body.len());
    assert_eq!(peer.get("/exec/e1").await.json()["truncated"], true);
}

#[tokio::test]
async fn a_killed_command_ends_with_its_tree() {
    let peer = Peer::start().await;
    let started = peer
        .start_shell(
            "e1",
            "",
            "trap '' TERM; setsid sleep 1000 & echo $!; while :; do sleep 1; done",
        )
        .await;
    until("the daemon has started", || {
        std::fs::metadata(peer.dir.path().join("state/spool/e1.out")).is_ok_and(|f| f.len() > 0)
    })
    .await;
    let killed = peer.post("/exec/e1/kill", "").await;
    assert_eq!((killed.status, killed.text()), (200, ""));
    let log = peer.follow("e1", 0).await;
    assert_eq!(log.state(), "signal: killed");
    assert!(!is_alive(log.text()) && !is_alive(&started["pid"].to_string()));
    let status = peer.get("/exec/e1").await.json();
    assert_eq!(
        (&status["state"], &status["signal"]),
        (&"killed".into(), &9.into())
    );
}

#[tokio::test]
async fn unknown_and_bad_ids_are_refused() {
    let peer = Peer::start().await;
    assert_eq!(
        peer.get("/exec/none").await.refusal(),
        (404, "no command none is known")
    );
    assert_eq!(peer.post("/exec/none/kill", "").await.status, 404);
    assert_eq!(peer.get("/exec/none/log").await.status, 404);
    assert_eq!(peer.get("/exec/..%2F").await.status, 400);
    assert_eq!(
        peer.post("/exec/start", "cmd=true&mode=sys")
            .await
            .refusal(),
        (400, "requires 'id' parameter")
    );
    assert_eq!(
        peer.post("/exec/start", "cmd=true&mode=sys&id=..")
            .await
            .status,
        400
    );
    assert_eq!(
        peer.post("/exec/start", "id=a").await.refusal(),
        (400, "requires 'cmd' parameter")
    );
}

#[tokio::test]
async fn a_forgotten_command_is_unknown_and_can_be_started_again() {
    let peer = Peer::start().await;
    peer.start_shell("e1", "", "sleep 1000").await;
    let delete = RequestHead::new("DELETE", "/exec/e1");
    assert_eq!(peer.ask(delete, b"").await.status, 200);
    assert_eq!(peer.get("/exec/e1").await.status, 404);
    assert_eq!(
        std::fs::read_dir(peer.dir.path().join("state/spool"))
            .unwrap()
            .count(),
        0
    );
    peer.start_shell("e1", "", "echo again").await;
    assert_eq!(peer.follow("e1", 0).await.text(), "again\n");
}

#[tokio::test]
async fn what_cannot_be_started_has_ended() {
    let peer = Peer::start().await;
    let report = peer.post("/exec/start", "id=e1&cmd=nosuch").await.json();
    assert_eq!(report["state"], "ended");
    let path = peer.work_file("nosuch");
    let state = format!("fork/exec {}: no such file or directory", path.display());
    assert_eq!(report["process_state"], state);
    assert_eq!(peer.follow("e1", 0).await.state(), state);
}

/// A stop ends commands and says so; what had ended is still known afterwards.
#[tokio::test]
async fn ended_commands_survive_the_buildlet() {
    let peer = Peer::start().await;
    peer.start_shell("e1", "", "echo kept; exit 4").await;
    peer.follow("e1", 0).await;
    let running = peer.start_shell("e2", "", "sleep 1000").await;
    let (ended, dir) = peer.end().await;
    assert_eq!(ended, Ended::Stopped);
    assert!(!is_alive(&running["pid"].to_string()));

    let peer = Peer::resume(dir, |config| config).await;
    let log = peer.follow("e1", 0).await;
    assert_eq!((log.text(), log.state()), ("kept\n", "exit status 4"));
    assert_eq!(peer.get("/exec/e2").await.json()["state"], "killed");
}
