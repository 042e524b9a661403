//! One issue or pull request, with its comments, events and reviews.

use std::fmt;

use super::{Label, Milestone, Repo, UnixTime, User};
use crate::corpus::apply::State;
use crate::corpus::github::{
    CLOSED, CommentRow, EventRow, IssueRow, LOCKED, MILESTONE_NONE, MILESTONE_UNKNOWN, NOT_EXIST,
    PULL_REQUEST, ReviewRow,
};
use crate::mutation::{IssueEventView, ReviewView};

/// The type of the events by which a log says that a comment was minimised, or is shown again; of
/// our own making (docs/protocol/reclog.md).
pub const COMMENT_MINIMIZED: &str = "comment-minimized";
/// The type of the events by which a log says which commit was seen as the head of a pull request;
/// of our own making.
pub const HEAD_SEEN: &str = "head-seen";

/// An issue or pull request.
///
/// ```
/// # let corpus = maintner_core::sample::corpus();
/// let view = corpus.view();
/// let issue = view.github().repo("golang/go")?.issue(3)?;
/// assert_eq!(issue.to_string(), "golang/go#3");
/// assert_eq!(issue.author().map(|user| user.login()), Some("gopher"));
/// assert!(issue.is_open() && issue.has_label("NeedsFix") && issue.has_event("labeled"));
/// assert_eq!(issue.comments().next().map(|comment| comment.body()), Some("me too"));
/// # Ok::<(), maintner_core::query::NotFound>(())
/// ```
#[derive(Clone, Copy)]
pub struct Issue<'v> {
    state: &'v State,
    row: u32,
}

impl fmt::Display for Issue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.repo(), self.number())
    }
}

impl fmt::Debug for Issue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Issue({self})")
    }
}

/// The milestone of an issue: unknown and none are different things.
#[derive(Debug, Clone, Copy)]
pub enum IssueMilestone<'v> {
    /// The log said nothing about it.
    Unknown,
    /// Known to have none.
    None,
    /// This one.
    Some(Milestone<'v>),
}

impl<'v> Issue<'v> {
    pub(crate) fn new(state: &'v State, row: u32) -> Self {
        Self { state, row }
    }

    pub(super) fn row(&self) -> IssueRow {
        self.state.github.issues.get(self.row)
    }

    fn is(&self, flag: u32) -> bool {
        self.row().flags & flag != 0
    }

    /// The repository.
    pub fn repo(&self) -> Repo<'v> {
        Repo::new(self.state, self.row().repo)
    }

    /// Number within the repository.
    pub fn number(&self) -> i32 {
        self.row().number
    }

    /// GitHub's global id; 0 in logs written by the Go programs.
    pub fn id(&self) -> i64 {
        self.row().id
    }

    /// False for tombstones: numbers that were deleted, moved, or never used.
    pub fn exists(&self) -> bool {
        !self.is(NOT_EXIST)
    }

    /// Whether it is closed.
    pub fn is_closed(&self) -> bool {
        self.is(CLOSED)
    }

    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        !self.is_closed()
    }

    /// Whether only members may comment.
    pub fn is_locked(&self) -> bool {
        self.is(LOCKED)
    }

    /// Whether it is a pull request.
    pub fn is_pull_request(&self) -> bool {
        self.is(PULL_REQUEST)
    }

    /// Who wrote it.
    pub fn author(&self) -> Option<User<'v>> {
        User::stored(self.state, self.row().user)
    }

    /// Who closed it, where the log says so.
    pub fn closed_by(&self) -> Option<User<'v>> {
        User::stored(self.state, self.row().closed_by)
    }

    /// The users it is assigned to, in order.
    pub fn assignees(&self) -> impl Iterator<Item = User<'v>> + use<'v> {
        let state = self.state;
        let ids = state.github.assignees.get(self.row).iter();
        ids.filter_map(move |&id| User::stored(state, id))
    }

    /// When it was written.
    pub fn created(&self) -> Option<UnixTime> {
        UnixTime::stored(self.row().created)
    }

    /// When GitHub saw the last change.
    pub fn updated(&self) -> Option<UnixTime> {
        UnixTime::stored(self.row().updated)
    }

    /// When it was last closed; stays when it is opened again.
    pub fn closed_at(&self) -> Option<UnixTime> {
        UnixTime::stored(self.row().closed_at)
    }

    /// The title.
    pub fn title(&self) -> &'v str {
        self.state.log.str(self.row().title)
    }

    /// The text, in Markdown.
    pub fn body(&self) -> &'v str {
        self.state.log.str(self.row().body)
    }

    /// The milestone.
    pub fn milestone(&self) -> IssueMilestone<'v> {
        let row = self.row();
        match row.milestone {
            MILESTONE_UNKNOWN => IssueMilestone::Unknown,
            MILESTONE_NONE => IssueMilestone::None,
            id => match self.state.github.find_milestone(row.repo, id) {
                Some(found) => IssueMilestone::Some(Milestone::new(self.state, found)),
                None => IssueMilestone::Unknown,
            },
        }
    }

    /// The labels, by id.
    pub fn labels(&self) -> impl Iterator<Item = Label<'v>> + use<'v> {
        let (state, repo) = (self.state, self.row().repo);
        let ids = state.github.issue_labels.get(self.row).iter();
        ids.filter_map(move |&id| Some(Label::new(state, state.github.find_label(repo, id)?)))
    }

    /// Whether it has the label of this name.
    pub fn has_label(&self, name: &str) -> bool {
        self.labels().any(|label| label.name() == name)
    }

    /// Whether it has the label with this id.
    pub fn has_label_id(&self, id: i64) -> bool {
        self.state
            .github
            .issue_labels
            .get(self.row)
            .binary_search(&id)
            .is_ok()
    }

    /// The comments, oldest first.
    pub fn comments(&self) -> impl DoubleEndedIterator<Item = Comment<'v>> + use<'v> {
        let state = self.state;
        let rows = state.github.comments.get(self.row).iter();
        rows.map(move |&row| Comment { state, row })
    }

    /// The events, oldest first.
    pub fn events(&self) -> impl DoubleEndedIterator<Item = Event<'v>> + use<'v> {
        let state = self.state;
        let rows = state.github.events.get(self.row).iter();
        rows.map(move |&row| Event::new(state, row))
    }

    /// The reviews, oldest first.
    pub fn reviews(&self) -> impl DoubleEndedIterator<Item = Review<'v>> + use<'v> {
        let state = self.state;
        let rows = state.github.reviews.get(self.row).iter();
        rows.map(move |&row| Review::new(state, row))
    }

    /// Why a comment is minimised (hidden by those who look after the repository), in GitHub's
    /// words, such as `outdated` or `spam`; `None` for one that is shown. Known of repositories
    /// that are followed with credentials.
    pub fn minimized(&self, comment: i64) -> Option<String> {
        let all = self.minimized_comments().into_iter();
        all.filter(|(id, _)| *id == comment)
            .map(|(_, reason)| reason)
            .next()
    }

    /// The comments that are minimised, and why.
    pub fn minimized_comments(&self) -> Vec<(i64, String)> {
        #[derive(serde::Deserialize)]
        struct Said {
            comment_id: i64,
            minimized: bool,
            reason: String,
        }
        let said = self
            .events()
            .filter(|event| event.event_type() == COMMENT_MINIMIZED)
            .filter_map(|event| serde_json::from_slice::<Said>(event.stored().other_json()).ok());
        said.filter(|said| said.minimized)
            .map(|said| (said.comment_id, said.reason))
            .collect()
    }

    /// Whether there is an event of this type, spelled as GitHub does.
    pub fn has_event(&self, event_type: &str) -> bool {
        self.events().any(|event| event.event_type() == event_type)
    }

    /// The latest of: last change, newest comment, event and review.
    pub fn last_modified(&self) -> Option<UnixTime> {
        let github = &self.state.github;
        let comments = github
            .comments
            .get(self.row)
            .iter()
            .map(|row| row.created.max(row.updated));
        let events = github.events.get(self.row).last().map(|row| row.created);
        let reviews = github.reviews.get(self.row).last().map(|row| row.created);
        let latest = comments.chain(events).chain(reviews).max();
        UnixTime::stored(latest.map_or(self.row().updated, |latest| latest.max(self.row().updated)))
    }

    /// GitHub's clock at the end of the last synchronisation of comments.
    pub fn comments_as_of(&self) -> Option<UnixTime> {
        UnixTime::stored(self.row().comments_as_of)
    }

    /// GitHub's clock at the end of the last synchronisation of events.
    pub fn events_as_of(&self) -> Option<UnixTime> {
        UnixTime::stored(self.row().events_as_of)
    }

    /// GitHub's clock at the end of the last synchronisation of reviews.
    pub fn reviews_as_of(&self) -> Option<UnixTime> {
        UnixTime::stored(self.row().reviews_as_of)
    }
}

/// A comment.
#[derive(Debug, Clone, Copy)]
pub struct Comment<'v> {
    state: &'v State,
    row: CommentRow,
}

impl<'v> Comment<'v> {
    /// GitHub's id.
    pub fn id(&self) -> i64 {
        self.row.id
    }

    /// Who wrote it.
    pub fn author(&self) -> Option<User<'v>> {
        User::stored(self.state, self.row.user)
    }

    /// When it was written.
    pub fn created(&self) -> Option<UnixTime> {
        UnixTime::stored(self.row.created)
    }

    /// When it was last edited.
    pub fn updated(&self) -> Option<UnixTime> {
        UnixTime::stored(self.row.updated)
    }

    /// The text, in Markdown.
    pub fn body(&self) -> &'v str {
        self.state.log.str(self.row.body)
    }
}

/// An event of an issue's time line.
#[derive(Debug, Clone)]
pub struct Event<'v> {
    state: &'v State,
    row: EventRow,
    stored: IssueEventView<'v>,
}

impl<'v> Event<'v> {
    fn new(state: &'v State, row: EventRow) -> Self {
        // It was read before; should the log have been damaged since, it has no content.
        let stored = IssueEventView::parse(state.log.bytes(row.source)).unwrap_or_default();
        Self { state, row, stored }
    }

    /// GitHub's id.
    pub fn id(&self) -> i64 {
        self.row.id
    }

    /// When it happened.
    pub fn created(&self) -> Option<UnixTime> {
        UnixTime::stored(self.row.created)
    }

    /// What happened, as GitHub spells it, for example `labeled`.
    pub fn event_type(&self) -> &'v str {
        self.stored.event_type()
    }

    /// Who did it.
    pub fn actor(&self) -> Option<User<'v>> {
        User::stored(self.state, self.stored.actor_id())
    }

    /// Name of the label that was added or removed; empty for other events.
    pub fn label(&self) -> &'v str {
        self.stored.label().map_or("", |label| label.name())
    }

    /// Title of the milestone that was set or cleared; empty for other events.
    pub fn milestone(&self) -> &'v str {
        self.stored
            .milestone()
            .map_or("", |milestone| milestone.title())
    }

    /// Who was assigned or unassigned.
    pub fn assignee(&self) -> Option<User<'v>> {
        User::stored(self.state, self.stored.assignee_id())
    }

    /// Who assigned.
    pub fn assigner(&self) -> Option<User<'v>> {
        User::stored(self.state, self.stored.assigner_id())
    }

    /// Title before and after a rename; both empty for other events.
    pub fn rename(&self) -> (&'v str, &'v str) {
        (self.stored.rename_from(), self.stored.rename_to())
    }

    /// Who was asked for a review.
    pub fn reviewer(&self) -> Option<User<'v>> {
        User::stored(self.state, self.stored.reviewer_id())
    }

    /// Who asked for a review.
    pub fn review_requester(&self) -> Option<User<'v>> {
        User::stored(self.state, self.stored.review_requester_id())
    }

    /// All fields as the log has them: commit, dismissed review, team, unknown members.
    pub fn stored(&self) -> &IssueEventView<'v> {
        &self.stored
    }
}

/// A review of a pull request.
#[derive(Debug, Clone)]
pub struct Review<'v> {
    state: &'v State,
    row: ReviewRow,
    stored: ReviewView<'v>,
}

impl<'v> Review<'v> {
    fn new(state: &'v State, row: ReviewRow) -> Self {
        // As for events.
        let stored = ReviewView::parse(state.log.bytes(row.source)).unwrap_or_default();
        Self { state, row, stored }
    }

    /// GitHub's id.
    pub fn id(&self) -> i64 {
        self.row.id
    }

    /// When it was submitted.
    pub fn created(&self) -> Option<UnixTime> {
        UnixTime::stored(self.row.created)
    }

    /// Who reviewed.
    pub fn reviewer(&self) -> Option<User<'v>> {
        User::stored(self.state, self.stored.actor_id())
    }

    /// `APPROVED`, `CHANGES_REQUESTED`, …
    pub fn review_state(&self) -> &'v str {
        self.stored.state()
    }

    /// The text.
    pub fn body(&self) -> &'v str {
        self.stored.body()
    }

    /// The commit reviewed, in hexadecimal.
    pub fn commit_id(&self) -> &'v str {
        self.stored.commit_id()
    }

    /// The reviewer's relation to the repository, for example `MEMBER`.
    pub fn association(&self) -> &'v str {
        self.stored.actor_association()
    }

    /// All fields as the log has them.
    pub fn stored(&self) -> &ReviewView<'v> {
        &self.stored
    }
}
