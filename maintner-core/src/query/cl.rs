//! Changes under review.

use std::fmt;

use super::{Commit, Hashtags, IssueRef, Message, Meta, Project, UnixTime, Vote, refs_in};
use crate::corpus::Status;
use crate::corpus::apply::State;
use crate::corpus::gerrit::meta::line_value;
use crate::corpus::gerrit::{ClRow, EVER_PRIVATE, PRIVATE, WIP};

/// Complete changes of a project in ascending order of their numbers.
///
/// ```
/// # let corpus = maintner_core::sample::corpus();
/// let view = corpus.view();
/// let project = view.gerrit().project("go.googlesource.com", "go")?;
/// assert_eq!(project.cls().open().count(), 1);
/// assert_eq!(project.cls().status(maintner_core::Status::Merged).branch("master").count(), 0);
/// # Ok::<(), maintner_core::query::NotFound>(())
/// ```
#[derive(Debug, Clone)]
pub struct Cls<'v> {
    state: &'v State,
    rows: std::slice::Iter<'v, u32>,
    status: Option<Status>,
    public: bool,
    branch: Option<String>,
}

impl<'v> Cls<'v> {
    pub(super) fn new(state: &'v State, rows: &'v [u32]) -> Self {
        Self {
            state,
            rows: rows.iter(),
            status: None,
            public: false,
            branch: None,
        }
    }

    /// Those under review that are not private.
    #[must_use]
    pub fn open(self) -> Self {
        Self {
            public: true,
            ..self.status(Status::New)
        }
    }

    /// Those in this state.
    #[must_use]
    pub fn status(self, status: Status) -> Self {
        Self {
            status: Some(status),
            ..self
        }
    }

    /// Those for the branch of this name (without `refs/heads/`).
    #[must_use]
    pub fn branch(self, name: &str) -> Self {
        Self {
            branch: Some(name.to_owned()),
            ..self
        }
    }

    fn wants(&self, cl: &Cl<'v>) -> bool {
        self.status.is_none_or(|status| cl.status() == status)
            && !(self.public && cl.is_private())
            && self
                .branch
                .as_deref()
                .is_none_or(|branch| cl.branch() == branch)
    }
}

impl<'v> Iterator for Cls<'v> {
    type Item = Cl<'v>;

    fn next(&mut self) -> Option<Cl<'v>> {
        loop {
            let row = *self.rows.next()?;
            if let Some(cl) = Cl::complete(self.state, row).filter(|cl| self.wants(cl)) {
                return Some(cl);
            }
        }
    }
}

/// A change whose meta history and commit are known.
///
/// ```
/// # let corpus = maintner_core::sample::corpus();
/// let view = corpus.view();
/// let cl = view.gerrit().project("go.googlesource.com", "go")?.cl(14700)?;
/// assert_eq!((cl.branch(), cl.status(), cl.version()), ("master", maintner_core::Status::New, 1));
/// assert_eq!(cl.owner_id(), Some(1234));
/// assert_eq!(cl.references().next().map(|issue| issue.to_string()).as_deref(), Some("golang/go#3"));
/// let texts: Vec<_> = cl.messages().map(|message| message.text().into_owned()).collect();
/// assert_eq!(texts, ["Patch Set 1: Run-TryBot+1\n\nLooks slow enough."]);
/// let vote = cl.votes().into_iter().next();
/// assert_eq!(vote.map(|vote| (vote.label().to_owned(), vote.value())), Some(("Run-TryBot".into(), 1)));
/// assert!(cl.hashtags().contains("slow"));
/// # Ok::<(), maintner_core::query::NotFound>(())
/// ```
#[derive(Clone, Copy)]
pub struct Cl<'v> {
    state: &'v State,
    row: u32,
}

impl fmt::Display for Cl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.project(), self.number())
    }
}

impl fmt::Debug for Cl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cl({self})")
    }
}

/// A patch set of a change.
#[derive(Debug, Clone, Copy)]
pub struct PatchSet<'v> {
    version: i32,
    commit: Commit<'v>,
}

impl<'v> PatchSet<'v> {
    /// Its number, from 1.
    pub fn version(&self) -> i32 {
        self.version
    }

    /// Its commit.
    pub fn commit(&self) -> Commit<'v> {
        self.commit
    }
}

impl<'v> Cl<'v> {
    pub(crate) fn complete(state: &'v State, row: u32) -> Option<Self> {
        state
            .gerrit
            .cls
            .get(row)
            .is_complete()
            .then_some(Self { state, row })
    }

    fn fixed(&self) -> ClRow {
        self.state.gerrit.cls.get(self.row)
    }

    /// The project.
    pub fn project(&self) -> Project<'v> {
        Project::new(self.state, self.fixed().project)
    }

    /// Number of the change on its server.
    pub fn number(&self) -> i32 {
        self.fixed().number
    }

    /// State of the review.
    pub fn status(&self) -> Status {
        self.fixed().status()
    }

    /// The branch it is for, without `refs/heads/`.
    pub fn branch(&self) -> &'v str {
        self.state.log.str(self.fixed().branch)
    }

    /// Whether only reviewers may see it.
    pub fn is_private(&self) -> bool {
        self.fixed().has(PRIVATE)
    }

    /// Whether it is or was private.
    pub fn was_private(&self) -> bool {
        self.fixed().has(EVER_PRIVATE)
    }

    /// Whether its owner asked not to review it yet.
    pub fn is_work_in_progress(&self) -> bool {
        self.fixed().has(WIP)
    }

    /// When it was uploaded first.
    pub fn created(&self) -> UnixTime {
        UnixTime::new(self.fixed().created)
    }

    /// Number of the newest patch set.
    pub fn version(&self) -> i32 {
        self.fixed().version
    }

    /// The commit of the newest patch set.
    pub fn commit(&self) -> Commit<'v> {
        Commit::new(self.state, self.fixed().commit.saturating_sub(1))
    }

    /// The patch sets that the log has, by number.
    pub fn patch_sets(&self) -> impl DoubleEndedIterator<Item = PatchSet<'v>> + use<'v> {
        let state = self.state;
        let rows = state.gerrit.patch_sets.get(self.row).iter();
        rows.map(move |row| PatchSet {
            version: row.version,
            commit: Commit::new(state, row.commit),
        })
    }

    /// The commit of one patch set.
    pub fn commit_at_version(&self, version: i32) -> Option<Commit<'v>> {
        self.patch_sets()
            .find(|set| set.version == version)
            .map(|set| set.commit)
    }

    /// The meta commits, oldest first.
    pub fn metas(&self) -> impl DoubleEndedIterator<Item = Meta<'v>> + use<'v> {
        let (state, rows) = (self.state, self.state.gerrit.metas.get(self.row));
        (0..rows.len()).map(move |index| Meta::new(state, rows, index))
    }

    /// The newest meta commit.
    pub fn meta(&self) -> Meta<'v> {
        let rows = self.state.gerrit.metas.get(self.row);
        Meta::new(self.state, rows, rows.len().saturating_sub(1))
    }

    /// The review messages, oldest first.
    pub fn messages(&self) -> impl DoubleEndedIterator<Item = Message<'v>> + use<'v> {
        let state = self.state;
        let rows = state.gerrit.messages.get(self.row).iter();
        rows.map(move |&row| Message::new(state, row))
    }

    /// The message up to its first empty line, in one line.
    pub fn subject(&self) -> String {
        let message = self.commit().message();
        let subject = message
            .split_once("\n\n")
            .map_or(message.as_ref(), |(subject, _)| subject);
        subject.trim_end_matches('\n').replace('\n', " ")
    }

    /// The value of the first line of the newest commit message that starts with `key`, which
    /// includes its colon.
    ///
    /// ```
    /// # let corpus = maintner_core::sample::corpus();
    /// let view = corpus.view();
    /// let cl = view.gerrit().project("go.googlesource.com", "go")?.cl(14700)?;
    /// assert_eq!(cl.footer("Change-Id:").as_deref(), cl.change_id().as_deref());
    /// # Ok::<(), maintner_core::query::NotFound>(())
    /// ```
    pub fn footer(&self, key: &str) -> Option<String> {
        line_value(&self.commit().message(), key).map(|(value, _)| value.to_owned())
    }

    /// The `Change-Id`, if it looks like one.
    pub fn change_id(&self) -> Option<String> {
        self.footer("Change-Id:")
            .filter(|id| id.len() == 41 && id.starts_with('I'))
    }

    /// Account number of the owner.
    pub fn owner_id(&self) -> Option<i64> {
        let first = self.metas().next()?.commit();
        first.author().email().split_once('@')?.0.parse().ok()
    }

    /// The author of the first patch set, `Name <email>`.
    pub fn owner(&self) -> Option<String> {
        Some(self.commit_at_version(1)?.author().full().to_owned())
    }

    /// The issues that the newest commit message names. A plain `#12` means golang/go for the
    /// Go project's main repository and nothing elsewhere.
    pub fn references(&self) -> impl Iterator<Item = IssueRef> + use<> {
        let is_go = self.project().full_name() == "go.googlesource.com/go";
        self.references_with(is_go.then_some(("golang", "go")))
    }

    /// The issues that the newest commit message names; a plain `#12` means the repository
    /// `default` (owner and name).
    pub fn references_with(
        &self,
        default: Option<(&str, &str)>,
    ) -> impl Iterator<Item = IssueRef> + use<> {
        refs_in(&self.commit().message(), default).into_iter()
    }

    /// The present votes.
    pub fn votes(&self) -> Vec<Vote> {
        self.meta().votes()
    }

    /// The present hashtags.
    pub fn hashtags(&self) -> Hashtags<'v> {
        self.meta().hashtags()
    }
}
