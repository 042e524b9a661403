//! The state machines, byte by byte.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::line::is_target;
use super::*;

const ID: [u8; 16] = [
    0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff,
];

fn dialer(now: Instant) -> DialerConn {
    DialerConn::new(DialerId::from_entropy(ID), "/revdial", now)
}

/// Takes what the connection sends.
fn sent(dialer: &mut DialerConn, now: Instant) -> String {
    let text = String::from_utf8(dialer.output().to_vec()).unwrap();
    dialer.advance(text.len(), now);
    text
}

fn path_of(line: &str) -> String {
    match Message::parse(line.trim_end().as_bytes()).unwrap() {
        Message::ConnReady { path } => path,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_dialer_says_what_go_listeners_expect() {
    let now = Instant::now();
    let mut dialer = dialer(now);
    assert_eq!(sent(&mut dialer, now), "{\"command\":\"keep-alive\"}\n");
    dialer.dial(now).unwrap();
    assert_eq!(
        sent(&mut dialer, now),
        "{\"command\":\"conn-ready\",\"connPath\":\"/revdial?revdial.dialer=00112233445566778899aabbccddeeff&revdial.conn=0000000000000001\"}\n\
         {\"command\":\"keep-alive\"}\n"
    );
}

#[test]
fn keep_alives_follow_silence() {
    let begin = Instant::now();
    let mut dialer = dialer(begin);
    sent(&mut dialer, begin);
    let due = dialer.deadline().unwrap();
    assert_eq!(due, begin + KEEP_ALIVE);
    dialer
        .handle_timeout(due - Duration::from_millis(1))
        .unwrap();
    assert!(dialer.output().is_empty());
    dialer.handle_timeout(due).unwrap();
    assert_eq!(sent(&mut dialer, due), "{\"command\":\"keep-alive\"}\n");
    assert_eq!(dialer.deadline(), Some(due + KEEP_ALIVE));
}

#[test]
fn a_machine_that_takes_nothing_is_dead() {
    let begin = Instant::now();
    let mut dialer = dialer(begin);
    let conn = dialer.dial(begin).unwrap();
    let due = dialer.deadline().unwrap();
    assert_eq!(due, begin + WRITE_LIMIT);
    let error = Error::Stalled(WRITE_LIMIT);
    assert_eq!(dialer.handle_timeout(due), Err(error.clone()));
    assert_eq!(
        dialer.poll_event(),
        Some(DialerEvent::Failed {
            conn,
            error: error.clone()
        })
    );
    assert_eq!(dialer.poll_event(), Some(DialerEvent::Ended(error.clone())));
    assert_eq!(dialer.poll_event(), None);
    assert_eq!(dialer.dial(due), Err(error));
    assert!(dialer.output().is_empty() && dialer.deadline().is_none());
}

#[test]
fn a_server_that_says_nothing_is_dead() {
    let begin = Instant::now();
    let mut listener = ListenerConn::new(begin);
    let later = begin + KEEP_ALIVE;
    listener
        .feed(b"{\"command\":\"keep-alive\"}\n", later)
        .unwrap();
    assert_eq!(listener.deadline(), Some(later + SILENCE));
    listener.handle_timeout(begin + SILENCE).unwrap();
    let error = Error::Silent(SILENCE);
    assert_eq!(listener.handle_timeout(later + SILENCE), Err(error.clone()));
    assert_eq!(listener.feed(b"{}\n", later), Err(error));
}

#[test]
fn a_late_connection_is_never_anothers() {
    let now = Instant::now();
    let mut dialer = dialer(now);
    let first = dialer.dial(now).unwrap();
    dialer.cancel(first);
    let second = dialer.dial(now).unwrap();
    assert!(!dialer.pick_up(first), "it was given up");
    // A failure of the first is not one of the second either.
    let path = ConnPath {
        dialer: dialer.id(),
        conn: Some(first),
    };
    let mut line = Vec::new();
    Message::PickupFailed {
        path: path.text("/revdial"),
        error: "late".into(),
    }
    .write(&mut line);
    dialer.feed(&line, now).unwrap();
    assert_eq!(dialer.poll_event(), None);
    assert!(dialer.pick_up(second));
    assert!(!dialer.pick_up(second), "once");
}

#[test]
fn failures_find_their_dial() {
    let now = Instant::now();
    let mut dialer = dialer(now);
    sent(&mut dialer, now);
    let (first, _) = (dialer.dial(now).unwrap(), dialer.dial(now).unwrap());
    let said = sent(&mut dialer, now);
    let mut machine = ListenerConn::new(now);
    machine.feed(said.as_bytes(), now).unwrap();
    let Some(ListenerEvent::PickUp(path)) = machine.poll_event() else {
        panic!("asked for");
    };
    assert_eq!(path, path_of(said.lines().next().unwrap()));
    machine
        .fetched(&path, Err("non-101 response 400 Bad Request"), now)
        .unwrap();
    let report = machine.output().to_vec();
    assert_eq!(
        String::from_utf8_lossy(&report),
        format!(
            "{{\"command\":\"pickup-failed\",\"connPath\":\"{path}\",\"err\":\"non-101 response 400 Bad Request\"}}\n"
        )
    );
    dialer.feed(&report, now).unwrap();
    let error = Error::PickUpFailed("non-101 response 400 Bad Request".into());
    assert_eq!(
        dialer.poll_event(),
        Some(DialerEvent::Failed { conn: first, error })
    );
    assert_eq!(dialer.waiting(), 1);
    // Of another dialer, or without a number: nobody's.
    dialer.feed(b"{\"command\":\"pickup-failed\",\"connPath\":\"/revdial?revdial.dialer=00112233445566778899aabbccddeeff\",\"err\":\"x\"}\n", now).unwrap();
    assert_eq!(dialer.poll_event(), None);
}

#[test]
fn garbage_ends_the_connection_and_is_shown() {
    let now = Instant::now();
    let mut dialer = dialer(now);
    let error = dialer.feed(
        b"{\"command\":\"later-version\",\"more\":[1]}\ngarbage\n",
        now,
    );
    assert_eq!(
        error.unwrap_err().to_string(),
        "control line \"garbage\" is not a message: not a JSON object"
    );
    assert!(matches!(
        dialer.poll_event(),
        Some(DialerEvent::Ended(Error::BadLine { .. }))
    ));
    for bad in [
        "",
        "[]",
        "[\"keep-alive\",null,null]",
        "{",
        "{\"command\":5}",
        "null",
        "{}x",
    ] {
        assert!(Message::parse(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn lines_have_a_limit_both_ways() {
    let now = Instant::now();
    let mut listener = ListenerConn::new(now);
    let pad = "x".repeat(5000);
    let line = format!("{{\"command\":\"keep-alive\",\"pad\":\"{pad}\"}}\n");
    listener.feed(line.as_bytes(), now).unwrap();
    let endless = vec![b' '; MAX_LINE];
    assert_eq!(
        listener.feed(&endless, now),
        Err(Error::LineTooLong { limit: MAX_LINE })
    );
    for text in ["\u{1}\"\\é", "long "] {
        let mut out = Vec::new();
        Message::PickupFailed {
            path: format!("/{}", "p".repeat(MAX_PATH - 1)),
            error: text.repeat(5000),
        }
        .write(&mut out);
        assert!(
            out.len() <= MAX_LINE_SENT && out.len() > MAX_LINE_SENT - 8,
            "{}",
            out.len()
        );
        Message::parse(&out[..out.len() - 1]).unwrap();
    }
}

#[test]
fn a_path_that_would_break_a_request_is_refused() {
    for path in [
        "",
        "x",
        "/a b",
        "/a\\r\\nX: y",
        "/é",
        &format!("/{}", "p".repeat(MAX_PATH)),
    ] {
        let line = format!("{{\"command\":\"conn-ready\",\"connPath\":\"{path}\"}}");
        assert!(
            matches!(Message::parse(line.as_bytes()), Err(Error::BadLine { .. })),
            "{path}"
        );
    }
    // As Go spells it.
    let line = br#"{"command":"conn-ready","connPath":"/r?a=1\u0026revdial.dialer=00112233445566778899aabbccddeeff"}"#;
    let Message::ConnReady { path } = Message::parse(line).unwrap() else {
        panic!("conn-ready");
    };
    let path = ConnPath::parse(&path).unwrap();
    assert_eq!((path.dialer, path.conn), (DialerId::from_entropy(ID), None));
    assert_eq!(
        path.text("/r?a=1"),
        "/r?a=1&revdial.dialer=00112233445566778899aabbccddeeff"
    );
}

#[test]
fn what_is_waited_for_is_bounded() {
    let now = Instant::now();
    let mut dialer = dialer(now);
    let mut machine = ListenerConn::new(now);
    for _ in 0..MAX_WAITING {
        dialer.dial(now).unwrap();
        machine
            .feed(sent(&mut dialer, now).as_bytes(), now)
            .unwrap();
    }
    assert_eq!(dialer.dial(now), Err(Error::TooMany { limit: MAX_WAITING }));
    // A dialer without such a limit is told.
    machine
        .feed(
            b"{\"command\":\"conn-ready\",\"connPath\":\"/one-more\"}\n",
            now,
        )
        .unwrap();
    let said = String::from_utf8_lossy(machine.output()).into_owned();
    assert!(said.contains("\"connPath\":\"/one-more\""), "{said}");
    assert!(
        said.contains("1024 connections are waited for already"),
        "{said}"
    );
    // Reports that nobody takes do not grow without end.
    let error = loop {
        if let Err(error) = machine.feed(
            b"{\"command\":\"conn-ready\",\"connPath\":\"/one-more\"}\n",
            now,
        ) {
            break error;
        }
        assert!(machine.output().len() < MAX_OUTBOX + MAX_LINE_SENT);
    };
    assert_eq!(error, Error::Stalled(WRITE_LIMIT));
}

#[test]
fn ids_are_read_strictly_and_do_not_show() {
    assert!(DialerId::parse("00112233445566778899AABBCCDDEEFF").is_none());
    assert!(DialerId::parse("00112233445566778899aabbccddee").is_none());
    assert_eq!(
        format!("{:?}", DialerId::from_entropy(ID)),
        "DialerId(hidden)"
    );
    for bad in [
        "/r",
        "/r?revdial.conn=0000000000000001",
        "/r?revdial.dialer=x",
        "/r?revdial.dialer=00112233445566778899aabbccddeeff&revdial.conn=1",
        "/r?revdial.dialer=00112233445566778899aabbccddeeff&revdial.conn=+000000000000001",
    ] {
        assert_eq!(ConnPath::parse(bad), None, "{bad}");
    }
}

/// What happens to a farm of dials, in any order.
#[derive(Debug, Clone)]
enum Step {
    Dial,
    Cancel(usize),
    PickUp(usize),
    Fail(usize),
    Deliver(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => Just(Step::Dial),
        1 => (0..40_usize).prop_map(Step::Cancel),
        2 => (0..40_usize).prop_map(Step::PickUp),
        1 => (0..40_usize).prop_map(Step::Fail),
        2 => (1..200_usize).prop_map(Step::Deliver),
    ];
    proptest::collection::vec(step, 0..120)
}

proptest! {
    #[test]
    fn any_bytes_are_read_the_same_in_any_split(data in proptest::collection::vec(any::<u8>(), 0..400)) {
        fuzz_control(&data);
    }

    #[test]
    fn lines_with_any_members_are_read(
        command in prop_oneof![Just("keep-alive"), Just("conn-ready"), Just("pickup-failed"), Just("x")],
        path in "(/[ -~]{0,40})?",
        err in any::<String>(),
    ) {
        let line = serde_json::json!({"command": command, "connPath": path, "err": err, "more": 1});
        fuzz_control(format!("{line}\n{line}\n").as_bytes());
    }

    #[test]
    fn what_is_written_is_read(err in any::<String>(), path in "/[!#-\\[\\]-~]{0,60}") {
        prop_assume!(is_target(&path));
        for message in [Message::KeepAlive, Message::ConnReady { path: path.clone() },
            Message::PickupFailed { path: path.clone(), error: err.clone() }] {
            let mut out = Vec::new();
            message.write(&mut out);
            prop_assert_eq!(Message::parse(&out[..out.len() - 1]).unwrap(), message);
        }
    }

    /// Every dial is settled at most once, by its own connection or its own failure, and what
    /// was given up is never served.
    #[test]
    fn each_dial_gets_its_own(steps in steps()) {
        let now = Instant::now();
        let mut server = dialer(now);
        let mut machine = ListenerConn::new(now);
        let mut dialed: Vec<(ConnId, bool)> = Vec::new();
        let mut fetching: Vec<String> = Vec::new();
        for step in steps {
            match step {
                Step::Dial => dialed.push((server.dial(now).unwrap(), true)),
                Step::Cancel(at) => if let Some((conn, open)) = dialed.get_mut(at) {
                    server.cancel(*conn);
                    *open = false;
                },
                Step::PickUp(at) => if at < fetching.len() {
                    let path = fetching.remove(at);
                    machine.fetched(&path, Ok(()), now).unwrap();
                    let conn = ConnPath::parse(&path).unwrap().conn.unwrap();
                    let (_, open) = dialed.iter_mut().find(|(id, _)| *id == conn).unwrap();
                    prop_assert_eq!(server.pick_up(conn), *open);
                    *open = false;
                },
                Step::Fail(at) => if at < fetching.len() {
                    let path = fetching.remove(at);
                    machine.fetched(&path, Err("x"), now).unwrap();
                },
                Step::Deliver(count) => {
                    let bytes = server.output();
                    let bytes = bytes[..bytes.len().min(count)].to_vec();
                    server.advance(bytes.len(), now);
                    machine.feed(&bytes, now).unwrap();
                    let bytes = machine.output().to_vec();
                    machine.advance(bytes.len(), now);
                    server.feed(&bytes, now).unwrap();
                }
            }
            while let Some(ListenerEvent::PickUp(path)) = machine.poll_event() {
                fetching.push(path);
            }
            while let Some(event) = server.poll_event() {
                let DialerEvent::Failed { conn, .. } = event else { panic!("ended") };
                let (_, open) = dialed.iter_mut().find(|(id, _)| *id == conn).unwrap();
                prop_assert!(*open, "a settled dial fails");
                *open = false;
            }
            prop_assert_eq!(server.waiting(), dialed.iter().filter(|(_, open)| *open).count());
        }
    }
}
