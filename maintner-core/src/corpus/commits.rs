//! Commits: reading commit objects, the table of all commits, and ancestry.

mod ancestry;
mod local;
mod parse;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::chunk::{Column, Index, Lists};
use super::scan::Scanned;
use super::text::TextRef;
use crate::GitHash;

pub(crate) use ancestry::Graph;
pub(crate) use local::{LocalHash, LocalHashes};
pub use parse::fuzz_commit;
pub(crate) use parse::{CommitParts, header_value, parse_commit, zone_offset};

/// The fixed part of a commit.
#[derive(Debug, Clone, Copy, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct CommitRow {
    /// The commit object; none for commits only named as a parent.
    pub(crate) raw: TextRef,
    pub(crate) author_time: i64,
    pub(crate) commit_time: i64,
    /// Offset of the message in `raw`.
    pub(crate) message: u32,
    /// Names: `Name <email>` and the zone as written.
    pub(crate) author: u32,
    pub(crate) author_zone: u32,
    pub(crate) committer: u32,
    pub(crate) committer_zone: u32,
    /// Gerrit project row + 1; 0 for plain repositories.
    pub(crate) project: u32,
}

/// One file of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct FileRow {
    pub(crate) name: u32,
    pub(crate) added: u32,
    /// Highest bit: binary.
    deleted: u32,
}

const BINARY: u32 = 1 << 31;

impl FileRow {
    pub(crate) fn new(name: u32, added: i64, deleted: i64, binary: bool) -> Self {
        let count = |lines: i64| {
            u32::try_from(lines.max(0))
                .unwrap_or(u32::MAX)
                .min(BINARY - 1)
        };
        let flag = if binary { BINARY } else { 0 };
        Self {
            name,
            added: count(added),
            deleted: count(deleted) | flag,
        }
    }

    pub(crate) fn deleted(self) -> u32 {
        self.deleted & !BINARY
    }

    pub(crate) fn is_binary(self) -> bool {
        self.deleted & BINARY != 0
    }

    pub(crate) fn with_name(self, name: u32) -> Self {
        Self { name, ..self }
    }
}

/// All commits, and all hashes named as parents.
#[derive(Debug, Clone, Default)]
pub(crate) struct Commits {
    pub(crate) hashes: Column<GitHash>,
    pub(crate) rows: Column<CommitRow>,
    pub(crate) graph: Column<Graph>,
    pub(crate) files: Lists<FileRow>,
    /// Parents of commits with more than one.
    pub(crate) merges: Lists<u32>,
    pub(crate) index: Index,
}

/// What one batch did to the commits; needed until the batch is complete.
#[derive(Debug, Default)]
pub(crate) struct CommitBatch {
    /// First row that the batch created.
    first: u32,
    /// A commit known before only by name was filled, or one was replaced: ancestry below it is
    /// to be computed again.
    pub(crate) disturbed: bool,
    /// Rows that got their content.
    pub(crate) filled: Vec<u32>,
}

impl CommitBatch {
    pub(crate) fn starting(commits: &Commits) -> Self {
        Self {
            first: commits.hashes.len(),
            ..Self::default()
        }
    }
}

/// Rows of the hashes of one piece of the log, by their local number.
#[derive(Debug)]
pub(crate) struct LocalRows {
    /// First row that the piece created.
    first: u32,
    /// Row + 1; 0 for what only refs named.
    rows: Vec<u32>,
}

impl LocalRows {
    /// The row of a commit that a ref of the piece points to, if it was known at that time:
    /// from an earlier piece, or because the piece `named` it before.
    pub(crate) fn known(&self, (number, named): (u32, bool)) -> Option<u32> {
        let row = self.rows[number as usize].checked_sub(1)?;
        (named || row < self.first).then_some(row)
    }

    fn row(&self, number: u32) -> u32 {
        self.rows[number as usize] - 1
    }
}

impl Commits {
    pub(crate) fn find(&self, hash: GitHash) -> Option<u32> {
        self.find_keyed(self.index.hash_bytes(hash.as_bytes()), hash)
    }

    fn find_keyed(&self, key: u64, hash: GitHash) -> Option<u32> {
        self.index.find(key, |row| self.hashes.get(row) == hash)
    }

    /// Whether only the name of the commit is known.
    pub(crate) fn is_placeholder(&self, row: u32) -> bool {
        self.rows.get(row).raw.is_none()
    }

    /// The rows of a piece's hashes, made for those that are named and not known yet.
    fn rows_of(&mut self, hashes: &[LocalHash]) -> LocalRows {
        let shared = self.index.has_process_secret();
        let index = &self.index;
        let key = |local: &LocalHash| match shared {
            true => local.key,
            false => index.hash_bytes(local.hash.as_bytes()),
        };
        // Each look-up is a cache miss: together they overlap.
        let mut rows: Vec<u32> = hashes
            .iter()
            .map(|local| {
                self.find_keyed(key(local), local.hash)
                    .map_or(0, |row| row + 1)
            })
            .collect();
        let first = self.hashes.len();
        let keys: Vec<u64> = match shared {
            true => Vec::new(),
            false => hashes.iter().map(key).collect(),
        };
        let mut fresh = Vec::new();
        for (number, local) in hashes.iter().enumerate() {
            if rows[number] == 0 && local.named {
                let row = first + fresh.len() as u32;
                fresh.push(local.hash);
                let key = keys.get(number).copied().unwrap_or(local.key);
                self.index.insert(key, row);
                rows[number] = row + 1;
            }
        }
        self.hashes.append(&fresh);
        let len = self.hashes.len();
        self.rows.extend_to(len);
        self.graph.extend_to(len);
        self.files.extend_to(len);
        LocalRows { first, rows }
    }

    /// Adds the commits of one piece of the log; `names` and `projects` translate its numbers.
    pub(crate) fn absorb(
        &mut self,
        scanned: &Scanned,
        names: &[u32],
        projects: &[u32],
        batch: &mut CommitBatch,
    ) -> LocalRows {
        let rows = self.rows_of(&scanned.hashes);
        let mut parents = Vec::new();
        let mut files = Vec::new();
        for commit in &scanned.commits {
            let row = rows.row(commit.hash);
            let locals = &scanned.parents[commit.parents.clone()];
            parents.clear();
            parents.extend(locals.iter().map(|&parent| rows.row(parent)));
            let found = &scanned.files[commit.files.clone()];
            files.clear();
            files.extend(
                found
                    .iter()
                    .map(|file| file.with_name(names[file.name as usize])),
            );
            self.files.set(row, &files);
            let parts = commit.parts.map(|local| names[local as usize]);
            let old = self.rows.get(row);
            self.link(row, &parents, old.raw.is_none(), batch);
            batch.filled.push(row);
            let project = commit
                .project
                .map_or(0, |local| projects[local as usize] + 1);
            self.rows.set(
                row,
                CommitRow {
                    raw: commit.raw,
                    author_time: parts.author_time,
                    commit_time: parts.commit_time,
                    message: parts.message,
                    author: parts.author,
                    author_zone: parts.author_zone,
                    committer: parts.committer,
                    committer_zone: parts.committer_zone,
                    project: if project == 0 { old.project } else { project },
                },
            );
        }
        rows
    }

    fn link(&mut self, row: u32, parents: &[u32], placeholder: bool, batch: &mut CommitBatch) {
        if !placeholder && *self.parents(row) == *parents {
            return;
        }
        batch.disturbed |= !placeholder || row < batch.first;
        let link = match parents {
            [] => 0,
            [parent] => parent + 1,
            several => Graph::merge_link(self.merges.push(several)),
        };
        self.graph
            .update(row, |graph| *graph = Graph::unsettled(link));
    }
}
