//! Questions to a [`View`](crate::View), as iterators and typed lookups.
//!
//! Everything here borrows from the view and copies nothing: an [`Issue`] is a row number, its
//! texts are slices of the mapped log. Lookups named after a thing fail with [`NotFound`] when
//! it is not there; those that start with `try_` return an `Option`.

mod cl;
mod gerrit;
mod git;
mod github;
mod issue;
mod issues;
mod meta;
mod refs_in_text;
mod time;

pub use cl::{Cl, Cls, PatchSet};
pub use gerrit::{Gerrit, Project, Ref};
pub use git::{Commit, File, Git, Person};
pub use github::{GitHub, Label, Milestone, Repo, User};
pub use issue::{COMMENT_MINIMIZED, Comment, Event, HEAD_SEEN, Issue, IssueMilestone, Review};
pub use issues::Issues;
pub use meta::{HashtagEdits, Hashtags, Message, Meta, Vote};
pub use refs_in_text::IssueRef;
pub use time::UnixTime;

pub(crate) use refs_in_text::refs_in;

/// What was asked for is not in the corpus.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {name} is not in the corpus")]
pub struct NotFound {
    kind: &'static str,
    name: String,
}

impl NotFound {
    pub(crate) fn new(kind: &'static str, name: impl ToString) -> Self {
        Self {
            kind,
            name: name.to_string(),
        }
    }
}
