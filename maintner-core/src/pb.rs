//! The wire messages of the mutation log.
//!
//! Written out by hand so that the build needs no protobuf compiler; the schema
//! is `proto/maintner.proto`, which a test keeps in step. Encoding a decoded
//! message gives the same bytes if these came from a writer of this schema;
//! to hand on a record, copy its bytes.

/// The schema of these messages as protobuf text.
pub const SCHEMA: &str = include_str!("../proto/maintner.proto");

/// One record of the log: whatever is present is applied, in the order `github_issue`, `github`, `git`, `gerrit`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Mutation {
    /// Something about one issue or pull request.
    #[prost(message, optional, tag = "1")]
    pub github_issue: Option<GithubIssueMutation>,
    /// A commit of a plain git repository.
    #[prost(message, optional, tag = "2")]
    pub git: Option<GitMutation>,
    /// Labels and milestones of a repository.
    #[prost(message, optional, tag = "3")]
    pub github: Option<GithubMutation>,
    /// Commits and refs of a Gerrit project.
    #[prost(message, optional, tag = "4")]
    pub gerrit: Option<GerritMutation>,
}

/// New or changed labels and milestones of one repository.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GithubMutation {
    /// Owner of the repository; empty makes the mutation void.
    #[prost(string, tag = "1")]
    pub owner: String,
    /// Name of the repository; empty makes the mutation void.
    #[prost(string, tag = "2")]
    pub repo: String,
    /// New or renamed labels.
    #[prost(message, repeated, tag = "3")]
    pub labels: Vec<GithubLabel>,
    /// New or changed milestones.
    #[prost(message, repeated, tag = "4")]
    pub milestones: Vec<GithubMilestone>,
}

/// What changed in one issue or pull request.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GithubIssueMutation {
    /// Owner of the repository.
    #[prost(string, tag = "1")]
    pub owner: String,
    /// Name of the repository.
    #[prost(string, tag = "2")]
    pub repo: String,
    /// Number of the issue; 0 makes the mutation void.
    #[prost(int32, tag = "3")]
    pub number: i32,
    /// Author.
    #[prost(message, optional, tag = "4")]
    pub user: Option<GithubUser>,
    /// On the first mutation of an issue only.
    #[prost(message, optional, tag = "5")]
    pub created: Option<Timestamp>,
    /// GitHub's `updated_at`, when it changed.
    #[prost(message, optional, tag = "6")]
    pub updated: Option<Timestamp>,
    /// Legacy full text; empty means no change. `body_change` wins.
    #[prost(string, tag = "7")]
    pub body: String,
    /// New or changed comments.
    #[prost(message, repeated, tag = "8")]
    pub comment: Vec<GithubIssueCommentMutation>,
    /// Title, when it changed.
    #[prost(string, tag = "9")]
    pub title: String,
    /// Assignees to add or rename.
    #[prost(message, repeated, tag = "10")]
    pub assignees: Vec<GithubUser>,
    /// User ids to remove from the assignees.
    #[prost(int64, repeated, tag = "11")]
    pub deleted_assignees: Vec<i64>,
    /// GitHub's global id.
    #[prost(int64, tag = "12")]
    pub id: i64,
    /// Tombstone: there is no such issue.
    #[prost(bool, tag = "13")]
    pub not_exist: bool,
    /// End of a sync of comments.
    #[prost(message, optional, tag = "14")]
    pub comment_status: Option<GithubIssueSyncStatus>,
    /// Clears the milestone.
    #[prost(bool, tag = "15")]
    pub no_milestone: bool,
    /// Sets the milestone; 0 means no change.
    #[prost(int64, tag = "16")]
    pub milestone_id: i64,
    /// Number of that milestone.
    #[prost(int64, tag = "17")]
    pub milestone_num: i64,
    /// Title of that milestone.
    #[prost(string, tag = "18")]
    pub milestone_title: String,
    /// Closed or reopened.
    #[prost(message, optional, tag = "19")]
    pub closed: Option<BoolChange>,
    /// Closing time, when it changed.
    #[prost(message, optional, tag = "21")]
    pub closed_at: Option<Timestamp>,
    /// Who closed it.
    #[prost(message, optional, tag = "22")]
    pub closed_by: Option<GithubUser>,
    /// Ids of labels to remove.
    #[prost(int64, repeated, tag = "23")]
    pub remove_label: Vec<i64>,
    /// Labels to add.
    #[prost(message, repeated, tag = "24")]
    pub add_label: Vec<GithubLabel>,
    /// Locked or unlocked.
    #[prost(message, optional, tag = "25")]
    pub locked: Option<BoolChange>,
    /// New events, oldest first.
    #[prost(message, repeated, tag = "26")]
    pub event: Vec<GithubIssueEvent>,
    /// End of a sync of events.
    #[prost(message, optional, tag = "27")]
    pub event_status: Option<GithubIssueSyncStatus>,
    /// True makes the issue a pull request for good.
    #[prost(bool, tag = "28")]
    pub pull_request: bool,
    /// New reviews.
    #[prost(message, repeated, tag = "29")]
    pub review: Vec<GithubReview>,
    /// End of a sync of reviews.
    #[prost(message, optional, tag = "30")]
    pub review_status: Option<GithubIssueSyncStatus>,
    /// New text, which may be empty.
    #[prost(message, optional, tag = "31")]
    pub body_change: Option<StringChange>,
    /// Ids of comments that were deleted. Unknown to the Go programs, which pass over it.
    #[prost(int64, repeated, tag = "32")]
    pub deleted_comment: Vec<i64>,
}

/// A changed flag; the message's presence is the change.
#[derive(Clone, PartialEq, prost::Message)]
pub struct BoolChange {
    /// The new value.
    #[prost(bool, tag = "1")]
    pub val: bool,
}

/// A changed text; the message's presence is the change.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StringChange {
    /// The new value.
    #[prost(string, tag = "1")]
    pub val: String,
}

/// A label; inside events only the name is set.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GithubLabel {
    /// GitHub's id.
    #[prost(int64, tag = "1")]
    pub id: i64,
    /// Name; empty means unchanged.
    #[prost(string, tag = "2")]
    pub name: String,
}

/// A milestone; inside events only the title is set.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GithubMilestone {
    /// GitHub's id.
    #[prost(int64, tag = "1")]
    pub id: i64,
    /// Title.
    #[prost(string, tag = "2")]
    pub title: String,
    /// Closed or reopened.
    #[prost(message, optional, tag = "3")]
    pub closed: Option<BoolChange>,
    /// Number within the repository.
    #[prost(int64, tag = "4")]
    pub number: i64,
}

/// A commit named by an event.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GithubCommit {
    /// Owner of the repository.
    #[prost(string, tag = "1")]
    pub owner: String,
    /// Name of the repository.
    #[prost(string, tag = "2")]
    pub repo: String,
    /// Hash in hexadecimal digits.
    #[prost(string, tag = "3")]
    pub commit_id: String,
}

/// The end of a synchronisation.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GithubIssueSyncStatus {
    /// The server's clock at its last answer.
    #[prost(message, optional, tag = "1")]
    pub server_date: Option<Timestamp>,
}

/// A user.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GithubUser {
    /// GitHub's id.
    #[prost(int64, tag = "1")]
    pub id: i64,
    /// Login; empty means unchanged.
    #[prost(string, tag = "2")]
    pub login: String,
}

/// A team.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GithubTeam {
    /// GitHub's id.
    #[prost(int64, tag = "1")]
    pub id: i64,
    /// Short name.
    #[prost(string, tag = "2")]
    pub slug: String,
}

/// Details of a `review_dismissed` event.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GithubDismissedReviewEvent {
    /// The review.
    #[prost(int64, tag = "1")]
    pub review_id: i64,
    /// Why.
    #[prost(string, tag = "3")]
    pub dismissal_message: String,
    /// The state it had.
    #[prost(string, tag = "4")]
    pub state: String,
}

/// An event in the life of an issue.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GithubIssueEvent {
    /// GitHub's id; 0 voids the entry.
    #[prost(int64, tag = "1")]
    pub id: i64,
    /// GitHub's word for it; an open set.
    #[prost(string, tag = "2")]
    pub event_type: String,
    /// Who; 0 for deleted accounts.
    #[prost(int64, tag = "3")]
    pub actor_id: i64,
    /// When.
    #[prost(message, optional, tag = "4")]
    pub created: Option<Timestamp>,
    /// For `labeled` and `unlabeled`.
    #[prost(message, optional, tag = "5")]
    pub label: Option<GithubLabel>,
    /// For `milestoned` and `demilestoned`.
    #[prost(message, optional, tag = "6")]
    pub milestone: Option<GithubMilestone>,
    /// For `assigned` and `unassigned`.
    #[prost(int64, tag = "7")]
    pub assignee_id: i64,
    /// For `assigned` and `unassigned`.
    #[prost(int64, tag = "8")]
    pub assigner_id: i64,
    /// For `referenced`, `closed` and `merged`.
    #[prost(message, optional, tag = "9")]
    pub commit: Option<GithubCommit>,
    /// JSON object of what the producer did not understand.
    #[prost(bytes = "vec", tag = "10")]
    pub other_json: Vec<u8>,
    /// For `renamed`.
    #[prost(string, tag = "11")]
    pub rename_from: String,
    /// For `renamed`.
    #[prost(string, tag = "12")]
    pub rename_to: String,
    /// For review requests.
    #[prost(int64, tag = "13")]
    pub reviewer_id: i64,
    /// For review requests.
    #[prost(int64, tag = "14")]
    pub review_requester_id: i64,
    /// For `review_dismissed`.
    #[prost(message, optional, tag = "15")]
    pub dismissed_review: Option<GithubDismissedReviewEvent>,
    /// For review requests to a team.
    #[prost(message, optional, tag = "16")]
    pub team_reviewer: Option<GithubTeam>,
}

/// A review of a pull request.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GithubReview {
    /// GitHub's id; 0 voids the entry.
    #[prost(int64, tag = "1")]
    pub id: i64,
    /// Who.
    #[prost(int64, tag = "2")]
    pub actor_id: i64,
    /// When it was submitted.
    #[prost(message, optional, tag = "3")]
    pub created: Option<Timestamp>,
    /// Text.
    #[prost(string, tag = "4")]
    pub body: String,
    /// `COMMENTED`, `APPROVED`, ...
    #[prost(string, tag = "5")]
    pub state: String,
    /// Hash in hexadecimal digits.
    #[prost(string, tag = "6")]
    pub commit_id: String,
    /// `CONTRIBUTOR`, `MEMBER`, ...
    #[prost(string, tag = "7")]
    pub actor_association: String,
    /// JSON object of what the producer did not understand.
    #[prost(bytes = "vec", tag = "8")]
    pub other_json: Vec<u8>,
}

/// A new or changed comment.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GithubIssueCommentMutation {
    /// GitHub's id; 0 voids the entry.
    #[prost(int64, tag = "1")]
    pub id: i64,
    /// On first sight only.
    #[prost(message, optional, tag = "2")]
    pub user: Option<GithubUser>,
    /// Text, on first sight or when changed.
    #[prost(string, tag = "3")]
    pub body: String,
    /// On first sight only.
    #[prost(message, optional, tag = "4")]
    pub created: Option<Timestamp>,
    /// On first sight or when changed.
    #[prost(message, optional, tag = "5")]
    pub updated: Option<Timestamp>,
}

/// A commit of a plain git repository.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GitMutation {
    /// Which repository.
    #[prost(message, optional, tag = "1")]
    pub repo: Option<GitRepo>,
    /// The commit.
    #[prost(message, optional, tag = "2")]
    pub commit: Option<GitCommit>,
}

/// A plain git repository.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GitRepo {
    /// Its name.
    #[prost(string, tag = "1")]
    pub go_repo: String,
}

/// A git commit object and what it changed.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GitCommit {
    /// 40 hexadecimal digits; for a peeled tag the tag's hash.
    #[prost(string, tag = "1")]
    pub sha1: String,
    /// Content of the commit object.
    #[prost(bytes = "vec", tag = "2")]
    pub raw: Vec<u8>,
    /// Changed files; empty for roots and merges.
    #[prost(message, optional, tag = "3")]
    pub diff_tree: Option<GitDiffTree>,
}

/// The changed files of a commit.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GitDiffTree {
    /// In git's order.
    #[prost(message, repeated, tag = "1")]
    pub file: Vec<GitDiffTreeFile>,
}

/// One changed file.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GitDiffTreeFile {
    /// Path as git prints it, perhaps quoted.
    #[prost(string, tag = "1")]
    pub file: String,
    /// Added lines.
    #[prost(int64, tag = "2")]
    pub added: i64,
    /// Deleted lines.
    #[prost(int64, tag = "3")]
    pub deleted: i64,
    /// Binary: both counts are 0.
    #[prost(bool, tag = "4")]
    pub binary: bool,
}

/// Commits and refs of one Gerrit project; applied in the order commits, deleted refs, refs.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GerritMutation {
    /// Host, slash, project.
    #[prost(string, tag = "1")]
    pub project: String,
    /// Commits to add.
    #[prost(message, repeated, tag = "2")]
    pub commits: Vec<GitCommit>,
    /// Refs to set.
    #[prost(message, repeated, tag = "3")]
    pub refs: Vec<GitRef>,
    /// Refs to delete.
    #[prost(string, repeated, tag = "4")]
    pub deleted_refs: Vec<String>,
}

/// A ref and where it points.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GitRef {
    /// Full name.
    #[prost(string, tag = "1")]
    pub r#ref: String,
    /// 40 hexadecimal digits.
    #[prost(string, tag = "2")]
    pub sha1: String,
}

/// `google.protobuf.Timestamp`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// Nanoseconds after that.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}
/// Fuzz entry: decoding any bytes does not panic, and a decoded mutation
/// survives an encoding and a second decoding.
pub fn fuzz_mutation(data: &[u8]) {
    use prost::Message as _;
    if let Ok(mutation) = Mutation::decode(data) {
        let again = Mutation::decode(mutation.encode_to_vec().as_slice());
        assert_eq!(
            again.as_ref(),
            Ok(&mutation),
            "an encoded mutation decodes to itself"
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::log::{Records, Sha224Hex};
    use crate::source::MemoryLog;

    fn issue(number: i32) -> GithubIssueMutation {
        GithubIssueMutation {
            owner: "golang".into(),
            repo: "go".into(),
            number,
            ..Default::default()
        }
    }

    fn of_issue(issue: GithubIssueMutation) -> Mutation {
        Mutation {
            github_issue: Some(issue),
            ..Default::default()
        }
    }

    #[test]
    fn the_documented_segment_comes_out_byte_for_byte() {
        let log = MemoryLog::of(&crate::sample::documented()).bytes();
        assert_eq!(log.len(), 265);
        assert_eq!(
            Sha224Hex::of(&log).to_string(),
            "7d69dcfb5484bd18107792409e568999d00a758fbbd086d0869f99eb"
        );
        assert_eq!(
            Sha224Hex::of(&log[..79]).to_string(),
            "3d6f03876b3f4c9a7ffe200d56691e60e8f4c4b7fa5248a99f0317b3"
        );
        let offsets: Vec<u64> = Records::new(&log).map(|r| r.unwrap().offset()).collect();
        assert_eq!(offsets, [0, 0x4f, 0x6b, 0x92]);
        for (record, mutation) in Records::new(&log).zip(crate::sample::documented()) {
            assert_eq!(
                Mutation::decode(record.unwrap().payload()).as_ref(),
                Ok(&mutation)
            );
        }
    }

    #[test]
    fn a_change_to_false_is_an_empty_message() {
        let change = GithubIssueMutation {
            closed: Some(BoolChange { val: false }),
            ..Default::default()
        };
        assert_eq!(change.encode_to_vec(), [0x9a, 0x01, 0x00]);
    }

    #[test]
    fn lists_of_numbers_are_read_packed_and_unpacked() {
        let packed = [0xba, 0x01, 0x02, 5, 6];
        let unpacked = [0xb8, 0x01, 5, 0xb8, 0x01, 6];
        for bytes in [&packed[..], &unpacked] {
            let issue = GithubIssueMutation::decode(bytes).unwrap();
            assert_eq!(issue.remove_label, [5, 6]);
            assert_eq!(issue.encode_to_vec(), packed);
        }
    }

    #[test]
    fn repeated_messages_in_a_singular_field_merge() {
        // user{id:1} then user{login:"a"}
        let issue =
            GithubIssueMutation::decode(&[0x22, 2, 8, 1, 0x22, 3, 0x12, 1, b'a'][..]).unwrap();
        assert_eq!(
            issue.user,
            Some(GithubUser {
                id: 1,
                login: "a".into()
            })
        );
    }

    #[test]
    fn unknown_fields_are_skipped_and_bad_text_is_refused() {
        let known = of_issue(issue(1)).encode_to_vec();
        let mut unknown = known.clone();
        unknown.extend([0xa0, 0x06, 1]); // field 100
        assert_eq!(Mutation::decode(&unknown[..]), Mutation::decode(&known[..]));
        assert!(GithubIssueMutation::decode(&[0x0a, 1, 0xff][..]).is_err());
    }

    /// `Message { name type number }` of the schema text, comments dropped.
    fn schema_of_proto(text: &str) -> Vec<String> {
        let mut message = String::new();
        let mut all = Vec::new();
        for line in text.lines().map(str::trim) {
            if let Some(rest) = line.strip_prefix("message ") {
                message = rest.trim_end_matches(" {").to_owned();
            } else if let Some((left, number)) = line.trim_end_matches(';').split_once(" = ")
                && !line.starts_with("//")
                && !line.starts_with("syntax")
            {
                all.push(format!("{message} {left} {number}"));
            }
        }
        all
    }

    /// The same from the attributes in this file.
    fn schema_of_rust(text: &str) -> Vec<String> {
        let mut message = String::new();
        let mut attribute = String::new();
        let mut all = Vec::new();
        for line in text.lines().map(str::trim) {
            if let Some(rest) = line.strip_prefix("pub struct ") {
                message = rest.trim_end_matches(" {").to_owned();
            } else if let Some(rest) = line.strip_prefix("#[prost(") {
                attribute = rest.trim_end_matches(")]").to_owned();
            } else if let Some((name, rust_type)) = line
                .strip_prefix("pub ")
                .and_then(|l| l.trim_end_matches(',').split_once(": "))
            {
                let kind = attribute.split([',', ' ']).next().unwrap();
                let number = attribute.split('"').rev().nth(1).unwrap();
                let inner = rust_type
                    .trim_start_matches("Vec<")
                    .trim_start_matches("Option<");
                let kind = if kind == "message" {
                    inner.trim_end_matches('>')
                } else {
                    kind
                };
                let repeated = if attribute.contains("repeated") {
                    "repeated "
                } else {
                    ""
                };
                let name = name.trim_start_matches("r#");
                all.push(format!("{message} {repeated}{kind} {name} {number}"));
            }
        }
        all
    }

    #[test]
    fn the_schema_text_and_the_messages_agree() {
        let source = include_str!("pb.rs");
        // The messages alone: the schema text and the functions are not messages.
        let (_, messages) = source.split_once("/// One record of the log").unwrap();
        let messages = messages.split("/// Fuzz entry").next().unwrap();
        let rust = schema_of_rust(messages);
        assert_eq!(rust.len(), 106);
        assert_eq!(rust, schema_of_proto(SCHEMA));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(data in prop::collection::vec(any::<u8>(), 0..100), at in 0usize..300, bit in 0u8..8) {
            fuzz_mutation(&data);
            for mutation in crate::sample::documented() {
                let mut bytes = mutation.encode_to_vec();
                let at = at % bytes.len();
                bytes[at] ^= 1 << bit;
                fuzz_mutation(&bytes);
            }
        }
    }
}
