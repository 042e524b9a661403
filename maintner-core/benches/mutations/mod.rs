//! Records that people make all day: comments on issues, and commits on a branch.

use maintner_core::pb::{
    GerritMutation, GitCommit, GitRef, GithubIssueCommentMutation, GithubIssueMutation, Mutation,
    Timestamp,
};

/// Comment `n` on issue `number`, with a new title.
pub(crate) fn comment(n: u32, number: u32) -> Mutation {
    let time = |seconds: u32| {
        let seconds = i64::from(seconds);
        Some(Timestamp { seconds, nanos: 0 })
    };
    let comment = GithubIssueCommentMutation {
        id: i64::from(n) + (1 << 40),
        body: "a comment ".repeat(30),
        created: time(1_600_000_000 + n),
        updated: time(1_600_000_000 + n),
        ..GithubIssueCommentMutation::default()
    };
    let issue = GithubIssueMutation {
        owner: "golang".to_owned(),
        repo: "go".to_owned(),
        number: number.cast_signed(),
        created: time(1_500_000_000),
        title: format!("title {n}"),
        comment: vec![comment],
        ..GithubIssueMutation::default()
    };
    Mutation {
        github_issue: Some(issue),
        ..Mutation::default()
    }
}

/// Commit `n`, to which master goes.
pub(crate) fn commit(n: u32) -> Mutation {
    let hash = format!("{:08x}{:032x}", n.wrapping_mul(0x9e37_79b9), n);
    let person = "A Gopher <gopher@example.com>";
    let time = 1_600_000_000 + n;
    let raw = format!(
        "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nauthor {person} {time} +0000\n\
         committer {person} {time} +0000\n\nsubject {n}\n\nbody\n"
    );
    let commit = GitCommit {
        sha1: hash.clone(),
        raw: raw.into_bytes(),
        diff_tree: None,
    };
    let reference = GitRef {
        r#ref: "refs/heads/master".to_owned(),
        sha1: hash,
    };
    let gerrit = GerritMutation {
        project: "go.googlesource.com/go".to_owned(),
        commits: vec![commit],
        refs: vec![reference],
        ..GerritMutation::default()
    };
    Mutation {
        gerrit: Some(gerrit),
        ..Mutation::default()
    }
}
