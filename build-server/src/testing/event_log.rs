//! What every event log promises.

use build_core::clock::Timestamp;
use build_core::event::{
    Batch, Encoded, EventKind, KindSet, Memo, MemoKey, NewEvent, Principal, Recorded, Seq,
    StreamId, StreamKind, Version,
};
use build_core::{ErrorKind, Result};

use crate::store::EventLog;

/// The kind of streams that the contract of a log writes: nobody's.
const KIND: &str = "contract";

fn stream(name: &str) -> StreamId {
    let id = format!("{KIND}/{name}").parse();
    id.expect("a kind and a plain name")
}

/// A batch of `count` events of a stream that is at `version`.
fn more(name: &str, version: u64, count: u64) -> Batch {
    let at = |n| Timestamp::from_seconds(1_600_000_000 + n);
    let event = |n: u64| {
        let body = format!("{{ \"nobody\" : [{n}.0, \"knows\"] }}");
        let body = serde_json::value::RawValue::from_string(body).expect("JSON");
        let kind = EventKind::known("noted");
        let event = Encoded {
            kind,
            v: 7,
            must: true,
            body,
        };
        let second = i64::try_from(version + n).unwrap_or(0);
        NewEvent::encoded(stream(name), at(second), Principal::person("ann"), event)
    };
    Batch {
        expects: vec![(stream(name), Version(version))],
        events: (0..count).map(event).collect(),
        ..Batch::default()
    }
}

/// Everything that a log says, in order, asked for a few at a time.
///
/// # Errors
/// When it cannot be read.
///
/// # Panics
/// When a page does not go on where the one before ended.
pub async fn everything(log: &dyn EventLog, kinds: &KindSet) -> Result<Vec<Recorded>> {
    let (mut all, mut after) = (Vec::new(), Seq(0));
    loop {
        let page = log.read(kinds, after, 3).await?;
        assert!(
            page.items
                .iter()
                .all(|e| e.seq > after && e.seq <= page.upto)
        );
        if page.upto == after {
            return Ok(all);
        }
        after = page.upto;
        all.extend(page.items);
    }
}

/// Checks what every [`EventLog`] promises, on one that is empty.
///
/// # Errors
/// When the log fails.
///
/// # Panics
/// When it breaks a promise: the text says which.
pub async fn event_log(log: &dyn EventLog) -> Result<()> {
    assert_eq!(log.head().await?, Seq(0), "an empty log ends at 0");
    let term = log.begin_term().await?;
    let mut ending = more("b", 0, 1);
    ending.closes.push(stream("b"));
    let group = vec![more("a", 0, 5), more("a", 1, 1), ending, more("c", 0, 1)];
    let events = [
        group[0].events.clone(),
        group[2].events.clone(),
        group[3].events.clone(),
    ];
    let answers = log.append(term, group).await;
    let kinds: Vec<_> = answers
        .iter()
        .map(|a| a.as_ref().err().map(build_core::Error::kind))
        .collect();
    let expected = [None, Some(ErrorKind::Conflict), None, None];
    assert_eq!(
        kinds, expected,
        "a batch with an old picture is left out alone"
    );

    let all = everything(log, &KindSet::all()).await?;
    let written: Vec<_> = events.concat();
    assert_eq!(all.len(), written.len(), "what was written is there once");
    for (recorded, new) in all.iter().zip(&written) {
        let again = new.clone().recorded(recorded.seq, recorded.version);
        assert_eq!(*recorded, again, "events are kept as they were written");
    }
    assert!(all.is_sorted_by(|a, b| a.seq < b.seq), "positions grow");
    let last = all.last().map(|event| event.seq);
    assert_eq!(
        Some(log.head().await?),
        last,
        "the log ends at its last event"
    );
    assert_eq!(Some(log.longer(Seq(0)).await?), last, "it has grown");
    streams(log, &all).await?;
    kinds_and_memos(log, &all).await?;

    while log
        .pack(Timestamp::from_seconds(2_000_000_000), Seq(4))
        .await?
        > 0
    {}
    let packed = everything(log, &KindSet::all()).await?;
    assert_eq!(packed, all, "packing changes nothing that is read");
    streams(log, &all).await?;

    let newer = log.begin_term().await?;
    assert!(newer > term, "terms grow");
    for answer in log.append(term, vec![more("d", 0, 1)]).await {
        let kind = answer.err().map(|error| error.kind());
        assert_eq!(
            kind,
            Some(ErrorKind::Conflict),
            "a term that has ended writes nothing"
        );
    }
    for answer in log.append(newer, vec![more("a", 5, 1)]).await {
        answer?;
    }
    Ok(())
}

async fn streams(log: &dyn EventLog, all: &[Recorded]) -> Result<()> {
    let ids = ["a", "b", "c", "nothing"].map(stream);
    let heads = log.heads(&ids).await?;
    let heads: Vec<_> = heads.iter().map(|h| (h.version.0, h.is_open)).collect();
    let expected = [(5, true), (1, false), (1, true), (0, false)];
    assert_eq!(heads, expected, "versions and openness of streams");
    let of_a: Vec<_> = all.iter().filter(|e| e.stream == ids[0]).cloned().collect();
    let read = log.read_stream(&ids[0], Version(1), 3).await?;
    assert_eq!(read, of_a[1..4], "a stream is read from any version on");
    let open: Vec<_> = all.iter().filter(|e| e.stream != ids[1]).cloned().collect();
    let read = log.read_open(&[StreamKind::known(KIND)]).await?;
    assert_eq!(read, open, "open streams are read in order");
    Ok(())
}

async fn kinds_and_memos(log: &dyn EventLog, all: &[Recorded]) -> Result<()> {
    let none = everything(log, &KindSet::of([StreamKind::BUILD])).await?;
    assert_eq!(none, [], "only the kinds that were named");
    let own = everything(log, &KindSet::of([StreamKind::known(KIND)])).await?;
    assert_eq!(own, all);
    let key = |text: &str| MemoKey::new(text);
    let term = log.begin_term().await?;
    let memos = vec![
        Memo::set(key("contract/a")?, "1"),
        Memo::set(key("contract/b")?, "2"),
        Memo::set(key("contract/a")?, "3"),
        Memo::removed(key("contract/b")?),
    ];
    let batch = Batch {
        memos,
        ..Batch::default()
    };
    for answer in log.append(term, vec![batch]).await {
        assert_eq!(answer?, log.head().await?, "a memo is no event");
    }
    let known = log.memos(&key("contract/")?).await?;
    let expected = vec![Memo::set(key("contract/a")?, "3")];
    assert_eq!(known, expected, "of a memo the last value is known");
    Ok(())
}
