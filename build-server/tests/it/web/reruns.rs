//! A build that failed by tests is run once more, and everything that shows it says so.

use build_core::event::{BuildEvent, Recorded, Seq};
use build_core::ids::BuildId;
use build_core::report::BuildStatus;
use futures::StreamExt;
use serde_json::{Value, json};

use super::World;
use crate::farm::{SOON, step};

/// A world whose test fails `times` times, then passes.
fn world(marks: &tempfile::TempDir, times: u32) -> World {
    let dir = marks.path().display();
    let script = format!(
        "n=$(ls {dir} | wc -l); touch {dir}/$n
         if [ $n -lt {times} ]; then echo 'test a ... FAILED'; exit 1; fi; echo 'test a ... ok'"
    );
    World::new(vec![step("test", &script)])
}

/// The build that runs another one again, once it has ended.
async fn rerun_of(world: &World, build: &BuildId) -> BuildId {
    let is_it = |event: &Recorded| match event.read() {
        Some(BuildEvent::Queued { item, .. }) => item.rerun_of.as_ref() == Some(build),
        _ => false,
    };
    let search = async {
        let mut events = world.farm.handle.all_events(Seq(0));
        while let Some(event) = events.next().await {
            let event = event.unwrap();
            if is_it(&event) {
                return event.stream.build().unwrap().clone();
            }
        }
        panic!("the farm has ended");
    };
    let id = tokio::time::timeout(SOON, search)
        .await
        .expect("it is run again");
    world.farm.built(&id).await;
    id
}

async fn get(world: &World, path: String) -> Value {
    world.get(path).send().await.json()
}

#[tokio::test]
async fn a_flake_is_told_as_one_and_stays_a_failure() {
    let marks = tempfile::tempdir().unwrap();
    let world = world(&marks, 1);
    let first = world.farm.build(&world.repository).await;
    let again = rerun_of(&world, &first.id).await;
    let row = get(&world, format!("/api/v1/builds/{}", first.id)).await;
    assert_eq!(row["state"], "failed");
    assert_eq!(
        row["rerun"],
        json!({"build": again.as_str(), "state": "passed"})
    );
    assert_eq!(
        row["failed_tests"],
        json!([{"step": "test", "test": "a", "verdict": "new", "runs": 0, "text": "new (no runs before)"}])
    );
    let row = get(&world, format!("/api/v1/builds/{again}")).await;
    assert_eq!(row["item"]["rerun_of"], first.id.as_str());
    assert_eq!(row["failed_tests"], json!([]));
    // The board shows the first build.
    let board = world.get("/").send().await.body;
    assert!(
        board.contains(&format!("href=/builds/{}", first.id)),
        "{board}"
    );
    assert!(!board.contains(&format!("href=/builds/{again}")), "{board}");
    assert!(board.contains("passed on re-run: flaky"), "{board}");
    let page = world.get(format!("/builds/{}", first.id)).send().await.body;
    assert!(
        page.contains("The commit passed on re-run: flaky."),
        "{page}"
    );
    let why = get(&world, format!("/api/v1/queue/{}/why", first.id)).await;
    assert_eq!(
        why["why"],
        "it does not wait: failed; passed on re-run: flaky"
    );
    // The next failure of this test is judged by it.
    std::fs::remove_dir_all(marks.path()).unwrap();
    std::fs::create_dir(marks.path()).unwrap();
    world.repository.write("a", "changed");
    world.repository.commit("next");
    let next = world.farm.build(&world.repository).await;
    let row = get(&world, format!("/api/v1/builds/{}", next.id)).await;
    assert_eq!(row["failed_tests"][0]["text"], "known flake (1 in 2)");
    rerun_of(&world, &next.id).await;
    let tests = world.get("/tests").send().await.body;
    assert!(tests.contains("<code>a</code>"), "{tests}");
    assert!(tests.contains("<td>2 in 4</td>"), "{tests}");
    assert!(tests.contains("flaky, passes now"), "{tests}");
    world.farm.stop().await;
}

#[tokio::test]
async fn what_fails_again_is_no_flake_and_is_not_run_a_third_time() {
    let marks = tempfile::tempdir().unwrap();
    let world = world(&marks, 9);
    let first = world.farm.build(&world.repository).await;
    let again = rerun_of(&world, &first.id).await;
    let records = world.farm.handle.records();
    let row = records.build(&first.id).await.unwrap().unwrap();
    let rerun = row.rerun.unwrap();
    assert_eq!((&rerun.build, rerun.state), (&again, BuildStatus::Failed));
    let row = records.build(&again).await.unwrap().unwrap();
    assert_eq!(row.rerun, None);
    // It is judged by what was before the first one.
    let failed = world.farm.handle.failed_tests(&row).await.unwrap();
    assert_eq!(failed[0].text, "new (no runs before)");
    // A commit later it is broken, which another run would not change.
    world.repository.write("a", "changed");
    world.repository.commit("next");
    let next = world.farm.build(&world.repository).await;
    let row = records.build(&next.id).await.unwrap().unwrap();
    let failed = world.farm.handle.failed_tests(&row).await.unwrap();
    assert!(failed[0].text.starts_with("broken since "));
    assert_eq!(row.rerun, None);
    world.farm.stop().await;
}
