//! How far a repository was read. Written when what it presumes is durable.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::keyset::Keyset;

/// An answer that need not be read again while it has this tag.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tag {
    pub(super) path: String,
    pub(super) etag: String,
}

/// How far the events of the repository were read; GitHub lists them newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EventNotes {
    /// Everything up to this time was read once.
    pub(super) floor: Option<i64>,
    /// The page at which the first reading goes on.
    pub(super) page: u32,
    /// Time of the newest event when the present reading began.
    pub(super) newest: Option<i64>,
    /// GitHub's clock then.
    pub(super) began: Option<i64>,
    /// GitHub would not list events older than this one.
    pub(super) horizon: Option<i64>,
}

/// The notes of one repository.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Saved {
    /// The path under which the repository is found since it was renamed.
    pub(super) moved_to: Option<String>,
    pub(super) issues: Keyset,
    pub(super) comments: Keyset,
    pub(super) code_comments: Keyset,
    pub(super) events: EventNotes,
    /// When all issues were last listed, to find those that are gone.
    pub(super) swept: Option<i64>,
    /// Issues whose events are to be read again, and when: GitHub may show an issue as changed
    /// before it shows the event that changed it.
    pub(super) again: Vec<(i64, i32)>,
    /// Whether all heads of open pull requests were read since they were begun.
    pub(super) heads_whole: bool,
    /// Up to which issue minimised comments were looked for in turn.
    pub(super) minimized: i32,
    pub(super) tags: BTreeMap<String, Tag>,
}

impl Saved {
    /// Notes that make no sense (another version's, a damaged file) are none.
    pub(super) fn read(notes: &[u8]) -> Self {
        serde_json::from_slice(notes).unwrap_or_default()
    }

    pub(super) fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("keys are texts")
    }
}
