//! The documents that programs of the Go project read from a coordinator.

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use build_core::event::{BuildEvent, Outcome};
use build_core::ids::{BuilderName, ChangeRef};
use build_core::work::Class;
use build_server::classic::{Classic, Finding, HealthCheck, Level};
use build_server::http::{Guard, Hosts, guarded};
use build_server::store::Store;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::farm::{FakePool, Farm, Repository, SOON, Steps, step};

/// `/builders?mode=json` with nobody as the user, as spec'd by the reference.
const BUILDERS_BYTES: usize = 76_796;

struct World {
    farm: Farm,
    repository: Repository,
    router: Router,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl World {
    fn new(run: &str) -> Self {
        Self::with(run, |classic| classic)
    }

    fn with(run: &str, change: impl FnOnce(Classic) -> Classic) -> Self {
        let farm = Farm::start(
            &FakePool::new(1),
            Store::memory(),
            Steps(vec![step("all", run)]),
        );
        let builders = build_core::builders::Farm::go2020();
        let classic = change(Classic::new(
            farm.handle.clone(),
            builders,
            "https://localhost:8119/",
        ));
        let pages = classic.router().merge(classic.front_page());
        Self {
            farm,
            repository: Repository::with_file("a", ""),
            router: guarded(pages, Guard::new(Hosts::default())),
        }
    }

    async fn ask(&self, method: Method, path: &str) -> Answer {
        let request = Request::builder().method(method).uri(path);
        let request = request.header("host", "localhost:8119");
        let request = request.body(Body::empty()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = tokio::time::timeout(SOON, to_bytes(body, 16 << 20)).await;
        let body = body.expect("the answer ends soon").unwrap();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path).await
    }
}

#[tokio::test]
async fn builders_are_told_as_the_go_coordinator_tells_them() {
    let world = World::new("true");
    let answer = world.get("/builders?mode=json").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(answer.body.len(), BUILDERS_BYTES);
    let value: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(value["Hosts"].as_object().unwrap().len(), 70);
    assert_eq!(value["Builders"].as_object().unwrap().len(), 108);
    assert!(
        answer
            .body
            .starts_with("{\n\t\"Builders\": {\n\t\t\"aix-ppc64\": {")
    );

    let page = world.get("/builders").await;
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    assert!(page.body.contains("Defined Host Types (pools)"));
    let link = "<a href=\"#host-linux-jessie\">host-linux-jessie</a>";
    assert!(page.body.contains(link), "{}", page.body);
    world.farm.stop().await;
}

#[tokio::test]
async fn the_front_page_tells_what_the_farm_does() {
    let world = World::new("true");
    let built = world.farm.build(&world.repository).await;
    assert!(built.passed());
    let page = world.get("/").await;
    assert_eq!(page.status, StatusCode::OK);
    for heading in [
        "Running",
        "Health",
        "Remote buildlets",
        "Active Trybot Runs",
        "Scheduler State",
        "Buildlet pools",
        "Active builds",
        "Pending builds",
        "Recently completed",
    ] {
        assert!(page.body.contains(&format!(">{heading}</h2>")), "{heading}");
    }
    for anchor in [
        "health",
        "remote",
        "trybots",
        "sched",
        "pools",
        "active",
        "pending",
        "completed",
        "fd",
    ] {
        assert!(page.body.contains(&format!("id={anchor}>")), "{anchor}");
    }
    assert!(page.body.contains("; passed, "), "{}", page.body);
    for path in [
        "/queues",
        "/dashboard",
        "/dashboard?short",
        "/style.css",
        "/static/style.css",
    ] {
        assert_eq!(world.get(path).await.status, StatusCode::OK, "{path}");
    }
    let queues: Value = serde_json::from_str(&world.get("/queues?mode=json").await.body).unwrap();
    assert_eq!(queues[0]["limit"], 1);
    assert_eq!(world.get("/nope").await.status, StatusCode::NOT_FOUND);
    world.farm.stop().await;
}

/// Something that is broken.
struct Broken;

#[async_trait]
impl HealthCheck for Broken {
    fn id(&self) -> &str {
        "mirror"
    }

    fn title(&self) -> &str {
        "The mirror"
    }

    fn notes(&self) -> &str {
        "https://example.com/mirror"
    }

    async fn look(&self) -> build_core::Result<Vec<Finding>> {
        let level = Level::Error;
        let text = "is down".into();
        Ok(vec![Finding { level, text }])
    }
}

#[tokio::test]
async fn each_check_answers_for_itself() {
    let world = World::with("true", |classic| classic.with_check(Broken));
    let fine = world.get("/status/work").await;
    assert_eq!((fine.status, fine.body.as_str()), (StatusCode::OK, "ok\n"));
    let broken = world.get("/status/mirror").await;
    assert_eq!(broken.status, StatusCode::INTERNAL_SERVER_ERROR);
    let text =
        "# \"mirror\" status: The mirror\n# Notes: https://example.com/mirror\nError: is down\n";
    assert_eq!(broken.body, text);
    assert_eq!(
        world.get("/status/nope").await.status,
        StatusCode::NOT_FOUND
    );
    assert!(world.get("/").await.body.contains("is down"));
    world.farm.stop().await;
}

#[tokio::test]
async fn try_runs_are_found_by_the_beginning_of_their_commit() {
    let world = World::new("false");
    let missing = world.get("/try.json?commit=").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    assert_eq!(missing.headers["access-control-allow-origin"], "*");
    let said: Value = serde_json::from_str(&missing.body).unwrap();
    assert_eq!(said["success"], false);
    assert!(
        said["error"]
            .as_str()
            .unwrap()
            .starts_with("TryBot result not found")
    );
    let options = world.ask(Method::OPTIONS, "/try.json").await;
    assert_eq!(
        (options.status, options.body.as_str()),
        (StatusCode::OK, "")
    );
    assert_eq!(options.headers["access-control-allow-origin"], "*");

    let mut item = world
        .farm
        .checkouts
        .resolve(&world.repository.origin(), None)
        .await
        .unwrap();
    item.class = Class::Try;
    item.change = Some(ChangeRef::new("Ifoo").unwrap());
    let commit = item.commit.to_string();
    let builder = world.farm.builder();
    let build = world.farm.handle.submit(item, &builder).await.unwrap();
    let built = world.farm.built(&build).await;
    assert!(matches!(built.outcome(), Outcome::Failed { .. }));
    let path = format!("/try.json?commit={}", &commit[..9]);
    let answer = world.get(&path).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.body.ends_with("}\n"));
    let said: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(said["success"], true);
    assert_eq!(said["payload"]["changeId"], "Ifoo");
    assert_eq!(said["payload"]["commit"], commit.as_str());
    let builds = &said["payload"]["builds"];
    assert_eq!(builds[0]["name"], builder.as_str());
    assert_eq!(
        (&builds[0]["done"], &builds[0]["succeeded"]),
        (&json!(true), &json!(false))
    );
    let page = world.get(&format!("/try?commit={commit}")).await;
    assert!(page.body.contains("<b>FAIL</b>") && page.body.contains("Builds remaining: 0"));
    world.farm.stop().await;
}

#[tokio::test]
async fn a_log_is_read_while_the_build_runs() {
    let go = tempfile::tempdir().unwrap();
    let go_on = go.path().join("go").display().to_string();
    let run = format!("echo begun; until [ -e {go_on} ]; do sleep 0.01; done; echo end");
    let world = World::new(&run);
    let id = world.farm.submit(&world.repository).await;
    let begun = |e: &BuildEvent| matches!(e, BuildEvent::Started { .. });
    world.farm.until(&id, begun).await;
    let active: Value =
        serde_json::from_str(&world.get("/status/post-submit-active.json").await.body).unwrap();
    let commit = world.repository.git(&["rev-parse", "HEAD"]);
    assert_eq!(active[0]["commit"], commit.as_str());
    let url = active[0]["statusURL"].as_str().unwrap();
    let path = url.strip_prefix("https://localhost:8119").unwrap();
    let now = world.get(&format!("{path}&nostream=1")).await;
    assert!(
        now.body.contains("   status: still running\n"),
        "{}",
        now.body
    );
    let read = world.get(path);
    let end = async { std::fs::write(&go_on, "").unwrap() };
    let (log, ()) = tokio::join!(read, end);
    assert_eq!(log.headers["content-type"], "text/plain; charset=utf-8");
    let builder: BuilderName = world.farm.builder();
    for part in [
        format!("  builder: {builder}\n      rev: {commit}\n"),
        "\nEvents:\n".into(),
        "\nBuild log:\nbegun\nend\n".into(),
    ] {
        assert!(log.body.contains(&part), "{part:?} in {}", log.body);
    }
    world.farm.built(&id).await;
    let ended = world.get(path).await;
    assert!(ended.body.contains("  success: true\n"), "{}", ended.body);
    assert!(ended.body.ends_with("begun\nend\n"), "{}", ended.body);
    // Without the id it is the newest one; with another commit it is none.
    let newest = format!("/logs?name={builder}&rev={commit}");
    assert!(world.get(&newest).await.body.ends_with("begun\nend\n"));
    for wrong in [
        format!("/temporarylogs?name={builder}&rev={}&st={id}", &commit[1..]),
        format!("/temporarylogs?name=other&rev={commit}&st={id}"),
        format!("/temporarylogs?name={builder}&rev={commit}&st=0xc000"),
        "/temporarylogs".into(),
    ] {
        assert_eq!(
            world.get(&wrong).await.status,
            StatusCode::NOT_FOUND,
            "{wrong}"
        );
    }
    let none = world.get("/status/post-submit-active.json").await;
    assert_eq!(none.body, "[]\n");
    world.farm.stop().await;
}
