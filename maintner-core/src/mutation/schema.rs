//! The messages of a mutation, field by field.

use super::wire::{DecodeError, Fields, Nothing, Parts, Source, Text, Value, check_integers};

/// Declares one borrowed message: its stored singular fields, accessors and reader.
///
/// A view `keeps` nothing else, its `Source` bytes, or all `Parts` when it has repeated fields.
///
/// Field kinds: `int` (i64), `int32`, `bool`, `str`, `bytes`, `msg VIEW`, and the repeated
/// `ints`, `strs`, `msgs VIEW`, which are not stored but read again on demand.
macro_rules! view {
    ($(#[$doc:meta])* $name:ident { $($rest:tt)* }) => {
        view!($(#[$doc])* $name keeps Nothing { $($rest)* });
    };
    ($(#[$doc:meta])* $name:ident keeps $parts:ident { $($rest:tt)* }) => {
        view!(@fields [$parts $(#[$doc])*] $name [] [] [] [] $($rest)*);
    };
    // One rule a kind: (stored field) (accessor) (reader arm).
    (@fields $d:tt $name:ident [$($s:tt)*] [$($a:tt)*] [$($r:tt)*] [$($x:tt)*] $(#[$doc:meta])* $num:literal $field:ident: int, $($rest:tt)*) => {
        view!(@fields $d $name [$($s)* $field: i64,] [$($a)* $(#[$doc])* pub fn $field(&self) -> i64 { self.$field }] [$($r)* ($num, $field, int)] [$($x)*] $($rest)*);
    };
    (@fields $d:tt $name:ident [$($s:tt)*] [$($a:tt)*] [$($r:tt)*] [$($x:tt)*] $(#[$doc:meta])* $num:literal $field:ident: int32, $($rest:tt)*) => {
        view!(@fields $d $name [$($s)* $field: i32,] [$($a)* $(#[$doc])* pub fn $field(&self) -> i32 { self.$field }] [$($r)* ($num, $field, int32)] [$($x)*] $($rest)*);
    };
    (@fields $d:tt $name:ident [$($s:tt)*] [$($a:tt)*] [$($r:tt)*] [$($x:tt)*] $(#[$doc:meta])* $num:literal $field:ident: bool, $($rest:tt)*) => {
        view!(@fields $d $name [$($s)* $field: bool,] [$($a)* $(#[$doc])* pub fn $field(&self) -> bool { self.$field }] [$($r)* ($num, $field, bool)] [$($x)*] $($rest)*);
    };
    (@fields $d:tt $name:ident [$($s:tt)*] [$($a:tt)*] [$($r:tt)*] [$($x:tt)*] $(#[$doc:meta])* $num:literal $field:ident: str, $($rest:tt)*) => {
        view!(@fields $d $name [$($s)* pub(crate) $field: Text<'a>,] [$($a)* $(#[$doc])* pub fn $field(&self) -> &'a str { self.$field.str() }] [$($r)* ($num, $field, str)] [$($x)*] $($rest)*);
    };
    (@fields $d:tt $name:ident [$($s:tt)*] [$($a:tt)*] [$($r:tt)*] [$($x:tt)*] $(#[$doc:meta])* $num:literal $field:ident: bytes, $($rest:tt)*) => {
        view!(@fields $d $name [$($s)* $field: &'a [u8],] [$($a)* $(#[$doc])* pub fn $field(&self) -> &'a [u8] { self.$field }] [$($r)* ($num, $field, bytes)] [$($x)*] $($rest)*);
    };
    (@fields $d:tt $name:ident [$($s:tt)*] [$($a:tt)*] [$($r:tt)*] [$($x:tt)*] $(#[$doc:meta])* $num:literal $field:ident: msg $view:ident, $($rest:tt)*) => {
        view!(@fields $d $name [$($s)* $field: Option<$view<'a>>,] [$($a)* $(#[$doc])* pub fn $field(&self) -> Option<&$view<'a>> { self.$field.as_ref() }] [$($r)* ($num, $field, msg)] [$($x)*] $($rest)*);
    };
    (@fields $d:tt $name:ident [$($s:tt)*] [$($a:tt)*] [$($r:tt)*] [$($x:tt)*] $(#[$doc:meta])* $num:literal $field:ident: msgs $view:ident, $($rest:tt)*) => {
        view!(@fields $d $name [$($s)*] [$($a)* $(#[$doc])* pub fn $field(&self) -> impl Iterator<Item = $view<'a>> + '_ {
            self.parts.values($num).filter_map(|value| $view::outline(value.bytes($num).ok()?).ok())
        }] [$($r)*] [$($x)* ($num, msgs $view)] $($rest)*);
    };
    (@fields $d:tt $name:ident [$($s:tt)*] [$($a:tt)*] [$($r:tt)*] [$($x:tt)*] $(#[$doc:meta])* $num:literal $field:ident: strs, $($rest:tt)*) => {
        view!(@fields $d $name [$($s)*] [$($a)* $(#[$doc])* pub fn $field(&self) -> impl Iterator<Item = &'a str> + '_ {
            self.parts.values($num).filter_map(|value| value.string($num).ok())
        }] [$($r)*] [$($x)* ($num, strs)] $($rest)*);
    };
    (@fields $d:tt $name:ident [$($s:tt)*] [$($a:tt)*] [$($r:tt)*] [$($x:tt)*] $(#[$doc:meta])* $num:literal $field:ident: ints, $($rest:tt)*) => {
        view!(@fields $d $name [$($s)*] [$($a)* $(#[$doc])* pub fn $field(&self) -> impl Iterator<Item = i64> + '_ {
            self.parts.integers($num)
        }] [$($r)*] [$($x)* ($num, ints)] $($rest)*);
    };
    (@fields [$parts:ident $($doc:tt)*] $name:ident [$($s:tt)*] [$($a:tt)*] [$(($num:literal, $field:ident, $kind:ident))*] [$(($xnum:literal, $($xkind:tt)*))*]) => {
        $($doc)*
        #[derive(Debug, Clone, Default)]
        pub struct $name<'a> { parts: $parts<'a>, $($s)* }

        impl<'a> $name<'a> {
            /// Reads and checks the message.
            ///
            /// # Errors
            /// The first violation of the wire format, of a field's type or of UTF-8.
            #[inline]
            pub fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
                let mut view = Self::default();
                view.merge::<true>(bytes)?;
                Ok(view)
            }

            /// Reads the message without a look into its repeated fields: those were checked
            /// before, or will be when they are taken.
            #[allow(dead_code, reason = "only some messages are repeated")]
            #[inline]
            pub(crate) fn outline(bytes: &'a [u8]) -> Result<Self, DecodeError> {
                let mut view = Self::default();
                view.merge::<false>(bytes)?;
                Ok(view)
            }

            /// Merges a further occurrence of the same message into this one.
            fn merge<const CHECK: bool>(&mut self, bytes: &'a [u8]) -> Result<(), DecodeError> {
                self.parts.push(bytes);
                let mut fields = Fields(bytes);
                while let Some((number, value)) = fields.next_field()? {
                    match number {
                        $($num => view!(@read $kind, self.$field, $num, value),)*
                        $($xnum => {
                            self.parts.note($xnum);
                            if CHECK {
                                view!(@check $xnum, value, $($xkind)*);
                            }
                        })*
                        _ => {}
                    }
                }
                Ok(())
            }

            $($a)*
        }
    };
    (@read int, $place:expr, $num:literal, $value:expr) => { $place = $value.varint($num)?.cast_signed() };
    // Ten-byte negatives keep their low half, as every protobuf decoder does.
    (@read int32, $place:expr, $num:literal, $value:expr) => { $place = $value.varint($num)? as i32 };
    (@read bool, $place:expr, $num:literal, $value:expr) => { $place = $value.varint($num)? != 0 };
    (@read str, $place:expr, $num:literal, $value:expr) => { $place = $value.text($num)? };
    (@read bytes, $place:expr, $num:literal, $value:expr) => { $place = $value.bytes($num)? };
    (@read msg, $place:expr, $num:literal, $value:expr) => { $place.get_or_insert_default().merge::<CHECK>($value.bytes($num)?)? };
    (@check $num:literal, $value:expr, ints) => { check_integers($num, $value)? };
    (@check $num:literal, $value:expr, strs) => { _ = $value.text($num)? };
    (@check $num:literal, $value:expr, msgs $view:ident) => { _ = $view::parse($value.bytes($num)?)? };
}

view! {
    /// One record: producers set one part, readers apply whatever is there.
    MutationView {
        /// Something about one issue or pull request.
        1 github_issue: msg IssueMutationView,
        /// A commit of a plain tracked repository.
        2 git: msg GitMutationView,
        /// Labels and milestones of a repository.
        3 github: msg GithubMutationView,
        /// Commits and refs of a Gerrit project.
        4 gerrit: msg GerritMutationView,
    }
}

view! {
    /// An instant.
    TimestampView {
        /// Seconds since 1970.
        1 seconds: int,
        /// Nanoseconds after that second.
        2 nanos: int32,
    }
}

view! {
    /// A present value, true or false.
    BoolChangeView {
        /// The new value.
        1 val: bool,
    }
}

view! {
    /// A present text, possibly empty.
    StringChangeView {
        /// The new value.
        1 val: str,
    }
}

view! {
    /// Labels and milestones of a repository.
    GithubMutationView keeps Parts {
        /// Account or organisation.
        1 owner: str,
        /// Repository name.
        2 repo: str,
        /// New or renamed labels.
        3 labels: msgs LabelView,
        /// New or changed milestones.
        4 milestones: msgs MilestoneView,
    }
}

view! {
    /// What changed on one issue or pull request.
    IssueMutationView keeps Parts {
        /// Account or organisation.
        1 owner: str,
        /// Repository name.
        2 repo: str,
        /// Number within the repository; 0 makes the mutation void.
        3 number: int32,
        /// The author.
        4 user: msg UserView,
        /// Creation time.
        5 created: msg TimestampView,
        /// Time of the last change.
        6 updated: msg TimestampView,
        /// Full text, in old logs; empty means unchanged.
        7 body: str,
        /// New and changed comments.
        8 comments: msgs IssueCommentView,
        /// The title; empty means unchanged.
        9 title: str,
        /// Users to add as assignees.
        10 assignees: msgs UserView,
        /// User ids to remove from the assignees.
        11 deleted_assignees: ints,
        /// GitHub's global id.
        12 id: int,
        /// Deleted, or never there.
        13 not_exist: bool,
        /// End of a comment sync.
        14 comment_status: msg SyncStatusView,
        /// True clears the milestone.
        15 no_milestone: bool,
        /// Sets the milestone; 0 means unchanged.
        16 milestone_id: int,
        /// That milestone's number.
        17 milestone_num: int,
        /// That milestone's title.
        18 milestone_title: str,
        /// Whether it is closed.
        19 closed: msg BoolChangeView,
        /// When it was closed.
        21 closed_at: msg TimestampView,
        /// Who closed it.
        22 closed_by: msg UserView,
        /// Label ids to remove.
        23 remove_labels: ints,
        /// Labels to add.
        24 add_labels: msgs LabelView,
        /// Whether it is locked.
        25 locked: msg BoolChangeView,
        /// New events.
        26 events: msgs IssueEventView,
        /// End of an event sync.
        27 event_status: msg SyncStatusView,
        /// True marks a pull request.
        28 pull_request: bool,
        /// New reviews.
        29 reviews: msgs ReviewView,
        /// End of a review sync.
        30 review_status: msg SyncStatusView,
        /// The text; wins over `body` and may set it to empty.
        31 body_change: msg StringChangeView,
        /// Ids of comments that were deleted.
        32 deleted_comments: ints,
    }
}

view! {
    /// A label.
    LabelView {
        /// GitHub's id; absent inside events.
        1 id: int,
        /// Its name; empty means unchanged.
        2 name: str,
    }
}

view! {
    /// A milestone.
    MilestoneView {
        /// GitHub's id; absent inside events.
        1 id: int,
        /// Its title; empty means unchanged.
        2 title: str,
        /// Whether it is closed.
        3 closed: msg BoolChangeView,
        /// Number within the repository.
        4 number: int,
    }
}

view! {
    /// A commit named by GitHub.
    GithubCommitView {
        /// Account or organisation.
        1 owner: str,
        /// Repository name.
        2 repo: str,
        /// Forty hexadecimal digits.
        3 commit_id: str,
    }
}

view! {
    /// How far an issue's children are known.
    SyncStatusView {
        /// The server's clock at the end of the sync.
        1 server_date: msg TimestampView,
    }
}

view! {
    /// A user.
    UserView {
        /// GitHub's id.
        1 id: int,
        /// Login; empty means unchanged.
        2 login: str,
    }
}

view! {
    /// A team.
    TeamView {
        /// GitHub's id.
        1 id: int,
        /// Its short name.
        2 slug: str,
    }
}

view! {
    /// The dismissal of a review.
    DismissedReviewView {
        /// The review.
        1 review_id: int,
        /// Why.
        3 dismissal_message: str,
        /// The review's state before.
        4 state: str,
    }
}

view! {
    /// One event of an issue's time line.
    IssueEventView keeps Source {
        /// GitHub's id; 0 makes the entry void.
        1 id: int,
        /// Kind, as GitHub spells it.
        2 event_type: str,
        /// Who did it; 0 for deleted accounts.
        3 actor_id: int,
        /// When.
        4 created: msg TimestampView,
        /// Label added or removed.
        5 label: msg LabelView,
        /// Milestone set or cleared.
        6 milestone: msg MilestoneView,
        /// Who was assigned.
        7 assignee_id: int,
        /// Who assigned.
        8 assigner_id: int,
        /// Commit that referenced, closed or merged.
        9 commit: msg GithubCommitView,
        /// Members no reader knows, as JSON.
        10 other_json: bytes,
        /// Title before a rename.
        11 rename_from: str,
        /// Title after a rename.
        12 rename_to: str,
        /// Who shall review.
        13 reviewer_id: int,
        /// Who asked for the review.
        14 review_requester_id: int,
        /// The review that was dismissed.
        15 dismissed_review: msg DismissedReviewView,
        /// The team that shall review.
        16 team_reviewer: msg TeamView,
    }
}

view! {
    /// A review of a pull request.
    ReviewView keeps Source {
        /// GitHub's id; 0 makes the entry void.
        1 id: int,
        /// The reviewer.
        2 actor_id: int,
        /// When it was submitted.
        3 created: msg TimestampView,
        /// Its text.
        4 body: str,
        /// Its state, as GitHub spells it.
        5 state: str,
        /// The commit reviewed.
        6 commit_id: str,
        /// The reviewer's relation to the repository.
        7 actor_association: str,
        /// Members no reader knows, as JSON.
        8 other_json: bytes,
    }
}

view! {
    /// A new or changed comment.
    IssueCommentView {
        /// GitHub's id; 0 makes the entry void.
        1 id: int,
        /// The author.
        2 user: msg UserView,
        /// The text; empty means unchanged.
        3 body: str,
        /// When it was written.
        4 created: msg TimestampView,
        /// When it was changed.
        5 updated: msg TimestampView,
    }
}

view! {
    /// A commit of a plain tracked repository.
    GitMutationView {
        /// The repository.
        1 repo: msg GitRepoView,
        /// The commit.
        2 commit: msg GitCommitView,
    }
}

view! {
    /// A tracked repository.
    GitRepoView {
        /// Its short name.
        1 go_repo: str,
    }
}

view! {
    /// A commit object with what it changed.
    GitCommitView {
        /// Forty hexadecimal digits; not always the hash of `raw`.
        1 sha1: str,
        /// The commit object.
        2 raw: bytes,
        /// Files changed.
        3 diff_tree: msg DiffTreeView,
    }
}

view! {
    /// Files changed by a commit.
    DiffTreeView keeps Parts {
        /// The files.
        1 files: msgs DiffTreeFileView,
    }
}

view! {
    /// One changed file.
    DiffTreeFileView {
        /// Its path as git prints it.
        1 file: str,
        /// Lines added.
        2 added: int,
        /// Lines deleted.
        3 deleted: int,
        /// Whether it is binary.
        4 binary: bool,
    }
}

view! {
    /// Commits and refs of a Gerrit project.
    GerritMutationView keeps Parts {
        /// Host, slash, project.
        1 project: str,
        /// Commits to add.
        2 commits: msgs GitCommitView,
        /// Refs to set.
        3 refs: msgs GitRefView,
        /// Refs to delete.
        4 deleted_refs: strs,
    }
}

view! {
    /// A ref and what it points at.
    GitRefView {
        /// Full name.
        1 reference: str,
        /// Forty hexadecimal digits.
        2 sha1: str,
    }
}

/// Which issue a record is about, if it is about an issue alone and has no part in two pieces.
///
/// Only this much is read: the rest when the issue is brought up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IssueKey<'a> {
    /// Not yet known to be a text, like the other name.
    pub(crate) owner: &'a [u8],
    pub(crate) repo: &'a [u8],
    pub(crate) number: i32,
}

impl<'a> IssueKey<'a> {
    #[inline]
    pub(crate) fn peek(record: &'a [u8]) -> Option<Self> {
        let mut fields = Fields(record);
        let (1, value) = fields.next_field().ok()?? else {
            return None;
        };
        if !fields.0.is_empty() {
            return None;
        }
        let mut key = Self {
            owner: &[],
            repo: &[],
            number: 0,
        };
        let mut fields = Fields(value.bytes(1).ok()?);
        while let Some((number, value)) = fields.next_field().ok()? {
            match number {
                1 => key.owner = value.bytes(1).ok()?,
                2 => key.repo = value.bytes(2).ok()?,
                3 => key.number = value.varint(3).ok()? as i32,
                _ => {}
            }
        }
        Some(key)
    }

    pub(crate) fn is_text(&self) -> bool {
        Text::checked(self.owner).is_some() && Text::checked(self.repo).is_some()
    }
}

impl<'a> GerritMutationView<'a> {
    /// The commits of an outline, each an outline.
    pub(crate) fn check_commits(
        &self,
    ) -> impl Iterator<Item = Result<GitCommitView<'a>, DecodeError>> + '_ {
        let read = |value: Value<'a>| GitCommitView::outline(value.bytes(2)?);
        self.parts.values(2).map(read)
    }

    /// The refs of an outline.
    pub(crate) fn check_refs(
        &self,
    ) -> impl Iterator<Item = Result<GitRefView<'a>, DecodeError>> + '_ {
        let read = |value: Value<'a>| GitRefView::parse(value.bytes(3)?);
        self.parts.values(3).map(read)
    }

    /// The deleted refs of an outline.
    pub(crate) fn check_deleted_refs(
        &self,
    ) -> impl Iterator<Item = Result<Text<'a>, DecodeError>> + '_ {
        self.parts.values(4).map(|value| value.text(4))
    }
}

impl<'a> DiffTreeView<'a> {
    /// The files of an outline.
    pub(crate) fn check_files(
        &self,
    ) -> impl Iterator<Item = Result<DiffTreeFileView<'a>, DecodeError>> + '_ {
        let read = |value: Value<'a>| DiffTreeFileView::parse(value.bytes(1)?);
        self.parts.values(1).map(read)
    }
}

impl<'a> IssueMutationView<'a> {
    /// Reads what a record says about an issue in place of what was read before; most records
    /// about issues say nothing else. Returns whether it says something.
    #[inline]
    pub(crate) fn read_record(&mut self, record: &'a [u8]) -> Result<bool, DecodeError> {
        let mut fields = Fields(record);
        if let Some((1, Value::Bytes(issue))) = fields.next_field()?
            && fields.0.is_empty()
        {
            *self = Self::default();
            return self.merge::<true>(issue).map(|()| true);
        }
        let issue = MutationView::parse(record)?.github_issue;
        Ok(issue.map(|issue| *self = issue).is_some())
    }
}

/// What is needed to keep an event: its id, its time, and the team it may name.
#[derive(Debug, Default)]
pub(crate) struct EventKey<'a> {
    pub(crate) id: i64,
    pub(crate) created: Option<TimestampView<'a>>,
    pub(crate) team: Option<TeamView<'a>>,
    pub(crate) encoded: &'a [u8],
}

impl<'a> EventKey<'a> {
    /// Reads an event that was checked.
    fn peek(encoded: &'a [u8]) -> Result<Self, DecodeError> {
        let mut key = Self {
            encoded,
            ..Self::default()
        };
        let mut fields = Fields(encoded);
        while let Some((number, value)) = fields.next_field()? {
            match number {
                1 => key.id = value.varint(1)?.cast_signed(),
                4 => {
                    let created = key.created.get_or_insert_default();
                    created.merge::<false>(value.bytes(4)?)?;
                }
                16 => {
                    let team = key.team.get_or_insert_default();
                    team.merge::<false>(value.bytes(16)?)?;
                }
                _ => {}
            }
        }
        Ok(key)
    }
}

impl<'a> IssueMutationView<'a> {
    /// The [`events`](Self::events), as much of them as is kept.
    pub(crate) fn event_keys(&self) -> impl Iterator<Item = EventKey<'a>> + '_ {
        let events = self.parts.values(26);
        events.filter_map(|value| EventKey::peek(value.bytes(26).ok()?).ok())
    }
}

impl<'a> IssueEventView<'a> {
    /// The bytes that were read.
    pub fn encoded(&self) -> &'a [u8] {
        self.parts.bytes()
    }
}

impl<'a> ReviewView<'a> {
    /// The bytes that were read.
    pub fn encoded(&self) -> &'a [u8] {
        self.parts.bytes()
    }
}
