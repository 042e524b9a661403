//! The dialect against bytes that were observed between Go peers
//! (docs/protocol/buildlet.md), and against everything that must be refused.

use proptest::prelude::*;

use super::fuzz::decode;
use super::*;

const REVERSE: &[u8] = b"GET /reverse HTTP/1.1\r\n\
    Host: \r\n\
    User-Agent: Go-http-client/1.1\r\n\
    X-Go-Builder-Hostname: myhost\r\n\
    X-Go-Builder-Key: 2c3751c948a3f763672397642ac5515c\r\n\
    X-Go-Builder-Version: 25\r\n\
    X-Go-Host-Type: host-linux-foo\r\n\
    X-Revdial-Version: 2\r\n\
    \r\n";

const PICK_UP: &[u8] = b"GET /revdial?revdial.dialer=00112233445566778899aabbccddeeff HTTP/1.1\r\n\
    Host: \r\n\
    User-Agent: Go-http-client/1.1\r\n\
    \r\n";

const EXEC: &[u8] = b"POST /exec HTTP/1.1\r\n\
    Host: myhost\r\n\
    User-Agent: Go-http-client/1.1\r\n\
    Content-Length: 24\r\n\
    Content-Type: application/x-www-form-urlencoded\r\n\
    Accept-Encoding: gzip\r\n\
    \r\n\
    cmd=%2Fbin%2Fsh&mode=sys";

const EXEC_ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nTrailer: Process-State\r\n\
    Date: Sun, 22 Nov 2026 14:44:19 GMT\r\nTransfer-Encoding: chunked\r\n\r\n\
    4\r\nout\n\r\nb\r\nerr\n/w/sub\n\r\n0\r\nProcess-State: exit status 3\r\n\r\n";

/// All events of a connection that is fed `bytes` at once.
fn requests(bytes: &[u8]) -> Result<Vec<Event<RequestHead>>, Error> {
    let mut conn = ServerConn::new(Limits::default());
    conn.feed(bytes);
    let mut events = Vec::new();
    while let Some(event) = conn.poll_event()? {
        events.push(event);
    }
    Ok(events)
}

fn request(bytes: &[u8]) -> Result<RequestHead, Error> {
    match requests(bytes)?.into_iter().next() {
        Some(Event::Head(head)) => Ok(head),
        other => panic!("no request in {other:?}"),
    }
}

fn with_fields(fields: &str) -> Vec<u8> {
    format!("POST /x HTTP/1.1\r\nHost: h\r\n{fields}\r\n").into_bytes()
}

fn asked(method: &str) -> ClientConn {
    let mut conn = ClientConn::new(Limits::default());
    let head = RequestHead::new(method, "/x");
    conn.request(&head, BodySize::None, &mut Vec::new())
        .unwrap();
    conn.request_sent();
    conn
}

fn responses(method: &str, bytes: &[u8]) -> Result<Vec<Event<ResponseHead>>, Error> {
    let mut conn = asked(method);
    conn.feed(bytes);
    conn.feed_eof();
    let mut events = Vec::new();
    while let Some(event) = conn.poll_event()? {
        events.push(event);
    }
    Ok(events)
}

fn written(head: &RequestHead) -> Vec<u8> {
    let mut out = Vec::new();
    ClientConn::new(Limits::default())
        .request(head, BodySize::None, &mut out)
        .unwrap();
    out
}

#[test]
fn registration_reads_as_go_sends_it() {
    let head = request(REVERSE).unwrap();
    assert_eq!(
        (head.method(), head.target(), head.version()),
        ("GET", "/reverse", Version::HTTP_11)
    );
    assert_eq!(head.headers().get("host"), Some(&b""[..]));
    assert_eq!(
        head.headers().get_str("x-go-host-type"),
        Some("host-linux-foo")
    );
    assert_eq!(head.headers().len(), 7);
}

#[test]
fn registration_and_pick_up_are_written_as_go_writes_them() {
    let reverse = RequestHead::new("GET", "/reverse")
        .with("User-Agent", "Go-http-client/1.1")
        .with("X-Go-Builder-Hostname", "myhost")
        .with("X-Go-Builder-Key", "2c3751c948a3f763672397642ac5515c")
        .with("X-Go-Builder-Version", "25")
        .with("X-Go-Host-Type", "host-linux-foo")
        .with("X-Revdial-Version", "2");
    assert_eq!(written(&reverse), REVERSE);
    let target = "/revdial?revdial.dialer=00112233445566778899aabbccddeeff";
    let pick_up = RequestHead::new("GET", target).with("User-Agent", "Go-http-client/1.1");
    assert_eq!(written(&pick_up), PICK_UP);
    assert_eq!(pick_up.path(), "/revdial");
    assert_eq!(
        pick_up.query(),
        "revdial.dialer=00112233445566778899aabbccddeeff"
    );
}

#[test]
fn a_head_can_be_looked_at_without_taking_it() {
    let limits = Limits::default();
    for cut in 0..REVERSE.len() {
        assert_eq!(RequestHead::peek(&REVERSE[..cut], &limits), Ok(None));
    }
    let bytes = [REVERSE, b"more"].concat();
    assert_eq!(
        RequestHead::peek(&bytes, &limits),
        request(REVERSE).map(Some)
    );
    let small = limits.with_head_bytes(REVERSE.len() - 1);
    assert!(RequestHead::peek(&bytes, &small).is_err());
    assert!(RequestHead::peek(b"\x16\x03\x01\n", &limits).is_err());
}

#[test]
fn a_go_dialer_may_answer_http_0_0() {
    let hex = "485454502f302e302031303120537769746368696e672050726f746f636f6c730d0a0d0a";
    let answer = hex::decode(hex).unwrap();
    assert_eq!(answer, b"HTTP/0.0 101 Switching Protocols\r\n\r\n");
    let mut conn = asked("GET");
    conn.feed(&answer);
    conn.feed(b"{\"command\":\"keep-alive\"}\n");
    let Ok(Some(Event::Head(head))) = conn.poll_event() else {
        panic!()
    };
    assert_eq!((head.version(), head.status()), (Version::HTTP_00, 101));
    assert!(conn.is_switched() && !conn.is_reusable());
    assert_eq!(conn.poll_event(), Ok(None));
    assert_eq!(conn.take_leftover(), "{\"command\":\"keep-alive\"}\n");
}

#[test]
fn only_a_101_may_have_another_version() {
    let refused = ["HTTP/0.0 200 OK\r\n\r\n", "HTTP/2.0 200 OK\r\n\r\n"];
    for answer in refused {
        assert_eq!(
            responses("GET", answer.as_bytes()),
            Err(Error::UnsupportedVersion)
        );
    }
}

#[test]
fn switching_writes_a_head_alone_and_keeps_early_bytes() {
    let mut conn = ServerConn::new(Limits::default());
    conn.feed(b"POST /connect-ssh HTTP/1.1\r\nHost: \r\nContent-Length: 0\r\n\r\nSSH-2.0-x\r\n");
    let mut events = Vec::new();
    while let Some(event) = conn.poll_event().unwrap() {
        events.push(event);
    }
    assert_eq!(events.len(), 2, "{events:?}");
    let head = ResponseHead::new(101)
        .with("Upgrade", "ssh")
        .with("Connection", "Upgrade");
    let mut out = Vec::new();
    conn.switch_protocols(&head, &mut out).unwrap();
    assert_eq!(
        out,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: ssh\r\nConnection: Upgrade\r\n\r\n"
    );
    assert_eq!(conn.take_leftover(), "SSH-2.0-x\r\n");
    assert!(!conn.next_request());
}

#[test]
fn an_exec_answer_is_written_as_go_writes_it_without_te() {
    let mut conn = ServerConn::new(Limits::default());
    conn.feed(EXEC);
    let Ok(Some(Event::Head(request))) = conn.poll_event() else {
        panic!()
    };
    assert!(!request.headers().contains("TE"));
    assert_eq!(
        conn.poll_event(),
        Ok(Some(Event::Data("cmd=%2Fbin%2Fsh&mode=sys".into())))
    );
    assert_eq!(conn.poll_event(), Ok(Some(Event::End(Headers::new()))));
    let head = ResponseHead::new(200)
        .with("Trailer", "Process-State")
        .with("Date", "Sun, 22 Nov 2026 14:44:19 GMT");
    let mut out = Vec::new();
    let mut body = conn.respond(&head, BodySize::Unknown, &mut out).unwrap();
    assert!(body.carries_trailers());
    body.encode(b"out\n", &mut out).unwrap();
    body.encode(b"", &mut out).unwrap();
    body.encode(b"err\n/w/sub\n", &mut out).unwrap();
    body.finish(
        &Headers::new().with("Process-State", "exit status 3"),
        &mut out,
    )
    .unwrap();
    assert_eq!(out, EXEC_ANSWER);
    assert!(conn.next_request());
}

#[test]
fn an_exec_answer_reads_with_its_trailer() {
    let events = responses("POST", EXEC_ANSWER).unwrap();
    let [
        Event::Head(head),
        Event::Data(first),
        Event::Data(second),
        Event::End(trailers),
    ] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!(head.status_text(), "200 OK");
    assert_eq!(
        (&first[..], &second[..]),
        (&b"out\n"[..], &b"err\n/w/sub\n"[..])
    );
    assert_eq!(trailers.get_str("process-state"), Some("exit status 3"));
}

#[test]
fn a_truncated_exec_answer_is_an_error_at_every_cut() {
    for cut in 1..EXEC_ANSWER.len() {
        let cut_off = responses("POST", &EXEC_ANSWER[..cut]);
        assert_eq!(cut_off, Err(Error::Truncated), "cut after {cut} bytes");
    }
    assert_eq!(responses("POST", b""), Err(Error::ClosedBeforeResponse));
}

#[test]
fn pipelined_requests_wait_for_their_turn() {
    let mut conn = ServerConn::new(Limits::default());
    conn.feed(&[EXEC, b"GET /status HTTP/1.1\r\nHost: h\r\n\r\n"].concat());
    for target in ["/exec", "/status"] {
        let Ok(Some(Event::Head(head))) = conn.poll_event() else {
            panic!()
        };
        assert_eq!(head.target(), target);
        assert!(!conn.next_request(), "not answered");
        while !conn.is_body_read() {
            conn.poll_event().unwrap();
        }
        assert_eq!(conn.poll_event(), Ok(None));
        conn.respond(&ResponseHead::new(200), BodySize::None, &mut Vec::new())
            .unwrap();
        assert!(conn.next_request());
    }
    assert_eq!(conn.poll_event(), Ok(None));
    conn.feed_eof();
    assert_eq!(conn.poll_event(), Ok(Some(Event::Closed)));
}

#[test]
fn a_request_has_one_answer() {
    let mut conn = ServerConn::new(Limits::default());
    let head = ResponseHead::new(200);
    let mut out = Vec::new();
    let early = conn.respond(&head, BodySize::None, &mut out).unwrap_err();
    assert!(matches!(early, Error::WrongState(_)));
    conn.feed(REVERSE);
    conn.poll_event().unwrap();
    conn.respond(&head, BodySize::None, &mut out).unwrap();
    assert!(conn.respond(&head, BodySize::None, &mut out).is_err());
    assert_eq!(out, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
}

/// The list of what two readers could understand differently.
#[test]
fn ambiguous_requests_are_refused() {
    let fields: &[(&str, Error)] = &[
        (
            "Content-Length: 1\r\nContent-Length: 1\r\n",
            Error::InvalidContentLength,
        ),
        (
            "Content-Length: 1\r\nContent-Length: 2\r\n",
            Error::InvalidContentLength,
        ),
        ("Content-Length: 1, 1\r\n", Error::InvalidContentLength),
        ("Content-Length: +1\r\n", Error::InvalidContentLength),
        ("Content-Length: -1\r\n", Error::InvalidContentLength),
        ("Content-Length: 0x1\r\n", Error::InvalidContentLength),
        ("Content-Length: 1 1\r\n", Error::InvalidContentLength),
        ("Content-Length: \r\n", Error::InvalidContentLength),
        (
            "Content-Length: 18446744073709551616\r\n",
            Error::InvalidContentLength,
        ),
        (
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            Error::LengthAndEncoding,
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n",
            Error::LengthAndEncoding,
        ),
        (
            "Transfer-Encoding: gzip, chunked\r\n",
            Error::UnsupportedTransferEncoding,
        ),
        (
            "Transfer-Encoding: chunked, chunked\r\n",
            Error::UnsupportedTransferEncoding,
        ),
        (
            "Transfer-Encoding: identity\r\n",
            Error::UnsupportedTransferEncoding,
        ),
        (
            "Transfer-Encoding: xchunked\r\n",
            Error::UnsupportedTransferEncoding,
        ),
        (
            "Transfer-Encoding: \x0bchunked\r\n",
            Error::MalformedHead {
                reason: "field value",
            },
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            Error::UnsupportedTransferEncoding,
        ),
        ("Transfer-Encoding:\r\n", Error::UnsupportedTransferEncoding),
        (
            "Transfer-Encoding : chunked\r\n",
            Error::MalformedHead {
                reason: "field name",
            },
        ),
        (
            " Transfer-Encoding: chunked\r\n",
            Error::MalformedHead {
                reason: "field name",
            },
        ),
        (
            "X: a\r\n b\r\n",
            Error::MalformedHead {
                reason: "field name",
            },
        ),
        (
            "X: a\r\n\tb\r\n",
            Error::MalformedHead {
                reason: "field name",
            },
        ),
        ("X: a\nY: b\r\n", Error::BareLineFeed),
        (
            "X: a\rY: b\r\n",
            Error::MalformedHead {
                reason: "field value",
            },
        ),
        (
            "X: a\0b\r\n",
            Error::MalformedHead {
                reason: "field value",
            },
        ),
        (
            "X\r\n",
            Error::MalformedHead {
                reason: "field name",
            },
        ),
        (
            ": a\r\n",
            Error::MalformedHead {
                reason: "field name",
            },
        ),
        (
            "X\u{e9}: a\r\n",
            Error::MalformedHead {
                reason: "field name",
            },
        ),
        ("Host: h\r\n", Error::DuplicateHost),
        ("Expect: 200-ok\r\n", Error::UnsupportedExpectation),
    ];
    for (fields, error) in fields {
        assert_eq!(
            requests(&with_fields(fields)).as_ref(),
            Err(error),
            "{fields:?}"
        );
    }
}

#[test]
fn request_lines_are_strict() {
    let lines: &[(&str, Error)] = &[
        ("GET / HTTP/2.0", Error::UnsupportedVersion),
        ("GET / HTTP/0.9", Error::UnsupportedVersion),
        ("GET / HTTP/1.2", Error::UnsupportedVersion),
        (
            "GET  / HTTP/1.1",
            Error::MalformedHead {
                reason: "request line",
            },
        ),
        ("GET /a b HTTP/1.1", Error::UnsupportedVersion),
        (
            "GET /",
            Error::MalformedHead {
                reason: "request line",
            },
        ),
        (
            "GET /\u{e9} HTTP/1.1",
            Error::MalformedHead {
                reason: "request target",
            },
        ),
        (
            "G@T / HTTP/1.1",
            Error::MalformedHead {
                reason: "request line",
            },
        ),
        (
            " GET / HTTP/1.1",
            Error::MalformedHead {
                reason: "request line",
            },
        ),
    ];
    for (line, error) in lines {
        let block = format!("{line}\r\nHost: h\r\n\r\n");
        assert_eq!(request(block.as_bytes()).as_ref(), Err(error), "{line:?}");
    }
    assert_eq!(
        request(b"GET / HTTP/1.1\nHost: h\n\n"),
        Err(Error::BareLineFeed)
    );
    assert_eq!(
        request(b"\x16\x03\x01\x02\n"),
        Err(Error::BareLineFeed),
        "a TLS hello"
    );
}

#[test]
fn one_empty_line_before_a_request_is_skipped() {
    assert!(request(&[b"\r\n", REVERSE].concat()).is_ok());
    let two_empty = [b"\r\n\r\n", REVERSE].concat();
    let empty_start = Error::MalformedHead {
        reason: "empty start line",
    };
    assert_eq!(request(&two_empty), Err(empty_start.clone()));
    let mut conn = ServerConn::new(Limits::default());
    conn.feed(b"\r\n");
    assert_eq!(conn.poll_event(), Ok(None));
    conn.feed(b"\r\n");
    assert_eq!(conn.poll_event(), Err(empty_start), "in pieces too");
}

#[test]
fn host_lines_follow_the_policy() {
    let head = |host: &str, policy| {
        let mut conn = ServerConn::new(Limits::default()).with_host_policy(policy);
        conn.feed(format!("GET / HTTP/1.1\r\n{host}\r\n").as_bytes());
        conn.poll_event().map(|_| ())
    };
    let (absent, empty, named) = ("", "Host: \r\n", "Host: h\r\n");
    use HostPolicy::{Named, Optional, Present};
    for (host, policy) in [(absent, Present), (absent, Named), (empty, Named)] {
        assert_eq!(
            head(host, policy),
            Err(Error::MissingHost),
            "{host:?} {policy:?}"
        );
    }
    for (host, policy) in [
        (absent, Optional),
        (empty, Optional),
        (empty, Present),
        (named, Named),
    ] {
        assert_eq!(head(host, policy), Ok(()), "{host:?} {policy:?}");
    }
    assert!(
        request(b"GET / HTTP/1.0\r\n\r\n").is_ok(),
        "HTTP/1.0 needs none"
    );
}

#[test]
fn http_1_0_is_told_apart_and_never_kept_alive() {
    let mut conn = ServerConn::new(Limits::default());
    conn.feed(b"GET /exec HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let Ok(Some(Event::Head(head))) = conn.poll_event() else {
        panic!()
    };
    assert_eq!(head.version(), Version::HTTP_10);
    let mut out = Vec::new();
    let mut body = conn
        .respond(&ResponseHead::new(200), BodySize::Unknown, &mut out)
        .unwrap();
    assert!(!body.carries_trailers());
    body.encode(b"abc", &mut out).unwrap();
    body.finish(&Headers::new().with("Process-State", "ok"), &mut out)
        .unwrap();
    assert_eq!(out, b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc");
    conn.poll_event().unwrap();
    assert!(!conn.next_request());
    let chunked = b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(request(chunked), Err(Error::UnsupportedTransferEncoding));
}

#[test]
fn answers_close_when_the_connection_cannot_go_on() {
    let closing = [
        with_fields("Connection: close\r\n"),
        with_fields("Connection: Keep-Alive, Close\r\n"),
        with_fields("Content-Length: 9999999999\r\n"),
        with_fields("Expect: 100-continue\r\nContent-Length: 5\r\n"),
    ];
    for bytes in closing {
        let mut conn = ServerConn::new(Limits::default());
        conn.feed(&bytes);
        conn.poll_event().unwrap();
        let mut out = Vec::new();
        conn.respond(&ResponseHead::new(413), BodySize::Known(0), &mut out)
            .unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("\r\nConnection: close\r\n"), "{text}");
        assert!(!conn.keeps_alive());
    }
}

#[test]
fn continue_is_sent_once_and_only_when_waited_for() {
    let mut conn = ServerConn::new(Limits::default());
    conn.feed(&with_fields(
        "Expect: 100-continue\r\nContent-Length: 5\r\n",
    ));
    conn.poll_event().unwrap();
    let mut out = Vec::new();
    conn.send_continue(&mut out);
    conn.send_continue(&mut out);
    assert_eq!(out, b"HTTP/1.1 100 Continue\r\n\r\n");
    conn.feed(b"hello");
    assert_eq!(conn.poll_event(), Ok(Some(Event::Data("hello".into()))));
    conn.respond(&ResponseHead::new(200), BodySize::None, &mut out)
        .unwrap();
    assert!(conn.keeps_alive());

    let mut plain = ServerConn::new(Limits::default());
    plain.feed(EXEC);
    plain.poll_event().unwrap();
    let mut out = Vec::new();
    plain.send_continue(&mut out);
    assert!(out.is_empty());
}

#[test]
fn answers_without_body_have_none() {
    for (method, status, expected) in [
        ("HEAD", 200, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"),
        ("GET", 204, "HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", 304, "HTTP/1.1 304 Not Modified\r\n\r\n"),
    ] {
        let mut conn = ServerConn::new(Limits::default());
        conn.feed(format!("{method} / HTTP/1.1\r\nHost: \r\n\r\n").as_bytes());
        conn.poll_event().unwrap();
        let mut out = Vec::new();
        let mut body = conn
            .respond(&ResponseHead::new(status), BodySize::Known(3), &mut out)
            .unwrap();
        body.encode(b"abc", &mut out).unwrap();
        body.finish(&Headers::new(), &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        let events = responses(method, expected.as_bytes()).unwrap();
        assert_eq!(events[1..], [Event::End(Headers::new())]);
    }
}

#[test]
fn declared_lengths_are_kept() {
    let mut out = Vec::new();
    let mut conn = ClientConn::new(Limits::default());
    let head = RequestHead::new("PUT", "/write?mode=420&path=a%2Fb+c.txt");
    let mut body = conn.request(&head, BodySize::Known(5), &mut out).unwrap();
    body.encode(b"abc", &mut out).unwrap();
    assert_eq!(
        body.encode(b"defg", &mut out),
        Err(Error::LengthMismatch { by: 2 })
    );
    assert_eq!(
        body.finish(&Headers::new(), &mut out),
        Err(Error::LengthMismatch { by: 2 })
    );
    assert_eq!(
        out,
        b"PUT /write?mode=420&path=a%2Fb+c.txt HTTP/1.1\r\nHost: \r\nContent-Length: 5\r\n\r\nabc"
    );
}

#[test]
fn a_client_connection_is_reused_only_when_clean() {
    let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let finish = |answer: &[u8]| {
        let mut conn = asked("GET");
        conn.feed(answer);
        while conn.poll_event().unwrap().is_some() {}
        conn
    };
    assert!(finish(ok).is_reusable());
    assert!(!finish(&ok[..ok.len() - 1]).is_reusable(), "body unread");
    assert!(
        !finish(&[ok, &b"HTTP/1.1 408 x\r\n\r\n"[..]].concat()).is_reusable(),
        "unasked bytes"
    );
    assert!(
        !finish(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").is_reusable()
    );
    assert!(!finish(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n").is_reusable());

    let mut early = ClientConn::new(Limits::default());
    let head = RequestHead::new("PUT", "/writetgz");
    early
        .request(&head, BodySize::Unknown, &mut Vec::new())
        .unwrap();
    early.feed(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    while early.poll_event().unwrap().is_some() {}
    assert!(!early.is_reusable(), "the request was never finished");
    assert!(matches!(
        early.request(&head, BodySize::None, &mut Vec::new()),
        Err(Error::WrongState(_))
    ));
}

#[test]
fn interim_answers_are_passed_by_and_bounded() {
    let interim = b"HTTP/1.1 100 Continue\r\n\r\n";
    let fine = [
        &interim[..],
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ]
    .concat();
    let events = responses("POST", &fine).unwrap();
    assert_eq!(events[0], Event::Interim(100));
    assert_eq!(events.len(), 3);
    let endless = interim.repeat(17);
    assert!(matches!(
        responses("POST", &endless),
        Err(Error::MalformedHead { .. })
    ));
}

#[test]
fn answers_without_length_run_to_the_end() {
    let events = responses("GET", b"HTTP/1.1 200 OK\r\n\r\nall of it").unwrap();
    assert_eq!(
        events[1..],
        [Event::Data("all of it".into()), Event::End(Headers::new())]
    );
    assert_eq!(
        responses("GET", b"HTTP/1.1 200\r\n\r\n").unwrap().len(),
        2,
        "reason may be missing"
    );
}

#[test]
fn status_lines_are_strict() {
    for line in [
        "HTTP/1.1 20 OK",
        "HTTP/1.1 2000",
        "HTTP/1.1  200 OK",
        "HTTP/1.1 099 x",
        "HTTP/11 200 OK",
        "http/1.1 200 OK",
        "HTTP/1.1 200 a\0b",
        "HTTP/a.1 101 x",
    ] {
        let result = responses("GET", format!("{line}\r\n\r\n").as_bytes());
        assert_eq!(
            result,
            Err(Error::MalformedHead {
                reason: "status line"
            }),
            "{line:?}"
        );
    }
}

#[test]
fn limits_hold() {
    let long = with_fields(&format!("X: {}\r\n", "a".repeat(64 * 1024)));
    assert_eq!(
        requests(&long),
        Err(Error::HeadTooLarge { limit: 64 * 1024 })
    );
    let many = with_fields(&"X: a\r\n".repeat(100));
    assert_eq!(requests(&many), Err(Error::TooManyFields { limit: 100 }));
    assert!(requests(&with_fields(&"X: a\r\n".repeat(99))).is_ok());
    assert_eq!(Error::HeadTooLarge { limit: 1 }.status(), 431);

    let chunked = |body: &str| decode(Framing::Chunked, body.as_bytes(), 7);
    let trailers = format!("0\r\nX: {}\r\n\r\n", "a".repeat(16 * 1024));
    assert_eq!(
        chunked(&trailers),
        Err(Error::TrailersTooLarge { limit: 16 * 1024 })
    );
    let extension = format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(300));
    assert_eq!(
        chunked(&extension),
        Err(Error::ChunkLineTooLong { limit: 256 })
    );
}

#[test]
fn chunk_lines_are_strict() {
    for bad in [
        "g\r\n",
        "0x1\r\n",
        "+1\r\n",
        "-1\r\n",
        " 1\r\n",
        "1 \r\n",
        "1 ;x\r\n",
        "\r\n",
        ";x\r\n",
        "1\n",
        "00000000000000001\r\n",
        "1;a\0\r\n",
    ] {
        assert_eq!(
            decode(Framing::Chunked, bad.as_bytes(), 1),
            Err(Error::BadChunkSize),
            "{bad:?}"
        );
    }
    for bad in ["1\r\nab", "1\r\na\n", "1\r\na\r\r\n", "1\r\n\r\n\n"] {
        assert_eq!(
            decode(Framing::Chunked, bad.as_bytes(), 1),
            Err(Error::BadChunkEnd),
            "{bad:?}"
        );
    }
    let (body, _) = decode(
        Framing::Chunked,
        b"A;name=\"v\"\r\n0123456789\r\n0;x\r\n\r\n",
        3,
    )
    .unwrap();
    assert_eq!(body, b"0123456789");
    assert_eq!(
        decode(Framing::Chunked, b"ffffffffffffffff\r\nab", 1),
        Err(Error::Truncated)
    );
}

#[test]
fn trailers_are_strict_too() {
    let fields = |text: &str| decode(Framing::Chunked, format!("0\r\n{text}\r\n").as_bytes(), 2);
    assert_eq!(fields("X: a\n"), Err(Error::BareLineFeed));
    assert!(matches!(
        fields("X: a\r\n b\r\n"),
        Err(Error::MalformedHead { .. })
    ));
    assert!(matches!(
        fields("nothing\r\n"),
        Err(Error::MalformedHead { .. })
    ));
    assert_eq!(fields("X: a\r\n").unwrap().1.get_str("x"), Some("a"));
}

#[test]
fn trailers_cannot_carry_framing() {
    let body = BodyEncoder::new(super::encode::Kind::Chunked);
    let trailers = Headers::new().with("Content-Length", "3");
    let result = body.finish(&trailers, &mut Vec::new());
    assert_eq!(
        result,
        Err(Error::UnwritableField {
            name: "Content-Length".into()
        })
    );
}

#[test]
fn start_lines_that_would_split_a_message_are_refused() {
    for head in [
        RequestHead::new("GET", "/a b"),
        RequestHead::new("GET", "/a\r\n"),
        RequestHead::new("G T", "/"),
        RequestHead::new("GET", ""),
    ] {
        let mut conn = ClientConn::new(Limits::default());
        let result = conn.request(&head, BodySize::None, &mut Vec::new());
        assert_eq!(
            result.map(|_| ()),
            Err(Error::UnwritableStartLine),
            "{head:?}"
        );
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_alike_whole_and_split(data in proptest::collection::vec(any::<u8>(), 0..300)) {
        fuzz_head(&data);
        fuzz_chunks(&data);
        fuzz_body(&data);
    }

    #[test]
    fn damaged_messages_are_read_alike_whole_and_split(
        which in 0..3usize, at in any::<prop::sample::Index>(), byte in any::<u8>(), step in any::<u8>(),
    ) {
        let mut data = [REVERSE, EXEC, EXEC_ANSWER][which].to_vec();
        let at = at.index(data.len());
        data[at] = byte;
        fuzz_head(&data);
        let body = EXEC_ANSWER.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
        let mut chunks = vec![step];
        chunks.extend_from_slice(&EXEC_ANSWER[body..]);
        let at = 1 + at % (chunks.len() - 1);
        chunks[at] = byte;
        fuzz_chunks(&chunks);
    }

    #[test]
    fn chunks_and_trailers_come_back(
        pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..70), 0..8),
        value in "[!-~]([ -~]{0,20}[!-~])?",
        step in 1..40usize,
    ) {
        let mut encoder = BodyEncoder::new(super::encode::Kind::Chunked);
        let mut out = Vec::new();
        for piece in &pieces {
            encoder.encode(piece, &mut out).unwrap();
        }
        let trailers = Headers::new().with("Process-State", &value);
        encoder.finish(&trailers, &mut out).unwrap();
        let (body, got) = decode(Framing::Chunked, &out, step).unwrap();
        prop_assert_eq!(body, pieces.concat());
        prop_assert_eq!(got, trailers);
    }

    #[test]
    fn heads_come_back(
        fields in proptest::collection::vec(("[A-Za-z][A-Za-z0-9-]{0,12}", "([!-~\u{e0}-\u{ff}]([ -~]{0,20}[!-~])?)?"), 0..20),
        target in "/[!-~]{0,40}",
    ) {
        let fields: Vec<_> = fields
            .into_iter()
            .filter(|(name, _)| !["host", "content-length", "transfer-encoding", "expect", "connection"].contains(&&*name.to_lowercase()))
            .collect();
        let mut head = RequestHead::new("PUT", &target).with("Host", "h");
        for (name, value) in &fields {
            head.headers_mut().append(name, value);
        }
        prop_assert_eq!(request(&written(&head)), Ok(head));
    }
}
