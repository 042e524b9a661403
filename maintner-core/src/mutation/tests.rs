//! The generated messages are the oracle: what they accept is read alike, what they refuse is
//! refused.

use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::pb;

fn time(view: Option<&TimestampView<'_>>) -> Option<pb::Timestamp> {
    view.map(|time| pb::Timestamp {
        seconds: time.seconds(),
        nanos: time.nanos(),
    })
}

fn user(view: &UserView<'_>) -> pb::GithubUser {
    pb::GithubUser {
        id: view.id(),
        login: view.login().to_owned(),
    }
}

fn label(view: &LabelView<'_>) -> pb::GithubLabel {
    pb::GithubLabel {
        id: view.id(),
        name: view.name().to_owned(),
    }
}

fn flag(view: Option<&BoolChangeView<'_>>) -> Option<pb::BoolChange> {
    view.map(|change| pb::BoolChange { val: change.val() })
}

fn status(view: Option<&SyncStatusView<'_>>) -> Option<pb::GithubIssueSyncStatus> {
    view.map(|status| pb::GithubIssueSyncStatus {
        server_date: time(status.server_date()),
    })
}

fn milestone(view: &MilestoneView<'_>) -> pb::GithubMilestone {
    pb::GithubMilestone {
        id: view.id(),
        title: view.title().to_owned(),
        closed: flag(view.closed()),
        number: view.number(),
    }
}

fn comment(view: &IssueCommentView<'_>) -> pb::GithubIssueCommentMutation {
    pb::GithubIssueCommentMutation {
        id: view.id(),
        user: view.user().map(user),
        body: view.body().to_owned(),
        created: time(view.created()),
        updated: time(view.updated()),
    }
}

fn event(view: &IssueEventView<'_>) -> pb::GithubIssueEvent {
    pb::GithubIssueEvent {
        id: view.id(),
        event_type: view.event_type().to_owned(),
        actor_id: view.actor_id(),
        created: time(view.created()),
        label: view.label().map(label),
        milestone: view.milestone().map(milestone),
        assignee_id: view.assignee_id(),
        assigner_id: view.assigner_id(),
        commit: view.commit().map(|commit| pb::GithubCommit {
            owner: commit.owner().to_owned(),
            repo: commit.repo().to_owned(),
            commit_id: commit.commit_id().to_owned(),
        }),
        other_json: view.other_json().to_vec(),
        rename_from: view.rename_from().to_owned(),
        rename_to: view.rename_to().to_owned(),
        reviewer_id: view.reviewer_id(),
        review_requester_id: view.review_requester_id(),
        dismissed_review: view
            .dismissed_review()
            .map(|dismissed| pb::GithubDismissedReviewEvent {
                review_id: dismissed.review_id(),
                dismissal_message: dismissed.dismissal_message().to_owned(),
                state: dismissed.state().to_owned(),
            }),
        team_reviewer: view.team_reviewer().map(|team| pb::GithubTeam {
            id: team.id(),
            slug: team.slug().to_owned(),
        }),
    }
}

fn review(view: &ReviewView<'_>) -> pb::GithubReview {
    pb::GithubReview {
        id: view.id(),
        actor_id: view.actor_id(),
        created: time(view.created()),
        body: view.body().to_owned(),
        state: view.state().to_owned(),
        commit_id: view.commit_id().to_owned(),
        actor_association: view.actor_association().to_owned(),
        other_json: view.other_json().to_vec(),
    }
}

fn issue(view: &IssueMutationView<'_>) -> pb::GithubIssueMutation {
    pb::GithubIssueMutation {
        owner: view.owner().to_owned(),
        repo: view.repo().to_owned(),
        number: view.number(),
        user: view.user().map(user),
        created: time(view.created()),
        updated: time(view.updated()),
        body: view.body().to_owned(),
        comment: view.comments().map(|view| comment(&view)).collect(),
        title: view.title().to_owned(),
        assignees: view.assignees().map(|view| user(&view)).collect(),
        deleted_assignees: view.deleted_assignees().collect(),
        id: view.id(),
        not_exist: view.not_exist(),
        comment_status: status(view.comment_status()),
        no_milestone: view.no_milestone(),
        milestone_id: view.milestone_id(),
        milestone_num: view.milestone_num(),
        milestone_title: view.milestone_title().to_owned(),
        closed: flag(view.closed()),
        closed_at: time(view.closed_at()),
        closed_by: view.closed_by().map(user),
        remove_label: view.remove_labels().collect(),
        add_label: view.add_labels().map(|view| label(&view)).collect(),
        locked: flag(view.locked()),
        event: view.events().map(|view| event(&view)).collect(),
        event_status: status(view.event_status()),
        pull_request: view.pull_request(),
        review: view.reviews().map(|view| review(&view)).collect(),
        review_status: status(view.review_status()),
        body_change: view.body_change().map(|change| pb::StringChange {
            val: change.val().to_owned(),
        }),
        deleted_comment: view.deleted_comments().collect(),
    }
}

fn commit(view: &GitCommitView<'_>) -> pb::GitCommit {
    let file = |file: DiffTreeFileView<'_>| pb::GitDiffTreeFile {
        file: file.file().to_owned(),
        added: file.added(),
        deleted: file.deleted(),
        binary: file.binary(),
    };
    pb::GitCommit {
        sha1: view.sha1().to_owned(),
        raw: view.raw().to_vec(),
        diff_tree: view.diff_tree().map(|tree| pb::GitDiffTree {
            file: tree.files().map(file).collect(),
        }),
    }
}

fn mutation(view: &MutationView<'_>) -> pb::Mutation {
    pb::Mutation {
        github_issue: view.github_issue().map(issue),
        git: view.git().map(|git| pb::GitMutation {
            repo: git.repo().map(|repo| pb::GitRepo {
                go_repo: repo.go_repo().to_owned(),
            }),
            commit: git.commit().map(commit),
        }),
        github: view.github().map(|github| pb::GithubMutation {
            owner: github.owner().to_owned(),
            repo: github.repo().to_owned(),
            labels: github.labels().map(|view| label(&view)).collect(),
            milestones: github.milestones().map(|view| milestone(&view)).collect(),
        }),
        gerrit: view.gerrit().map(|gerrit| pb::GerritMutation {
            project: gerrit.project().to_owned(),
            commits: gerrit.commits().map(|view| commit(&view)).collect(),
            refs: gerrit
                .refs()
                .map(|view| pb::GitRef {
                    r#ref: view.reference().to_owned(),
                    sha1: view.sha1().to_owned(),
                })
                .collect(),
            deleted_refs: gerrit.deleted_refs().map(str::to_owned).collect(),
        }),
    }
}

/// Both readers see the same, or neither sees anything.
fn assert_alike(bytes: &[u8]) {
    let oracle = pb::Mutation::decode(bytes).ok();
    let ours = MutationView::parse(bytes).ok().map(|view| mutation(&view));
    assert_eq!(ours, oracle, "{}", bytes.escape_ascii());
}

#[test]
fn the_sample_is_read_alike() {
    for mutation in crate::sample::mutations() {
        assert_alike(&mutation.encode_to_vec());
    }
}

#[test]
fn unusual_encodings_are_read_alike() {
    let cases: &[&[u8]] = &[
        b"",
        // An issue stored in two pieces.
        b"\x0a\x03\x0a\x01o\x0a\x03\x12\x01r\x0a\x02\x18\x07",
        // Deleted assignees packed, unpacked, and both.
        b"\x0a\x04\x5a\x02\x05\x06",
        b"\x0a\x04\x58\x05\x58\x06",
        b"\x0a\x06\x5a\x02\x05\x06\x58\x07",
        // A negative number of ten bytes, and one too long.
        b"\x0a\x0b\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x0a\x0b\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
        b"\x0a\x0c\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        // Unknown fields of every type: number, fixed, bytes, group.
        b"\x78\x01\x79\x01\x02\x03\x04\x05\x06\x07\x08\x7a\x01x\x7d\x01\x02\x03\x04\x7b\x78\x01\x7c",
        // Groups that do not end or end something else; a closing one alone; no such type.
        b"\x7b\x78\x01",
        b"\x7b\x84\x01",
        b"\x7c",
        b"\x7e",
        b"\x7f",
        // Field 0, wrong type of a known field, text that is not UTF-8, a cut.
        b"\x00\x01",
        b"\x08\x01",
        b"\x0a\x03\x0a\x01\xff",
        b"\x0a\x05\x0a\x01o",
    ];
    cases.iter().copied().for_each(assert_alike);
}

/// Pieces that look like fields, so that random input gets past the first byte.
fn record() -> impl Strategy<Value = Vec<u8>> {
    let key = (0u8..34, 0u8..8).prop_map(|(field, kind)| {
        let key = u16::from(field) << 3 | u16::from(kind);
        if key < 0x80 {
            vec![key as u8]
        } else {
            vec![key as u8 | 0x80, (key >> 7) as u8]
        }
    });
    let piece = (key, proptest::collection::vec(any::<u8>(), 0..6)).prop_map(|(mut key, tail)| {
        key.push(tail.len() as u8);
        key.extend(tail);
        key
    });
    let fields = proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat());
    (1u8..5, fields, any::<bool>()).prop_map(|(part, fields, wrapped)| {
        if !wrapped {
            return fields;
        }
        let mut record = vec![part << 3 | 2, fields.len() as u8];
        record.extend(fields);
        record
    })
}

proptest! {
    #[test]
    fn records_are_read_alike(record in record()) {
        assert_alike(&record);
    }

    #[test]
    fn any_bytes_are_read_alike(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        assert_alike(&bytes);
        fuzz_mutation(&bytes);
        crate::fuzz_commit(&bytes);
        crate::log::fuzz_segment_name(&bytes);
    }

    #[test]
    fn bit_flips_are_read_alike(which in 0usize..5, at in any::<usize>(), bit in 0u8..8) {
        let mut bytes = crate::sample::mutations()[which].encode_to_vec();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        assert_alike(&bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_damaged_log_is_loaded_at_once_as_in_steps(flips in proptest::collection::vec((any::<usize>(), 0u8..8), 0..4)) {
        let mut bytes = Vec::new();
        for mutation in crate::sample::mutations() {
            let payload = mutation.encode_to_vec();
            bytes.extend((payload.len() as u16).to_be_bytes());
            bytes.extend(payload);
        }
        for (at, bit) in flips {
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
        }
        crate::dump::fuzz_corpus(&bytes);
    }
}
