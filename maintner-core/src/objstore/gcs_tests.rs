//! The JSON interface of Google Cloud Storage, played by a small server with faults on demand.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;

use super::{Bucket, ObjectError, ObjectLog, Objects, Owner};
use crate::log::{Layout, WriterOptions};
use crate::source::{LiveLog, MutationSource as _};

type Pairs = BTreeMap<String, String>;

#[derive(Default)]
struct World {
    objects: BTreeMap<String, Bytes>,
    /// Answers that come before anything is done.
    refusals: Vec<u16>,
    /// Answers that get lost after everything was done.
    lost: usize,
    asked: Vec<String>,
}

#[derive(Clone, Default)]
struct Google(Arc<Mutex<World>>);

impl Google {
    /// Serves, and gives its address.
    #[expect(
        clippy::disallowed_methods,
        reason = "it ends with the runtime of the test"
    )]
    async fn start(&self) -> String {
        let router = Router::new()
            .route("/storage/v1/b/logs/o", get(list))
            .route("/storage/v1/b/logs/o/{name}", get(read).delete(remove))
            .route("/upload/storage/v1/b/logs/o", post(write))
            .with_state(self.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }

    fn asked(&self, what: &str, headers: Option<&HeaderMap>) -> Result<(), StatusCode> {
        let mut world = self.0.lock().unwrap();
        let shown = headers.and_then(|headers| headers.get("authorization"));
        let shown = shown.map_or("", |shown| shown.to_str().unwrap());
        world.asked.push(format!("{what} {shown}"));
        match world.refusals.pop() {
            Some(status) => Err(StatusCode::from_u16(status).unwrap()),
            None => Ok(()),
        }
    }
}

/// Pages of two, so that there are several.
async fn list(State(google): State<Google>, Query(query): Query<Pairs>) -> Response {
    if let Err(status) = google.asked("list", None) {
        return status.into_response();
    }
    let world = google.0.lock().unwrap();
    let from: usize = query.get("pageToken").map_or(0, |t| t.parse().unwrap());
    let prefix = &query["prefix"];
    let all: Vec<_> = world
        .objects
        .iter()
        .filter(|(name, _)| name.starts_with(prefix))
        .collect();
    let item = |(name, bytes): &(&String, &Bytes)| serde_json::json!({"name": name, "size": bytes.len().to_string(), "updated": "2026-11-30T10:00:00.5Z"});
    let items: Vec<_> = all.iter().skip(from).take(2).map(item).collect();
    let mut page = serde_json::json!({ "items": items });
    if from + 2 < all.len() {
        page["nextPageToken"] = (from + 2).to_string().into();
    }
    page.to_string().into_response()
}

async fn read(State(google): State<Google>, Path(name): Path<String>) -> Response {
    if let Err(status) = google.asked("read", None) {
        return status.into_response();
    }
    let found = google.0.lock().unwrap().objects.get(&name).cloned();
    found.map_or_else(
        || StatusCode::NOT_FOUND.into_response(),
        IntoResponse::into_response,
    )
}

async fn remove(State(google): State<Google>, Path(name): Path<String>) -> StatusCode {
    if let Err(status) = google.asked("remove", None) {
        return status;
    }
    match google.0.lock().unwrap().objects.remove(&name) {
        Some(_) => StatusCode::NO_CONTENT,
        None => StatusCode::NOT_FOUND,
    }
}

async fn write(
    State(google): State<Google>,
    Query(query): Query<Pairs>,
    request: Request<Body>,
) -> Response {
    assert_eq!(query["uploadType"], "media");
    let name = query["name"].clone();
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    if let Err(status) = google.asked(&format!("write {name}"), Some(&head.headers)) {
        return status.into_response();
    }
    let mut world = google.0.lock().unwrap();
    if query.contains_key("ifGenerationMatch") && world.objects.contains_key(&name) {
        return StatusCode::PRECONDITION_FAILED.into_response();
    }
    let size = body.len();
    world.objects.insert(name.clone(), body);
    if world.lost > 0 {
        world.lost -= 1;
        return StatusCode::BAD_GATEWAY.into_response();
    }
    format!("{{\"name\":{name:?},\"size\":\"{size}\"}}").into_response()
}

fn bucket(base: &str) -> Bucket {
    let options = [("GOOGLE_BASE_URL", base), ("GOOGLE_BEARER_TOKEN", "t1")];
    let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Bucket::at("gs://logs/deep/er", options).unwrap().hurried()
}

#[tokio::test]
async fn objects_come_and_go_and_what_fails_for_a_moment_is_tried_again() {
    let google = Google::default();
    let base = google.start().await;
    let bucket = bucket(&base);
    let names = ["a b+c%/x?", "0000.growing.mutlog", "manifest.1.json", "z"];
    for name in &names[1..] {
        bucket
            .put(name, Bytes::from_static(b"12345"))
            .await
            .unwrap();
    }
    let mut listed: Vec<_> = bucket.list().await.unwrap();
    listed.sort_by(|a, b| a.name.cmp(&b.name));
    let seen: Vec<_> = listed.iter().map(|object| object.name.as_str()).collect();
    assert_eq!(seen, &names[1..], "over two pages");
    assert_eq!((listed[0].size, listed[0].modified), (5, 1_796_032_800_500));
    // Names are names, whatever is in them.
    bucket
        .put(names[0], Bytes::from_static(b"odd"))
        .await
        .unwrap();
    assert_eq!(bucket.get(names[0]).await.unwrap().unwrap(), "odd");
    assert!(
        google
            .0
            .lock()
            .unwrap()
            .objects
            .contains_key("deep/er/a b+c%/x?")
    );
    assert_eq!(
        bucket.list().await.unwrap().len(),
        3,
        "folders below are others'"
    );
    bucket.delete("z").await.unwrap();
    bucket.delete("z").await.unwrap();
    assert!(bucket.get("z").await.unwrap().is_none());
    {
        let world = google.0.lock().unwrap();
        assert!(
            world
                .asked
                .iter()
                .any(|asked| asked == "write deep/er/z Bearer t1")
        );
    }
    google.0.lock().unwrap().refusals = vec![503, 429, 500];
    assert!(bucket.get(names[1]).await.unwrap().is_some());
    google.0.lock().unwrap().refusals = vec![403];
    let denied = bucket.get(names[1]).await.unwrap_err();
    assert_eq!(
        denied.to_string(),
        "cannot read 0000.growing.mutlog in the object store"
    );
    google.0.lock().unwrap().refusals = vec![500; 4];
    bucket.list().await.unwrap_err();

    // What is created is created once, also when the answer to it gets lost.
    let one = Bytes::from_static(b"1");
    assert!(bucket.create("once", one.clone()).await.unwrap());
    assert!(!bucket.create("once", one.clone()).await.unwrap());
    google.0.lock().unwrap().lost = 1;
    assert!(!bucket.create("lost", one.clone()).await.unwrap());
    assert_eq!(bucket.get("lost").await.unwrap().unwrap(), one);

    // As Google's own libraries find a server for tests: nobody is asked who they are.
    let host = (
        "STORAGE_EMULATOR_HOST".to_owned(),
        base.replace("http://", ""),
    );
    let emulated = Bucket::at("gs://logs/other", [host]).unwrap();
    emulated.put("x", one).await.unwrap();
    let world = google.0.lock().unwrap();
    assert_eq!(world.asked.last().unwrap(), "write other/x ");
}

#[tokio::test]
async fn a_second_writer_is_fenced_and_a_lost_answer_is_no_second_writer() {
    let google = Google::default();
    let bucket = bucket(&google.start().await);
    let dir = tempfile::tempdir().unwrap();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
    let layout = Layout::Segments { target: 40 };
    let options = WriterOptions::default().layout(layout).durable(false);
    let log = LiveLog::open(dir.path(), options).unwrap();
    log.push(&[b"one", b"two"]).unwrap();
    let mut zombie = ObjectLog::open(bucket.clone(), Owner::new("zombie"))
        .await
        .unwrap();
    google.0.lock().unwrap().lost = 2;
    zombie.push(&log.segments().unwrap(), now).await.unwrap();
    assert!(zombie.lease().holds(now));
    let mut next = ObjectLog::open(bucket.clone(), Owner::new("next"))
        .await
        .unwrap();
    let early = next.acquire(now).await.unwrap_err();
    assert!(matches!(early, ObjectError::Fenced { by } if by.owner() == "zombie"));
    let late = now + Duration::from_secs(61);
    next.acquire(late).await.unwrap();
    log.push(&[b"three"]).unwrap();
    let fenced = zombie
        .push(&log.segments().unwrap(), late)
        .await
        .unwrap_err();
    assert!(matches!(fenced, ObjectError::Fenced { by } if by.owner() == "next"));
    assert!(!zombie.lease().holds(now), "it appends no more");
}
