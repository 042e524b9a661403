//! A tiny corpus in memory, for the examples of this crate's documentation.

use crate::pb::{
    BoolChange, GerritMutation, GitCommit, GitDiffTree, GitDiffTreeFile, GitRef,
    GithubIssueCommentMutation, GithubIssueEvent, GithubIssueMutation, GithubLabel, GithubUser,
    Mutation, StringChange, Timestamp,
};
use crate::source::MemoryLog;
use crate::{Corpus, GitHash, Options};

/// The first commit.
pub const BASE: GitHash = GitHash::new([1; 20]);
/// The commit under review, child of [`BASE`].
pub const TIP: GitHash = GitHash::new([2; 20]);
const META: GitHash = GitHash::new([3; 20]);
const META_2: GitHash = GitHash::new([4; 20]);

const TREE: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";

/// A corpus of one repository, one Gerrit project and one change.
///
/// # Panics
/// Never: the mutations are constant.
pub fn corpus() -> Corpus {
    Corpus::load(MemoryLog::of(&mutations()), Options::default())
        .expect("mutations in memory can be read")
}

/// What [`corpus`] is made of.
pub fn mutations() -> Vec<Mutation> {
    let mut all = issues();
    all.push(gerrit());
    all
}

fn time(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 0 })
}

fn user(id: i64, login: &str) -> Option<GithubUser> {
    Some(GithubUser {
        id,
        login: login.to_owned(),
    })
}

fn issue(number: i32, title: &str) -> GithubIssueMutation {
    GithubIssueMutation {
        owner: "golang".to_owned(),
        repo: "go".to_owned(),
        number,
        user: user(100, "gopher"),
        created: time(1_500_000_000),
        updated: time(1_500_000_600),
        title: title.to_owned(),
        no_milestone: true,
        closed: Some(BoolChange { val: false }),
        body_change: Some(StringChange {
            val: "It is all too fast.".to_owned(),
        }),
        ..GithubIssueMutation::default()
    }
}

fn issues() -> Vec<Mutation> {
    let label = |id, name: &str| GithubLabel {
        id,
        name: name.to_owned(),
    };
    let fast = GithubIssueMutation {
        add_label: vec![label(1, "NeedsFix"), label(2, "Performance")],
        comment: vec![GithubIssueCommentMutation {
            id: 900,
            user: user(101, "mole"),
            body: "me too".to_owned(),
            created: time(1_500_000_500),
            updated: time(1_500_000_500),
        }],
        event: vec![GithubIssueEvent {
            id: 800,
            event_type: "labeled".to_owned(),
            actor_id: 101,
            created: time(1_500_000_400),
            label: Some(label(0, "NeedsFix")),
            ..GithubIssueEvent::default()
        }],
        ..issue(3, "cmd/go: builds too fast")
    };
    let closed = GithubIssueMutation {
        closed: Some(BoolChange { val: true }),
        closed_at: time(1_500_000_600),
        no_milestone: false,
        milestone_id: 55,
        milestone_num: 5,
        milestone_title: "Go1.16".to_owned(),
        ..issue(4, "runtime: closed for good")
    };
    let pull = GithubIssueMutation {
        pull_request: true,
        ..issue(5, "doc: fix a typo")
    };
    let gone = GithubIssueMutation {
        owner: "golang".to_owned(),
        repo: "go".to_owned(),
        number: 7,
        not_exist: true,
        ..GithubIssueMutation::default()
    };
    [fast, closed, pull, gone]
        .map(|issue| Mutation {
            github_issue: Some(issue),
            ..Mutation::default()
        })
        .into()
}

fn commit(hash: GitHash, parent: Option<GitHash>, who: &str, message: &str) -> GitCommit {
    let parent = parent.map_or_else(String::new, |parent| format!("parent {parent}\n"));
    let raw = format!(
        "tree {TREE}\n{parent}author {who} 1500001000 -0800\n\
         committer {who} 1500001000 +0000\n\n{message}"
    );
    let diff_tree = Some(GitDiffTree::default());
    GitCommit {
        sha1: hash.to_string(),
        raw: raw.into_bytes(),
        diff_tree,
    }
}

fn gerrit() -> Mutation {
    let author = "Gopher <gopher@example.com>";
    let account = "Gopher <1234@0123-uuid>";
    let message = "cmd/go: build more slowly\n\nFixes #3\n\nChange-Id: I0123456789012345678901234567890123456789\n";
    let mut tip = commit(TIP, Some(BASE), author, message);
    tip.diff_tree = Some(GitDiffTree {
        file: vec![GitDiffTreeFile {
            file: "src/cmd/go/main.go".to_owned(),
            added: 2,
            deleted: 1,
            binary: false,
        }],
    });
    let created = "Create change\n\nUploaded patch set 1.\n\nPatch-set: 1\n\
        Branch: refs/heads/master\nStatus: new\nHashtags: slow, fun\n";
    let voted = "Update patch set 1\n\nPatch Set 1: Run-TryBot+1\n\nLooks slow enough.\n\n\
        Patch-set: 1\nLabel: Run-TryBot=+1\n";
    let reference = |name: &str, hash: GitHash| GitRef {
        r#ref: name.to_owned(),
        sha1: hash.to_string(),
    };
    let gerrit = GerritMutation {
        project: "go.googlesource.com/go".to_owned(),
        commits: vec![
            commit(BASE, None, author, "all: begin\n"),
            tip,
            commit(META, None, account, created),
            commit(META_2, Some(META), account, voted),
        ],
        refs: vec![
            reference("refs/heads/master", BASE),
            reference("refs/changes/00/14700/1", TIP),
            reference("refs/changes/00/14700/meta", META_2),
        ],
        deleted_refs: Vec::new(),
    };
    Mutation {
        gerrit: Some(gerrit),
        ..Mutation::default()
    }
}

/// The four records of `docs/protocol/reclog.md`: 265 bytes.
pub fn documented() -> [Mutation; 4] {
    let at = |seconds| Some(Timestamp { seconds, nanos: 0 });
    let issue = |number| GithubIssueMutation {
        owner: "golang".into(),
        repo: "go".into(),
        number,
        ..Default::default()
    };
    let created = GithubIssueMutation {
        user: Some(GithubUser {
            id: 100,
            login: "gopherbot".into(),
        }),
        created: at(1_451_747_040),
        title: "some title".into(),
        no_milestone: true,
        closed: Some(BoolChange { val: false }),
        body_change: Some(StringChange {
            val: "some body".into(),
        }),
        ..issue(3)
    };
    let tombstone = GithubIssueMutation {
        not_exist: true,
        ..issue(7)
    };
    let closed = GithubIssueMutation {
        updated: at(1_451_748_600),
        closed: Some(BoolChange { val: true }),
        ..issue(3)
    };
    let refs = GerritMutation {
        project: "go.googlesource.com/go".into(),
        refs: vec![GitRef {
            r#ref: "refs/heads/master".into(),
            sha1: "0123456789abcdef0123456789abcdef01234567".into(),
        }],
        deleted_refs: vec!["refs/heads/dev.old".into()],
        ..Default::default()
    };
    let of_issue = |issue| Mutation {
        github_issue: Some(issue),
        ..Default::default()
    };
    let refs = Mutation {
        gerrit: Some(refs),
        ..Default::default()
    };
    [
        of_issue(created),
        of_issue(tombstone),
        of_issue(closed),
        refs,
    ]
}
