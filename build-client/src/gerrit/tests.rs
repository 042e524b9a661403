//! The client against a Gerrit in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::TryStreamExt as _;

use super::*;
use crate::ErrorKind;
use crate::fake_gerrit::FakeGerrit;

fn client(server: &FakeGerrit) -> Client {
    Client::new(server.url(), Auth::None).unwrap()
}

#[tokio::test]
async fn queries_go_through_all_pages() {
    let server = FakeGerrit::start().unwrap();
    {
        let mut world = server.world();
        for n in 0..7 {
            world.change(
                "go",
                "master",
                &format!("cmd: change {n}"),
                "ann@example.test",
            );
        }
        world.changes.get_mut(&3).unwrap().info.status = "MERGED".into();
        world.page = 2;
    }
    let gerrit = client(&server);
    let first = gerrit
        .query_changes("status:open", &QueryOptions::new())
        .await
        .unwrap();
    assert!(first.len() == 2 && first[1].more_changes && !first[0].more_changes);
    let all: Vec<ChangeInfo> = gerrit
        .changes("status:open", &QueryOptions::new().limit(1))
        .try_collect()
        .await
        .unwrap();
    let numbers: Vec<u64> = all.iter().map(|change| change.number).collect();
    assert_eq!(numbers, [7, 6, 5, 4, 2, 1]);
    assert_eq!(server.seen()[1], "GET /changes/?n=1&q=status%3Aopen");
    assert_eq!(server.seen()[2], "GET /changes/?S=1&n=1&q=status%3Aopen");
    let people: Vec<AccountInfo> = gerrit
        .accounts("is:active", &QueryOptions::new().field("DETAILS"))
        .try_collect()
        .await
        .unwrap();
    assert_eq!(people[0].email, "ann@example.test");
    assert_eq!(
        server.seen().last().unwrap(),
        "GET /accounts/?o=DETAILS&q=is%3Aactive"
    );
}

#[tokio::test]
async fn what_does_not_exist_has_its_own_error() {
    let server = FakeGerrit::start().unwrap();
    let gerrit = client(&server);
    let error = gerrit
        .get_change(&999_999.into(), &QueryOptions::new())
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "change does not exist: 999999");
    let error = gerrit.get_project("no/such").await.unwrap_err();
    assert_eq!(error.to_string(), "project does not exist: no/such");
    assert_eq!(server.seen().last().unwrap(), "GET /projects/no%2Fsuch");
    let error = gerrit.get_account("nobody").await.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("HTTP status 404 Not Found; Not found"),
        "{error}"
    );
    assert!(error.is_not_found() && error.kind() == ErrorKind::NotFound);
    let error = gerrit
        .get_change(&"..".into(), &QueryOptions::new())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn other_answers_than_gerrits_are_told_apart() {
    let server = FakeGerrit::start().unwrap();
    for (body, status) in [
        ("<html>log in</html>", 200),
        ("", 200),
        ("<html>\n<body>", 200),
    ] {
        server.world().answer("/changes/1", status, body);
        let error = client(&server)
            .get_change(&1.into(), &QueryOptions::new())
            .await
            .unwrap_err();
        assert!(error.to_string().contains("not a Gerrit reply"), "{error}");
        assert!(
            error.to_string().contains(&body[..body.len().min(6)]),
            "{error}"
        );
    }
    server.world().answer("/changes/1", 201, ")]}'\n{}");
    let error = client(&server)
        .get_change(&1.into(), &QueryOptions::new())
        .await
        .unwrap_err();
    assert!(
        error.to_string().starts_with("HTTP status 201 Created"),
        "{error}"
    );
    server.world().answer(
        "/changes/1",
        200,
        " )]}\n{\"_number\": 1, \"new\": []} trailing",
    );
    let change = client(&server)
        .get_change(&1.into(), &QueryOptions::new())
        .await
        .unwrap();
    assert_eq!(change.number, 1);
    server
        .world()
        .answer("/changes/1", 200, ")]}'\n{\"_number\": ");
    let error = client(&server)
        .get_change(&1.into(), &QueryOptions::new())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Decode { .. }), "{error}");
    let long = "x".repeat(10_000);
    server.world().answer("/changes/1", 400, &long);
    let error = client(&server)
        .get_change(&1.into(), &QueryOptions::new())
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string().len(),
        "HTTP status 400 Bad Request; ".len() + 4096
    );
}

#[tokio::test]
async fn reads_are_tried_again_and_writes_are_not() {
    let server = FakeGerrit::start().unwrap();
    server
        .world()
        .change("go", "master", "x", "ann@example.test");
    server
        .world()
        .failures
        .extend([(503, "busy".into()), (429, "slow down".into())]);
    let change = client(&server)
        .get_change(&1.into(), &QueryOptions::new())
        .await
        .unwrap();
    assert_eq!((change.number, server.seen().len()), (1, 3));
    server.world().failures.push_back((503, "busy".into()));
    let error = client(&server)
        .abandon_change(&1.into(), "")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(server.seen().len(), 4);
    server
        .world()
        .failures
        .extend((0..9).map(|_| (500, "down".to_owned())));
    let gerrit = Client::builder(server.url()).tries(2).build().unwrap();
    let error = gerrit.get_hashtags(&1.into()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "HTTP status 500 Internal Server Error; down"
    );
}

#[tokio::test]
async fn each_kind_of_credentials_is_taken() {
    let server = FakeGerrit::start().unwrap();
    {
        let mut world = server.world();
        world.account("ann@example.test");
        world.password = Some(("ann".into(), "s3cret".into()));
    }
    let whoami = |auth: Auth| {
        let gerrit = Client::new(server.url(), auth).unwrap();
        async move { gerrit.get_account("self").await }
    };
    let token = Arc::new("s3cret".to_owned());
    for auth in [Auth::basic("ann", "s3cret"), Auth::Bearer(token)] {
        assert_eq!(whoami(auth).await.unwrap().email, "ann@example.test");
    }
    assert_eq!(server.seen()[0], "GET /a/accounts/self");
    let error = whoami(Auth::basic("ann", "wr0ng")).await.unwrap_err();
    assert!(error.to_string().contains("401 Unauthorized") && !error.to_string().contains("wr0ng"));
    assert!(
        whoami(Auth::None)
            .await
            .unwrap_err()
            .to_string()
            .contains("403")
    );
    server.world().digest = true;
    let auth = Auth::Digest {
        user: "ann".into(),
        password: "s3cret".into(),
    };
    assert_eq!(whoami(auth).await.unwrap().email, "ann@example.test");
    let dir = tempfile::tempdir().unwrap();
    let jar = dir.path().join("cookies");
    std::fs::write(&jar, "127.0.0.1\tFALSE\t/\tFALSE\t0\to\tv\n").unwrap();
    server.world().password = None;
    assert_eq!(
        whoami(Auth::cookie_file(&jar).unwrap())
            .await
            .unwrap()
            .email,
        "ann@example.test"
    );
    std::fs::write(&jar, "elsewhere.test\tFALSE\t/\tFALSE\t0\to\tv\n").unwrap();
    let error = whoami(Auth::cookie_file(&jar).unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("no cookie for it"), "{error}");
}

#[tokio::test]
async fn reviews_and_hashtags_are_written_once() {
    let server = FakeGerrit::start().unwrap();
    {
        let mut world = server.world();
        world.account("bot@example.test");
        world.change("a/b", "release/1", "net: x\n\nbody\n", "ann@example.test");
    }
    let gerrit = Client::new(server.url(), Auth::basic("bot", "x")).unwrap();
    let id = ChangeId::Numbered {
        project: "a/b".into(),
        number: 1,
    };
    let comment = CommentInput {
        line: Some(3),
        message: "why?".into(),
        unresolved: Some(true),
        ..CommentInput::default()
    };
    let review = ReviewInput {
        message: "TryBots are happy.".into(),
        labels: [("TryBot-Result".to_owned(), 1)].into(),
        comments: [("a.go".to_owned(), vec![comment])].into(),
        ..ReviewInput::default()
    };
    assert_eq!(
        gerrit
            .set_review(&id, "current", &review)
            .await
            .unwrap()
            .labels,
        review.labels
    );
    let comments = gerrit.list_change_comments(&id).await.unwrap();
    assert!(comments["a.go"][0].unresolved && comments["a.go"][0].line == Some(3));
    let reviewers = gerrit.list_reviewers(&id).await.unwrap();
    assert_eq!(reviewers[0].approvals["TryBot-Result"], "+1");
    let detail = gerrit
        .get_change_detail(&id, &QueryOptions::new())
        .await
        .unwrap();
    assert!(detail.messages[0].message.ends_with("TryBots are happy."));
    let tags = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    let ensure = async || {
        gerrit
            .ensure_hashtags(&id, &tags(&["wait-author"]), &tags(&["foo"]))
            .await
            .unwrap()
    };
    assert_eq!(ensure().await, ["wait-author"]);
    assert_eq!(ensure().await, ["wait-author"]);
    let writes = server
        .seen()
        .iter()
        .filter(|line| line.starts_with("POST") && line.ends_with("/hashtags"))
        .count();
    assert_eq!(writes, 1);
    server.world().most_updates = 2;
    let error = gerrit.abandon_change(&id, "enough").await.unwrap_err();
    assert!(
        matches!(error, Error::TooManyUpdates(_)) && error.kind() == ErrorKind::Limit,
        "{error}"
    );
}

#[tokio::test]
async fn projects_branches_and_tags() {
    let server = FakeGerrit::start().unwrap();
    {
        let mut world = server.world();
        for name in ["All-Projects", "All-Users", "go", "a/b"] {
            world.project(name);
        }
        world.project("old").info.state = "READ_ONLY".into();
        world
            .project("go")
            .files
            .insert(("c0ffee".into(), "a/b.go".into()), b"package b\n".to_vec());
    }
    let gerrit = client(&server);
    let names: Vec<String> = gerrit
        .list_projects()
        .await
        .unwrap()
        .into_iter()
        .map(|p| p.name)
        .collect();
    assert_eq!(names, ["a/b", "go"]);
    let heads = gerrit.get_projects("master").await.unwrap();
    assert_eq!(heads["go"].branches["master"].len(), 40);
    assert_eq!(
        gerrit.project_branches("a/b").await.unwrap()["refs/heads/master"]
            .revision
            .len(),
        40
    );
    gerrit
        .create_project("new/one", &ProjectInput::default())
        .await
        .unwrap();
    let twice = gerrit
        .create_project("new/one", &ProjectInput::default())
        .await
        .unwrap_err();
    assert_eq!(twice.kind(), ErrorKind::Conflict);
    gerrit
        .create_branch("go", "release-branch.go1.16", "abcd")
        .await
        .unwrap();
    assert_eq!(
        gerrit
            .get_branch("go", "release-branch.go1.16")
            .await
            .unwrap()
            .revision,
        "abcd"
    );
    gerrit
        .create_tag("go", "go1.16", "abcd", "go1.16\n")
        .await
        .unwrap();
    assert_eq!(
        gerrit.project_tags("go").await.unwrap()["refs/tags/go1.16"].revision,
        "abcd"
    );
    gerrit.delete_tag("go", "go1.16").await.unwrap();
    assert!(
        gerrit
            .get_tag("go", "go1.16")
            .await
            .unwrap_err()
            .is_not_found()
    );
    assert_eq!(
        gerrit.file_content("go", "c0ffee", "a/b.go").await.unwrap(),
        b"package b\n"
    );
    let inside = gerrit
        .commits_in(
            "go",
            &["abcd".into()],
            &["refs/heads/release-branch.go1.16".into()],
        )
        .await
        .unwrap();
    assert_eq!(inside["abcd"], ["refs/heads/release-branch.go1.16"]);
}

#[tokio::test]
async fn changes_are_made_edited_and_submitted() {
    let server = FakeGerrit::start().unwrap();
    server.world().account("bot@example.test");
    server.world().project("go");
    let gerrit = Client::new(server.url(), Auth::basic("bot", "x")).unwrap();
    let input = ChangeInput {
        project: "go".into(),
        branch: "master".into(),
        subject: "VERSION: x".into(),
        ..ChangeInput::default()
    };
    let change = gerrit.create_change(&input).await.unwrap();
    let id = ChangeId::from(change.id.as_str());
    gerrit
        .put_edit_file(&id, "a/VERSION", "go1.16\n")
        .await
        .unwrap();
    gerrit.delete_edit_file(&id, "b").await.unwrap();
    gerrit.publish_edit(&id).await.unwrap();
    let files: BTreeMap<String, FileInfo> = gerrit.list_files(&id, "1").await.unwrap();
    assert!(files.contains_key("a/VERSION") && files["b"].status == "D");
    assert!(gerrit.mergeable(&id, "current").await.unwrap().mergeable);
    assert_eq!(
        gerrit.commit_message(&id).await.unwrap().full_message,
        "VERSION: x"
    );
    assert_eq!(gerrit.submit_change(&id).await.unwrap().status, "MERGED");
    let again = gerrit.submit_change(&id).await.unwrap_err();
    assert_eq!(
        again.to_string(),
        "HTTP status 409 Conflict; change is merged"
    );
    gerrit.delete_topic(&id).await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_not_there() {
    let gerrit = Client::builder("http://127.0.0.1:1/")
        .tries(1)
        .build()
        .unwrap();
    let error = gerrit.list_projects().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(Client::new("ftp://x", Auth::None).is_err() && Client::new("x", Auth::None).is_err());
}
