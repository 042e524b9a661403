//! A corpus in a file that opens by mapping it: the columns are used where they are.
//!
//! The file is a page with a header and the table of sections, and the sections (one a column),
//! aligned to 64 bytes. It belongs to the beginning of one particular log, which the first
//! section names; for any other log or another version it is not used, and the corpus is loaded
//! from the log. Texts stay in the log.
//!
//! Opening reads the first pages only: what is small and asked first comes first in the file.
//! The checksums of the columns are compared afterwards, by a [`Check`]; until then a damaged
//! column may give wrong answers, but every access is bounds-checked and every walk bounded.

mod base;
mod check;
mod fuzz;
mod read;
mod write;

use std::path::{Path, PathBuf};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::corpus::apply::State;
use crate::corpus::chunk::{Column, Index, Lists, Row};
use crate::log::{Segment, SegmentData};

pub(crate) use check::Check;
pub use fuzz::fuzz_snapshot;
pub(crate) use read::{Opened, open};
pub(crate) use write::write;

/// Name of the snapshot in its log's folder.
const FILE_NAME: &str = "corpus.snap";

const MAGIC: [u8; 8] = *b"CORPUS\r\n";
/// Raised whenever the sections change.
const VERSION: u32 = 3;
/// Reads differently on a machine that stores numbers the other way round.
const BYTE_ORDER: u32 = 0x0102_0304;
const ALIGN: u64 = 64;
/// Where the first section begins: behind header and table.
const FIRST: u64 = 4096;

/// The first bytes of the file.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    magic: [u8; 8],
    version: u32,
    byte_order: u32,
    /// The part of the log that the snapshot contains.
    position: u64,
    /// Length of the file.
    len: u64,
    sections: u64,
    /// Of the table.
    table_hash: u64,
    /// Of the fields above.
    hash: u64,
    unused: u64,
}

/// One row of the table.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Section {
    offset: u64,
    len: u64,
    hash: u64,
    /// Of an index: slots taken.
    used: u64,
    /// Of an index: what its hashes depend on.
    secret: u64,
}

fn hash(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}

/// Writes or reads the parts of a state, in a fixed order.
trait Sections {
    type Error;
    fn column<T: Row>(&mut self, column: &mut Column<T>) -> Result<(), Self::Error>;
    fn lists<T: Row>(&mut self, lists: &mut Lists<T>) -> Result<(), Self::Error>;
    fn index(&mut self, index: &mut Index) -> Result<(), Self::Error>;
}

/// Passes every part of `state` to `sections`; the order is the file's: first what is small
/// and what first questions need, last what grows with every commit.
fn visit<S: Sections>(state: &mut State, sections: &mut S) -> Result<(), S::Error> {
    let github = &mut state.github;
    sections.column(&mut github.repos)?;
    sections.lists(&mut github.repo_issues)?;
    sections.column(&mut github.labels)?;
    sections.index(&mut github.label_index)?;
    sections.column(&mut github.milestones)?;
    sections.index(&mut github.milestone_index)?;
    let gerrit = &mut state.gerrit;
    sections.column(&mut gerrit.projects)?;
    sections.lists(&mut gerrit.project_cls)?;
    sections.index(&mut github.issue_index)?;
    sections.column(&mut github.issues)?;
    sections.lists(&mut github.issue_labels)?;
    sections.lists(&mut github.assignees)?;
    sections.column(&mut github.users.rows)?;
    sections.index(&mut github.users.index)?;
    sections.column(&mut github.teams.rows)?;
    sections.index(&mut github.teams.index)?;
    sections.column(&mut gerrit.cls)?;
    sections.index(&mut gerrit.cl_index)?;
    sections.index(&mut gerrit.ref_index)?;
    sections.column(&mut gerrit.refs)?;
    let commits = &mut state.commits;
    sections.lists(&mut commits.merges)?;
    sections.column(&mut commits.graph)?;
    sections.index(&mut commits.index)?;
    sections.column(&mut commits.hashes)?;
    sections.column(&mut commits.rows)?;
    sections.lists(&mut github.comments)?;
    sections.lists(&mut github.events)?;
    sections.lists(&mut github.reviews)?;
    sections.lists(&mut gerrit.patch_sets)?;
    sections.lists(&mut gerrit.metas)?;
    sections.lists(&mut gerrit.messages)?;
    sections.column(&mut state.names.texts)?;
    sections.index(&mut state.names.index)?;
    sections.lists(&mut commits.files)
}

/// Where the snapshot of a log is kept when nothing else is said: in its folder.
pub(crate) fn beside(segments: &[Segment]) -> Option<PathBuf> {
    match segments.first()?.data() {
        SegmentData::File(path) => Some(path.parent().unwrap_or(Path::new(".")).join(FILE_NAME)),
        SegmentData::Memory(_) => None,
    }
}

const _: () = assert!(size_of::<Header>() == 64 && size_of::<Section>() == 40);
