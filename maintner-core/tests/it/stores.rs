//! The log in stores of others: S3 and Google Cloud Storage, played by servers on this machine.
//! `.ci/stores.py` gets and starts them, and runs these tests.

use std::path::Path;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use maintner_core::log::{Layout, LogWriter, Sha224Hex, WriterOptions};
use maintner_core::objstore::{Bucket, ObjectError, ObjectLog, Objects, Owner};
use maintner_core::source::{DiskSource, MutationSource as _};

/// A prefix of the bucket `logs` that no other run has used.
fn bucket(scheme: &str, options: &[(&str, &str)]) -> Bucket {
    let unique = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let unique = unique.unwrap().as_nanos();
    let options = options
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Bucket::at(&format!("{scheme}://logs/run-{unique}/deep"), options).unwrap()
}

/// The server's address, as `.ci/stores.py` names it.
fn server(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} names no server: .ci/stores.py"))
}

fn s3() -> Bucket {
    let server = server("MAINTNER_TEST_S3");
    bucket(
        "s3",
        &[
            ("AWS_ENDPOINT", &server),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ALLOW_HTTP", "true"),
        ],
    )
}

fn gcs() -> Bucket {
    let server = server("MAINTNER_TEST_GCS");
    bucket(
        "gs",
        &[
            ("GOOGLE_BASE_URL", &server),
            ("GOOGLE_BEARER_TOKEN", "test"),
        ],
    )
}

fn write(folder: &Path, payloads: &[&str]) {
    let options = WriterOptions::default()
        .layout(Layout::Segments { target: 40 })
        .durable(false);
    let payloads: Vec<&[u8]> = payloads.iter().map(|payload| payload.as_bytes()).collect();
    let mut writer = LogWriter::open_with(folder, options).unwrap();
    writer.append(&payloads).unwrap();
}

fn bytes(folder: &Path) -> Vec<u8> {
    let segments = DiskSource::new(folder).segments().unwrap();
    let loaded = segments.iter().map(|segment| segment.load().unwrap());
    loaded.flat_map(|bytes| bytes.to_vec()).collect()
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000)
}

/// A log goes there and comes back; torn uploads do not count; damage is named.
async fn round_trip(bucket: &Bucket, dir: &Path) {
    let (one, other) = (dir.join("one"), dir.join("other"));
    write(&one, &["first record", "second record", "third record"]);
    let segments = DiskSource::new(&one).segments().unwrap();
    let mut log = ObjectLog::open(bucket.clone(), Owner::new("one"))
        .await
        .unwrap();
    log.push(&segments, now()).await.unwrap();
    write(&one, &["fourth record"]);
    let segments = DiskSource::new(&one).segments().unwrap();
    log.push(&segments, now()).await.unwrap();
    assert_eq!(log.clean_up().await.unwrap(), 0);
    let again = ObjectLog::open(bucket.clone(), Owner::new("other"))
        .await
        .unwrap();
    again.restore(&other).await.unwrap();
    assert_eq!(bytes(&other), bytes(&one));

    // An upload that was cut short, under the name of the whole: nobody reads it.
    write(&one, &["fifth record, longer than the others"]);
    let segments = DiskSource::new(&one).segments().unwrap();
    let last = segments.last().unwrap().load().unwrap();
    let number = segments.len() - 1;
    let name = format!("{number:04}.{}.mutlog", Sha224Hex::of(&last));
    let torn = last.slice(..last.len() - 3);
    bucket.put(&name, torn).await.unwrap();
    let again = ObjectLog::open(bucket.clone(), Owner::new("other"))
        .await
        .unwrap();
    assert_eq!(again.manifest().size(), log.manifest().size());
    // The writer repeats it.
    log.push(&segments, now()).await.unwrap();
    let again = ObjectLog::open(bucket.clone(), Owner::new("other"))
        .await
        .unwrap();
    again.restore(&other).await.unwrap();
    assert_eq!(bytes(&other), bytes(&one));
    let first = again.manifest().objects().next().unwrap();
    bucket
        .put(&first, Bytes::from_static(b"REC@"))
        .await
        .unwrap();
    let error = again.restore(&dir.join("fresh")).await.unwrap_err();
    assert!(error.to_string().contains(&first), "{error}");
    assert!(bucket.get("absent").await.unwrap().is_none());
    bucket.delete("absent").await.unwrap();
}

/// Of two writers one is fenced, whoever asks at once.
async fn one_writer(new: fn() -> Bucket, dir: &Path) {
    let bucket = new();
    // What is created is created once.
    let (one, other) = (Bytes::from_static(b"1"), Bytes::from_static(b"2"));
    let (first, second) = tokio::join!(bucket.create("once", one), bucket.create("once", other));
    assert_ne!(first.unwrap(), second.unwrap());

    let bucket = new();
    let (mine, theirs) = (dir.join("mine"), dir.join("theirs"));
    write(&mine, &["a", "b"]);
    let mut zombie = ObjectLog::open(bucket.clone(), Owner::new("zombie"))
        .await
        .unwrap();
    let segments = DiskSource::new(&mine).segments().unwrap();
    zombie.push(&segments, now()).await.unwrap();
    assert!(zombie.lease().holds(now()));
    let mut next = ObjectLog::open(bucket.clone(), Owner::new("next"))
        .await
        .unwrap();
    let early = next.acquire(now()).await.unwrap_err();
    assert!(matches!(early, ObjectError::Fenced { by } if by.owner() == "zombie"));
    let late = now() + Duration::from_secs(61);
    next.restore(&theirs).await.unwrap();
    next.acquire(late).await.unwrap();
    write(&theirs, &["of the next"]);
    let continued = DiskSource::new(&theirs).segments().unwrap();
    next.push(&continued, late).await.unwrap();
    write(&mine, &["of a zombie"]);
    let segments = DiskSource::new(&mine).segments().unwrap();
    let error = zombie.push(&segments, late).await.unwrap_err();
    assert!(matches!(error, ObjectError::Fenced { by } if by.owner() == "next"));
    assert!(!zombie.lease().holds(now()), "it appends no more");
    let third = ObjectLog::open(bucket, Owner::new("third")).await.unwrap();
    let fresh = dir.join("of a third");
    third.restore(&fresh).await.unwrap();
    assert_eq!(bytes(&fresh), bytes(&theirs));
}

#[tokio::test]
#[ignore = "needs a server: python3 .ci/stores.py"]
async fn a_log_in_s3_has_one_writer() {
    let dir = tempfile::tempdir().unwrap();
    round_trip(&s3(), dir.path()).await;
    one_writer(s3, dir.path()).await;
}

#[tokio::test]
#[ignore = "needs a server: python3 .ci/stores.py"]
async fn a_log_in_google_cloud_storage_has_one_writer() {
    let dir = tempfile::tempdir().unwrap();
    round_trip(&gcs(), dir.path()).await;
    one_writer(gcs, dir.path()).await;
}
