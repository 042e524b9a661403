//! What the log server answers, request by request: acceptance checks 5 and 6.

use std::time::{Duration, Instant};

use maintner_core::log::{Layout, LogPosition, WriterOptions};
use maintner_core::pb::Mutation;
use maintner_core::sample;
use maintner_core::serve::Options;
use maintner_core::source::{LiveLog, MemoryLog, MutationSink as _};
use reqwest::{Client, Method, Response};

use crate::net::{PATIENCE, Script, Server, issue, text};

/// Sends one request and reads the answer.
async fn ask(server: &Server, method: Method, path: &str, range: &str) -> (u16, Response) {
    let client = Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_gzip()
        .tls_backend_preconfigured(no_tls())
        .build()
        .unwrap();
    let mut request = client.request(method, format!("http://{}{path}", server.address));
    if !range.is_empty() {
        request = request.header("Range", range);
    }
    let response = request.timeout(PATIENCE).send().await.unwrap();
    (response.status().as_u16(), response)
}

fn no_tls() -> rustls::ClientConfig {
    let provider = rustls::crypto::ring::default_provider();
    rustls::ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth()
}

async fn get(server: &Server, path: &str) -> (u16, String) {
    let (status, response) = ask(server, Method::GET, path, "").await;
    (status, response.text().await.unwrap())
}

/// The log of the documentation: 265 bytes.
fn documented() -> MemoryLog {
    MemoryLog::of(&sample::documented())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_6_each_request_has_its_answer() {
    let log = documented();
    let all = log.bytes();
    let server = Server::start(log);
    let (status, body) = get(&server, "/logs").await;
    let entry: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status, 200);
    assert_eq!(
        entry,
        serde_json::json!([{"number": 0, "size": all.len(), "url": "/logs/0",
            "sha224": "7d69dcfb5484bd18107792409e568999d00a758fbbd086d0869f99eb"}])
    );
    assert!(body.starts_with("[\n\t{\n\t\t\"number\": 0,"), "{body}");
    for (path, status, body) in [
        ("/logs?startseg=-1", 400, "bad startseg\n"),
        ("/logs?waitsizenot=x", 400, "bad waitsizenot\n"),
        ("/logs?waitsizenot=-1", 400, "bad waitsizenot\n"),
        ("/logs/999", 400, "bad segment number\n"),
        ("/logs/-1", 400, "bad path\n"),
        ("/logs/x", 400, "bad path\n"),
    ] {
        assert_eq!(
            get(&server, path).await,
            (status, body.to_owned()),
            "{path}"
        );
    }
    for path in ["/logs", "/logs/0", "/logs/stream"] {
        let (status, response) = ask(&server, Method::POST, path, "").await;
        assert_eq!(
            (status, &*response.text().await.unwrap()),
            (400, "bad method\n")
        );
    }
    for (path, sum) in [
        ("/logs?startseg=0", "265"),
        ("/logs?startseg=7", "265"),
        ("/logs?waitsizenot=0", "265"),
    ] {
        let (_, response) = ask(&server, Method::GET, path, "").await;
        assert_eq!(text(response.headers().get("X-Sum-Segment-Size")), sum);
    }
    let (status, response) = ask(&server, Method::HEAD, "/logs/0", "").await;
    let length = text(response.headers().get("Content-Length")).to_owned();
    assert_eq!(
        (status, &*length, response.bytes().await.unwrap().len()),
        (200, "265", 0)
    );
    for (range, wanted, shown) in [
        ("bytes=79-264", &all[79..], "bytes 79-264/265"),
        ("bytes=-3", &all[262..], "bytes 262-264/265"),
        ("bytes=0-0", &all[..1], "bytes 0-0/265"),
    ] {
        let (status, response) = ask(&server, Method::GET, "/logs/0", range).await;
        assert_eq!(text(response.headers().get("Content-Range")), shown);
        assert_eq!(text(response.headers().get("Accept-Ranges")), "bytes");
        assert_eq!(
            (status, &response.bytes().await.unwrap()[..]),
            (206, wanted)
        );
    }
    let (status, response) = ask(&server, Method::GET, "/logs/0", "bytes=265-").await;
    let shown = text(response.headers().get("Content-Range")).to_owned();
    assert_eq!((status, &*shown), (416, "bytes */265"));
    let (status, response) = ask(&server, Method::GET, "/logs/0", "bytes=0-0,2-3").await;
    let parts = response.text().await.unwrap();
    assert!(
        status == 206 && parts.contains("Content-Range: bytes 2-3/265\r\n\r\nC@\r\n"),
        "{parts}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_5_a_long_poll_ends_with_the_news_or_after_its_time() {
    let mut log = MemoryLog::new();
    let options = Options::default()
        .heartbeat(Duration::from_millis(40))
        .waiting(1);
    let server = Server::with(log.clone(), options, Script::default(), "127.0.0.1:0");
    assert_eq!(get(&server, "/logs").await, (200, "[]".to_owned()));
    let begin = Instant::now();
    assert_eq!(
        get(&server, "/logs?waitsizenot=0").await,
        (304, String::new())
    );
    assert!(begin.elapsed() >= Duration::from_millis(40));
    let patient = Options::default().waiting(1);
    let patient = Server::with(log.clone(), patient, Script::default(), "127.0.0.1:0");
    let (answer, refused, ()) = tokio::join!(
        get(&patient, "/logs?waitsizenot=0"),
        async {
            // Only one may wait; another one is told so, and the log grows.
            while patient.logs.waiting() == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let refused = get(&patient, "/logs?waitsizenot=0").await;
            log.append_mutations(&[issue(1, "one")]).unwrap();
            refused
        },
        async {}
    );
    assert_eq!((answer.0, refused.0), (200, 503));
    assert!(answer.1.contains("/logs/0"), "{}", answer.1);
    assert_eq!(patient.logs.waiting(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn complete_segments_are_elsewhere_or_say_that_they_do_not_change() {
    let dir = tempfile::tempdir().unwrap();
    let layout = WriterOptions::default()
        .layout(Layout::Segments { target: 64 })
        .durable(false);
    let log = LiveLog::open(dir.path(), layout).unwrap();
    let mutations: Vec<Mutation> = (1..6).map(|n| issue(n, &"x".repeat(40))).collect();
    let mut sink = log.clone();
    sink.append_mutations(&mutations).unwrap();
    let end = log.end();
    let server = Server::start(log.clone());
    let (_, body) = get(&server, "/logs").await;
    let entries: Vec<serde_json::Value> = serde_json::from_str(&body).unwrap();
    let sum: u64 = entries
        .iter()
        .map(|entry| entry["size"].as_u64().unwrap())
        .sum();
    assert_eq!((entries.len(), LogPosition::new(sum)), (5, end));
    assert_eq!(
        (&entries[0]["frozen"], &entries[4]["frozen"]),
        (&true.into(), &serde_json::Value::Null)
    );
    let (_, response) = ask(&server, Method::GET, "/logs/0", "").await;
    let tag = text(response.headers().get("ETag")).to_owned();
    assert_eq!(
        tag,
        format!("\"{}\"", entries[0]["sha224"].as_str().unwrap())
    );
    let response = reqwest_with(&server, "/logs/0", "If-None-Match", &tag).await;
    assert_eq!(response.status().as_u16(), 304);

    let options = Options::default()
        .frozen_url_base("https://storage.googleapis.com/bucket/")
        .public_path("/prefix/logs");
    let server = Server::with(log, options, Script::default(), "127.0.0.1:0");
    let (_, body) = get(&server, "/logs?startseg=3").await;
    let entries: Vec<serde_json::Value> = serde_json::from_str(&body).unwrap();
    let elsewhere = entries[0]["url"].as_str().unwrap();
    assert!(
        elsewhere.starts_with("https://storage.googleapis.com/bucket/0003."),
        "{elsewhere}"
    );
    assert_eq!(entries[1]["url"], "/prefix/logs/4");
    let (status, response) = ask(&server, Method::GET, "/logs/3", "").await;
    assert_eq!(
        (status, text(response.headers().get("Location"))),
        (302, elsewhere)
    );
}

async fn reqwest_with(server: &Server, path: &str, name: &str, value: &str) -> Response {
    let client = Client::builder()
        .tls_backend_preconfigured(no_tls())
        .build()
        .unwrap();
    let request = client.get(format!("http://{}{path}", server.address));
    request.header(name, value).send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_index_is_compressed_for_those_who_ask_and_segments_never_are() {
    let server = Server::start(documented());
    for (path, coding) in [("/logs", "gzip"), ("/logs/0", "")] {
        let client = Client::builder()
            .no_gzip()
            .tls_backend_preconfigured(no_tls())
            .build()
            .unwrap();
        let request = client.get(format!("http://{}{path}", server.address));
        let response = request
            .header("Accept-Encoding", "gzip")
            .send()
            .await
            .unwrap();
        assert_eq!(
            text(response.headers().get("Content-Encoding")),
            coding,
            "{path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_is_being_written_is_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("maintner-2020-12-23.mutlog");
    let all = MemoryLog::of(&sample::mutations()).bytes();
    std::fs::write(&path, &all[..all.len() - 1]).unwrap();
    let server = Server::start(maintner_core::source::DiskSource::new(dir.path()));
    let shown = server.logs.end();
    assert!(shown < LogPosition::new(all.len() as u64 - 1) && shown > LogPosition::START);
    std::fs::write(&path, &all).unwrap();
    crate::net::until("the record is whole", || {
        server.logs.end().bytes() == all.len() as u64
    });
    let whole = server.logs.snapshot().served()[0].segment().load().unwrap();
    assert_eq!(whole, all);
    assert_eq!(server.logs.trouble(), None);
}
