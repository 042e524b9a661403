//! The dashboard as a projection: commits down, builders across.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use build_core::clock::Timestamp;
use build_core::event::Seq;
use build_core::ids::{BuildId, BuilderName, CommitHash, RepoName};
use build_core::name::Name;
use build_core::report::{BuildStatus, Rerun};
use build_core::work::WorkItem;
use build_core::{Error, ErrorKind};
use serde::{Deserialize, Serialize};

use crate::record::BuildRow;

/// Which commits a board shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoardFilter {
    /// Of this repository.
    pub repo: RepoName,
    /// Only of this branch.
    pub branch: Option<Name>,
}

/// A part of the board of one repository, newest commits first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BoardPage {
    /// The commits.
    pub lines: Vec<BoardLine>,
    /// Give this as `before` to get the next part; `None` when this is the last.
    pub next: Option<BoardPlace>,
}

/// Where a line stands on its board: by the time of its commit; of one second the commit that was
/// asked for first, which sources do with the newest. A commit is never before its first parent,
/// whatever its date says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BoardPlace {
    time: std::cmp::Reverse<Timestamp>,
    number: Seq,
}

/// A commit of a branch, and what became of it on each builder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoardLine {
    /// Where it stands.
    pub place: BoardPlace,
    /// The commit.
    pub commit: BoardCommit,
    /// Its latest build on each builder that was asked for it.
    pub cells: BTreeMap<BuilderName, BoardCell>,
}

/// What a board says of a commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoardCommit {
    /// Its hash.
    pub hash: CommitHash,
    /// First line of its message.
    pub subject: String,
    /// The branch it was found on.
    pub branch: Option<Name>,
    /// Who wrote it.
    pub author: Option<String>,
    /// When it was made.
    pub time: Timestamp,
}

/// The latest build of a commit on a builder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoardCell {
    /// The builder.
    pub builder: BuilderName,
    /// The build.
    pub build: BuildId,
    /// Where it stands.
    pub state: BuildStatus,
    /// When its first machine was granted.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// The build that runs its failed tests again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerun: Option<Rerun>,
}

/// A repository that something was built of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownRepo {
    /// Its name.
    pub repo: RepoName,
    /// Its branches in order of name.
    pub branches: Vec<Name>,
    /// When its newest commit was made.
    pub newest: Timestamp,
}

impl BoardPlace {
    pub(super) fn new(time: Timestamp, number: Seq) -> Self {
        Self {
            time: std::cmp::Reverse(time),
            number,
        }
    }

    #[cfg_attr(
        not(feature = "sqlite"),
        expect(dead_code, reason = "only a database asks for the parts")
    )]
    pub(super) fn parts(self) -> (Timestamp, Seq) {
        (self.time.0, self.number)
    }
}

impl fmt::Display for BoardPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.time.0.as_micros(), self.number.0)
    }
}

impl FromStr for BoardPlace {
    type Err = Error;

    /// Reads what [`fmt::Display`] writes.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] naming the text.
    fn from_str(text: &str) -> Result<Self, Error> {
        let parse = || {
            let (time, number) = text.split_once('.')?;
            let time = Timestamp::from_micros(time.parse().ok()?);
            Some(Self::new(time, Seq(number.parse().ok()?)))
        };
        parse().ok_or_else(|| {
            let text = format!("bad place on the board {text:?}");
            Error::new(ErrorKind::Invalid, text)
        })
    }
}

impl BoardCommit {
    pub(crate) fn of(item: &WorkItem) -> Self {
        Self {
            hash: item.commit.clone(),
            subject: item.subject.clone(),
            branch: item.branch.clone(),
            author: item.author.clone(),
            time: item.commit_time,
        }
    }
}

impl BoardCell {
    /// The cell of a build. A build of uncommitted files says nothing of the commit and has
    /// none; one that runs another again is told of in the cell of that one.
    pub(crate) fn of(row: &BuildRow) -> Option<Self> {
        (!row.item.worktree && row.item.rerun_of.is_none()).then(|| Self {
            builder: row.builder.clone(),
            build: row.id.clone(),
            state: row.state,
            started: row.started,
            finished: row.finished,
            rerun: row.rerun.clone(),
        })
    }
}

/// Makes a board of the builds of a repository, given in order of being asked for.
pub(super) fn fold<'a>(builds: impl Iterator<Item = &'a BuildRow>) -> Vec<BoardLine> {
    let mut lines: BTreeMap<(&CommitHash, &Option<Name>), BoardLine> = BTreeMap::new();
    for row in builds {
        let Some(cell) = BoardCell::of(row) else {
            continue;
        };
        let line = lines.entry((&row.item.commit, &row.item.branch));
        let line = line.or_insert_with(|| BoardLine {
            place: BoardPlace::new(row.item.place(), row.number),
            commit: BoardCommit::of(&row.item),
            cells: BTreeMap::new(),
        });
        line.cells.insert(cell.builder.clone(), cell);
    }
    let mut lines: Vec<_> = lines.into_values().collect();
    lines.sort_by_key(|line| line.place);
    lines
}

/// The repositories of `items`, the one with the newest commit first.
pub(super) fn repos<'a>(items: impl Iterator<Item = &'a WorkItem>) -> Vec<KnownRepo> {
    let mut branches: BTreeMap<(RepoName, Name), Timestamp> = BTreeMap::new();
    for item in items {
        let branch = item.branch.clone().unwrap_or_default();
        let newest = branches.entry((item.repo.clone(), branch)).or_default();
        *newest = item.commit_time.max(*newest);
    }
    let rows = branches.into_iter();
    known_repos(rows.map(|((repo, branch), newest)| (repo, branch, newest)))
}

/// Groups branches, which come in order of repository and name.
pub(super) fn known_repos(
    branches: impl Iterator<Item = (RepoName, Name, Timestamp)>,
) -> Vec<KnownRepo> {
    let mut repos: Vec<KnownRepo> = Vec::new();
    for (repo, branch, newest) in branches {
        let branch = Some(branch).filter(|b| !b.is_empty());
        match repos.last_mut().filter(|last| last.repo == repo) {
            Some(known) => {
                known.branches.extend(branch);
                known.newest = known.newest.max(newest);
            }
            None => repos.push(KnownRepo {
                repo,
                branches: branch.into_iter().collect(),
                newest,
            }),
        }
    }
    repos.sort_by_key(|known| std::cmp::Reverse(known.newest));
    repos
}

/// The first `limit` of `lines`, of which there may be more.
pub(super) fn page(mut lines: Vec<BoardLine>, limit: usize) -> BoardPage {
    let more = lines.len() > limit;
    lines.truncate(limit);
    let next = lines.last().filter(|_| more).map(|line| line.place);
    BoardPage { lines, next }
}
