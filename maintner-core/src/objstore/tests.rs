//! The log in stores that are there: memory and a folder. The simulation has the faults.

use std::path::Path;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::*;
use crate::log::{Layout, Segment, Sha224Hex, WriterOptions, encode_record};
use crate::source::{DiskSource, LiveLog, MutationSource as _};

fn options() -> WriterOptions {
    WriterOptions::default()
        .layout(Layout::Segments { target: 40 })
        .durable(false)
}

fn write(folder: &Path, payloads: &[&str]) -> Vec<Segment> {
    let log = LiveLog::open(folder, options()).unwrap();
    let payloads: Vec<&[u8]> = payloads.iter().map(|payload| payload.as_bytes()).collect();
    log.push(&payloads).unwrap();
    log.segments().unwrap()
}

fn bytes(folder: &Path) -> Vec<u8> {
    let segments = DiskSource::new(folder).segments().unwrap();
    segments
        .iter()
        .flat_map(|segment| segment.load().unwrap().to_vec())
        .collect()
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000)
}

async fn round_trip(bucket: Bucket, dir: &Path) {
    let (one, other) = (dir.join("one"), dir.join("other"));
    let segments = write(&one, &["first record", "second record", "third record"]);
    let mut log = ObjectLog::open(bucket.clone(), Owner::new("one"))
        .await
        .unwrap();
    let pushed = log.push(&segments, now()).await.unwrap();
    assert_eq!(pushed.objects, segments.len());
    let again = log.push(&segments, now()).await.unwrap();
    assert_eq!(again, Pushed::default(), "nothing is uploaded twice");
    assert!(log.uploaded().has(&segments[0].name().to_string()));
    let segments = write(&one, &["fourth record"]);
    log.push(&segments, now()).await.unwrap();
    assert_eq!(
        log.clean_up().await.unwrap(),
        0,
        "what was replaced was removed"
    );

    // Another host: it is kept away until the first one gives the log up or is silent.
    let mut second = ObjectLog::open(bucket.clone(), Owner::new("other"))
        .await
        .unwrap();
    let error = second.acquire(now()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the log in the object store is written by one"
    );
    let late = now() + Duration::from_secs(61);
    assert!(log.may_write(now()) && !log.may_write(late));
    second.restore(&other).await.unwrap();
    assert_eq!(bytes(&other), bytes(&one));
    assert_eq!(
        second.restore(&other).await.unwrap(),
        0,
        "it is there already"
    );
    second.acquire(late).await.unwrap();
    let continued = write(&other, &["of the other"]);
    second.push(&continued, late).await.unwrap();
    let segments = write(&one, &["of a zombie"]);
    let error = log.push(&segments, late).await.unwrap_err();
    assert!(matches!(error, ObjectError::Fenced { by } if by.owner() == "other"));
    // What the zombie uploaded is in no manifest.
    second.clean_up().await.unwrap();
    let third = ObjectLog::open(bucket, Owner::new("third")).await.unwrap();
    let fresh = dir.join("fresh");
    third.restore(&fresh).await.unwrap();
    assert_eq!(bytes(&fresh), bytes(&other));
    let error = third.restore(&one).await.unwrap_err();
    assert!(matches!(error, ObjectError::Diverged { .. }), "{error}");
}

#[tokio::test]
async fn a_log_goes_to_a_store_and_comes_back_and_a_second_writer_is_fenced() {
    let dir = tempfile::tempdir().unwrap();
    round_trip(Bucket::memory(), &dir.path().join("m")).await;
    let folder = dir.path().join("bucket");
    round_trip(
        Bucket::at(folder.to_str().unwrap(), []).unwrap(),
        &dir.path().join("f"),
    )
    .await;
    let unknown = Bucket::at("ftp://host/x", []).unwrap_err();
    assert!(
        unknown
            .to_string()
            .contains("is no object store that this program knows")
    );
}

fn segment(payloads: &[&str]) -> Bytes {
    let mut bytes = Vec::new();
    for payload in payloads {
        let offset = bytes.len() as u64;
        encode_record(&mut bytes, offset, payload.as_bytes());
    }
    bytes.into()
}

fn name(number: u32, bytes: &[u8]) -> String {
    format!("{number:04}.{}.mutlog", Sha224Hex::of(bytes))
}

#[tokio::test]
async fn what_a_go_daemon_wrote_is_read_and_torn_uploads_are_not() {
    let (zero, one) = (segment(&["a", "b"]), segment(&["c"]));
    let bucket = Bucket::memory();
    bucket.put(&name(0, &zero), zero.clone()).await.unwrap();
    bucket.put(&name(1, &one), one.clone()).await.unwrap();
    bucket
        .put("notes.txt", Bytes::from_static(b"of somebody"))
        .await
        .unwrap();
    let log = ObjectLog::open(bucket.clone(), Owner::new("us"))
        .await
        .unwrap();
    let names: Vec<String> = log.manifest().objects().collect();
    assert_eq!(names, [name(0, &zero), name(1, &one)]);
    let dir = tempfile::tempdir().unwrap();
    log.restore(dir.path()).await.unwrap();
    assert_eq!(bytes(dir.path()), [&zero[..], &one].concat());

    // A torn upload of a longer segment 1, and a whole one of segment 2 that nobody listed.
    let mut log = ObjectLog::open(bucket.clone(), Owner::new("us"))
        .await
        .unwrap();
    log.acquire(now()).await.unwrap();
    let longer = segment(&["c", "d"]);
    bucket
        .put(&name(1, &longer), longer.slice(..longer.len() - 2))
        .await
        .unwrap();
    let log = ObjectLog::open(bucket.clone(), Owner::new("us"))
        .await
        .unwrap();
    assert_eq!(log.manifest().size(), (zero.len() + one.len()) as u64);
    bucket.put(&name(1, &longer), longer.clone()).await.unwrap();
    let two = segment(&["e"]);
    bucket.put(&name(2, &two), two.clone()).await.unwrap();
    let log = ObjectLog::open(bucket.clone(), Owner::new("us"))
        .await
        .unwrap();
    assert_eq!(log.fetch(1).await.unwrap(), longer);
    assert_eq!(log.fetch(2).await.unwrap(), two);
    // Damage of what counts is an error that names the object.
    bucket
        .put(&name(0, &zero), Bytes::from_static(b"REC@"))
        .await
        .unwrap();
    let fresh = tempfile::tempdir().unwrap();
    let error = log.restore(fresh.path()).await.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with(&format!("object {} is corrupt", name(0, &zero)))
    );

    let gap = Bucket::memory();
    gap.put(&name(1, &one), one).await.unwrap();
    let error = ObjectLog::open(gap, Owner::new("us")).await.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("saw max segment number 1 but missing segment 0")
    );
}

#[tokio::test]
async fn the_loop_uploads_and_gives_the_log_up_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let live = LiveLog::open(dir.path(), options()).unwrap();
    live.push(&[b"one"]).unwrap();
    let bucket = Bucket::memory();
    let mut log = ObjectLog::open(bucket.clone(), Owner::new("one"))
        .await
        .unwrap();
    let uploaded = log.uploaded();
    let stop = tokio_util::sync::CancellationToken::new();
    let act = async {
        while bucket.list().await.unwrap().len() < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        live.push(&[b"two", b"three"]).unwrap();
        live.freeze().unwrap();
        let frozen = live.segments().unwrap()[0].name().to_string();
        while !uploaded.has(&frozen) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        stop.cancel();
    };
    let token = stop.clone();
    let often = Keep {
        every: Duration::from_millis(2),
    };
    let (kept, ()) = tokio::join!(
        keep(&mut log, &live, often, token, |error| panic!("{error}")),
        act
    );
    kept.unwrap();
    let mut next = ObjectLog::open(bucket, Owner::new("next")).await.unwrap();
    next.acquire(SystemTime::now())
        .await
        .expect("it was given up");
}
