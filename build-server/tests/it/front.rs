//! The front under those who say nothing, too little, too much, or take nothing.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use build_core::h1::RequestHead;
use build_server::front::{Dialect, Front, Limits, Peer, Quirks, Services, Stream};
use build_server::supervise::Supervisor;
use bytes::Bytes;
use futures::StreamExt as _;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// How long a test waits for what must come.
const LIMIT: Duration = Duration::from_secs(20);
const PAGE: &str = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

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

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends some bytes and reads to the end.
    async fn say(&self, words: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect().await;
        stream.write_all(words.as_ref()).await.unwrap();
        hear(&mut stream).await
    }

    async fn http2(&self) -> http2::SendRequest<Empty<Bytes>> {
        let io = TokioIo::new(self.connect().await);
        let mut client = http2::Builder::new(TokioExecutor::new());
        // A peer that takes little: one stream fills it.
        client.initial_stream_window_size(4096);
        let (send, connection) = client.handshake(io).await.unwrap();
        // Ends with the connection, whose end the test sees.
        tokio::spawn(connection);
        send
    }

    async fn close(self) {
        self.stop.cancel();
        self.tasks.drain(LIMIT).await.unwrap();
    }
}

/// Everything up to the end of a connection.
async fn hear(stream: &mut TcpStream) -> String {
    let mut said = Vec::new();
    // A reset after the answer is an end as well.
    let _ = timeout(LIMIT, stream.read_to_end(&mut said))
        .await
        .expect("the door answers or ends");
    String::from_utf8_lossy(&said).into_owned()
}

/// An answer without an end, of which `first` is given at once.
fn endless(kind: &'static str, first: usize) -> impl IntoResponse {
    let first = futures::stream::iter([Ok::<_, Infallible>(Bytes::from(vec![b'x'; first]))]);
    let body = Body::from_stream(first.chain(futures::stream::pending()));
    ([(header::CONTENT_TYPE, kind)], body)
}

/// An answer of which there is always more.
fn plenty() -> impl IntoResponse {
    let piece = Bytes::from_static(&[b'x'; 8192]);
    Body::from_stream(futures::stream::repeat(Ok::<_, Infallible>(piece)))
}

fn pages() -> Services {
    let pages = Router::new()
        .route("/", get(async || "a page"))
        .route(
            "/read",
            post(async |body: Bytes| format!("{} bytes", body.len())),
        )
        .route("/events", get(async || endless("text/event-stream", 1)))
        .route("/plenty", get(async || plenty()));
    Services::new().with_pages(pages)
}

fn get_of(path: &str) -> Request<Empty<Bytes>> {
    let uri = format!("http://x{path}");
    Request::get(uri).body(Empty::new()).unwrap()
}

/// A request for a page, then another one on the same connection.
fn second(request: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: x\r\n\r\n{request}")
}

const SMUGGLED: [&str; 9] = [
    "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "GET / HTTP/1.1\nHost: x\n\n",
    "GET / HTTP/1.1\r\nHost: x\n\r\n",
    "POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "GET / HTTP/1.1\r\n\r\n",
];

#[tokio::test]
async fn every_head_of_a_connection_is_read_strictly() {
    let door = Door::open(Front::new(pages())).await;
    for words in SMUGGLED {
        let said = door.say(words).await;
        assert!(
            said.starts_with("HTTP/1.1 400 ") || said.starts_with("HTTP/1.1 501 "),
            "{words:?}: {said}"
        );
        let said = door.say(second(words)).await;
        assert!(said.starts_with("HTTP/1.1 200 "), "{words:?}: {said}");
        assert_eq!(
            said.matches("HTTP/1.1 400 ").count(),
            1,
            "{words:?}: {said}"
        );
        assert_eq!(
            said.matches("HTTP/1.1 200 ").count(),
            1,
            "{words:?}: {said}"
        );
    }
    door.close().await;

    // The control: without it the server of pages answers most of them.
    let mut quirks = Quirks::default();
    quirks.first_head_only = true;
    let limits = Limits {
        stall: Duration::from_millis(300),
        ..Limits::default()
    };
    let door = Door::open(Front::new(pages()).with_limits(limits).with_quirks(quirks)).await;
    let mut lax = 0;
    for words in SMUGGLED {
        let said = door.say(second(words)).await;
        lax += usize::from(said.matches("HTTP/1.1 200 ").count() == 2);
    }
    assert!(lax >= 4, "{lax}");
    door.close().await;
}

#[tokio::test]
async fn bodies_of_every_framing_reach_their_pages() {
    let door = Door::open(Front::new(pages())).await;
    let requests = "POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde\
        \r\nPOST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n3;x=y\r\nefg\r\n0\r\nA: b\r\n\r\n\
        GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let said = door.say(requests).await;
    for part in ["5 bytes", "7 bytes", "a page"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // The same byte by byte.
    let mut stream = door.connect().await;
    stream.set_nodelay(true).unwrap();
    for byte in requests.as_bytes() {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(hear(&mut stream).await.matches("HTTP/1.1 200 ").count(), 3);
    // A chunk that is none ends the connection.
    let broken =
        "POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\nabcd\r\n0\r\n\r\n";
    assert!(!door.say(broken).await.contains("HTTP/1.1 200 "));
    door.close().await;
}

/// Opens as many connections as a client of this process can, whatever the shell allows.
fn allow_descriptors(wanted: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let more = Rlimit {
        current: now
            .maximum
            .map_or(Some(wanted), |most| Some(most.min(wanted))),
        maximum: now.maximum,
    };
    if now.current.is_some_and(|current| current < wanted) {
        setrlimit(Resource::Nofile, more).unwrap();
    }
    let now = getrlimit(Resource::Nofile).current;
    assert!(now.is_none_or(|now| now >= wanted), "descriptors: {now:?}");
}

#[tokio::test]
async fn a_thousand_who_say_too_little_keep_nobody_out() {
    // `.ci/run soak` says more.
    let many = std::env::var("FARMER_HALF_OPEN").map_or(1000, |text| text.parse().unwrap());
    allow_descriptors((2 * many as u64 + 600).max(4096));
    let limits = Limits {
        connections: many + 24,
        head: Duration::from_millis(700),
        ..Limits::default()
    };
    let door = Door::open(Front::new(pages()).with_limits(limits)).await;
    let openings: [&[u8]; 5] = [
        b"",
        b"G",
        b"GET / HTTP/1.1\r\nHost: x\r\n",
        b"PRI * HTTP/2.0\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
    ];
    let mut slow = Vec::new();
    for n in 0..many {
        let mut stream = door.connect().await;
        stream
            .write_all(openings[n % openings.len()])
            .await
            .unwrap();
        slow.push(stream);
        if n % (many / 10) == many / 10 - 1 {
            let begun = Instant::now();
            assert!(door.say(PAGE).await.ends_with("a page"), "after {n}");
            assert!(
                begun.elapsed() < LIMIT / 2,
                "after {n}: {:?}",
                begun.elapsed()
            );
        }
    }
    // Slow ones that go on byte by byte have no more time than the others.
    let mut loris = door.connect().await;
    loris.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let dripping = async {
        let mut written = 0;
        while loris.write_all(b"a: b\r\n").await.is_ok() {
            written += 1;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        written
    };
    let written = timeout(LIMIT, dripping).await.expect("the door ends it");
    assert!(written < 128, "{written} lines");
    // Whoever began something was told that it took too long, or was let go.
    for (n, stream) in slow.iter_mut().enumerate().skip(2).step_by(5).take(20) {
        let said = hear(stream).await;
        assert!(said.starts_with("HTTP/1.1 408 "), "{n}: {said}");
    }
    assert!(door.say(PAGE).await.ends_with("a page"));
    door.close().await;
}

#[tokio::test]
async fn half_a_preface_is_not_waited_for() {
    let limits = Limits {
        head: Duration::from_millis(100),
        ..Limits::default()
    };
    let door = Door::open(Front::new(pages()).with_limits(limits)).await;
    for begun in ["P", "PRI * HTTP/2.0\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r"] {
        door.say(begun).await;
    }
    let answer = door.http2().await.send_request(get_of("/")).await.unwrap();
    let page = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(page, "a page");
    door.close().await;
}

#[tokio::test]
async fn answers_that_nobody_takes_are_ended() {
    let limits = Limits {
        stall: Duration::from_millis(200),
        streams: 100,
        ..Limits::default()
    };
    let door = Door::open(Front::new(pages()).with_limits(limits)).await;
    let mut send = door.http2().await;
    let mut stalled = Vec::new();
    for _ in 0..40 {
        send.ready().await.unwrap();
        stalled.push(send.send_request(get_of("/plenty")).await.unwrap());
    }
    // Another connection, which HTTP/1 cannot share: it fills what the system holds for it.
    let mut deaf = door.connect().await;
    deaf.write_all(b"GET /plenty HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let ended = async {
        for answer in stalled {
            // Everything that was sent, then the end of the stream as an error.
            let mut body = answer.into_body();
            tokio::time::sleep(Duration::from_millis(400)).await;
            loop {
                match body.frame().await {
                    Some(Ok(_)) => {}
                    Some(Err(_)) => break,
                    None => panic!("an endless answer has ended well"),
                }
            }
        }
    };
    // The last ones are ended while the first ones are read: all within their time.
    timeout(LIMIT, ended)
        .await
        .expect("stalled answers are ended");
    let mut said = Vec::new();
    let end = timeout(LIMIT, deaf.read_to_end(&mut said)).await;
    assert!(end.is_ok(), "a deaf client keeps its connection");
    door.close().await;
}

#[tokio::test]
async fn open_answers_are_counted_and_those_without_end_apart() {
    let limits = Limits {
        streams: 6,
        lasting_streams: 3,
        ..Limits::default()
    };
    let door = Door::open(Front::new(pages()).with_limits(limits)).await;
    let mut send = door.http2().await;
    let mut open = Vec::new();
    for n in 0..6 {
        send.ready().await.unwrap();
        let answer = send.send_request(get_of("/events")).await.unwrap();
        let expected = if n < 3 {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        assert_eq!(answer.status(), expected, "{n}");
        if n < 3 {
            open.push(answer);
        } else {
            assert!(answer.headers().contains_key(header::RETRY_AFTER));
        }
    }
    // Pages have places of their own.
    assert!(door.say(PAGE).await.ends_with("a page"));
    let mut plain = Vec::new();
    for _ in 0..3 {
        let mut stream = door.connect().await;
        let request = b"GET /plenty HTTP/1.1\r\nHost: x\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        plain.push(stream);
    }
    let said = door.say(PAGE).await;
    assert!(said.starts_with("HTTP/1.1 503 "), "{said}");
    // Who leaves makes room.
    drop(plain);
    let room = async {
        while !door.say(PAGE).await.ends_with("a page") {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, room).await.expect("places are given back");
    drop(open);
    door.close().await;
}

impl Door {
    /// A connection from another address of this machine, which stands for one far away.
    async fn connect_from(&self, last: u8) -> TcpStream {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, last], 0).into()).unwrap();
        socket.connect(self.address).await.unwrap()
    }

    async fn say_from(&self, last: u8, words: &str) -> String {
        let mut stream = self.connect_from(last).await;
        // It may be closed before it has said anything.
        let _ = stream.write_all(words.as_bytes()).await;
        hear(&mut stream).await
    }
}

#[tokio::test]
async fn no_address_takes_everything_and_the_owner_is_served_first() {
    let limits = Limits {
        connections: 64,
        connections_of_address: 20,
        streams_of_address: 4,
        lasting_streams_of_address: 2,
        ..Limits::default()
    };
    let quirks = {
        let mut quirks = Quirks::default();
        quirks.far_loopback = true;
        quirks
    };
    let front = Front::new(pages()).with_limits(limits).with_quirks(quirks);
    let door = Door::open(front).await;

    // Streams: two of one address, and another address has its own.
    let mut open = Vec::new();
    for (from, is_open) in [(2, true), (2, true), (2, false), (3, true)] {
        let mut stream = door.connect_from(from).await;
        let request = b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.unwrap();
        assert_eq!(&first == b"HTTP/1.1 200", is_open, "{from}");
        open.push(stream);
    }
    for _ in 0..2 {
        let mut stream = door.connect_from(2).await;
        let request = b"GET /plenty HTTP/1.1\r\nHost: x\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.unwrap();
        open.push(stream);
    }
    let refused = door.say_from(2, PAGE).await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert!(door.say_from(3, PAGE).await.ends_with("a page"));
    assert!(door.say(PAGE).await.ends_with("a page"));
    drop(open);

    // Connections that say nothing: some of each address, and not the last ones of all.
    let mut silent = Vec::new();
    for from in 2..6 {
        for _ in 0..20 {
            silent.push(door.connect_from(from).await);
        }
    }
    let closed = async {
        let mut closed = 0;
        for stream in &mut silent {
            let mut byte = [0];
            let read = timeout(Duration::from_millis(20), stream.read(&mut byte));
            closed += usize::from(read.await.is_ok());
        }
        closed
    };
    // Sixty-four places less four that are kept, whoever came first.
    assert!(closed.await >= 20, "far ones have taken what is kept");
    assert_eq!(door.say_from(2, PAGE).await, "", "its share is taken");
    for _ in 0..3 {
        assert!(door.say(PAGE).await.ends_with("a page"));
    }
    drop(silent);
    let room = async {
        while !door.say_from(2, PAGE).await.ends_with("a page") {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, room).await.expect("places are given back");
    door.close().await;
}

#[tokio::test]
async fn the_first_dialect_that_takes_a_request_serves_it() {
    struct Named(&'static str, &'static str);
    #[async_trait]
    impl Dialect for Named {
        fn takes(&self, head: &RequestHead) -> bool {
            head.path().starts_with(self.0)
        }

        async fn serve(&self, mut stream: Stream, peer: Peer) {
            assert!(peer.local && !peer.encrypted);
            stream.write_all(self.1.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    }
    let services = pages()
        .with_dialect(Named("/a/b", "first"))
        .with_dialect(Named("/a", "second"))
        .with_pages(Router::new().route("/more", get(async || "more pages")));
    let door = Door::open(Front::new(services)).await;
    for (path, answer) in [
        ("/a/b", "first"),
        ("/a", "second"),
        ("/more", "more pages"),
        ("/", "a page"),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n");
        let said = door.say(request).await;
        assert!(said.ends_with(answer), "{path}: {said}");
    }
    door.close().await;
}
