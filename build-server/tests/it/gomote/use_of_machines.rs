//! What a session is good for.

use std::time::Duration;

use build_core::buildlet::header;
use build_core::h1::io::{Body as _, Client};
use build_core::h1::{Limits, RequestHead};
use build_server::gomote::{Ports, Settings};
use build_server::store::Store;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::served::ServedPool;
use super::{BUILDER, Hall, SOON, by, to};

#[tokio::test]
async fn a_machine_is_created_used_and_given_back() {
    let pool = ServedPool::new(2);
    let hall = Hall::start(&pool).await;
    let answer = hall.try_create("alice", BUILDER).await;
    assert_eq!(
        answer.headers.get_str(header::SUPPORTED_VERSION),
        Some("20191119")
    );
    assert_eq!(
        answer.headers.get_str("Content-Type"),
        Some(header::JSON_TYPE)
    );
    let answer = answer.text();
    let last = answer.lines().last().unwrap();
    let line: serde_json::Value = serde_json::from_str(last).unwrap();
    let buildlet = &line["buildlet"];
    let name = "user-alice-linux-amd64-localdev-0";
    assert_eq!(buildlet["Name"], name);
    assert_eq!(buildlet["User"], "user-alice");
    assert_eq!(buildlet["HostType"], "host-linux-amd64-localdev");
    assert_eq!(buildlet["BuilderType"], BUILDER);
    assert_eq!(hall.list("alice").await, [name]);
    assert!(hall.list("bob").await.is_empty());
    let empty = hall.ask(by("bob", "GET", "/buildlet/list"), None).await;
    assert_eq!(empty.text(), "[]\n");

    let ran = hall.shell("alice", name, "echo out; exit 7").await;
    assert_eq!(
        (ran.status, ran.text().as_str(), ran.state()),
        (200, "out\n", "exit status 7")
    );
    assert_eq!(
        ran.headers
            .get_str("Trailer")
            .map(|t| t.contains("Process-State")),
        Some(true)
    );
    let put = to("alice", name, "PUT", "/write?path=a%2Fb&mode=420");
    assert_eq!(hall.ask(put, Some(b"hello")).await.text(), "OK");
    let listed = hall
        .ask(to("alice", name, "GET", "/ls?dir=a&digest=true"), None)
        .await;
    assert!(listed.text().contains("\tb\t5\t"), "{}", listed.text());
    let ran = hall.shell("alice", name, "cat a/b").await;
    assert_eq!((ran.text().as_str(), ran.state()), ("hello", "ok"));

    // The lowest free number.
    assert_eq!(
        hall.create("alice").await,
        "user-alice-linux-amd64-localdev-1"
    );
    let halted = hall.ask(to("alice", name, "POST", "/halt"), None).await;
    assert_eq!((halted.status, halted.text().as_str()), (200, ""));
    let gone = hall.ask(to("alice", name, "GET", "/status"), None).await;
    let (status, text) = gone.refusal();
    assert_eq!(status, 502);
    assert!(text.starts_with("unknown or expired buildlet"), "{text}");
    assert!(text.ends_with("it was destroyed"), "{text}");
    assert_eq!(hall.create("alice").await, name);
    hall.stop().await;
    assert_eq!(pool.held(), 2, "a stop leaves sessions their machines");
}

#[tokio::test]
async fn who_waits_is_told_why_and_a_client_that_leaves_gives_up() {
    let pool = ServedPool::new(1);
    let hall = Hall::start(&pool).await;
    let name = hall.create("alice").await;
    let mut waiting = Client::new(hall.connect().await, Limits::default());
    let form = format!("version=20191119&builderType={BUILDER}");
    let head = by("bob", "POST", "/buildlet/create");
    let mut answer = waiting.send(&head, Some(form.as_bytes())).await.unwrap();
    let line = tokio::time::timeout(SOON, answer.chunk())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let line: serde_json::Value = serde_json::from_slice(&line).unwrap();
    let message = line["status"]["message"].as_str().unwrap();
    assert!(
        !message.is_empty() && line["status"]["ahead"].is_u64(),
        "{line}"
    );
    drop(waiting);
    // Who left holds no name and no place: the next one gets both.
    hall.ask(to("alice", &name, "POST", "/halt"), None).await;
    let again = tokio::time::timeout(SOON, hall.create("bob"))
        .await
        .unwrap();
    assert_eq!(again, "user-bob-linux-amd64-localdev-0");
    hall.stop().await;
}

#[tokio::test]
async fn older_clients_get_one_object_and_still_older_ones_nothing() {
    let pool = ServedPool::new(1);
    let hall = Hall::start(&pool).await;
    let ask = async |form: &str| {
        hall.ask(
            by("alice", "POST", "/buildlet/create"),
            Some(form.as_bytes()),
        )
        .await
    };
    let (status, text) = ask(&format!("version=20150922&builderType={BUILDER}"))
        .await
        .refusal();
    assert_eq!(status, 400);
    assert!(
        text.contains("client version \"20150922\" is too old"),
        "{text}"
    );
    let missing = ask("version=20191119").await.refusal();
    assert_eq!(missing, (400, "missing 'builderType' parameter".into()));
    let unknown = hall.try_create("alice", "nosuch").await.refusal();
    assert_eq!(
        unknown,
        (
            400,
            "unknown builder type in 'builderType' parameter".into()
        )
    );
    let wrong = hall
        .ask(by("alice", "GET", "/buildlet/create"), None)
        .await
        .refusal();
    assert_eq!(wrong, (400, "POST required".into()));
    let wrong = hall
        .ask(by("alice", "POST", "/buildlet/list"), Some(b""))
        .await
        .refusal();
    assert_eq!(wrong, (400, "GET required".into()));
    let old = ask(&format!("version=20160922&builderType={BUILDER}")).await;
    let object: serde_json::Value = serde_json::from_str(&old.text()).unwrap();
    assert_eq!(object["Name"], "user-alice-linux-amd64-localdev-0");
    hall.stop().await;
}

#[tokio::test]
async fn what_nobody_uses_expires_and_what_is_used_does_not() {
    let pool = ServedPool::new(2);
    let settings = Settings {
        ttl: Duration::from_millis(400),
        ..Settings::default()
    };
    let hall = Hall::start_with(&pool, Store::memory(), settings, None).await;
    let used = hall.create("alice").await;
    // Longer than the time to live, with one request and without a byte.
    let running = hall.shell("alice", &used, "sleep 1; echo done");
    let idle = async {
        let idle = hall.create("alice").await;
        let begun = std::time::Instant::now();
        while hall.list("alice").await.contains(&idle) {
            assert!(begun.elapsed() < SOON, "it never expires");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        idle
    };
    let (ran, idle) = tokio::join!(running, idle);
    assert_eq!((ran.text().as_str(), ran.state()), ("done\n", "ok"));
    let (status, text) = hall
        .ask(to("alice", &idle, "GET", "/status"), None)
        .await
        .refusal();
    assert_eq!(status, 502);
    assert!(text.contains("nobody used it"), "{text}");
    hall.stop().await;
}

#[tokio::test]
async fn sessions_survive_a_coordinator_that_is_killed() {
    let pool = ServedPool::new(1);
    let store = Store::memory();
    let hall = Hall::start_with(&pool, store.clone(), Settings::default(), None).await;
    let name = hall.create("alice").await;
    hall.shell("alice", &name, "echo kept > file").await;
    let at = hall.kill().await;
    let hall = Hall::start_with(&pool, store.clone(), Settings::default(), Some(at)).await;
    assert_eq!(hall.list("alice").await, std::slice::from_ref(&name));
    let ran = hall.shell("alice", &name, "cat file").await;
    assert_eq!((ran.text().as_str(), ran.state()), ("kept\n", "ok"));
    let foreign = hall.ask(to("bob", &name, "GET", "/status"), None).await;
    assert_eq!(foreign.status, 401);
    // Its machine dies while nobody watches: that is said, not a bare 502.
    let at = hall.kill().await;
    pool.die();
    let hall = Hall::start_with(&pool, store, Settings::default(), Some(at)).await;
    let (status, text) = hall
        .ask(to("alice", &name, "GET", "/status"), None)
        .await
        .refusal();
    assert_eq!(status, 502);
    assert!(
        text.contains("unknown or expired buildlet") && text.contains("gone"),
        "{text}"
    );
    hall.stop().await;
}

#[tokio::test]
async fn a_connection_to_a_port_of_a_machine() {
    let pool = ServedPool::new(1);
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = server.local_addr().unwrap().port();
    let settings = Settings {
        ports: Ports::only([port..=port]),
        ..Settings::default()
    };
    let hall = Hall::start_with(&pool, Store::memory(), settings, None).await;
    let name = hall.create("alice").await;
    let echo = async {
        let (mut stream, _) = server.accept().await.unwrap();
        stream.write_all(b"hello\n").await.unwrap();
        let mut read = [0; 5];
        stream.read_exact(&mut read).await.unwrap();
        stream.write_all(&read).await.unwrap();
    };
    let head = to("alice", &name, "POST", "/tcpproxy").with(header::TARGET_PORT, port.to_string());
    let asked = async {
        let mut client = Client::new(hall.connect().await, Limits::default());
        let answer = client.send(&head, Some(b"")).await.unwrap();
        assert_eq!(answer.status(), 101);
        assert_eq!(answer.head().headers().get_str("Upgrade"), Some("tcpproxy"));
        drop(answer);
        let mut stream = client.into_stream();
        stream.write_all(b"there").await.unwrap();
        let mut read = [0; 11];
        stream.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"hello\nthere");
    };
    tokio::join!(echo, asked);
    drop(server);
    let closed = hall.ask(head, Some(b"")).await.refusal();
    assert_eq!(closed.0, 500);
    assert!(
        closed
            .1
            .starts_with(&format!("failed to connect to port {port}: ")),
        "{closed:?}"
    );
    hall.stop().await;
}

/// Identity providers name people by their mail addresses. Of two whose addresses differ in the
/// domain alone each has sessions of their own.
#[tokio::test]
async fn people_are_told_apart_by_the_whole_of_their_mail_address() {
    let pool = ServedPool::new(2);
    let hall = Hall::start(&pool).await;
    let signed = |who: &str, method: &str, target: &str| {
        RequestHead::new(method, target)
            .with("Host", "localhost")
            .with(
                "Authorization",
                format!("Bearer signed.{}.", hex::encode(who)),
            )
    };
    let form = format!("version=20191119&builderType={BUILDER}");
    let (ann, other) = ("ann@example.org", "ann@example.com");
    for (who, number) in [(ann, 0), (other, 1)] {
        let head = signed(who, "POST", "/buildlet/create");
        let answer = hall.ask(head, Some(form.as_bytes())).await.text();
        let last = answer.lines().last().unwrap();
        let line: serde_json::Value = serde_json::from_str(last).unwrap();
        let name = format!("user-ann-{BUILDER}-{number}");
        assert_eq!(line["buildlet"]["Name"], name, "{answer}");
        assert_eq!(line["buildlet"]["User"], format!("user-{who}"));
    }
    let name = format!("user-ann-{BUILDER}-0");
    let status = |who| signed(who, "GET", "/status").with(header::BUILDLET_PROXY, &name);
    assert_eq!(hall.ask(status(ann), None).await.status, 200);
    let refusal = hall.ask(status(other), None).await.refusal();
    assert_eq!(refusal, (401, "you don't own that buildlet".into()));
    // Somebody with a key and the same short name is yet another one.
    let refusal = hall.ask(to("ann", &name, "GET", "/status"), None).await;
    assert_eq!(refusal.status, 401);
    for bad in ["@example.org", "../x@example.org", "a@b@c", "a b@c"] {
        let head = signed(bad, "GET", "/buildlet/list");
        let refusal = hall.ask(head, None).await.refusal();
        assert_eq!(refusal.0, 403, "{bad}: {}", refusal.1);
    }
    hall.stop().await;
}
