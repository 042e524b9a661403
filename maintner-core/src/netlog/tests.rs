//! The rules of both ends, one by one; the simulation mixes them.

use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::log::{LogPosition, Segment, SegmentName, Sha224Hex, encode_record};

#[test]
fn the_documented_table_of_splits() {
    for (ours, server, survived) in [
        (
            &[&["a"][..], &["b"]][..],
            &[&["a"][..], &["b", "c"]][..],
            None,
        ),
        (&[&["a"], &["b"]], &[&["a"], &["b", "c"], &["d"]], None),
        (&[&["a"]], &[&["x"]], Some(0)),
        (&[&["a"]], &[&["x", "y"]], Some(0)),
        (&[&["a", "b"]], &[&["a"]], Some(9)),
        (&[&["a"], &["b"]], &[&["a"], &["x", "y"]], Some(9)),
        (&[&["a"], &["b"]], &[&["a"]], Some(9)),
    ] {
        let (mut follower, mut local) = (Follower::new(), LocalLog::memory());
        for segments in [ours, server] {
            let mut ledger = Ledger::new();
            ledger.refresh(&log(segments)).unwrap();
            follow(&mut follower, &mut local, ledger.snapshot());
        }
        let found = local.history().survived(0).map(LogPosition::bytes);
        assert_eq!(found, survived, "{ours:?} {server:?}");
    }
}

/// Segments of these payloads, all but the last complete.
fn log(segments: &[&[&str]]) -> Vec<Segment> {
    let mut base = LogPosition::START;
    let count = segments.len();
    let mut all = Vec::new();
    for (number, payloads) in (0u32..).zip(segments) {
        let mut bytes = Vec::new();
        for payload in *payloads {
            let offset = bytes.len() as u64;
            encode_record(&mut bytes, offset, payload.as_bytes());
        }
        let name = if number as usize + 1 < count {
            let sha224 = Sha224Hex::of(&bytes);
            SegmentName::Frozen { number, sha224 }
        } else {
            SegmentName::Growing { number }
        };
        let segment = Segment::memory(name, base, bytes.into());
        base = segment.end();
        all.push(segment);
    }
    all
}

/// Follows until both agree; what was told on the way.
fn follow(follower: &mut Follower, local: &mut LocalLog, snapshot: &Snapshot) -> Vec<News> {
    let mut news = Vec::new();
    follower.ask_at_once();
    for _ in 0..100 {
        let answer = match follower.next(local) {
            Ask::Index { wait: Some(_) } => return news,
            Ask::Index { wait: None } => Answer::Index(snapshot.index(|_| String::new())),
            Ask::Segment {
                number, from, to, ..
            } => Answer::Bytes {
                from,
                bytes: snapshot.find(number).unwrap().read(from, to).unwrap(),
            },
        };
        news.extend(follower.feed(local, answer).unwrap());
    }
    panic!("they do not come to agree");
}

fn bytes(local: &mut LocalLog) -> Vec<u8> {
    let segments = local.segments();
    segments
        .iter()
        .flat_map(|segment| segment.load().unwrap().to_vec())
        .collect()
}

#[test]
fn a_follower_goes_back_to_the_last_record_that_both_have() {
    let mut ledger = Ledger::new();
    let mut follower = Follower::new();
    let mut local = LocalLog::memory();
    let one = log(&[&["a", "b"], &["c", "d", "e"]]);
    ledger.refresh(&one).unwrap();
    follow(&mut follower, &mut local, ledger.snapshot());
    assert_eq!(local.history().epoch(), 0);
    let other = log(&[&["a", "b"], &["c", "x"], &["y"]]);
    let mut ledger = Ledger::new();
    ledger.refresh(&other).unwrap();
    let news = follow(&mut follower, &mut local, ledger.snapshot());
    let common = LogPosition::new(18 + 9);
    assert!(news.contains(&News::Split { common }), "{news:?}");
    assert_eq!(local.history().survived(0), Some(common));
    let wanted: Vec<u8> = other
        .iter()
        .flat_map(|segment| segment.load().unwrap().to_vec())
        .collect();
    assert_eq!(bytes(&mut local), wanted);
}

#[test]
fn an_empty_server_is_not_obeyed() {
    let mut ledger = Ledger::new();
    ledger.refresh(&log(&[&["a"]])).unwrap();
    let (mut follower, mut local) = (Follower::new(), LocalLog::memory());
    follow(&mut follower, &mut local, ledger.snapshot());
    follower.ask_at_once();
    let refused = follower.feed(&mut local, Answer::Index(Index::default()));
    assert!(matches!(refused, Err(Refusal::Emptied { .. })));
    assert_eq!(local.end(), LogPosition::new(9));
}

#[test]
fn a_download_that_is_wrong_time_after_time_is_an_error() {
    let mut ledger = Ledger::new();
    ledger.refresh(&log(&[&["a"]])).unwrap();
    let (mut follower, mut local) = (Follower::new(), LocalLog::memory());
    let index = ledger.snapshot().index(|_| String::new());
    follower.feed(&mut local, Answer::Index(index)).unwrap();
    let wrong = || Answer::Bytes {
        from: 0,
        bytes: Bytes::from_static(b"REC@0+1=b"),
    };
    follower.feed(&mut local, wrong()).unwrap();
    follower.feed(&mut local, wrong()).unwrap();
    let error = follower.feed(&mut local, wrong()).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("corrupt download: segment 0 has hash "),
        "{error}"
    );
    assert_eq!(local.end(), LogPosition::START);
    follow(&mut follower, &mut local, ledger.snapshot());
}

#[test]
fn the_tail_takes_only_what_continues() {
    let mut ledger = Ledger::new();
    ledger.refresh(&log(&[&["a"]])).unwrap();
    let (mut follower, mut local) = (Follower::new(), LocalLog::memory());
    follow(&mut follower, &mut local, ledger.snapshot());
    ledger.refresh(&log(&[&["a", "b"], &["c"]])).unwrap();
    let snapshot = Arc::clone(ledger.snapshot());
    let mut batches = Vec::new();
    let mut reader = EventReader::new();
    let mut place = (0, 9);
    while let Some((event, number, end)) = snapshot.next_event(place.0, place.1).unwrap() {
        place = (number, end);
        reader.feed(&event);
        batches.extend(reader.next_append().unwrap());
    }
    assert_eq!(batches.len(), 2);
    assert!(
        !follower.tail(&mut local, &batches[1]).unwrap(),
        "one is missing"
    );
    assert!(follower.tail(&mut local, &batches[0]).unwrap());
    assert!(
        !follower.tail(&mut local, &batches[0]).unwrap(),
        "said again"
    );
    let mut changed = batches[1].clone();
    changed.sha224 = Sha224Hex::of(b"");
    assert!(
        !follower.tail(&mut local, &changed).unwrap(),
        "another hash"
    );
    assert!(follower.tail(&mut local, &batches[1]).unwrap());
    assert_eq!(local.end().bytes(), snapshot.sum());
    assert!(local.pieces()[0].is_frozen());
}

#[test]
fn a_ledger_reads_only_what_is_new_and_notices_a_rewrite() {
    let mut ledger = Ledger::new();
    assert!(ledger.refresh(&log(&[&["a"]])).unwrap());
    assert!(!ledger.refresh(&log(&[&["a"]])).unwrap());
    assert!(ledger.refresh(&log(&[&["a", "b"]])).unwrap());
    let event = ledger
        .snapshot()
        .latest_event(0, 9)
        .expect("what came last");
    assert_eq!((event.1, event.2), (0, 18));
    assert!(ledger.refresh(&log(&[&["a", "b"], &["c"]])).unwrap());
    assert_eq!(ledger.snapshot().rewrites(), 0, "{:?}", ledger.snapshot());
    assert!(ledger.refresh(&log(&[&["x", "b"], &["c"]])).unwrap());
    assert_eq!(ledger.snapshot().rewrites(), 1);
    assert!(ledger.refresh(&log(&[&["x", "b"]])).unwrap());
    assert_eq!(ledger.snapshot().rewrites(), 2);
}

#[test]
fn followers_that_are_a_little_behind_share_the_same_bytes() {
    let mut ledger = Ledger::new();
    let payloads: Vec<String> = (0..50).map(|n| format!("{n:02}")).collect();
    let texts: Vec<&str> = payloads.iter().map(String::as_str).collect();
    let mut ends = vec![0];
    for count in 1..=texts.len() {
        assert!(ledger.refresh(&log(&[&texts[..count]])).unwrap());
        ends.push(ledger.snapshot().sum());
    }
    let snapshot = Arc::clone(ledger.snapshot());
    let lacking = |records: usize| snapshot.latest_event(0, ends[50 - records]);
    let (one, _, end) = lacking(30).expect("thirty batches behind");
    let (other, ..) = lacking(30).expect("thirty batches behind");
    assert_eq!(one.as_ptr(), other.as_ptr(), "no copy");
    assert_eq!(end, ends[50 - 29]);
    assert!(lacking(40).is_none(), "it is read from the log");
    let (event, ..) = snapshot.next_event(0, 0).unwrap().expect("all of it");
    assert!(event.len() > one.len());
    assert!(ledger.refresh(&log(&[&["x"]])).unwrap());
    assert!(
        ledger.snapshot().latest_event(0, 9).is_none(),
        "none of the old history"
    );
}

#[test]
fn malformed_indexes_are_refused() {
    for json in [
        "",
        "{}",
        "[1]",
        r#"[{"number":0,"size":1,"sha224":"x","url":"/"}]"#,
    ] {
        assert!(
            matches!(Index::parse(json.as_bytes()), Err(BadIndex::Json(_))),
            "{json}"
        );
    }
    let sha224 = Sha224Hex::of(b"");
    let entry = |number: u32, size: u64| {
        format!(r#"{{"number":{number},"size":{size},"sha224":"{sha224}","url":"/logs/0"}}"#)
    };
    let list = |all: &[String]| Index::parse(format!("[{}]", all.join(",")).as_bytes());
    assert!(matches!(
        list(&[entry(1, 5)]),
        Err(BadIndex::Number {
            found: 1,
            wanted: 0
        })
    ));
    assert!(matches!(
        list(&[entry(0, 5), entry(2, 5)]),
        Err(BadIndex::Number { .. })
    ));
    assert!(matches!(list(&[entry(0, 0)]), Err(BadIndex::Size { .. })));
    assert!(matches!(
        list(&[entry(0, u64::MAX)]),
        Err(BadIndex::Size { .. })
    ));
    assert_eq!(Index::parse(b"null").unwrap(), Index::default());
    assert_eq!(list(&[entry(0, 5), entry(1, 7)]).unwrap().sum(), 12);
    fuzz_index(b"[]");
}
