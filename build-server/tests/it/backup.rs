//! A farm in one file: taken while it builds, put back, and refused when it is not whole.

use std::path::Path;

use build_core::ErrorKind;
use build_core::event::{BuildEvent, StreamId};
use build_core::ids::BuildId;
use build_server::backup::{back_up, restore};
use build_server::store::{BlobKey, BlobKind, Store};

use crate::farm::{FakePool, Farm, Repository, Steps, step, text, whole};

/// Everything that a store says of a build that has ended.
async fn told(store: &Store, id: &BuildId) -> String {
    let row = store.records().build(id).await.unwrap().unwrap();
    let first = build_core::event::Version(0);
    let events = store
        .events()
        .read_stream(&StreamId::from(id), first, 1000)
        .await
        .unwrap();
    let logs = build_server::run::LiveLogs::new(store.logs().clone());
    let mut said = serde_json::to_string(&(&row, &events)).unwrap();
    for run in &row.runs {
        said += &text(logs.read(id, &run.exec, 0, false).await.unwrap()).await;
    }
    for file in row.kept.iter().flat_map(|kept| &kept.artifacts) {
        let key = BlobKey::new(BlobKind::Artifact, &file.sha256).unwrap();
        said += &text(store.blobs().get(&key).await.unwrap().unwrap()).await;
    }
    said
}

fn pages(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = names
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_farm_is_backed_up_while_it_builds_and_goes_on_elsewhere() {
    let place = tempfile::tempdir().unwrap();
    let (data, again) = (place.path().join("data"), place.path().join("again"));
    let (file, gate) = (place.path().join("farm.backup"), place.path().join("go"));
    let store = Store::open(&data).await.unwrap();
    std::fs::write(data.join("token"), "secret").unwrap();
    let script = format!(
        "echo hello > out; echo said; [ -e wait ] && until [ -e {} ]; do sleep 0.02; done; true",
        gate.display()
    );
    let mut test = step("test", &script);
    test.artifacts = vec!["out".into()];
    let steps = Steps(vec![test]);
    let farm = Farm::start(&FakePool::new(2), store.clone(), steps.clone());
    let repository = Repository::with_file("a", "");
    let done = farm.build(&repository).await;
    assert!(done.passed());
    let before = told(&store, &done.id).await;
    repository.write("wait", "");
    repository.commit("waits");
    let open = farm.submit(&repository).await;
    let begun = |e: &BuildEvent| matches!(e, BuildEvent::Started { .. });
    farm.until(&open, begun).await;
    // Others come and go meanwhile.
    repository.git(&["rm", "-q", "wait"]);
    let busy = async {
        for n in 0..4 {
            repository.commit(&format!("{n}"));
            farm.build(&repository).await;
        }
    };
    let (made, ()) = tokio::join!(back_up(&data, &file, |_| {}), busy);
    let made = made.unwrap();
    assert!(made.head > 0 && made.files >= 4, "{made:?}");
    let clash = back_up(&data, &file, |_| {}).await.unwrap_err();
    assert_eq!(clash.kind(), ErrorKind::Conflict);
    let used = restore(&file, &data, |_| {}).await.unwrap_err();
    assert_eq!(used.kind(), ErrorKind::Conflict, "{}", used.chain());
    std::fs::write(&gate, "").unwrap();
    assert!(farm.built(&open).await.passed());
    farm.stop().await;
    drop(store);
    let full = restore(&file, &data, |_| {}).await.unwrap_err();
    assert_eq!(full.kind(), ErrorKind::Conflict, "{}", full.chain());
    assert!(full.to_string().contains("is not empty"), "{full}");
    assert_eq!(
        pages(place.path()),
        ["data", "farm.backup", "go"],
        "nothing else is left"
    );

    assert_eq!(restore(&file, &again, |_| {}).await.unwrap(), made);
    assert_eq!(
        std::fs::read_to_string(again.join("token")).unwrap(),
        "secret"
    );
    let store = Store::open(&again).await.unwrap();
    assert_eq!(told(&store, &done.id).await, before);
    // What ran at that time runs again on another machine.
    let farm = Farm::start(&FakePool::new(2), store.clone(), steps);
    let built = farm.built(&open).await;
    assert!(built.passed());
    let row = store.records().build(&open).await.unwrap().unwrap();
    assert_eq!(row.runs.last().unwrap().attempt, 2);
    assert_eq!(farm.log(&open, &whole("test")).await, "said\n");
    farm.stop().await;
}

#[tokio::test]
async fn what_is_torn_damaged_or_no_backup_leaves_nothing() {
    let place = tempfile::tempdir().unwrap();
    let (data, file) = (place.path().join("data"), place.path().join("whole"));
    let nothing = back_up(&data, &file, |_| {}).await.unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::NotFound);
    drop(Store::open(&data).await.unwrap());
    let log = data.join("logs/B000000001");
    std::fs::create_dir_all(&log).unwrap();
    std::fs::write(log.join("x.log"), "printed").unwrap();
    back_up(&data, &file, |_| {}).await.unwrap();
    let whole = std::fs::read(&file).unwrap();
    let bad = place.path().join("bad");
    let to = place.path().join("to");
    let refused = async |bytes: &[u8]| {
        std::fs::write(&bad, bytes).unwrap();
        let error = restore(&bad, &to, |_| {}).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", error.chain());
        assert!(error.hint().is_some(), "{}", error.chain());
        assert_eq!(pages(&to), ["lock"]);
        error.chain()
    };
    for cut in [
        0,
        1,
        10,
        whole.len() / 3,
        whole.len() / 2,
        whole.len() - 9,
        whole.len() - 1,
    ] {
        refused(&whole[..cut]).await;
    }
    // More than a bit in the middle: within a run of zeros, another distance is no damage.
    for (at, length) in [(12, 1), (whole.len() / 2, 64), (whole.len() - 6, 1)] {
        let mut damaged = whole.clone();
        damaged[at..][..length]
            .iter_mut()
            .for_each(|byte| *byte ^= 0x5a);
        refused(&damaged).await;
    }
    let said = refused(b"#!/bin/sh\n").await;
    assert!(said.contains("no backup of a farm"), "{said}");
    let absent = restore(&place.path().join("absent"), &to, |_| {})
        .await
        .unwrap_err();
    assert_eq!(absent.kind(), ErrorKind::NotFound);
    restore(&file, &to, |_| {}).await.unwrap();
    assert_eq!(
        std::fs::read(to.join("logs/B000000001/x.log")).unwrap(),
        b"printed"
    );
}
