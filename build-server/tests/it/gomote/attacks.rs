//! What an attacker tries.

use build_core::buildlet::{basic_auth, header};
use build_core::h1::RequestHead;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::served::{PASSWORD, ServedPool};
use super::{Hall, by, master, to};

#[tokio::test]
async fn credentials_are_checked_before_anything_else() {
    let pool = ServedPool::new(1);
    let hall = Hall::start(&pool).await;
    let name = hall.create("alice").await;
    let with = |value: String| {
        RequestHead::new("GET", "/status")
            .with("Host", "localhost")
            .with(header::BUILDLET_PROXY, &name)
            .with("Authorization", value)
    };
    let alice = master().key_of("user-alice");
    let expired = master().expiring_key_of("user-alice", 1);
    for value in [
        basic_auth("user-alice", "x"),
        basic_auth("alice", &alice),
        basic_auth("user-bob", &alice),
        basic_auth("user-alice", &expired),
        basic_auth("host-linux-jessie", &master().key_of("host-linux-jessie")),
        "Bearer farmer_x".to_owned(),
    ] {
        let refusal = hall.ask(with(value), None).await.refusal();
        assert_eq!(refusal, (401, "bad username or password".into()));
    }
    let missing = (400, "missing required authentication".to_owned());
    for head in [
        RequestHead::new("GET", "/buildlet/list").with("Host", "x"),
        with("Digest x".into()),
        // Two are none: somebody else may read the other one.
        by("alice", "GET", "/buildlet/list").with("Authorization", basic_auth("user-bob", "x")),
    ] {
        assert_eq!(hall.ask(head, None).await.refusal(), missing);
    }
    let page = by("alice", "GET", "/buildlet/list").with("Origin", "https://evil.example");
    assert_eq!(hall.ask(page, None).await.status, 403);
    hall.stop().await;
}

#[tokio::test]
async fn a_foreign_session_is_refused_and_stays_as_it_was() {
    let pool = ServedPool::new(1);
    let hall = Hall::start(&pool).await;
    let name = hall.create("alice").await;
    let caller = build_server::gomote::User::new("alice").unwrap();
    let before = hall.gomote.sessions().list(&caller);
    for (method, target) in [
        ("GET", "/status"),
        ("POST", "/halt"),
        ("POST", "/exec"),
        ("POST", "/tcpproxy"),
        ("POST", "/connect-ssh"),
        ("GET", "/nowhere"),
    ] {
        let refusal = hall
            .ask(to("bob", &name, method, target), None)
            .await
            .refusal();
        assert_eq!(
            refusal,
            (401, "you don't own that buildlet".into()),
            "{target}"
        );
    }
    assert_eq!(hall.gomote.sessions().list(&caller), before);
    for forged in [
        "user-alice-linux-amd64-localdev-1",
        "user-alice-linux-amd64-localdev-00",
        "USER-ALICE-LINUX-AMD64-LOCALDEV-0",
        "../user-alice-linux-amd64-localdev-0",
        "x",
    ] {
        let refusal = hall
            .ask(to("alice", forged, "GET", "/status"), None)
            .await
            .refusal();
        assert_eq!(
            refusal,
            (502, "unknown or expired buildlet".into()),
            "{forged}"
        );
    }
    let two = to("alice", &name, "GET", "/status").with(header::BUILDLET_PROXY, "other");
    assert_eq!(hall.ask(two, None).await.status, 400);
    hall.stop().await;
}

#[tokio::test]
async fn ways_out_of_the_work_directory_are_refused() {
    let pool = ServedPool::new(1);
    let hall = Hall::start(&pool).await;
    let name = hall.create("alice").await;
    for (method, target, body) in [
        ("PUT", "/write?path=..%2Fx&mode=420", "x"),
        ("PUT", "/write?path=a%2F..%2F..%2Fx&mode=420", "x"),
        ("PUT", "/write?path=%2Fetc%2Fx&mode=420", "x"),
        ("PUT", "/writetgz?dir=..", "x"),
        ("GET", "/ls?dir=..", ""),
        ("GET", "/ls?dir=%2Fetc", ""),
        ("GET", "/tgz?dir=..%2F..", ""),
        ("POST", "/removeall", "path=.."),
        ("POST", "/removeall", "path=a&path=..%2Fb"),
        ("POST", "/exec", "cmd=..%2F..%2Fbin%2Fsh"),
        ("POST", "/exec/start", "id=e1&cmd=..%2Fx"),
    ] {
        let mut head = to("alice", &name, method, target);
        if method == "POST" {
            head = head.with("Content-Type", header::FORM_TYPE);
        }
        let body = (method != "GET").then_some(body.as_bytes());
        let answer = hall.ask(head, body).await;
        assert_eq!(answer.status, 400, "{target} {body:?}: {}", answer.text());
    }
    for target in [
        "/../status",
        "//status",
        "/a/../exec",
        "/lease",
        "/exec/../halt",
        "/exec/attached",
        "/sftp",
        "/agent",
        "/agent/accept",
    ] {
        let answer = hall
            .ask(to("alice", &name, "POST", target), Some(b""))
            .await;
        assert_eq!(answer.status, 404, "{target}");
    }
    hall.stop().await;
}

#[tokio::test]
async fn ports_that_are_not_allowed_are_refused() {
    let pool = ServedPool::new(1);
    let hall = Hall::start(&pool).await;
    let name = hall.create("alice").await;
    let ask = async |port: &str| {
        let head = to("alice", &name, "POST", "/tcpproxy").with(header::TARGET_PORT, port);
        hall.ask(head, Some(b"")).await.refusal()
    };
    for bad in ["", "abc", "0", "-1", "+22", "65536", "22,23", "022x"] {
        let (status, text) = ask(bad).await;
        assert_eq!(
            (status, text.as_str()),
            (400, "invalid or missing X-Target-Port"),
            "{bad}"
        );
    }
    assert_eq!(ask("25").await, (403, "port 25 is not allowed here".into()));
    let two = to("alice", &name, "POST", "/tcpproxy")
        .with(header::TARGET_PORT, "25")
        .with(header::TARGET_PORT, "22");
    assert_eq!(hall.ask(two, Some(b"")).await.status, 400);
    hall.stop().await;
}

#[tokio::test]
async fn a_machine_sees_nothing_of_its_user() {
    let pool = ServedPool::new(1);
    let hall = Hall::start(&pool).await;
    let name = hall.create("alice").await;
    // The machine checks its own password: it is there, and the user's is not in its place.
    let head = to("alice", &name, "GET", "/workdir")
        .with("Cookie", "farmer_sign_in=x")
        .with("X-Forwarded-For", "1.2.3.4")
        .with("Connection", "keep-alive, Authorization");
    let answer = hall.ask(head, None).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let key = master().key_of("user-alice");
    let ran = hall
        .shell("alice", &name, "env; cat /proc/self/environ")
        .await;
    assert!(!ran.text().contains(&key) && !ran.text().contains(PASSWORD));
    for (field, value) in answer.headers.iter() {
        let value = String::from_utf8_lossy(value);
        assert!(
            !value.contains(PASSWORD) && !value.contains(&key),
            "{field}"
        );
    }
    hall.stop().await;
}

/// Sends bytes as they are, reads all that comes.
async fn raw(hall: &Hall, bytes: &str) -> String {
    let mut io = hall.connect().await;
    io.write_all(bytes.as_bytes()).await.unwrap();
    let mut all = Vec::new();
    // A server that cuts the connection has answered, too.
    let _ = tokio::time::timeout(super::SOON, io.read_to_end(&mut all))
        .await
        .unwrap();
    String::from_utf8_lossy(&all).into_owned()
}

#[tokio::test]
async fn requests_cannot_be_smuggled() {
    let pool = ServedPool::new(1);
    let hall = Hall::start(&pool).await;
    let name = hall.create("alice").await;
    let auth = basic_auth("user-alice", &master().key_of("user-alice"));
    let fields = format!("Host: x\r\nAuthorization: {auth}\r\nX-Buildlet-Proxy: {name}\r\n");
    let smuggled = "POST /lease HTTP/1.1\r\nHost: x\r\n\r\n";
    for framing in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 0\r\nContent-Length: 40\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Content-Length: +5\r\n",
    ] {
        let all = raw(
            &hall,
            &format!(
                "PUT /write?path=a&mode=420 HTTP/1.1\r\n{fields}{framing}\r\n0\r\n\r\n{smuggled}"
            ),
        )
        .await;
        let statuses = all.matches("HTTP/1.1 ").count();
        assert!(statuses <= 1 && !all.contains("200 OK"), "{framing}: {all}");
    }
    // Without TLS nothing is said, not even whether a session exists.
    let mut tcp = TcpStream::connect(hall.address).await.unwrap();
    let plain = format!("GET /status HTTP/1.1\r\n{fields}Connection: close\r\n\r\n");
    tcp.write_all(plain.as_bytes()).await.unwrap();
    let mut all = String::new();
    tcp.read_to_string(&mut all).await.unwrap();
    assert!(
        all.starts_with("HTTP/1.1 400") && all.ends_with("https required\n"),
        "{all}"
    );
    hall.stop().await;
}

#[tokio::test]
async fn a_user_cannot_take_all_machines() {
    let pool = ServedPool::new(3);
    let settings = build_server::gomote::Settings {
        per_user: 2,
        ..Default::default()
    };
    let store = build_server::store::Store::memory();
    let hall = Hall::start_with(&pool, store, settings, None).await;
    hall.create("alice").await;
    hall.create("alice").await;
    let third = hall.try_create("alice", super::BUILDER).await;
    let line: serde_json::Value = serde_json::from_str(&third.text()).unwrap();
    let error = line["error"].as_str().unwrap();
    assert!(error.contains("alice has 2 sessions"), "{error}");
    hall.create("bob").await;
    hall.stop().await;
}
