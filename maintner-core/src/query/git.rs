//! Commits.

use std::borrow::Cow;
use std::fmt;

use super::{NotFound, UnixTime};
use crate::GitHash;
use crate::corpus::apply::State;
use crate::corpus::commits::{CommitRow, FileRow, header_value, zone_offset};
use crate::corpus::gerrit::meta::{email_of, line_value};

/// All commits, from wherever they came.
#[derive(Debug, Clone, Copy)]
pub struct Git<'v> {
    state: &'v State,
}

impl<'v> Git<'v> {
    pub(crate) fn new(state: &'v State) -> Self {
        Self { state }
    }

    /// The commit with this hash.
    ///
    /// ```
    /// # let corpus = maintner_core::sample::corpus();
    /// let view = corpus.view();
    /// let commit = view.git().commit(maintner_core::sample::TIP)?;
    /// assert_eq!(commit.summary(), "cmd/go: build more slowly");
    /// # Ok::<(), maintner_core::query::NotFound>(())
    /// ```
    ///
    /// # Errors
    /// [`NotFound`]; commits only named as parents are found.
    pub fn commit(&self, hash: GitHash) -> Result<Commit<'v>, NotFound> {
        self.try_commit(hash)
            .ok_or_else(|| NotFound::new("commit", hash))
    }

    /// The commit with this hash, if the log has it or names it as a parent.
    ///
    /// ```
    /// # let corpus = maintner_core::sample::corpus();
    /// let unknown = maintner_core::GitHash::new([7; 20]);
    /// assert!(corpus.view().git().try_commit(unknown).is_none());
    /// ```
    pub fn try_commit(&self, hash: GitHash) -> Option<Commit<'v>> {
        let row = self.state.commits.find(hash)?;
        Some(Commit {
            state: self.state,
            row,
        })
    }

    /// Whether `ancestor` can be reached from `commit` in one or more steps to a parent. No
    /// commit is its own ancestor; an unknown ancestor is none.
    ///
    /// ```
    /// # let corpus = maintner_core::sample::corpus();
    /// use maintner_core::sample::{BASE, TIP};
    /// let view = corpus.view();
    /// assert!(view.git().has_ancestor(TIP, BASE)?);
    /// assert!(!view.git().has_ancestor(BASE, TIP)?);
    /// assert!(!view.git().has_ancestor(TIP, TIP)?);
    /// # Ok::<(), maintner_core::query::NotFound>(())
    /// ```
    ///
    /// # Errors
    /// [`NotFound`] when `commit` is unknown.
    pub fn has_ancestor(&self, commit: GitHash, ancestor: GitHash) -> Result<bool, NotFound> {
        let commit = self.commit(commit)?;
        Ok(self
            .try_commit(ancestor)
            .is_some_and(|ancestor| commit.has_ancestor(&ancestor)))
    }

    /// All commits in order of appearance in the log, those only named as parents included.
    ///
    /// ```
    /// # let corpus = maintner_core::sample::corpus();
    /// let view = corpus.view();
    /// let touching = view.git().commits()
    ///     .filter(|commit| commit.files().any(|file| file.name() == "src/cmd/go/main.go"));
    /// assert_eq!(touching.count(), 1);
    /// ```
    pub fn commits(&self) -> impl Iterator<Item = Commit<'v>> + use<'v> {
        let state = self.state;
        (0..state.commits.hashes.len()).map(move |row| Commit { state, row })
    }
}

/// A commit.
///
/// ```
/// # let corpus = maintner_core::sample::corpus();
/// let view = corpus.view();
/// let commit = view.git().commit(maintner_core::sample::TIP)?;
/// assert_eq!(commit.author().email(), "gopher@example.com");
/// assert_eq!(commit.author().utc_offset(), -28_800);
/// assert_eq!(commit.parents().next().map(|parent| parent.hash()), Some(maintner_core::sample::BASE));
/// # Ok::<(), maintner_core::query::NotFound>(())
/// ```
#[derive(Clone, Copy)]
pub struct Commit<'v> {
    state: &'v State,
    row: u32,
}

impl PartialEq for Commit<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.hash() == other.hash()
    }
}

impl fmt::Debug for Commit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Commit({})", self.hash())
    }
}

impl<'v> Commit<'v> {
    pub(crate) fn new(state: &'v State, row: u32) -> Self {
        Self { state, row }
    }

    /// From a stored row + 1.
    pub(super) fn stored(state: &'v State, row: u32) -> Option<Self> {
        Some(Self {
            state,
            row: row.checked_sub(1)?,
        })
    }

    fn fixed(&self) -> CommitRow {
        self.state.commits.rows.get(self.row)
    }

    /// The hash under which the log knows it.
    pub fn hash(&self) -> GitHash {
        self.state.commits.hashes.get(self.row)
    }

    /// False for commits that are only named as a parent: all else is then empty.
    pub fn is_known(&self) -> bool {
        !self.state.commits.is_placeholder(self.row)
    }

    /// The commit object.
    pub fn raw(&self) -> &'v [u8] {
        self.state.log.bytes(self.fixed().raw)
    }

    /// The tree, where the object names one.
    pub fn tree(&self) -> Option<GitHash> {
        GitHash::from_hex(header_value(self.raw(), "tree")?)
    }

    /// The message as stored.
    pub fn message_bytes(&self) -> &'v [u8] {
        self.raw()
            .get(self.fixed().message as usize..)
            .unwrap_or_default()
    }

    /// The message; bytes that are not UTF-8 are replaced.
    pub fn message(&self) -> Cow<'v, str> {
        String::from_utf8_lossy(self.message_bytes())
    }

    /// The first line of the message, without blanks around it.
    pub fn summary(&self) -> Cow<'v, str> {
        let first = self
            .message_bytes()
            .split(|&byte| byte == b'\n')
            .next()
            .unwrap_or_default();
        String::from_utf8_lossy(first.trim_ascii())
    }

    /// Who wrote the change.
    pub fn author(&self) -> Person<'v> {
        let row = self.fixed();
        Person::new(self.state, row.author, row.author_zone, row.author_time)
    }

    /// Who made the commit.
    pub fn committer(&self) -> Person<'v> {
        let row = self.fixed();
        Person::new(
            self.state,
            row.committer,
            row.committer_zone,
            row.commit_time,
        )
    }

    /// When the commit was made.
    pub fn time(&self) -> UnixTime {
        UnixTime::new(self.fixed().commit_time)
    }

    /// The value of the first `Reviewer: ` line of the message.
    pub fn reviewer(&self) -> Option<String> {
        line_value(&self.message(), "Reviewer: ").map(|(value, _)| value.to_owned())
    }

    /// The parents, in order.
    pub fn parents(&self) -> impl Iterator<Item = Commit<'v>> + use<'v> {
        let state = self.state;
        let rows = state.commits.parents(self.row).into_owned();
        rows.into_iter().map(move |row| Commit { state, row })
    }

    /// This commit, its first parent, and so on.
    ///
    /// ```
    /// # let corpus = maintner_core::sample::corpus();
    /// let view = corpus.view();
    /// let tip = view.git().commit(maintner_core::sample::TIP)?;
    /// assert_eq!(tip.first_parents().count(), 2);
    /// # Ok::<(), maintner_core::query::NotFound>(())
    /// ```
    pub fn first_parents(&self) -> impl Iterator<Item = Commit<'v>> + use<'v> {
        let state = self.state;
        // Bounded, because a log can claim that a commit is its own ancestor.
        let bound = state.commits.hashes.len() as usize;
        std::iter::successors(Some(*self), move |commit| {
            Some(Commit {
                state,
                row: state.commits.first_parent(commit.row)?,
            })
        })
        .take(bound)
    }

    /// Whether `ancestor` can be reached in one or more steps to a parent.
    pub fn has_ancestor(&self, ancestor: &Commit<'_>) -> bool {
        self.state.commits.has_ancestor(self.row, ancestor.row)
    }

    /// The files changed, by name.
    pub fn files(&self) -> impl Iterator<Item = File<'v>> + use<'v> {
        let state = self.state;
        state
            .commits
            .files
            .get(self.row)
            .iter()
            .map(move |&row| File { state, row })
    }

    /// Whether both commits change the same files by the same numbers of lines.
    pub fn same_diff_stat(&self, other: &Commit<'_>) -> bool {
        let files = |commit: &Commit<'_>| commit.state.commits.files.get(commit.row).to_vec();
        files(self) == files(other)
    }
}

/// A file changed by a commit.
#[derive(Clone, Copy)]
pub struct File<'v> {
    state: &'v State,
    row: FileRow,
}

impl fmt::Debug for File<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "File({} +{} -{})",
            self.name(),
            self.added(),
            self.deleted()
        )
    }
}

impl<'v> File<'v> {
    /// Path as git prints it: unusual names are quoted as in C.
    pub fn name(&self) -> &'v str {
        self.state.log.str(self.state.names.text(self.row.name))
    }

    /// Lines added.
    pub fn added(&self) -> u32 {
        self.row.added
    }

    /// Lines deleted.
    pub fn deleted(&self) -> u32 {
        self.row.deleted()
    }

    /// Whether git regards it as binary; the numbers are then 0.
    pub fn is_binary(&self) -> bool {
        self.row.is_binary()
    }
}

/// A person as a commit names them, with the time in their zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person<'v> {
    full: Cow<'v, str>,
    zone: &'v str,
    time: UnixTime,
}

impl<'v> Person<'v> {
    fn new(state: &'v State, name: u32, zone: u32, time: i64) -> Self {
        let full = String::from_utf8_lossy(state.log.bytes(state.names.text(name)));
        let zone = state.log.str(state.names.text(zone));
        Self {
            full,
            zone,
            time: UnixTime::new(time),
        }
    }

    /// `Name <email>` as stored.
    pub fn full(&self) -> &str {
        &self.full
    }

    /// What stands before the first `<`.
    pub fn name(&self) -> &str {
        self.full
            .split_once('<')
            .map_or(self.full.as_ref(), |(name, _)| name)
            .trim()
    }

    /// What stands between the first `<` and the next `>`.
    pub fn email(&self) -> &str {
        email_of(&self.full)
    }

    /// When they did it.
    pub fn time(&self) -> UnixTime {
        self.time
    }

    /// Their time zone as stored, for example `-0800`.
    pub fn zone(&self) -> &'v str {
        self.zone
    }

    /// Their time zone in seconds east of Greenwich.
    pub fn utc_offset(&self) -> i32 {
        zone_offset(self.zone.as_bytes()).unwrap_or(0)
    }
}
