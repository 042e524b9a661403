//! The client of the API against the API: every call, over a socket.

use build_client::farm::FarmClient;
use build_core::ErrorKind;
use build_core::event::Seq;
use build_core::ids::{BuildId, ReaderName, RepoId};
use build_core::report::{
    ArtifactQuery, BoardQuery, BuildQuery, BuildStatus, LogQuery, NewBuild, RepoChange,
    RetryEffects, RunStatus, WishQuery,
};
use build_core::test_lines::TestEnd;
use build_server::supervise::Supervisor;
use futures::TryStreamExt;
use tokio::net::TcpListener;

use super::World;
use crate::farm::step;

async fn text(stream: build_core::buildlet::ByteStream) -> String {
    let pieces: Vec<_> = stream.try_collect().await.unwrap();
    String::from_utf8(pieces.concat()).unwrap()
}

#[tokio::test]
async fn every_call_of_the_client_is_answered_by_the_farm() {
    let script = "[ -e wait ] && sleep 600; echo hello > 'a b'; echo 'test one ... ok'; echo 'test two ... FAILED'; exit 3";
    let mut build = step("test", script);
    build.artifacts = vec!["*".into()];
    let mut kept = step("keep", "echo kept > 'a b'");
    kept.artifacts = vec!["a b".into()];
    let world = World::new(vec![build.needing(&kept.name), kept]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let serving = Supervisor::new("site");
    let router = world.router();
    serving.spawn("serve", async move { axum::serve(listener, router).await });
    let stranger = FarmClient::builder(&address).build().unwrap();
    let farm = FarmClient::builder(&address)
        .token(&world.token)
        .build()
        .unwrap();

    let wish = NewBuild {
        repo: world.repository.origin().to_string(),
        ..NewBuild::default()
    };
    let denied = stranger.create(&wish).await.unwrap_err();
    assert_eq!(denied.kind(), ErrorKind::Denied, "{}", denied.chain());
    let created = farm.create(&wish).await.unwrap();
    let id = created.builds[0].id.clone();
    let follow = LogQuery {
        follow: true,
        ..LogQuery::default()
    };
    let output = text(stranger.log(&id, &follow).await.unwrap()).await;
    assert_eq!(output, "test one ... ok\ntest two ... FAILED\n");
    let events: Vec<_> = farm
        .events(&id, None)
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(events.first().unwrap().kind.as_str(), "queued");
    let last = events.last().unwrap().seq;
    let rest: Vec<_> = farm
        .events(&id, Some(last))
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert!(rest.is_empty());
    let mut all = farm.all_events(Some(Seq(0))).await.unwrap();
    assert!(all.try_next().await.unwrap().unwrap().seq <= events[0].seq);
    drop(all);

    let report = farm.build(&id).await.unwrap();
    assert_eq!(report.state, BuildStatus::Failed);
    assert_eq!(
        report.outcome.as_ref().unwrap().to_string(),
        "failed: step test: exit status 3"
    );
    let run = report.runs.last().unwrap();
    assert_eq!((run.state, run.exit_status), (RunStatus::Failed, Some(3)));
    assert_eq!(run.tested.as_ref().unwrap().failed, 1);
    assert!(report.queued <= report.started.unwrap());
    assert!(run.took.is_some());
    let failed = report.failed_tests.as_ref().unwrap();
    assert_eq!(failed[0].test, "two");
    let tests: Vec<_> = farm.tests(&id).await.unwrap().try_collect().await.unwrap();
    let ends: Vec<_> = tests.iter().map(|t| t.end).collect();
    assert_eq!(ends, [TestEnd::Passed, TestEnd::Failed]);

    let kept = farm
        .artifacts(&id, &ArtifactQuery::default())
        .await
        .unwrap()
        .artifacts;
    let file = farm.artifact(&id, &kept[0]).await.unwrap();
    assert_eq!(text(file).await, "kept\n");
    let archive = farm.archive(&id, None).await.unwrap();
    assert!(
        archive
            .try_collect::<Vec<_>>()
            .await
            .unwrap()
            .concat()
            .len()
            >= 2048
    );

    let again = farm.rerun(&id).await.unwrap();
    world.farm.built(&again.id).await;
    let refused = farm.cancel(&again.id).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert_eq!(refused.hint(), Some("there is nothing left to cancel"));
    // Failed tests are run again by themselves, whenever a machine is idle.
    let mut only = BuildQuery {
        limit: Some(1),
        state: Some(BuildStatus::Failed),
        ..BuildQuery::default()
    };
    let mut listed = Vec::new();
    loop {
        let page = farm.builds(&only).await.unwrap();
        listed.extend(page.builds.into_iter().map(|build| build.id));
        only.before = page.next.map(|seq| seq.0);
        if only.before.is_none() {
            break;
        }
    }
    assert!(
        listed.contains(&again.id) && listed.last() == Some(&id),
        "{listed:?}"
    );

    let board = BoardQuery {
        repo: report.item.repo.clone(),
        branch: None,
        before: None,
        limit: Some(1),
    };
    let board = farm.board(&board).await.unwrap();
    assert_eq!(board.commits[0].commit, report.item.commit);
    assert!(listed.len() > 1 && board.commits[0].builds.len() == 1);
    let why = farm.why(&id).await.unwrap().why;
    assert!(why.starts_with("it does not wait: failed"), "{why}");
    assert!(farm.queue(Some(5)).await.unwrap().waiting.len() <= 5);
    assert_eq!(farm.pools().await.unwrap().pools[0].machines, 1);
    assert_eq!(farm.machines().await.unwrap().machines.len(), 1);
    assert!(farm.sessions().await.unwrap().sessions.is_empty());
    let denied = stranger.sessions().await.unwrap_err();
    assert_eq!(denied.kind(), ErrorKind::Denied);
    let repo = farm.repos().await.unwrap().repos.remove(0);
    let change = RepoChange {
        origin: Some("/elsewhere".into()),
        name: None,
    };
    assert_eq!(
        farm.change_repo(&repo.id, &change)
            .await
            .unwrap()
            .origins
            .len(),
        2
    );

    assert!(farm.outbox().await.unwrap().readers.is_empty());
    let nobody = ReaderName::new("nobody").unwrap();
    let lost = |error: build_core::Error| assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    lost(
        farm.retry(&nobody, &RetryEffects::default())
            .await
            .unwrap_err(),
    );
    lost(farm.build(&BuildId::from_bits(0)).await.unwrap_err());
    lost(
        farm.change_repo(&RepoId::from_bits(1), &change)
            .await
            .unwrap_err(),
    );
    lost(farm.withdraw(&created.wish).await.unwrap_err());
    world.repository.write("wait", "");
    world.repository.commit("waits");
    let open = farm.create(&wish).await.unwrap();
    let which = WishQuery {
        build: Some(open.builds[0].id.clone()),
        limit: None,
    };
    let wanted = stranger.wishes(&which).await.unwrap();
    assert_eq!((wanted.open, wanted.wishes[0].key), (1, open.wish));
    assert_eq!(wanted.wishes[0].builds[0].id, open.builds[0].id);
    let all = farm.wishes(&WishQuery::default()).await.unwrap();
    assert!(all.wishes.contains(&wanted.wishes[0]));
    farm.withdraw(&open.wish).await.unwrap();
    assert_eq!(farm.wishes(&which).await.unwrap().open, 0);
    world.farm.built(&open.builds[0].id).await;
    world.farm.stop().await;
}
