//! The client against servers that misbehave in every way the protocol page names. Time is
//! tokio's paused clock; nothing here waits in earnest.

use std::cell::{Cell, RefCell};
use std::io;
use std::time::Duration;

use async_trait::async_trait;
use build_core::buildlet::{ExecEvent, ExecOutcome};
use build_core::h1::io::{Body as _, Exchange, Server};
use build_core::h1::{BodySize, Headers, Limits, ResponseHead};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::*;
use crate::transport::Connection;

type Served<'s> = Exchange<'s, DuplexStream>;

/// Connections within this process.
struct MemoryDial(mpsc::UnboundedSender<DuplexStream>);

#[async_trait]
impl Dial for MemoryDial {
    async fn dial(&self) -> io::Result<Connection> {
        let (near, far) = tokio::io::duplex(64 << 10);
        self.0
            .send(far)
            .map_err(|_| io::ErrorKind::ConnectionRefused)?;
        Ok(Box::new(near))
    }

    fn authority(&self) -> &str {
        "memory"
    }
}

/// A client, and the connections it makes.
fn client() -> (HttpBuildlet, mpsc::UnboundedReceiver<DuplexStream>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let client = HttpBuildlet::builder(MemoryDial(sender))
        .name("b1")
        .password("pw")
        .build();
    (client, receiver)
}

/// Serves every connection with `handler` until `story` ends.
async fn with_server<T>(
    mut connections: mpsc::UnboundedReceiver<DuplexStream>,
    handler: impl AsyncFn(Served<'_>),
    story: impl Future<Output = T>,
) -> T {
    let serve = |stream| async {
        let mut server = Server::new(stream, Limits::default());
        // A connection that the client cut is no matter of the test's.
        while let Ok(Some(exchange)) = server.next().await {
            handler(exchange).await;
        }
    };
    let everything = async {
        let mut served = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some(stream) = connections.recv() => served.push(serve(stream)),
                Some(()) = served.next() => {}
            }
        }
    };
    tokio::select! {
        result = story => result,
        () = everything => unreachable!("the server goes on for ever"),
    }
}

async fn answer(exchange: Served<'_>, status: u16, body: &str) {
    exchange
        .respond(ResponseHead::new(status), body.as_bytes())
        .await
        .unwrap();
}

/// Answers `/exec` or a log with some output, then ends it in a way.
async fn output(exchange: Served<'_>, body: &[u8], end: Ending) {
    let head = ResponseHead::new(200).with("Trailer", "Process-State");
    let mut writer = exchange.start(head, BodySize::Unknown).await.unwrap();
    writer.write(body).await.unwrap();
    match end {
        Ending::Cut => writer.abort(),
        Ending::Stall => std::future::pending().await,
        Ending::State("") => writer.finish(&Headers::new()).await.unwrap(),
        Ending::State(state) => writer
            .finish(&Headers::new().with("Process-State", state))
            .await
            .unwrap(),
    }
}

#[derive(Clone, Copy)]
enum Ending {
    Cut,
    Stall,
    State(&'static str),
}

async fn all(mut stream: ExecStream) -> (Vec<u8>, Result<ExecOutcome>) {
    let mut bytes = Vec::new();
    while let Some(event) = stream.next().await {
        match event {
            Ok(ExecEvent::Output(piece)) => bytes.extend_from_slice(&piece),
            Ok(ExecEvent::Ended(outcome)) => return (bytes, Ok(outcome)),
            Err(error) => return (bytes, Err(error)),
        }
    }
    panic!("the stream ended without an outcome");
}

#[tokio::test(start_paused = true)]
async fn one_connection_serves_calls_one_after_the_other() {
    let (client, mut connections) = client();
    let (sender, receiver) = mpsc::unbounded_channel();
    let count = Cell::new(0);
    let counted = async {
        while let Some(stream) = connections.recv().await {
            count.set(count.get() + 1);
            sender.send(stream).unwrap();
        }
        std::future::pending::<()>().await;
    };
    let story = async {
        for _ in 0..5 {
            assert_eq!(client.status().await.unwrap().version, 25);
            let output = client.exec(Exec::shell("x")).await.unwrap();
            assert_eq!(output.text(), "hi\n");
        }
    };
    let handler = async |exchange: Served<'_>| {
        assert_eq!(
            exchange.head().headers().get_str("Authorization"),
            Some("Basic Z29tb3RlOnB3")
        );
        assert_eq!(exchange.head().headers().get_str("Host"), Some("memory"));
        match exchange.head().path() {
            "/status" => answer(exchange, 200, "{\"Version\":25}").await,
            _ => output(exchange, b"hi\n", Ending::State("ok")).await,
        }
    };
    tokio::select! {
        () = with_server(receiver, handler, story) => {}
        () = counted => {}
    }
    assert_eq!(count.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_closed_idle_connection_is_replaced() {
    let (client, mut connections) = client();
    let story = async {
        for _ in 0..3 {
            assert_eq!(client.work_dir().await.unwrap(), "/work");
        }
    };
    // Each connection answers once and is closed without a word.
    let once_each = async {
        loop {
            let mut server = Server::new(connections.recv().await.unwrap(), Limits::default());
            answer(server.next().await.unwrap().unwrap(), 200, "/work").await;
        }
    };
    tokio::select! {
        () = story => {}
        () = once_each => unreachable!("the server goes on for ever"),
    }
}

#[tokio::test(start_paused = true)]
async fn an_output_without_its_last_word_is_the_machines_failure() {
    for ending in [Ending::State(""), Ending::Cut] {
        let (client, connections) = client();
        let handler = async |exchange: Served<'_>| output(exchange, b"half", ending).await;
        let story = async {
            let (bytes, outcome) = all(client.stream(Exec::shell("x")).await.unwrap()).await;
            assert_eq!(bytes, b"half");
            assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Unavailable);
            assert!(client.is_broken());
            assert_eq!(
                client.status().await.unwrap_err().kind(),
                ErrorKind::Unavailable
            );
        };
        with_server(connections, handler, story).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_truncated_download_is_an_error() {
    let (client, connections) = client();
    let handler = async |exchange: Served<'_>| output(exchange, b"half", Ending::Cut).await;
    let story = async {
        let error = collect(client.get_tar("src").await.unwrap())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(
            !client.is_broken(),
            "only commands are lost with their connection"
        );
    };
    with_server(connections, handler, story).await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_buildlet_ends_every_call_under_way() {
    let (client, connections) = client();
    let handler = async |exchange: Served<'_>| match exchange.head().path() {
        "/exec" | "/tgz" => output(exchange, b"one", Ending::Stall).await,
        // No status, and no answer to anything else.
        _ => std::future::pending().await,
    };
    let story = async {
        let begin = Instant::now();
        let exec = async { all(client.stream(Exec::shell("x")).await.unwrap()).await };
        let get = async { collect(client.get_tar("src").await.unwrap()).await };
        let paths = ["x".to_owned()];
        let remove = client.remove_all(&paths);
        let ((bytes, outcome), got, removed) = futures::future::join3(exec, get, remove).await;
        assert_eq!(bytes, b"one");
        for error in [outcome.unwrap_err(), got.unwrap_err(), removed.unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.chain());
            assert!(error.chain().contains("heart-beat"), "{}", error.chain());
        }
        // Three pauses, three waits for an answer; not three for each of the calls.
        assert_eq!(begin.elapsed().as_secs(), 60);
        assert!(client.is_broken());
    };
    with_server(connections, handler, story).await;
}

#[tokio::test(start_paused = true)]
async fn a_command_whose_start_is_not_confirmed_breaks_the_client() {
    let (client, connections) = client();
    let handler = async |_: Served<'_>| std::future::pending().await;
    let story = async {
        let begin = Instant::now();
        let error = client.stream(Exec::shell("x")).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{}", error.chain());
        assert_eq!(begin.elapsed().as_secs(), 10);
        assert!(client.is_broken());
    };
    with_server(connections, handler, story).await;
}

#[tokio::test(start_paused = true)]
async fn an_early_refusal_ends_an_endless_upload() {
    let (client, connections) = client();
    let handler = async |exchange: Served<'_>| answer(exchange, 403, "invalid password\n").await;
    let story = async {
        let endless = futures::stream::repeat_with(|| Ok(Bytes::from_static(&[7; 1 << 16])));
        let error = client.put_tar(Box::pin(endless), "src").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert!(
            error
                .chain()
                .ends_with("403 Forbidden; body: invalid password"),
            "{}",
            error.chain()
        );
    };
    with_server(connections, handler, story).await;
}

#[tokio::test(start_paused = true)]
async fn the_callers_own_error_ends_an_upload() {
    let (client, connections) = client();
    let handler = async |mut exchange: Served<'_>| {
        exchange.read_all(1 << 20).await.unwrap_err();
    };
    let story = async {
        let mine = Error::new(ErrorKind::Corrupt, "cannot read src.tgz");
        let pieces = futures::stream::iter([Ok(Bytes::from_static(b"half")), Err(mine)]);
        let error = client
            .put("src.tgz", 0o644, Box::pin(pieces))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    };
    with_server(connections, handler, story).await;
}

/// What the command of the next test writes.
const LOG: &[u8] = b"the quick brown fox jumps over the lazy dog";

#[tokio::test(start_paused = true)]
async fn a_cut_log_is_attached_again_at_the_right_byte() {
    for cuts in [
        vec![],
        vec![0, 0, 1],
        vec![7, 0, 20],
        (0..LOG.len()).map(|_| 1).collect(),
    ] {
        let (client, connections) = client();
        let remaining = RefCell::new(cuts.clone());
        let handler = async |exchange: Served<'_>| {
            let query = exchange.head().query().to_owned();
            let offset: usize = query
                .strip_prefix("follow=1&offset=")
                .unwrap()
                .parse()
                .unwrap();
            let cut = remaining.borrow_mut().pop();
            match cut {
                Some(bytes) => output(exchange, &LOG[offset..][..bytes], Ending::Cut).await,
                None => output(exchange, &LOG[offset..], Ending::State("exit status 3")).await,
            }
        };
        let story = async {
            let id = ExecId::new("e1").unwrap();
            let (bytes, outcome) = all(client.attach(&id, 0).await.unwrap()).await;
            assert_eq!(bytes, LOG, "cuts {cuts:?}");
            assert_eq!(outcome.unwrap(), ExecOutcome::Exit(3));
            assert!(!client.is_broken());
        };
        with_server(connections, handler, story).await;
    }
}

#[tokio::test(start_paused = true)]
async fn attaching_again_is_given_up_after_a_while() {
    let (client, connections) = client();
    let first = Cell::new(true);
    let handler = async |exchange: Served<'_>| {
        if first.replace(false) {
            output(exchange, b"x", Ending::Cut).await;
        } else {
            drop(exchange);
        }
    };
    let story = async {
        let begin = Instant::now();
        let (bytes, outcome) =
            all(client.attach(&ExecId::new("e1").unwrap(), 0).await.unwrap()).await;
        assert_eq!(bytes, b"x");
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Unavailable);
        assert!(
            (20..30).contains(&begin.elapsed().as_secs()),
            "{:?}",
            begin.elapsed()
        );
    };
    with_server(connections, handler, story).await;
}

#[tokio::test]
async fn a_socket_that_nobody_owns_is_a_dead_buildlet_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let dial = crate::transport::UnixDial::new(dir.path().join("none.sock"));
    let client = HttpBuildlet::builder(dial).build();
    assert_eq!(
        client.status().await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );
    assert!(client.is_broken());
}

#[tokio::test(start_paused = true)]
async fn closing_is_final_and_never_waits_long() {
    let (client, connections) = client();
    let handler = async |_: Served<'_>| std::future::pending().await;
    let story = async {
        let begin = Instant::now();
        client.close().await.unwrap();
        assert_eq!(begin.elapsed(), Duration::from_secs(2));
        assert!(
            client
                .status()
                .await
                .unwrap_err()
                .chain()
                .contains("closed")
        );
        client.close().await.unwrap();
    };
    with_server(connections, handler, story).await;
}
