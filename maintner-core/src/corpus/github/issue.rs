//! One issue or pull request: its rows, and how a mutation changes them.

use zerocopy::{FromBytes, FromZeros as _, Immutable, IntoBytes, KnownLayout};

use super::super::text::{Locator, TextRef};
use super::SharedSink;
use crate::mutation::{
    EventKey, IssueCommentView, IssueMutationView, ReviewView, SyncStatusView, TimestampView,
};

/// A time that was never set.
pub(crate) const NO_TIME: i64 = i64::MIN;

/// Milestone ids that are none: nothing was said; known to have none.
pub(crate) const MILESTONE_UNKNOWN: i64 = 0;
pub(crate) const MILESTONE_NONE: i64 = i64::MIN;

pub(crate) const NOT_EXIST: u32 = 1;
pub(crate) const CLOSED: u32 = 2;
pub(crate) const LOCKED: u32 = 4;
pub(crate) const PULL_REQUEST: u32 = 8;

/// The fixed part of an issue. Times are Unix seconds or `NO_TIME`.
#[derive(Debug, Clone, Copy, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct IssueRow {
    pub(crate) repo: u32,
    pub(crate) number: i32,
    pub(crate) flags: u32,
    unused: u32,
    pub(crate) id: i64,
    pub(crate) user: i64,
    pub(crate) closed_by: i64,
    pub(crate) milestone: i64,
    pub(crate) created: i64,
    pub(crate) updated: i64,
    pub(crate) closed_at: i64,
    /// Server times up to which comments, events and reviews are known.
    pub(crate) comments_as_of: i64,
    pub(crate) events_as_of: i64,
    pub(crate) reviews_as_of: i64,
    pub(crate) title: TextRef,
    pub(crate) body: TextRef,
}

impl IssueRow {
    pub(crate) fn new(repo: u32, number: i32) -> Self {
        Self {
            repo,
            number,
            created: NO_TIME,
            updated: NO_TIME,
            closed_at: NO_TIME,
            comments_as_of: NO_TIME,
            events_as_of: NO_TIME,
            reviews_as_of: NO_TIME,
            ..Self::new_zeroed()
        }
    }

    fn flag(&mut self, flag: u32, on: bool) {
        self.flags = if on {
            self.flags | flag
        } else {
            self.flags & !flag
        };
    }
}

/// A comment.
#[derive(Debug, Clone, Copy, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct CommentRow {
    pub(crate) id: i64,
    pub(crate) user: i64,
    pub(crate) created: i64,
    pub(crate) updated: i64,
    pub(crate) body: TextRef,
}

/// An event; what is not needed to order and find events stays in the log.
#[derive(Debug, Clone, Copy, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct EventRow {
    pub(crate) id: i64,
    pub(crate) created: i64,
    /// The stored event.
    pub(crate) source: TextRef,
}

/// A review; its text and state stay in the log.
#[derive(Debug, Clone, Copy, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct ReviewRow {
    pub(crate) id: i64,
    pub(crate) created: i64,
    /// The stored review.
    pub(crate) source: TextRef,
}

fn seconds(time: Option<&TimestampView<'_>>) -> i64 {
    time.map_or(NO_TIME, TimestampView::seconds)
}

/// An issue taken out of its columns.
#[derive(Debug, Clone)]
pub(crate) struct IssueState {
    pub(crate) issue: IssueRow,
    /// Label ids, ascending.
    pub(crate) labels: Vec<i64>,
    /// User ids in the order in which they were assigned.
    pub(crate) assignees: Vec<i64>,
    /// By creation, then id; so are events and reviews.
    pub(crate) comments: Vec<CommentRow>,
    pub(crate) events: Vec<EventRow>,
    pub(crate) reviews: Vec<ReviewRow>,
}

impl IssueState {
    pub(crate) fn new(repo: u32, number: i32) -> Self {
        Self {
            issue: IssueRow::new(repo, number),
            labels: Vec::new(),
            assignees: Vec::new(),
            comments: Vec::new(),
            events: Vec::new(),
            reviews: Vec::new(),
        }
    }

    /// Restores the order of the lists after mutations were applied.
    pub(crate) fn sort(&mut self) {
        self.labels.sort_unstable();
        self.comments
            .sort_by_key(|comment| (comment.created, comment.id));
        self.events.sort_by_key(|event| (event.created, event.id));
        self.reviews
            .sort_by_key(|review| (review.created, review.id));
    }

    /// Applies one mutation; statements about shared objects go to `shared`.
    ///
    /// The order of the steps is the protocol's: `docs/protocol/reclog.md`.
    pub(crate) fn apply(
        &mut self,
        mutation: &IssueMutationView<'_>,
        locator: &Locator<'_>,
        shared: &mut SharedSink<'_, '_>,
    ) {
        self.issue.flag(NOT_EXIST, mutation.not_exist());
        if let Some(created) = mutation.created() {
            self.issue.created = created.seconds();
        }
        if mutation.not_exist() {
            return;
        }
        self.apply_fields(mutation, shared);
        self.apply_assignees(mutation, shared);
        self.apply_texts(mutation, locator);
        self.apply_labels(mutation, shared);
        mutation
            .comments()
            .for_each(|comment| self.apply_comment(&comment, locator, shared));
        for id in mutation.deleted_comments() {
            self.comments.retain(|comment| comment.id != id);
        }
        mutation
            .event_keys()
            .for_each(|event| self.apply_event(&event, locator, shared));
        mutation
            .reviews()
            .for_each(|review| self.apply_review(&review, locator, shared));
        let issue = &mut self.issue;
        set_synced(&mut issue.comments_as_of, mutation.comment_status());
        set_synced(&mut issue.events_as_of, mutation.event_status());
        set_synced(&mut issue.reviews_as_of, mutation.review_status());
    }

    fn apply_fields(&mut self, mutation: &IssueMutationView<'_>, shared: &mut SharedSink<'_, '_>) {
        let issue = &mut self.issue;
        if mutation.id() != 0 {
            issue.id = mutation.id();
        }
        if let Some(updated) = mutation.updated() {
            issue.updated = updated.seconds();
        }
        if let Some(closed_at) = mutation.closed_at() {
            issue.closed_at = closed_at.seconds();
        }
        if let Some(user) = mutation.user() {
            shared.user(user);
            set_id(&mut issue.user, user.id());
        }
        if mutation.no_milestone() {
            issue.milestone = MILESTONE_NONE;
        } else if mutation.milestone_id() != 0 {
            issue.milestone = mutation.milestone_id();
            let (number, title) = (mutation.milestone_num(), mutation.milestone_title.bytes());
            shared.issue_milestone(issue.repo, issue.milestone, number, title);
        }
        if let Some(user) = mutation.closed_by() {
            shared.user(user);
            set_id(&mut issue.closed_by, user.id());
        }
        if let Some(closed) = mutation.closed() {
            issue.flag(CLOSED, closed.val());
        }
        if let Some(locked) = mutation.locked() {
            issue.flag(LOCKED, locked.val());
        }
        if mutation.pull_request() {
            issue.flag(PULL_REQUEST, true);
        }
    }

    fn apply_assignees(
        &mut self,
        mutation: &IssueMutationView<'_>,
        shared: &mut SharedSink<'_, '_>,
    ) {
        for user in mutation.assignees() {
            shared.user(&user);
            if user.id() != 0 && !self.assignees.contains(&user.id()) {
                self.assignees.push(user.id());
            }
        }
        for id in mutation.deleted_assignees() {
            self.assignees.retain(|&assignee| assignee != id);
        }
    }

    fn apply_texts(&mut self, mutation: &IssueMutationView<'_>, locator: &Locator<'_>) {
        if !mutation.body.bytes().is_empty() {
            self.issue.body = locator.locate(mutation.body.bytes());
        }
        if let Some(change) = mutation.body_change() {
            self.issue.body = locator.locate(change.val.bytes());
        }
        if !mutation.title.bytes().is_empty() {
            self.issue.title = locator.locate(mutation.title.bytes());
        }
    }

    fn apply_labels(&mut self, mutation: &IssueMutationView<'_>, shared: &mut SharedSink<'_, '_>) {
        for id in mutation.remove_labels() {
            self.labels.retain(|&label| label != id);
        }
        for label in mutation.add_labels() {
            shared.label(self.issue.repo, &label);
            if label.id() != 0 && !self.labels.contains(&label.id()) {
                self.labels.push(label.id());
            }
        }
    }

    fn apply_comment(
        &mut self,
        change: &IssueCommentView<'_>,
        locator: &Locator<'_>,
        shared: &mut SharedSink<'_, '_>,
    ) {
        let id = change.id();
        if id == 0 {
            return shared.skip();
        }
        let known = self.comments.iter().rposition(|comment| comment.id == id);
        let index = known.unwrap_or_else(|| {
            let (created, updated) = (NO_TIME, NO_TIME);
            self.comments.push(CommentRow {
                id,
                user: 0,
                created,
                updated,
                body: TextRef::NONE,
            });
            self.comments.len() - 1
        });
        let comment = &mut self.comments[index];
        if let Some(user) = change.user() {
            shared.user(user);
            set_id(&mut comment.user, user.id());
        }
        if let Some(created) = change.created() {
            comment.created = created.seconds();
        }
        if let Some(updated) = change.updated() {
            comment.updated = updated.seconds();
        }
        if !change.body.bytes().is_empty() {
            comment.body = locator.locate(change.body.bytes());
        }
    }

    fn apply_event(
        &mut self,
        event: &EventKey<'_>,
        locator: &Locator<'_>,
        shared: &mut SharedSink<'_, '_>,
    ) {
        let id = event.id;
        if id == 0 {
            return shared.skip();
        }
        if let Some(team) = event.team.as_ref().filter(|team| team.id() != 0) {
            shared.team(team);
        }
        let row = EventRow {
            id,
            created: seconds(event.created.as_ref()),
            source: locator.locate(event.encoded),
        };
        match self.events.iter_mut().rev().find(|event| event.id == id) {
            Some(known) => *known = row,
            None => self.events.push(row),
        }
    }

    fn apply_review(
        &mut self,
        review: &ReviewView<'_>,
        locator: &Locator<'_>,
        shared: &mut SharedSink<'_, '_>,
    ) {
        let id = review.id();
        if id == 0 {
            return shared.skip();
        }
        let created = seconds(review.created());
        let row = ReviewRow {
            id,
            created,
            source: locator.locate(review.encoded()),
        };
        match self.reviews.iter_mut().rev().find(|review| review.id == id) {
            Some(known) => *known = row,
            None => self.reviews.push(row),
        }
    }
}

/// An entry without id says nothing.
fn set_id(place: &mut i64, id: i64) {
    if id != 0 {
        *place = id;
    }
}

fn set_synced(place: &mut i64, status: Option<&SyncStatusView<'_>>) {
    if let Some(date) = status.and_then(SyncStatusView::server_date) {
        *place = date.seconds();
    }
}
