//! Builds as traces, at a collector that is away at first.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use build_core::buildlet::ExecOutcome;
use build_core::clock::Timestamp;
use build_core::event::{BuildEvent, LeaseEnd, Outcome, UnitEnd};
use build_core::ids::{BuildId, BuilderName, CommitHash, ExecId, LeaseId, RepoName, StepName};
use build_core::plan::{Part, Unit};
use build_core::work::WorkItem;
use build_server::store::{Ledger, Store};
use build_server::testing::{batch, event};
use build_server::traces::{Collector, follower};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio_util::sync::CancellationToken;

/// What a collector was sent. The first request is refused: it is not ready yet.
#[derive(Clone, Default)]
struct Sent(Arc<Mutex<(usize, Vec<Span>)>>);

async fn collect(State(sent): State<Sent>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let mut sent = sent.0.lock().unwrap();
    sent.0 += 1;
    if sent.0 == 1 {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    assert_eq!(headers["content-type"], "application/x-protobuf");
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    for of_resource in request.resource_spans {
        let resource = of_resource.resource.unwrap();
        assert!(resource.attributes.iter().any(|a| a.key == "service.name"));
        sent.1
            .extend(of_resource.scope_spans.into_iter().flat_map(|s| s.spans));
    }
    StatusCode::OK
}

async fn write(store: &Store, ledger: &Ledger, build: &BuildId, begin: Timestamp) {
    let told = a_build();
    let events = told
        .iter()
        .map(|(second, told)| event(build, begin + Duration::from_secs(*second), told));
    let batch = batch(&**store.events(), events.collect()).await.unwrap();
    ledger.append(batch).await.unwrap();
}

fn unit(step: &str, part: Part) -> Unit {
    Unit {
        step: StepName::new(step).unwrap(),
        part,
    }
}

fn started(unit: &Unit, attempt: u32, lease: u64) -> BuildEvent {
    BuildEvent::Started {
        unit: unit.clone(),
        attempt,
        lease: LeaseId::from_bits(lease),
        exec: ExecId::new(format!("exec-{attempt}")).unwrap(),
        tests: Vec::new(),
    }
}

fn ended(unit: &Unit, attempt: u32, end: UnitEnd) -> BuildEvent {
    BuildEvent::Ended {
        unit: unit.clone(),
        attempt,
        end,
        output_bytes: 0,
        took: Duration::ZERO,
        guessed: false,
    }
}

/// A build whose first machine is lost in the middle of its only step, and which then fails.
fn a_build() -> Vec<(u64, BuildEvent)> {
    let commit = CommitHash::new("c".repeat(40)).unwrap();
    let mut item = WorkItem::new(RepoName::new("project").unwrap(), "/project", commit);
    item.branch = Some("main".into());
    let test = unit("test", Part::Whole);
    let leased = |lease, machine: &str| BuildEvent::Leased {
        lease: LeaseId::from_bits(lease),
        machine: machine.parse().unwrap(),
        unit: test.clone(),
    };
    let lease_ended = |lease, reason| BuildEvent::LeaseEnded {
        lease: LeaseId::from_bits(lease),
        reason,
    };
    vec![
        (
            0,
            BuildEvent::Queued {
                item,
                builder: BuilderName::new("linux").unwrap(),
            },
        ),
        (5, leased(1, "local-1")),
        (6, started(&test, 1, 1)),
        (8, ended(&test, 1, UnitEnd::Lost("it was unplugged".into()))),
        (8, lease_ended(1, LeaseEnd::Lost("it was unplugged".into()))),
        (9, leased(2, "local-2")),
        (10, started(&test, 2, 2)),
        (12, ended(&test, 2, UnitEnd::Exited(ExecOutcome::Exit(7)))),
        (
            12,
            BuildEvent::Finished {
                outcome: Outcome::Failed {
                    step: StepName::new("test").unwrap(),
                    text: "exit status 7".into(),
                },
            },
        ),
        (13, lease_ended(2, LeaseEnd::Released)),
    ]
}

fn attribute(span: &Span, key: &str) -> String {
    let found = span.attributes.iter().find(|a| a.key == key);
    match found.and_then(|a| a.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        other => format!("{other:?}"),
    }
}

#[tokio::test]
async fn a_build_is_one_trace_with_a_span_for_each_machine_step_and_command() {
    let sent = Sent::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new()
        .route("/v1/traces", post(collect))
        .with_state(sent.clone());
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });

    let store = Store::memory();
    let ledger = store.ledger();
    let follow = || follower(&ledger, Collector::new(&url, "http://farm/").unwrap());
    let run = async |follower: build_server::readers::Follower<_>| {
        let (outbox, stop) = (follower.outbox(), CancellationToken::new());
        let looking = async {
            outbox.caught_up(Duration::from_secs(20)).await.unwrap();
            stop.cancel();
        };
        let (ran, ()) = tokio::join!(follower.run(stop.clone()), looking);
        ran.unwrap();
    };
    // What was before the reader is nobody's news.
    let begin = Timestamp::from(std::time::SystemTime::now());
    write(&store, &ledger, &BuildId::from_bits(1), begin).await;
    run(follow()).await;
    assert_eq!(sent.0.lock().unwrap().0, 0);
    let build = BuildId::from_bits(7);
    write(&store, &ledger, &build, begin).await;
    run(follow()).await;

    let (requests, spans) = sent.0.lock().unwrap().clone();
    assert_eq!(requests, 2, "once refused, once taken");
    let names: BTreeMap<&[u8], &str> = spans
        .iter()
        .map(|span| (&span.span_id[..], &span.name[..]))
        .collect();
    assert_eq!(names.len(), spans.len(), "each id once");
    assert!(spans.iter().all(|span| span.trace_id == spans[0].trace_id));
    let told: Vec<String> = spans
        .iter()
        .map(|span| {
            let parent = names.get(&span.parent_span_id[..]).unwrap_or(&"nothing");
            let second = |nanos: u64| {
                let at = Timestamp::from_micros(i64::try_from(nanos / 1_000).unwrap());
                at.since(begin).as_secs()
            };
            let status = span.status.as_ref().unwrap();
            format!(
                "{} in {parent}, {} to {} s: {} {:?}",
                span.name,
                second(span.start_time_unix_nano),
                second(span.end_time_unix_nano),
                status.code().as_str_name(),
                status.message
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            r#"project on linux in nothing, 0 to 12 s: STATUS_CODE_ERROR "failed: step test: exit status 7""#,
            r#"waiting for a machine in project on linux, 0 to 5 s: STATUS_CODE_UNSET """#,
            r#"machine local-1 in project on linux, 5 to 8 s: STATUS_CODE_ERROR "it was unplugged""#,
            r#"machine local-2 in project on linux, 9 to 13 s: STATUS_CODE_OK """#,
            r#"test in project on linux, 6 to 12 s: STATUS_CODE_ERROR "a command of the step did not pass""#,
            r#"test in test, 6 to 8 s: STATUS_CODE_ERROR "it was unplugged""#,
            r#"test in test, 10 to 12 s: STATUS_CODE_ERROR "exit status 7""#,
        ]
    );
    assert_eq!(
        attribute(&spans[0], "cicd.pipeline.run.id"),
        build.to_string()
    );
    assert_eq!(
        attribute(&spans[0], "cicd.pipeline.run.url.full"),
        format!("http://farm/builds/{build}")
    );
    assert_eq!(attribute(&spans[0], "cicd.pipeline.result"), "failure");
    assert_eq!(
        attribute(&spans[6], "cicd.pipeline.task.run.result"),
        "failure"
    );
    assert_eq!(attribute(&spans[6], "cicd.worker.name"), "local-2");
    serving.abort();
}
