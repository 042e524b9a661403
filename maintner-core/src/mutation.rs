//! Mutations read in place: the records of a log decoded without copying.
//!
//! A [`MutationView`] borrows every text from the record it was read from, which is what lets
//! the corpus keep positions in the mapped log instead of strings. Reading checks the whole
//! record: a record with one bad field is refused as a whole, as every protobuf decoder does.
//! Field numbers and meanings: `docs/protocol/reclog.md`; the generated messages in
//! [`crate::pb`] are the oracle of the tests.

mod schema;
mod wire;

pub use schema::{
    BoolChangeView, DiffTreeFileView, DiffTreeView, DismissedReviewView, GerritMutationView,
    GitCommitView, GitMutationView, GitRefView, GitRepoView, GithubCommitView, GithubMutationView,
    IssueCommentView, IssueEventView, IssueMutationView, LabelView, MilestoneView, MutationView,
    ReviewView, StringChangeView, SyncStatusView, TeamView, TimestampView, UserView,
};
pub(crate) use schema::{EventKey, IssueKey};
pub use wire::DecodeError;

/// Feeds arbitrary bytes to the reader; it must return, whatever they are.
pub fn fuzz_mutation(data: &[u8]) {
    let Ok(view) = MutationView::parse(data) else {
        return;
    };
    let mut items = 0usize;
    if let Some(issue) = view.github_issue() {
        items += issue.comments().count() + issue.events().count() + issue.reviews().count();
        items += issue.deleted_assignees().count() + issue.remove_labels().count();
    }
    if let Some(gerrit) = view.gerrit() {
        items += gerrit.commits().count() + gerrit.refs().count() + gerrit.deleted_refs().count();
    }
    assert!(items <= data.len(), "more items than bytes");
}

#[cfg(test)]
mod tests;
