//! The canonical dump: what a corpus knows, as sorted JSON lines.
//!
//! Two corpora are equal when their dumps are, whoever built them. The rules
//! are in `docs/protocol/canonical-dump.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::source::{MemoryLog, MutationSink as _};
use crate::{Corpus, Options};

/// Collects lines and brings them into order.
#[derive(Debug, Default)]
pub struct Dump {
    lines: Vec<String>,
    users: BTreeSet<i64>,
}

impl Dump {
    /// A dump without lines.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one object.
    pub fn push(&mut self, line: &Line<'_>) {
        line.users(&mut self.users);
        self.lines
            .push(serde_json::to_string(line).expect("no map has keys other than strings"));
    }

    /// Adds a line for each user that was named so far, then sorts.
    /// `login` gives the last known login of a user, empty when there is none.
    #[must_use]
    pub fn finish<'a>(mut self, login: impl Fn(i64) -> &'a str) -> Self {
        for id in std::mem::take(&mut self.users) {
            self.push(&Line::Ghuser {
                id,
                login: login(id),
            });
        }
        self.lines.sort_unstable();
        self
    }

    /// The lines, without line ends.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Writes the lines, each with its line end.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_to(&self, mut out: impl Write) -> io::Result<()> {
        self.lines.iter().try_for_each(|line| {
            out.write_all(line.as_bytes())?;
            out.write_all(b"\n")
        })
    }

    /// SHA-256 of what [`write_to`](Self::write_to) writes, in hexadecimal.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        for line in &self.lines {
            hash.update(line);
            hash.update(b"\n");
        }
        hex::encode(hash.finalize())
    }
}

/// SHA-256 of a text in hexadecimal, as the dump stands in for long texts.
pub fn text_hash(text: &[u8]) -> String {
    hex::encode(Sha256::digest(text))
}

/// One object of the dump. Times are Unix seconds, `None` when never set;
/// users are ids, `None` for nobody.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
#[expect(
    missing_docs,
    reason = "the fields are described in docs/protocol/canonical-dump.md"
)]
pub enum Line<'a> {
    Ghuser {
        id: i64,
        login: &'a str,
    },
    Ghrepo {
        owner: &'a str,
        repo: &'a str,
    },
    Label {
        id: i64,
        name: &'a str,
        repo: &'a str,
    },
    Milestone {
        closed: bool,
        id: i64,
        number: i64,
        repo: &'a str,
        title: &'a str,
    },
    Tombstone {
        number: i32,
        repo: &'a str,
    },
    Issue(IssueLine<'a>),
    Comment(CommentLine<'a>),
    Event(EventLine<'a>),
    Review(ReviewLine<'a>),
    Commit(CommitLine<'a>),
    Placeholder {
        hash: String,
    },
    Ref {
        hash: String,
        project: &'a str,
        r#ref: &'a str,
    },
    Cl(ClLine<'a>),
}

impl Line<'_> {
    fn users(&self, users: &mut BTreeSet<i64>) {
        match self {
            Self::Issue(issue) => {
                users.extend(
                    issue
                        .user
                        .iter()
                        .chain(&issue.closed_by)
                        .chain(&issue.assignees),
                );
            }
            Self::Comment(comment) => users.extend(comment.user),
            Self::Review(review) => users.extend(review.actor),
            Self::Event(event) => {
                let named = [
                    event.actor,
                    event.assignee,
                    event.assigner,
                    event.reviewer,
                    event.requester,
                ];
                users.extend(named.iter().flatten());
            }
            _ => {}
        }
    }
}

/// The milestone of an issue: an id, `"none"`, or null for never mentioned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
#[expect(
    missing_docs,
    reason = "the fields are described in docs/protocol/canonical-dump.md"
)]
pub enum MilestoneRef {
    Id(i64),
    None(NoneWord),
    Unknown(()),
}

impl MilestoneRef {
    /// Known to have no milestone.
    pub const NONE: Self = Self::None(NoneWord::None);
    /// Nothing was said about a milestone.
    pub const UNKNOWN: Self = Self::Unknown(());
}

/// The word `"none"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(
    missing_docs,
    reason = "the fields are described in docs/protocol/canonical-dump.md"
)]
pub enum NoneWord {
    None,
}

/// An issue or pull request that exists.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(
    missing_docs,
    reason = "the fields are described in docs/protocol/canonical-dump.md"
)]
pub struct IssueLine<'a> {
    pub assignees: Vec<i64>,
    pub body_sha256: String,
    pub closed: bool,
    pub closed_at: Option<i64>,
    pub closed_by: Option<i64>,
    pub created: Option<i64>,
    pub id: i64,
    pub labels: Vec<i64>,
    pub locked: bool,
    pub milestone: MilestoneRef,
    pub number: i32,
    pub pull_request: bool,
    pub repo: &'a str,
    pub title: &'a str,
    pub updated: Option<i64>,
    pub user: Option<i64>,
}

/// A comment on an issue that exists.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(
    missing_docs,
    reason = "the fields are described in docs/protocol/canonical-dump.md"
)]
pub struct CommentLine<'a> {
    pub body_sha256: String,
    pub created: Option<i64>,
    pub id: i64,
    pub number: i32,
    pub repo: &'a str,
    pub updated: Option<i64>,
    pub user: Option<i64>,
}

/// An event of an issue that exists.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(
    missing_docs,
    reason = "the fields are described in docs/protocol/canonical-dump.md"
)]
pub struct EventLine<'a> {
    pub actor: Option<i64>,
    pub assignee: Option<i64>,
    pub assigner: Option<i64>,
    pub commit_id: &'a str,
    pub commit_repo: String,
    pub created: Option<i64>,
    pub dismissed: Option<DismissedLine<'a>>,
    pub from: &'a str,
    pub id: i64,
    pub label: &'a str,
    pub milestone: &'a str,
    pub number: i32,
    pub repo: &'a str,
    pub requester: Option<i64>,
    pub reviewer: Option<i64>,
    pub team: Option<i64>,
    pub to: &'a str,
    #[serde(rename = "type")]
    pub event_type: &'a str,
}

/// The dismissed review of an event.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(
    missing_docs,
    reason = "the fields are described in docs/protocol/canonical-dump.md"
)]
pub struct DismissedLine<'a> {
    pub message: &'a str,
    pub review_id: i64,
    pub state: &'a str,
}

/// A review of a pull request that exists.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(
    missing_docs,
    reason = "the fields are described in docs/protocol/canonical-dump.md"
)]
pub struct ReviewLine<'a> {
    pub actor: Option<i64>,
    pub association: &'a str,
    pub body_sha256: String,
    pub commit_id: &'a str,
    pub created: Option<i64>,
    pub id: i64,
    pub number: i32,
    pub repo: &'a str,
    pub state: &'a str,
}

/// A commit whose content is known.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(
    missing_docs,
    reason = "the fields are described in docs/protocol/canonical-dump.md"
)]
pub struct CommitLine<'a> {
    pub author: String,
    pub author_time: i64,
    pub author_tz: &'a str,
    pub committer: String,
    pub committer_time: i64,
    pub committer_tz: &'a str,
    pub files: Vec<(&'a str, i64, i64, bool)>,
    pub hash: String,
    pub msg_sha256: String,
    pub parents: Vec<String>,
    pub tree: String,
}

/// A complete change of a Gerrit project.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(
    missing_docs,
    reason = "the fields are described in docs/protocol/canonical-dump.md"
)]
pub struct ClLine<'a> {
    pub branch: &'a str,
    pub commit: String,
    pub created: i64,
    pub hashtags: &'a str,
    pub messages: Vec<MessageLine>,
    pub metas: Vec<String>,
    pub number: i32,
    pub private: bool,
    pub project: &'a str,
    pub refs: Vec<String>,
    pub status: &'a str,
    pub version: i32,
    pub votes: BTreeMap<String, BTreeMap<String, i8>>,
    pub wip: bool,
}

/// A review message of a change.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(
    missing_docs,
    reason = "the fields are described in docs/protocol/canonical-dump.md"
)]
pub struct MessageLine {
    pub author: String,
    pub date: i64,
    pub text_sha256: String,
    pub version: i32,
}

/// Fuzz entry: whatever the payloads of a log are, loading it at once and record by record
/// give the same corpus, and both can be asked. Each payload follows its length in two bytes.
pub fn fuzz_corpus(data: &[u8]) {
    let payloads = split(data);
    let options = || Options::default().workers(1).snapshot(false);
    let read = "a log in memory can be read";
    let (mut whole, mut grown) = (MemoryLog::new(), MemoryLog::new());
    whole.append(&payloads).expect(read);
    let at_once = Corpus::load(whole, options()).expect(read);
    let in_steps = Corpus::load(grown.clone(), options()).expect(read);
    for payload in payloads {
        grown.append(&[payload]).expect(read);
        in_steps.update().expect(read);
    }
    let (one, other) = (at_once.view(), in_steps.view());
    assert_eq!(one.canonical_dump().lines(), other.canonical_dump().lines());
    assert_eq!(one.anomalies().total(), other.anomalies().total());
}

fn split(mut data: &[u8]) -> Vec<&[u8]> {
    let mut payloads = Vec::new();
    while let Some((len, rest)) = data.split_first_chunk::<2>() {
        let len = usize::from(u16::from_be_bytes(*len)).min(rest.len());
        let (payload, rest) = rest.split_at(len);
        payloads.push(payload);
        data = rest;
    }
    payloads
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_sorted_and_users_are_added_once() {
        let mut dump = Dump::new();
        let comment = |id| {
            Line::Comment(CommentLine {
                body_sha256: text_hash(b""),
                created: Some(5),
                id,
                number: 1,
                repo: "o/r",
                updated: None,
                user: Some(7),
            })
        };
        dump.push(&comment(2));
        dump.push(&Line::Tombstone {
            number: 3,
            repo: "o/r",
        });
        dump.push(&comment(1));
        let dump = dump.finish(|id| if id == 7 { "gopher" } else { "" });
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let wanted = [
            format!(
                r#"{{"kind":"comment","body_sha256":"{empty}","created":5,"id":1,"number":1,"repo":"o/r","updated":null,"user":7}}"#
            ),
            format!(
                r#"{{"kind":"comment","body_sha256":"{empty}","created":5,"id":2,"number":1,"repo":"o/r","updated":null,"user":7}}"#
            ),
            r#"{"kind":"ghuser","id":7,"login":"gopher"}"#.to_owned(),
            r#"{"kind":"tombstone","number":3,"repo":"o/r"}"#.to_owned(),
        ];
        assert_eq!(dump.lines(), wanted);
        let mut text = Vec::new();
        dump.write_to(&mut text).unwrap();
        assert_eq!(dump.fingerprint(), text_hash(&text));
    }

    #[test]
    fn the_three_states_of_a_milestone_differ() {
        let json = |m: MilestoneRef| serde_json::to_string(&m).unwrap();
        assert_eq!(json(MilestoneRef::Id(4)), "4");
        assert_eq!(json(MilestoneRef::NONE), "\"none\"");
        assert_eq!(json(MilestoneRef::UNKNOWN), "null");
    }
}
