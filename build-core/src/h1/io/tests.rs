//! Server and client shells against each other and against raw bytes, over an in-memory
//! stream. Nothing waits for time: an exchange that stalls fails at once.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::join;
use futures::task::LocalSpawnExt;
use futures_executor::LocalPool;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::clock::{ManualClock, Timestamp};
use crate::h1::{self, BodySize, Headers, Limits, RequestHead, ResponseHead};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Runs a future whose wakers are all inside it.
fn run<T: 'static>(future: impl Future<Output = T> + 'static) -> T {
    let mut pool = LocalPool::new();
    let result = Rc::new(Cell::new(None));
    let slot = result.clone();
    pool.spawner()
        .spawn_local(async move { slot.set(Some(future.await)) })
        .unwrap();
    pool.run_until_stalled();
    result.take().expect("the exchange stalls")
}

fn server(io: DuplexStream) -> Server<DuplexStream> {
    Server::new(io, Limits::default())
}

fn client(io: DuplexStream) -> Client<DuplexStream> {
    Client::new(io, Limits::default())
}

/// Answers every request with its own body, chunked, and a trailer.
async fn echo(io: DuplexStream) -> Result<Server<DuplexStream>, Error> {
    let mut server = server(io);
    while let Some(mut exchange) = server.next().await? {
        let body = exchange.read_all(1 << 20).await?;
        let head = ResponseHead::new(200).with("Trailer", "Process-State");
        let mut response = exchange.start(head, BodySize::Unknown).await?;
        for piece in body.chunks(1000) {
            response.write(piece).await?;
        }
        response
            .finish(&Headers::new().with("Process-State", "ok"))
            .await?;
    }
    Ok(server)
}

/// What a client receives at once from an answer of a held head, `pieces` and their end.
fn first_write(pieces: &'static [&'static str], flush: bool) -> String {
    run(async move {
        let (near, mut far) = duplex(4096);
        let mut server = server(near);
        far.write_all(b"GET / HTTP/1.1\r\nHost: \r\n\r\n")
            .await
            .unwrap();
        let exchange = server.next().await.unwrap().unwrap();
        let mut response = exchange
            .prepare(ResponseHead::new(200), BodySize::Unknown)
            .unwrap();
        response.write(b"").await.unwrap();
        assert!(response.is_held() && far.read_u8().now_or_never().is_none());
        if flush {
            response.flush().await.unwrap();
            response.flush().await.unwrap();
            assert!(!response.is_held());
        }
        for piece in pieces {
            response.write(piece.as_bytes()).await.unwrap();
        }
        response
            .finish(&Headers::new().with("T", "v"))
            .await
            .unwrap();
        drop(server);
        let mut received = String::new();
        far.read_to_string(&mut received).await.unwrap();
        received
    })
}

#[test]
fn a_held_head_comes_before_whatever_goes_first() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for flush in [false, true] {
        assert_eq!(first_write(&[], flush), format!("{head}0\r\nT: v\r\n\r\n"));
        let two = first_write(&["ab", "c"], flush);
        assert_eq!(two, format!("{head}2\r\nab\r\n1\r\nc\r\n0\r\nT: v\r\n\r\n"));
    }
}

#[test]
fn one_connection_carries_many_exchanges() -> Outcome {
    run(async {
        let (near, far) = duplex(100);
        let ask = async {
            let mut client = client(far);
            for size in [0, 1, 999, 1000, 5000, 100_000] {
                let body = vec![b'x'; size];
                let mut response = client
                    .send(&RequestHead::new("POST", "/exec"), Some(&body))
                    .await?;
                assert_eq!(response.status(), 200);
                assert_eq!(response.read_all(1 << 20).await?, body);
                assert_eq!(response.trailers().get_str("Process-State"), Some("ok"));
                assert!(client.is_reusable());
            }
            Ok::<_, Error>(())
        };
        let (served, asked) = join(echo(near), ask).await;
        served?;
        asked?;
        Ok(())
    })
}

#[test]
fn request_bodies_stream_in_chunks() -> Outcome {
    run(async {
        let (near, far) = duplex(64);
        let ask = async {
            let mut client = client(far);
            let head = RequestHead::new("PUT", "/writetgz?dir=go");
            let mut request = client.start(&head, BodySize::Unknown).await?;
            for _ in 0..50 {
                assert_eq!(request.write(&[7; 333]).await?, Flow::Continue);
            }
            let mut response = request.finish().await?;
            let mut all = Vec::new();
            response.reader().read_to_end(&mut all).await?;
            assert_eq!(all, vec![7; 50 * 333]);
            Ok::<_, Error>(())
        };
        let (served, asked) = join(echo(near), ask).await;
        served?;
        asked?;
        Ok(())
    })
}

#[test]
fn each_write_is_flushed_as_its_own_chunk() -> Outcome {
    run(async {
        let (near, mut far) = duplex(1 << 16);
        far.write_all(b"POST /exec HTTP/1.1\r\nHost: \r\n\r\n")
            .await?;
        let clock = ManualClock::at(Timestamp::from_seconds(1_795_358_659));
        let mut server = server(near).with_clock(Arc::new(clock));
        let exchange = server.next().await?.expect("a request");
        let head = ResponseHead::new(200).with("Trailer", "Process-State");
        let mut response = exchange.start(head, BodySize::Unknown).await?;
        let mut seen = vec![0; 1024];
        let count = far.read(&mut seen).await?;
        assert_eq!(
            std::str::from_utf8(&seen[..count])?,
            "HTTP/1.1 200 OK\r\nTrailer: Process-State\r\n\
             Date: Sun, 22 Nov 2026 14:44:19 GMT\r\nTransfer-Encoding: chunked\r\n\r\n",
        );
        for (piece, framed) in [
            ("out\n", "4\r\nout\n\r\n"),
            ("err\n/w/sub\n", "b\r\nerr\n/w/sub\n\r\n"),
        ] {
            response.write(piece.as_bytes()).await?;
            let count = far.read(&mut seen).await?;
            assert_eq!(std::str::from_utf8(&seen[..count])?, framed);
        }
        response
            .finish(&Headers::new().with("Process-State", "exit status 3"))
            .await?;
        let count = far.read(&mut seen).await?;
        assert_eq!(&seen[..count], b"0\r\nProcess-State: exit status 3\r\n\r\n");
        Ok(())
    })
}

#[test]
fn a_dropped_writer_aborts_the_answer() -> Outcome {
    run(async {
        let (near, far) = duplex(1024);
        let serve = async {
            let mut server = server(near);
            let exchange = server.next().await?.expect("a request");
            let mut response = exchange
                .start(ResponseHead::new(200), BodySize::Unknown)
                .await?;
            response.write(b"begun").await?;
            response.abort();
            assert!(server.next().await?.is_none());
            Ok::<_, Error>(())
        };
        let ask = async {
            let mut client = client(far);
            let mut response = client
                .send(&RequestHead::new("GET", "/tgz?dir="), None)
                .await?;
            assert_eq!(response.chunk().await?.as_deref(), Some(&b"begun"[..]));
            let error = response.chunk().await.unwrap_err();
            assert_eq!(error.protocol(), Some(&h1::Error::Truncated));
            assert!(!client.is_reusable());
            Ok::<_, Error>(())
        };
        let (served, asked) = join(serve, ask).await;
        served?;
        asked?;
        Ok(())
    })
}

#[test]
fn an_unanswered_request_closes_without_a_word() -> Outcome {
    run(async {
        let (near, far) = duplex(1024);
        let serve = async {
            let mut server = server(near);
            drop(server.next().await?);
            assert!(server.next().await?.is_none());
            Ok::<_, Error>(())
        };
        let ask = async {
            let mut client = client(far);
            let error = client
                .send(&RequestHead::new("GET", "/"), None)
                .await
                .unwrap_err();
            assert_eq!(error.protocol(), Some(&h1::Error::ClosedBeforeResponse));
        };
        let (served, ()) = join(serve, ask).await;
        served?;
        Ok(())
    })
}

#[test]
fn the_server_notices_a_client_that_leaves() -> Outcome {
    run(async {
        let (near, mut far) = duplex(1024);
        far.write_all(b"POST /exec HTTP/1.1\r\nHost: \r\nContent-Length: 0\r\n\r\n")
            .await?;
        let mut server = server(near);
        let exchange = server.next().await?.expect("a request");
        let mut response = exchange
            .start(ResponseHead::new(200), BodySize::Unknown)
            .await?;
        assert!(
            response.closed().now_or_never().is_none(),
            "the client is there"
        );
        response.write(b"output").await?;
        far.write_all(b"GET /next HTTP/1.1\r\n").await?;
        assert!(
            response.closed().now_or_never().is_none(),
            "a pipelined request is no farewell"
        );
        drop(far);
        assert!(response.closed().now_or_never().is_some());
        Ok(())
    })
}

#[test]
fn a_flood_of_pipelined_bytes_is_bounded() -> Outcome {
    run(async {
        let (near, mut far) = duplex(1 << 21);
        far.write_all(b"GET / HTTP/1.1\r\nHost: \r\n\r\n").await?;
        far.write_all(&vec![b'x'; 1 << 20]).await?;
        let mut server = server(near);
        let exchange = server.next().await?.expect("a request");
        let mut response = exchange
            .start(ResponseHead::new(200), BodySize::Unknown)
            .await?;
        assert!(response.closed().now_or_never().is_none());
        response.abort();
        let held = server.into_stream().into_parts().0.len();
        assert!(held < 1 << 18, "{held} bytes are held");
        Ok(())
    })
}

#[test]
fn an_answer_between_the_last_byte_and_the_end_is_not_early() -> Outcome {
    run(async {
        let (near, far) = duplex(1024);
        let mut server = server(near);
        let mut client = client(far);
        let head = RequestHead::new("PUT", "/write?mode=420&path=a");
        let mut request = client.start(&head, BodySize::Known(5)).await?;
        assert_eq!(request.write(b"hello").await?, Flow::Continue);
        let mut exchange = server.next().await?.expect("a request");
        assert_eq!(exchange.read_all(5).await?, "hello");
        exchange.respond(ResponseHead::new(200), b"OK").await?;
        assert_eq!(request.finish().await?.read_all(5).await?, "OK");
        assert!(client.is_reusable());
        Ok(())
    })
}

#[test]
fn idle_connections_give_their_buffers_back() -> Outcome {
    run(async {
        let (near, mut far) = duplex(1 << 20);
        far.write_all(b"PUT /write HTTP/1.1\r\nHost: \r\nContent-Length: 500000\r\n\r\n")
            .await?;
        far.write_all(&vec![0; 500_000]).await?;
        let mut server = server(near);
        let mut exchange = server.next().await?.expect("a request");
        assert_eq!(exchange.read_all(500_000).await?.len(), 500_000);
        exchange.respond(ResponseHead::new(200), b"OK").await?;
        assert!(server.ready().now_or_never().is_none());
        let kept = server.conn.buffer_mut().capacity();
        assert!(kept <= 8 * 1024, "{kept} bytes are kept");
        Ok(())
    })
}

#[test]
fn an_early_refusal_stops_the_upload() -> Outcome {
    run(async {
        let (near, far) = duplex(4096);
        let serve = async {
            let mut server = server(near);
            let exchange = server.next().await?.expect("a request");
            exchange
                .refuse(400, "requires gzip-compressed body")
                .await?;
            assert!(
                server.next().await?.is_none(),
                "nothing follows half a request"
            );
            server.close(1 << 30).await
        };
        let ask = async {
            let mut client = client(far);
            let head = RequestHead::new("PUT", "/writetgz");
            let mut request = client.start(&head, BodySize::Unknown).await?;
            let mut sent = 0u64;
            while request.write(&[0; 3000]).await? == Flow::Continue {
                sent += 3000;
                assert!(sent < 1 << 20, "the refusal is not seen");
            }
            let mut response = request.response().await?;
            assert_eq!(response.head().status_text(), "400 Bad Request");
            assert_eq!(
                response.head().headers().get_str("X-Content-Type-Options"),
                Some("nosniff")
            );
            assert_eq!(
                response.read_all(4096).await?,
                "requires gzip-compressed body\n"
            );
            assert!(!client.is_reusable());
            Ok::<_, Error>(())
        };
        let (served, asked) = join(serve, ask).await;
        asked?;
        served?;
        Ok(())
    })
}

#[test]
fn a_short_unread_body_is_drained_and_the_connection_lives() -> Outcome {
    run(async {
        let (near, far) = duplex(4096);
        let serve = async {
            let mut server = server(near);
            for _ in 0..2 {
                let exchange = server.next().await?.expect("a request");
                exchange.refuse(403, "invalid password").await?;
            }
            assert!(server.next().await?.is_none());
            Ok::<_, Error>(())
        };
        let ask = async {
            let mut client = client(far);
            for _ in 0..2 {
                let head = RequestHead::new("PUT", "/write?path=a&mode=420");
                let mut response = client.send(&head, Some(&[0; 2000])).await?;
                assert_eq!(response.read_all(100).await?, "invalid password\n");
            }
            Ok::<_, Error>(())
        };
        let (served, asked) = join(serve, ask).await;
        served?;
        asked?;
        Ok(())
    })
}

#[test]
fn a_client_that_waits_gets_its_go_ahead_when_the_body_is_read() -> Outcome {
    run(async {
        let (near, far) = duplex(4096);
        let ask = async {
            let mut client = client(far);
            let head = RequestHead::new("PUT", "/write").with("Expect", "100-continue");
            let mut request = client.start(&head, BodySize::Known(5)).await?;
            assert_eq!(request.go_ahead().await?, Flow::Continue);
            request.write(b"hello").await?;
            assert_eq!(request.finish().await?.read_all(10).await?, "hello");
            Ok::<_, Error>(())
        };
        let (served, asked) = join(echo(near), ask).await;
        served?;
        asked?;
        Ok(())
    })
}

#[test]
fn a_client_that_waits_may_be_refused_instead() -> Outcome {
    run(async {
        let (near, far) = duplex(4096);
        let serve = async {
            let mut server = server(near);
            let exchange = server.next().await?.expect("a request");
            exchange.refuse(403, "invalid password").await?;
            assert!(server.next().await?.is_none());
            Ok::<_, Error>(())
        };
        let ask = async {
            let mut client = client(far);
            let head = RequestHead::new("PUT", "/write").with("Expect", "100-continue");
            let mut request = client.start(&head, BodySize::Known(5)).await?;
            assert_eq!(request.go_ahead().await?, Flow::Answered);
            assert_eq!(request.response().await?.status(), 403);
            Ok::<_, Error>(())
        };
        let (served, asked) = join(serve, ask).await;
        served?;
        asked?;
        Ok(())
    })
}

#[test]
fn both_sides_take_over_after_a_switch_with_early_bytes() -> Outcome {
    run(async {
        let (near, mut far) = duplex(4096);
        far.write_all(b"GET /revdial?revdial.dialer=00 HTTP/1.1\r\nHost: \r\n\r\nearly")
            .await?;
        let mut server = server(near);
        let exchange = server.next().await?.expect("a request");
        drop(exchange.switch_protocols(&ResponseHead::new(101)).await?);
        assert!(server.next().await?.is_none() && server.is_switched());
        let mut stream = server.into_stream();
        let mut five = [0; 5];
        stream.read_exact(&mut five).await?;
        assert_eq!(&five, b"early");
        stream.write_all(b"{\"command\":\"keep-alive\"}\n").await?;

        let mut seen = vec![0; 1024];
        let count = far.read(&mut seen).await?;
        assert_eq!(
            &seen[..count],
            b"HTTP/1.1 101 Switching Protocols\r\n\r\n{\"command\":\"keep-alive\"}\n"
        );
        Ok(())
    })
}

#[test]
fn the_client_keeps_what_came_with_the_101() -> Outcome {
    run(async {
        let (mut near, far) = duplex(4096);
        near.write_all(b"HTTP/0.0 101 Switching Protocols\r\n\r\n{\"command\":\"keep-alive\"}\n")
            .await?;
        let mut client = client(far);
        let response = client
            .send(&RequestHead::new("GET", "/reverse"), None)
            .await?;
        assert_eq!(response.status(), 101);
        drop(response);
        assert!(client.is_switched() && !client.is_reusable());
        let mut line = [0; 25];
        client.into_stream().read_exact(&mut line).await?;
        assert_eq!(&line, b"{\"command\":\"keep-alive\"}\n");
        Ok(())
    })
}

#[test]
fn a_handler_can_use_the_switched_stream_itself() -> Outcome {
    run(async {
        let (near, far) = duplex(4096);
        let serve = async {
            let mut server = server(near);
            let exchange = server.next().await?.expect("a request");
            let head = ResponseHead::new(101)
                .with("Upgrade", "ssh")
                .with("Connection", "Upgrade");
            let mut stream = exchange.switch_protocols(&head).await?.into_stream();
            stream.write_all(b"SSH-2.0-x\r\n").await?;
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await?;
            assert_eq!(rest, b"hello");
            Ok::<_, Error>(())
        };
        let ask = async {
            let mut client = client(far);
            let head = RequestHead::new("POST", "/connect-ssh").with("X-Go-Ssh-User", "gopher");
            let mut stream = client
                .send(&head, Some(b""))
                .await?
                .into_stream()
                .expect("a 101");
            let mut banner = [0; 11];
            stream.read_exact(&mut banner).await?;
            assert_eq!(&banner, b"SSH-2.0-x\r\n");
            stream.write_all(b"hello").await?;
            stream.shutdown().await?;
            Ok::<_, Error>(())
        };
        let (served, asked) = join(serve, ask).await;
        served?;
        asked?;
        Ok(())
    })
}

#[test]
fn malformed_requests_are_answered_and_end_the_connection() -> Outcome {
    run(async {
        for (request, answer) in [
            ("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n"),
            (
                "GET / HTTP/3.0\r\n\r\n",
                "HTTP/1.1 505 HTTP Version Not Supported\r\n",
            ),
            (
                "GET / HTTP/1.1\r\nHost: \r\nExpect: x\r\n\r\n",
                "HTTP/1.1 417 Expectation Failed\r\n",
            ),
        ] {
            let (near, mut far) = duplex(4096);
            far.write_all(request.as_bytes()).await?;
            let mut server = server(near);
            assert!(server.next().await.unwrap_err().protocol().is_some());
            assert!(server.next().await?.is_none());
            drop(server);
            let mut seen = String::new();
            far.read_to_string(&mut seen).await?;
            assert!(
                seen.starts_with(answer) && seen.contains("\r\nConnection: close\r\n"),
                "{seen}"
            );
        }
        Ok(())
    })
}

#[test]
fn a_body_that_breaks_off_is_an_error_for_the_handler() -> Outcome {
    run(async {
        for cut in [
            "PUT / HTTP/1.1\r\nHost: \r\nContent-Length: 9\r\n\r\nabc",
            "PUT / HTTP/1.1\r\nHost: \r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        ] {
            let (near, mut far) = duplex(4096);
            far.write_all(cut.as_bytes()).await?;
            drop(far);
            let mut server = server(near);
            let mut exchange = server.next().await?.expect("a request");
            assert_eq!(exchange.chunk().await?.as_deref(), Some(&b"abc"[..]));
            let error = exchange.chunk().await.unwrap_err();
            assert_eq!(error.protocol(), Some(&h1::Error::Truncated));
            assert!(exchange.chunk().await.is_err(), "an error stays one");
        }
        Ok(())
    })
}

#[test]
fn collected_bodies_are_bounded() -> Outcome {
    run(async {
        let (near, mut far) = duplex(4096);
        far.write_all(b"POST / HTTP/1.1\r\nHost: \r\nContent-Length: 9\r\n\r\n123456789")
            .await?;
        let mut server = server(near);
        let mut exchange = server.next().await?.expect("a request");
        let error = exchange.read_all(8).await.unwrap_err();
        assert_eq!(
            error.protocol(),
            Some(&h1::Error::BodyTooLarge { limit: 8 })
        );
        Ok(())
    })
}

#[test]
fn a_write_that_was_cut_off_poisons_the_answer() -> Outcome {
    run(async {
        let (near, mut far) = duplex(256);
        far.write_all(b"GET / HTTP/1.1\r\nHost: \r\n\r\n").await?;
        let mut server = server(near);
        let exchange = server.next().await?.expect("a request");
        let mut response = exchange
            .start(ResponseHead::new(200), BodySize::Unknown)
            .await?;
        assert!(
            response.write(&[0; 1000]).now_or_never().is_none(),
            "the stream is full"
        );
        let error = response.write(b"more").await.unwrap_err();
        assert!(matches!(error.protocol(), Some(h1::Error::WrongState(_))));
        assert!(response.finish(&Headers::new()).await.is_err());
        assert!(server.next().await?.is_none());
        Ok(())
    })
}

#[test]
fn idle_ends_are_noticed_on_both_sides() -> Outcome {
    run(async {
        let (near, far) = duplex(256);
        let mut waiting = server(near);
        assert!(waiting.ready().now_or_never().is_none());
        let mut idle = client(far);
        assert!(idle.closed().now_or_never().is_none());
        drop(waiting);
        idle.closed().await;
        assert!(!idle.is_reusable());

        let (near, far) = duplex(256);
        drop(far);
        assert!(!server(near).ready().await?);
        Ok(())
    })
}

#[test]
fn the_server_can_be_waited_for_and_resumed() -> Outcome {
    run(async {
        let (near, mut far) = duplex(256);
        far.write_all(b"TP/1.1\r\nHost: \r\n\r\n").await?;
        let mut server = Server::resume(b"GET /status HT", near, Limits::default());
        assert!(server.ready().await?);
        let exchange = server.next().await?.expect("a request");
        assert_eq!(exchange.head().path(), "/status");
        exchange.respond(ResponseHead::new(200), b"{}").await?;
        assert!(server.ready().now_or_never().is_none());
        Ok(())
    })
}

/// One exchange of a random conversation.
#[derive(Debug, Clone)]
struct Turn {
    /// Pieces of the request body; `None`: a request without one.
    request: Option<Vec<usize>>,
    request_is_sized: bool,
    response: Vec<usize>,
    response_is_sized: bool,
    trailer: Option<String>,
}

fn turn() -> impl Strategy<Value = Turn> {
    let pieces = || proptest::collection::vec(0..600usize, 0..5);
    let fields = (
        proptest::option::of(pieces()),
        any::<bool>(),
        pieces(),
        any::<bool>(),
        proptest::option::of("[!-~]{1,9}"),
    );
    fields.prop_map(
        |(request, request_is_sized, response, response_is_sized, trailer)| Turn {
            request,
            request_is_sized,
            response,
            response_is_sized,
            trailer,
        },
    )
}

fn total(pieces: &[usize]) -> usize {
    pieces.iter().sum()
}

fn size_of(pieces: &[usize], is_sized: bool) -> BodySize {
    if is_sized {
        BodySize::Known(total(pieces) as u64)
    } else {
        BodySize::Unknown
    }
}

async fn play_server(io: DuplexStream, turns: Vec<Turn>) -> Result<(), Error> {
    let mut server = server(io);
    for turn in turns {
        let mut exchange = server.next().await?.expect("a request");
        let body = exchange.read_all(1 << 20).await?;
        assert_eq!(body.len(), total(&turn.request.unwrap_or_default()));
        let size = size_of(&turn.response, turn.response_is_sized);
        let mut response = exchange.start(ResponseHead::new(200), size).await?;
        for piece in &turn.response {
            response.write(&vec![b'r'; *piece]).await?;
        }
        let trailers: Headers = turn
            .trailer
            .iter()
            .map(|text| ("Process-State", text))
            .collect();
        response.finish(&trailers).await?;
    }
    assert!(server.next().await?.is_none());
    Ok(())
}

async fn play_client(io: DuplexStream, turns: Vec<Turn>) -> Result<(), Error> {
    let mut client = client(io);
    for turn in turns {
        let head = RequestHead::new("POST", "/exec");
        let mut response = match &turn.request {
            None => client.send(&head, None).await?,
            Some(pieces) => {
                let size = size_of(pieces, turn.request_is_sized);
                let mut request = client.start(&head, size).await?;
                for piece in pieces {
                    assert_eq!(request.write(&vec![b'q'; *piece]).await?, Flow::Continue);
                }
                request.finish().await?
            }
        };
        assert_eq!(
            response.read_all(1 << 20).await?,
            vec![b'r'; total(&turn.response)]
        );
        let trailer = turn.trailer.filter(|_| !turn.response_is_sized);
        assert_eq!(
            response.trailers().get_str("Process-State"),
            trailer.as_deref()
        );
        assert!(client.is_reusable());
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_conversation_comes_through_any_stream(
        turns in proptest::collection::vec(turn(), 0..6),
        capacity in 1..300usize,
    ) {
        let (near, far) = duplex(capacity);
        let (served, asked) =
            run(join(play_server(near, turns.clone()), play_client(far, turns)));
        prop_assert!(served.is_ok(), "{served:?}");
        prop_assert!(asked.is_ok(), "{asked:?}");
    }
}
