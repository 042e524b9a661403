//! The answers over small corpora: acceptance checks 22 to 26.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tonic::Code;

use super::apipb::{DashboardRequest, GetRefRequest, HasAncestorRequest, MajorMinor};
use super::*;
use crate::pb::{GerritMutation, GitCommit, GitRef, Mutation};
use crate::source::MemoryLog;
use crate::{Corpus, GitHash, Options, sample};

fn hash(n: u8) -> GitHash {
    GitHash::new([n; 20])
}

/// A commit at `time` on top of another one.
fn commit(n: u8, parent: Option<u8>, time: u32) -> GitCommit {
    let parent = parent.map_or(String::new(), |parent| format!("parent {}\n", hash(parent)));
    let who = format!("Ann <ann@example.com> {time} +0000");
    let raw = format!(
        "tree {}\n{parent}author {who}\ncommitter {who}\n\ncommit {n}\n",
        hash(0)
    );
    GitCommit {
        sha1: hash(n).to_string(),
        raw: raw.into_bytes(),
        ..GitCommit::default()
    }
}

fn project(name: &str, commits: Vec<GitCommit>, refs: &[(&str, u8)]) -> Mutation {
    let refs = refs.iter().map(|(name, n)| GitRef {
        r#ref: (*name).to_owned(),
        sha1: hash(*n).to_string(),
    });
    Mutation {
        gerrit: Some(GerritMutation {
            project: format!("go.googlesource.com/{name}"),
            commits,
            refs: refs.collect(),
            ..GerritMutation::default()
        }),
        ..Mutation::default()
    }
}

fn api(mutations: &[Mutation]) -> Api {
    let corpus = Corpus::load(MemoryLog::of(mutations), Options::default()).unwrap();
    Api::new(corpus, Policy::default())
}

/// The worked example: go at 10, 20, 30, 40 and x/net at 15 and 35.
fn worked() -> Vec<Mutation> {
    let go = vec![
        commit(1, None, 10),
        commit(2, Some(1), 20),
        commit(3, Some(2), 30),
        commit(4, Some(3), 40),
    ];
    let releases = [
        ("refs/heads/master", 4),
        ("refs/heads/release-branch.go1.15", 2),
        ("refs/heads/release-branch.go1.16", 3),
        ("refs/tags/go1.15.8", 2),
        ("refs/tags/go1.16", 3),
    ];
    let net = vec![commit(11, None, 15), commit(12, Some(11), 35)];
    vec![
        project("go", go, &releases),
        project("net", net, &[("refs/heads/master", 12)]),
    ]
}

#[test]
fn check_23_ancestors() {
    let api = Api::new(sample::corpus(), Policy::default());
    let ask = |commit: &str, ancestor: &str| {
        let request = HasAncestorRequest {
            commit: commit.to_owned(),
            ancestor: ancestor.to_owned(),
        };
        api.has_ancestor(&request)
            .map(|answer| (answer.has_ancestor, answer.unknown_commit))
            .map_err(|status| (status.code(), status.message().to_owned()))
    };
    let (base, tip) = (sample::BASE.to_string(), sample::TIP.to_string());
    let unknown = hash(77).to_string();
    assert_eq!(ask(&tip, &base), Ok((true, false)));
    assert_eq!(ask(&tip, &tip), Ok((false, false)));
    assert_eq!(ask(&tip, &unknown), Ok((false, false)));
    assert_eq!(ask(&unknown, &tip), Ok((false, true)));
    assert_eq!(
        ask("12", &tip),
        Err((Code::Unknown, "invalid Commit".to_owned()))
    );
    assert_eq!(
        ask(&tip, "12"),
        Err((Code::Unknown, "invalid Ancestor".to_owned()))
    );
}

#[test]
fn check_22_refs() {
    let api = Api::new(sample::corpus(), Policy::default());
    let ask = |project: &str, name: &str| {
        let request = GetRefRequest {
            r#ref: name.to_owned(),
            gerrit_server: "https://go-review.googlesource.com".to_owned(),
            gerrit_project: project.to_owned(),
        };
        let answer = api.get_ref(&request).map(|answer| answer.value);
        answer.map_err(|status| status.message().to_owned())
    };
    assert_eq!(ask("go", "refs/heads/master"), Ok(sample::BASE.to_string()));
    assert_eq!(ask("go", "refs/heads/none"), Ok(String::new()));
    assert_eq!(
        ask("none", "HEAD"),
        Err("unknown gerrit project".to_owned())
    );
}

#[test]
fn check_24_the_documented_releases() {
    let releases = |tags: &[&str], branches: &[&str]| {
        let refs: Vec<String> = tags
            .iter()
            .map(|tag| format!("refs/tags/go{tag}"))
            .chain(
                branches
                    .iter()
                    .map(|b| format!("refs/heads/release-branch.go{b}")),
            )
            .collect();
        let refs: Vec<(&str, u8)> = refs.iter().map(|name| (name.as_str(), 1)).collect();
        let api = api(&[project("go", vec![commit(1, None, 1)], &refs)]);
        let answer = api
            .list_go_releases()
            .map_err(|status| status.message().to_owned());
        answer.map(|answer| {
            let releases = answer.releases.into_iter();
            releases
                .map(|r| (r.tag_name, (r.major, r.minor, r.patch)))
                .collect::<Vec<_>>()
        })
    };
    let is = |tag: &str, version| (tag.to_owned(), version);
    assert_eq!(
        releases(
            &["1.11.1", "1.10.4", "1.9.7"],
            &["1.10", "1.11", "1.10-security"]
        ),
        Ok(vec![is("go1.11.1", (1, 11, 1)), is("go1.10.4", (1, 10, 4))])
    );
    assert_eq!(
        releases(
            &["1", "1.5", "1.42.1", "1.43", "2", "1.11.111"],
            &["1", "1.5", "1.11", "1.42", "2", "1.2"]
        ),
        Ok(vec![is("go2", (2, 0, 0)), is("go1.42.1", (1, 42, 1))])
    );
    let text = "there was a problem finding supported Go releases";
    assert_eq!(releases(&["1.11.1"], &["1.11"]), Err(text.to_owned()));
}

#[test]
fn check_25_dashboards() {
    let api = api(&worked());
    let ask = |request: DashboardRequest| {
        let answer = api.dashboard(&request);
        answer.map_err(|status| (status.code(), status.message().to_owned()))
    };
    let with = |repo: &str, branch: &str, page, max_commits| DashboardRequest {
        repo: repo.to_owned(),
        branch: branch.to_owned(),
        page,
        max_commits,
    };
    for (request, code, text) in [
        (
            with("", "NOPE", 0, 0),
            Code::NotFound,
            "unknown branch \"NOPE\"",
        ),
        (
            with("", "mixed", 5, 0),
            Code::InvalidArgument,
            "branch=mixed does not support pagination",
        ),
        (with("", "", -1, 0), Code::InvalidArgument, "invalid page"),
        (
            with("", "", 1_000_000, 0),
            Code::InvalidArgument,
            "too far back",
        ),
        (
            with("", "", 0, -1),
            Code::InvalidArgument,
            "negative max commits",
        ),
        (
            with("", "mixed", 0, 2),
            Code::InvalidArgument,
            "page size too small for `mixed`: 2 < 3",
        ),
        (
            with("golang.org/x/none", "", 0, 0),
            Code::NotFound,
            "repo project \"none\" not found",
        ),
        (
            with("x", "", 0, 0),
            Code::NotFound,
            "unknown repo \"x\"; must be empty, \"go\", or \"golang.org/*\"",
        ),
    ] {
        assert_eq!(ask(request).unwrap_err(), (code, text.to_owned()));
    }
    let go = ask(with("go", "", 0, 3)).unwrap();
    let titles: Vec<&str> = go
        .commits
        .iter()
        .map(|commit| commit.title.as_str())
        .collect();
    assert_eq!(
        (titles, go.commits_truncated),
        (vec!["commit 4", "commit 3", "commit 2"], true)
    );
    assert_eq!(
        go.branches,
        ["master", "release-branch.go1.15", "release-branch.go1.16"]
    );
    assert_eq!((go.releases.len(), go.repo_heads.len()), (3, 2));
    assert_eq!(go.releases[0].branch_name, "master");
    let page = ask(with("", "", 1, 3)).unwrap();
    assert_eq!((page.commits.len(), page.commits_truncated), (1, false));
    let mixed = ask(with("", "mixed", 0, 5)).unwrap();
    assert!(
        mixed
            .commits
            .is_sorted_by_key(|commit| -commit.commit_time_sec)
    );
    // The worked example of the documentation.
    let net = ask(with("golang.org/x/net", "", 0, 0)).unwrap();
    let pairs: Vec<(i64, String, String)> = net
        .commits
        .into_iter()
        .map(|c| (c.commit_time_sec, c.go_commit_at_time, c.go_commit_latest))
        .collect();
    let at_30 = hash(3).to_string();
    assert_eq!(
        pairs,
        [
            (35, at_30.clone(), at_30.clone()),
            (15, hash(1).to_string(), at_30)
        ]
    );
}

/// A review server that says what it is told.
struct Stub {
    asked: Arc<AtomicUsize>,
}

fn said(patch_set: i32, author_id: i64, text: &str) -> WaitingMessage {
    WaitingMessage {
        author_id,
        date: format!("2020-12-0{patch_set} 00:00:00"),
        patch_set,
        text: text.to_owned(),
    }
}

impl ChangeSearch for Stub {
    fn waiting(
        &self,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<WaitingChange>, SearchError>> + Send + '_>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let known = WaitingChange {
            project: "go".to_owned(),
            number: 14_700,
            branch: "master".to_owned(),
            messages: vec![
                said(1, 1234, "Patch Set 1: Run-TryBot+1\n\n(1 comment)"),
                said(2, 5678, "Patch Set 2: Foo-2 Run-TryBot+1\n\n(1 comment)"),
                said(3, 9, "Uploaded patch set 3"),
            ],
            ..WaitingChange::default()
        };
        let unknown = WaitingChange {
            project: "secret".to_owned(),
            number: 1,
            ..WaitingChange::default()
        };
        Box::pin(async { Ok(vec![unknown, known]) })
    }

    fn comments<'a>(
        &'a self,
        _project: &'a str,
        _number: i32,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<Comment>, SearchError>> + Send + 'a>> {
        let comment = |patch_set, author_id, text: &str| {
            let WaitingMessage { date, text, .. } = said(patch_set, author_id, text);
            Comment {
                author_id,
                date,
                patch_set,
                text,
            }
        };
        Box::pin(async move {
            Ok(vec![
                comment(1, 1234, "TRY=foo"),
                comment(
                    2,
                    5678,
                    "A preceding sentence.\nTRY=bar, baz\nA following sentence.",
                ),
                comment(2, 1234, "TRY=of somebody else"),
            ])
        })
    }
}

#[tokio::test]
async fn check_26_try_work_is_asked_for_once() {
    let asked = Arc::new(AtomicUsize::new(0));
    let releases = [
        ("refs/heads/release-branch.go1.15", 1),
        ("refs/heads/release-branch.go1.16", 1),
        ("refs/tags/go1.15.8", 1),
        ("refs/tags/go1.16", 1),
    ];
    let mut mutations = sample::mutations();
    mutations.push(project("go", Vec::new(), &releases));
    let corpus = Corpus::load(MemoryLog::of(&mutations), Options::default()).unwrap();
    let stub = Stub {
        asked: Arc::clone(&asked),
    };
    let api = Api::with_search(corpus, Policy::default(), stub);
    for _ in 0..2 {
        let waiting = api.find_try_work().await.unwrap().waiting;
        assert_eq!(waiting.len(), 1, "an unknown project is left out");
        let item = &waiting[0];
        assert_eq!(item.commit, sample::TIP.to_string());
        assert_eq!(
            item.go_version,
            [MajorMinor {
                major: 1,
                minor: 17
            }]
        );
        let messages: Vec<(&str, i64, i32)> = item
            .try_message
            .iter()
            .map(|m| (m.message.as_str(), m.author_id, m.version))
            .collect();
        assert_eq!(messages, [("foo", 1234, 1), ("bar, baz", 5678, 2)]);
    }
    assert_eq!(
        asked.load(Ordering::Relaxed),
        1,
        "the second answer is the first one"
    );
    let without = Api::new(sample::corpus(), Policy::default());
    let status = without.find_try_work().await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
}
