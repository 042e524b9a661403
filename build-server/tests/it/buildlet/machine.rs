use super::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::test]
async fn the_machine_tells_what_it_is() {
    let peer = Peer::start().await;
    assert_eq!(
        peer.get("/").await.text(),
        "buildlet running on linux-amd64\n"
    );
    assert_eq!(peer.get("/healthz").await.text(), "ok\n");
    let status = peer.get("/status").await;
    assert_eq!(
        status.headers.get_str("Content-Type"),
        Some("application/json; charset=utf-8")
    );
    let status = status.json();
    assert_eq!(
        (status["Version"].as_u64(), status["Detached"].as_bool()),
        (Some(25), Some(true))
    );
    assert_eq!(
        peer.get("/workdir").await.text(),
        peer.work_dir().to_str().unwrap()
    );
    assert_eq!(peer.get("/debug/x?n=7").await.text(), "XXXXXXX");
    assert_eq!(peer.get("/debug/x?n=99999999").await.body.len(), 1 << 20);
    assert_eq!(peer.get("/debug/x?n=x").await.text(), "");
    let tasks = peer.get("/debug/goroutines").await;
    assert!(
        tasks.text().contains("buildlet/connection/serve"),
        "{}",
        tasks.text()
    );
    assert_eq!(peer.end().await.0, Ended::Stopped);
}

#[tokio::test]
async fn what_is_not_there_and_wrong_methods_are_refused() {
    let peer = Peer::start().await;
    for path in [
        "/nothing",
        "//status",
        "/a/../status",
        "/exec/a/b/c",
        "/tcpproxy2",
    ] {
        assert_eq!(
            peer.get(path).await.refusal(),
            (404, "404 page not found"),
            "{path}"
        );
    }
    for (method, path, text) in [
        ("POST", "/status", "requires GET method"),
        ("POST", "/workdir", "requires GET method"),
        ("GET", "/write", "requires PUT method"),
        ("GET", "/writetgz", "requires PUT or POST method"),
        ("POST", "/tgz", "requires GET method"),
        ("PUT", "/tgz", "requires GET method"),
        ("POST", "/ls", "requires GET method"),
        ("GET", "/removeall", "requires POST method"),
        ("PUT", "/exec", "requires POST method"),
        ("GET", "/halt", "requires POST method"),
        ("GET", "/connect-ssh", "requires POST method"),
    ] {
        let answer = peer.ask(RequestHead::new(method, path), b"").await;
        assert_eq!(answer.refusal(), (400, text), "{method} {path}");
    }
}

#[tokio::test]
async fn a_password_is_asked_for_where_one_is_set() {
    let peer = Peer::with(|config| config.password(Some("pw".into()))).await;
    let with = |authorization: &str| {
        RequestHead::new("GET", "/status").with("Authorization", authorization)
    };
    assert_eq!(
        peer.get("/status").await.refusal(),
        (403, "invalid password")
    );
    assert_eq!(peer.get("/debug/goroutines").await.status, 403);
    let wrong = build_core::buildlet::basic_auth("gomote", "pW");
    assert_eq!(peer.ask(with(&wrong), b"").await.status, 403);
    for user in ["gomote", "", "anybody"] {
        let right = build_core::buildlet::basic_auth(user, "pw");
        assert_eq!(peer.ask(with(&right), b"").await.status, 200, "{user}");
    }
    for open in ["/", "/healthz", "/debug/x"] {
        assert_eq!(peer.get(open).await.status, 200, "{open}");
    }
}

#[tokio::test]
async fn after_halt_nothing_is_accepted_and_the_buildlet_ends() {
    let peer = Peer::start().await;
    let halted = peer.post("/halt", "").await;
    assert_eq!((halted.status, halted.text()), (200, ""));
    assert_eq!(
        peer.get("/status").await.refusal(),
        (503, "this buildlet is halting")
    );
    assert_eq!(peer.running.await.unwrap().unwrap(), Ended::Halted);
}

#[tokio::test]
async fn a_lease_is_renewed_by_its_holder_alone() {
    let nonce = Nonce::new("n1").unwrap();
    let peer = Peer::with(|config| config.lease(&nonce, LIMIT)).await;
    assert_eq!(
        peer.post("/lease", "nonce=n1").await.refusal().1,
        "requires 'ttl_ms' parameter"
    );
    let wrong = peer.post("/lease", "nonce=n2&ttl_ms=1").await;
    assert_eq!(
        wrong.refusal(),
        (403, "invalid nonce: the lease is somebody else's")
    );
    assert!(peer.post("/lease", "nonce=n1&ttl_ms=60000").await.json()["expires_us"].is_i64());
    peer.client().renew_lease(&nonce, LIMIT).await.unwrap();

    // The command holds the buildlet up for as long as its end takes.
    let started = peer
        .post(
            "/exec/start",
            &format!("id=e1&{}", shell_form("sleep 1000")),
        )
        .await
        .json();
    let pid = started["pid"].to_string();
    assert_eq!(peer.post("/lease", "nonce=n1&ttl_ms=1").await.status, 200);
    assert_eq!(peer.running.await.unwrap().unwrap(), Ended::LeaseExpired);
    assert!(!is_alive(&pid));
}

#[tokio::test]
async fn without_a_lease_there_is_nothing_to_renew() {
    let peer = Peer::start().await;
    assert_eq!(peer.post("/lease", "nonce=x&ttl_ms=1").await.status, 404);
}

#[tokio::test]
async fn two_buildlets_never_share_a_directory() {
    let peer = Peer::start().await;
    let config = Config::new(peer.work_dir(), peer.dir.path().join("state"));
    let error = BuildletServer::open(config).unwrap_err().to_string();
    assert!(
        error.contains("belongs to another running buildlet"),
        "{error}"
    );
}

#[tokio::test]
async fn ssh_is_refused_unless_it_was_allowed() {
    let peer = Peer::start().await;
    let refused = peer.post("/connect-ssh", "").await;
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("started without --ssh"));
    assert_eq!(
        peer.post("/connect-ssh", "x").await.refusal(),
        (400, "requires zero Content-Length")
    );
}

/// A server that speaks first, as ssh servers do.
#[tokio::test]
async fn ssh_bytes_wait_for_the_clients_first() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let sshd = tokio::net::TcpListener::bind("localhost:0").await.unwrap();
    let port = sshd.local_addr().unwrap().port();
    let access = build_server::buildlet::SshAccess::at_port(port);
    let peer = Peer::with(|config| config.ssh(Some(access))).await;
    let serving = Supervisor::new("sshd").spawn("sshd", async move {
        let (mut stream, _) = sshd.accept().await.unwrap();
        stream.write_all(b"SSH-2.0-test\r\n").await.unwrap();
        let mut hello = [0; 5];
        stream.read_exact(&mut hello).await.unwrap();
        stream.write_all(&hello).await.unwrap();
    });
    let mut io = UnixStream::connect(socket(peer.dir.path())).await.unwrap();
    io.write_all(b"POST /connect-ssh HTTP/1.1\r\nHost: \r\nContent-Length: 0\r\n\r\n")
        .await
        .unwrap();
    let head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: ssh\r\nConnection: Upgrade\r\n\r\n";
    let mut first = vec![0; 1024];
    let count = io.read(&mut first).await.unwrap();
    assert_eq!(&first[..count], head, "the head comes alone");
    io.write_all(b"hello").await.unwrap();
    let mut rest = String::new();
    io.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "SSH-2.0-test\r\nhello");
    serving.await.unwrap();
}

#[tokio::test]
async fn our_client_finds_what_every_buildlet_does() {
    let peer = Peer::start().await;
    let client = peer.client();
    build_client::testing::contract(&client).await;
    build_client::testing::detached_contract(&client).await;
}

#[tokio::test]
async fn those_who_say_nothing_keep_nobody_out() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let most = getrlimit(Resource::Nofile).maximum;
    let more = Rlimit {
        current: most.map_or(Some(8192), |most| Some(most.min(8192))),
        maximum: most,
    };
    setrlimit(Resource::Nofile, more).unwrap();
    let peer = Peer::start().await;
    let mut silent = Vec::new();
    // More than are served at a time, twice over.
    for n in 0..1100 {
        let mut io = tokio::net::UnixStream::connect(socket(peer.dir.path()))
            .await
            .unwrap();
        let begun: [&[u8]; 3] = [b"", b"G", b"GET /healthz HTTP/1.1\r\nHost: x\r\n"];
        let _ = io.write_all(begun[n % begun.len()]).await;
        silent.push(io);
        if n % 100 == 0 {
            assert_eq!(peer.get("/healthz").await.text(), "ok\n", "after {n}");
        }
    }
    assert_eq!(peer.get("/healthz").await.text(), "ok\n");
    // Whoever has waited longest has made room, and the last ones have not.
    let mut first = [0; 1];
    let read = tokio::time::timeout(LIMIT, silent[0].read(&mut first));
    assert!(matches!(read.await.unwrap(), Ok(0) | Err(_)));
    let last = silent.last_mut().unwrap();
    let read = tokio::time::timeout(std::time::Duration::from_millis(20), last.read(&mut first));
    assert!(read.await.is_err());
}
