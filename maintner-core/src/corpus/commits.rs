//! Commits: reading commit objects, the table of all commits, and ancestry.

mod ancestry;
mod parse;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::chunk::{Column, Index, Lists};
use super::scan::Scanned;
use super::text::TextRef;
use crate::GitHash;

pub(crate) use ancestry::Graph;
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
    /// Position of the record that first named each of the batch's rows.
    named_at: Vec<u64>,
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

    /// Whether the commit was known when the record at `position` was written.
    pub(crate) fn known_at(&self, row: u32, position: u64) -> bool {
        let index = row.checked_sub(self.first);
        let named = index.and_then(|index| self.named_at.get(index as usize));
        named.is_none_or(|&named| named <= position)
    }
}

impl Commits {
    pub(crate) fn find(&self, hash: GitHash) -> Option<u32> {
        let key = self.index.hash_bytes(hash.as_bytes());
        self.index.find(key, |row| self.hashes.get(row) == hash)
    }

    /// Whether only the name of the commit is known.
    pub(crate) fn is_placeholder(&self, row: u32) -> bool {
        self.rows.get(row).raw.is_none()
    }

    fn find_or_add(&mut self, hash: GitHash, position: u64, batch: &mut CommitBatch) -> u32 {
        if let Some(row) = self.find(hash) {
            return row;
        }
        let row = self.hashes.push(hash);
        let key = self.index.hash_bytes(hash.as_bytes());
        self.index.insert(key, row);
        self.rows.extend_to(row + 1);
        self.graph.extend_to(row + 1);
        batch.named_at.push(position);
        row
    }

    /// Adds the commits of one piece of the log; `names` and `projects` translate its numbers.
    pub(crate) fn absorb(
        &mut self,
        scanned: &Scanned,
        names: &[u32],
        projects: &[u32],
        batch: &mut CommitBatch,
    ) {
        // Each look-up is a cache miss: together they overlap.
        let known: Vec<_> = scanned.commits.iter().map(|c| self.find(c.hash)).collect();
        let known_parents: Vec<_> = scanned
            .parents
            .iter()
            .map(|&hash| self.find(hash))
            .collect();
        let mut parents = Vec::new();
        let mut files = Vec::new();
        for (commit, known) in scanned.commits.iter().zip(known) {
            let at = commit.position;
            let row = known.unwrap_or_else(|| self.find_or_add(commit.hash, at, batch));
            parents.clear();
            for index in commit.parents.clone() {
                let (hash, known) = (scanned.parents[index], known_parents[index]);
                parents.push(known.unwrap_or_else(|| self.find_or_add(hash, at, batch)));
            }
            files.clear();
            let found = &scanned.files[commit.files.clone()];
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
