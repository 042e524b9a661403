//! What GitHub answers, as far as it is of interest.

use serde::{Deserialize, Deserializer};

use super::json::Members;

/// Unix seconds of a time such as `2011-04-22T13:33:48Z`.
fn time<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
    let text = String::deserialize(from)?;
    let time: jiff::Timestamp = text.parse().map_err(serde::de::Error::custom)?;
    Ok(time.as_second())
}

fn some_time<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    let text = Option::<String>::deserialize(from)?;
    let parse = |text: String| text.parse::<jiff::Timestamp>();
    let time = text
        .map(parse)
        .transpose()
        .map_err(serde::de::Error::custom)?;
    Ok(time.map(jiff::Timestamp::as_second))
}

/// As GitHub wants it in a query.
pub(super) fn iso(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| String::new(), |time| time.to_string())
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct User {
    pub(super) id: i64,
    pub(super) login: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Label {
    pub(super) id: i64,
    pub(super) name: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Milestone {
    pub(super) id: i64,
    pub(super) number: i64,
    pub(super) title: String,
    pub(super) state: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Issue {
    pub(super) number: i32,
    pub(super) title: String,
    pub(super) body: Option<String>,
    pub(super) user: Option<User>,
    pub(super) state: String,
    #[serde(default)]
    pub(super) locked: bool,
    #[serde(default)]
    pub(super) labels: Vec<Label>,
    #[serde(default)]
    pub(super) assignees: Vec<User>,
    pub(super) milestone: Option<Milestone>,
    #[serde(default)]
    pub(super) comments: u64,
    #[serde(deserialize_with = "time")]
    pub(super) created_at: i64,
    #[serde(deserialize_with = "time")]
    pub(super) updated_at: i64,
    #[serde(default, deserialize_with = "some_time")]
    pub(super) closed_at: Option<i64>,
    pub(super) closed_by: Option<User>,
    /// Only its presence is of interest.
    pub(super) pull_request: Option<serde::de::IgnoredAny>,
    pub(super) repository_url: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Comment {
    pub(super) id: i64,
    /// Absent for deleted accounts.
    pub(super) user: Option<User>,
    pub(super) body: Option<String>,
    #[serde(deserialize_with = "time")]
    pub(super) created_at: i64,
    #[serde(deserialize_with = "time")]
    pub(super) updated_at: i64,
    pub(super) issue_url: Option<String>,
}

/// The number at the end of a URL.
pub(super) fn number_at_end(url: Option<&str>) -> Option<i32> {
    url?.rsplit('/').next()?.parse().ok()
}

/// A comment on a line of code.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct CodeComment {
    pub(super) id: i64,
    pub(super) user: Option<User>,
    #[serde(deserialize_with = "time")]
    pub(super) created_at: i64,
    #[serde(deserialize_with = "time")]
    pub(super) updated_at: i64,
    pub(super) pull_request_url: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Named {
    #[serde(alias = "title")]
    pub(super) name: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Team {
    pub(super) id: i64,
    pub(super) slug: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Rename {
    pub(super) from: String,
    pub(super) to: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct DismissedReview {
    #[serde(default)]
    pub(super) review_id: i64,
    #[serde(default)]
    pub(super) state: String,
    pub(super) dismissal_message: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Numbered {
    pub(super) number: i32,
}

/// An event; what else it has is in `members`.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) fields: EventFields,
    pub(super) members: Members,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct EventFields {
    pub(super) id: i64,
    pub(super) event: String,
    pub(super) actor: Option<User>,
    #[serde(deserialize_with = "time")]
    pub(super) created_at: i64,
    pub(super) commit_id: Option<String>,
    pub(super) commit_url: Option<String>,
    pub(super) label: Option<Named>,
    pub(super) milestone: Option<Named>,
    pub(super) assignee: Option<User>,
    pub(super) assigner: Option<User>,
    pub(super) rename: Option<Rename>,
    pub(super) requested_reviewer: Option<User>,
    pub(super) review_requester: Option<User>,
    pub(super) requested_team: Option<Team>,
    pub(super) dismissed_review: Option<DismissedReview>,
    /// In lists of a whole repository.
    pub(super) issue: Option<Numbered>,
}

/// Members of an event that are stored as such, or say nothing.
pub(super) const EVENT_MEMBERS: &[&str] = &[
    "id",
    "event",
    "actor",
    "created_at",
    "commit_id",
    "commit_url",
    "label",
    "milestone",
    "assignee",
    "assigner",
    "rename",
    "requested_reviewer",
    "review_requester",
    "requested_team",
    "dismissed_review",
    "lock_reason",
    "url",
    "node_id",
    "issue",
];

/// A review; what else it has is in `members`.
#[derive(Debug)]
pub(super) struct Review {
    pub(super) fields: ReviewFields,
    pub(super) members: Members,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct ReviewFields {
    pub(super) id: i64,
    pub(super) user: Option<User>,
    pub(super) body: Option<String>,
    #[serde(default)]
    pub(super) state: String,
    pub(super) commit_id: Option<String>,
    #[serde(default)]
    pub(super) author_association: String,
    #[serde(default, deserialize_with = "some_time")]
    pub(super) submitted_at: Option<i64>,
}

/// As for events.
pub(super) const REVIEW_MEMBERS: &[&str] = &[
    "id",
    "user",
    "body",
    "state",
    "commit_id",
    "author_association",
    "submitted_at",
    "url",
    "node_id",
    "html_url",
    "pull_request_url",
    "_links",
];

/// Members of a comment on code that are kept: enough to show it, none that changes by itself.
pub(super) const CODE_COMMENT_MEMBERS: &[&str] = &[
    "body",
    "commit_id",
    "diff_hunk",
    "in_reply_to_id",
    "line",
    "original_commit_id",
    "original_line",
    "path",
    "pull_request_review_id",
    "side",
    "start_line",
    "updated_at",
];

/// A list of things that are kept with all their members.
pub(super) fn with_members<F, T>(
    body: &[u8],
    make: impl Fn(F, Members) -> T,
) -> Result<Vec<T>, serde_json::Error>
where
    F: for<'de> Deserialize<'de>,
{
    let items: Vec<Box<serde_json::value::RawValue>> = serde_json::from_slice(body)?;
    let read = |item: &serde_json::value::RawValue| {
        let fields = serde_json::from_str(item.get())?;
        Ok(make(fields, serde_json::from_str(item.get())?))
    };
    items.iter().map(|item| read(item)).collect()
}
