//! The traps of docs/protocol/buildlet.md, 1.1, at the front: each is avoided, and each test shows
//! what happens when the fix is switched off.

use std::io::Read as _;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::response::IntoResponse as _;
use build_client::transport::TokioTimer;
use build_core::h1::io::{Duplex, Server};
use build_core::h1::{BodySize, Headers, Limits, RequestHead, ResponseHead};
use build_core::revdial::io::{DialServer, Listener, take_over};
use build_core::revdial::{VERSION, VERSION_HEADER};
use build_core::tarutil::{Gunzip, GzipOptions, PargzipWriter};
use build_server::front::{self, Dialect, Front, Peer, Plain, Quirks, Services, Stream};
use build_server::https::{Tls, development};
use build_server::supervise::Supervisor;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{compat, peers, trusting};

const LIMIT: Duration = Duration::from_secs(20);

/// Takes over `/reverse`, and answers `/exec` as a buildlet does.
struct Buildlets;

#[async_trait]
impl Dialect for Buildlets {
    fn takes(&self, head: &RequestHead) -> bool {
        ["/reverse", "/exec"].contains(&head.path())
    }

    async fn serve(&self, stream: Stream, peer: Peer) {
        let mut server = Server::new(stream, Limits::default());
        while let Ok(Some(exchange)) = server.next().await {
            if exchange.head().path() == "/exec" {
                let head = ResponseHead::new(200).with("Trailer", "Process-State");
                let mut response = exchange.start(head, BodySize::Unknown).await.unwrap();
                response.write(b"words\n").await.unwrap();
                let state = Headers::new().with("Process-State", "ok");
                response.finish(&state).await.unwrap();
                continue;
            }
            let switched = exchange
                .switch_protocols(&ResponseHead::new(101))
                .await
                .unwrap();
            let mut stream = switched.into_stream();
            let said = format!("encrypted: {}\n", peer.encrypted);
            stream.write_all(said.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            return;
        }
    }
}

/// Pages that do with hyper what they can of the dialect.
fn pages() -> Router {
    let trailers = || async {
        let mut state = axum::http::HeaderMap::new();
        state.insert("process-state", "ok".parse().unwrap());
        let frames = [
            Ok::<_, std::convert::Infallible>(hyper::body::Frame::data(bytes::Bytes::from(
                "words\n",
            ))),
            Ok(hyper::body::Frame::trailers(state)),
        ];
        let body = http_body_util::StreamBody::new(futures::stream::iter(frames));
        ([("Trailer", "Process-State")], axum::body::Body::new(body)).into_response()
    };
    let reverse = |mut request: axum::extract::Request| async move {
        // Dropped at once: whether there is one is all that is asked.
        let upgrade = hyper::upgrade::on(&mut request);
        let upgrades = request.headers().contains_key("upgrade");
        drop(upgrade);
        match upgrades {
            true => axum::http::StatusCode::SWITCHING_PROTOCOLS,
            false => axum::http::StatusCode::UPGRADE_REQUIRED,
        }
    };
    Router::new()
        .route("/", axum::routing::get(|| async { "a page" }))
        .route("/exec", axum::routing::post(trailers))
        .route("/reverse", axum::routing::get(reverse))
}

fn services(pages: Router) -> Services {
    Services::new().with_dialect(Buildlets).with_pages(pages)
}

struct Door {
    address: SocketAddr,
    stop: CancellationToken,
    tasks: Supervisor,
}

impl Door {
    async fn open(front: Front) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, tasks) = (CancellationToken::new(), Supervisor::new("door"));
        tasks.spawn("front", front.run(listener, stop.clone()));
        Self {
            address,
            stop,
            tasks,
        }
    }

    /// Sends some bytes and reads to the end.
    async fn say(&self, words: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(words.as_bytes()).await.unwrap();
        let mut said = Vec::new();
        // A reset after the answer is an end as well.
        let _ = timeout(LIMIT, stream.read_to_end(&mut said))
            .await
            .expect("the door answers");
        String::from_utf8_lossy(&said).into_owned()
    }

    /// The same over TLS, with what was agreed on.
    async fn say_encrypted(&self, protocols: &[&[u8]], words: &str) -> (Option<Vec<u8>>, String) {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let connector = trusting::connector_for(protocols);
        let mut stream = connector.connect(trusting::name(), stream).await.unwrap();
        let agreed = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        stream.write_all(words.as_bytes()).await.unwrap();
        let mut said = Vec::new();
        let _ = timeout(LIMIT, stream.read_to_end(&mut said))
            .await
            .expect("the door answers");
        (agreed, String::from_utf8_lossy(&said).into_owned())
    }

    async fn close(self) {
        self.stop.cancel();
        self.tasks.drain(LIMIT).await.unwrap();
    }
}

fn front() -> Front {
    Front::new(services(pages()))
}

fn tls() -> Tls {
    let dir = tempfile::tempdir().unwrap();
    Tls::new(development(dir.path(), &[]).unwrap().certificate().clone())
}

fn without_dialect() -> Front {
    let mut quirks = Quirks::default();
    quirks.pages_only = true;
    front().with_quirks(quirks)
}

const REVERSE: &str = "GET /reverse HTTP/1.1\r\nHost: \r\n\r\n";
const EXEC: &str =
    "POST /exec HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn trap_1_we_answer_http_1_1_and_take_0_0() {
    let door = Door::open(front()).await;
    let said = door.say(REVERSE).await;
    assert_eq!(
        said,
        "HTTP/1.1 101 Switching Protocols\r\n\r\nencrypted: false\n"
    );
    door.close().await;
    let (near, mut far) = tokio::io::duplex(1024);
    let answer = b"HTTP/0.0 101 Switching Protocols\r\n\r\nrest";
    far.write_all(answer).await.unwrap();
    drop(far.shutdown().await);
    let mut rest = String::new();
    let mut stream = take_over(near, RequestHead::new("GET", "/reverse"))
        .await
        .unwrap();
    stream.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "rest");
    // Without the fix: a reader that knows HTTP only.
    let mut fields = [httparse::EMPTY_HEADER; 4];
    let strict = httparse::Response::new(&mut fields).parse(answer);
    assert_eq!(strict, Err(httparse::Error::Version));
}

#[tokio::test]
async fn trap_3_a_connection_is_taken_over_without_upgrade_fields() {
    let door = Door::open(front()).await;
    assert!(door.say(REVERSE).await.starts_with("HTTP/1.1 101 "));
    door.close().await;
    let door = Door::open(without_dialect()).await;
    let said = door
        .say(&REVERSE.replace("Host: ", "Connection: close\r\nHost: x"))
        .await;
    assert!(said.starts_with("HTTP/1.1 426 "), "{said}");
    door.close().await;
}

#[tokio::test]
async fn trap_4_trailers_come_unasked() {
    let door = Door::open(front()).await;
    let said = door.say(EXEC).await;
    assert!(
        said.ends_with("\r\n0\r\nProcess-State: ok\r\n\r\n"),
        "{said}"
    );
    door.close().await;
    let door = Door::open(without_dialect()).await;
    let said = door.say(EXEC).await;
    assert!(
        said.contains("words") && !said.contains("process-state: ok"),
        "{said}"
    );
    door.close().await;
}

#[tokio::test]
async fn traps_5_and_10_go_machines_with_odd_names_and_long_errors() {
    let Some(programs) = peers::go2020() else {
        return;
    };
    let program = programs.join("revdialpeer");
    let run = |args: Vec<String>| {
        let mut command = tokio::process::Command::new(&program);
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        command
    };
    for (tls, wanted) in [
        (tls(), "answered 101"),
        (tls().with_strict_names(), "refused"),
    ] {
        let door = Door::open(front().with_tls(tls)).await;
        let greet = run(vec!["-greet".into(), door.address.to_string()]).output();
        let said = timeout(LIMIT, greet).await.unwrap().unwrap();
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(said.starts_with(wanted), "{said}");
        door.close().await;
    }

    // The machine fails with 20,000 bytes of reasons; then with a line that is too long.
    for shortened in [true, false] {
        let mut server = run(vec!["-dial".into(), "-fail".into()]).spawn().unwrap();
        let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
        let first = timeout(LIMIT, lines.next_line())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        let address = first.strip_prefix("listening ").unwrap().to_owned();
        let head = RequestHead::new("GET", "/reverse").with(VERSION_HEADER, VERSION);
        let mut control = take_over(connect(&address).await, head).await.unwrap();
        let tasks = Supervisor::new("machine");
        if shortened {
            let failed = std::sync::atomic::AtomicBool::new(false);
            let dial: DialServer<Box<dyn Duplex>> = Box::new(move || {
                let first = !failed.swap(true, std::sync::atomic::Ordering::SeqCst);
                let address = address.clone();
                Box::pin(async move {
                    match first {
                        true => Err(std::io::Error::other("reasons ".repeat(2500))),
                        false => Ok(connect(&address).await),
                    }
                })
            });
            let mut listener = Listener::new(control, dial, Arc::new(TokioTimer));
            tasks.spawn("machine", async move {
                while let Ok(mut stream) = listener.accept().await {
                    let mut word = [0; 5];
                    stream.read_exact(&mut word).await.unwrap();
                    stream.write_all(&word[1..]).await.unwrap();
                    stream.flush().await.unwrap();
                }
            });
        } else {
            let err = "reasons ".repeat(2500);
            let line = format!(
                "{{\"command\":\"pickup-failed\",\"connPath\":\"/revdial\",\"err\":\"{err}\"}}\n"
            );
            control.write_all(line.as_bytes()).await.unwrap();
            control.flush().await.unwrap();
            tasks.spawn("machine", async move {
                let mut rest = Vec::new();
                let _ = control.read_to_end(&mut rest).await;
            });
        }
        let mut said = Vec::new();
        while let Some(line) = timeout(LIMIT, lines.next_line()).await.unwrap().unwrap() {
            said.push(line);
        }
        match shortened {
            true => assert_eq!(said, ["ok failed true", "ok next"]),
            false => assert!(!said.contains(&"ok next".to_owned()), "{said:?}"),
        }
        tasks.token().cancel();
        let _ = tasks.drain(Duration::ZERO).await;
    }
    compat::record(
        &program,
        &[
            compat::Row {
                direction: "Go client, our front",
                case: "TLS with the server name localhost:8119, take-over with an empty Host",
                seen: "101",
                control: "server names left as they come: the handshake fails",
            },
            compat::Row {
                direction: "Go dialer, our listener",
                case: "a failure with 20,000 bytes of reasons, then another dial",
                seen: "the failure is told, the next dial works",
                control: "a line of that length: the control connection ends",
            },
        ],
    );
}

async fn connect(address: &str) -> Box<dyn Duplex> {
    let stream = TcpStream::connect(address).await.unwrap();
    Box::new(
        trusting::connector()
            .connect(trusting::name(), stream)
            .await
            .unwrap(),
    )
}

#[tokio::test]
async fn trap_6_a_host_may_be_empty() {
    let door = Door::open(front()).await;
    assert!(door.say(REVERSE).await.starts_with("HTTP/1.1 101 "));
    let said = door.say("GET /reverse HTTP/1.1\r\n\r\n").await;
    assert!(
        said.starts_with("HTTP/1.1 400 ") && said.contains("missing required Host header"),
        "{said}"
    );
    door.close().await;
    let mut quirks = Quirks::default();
    quirks.named_hosts = true;
    let door = Door::open(front().with_quirks(quirks)).await;
    assert!(door.say(REVERSE).await.starts_with("HTTP/1.1 400 "));
    door.close().await;
}

#[tokio::test]
async fn trap_7_http_2_is_not_chosen_when_http_1_is_offered() {
    let both: &[&[u8]] = &[b"h2", b"http/1.1"];
    let door = Door::open(front().with_tls(tls())).await;
    for (offered, agreed) in [(both, Some(&b"http/1.1"[..])), (&[], None)] {
        let (protocol, said) = door.say_encrypted(offered, REVERSE).await;
        assert_eq!(protocol.as_deref(), agreed);
        assert!(
            said.starts_with("HTTP/1.1 101 ") && said.ends_with("encrypted: true\n"),
            "{said}"
        );
    }
    door.close().await;
    let dir = tempfile::tempdir().unwrap();
    let made = development(dir.path(), &[]).unwrap();
    let door =
        Door::open(front().with_tls(Tls::preferring_http2(made.certificate().clone()))).await;
    let (protocol, said) = door.say_encrypted(both, REVERSE).await;
    assert_eq!(protocol.as_deref(), Some(&b"h2"[..]));
    assert!(!said.starts_with("HTTP/1.1 101 "), "{said}");
    door.close().await;
}

#[tokio::test]
async fn trap_8_answers_of_the_dialect_are_never_compressed() {
    let asks = EXEC.replace("Host: x", "Host: x\r\nAccept-Encoding: gzip");
    let door = Door::open(front()).await;
    let said = door.say(&asks).await;
    assert!(
        !said.to_lowercase().contains("content-encoding") && said.contains("words"),
        "{said}"
    );
    door.close().await;
    // The same answer through pages that are compressed.
    let long = Router::new().route(
        "/exec",
        axum::routing::post(|| async { "words\n".repeat(1000) }),
    );
    let mut quirks = Quirks::default();
    quirks.pages_only = true;
    let compressed = long.layer(tower_http::compression::CompressionLayer::new());
    let door = Door::open(Front::new(services(compressed)).with_quirks(quirks)).await;
    let said = door.say(&asks).await;
    assert!(
        said.contains("content-encoding: gzip") && !said.contains("words"),
        "{said}"
    );
    door.close().await;
}

#[test]
fn trap_9_archives_have_many_members() {
    let data: Vec<u8> = (0..600_000_u32)
        .flat_map(|n| (n % 1009).to_le_bytes())
        .collect();
    let packed = std::thread::scope(|scope| {
        let mut gzip = PargzipWriter::new(scope, Vec::new(), &GzipOptions::default())?;
        std::io::Write::write_all(&mut gzip, &data)?;
        gzip.finish()
    })
    .unwrap();
    let mut all = Vec::new();
    Gunzip::new(&packed[..]).read_to_end(&mut all).unwrap();
    assert!(all == data);
    let mut first = Vec::new();
    flate2::read::GzDecoder::new(&packed[..])
        .read_to_end(&mut first)
        .unwrap();
    assert!(first.len() < data.len(), "one member is not all");
}

#[tokio::test]
async fn one_port_serves_pages_machines_and_http_2() {
    let door = Door::open(front().with_tls(tls())).await;
    let page = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert!(door.say(page).await.ends_with("a page"));
    let (protocol, said) = door.say_encrypted(&[b"http/1.1"], page).await;
    assert_eq!(protocol.as_deref(), Some(&b"http/1.1"[..]));
    assert!(said.ends_with("a page"), "{said}");
    // HTTP/2, by ALPN: the client of hyper speaks it over our stream.
    let stream = TcpStream::connect(door.address).await.unwrap();
    let stream = trusting::connector_for(&[b"h2"])
        .connect(trusting::name(), stream)
        .await
        .unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut client, connection) = hyper::client::conn::http2::handshake(executor, io)
        .await
        .unwrap();
    let tasks = Supervisor::new("client");
    tasks.spawn("connection", async move { drop(connection.await) });
    let request = axum::http::Request::get("https://localhost/")
        .body(axum::body::Body::empty())
        .unwrap();
    let response = timeout(LIMIT, client.send_request(request))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (response.status().as_u16(), response.version()),
        (200, axum::http::Version::HTTP_2)
    );
    drop(client);
    // One of the dialect behind a page: it is sent away.
    let behind = format!("GET / HTTP/1.1\r\nHost: x\r\n\r\n{REVERSE}");
    let said = door.say(&behind).await;
    assert!(
        said.contains("a page") && said.contains("421 Misdirected Request"),
        "{said}"
    );
    door.close().await;
}

#[tokio::test]
async fn plain_pages_are_sent_to_tls_and_machines_are_not() {
    let door = Door::open(front().with_tls(tls()).with_plain(Plain::Redirect)).await;
    let said = door
        .say("GET /a?b=c HTTP/1.1\r\nHost: farm.example.com\r\n\r\n")
        .await;
    assert!(
        said.starts_with("HTTP/1.1 302 Found\r\nLocation: https://farm.example.com/a?b=c\r\n"),
        "{said}"
    );
    let said = door.say("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert!(said.starts_with("HTTP/1.1 505 "), "{said}");
    let said = door.say("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n").await;
    assert!(said.contains("Location: https://[::1]:80/\r\n"), "{said}");
    for host in ["", "a b", "<x>"] {
        let said = door
            .say(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"))
            .await;
        assert!(said.starts_with("HTTP/1.1 404 "), "{host:?}: {said}");
    }
    assert!(door.say(REVERSE).await.starts_with("HTTP/1.1 101 "));
    let page = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert!(door.say_encrypted(&[], page).await.1.ends_with("a page"));
    door.close().await;
}

#[tokio::test]
async fn heads_that_two_readers_could_read_differently_are_refused() {
    let door = Door::open(front()).await;
    let long = "x".repeat(20_000);
    let many = "a: b\r\n".repeat(200);
    for (head, status) in [
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(), 400),
        ("POST /exec HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(), 400),
        ("POST /exec HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n".to_owned(), 400),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n".to_owned(), 501),
        ("GET / HTTP/1.1\r\nHost : x\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n".to_owned(), 400),
        ("GET /\r\nHost: x\r\n\r\n".to_owned(), 400),
        ("nonsense\r\n\r\n".to_owned(), 400),
        (format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"), 431),
        (format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n"), 431),
        (format!("GET / HTTP/1.1\r\nHost: x\r\nb: {}", long.repeat(4)), 431),
        (format!("GET / HTTP/1.1\r\nHost: x\r\n{many}"), 431),
    ] {
        let said = door.say(&head).await;
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{head:.80} {said}");
    }
    assert!(
        door.say("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .await
            .ends_with("a page")
    );
    door.close().await;
}

#[tokio::test]
async fn those_who_say_nothing_do_not_keep_others_out() {
    let limits = front::Limits {
        connections: 8,
        first_byte_when_crowded: Duration::from_millis(50),
        head: Duration::from_millis(200),
        ..front::Limits::default()
    };
    let door = Door::open(front().with_tls(tls()).with_limits(limits)).await;
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(door.address).await.unwrap());
    }
    // Some begin a head and never end it; one begins a handshake.
    let mut slow = TcpStream::connect(door.address).await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nHost:").await.unwrap();
    let page = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert!(door.say(page).await.ends_with("a page"));
    let mut said = String::new();
    timeout(LIMIT, slow.read_to_string(&mut said))
        .await
        .unwrap()
        .unwrap();
    assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
    door.close().await;
}
