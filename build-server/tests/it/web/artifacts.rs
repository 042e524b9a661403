//! Kept files over the API.

use std::time::Duration;

use axum::http::{StatusCode, header};
use build_core::ids::BuildId;
use build_core::plan::{KeptWhen, Step};
use build_core::tarutil::Untar;
use build_server::retention::KeepArtifacts;
use build_server::store::{BlobKey, BlobKind};

use super::World;
use crate::farm::step;

const HOUR: Duration = Duration::from_secs(60 * 60);

async fn built(world: &World) -> BuildId {
    let created = world.post("/api/v1/builds").json(&world.wish());
    let created = created.send().await.json();
    let id = BuildId::new(created["builds"][0]["id"].as_str().unwrap()).unwrap();
    assert!(world.farm.built(&id).await.passed());
    id
}

fn keeping(name: &str, run: &str) -> Step {
    let mut step = step(name, run);
    step.artifacts = vec!["out/**".into()];
    step
}

/// Both on one machine, one after the other.
fn two_steps() -> World {
    let run = "mkdir -p out/d; printf 0123456789 > out/d/digits; printf a > 'out/odd #1'";
    let one = keeping("one", run);
    let mut two = keeping("two", "mkdir -p out/d; printf other > out/d/digits");
    two.artifacts = vec!["out/d/*".into()];
    World::new(vec![one, two])
}

#[tokio::test]
async fn kept_files_are_listed_in_parts_and_fetched_by_their_addresses() {
    let world = two_steps();
    let id = built(&world).await;
    let list = format!("/api/v1/builds/{id}/artifacts");
    let all = world.get(&list).send().await.json();
    let files = all["artifacts"].as_array().unwrap();
    assert_eq!(files.len(), 3);
    assert!(all["next"].is_null());
    for file in files {
        let fetched = world.get(file["url"].as_str().unwrap()).send().await;
        assert_eq!(fetched.status, StatusCode::OK, "{file}");
        assert_eq!(fetched.body.len() as u64, file["size"].as_u64().unwrap());
        let kind = &fetched.headers[header::CONTENT_TYPE];
        assert_eq!(kind, "application/octet-stream");
        assert!(
            fetched.headers[header::CONTENT_DISPOSITION]
                .to_str()
                .unwrap()
                .starts_with("attachment")
        );
    }
    let first = world.get(format!("{list}?limit=2")).send().await.json();
    let rest = world
        .get(format!("{list}?after={}", first["next"]))
        .send()
        .await
        .json();
    assert_eq!(rest["artifacts"][0], files[2]);
    let of_two = world.get(format!("{list}?step=two")).send().await.json();
    assert_eq!(of_two["artifacts"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn parts_and_tags_save_transfers() {
    let world = two_steps();
    let id = built(&world).await;
    let digits = format!("/api/v1/builds/{id}/artifacts/one/out/d/digits");
    let part = world.get(&digits).with("range", "bytes=3-5").send().await;
    assert_eq!(
        (part.status, &*part.body),
        (StatusCode::PARTIAL_CONTENT, "345")
    );
    assert_eq!(part.headers[header::CONTENT_RANGE], "bytes 3-5/10");
    let tag = part.headers[header::ETAG].to_str().unwrap().to_owned();
    let behind = world.get(&digits).with("range", "bytes=10-").send().await;
    assert_eq!(behind.status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(behind.headers[header::CONTENT_RANGE], "bytes */10");
    let known = world.get(&digits).with("if-none-match", &tag).send().await;
    assert_eq!((known.status, &*known.body), (StatusCode::NOT_MODIFIED, ""));
    let other = world
        .get(&digits)
        .with("range", "bytes=3-5")
        .with("if-range", "\"x\"");
    assert_eq!(other.send().await.body, "0123456789");
}

#[tokio::test]
async fn one_archive_holds_every_file_below_its_step() {
    let world = two_steps();
    let id = built(&world).await;
    let archive = world
        .get(format!("/api/v1/builds/{id}/artifacts.tar"))
        .send()
        .await;
    assert_eq!(archive.status, StatusCode::OK);
    let dir = tempfile::tempdir().unwrap();
    let tar = archive.body.into_bytes();
    Untar::open(dir.path()).unwrap().unpack_tar(&*tar).unwrap();
    let read = |path| std::fs::read_to_string(dir.path().join(path)).unwrap();
    assert_eq!(read("one/out/d/digits"), "0123456789");
    assert_eq!(read("one/out/odd #1"), "a");
    assert_eq!(read("two/out/d/digits"), "other");
}

#[tokio::test]
async fn what_is_not_there_is_said_with_a_way_on() {
    let world = two_steps();
    let id = built(&world).await;
    let base = format!("/api/v1/builds/{id}/artifacts");
    let alone = world.get(format!("{base}/out/odd%20%231")).send().await;
    assert_eq!((alone.status, &*alone.body), (StatusCode::OK, "a"));
    let twice = world.get(format!("{base}/out/d/digits")).send().await;
    assert_eq!(twice.status, StatusCode::BAD_REQUEST);
    assert!(twice.json()["hint"].as_str().unwrap().contains("STEP/PATH"));
    let none = world.get(format!("{base}/one/../secret")).send().await;
    assert_eq!(none.status, StatusCode::NOT_FOUND);
    let file = &world.get(&base).send().await.json()["artifacts"][0];
    let key = BlobKey::new(BlobKind::Artifact, file["sha256"].as_str().unwrap()).unwrap();
    world.store.blobs().remove(&key).await.unwrap();
    let gone = world.get(file["url"].as_str().unwrap()).send().await;
    assert_eq!(gone.status, StatusCode::GONE);
    let said = gone.json()["message"].as_str().unwrap().to_owned();
    assert!(said.contains("not kept any more"), "{said}");
    let nothing = World::new(vec![step("x", "true")]);
    let id = built(&nothing).await;
    let empty = nothing
        .get(format!("/api/v1/builds/{id}/artifacts.tar"))
        .send()
        .await;
    assert_eq!(empty.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn files_whose_time_is_over_are_gone_and_say_so() {
    let mut short = keeping("short", "mkdir -p out; echo a >out/a");
    short.artifacts_keep = Some(HOUR);
    let long = keeping("long", "mkdir -p out; echo b >out/b").needing(&short.name);
    let keep = KeepArtifacts::default()
        .age(Some(3 * HOUR))
        .bytes(Some(1 << 20));
    let world = World::with(vec![short, long], |site, _, _| {
        site.with_keep_artifacts(keep)
    });
    let id = built(&world).await;
    let list = format!("/api/v1/builds/{id}/artifacts");
    let page = format!("/builds/{id}");
    let told = world.get(&list).send().await.json();
    let files = told["artifacts"].as_array().unwrap();
    assert!(
        files
            .iter()
            .all(|file| file["until"].is_string() && file["gone"].is_null())
    );
    let shown = world.get(&page).send().await.body;
    assert!(shown.contains("or until others need their room"), "{shown}");

    world.clock.advance(2 * HOUR);
    let told = world.get(&list).send().await.json();
    let gone = |step: &str| {
        let mut files = told["artifacts"].as_array().unwrap().iter();
        files.find(|file| file["step"] == step).unwrap()["gone"] == true
    };
    assert!(gone("short") && !gone("long"));
    let file = world.get(format!("{list}/short/out/a")).send().await;
    assert_eq!(file.status, StatusCode::GONE);
    let said = file.json()["message"].as_str().unwrap().to_owned();
    assert!(
        said.starts_with(&format!("out/a of build {id} was kept until 2")),
        "{said}"
    );
    assert!(
        file.json()["hint"]
            .as_str()
            .unwrap()
            .contains("farmer rerun")
    );
    let shown = world.get(&page).send().await.body;
    assert!(shown.contains("were kept until"), "{shown}");
    // What is left comes in one archive, which names the rest.
    let archive = world.get(format!("{list}.tar")).send().await;
    let dir = tempfile::tempdir().unwrap();
    let tar = archive.body.into_bytes();
    Untar::open(dir.path()).unwrap().unpack_tar(&*tar).unwrap();
    let read = |path| std::fs::read_to_string(dir.path().join(path)).unwrap();
    assert_eq!(read("long/out/b"), "b\n");
    assert!(read("not-kept-any-more.txt").starts_with("out/a of build"));

    world.clock.advance(2 * HOUR);
    let archive = world.get(format!("{list}.tar")).send().await;
    assert_eq!(archive.status, StatusCode::GONE);
}

#[tokio::test]
async fn of_shards_that_fail_each_file_is_found() {
    let mut step = keeping("test", "mkdir -p out; echo {tests} >out/log; exit 1");
    step.artifacts_when = KeptWhen::Failed;
    step.tests = Some("echo one; echo two".into());
    step.shards = 2;
    let world = World::new(vec![step]);
    let created = world.post("/api/v1/builds").json(&world.wish());
    let created = created.send().await.json();
    let id = BuildId::new(created["builds"][0]["id"].as_str().unwrap()).unwrap();
    assert!(!world.farm.built(&id).await.passed());
    let list = format!("/api/v1/builds/{id}/artifacts");
    let told = world.get(&list).send().await.json();
    let files = told["artifacts"].as_array().unwrap();
    let mut found = Vec::new();
    for file in files {
        let fetched = world.get(file["url"].as_str().unwrap()).send().await;
        found.push(fetched.body.trim().to_owned());
    }
    found.sort();
    assert_eq!(found, ["one", "two"], "{told}");
    // Without a part it is the file of the first one, as ever.
    let first = world.get(format!("{list}/test/out/log")).send().await;
    assert_eq!(first.status, StatusCode::OK);
    let archive = world.get(format!("{list}.tar")).send().await;
    let dir = tempfile::tempdir().unwrap();
    let tar = archive.body.into_bytes();
    Untar::open(dir.path()).unwrap().unpack_tar(&*tar).unwrap();
    for shard in ["test (shard 1)", "test (shard 2)"] {
        assert!(dir.path().join(shard).join("out/log").exists(), "{shard}");
    }
}

#[tokio::test]
async fn a_row_stays_short_whatever_is_kept_and_the_list_has_all_of_it() {
    // The release build is asked for the figure of 8,000.
    let many: usize = std::env::var("FARMER_KEPT").map_or(700, |text| text.parse().unwrap());
    let run =
        format!("mkdir out; cd out; seq -f %07.0f {many} | while read n; do echo $n >$n; done");
    let world = World::new(vec![keeping("many", &run)]);
    let begun = std::time::Instant::now();
    let id = built(&world).await;
    let each = begun.elapsed() / u32::try_from(many).unwrap();
    eprintln!("{many} kept files: {each:?} each, the step that makes them included");
    let row = world.get(format!("/api/v1/builds/{id}")).send().await;
    assert!(row.body.len() < 64 << 10, "{} bytes", row.body.len());
    let row = row.json();
    let named = row["kept"][0]["artifacts"].as_array().unwrap().len();
    assert_eq!(
        named as u64 + row["kept"][0]["more"].as_u64().unwrap(),
        many as u64
    );
    let (mut files, mut after) = (Vec::new(), 0);
    loop {
        let list = format!("/api/v1/builds/{id}/artifacts?limit=300&after={after}");
        let page = world.get(list).send().await.json();
        files.extend(page["artifacts"].as_array().unwrap().clone());
        match page["next"].as_u64() {
            Some(next) => after = next,
            None => break,
        }
    }
    assert_eq!(files.len(), many);
    for file in [&files[0], &files[many - 1]] {
        let fetched = world.get(file["url"].as_str().unwrap()).send().await;
        let name = file["path"].as_str().unwrap().strip_prefix("out/").unwrap();
        assert_eq!(fetched.body.trim(), name);
    }
    // Nothing that is listed is swept, though no row names it.
    let store = world
        .farm
        .handle
        .records()
        .build(&id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(store.kept[0].count(), many as u64);
}
