//! Gerrit: projects, refs, and changes with their meta commits.

pub(crate) mod meta;

use std::hint::black_box;

use hashbrown::HashSet;
use rayon::prelude::*;
use zerocopy::{FromBytes, FromZeros as _, Immutable, IntoBytes, KnownLayout};

use super::chunk::{Column, Index, Lists, with_fresh};
use super::commits::{Commits, LocalRows};
use super::scan::{RefChange, Scanned};
use super::text::{TextRef, Texts};
use super::{Anomalies, Anomaly};
use meta::{MetaFacts, Status};

/// A project.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct ProjectRow {
    /// `host/project`.
    pub(crate) name: TextRef,
    /// Meta commits with votes seen so far: grows whenever a vote may have changed.
    pub(crate) label_changes: u64,
}

/// A ref that belongs to no change.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct RefRow {
    pub(crate) name: TextRef,
    pub(crate) project: u32,
    /// Commit row + 1; 0 when deleted.
    pub(crate) target: u32,
}

/// A patch set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct PatchSetRow {
    pub(crate) version: i32,
    pub(crate) commit: u32,
}

/// A review message; its text is a part of the meta commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct MessageRow {
    pub(crate) meta: u32,
    pub(crate) version: i32,
    pub(crate) start: u32,
    pub(crate) len: u32,
}

pub(crate) const PRIVATE: u32 = 1;
pub(crate) const EVER_PRIVATE: u32 = 2;
pub(crate) const WIP: u32 = 4;
const STATUS_SHIFT: u32 = 8;

/// The fixed part of a change. Commits are rows + 1, 0 for none.
#[derive(Debug, Clone, Copy, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct ClRow {
    /// Commit time of the oldest meta commit.
    pub(crate) created: i64,
    pub(crate) branch: TextRef,
    pub(crate) project: u32,
    pub(crate) number: i32,
    pub(crate) version: i32,
    pub(crate) commit: u32,
    /// Newest meta commit that a ref named, and the one up to which history was read.
    pub(crate) head: u32,
    pub(crate) read: u32,
    flags: u32,
    unused: u32,
}

impl ClRow {
    fn new(project: u32, number: i32) -> Self {
        let mut row = Self {
            project,
            number,
            ..Self::new_zeroed()
        };
        row.restart();
        row
    }

    /// Forgets what the meta history said.
    fn restart(&mut self) {
        self.read = 0;
        self.branch = TextRef::NONE;
        self.flags = (Status::New as u32) << STATUS_SHIFT;
    }

    pub(crate) fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    fn flag(&mut self, flag: u32, on: bool) {
        self.flags = if on {
            self.flags | flag
        } else {
            self.flags & !flag
        };
    }

    pub(crate) fn status(&self) -> Status {
        Status::from_number(self.flags >> STATUS_SHIFT)
    }

    /// Whether there is enough to show the change.
    pub(crate) fn is_complete(&self) -> bool {
        self.commit != 0 && self.read != 0
    }

    fn learn(&mut self, facts: &MetaFacts) {
        if let Some(status) = facts.status {
            self.flags = self.flags & 0xff | (status as u32) << STATUS_SHIFT;
        }
        if let Some(private) = facts.private {
            self.flag(PRIVATE, private);
            self.flag(EVER_PRIVATE, private || self.has(EVER_PRIVATE));
        }
        if let Some(wip) = facts.wip {
            self.flag(WIP, wip);
        }
    }
}

/// Everything known about Gerrit.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gerrit {
    pub(crate) projects: Column<ProjectRow>,
    /// Change rows of each project, by number.
    pub(crate) project_cls: Lists<u32>,
    pub(crate) refs: Column<RefRow>,
    pub(crate) ref_index: Index,
    pub(crate) cls: Column<ClRow>,
    pub(crate) cl_index: Index,
    /// By version.
    pub(crate) patch_sets: Lists<PatchSetRow>,
    /// Meta commit rows, oldest first.
    pub(crate) metas: Lists<u32>,
    pub(crate) messages: Lists<MessageRow>,
}

/// What one round of loading still has to do, and what it touched.
#[derive(Debug, Default)]
pub(crate) struct GerritBatch {
    /// Changes whose meta history is to be read.
    pub(crate) dirty: HashSet<u32>,
    pub(crate) touched_cls: HashSet<u32>,
    pub(crate) touched_refs: HashSet<u32>,
    fresh: Vec<(u32, i32, u32)>,
}

/// What a ref name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RefKind {
    PatchSet(i32, i32),
    Meta(i32),
    /// Names of changes that cannot be: patch set 0, numbers that are too large.
    Impossible,
    Ignored,
    Plain,
}

impl RefKind {
    pub(crate) fn of(name: &[u8]) -> Self {
        if name.starts_with(b"refs/meta/") {
            return Self::Ignored;
        }
        Self::change(name).unwrap_or(Self::Plain)
    }

    /// `refs/changes/xx/NUMBER/(meta|VERSION)`; what follows the version is not looked at.
    fn change(name: &[u8]) -> Option<Self> {
        let rest = name.strip_prefix(b"refs/changes/")?;
        let hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let (group, rest) = rest.split_at_checked(2)?;
        let rest = rest.strip_prefix(b"/").filter(|_| group.iter().all(hex))?;
        let (number, rest) = digits(rest)?;
        let rest = rest.strip_prefix(b"/")?;
        if rest.starts_with(b"meta") {
            return Some(parse_number(number).map_or(Self::Impossible, Self::Meta));
        }
        let (version, _) = digits(rest)?;
        let both = parse_number(number).zip(parse_number(version).filter(|&version| version > 0));
        Some(both.map_or(Self::Impossible, |(number, version)| {
            Self::PatchSet(number, version)
        }))
    }
}

/// The digits at the start of a text, and the rest; at least one digit.
fn digits(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn parse_number(digits: &[u8]) -> Option<i32> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

impl Gerrit {
    pub(crate) fn find_project(&self, log: &Texts, name: &str) -> Option<u32> {
        let name = name.as_bytes();
        (0..self.projects.len()).find(|&row| log.bytes(self.projects.get(row).name) == name)
    }

    pub(crate) fn add_project(&mut self, log: &Texts, name: TextRef) -> u32 {
        self.find_project(log, log.str(name)).unwrap_or_else(|| {
            let row = self.projects.push(ProjectRow {
                name,
                label_changes: 0,
            });
            self.project_cls.set(row, &[]);
            row
        })
    }

    fn cl_hash(&self, project: u32, number: i32) -> u64 {
        self.cl_index.hash_pair(project, number.cast_unsigned())
    }

    fn ref_hash(&self, project: u32, name: &[u8]) -> u64 {
        let index = &self.ref_index;
        index.hash_pair(project, index.hash_bytes(name))
    }

    pub(crate) fn find_cl(&self, project: u32, number: i32) -> Option<u32> {
        self.cl_index.find(self.cl_hash(project, number), |row| {
            let cl = self.cls.get(row);
            (cl.project, cl.number) == (project, number)
        })
    }

    pub(crate) fn find_ref(&self, log: &Texts, project: u32, name: &[u8]) -> Option<u32> {
        self.ref_index.find(self.ref_hash(project, name), |row| {
            let known = self.refs.get(row);
            known.project == project && log.bytes(known.name) == name
        })
    }

    /// Sets and deletes refs; the commits of the same piece are there already, in `rows`.
    pub(crate) fn absorb(
        &mut self,
        log: &Texts,
        scanned: &Scanned,
        projects: &[u32],
        rows: &LocalRows,
        batch: &mut GerritBatch,
        anomalies: &mut Anomalies,
    ) {
        for op in &scanned.refs {
            let project = projects[op.project as usize];
            let RefChange::Set(kind, target) = op.change else {
                let name = log.bytes(op.name);
                match RefKind::of(name) {
                    RefKind::Meta(number) => self.delete_meta(project, number, batch),
                    RefKind::PatchSet(number, version) => {
                        self.delete_patch_set(project, number, version, batch);
                    }
                    _ => self.delete_ref(log, project, name, batch),
                }
                continue;
            };
            match (kind, rows.known(target)) {
                (_, None) => anomalies.count(Anomaly::UnknownCommit),
                (RefKind::Meta(number), Some(target)) => {
                    let row = self.cl(project, number, batch);
                    self.cls.update(row, |cl| cl.head = target + 1);
                    batch.dirty.insert(row);
                }
                (RefKind::PatchSet(number, version), Some(commit)) => {
                    let row = self.cl(project, number, batch);
                    self.set_patch_set(row, PatchSetRow { version, commit });
                }
                // The scan passes on no other kinds.
                (_, Some(target)) => self.set_ref(log, project, op.name, target, batch),
            }
        }
    }

    fn delete_ref(&mut self, log: &Texts, project: u32, name: &[u8], batch: &mut GerritBatch) {
        if let Some(row) = self.find_ref(log, project, name) {
            self.refs.update(row, |known| known.target = 0);
            batch.touched_refs.insert(row);
        }
    }

    /// The change is gone: without meta commits it is not complete, so nobody sees it.
    fn delete_meta(&mut self, project: u32, number: i32, batch: &mut GerritBatch) {
        if let Some(row) = self.find_cl(project, number) {
            self.cls.update(row, |cl| {
                cl.head = 0;
                cl.restart();
            });
            self.metas.set(row, &[]);
            self.messages.set(row, &[]);
            batch.dirty.remove(&row);
            batch.touched_cls.insert(row);
        }
    }

    fn delete_patch_set(
        &mut self,
        project: u32,
        number: i32,
        version: i32,
        batch: &mut GerritBatch,
    ) {
        let Some(row) = self.find_cl(project, number) else {
            return;
        };
        let mut left = self.patch_sets.get(row).to_vec();
        left.retain(|patch_set| patch_set.version != version);
        self.patch_sets.set(row, &left);
        let highest = left.last().copied();
        self.cls.update(row, |cl| {
            cl.version = highest.map_or(0, |highest| highest.version);
            cl.commit = highest.map_or(0, |highest| highest.commit + 1);
        });
        batch.touched_cls.insert(row);
    }

    fn set_ref(
        &mut self,
        log: &Texts,
        project: u32,
        text: TextRef,
        target: u32,
        batch: &mut GerritBatch,
    ) {
        let name = log.bytes(text);
        let row = self.find_ref(log, project, name).unwrap_or_else(|| {
            let row = self.refs.push(RefRow {
                name: text,
                project,
                target: 0,
            });
            let key = self.ref_hash(project, name);
            self.ref_index.insert(key, row);
            row
        });
        self.refs.update(row, |known| known.target = target + 1);
        batch.touched_refs.insert(row);
    }

    /// The row of a change, made when needed.
    fn cl(&mut self, project: u32, number: i32, batch: &mut GerritBatch) -> u32 {
        let row = self.find_cl(project, number).unwrap_or_else(|| {
            let row = self.cls.push(ClRow::new(project, number));
            let key = self.cl_hash(project, number);
            self.cl_index.insert(key, row);
            batch.fresh.push((project, number, row));
            row
        });
        batch.touched_cls.insert(row);
        row
    }

    /// Patch sets may arrive in any order: the highest is the change's commit.
    fn set_patch_set(&mut self, row: u32, patch_set: PatchSetRow) {
        let mut all = self.patch_sets.get(row).to_vec();
        match all.binary_search_by_key(&patch_set.version, |known| known.version) {
            Ok(index) => all[index] = patch_set,
            Err(index) => all.insert(index, patch_set),
        }
        self.patch_sets.set(row, &all);
        let highest = all[all.len() - 1];
        self.cls.update(row, |cl| {
            cl.version = highest.version;
            cl.commit = highest.commit + 1;
        });
    }

    /// Changes whose newest meta commit could not be reached yet.
    pub(crate) fn unfinished(&self) -> impl Iterator<Item = u32> {
        let rows = self.cls.iter().enumerate();
        rows.filter(|(_, cl)| cl.head != cl.read)
            .map(|(row, _)| row as u32)
    }

    /// Puts the changes that are new into the lists of their projects.
    pub(crate) fn list_fresh(&mut self, batch: &mut GerritBatch) {
        batch.fresh.sort_unstable();
        for group in batch.fresh.chunk_by(|a, b| a.0 == b.0) {
            let project = group[0].0;
            let fresh = group.iter().map(|&(_, number, row)| (number, row));
            let number = |row| self.cls.get(row).number;
            let rows = with_fresh(self.project_cls.get(project), fresh, number);
            self.project_cls.set(project, &rows);
        }
        batch.fresh.clear();
    }

    /// Reads the meta commits of dirty changes that were not read before, in parallel. Changes
    /// whose history has a gap stay dirty.
    pub(crate) fn finish(&mut self, log: &Texts, commits: &Commits, batch: &mut GerritBatch) {
        let mut dirty: Vec<u32> = batch.dirty.iter().copied().collect();
        dirty.sort_unstable();
        let finished: Vec<(u32, Finished)> = dirty
            .into_par_iter()
            .filter_map(|row| Some((row, self.read_metas(log, commits, row)?)))
            .collect();
        for (row, finished) in finished {
            batch.dirty.remove(&row);
            self.cls.set(row, finished.cl);
            self.metas.set(row, &finished.metas);
            self.messages.set(row, &finished.messages);
            let changes = finished.label_changes;
            if changes > 0 {
                self.projects
                    .update(finished.cl.project, |row| row.label_changes += changes);
            }
        }
    }

    /// `None`: the history is no line of known commits.
    fn read_metas(&self, log: &Texts, commits: &Commits, row: u32) -> Option<Finished> {
        let mut cl = self.cls.get(row);
        let mut fresh = Vec::new();
        let mut next = cl.head;
        while next != cl.read && next != 0 {
            let meta = next - 1;
            // A hash need not be the one of its content, so a history could even be a circle.
            if commits.is_placeholder(meta) || fresh.len() > commits.hashes.len() as usize {
                return None;
            }
            fresh.push(meta);
            next = match &*commits.parents(meta) {
                [] => 0,
                [parent] => parent.checked_add(1)?,
                _ => return None,
            };
        }
        if next == 0 {
            cl.restart();
        }
        let known: (&[u32], &[MessageRow]) = match cl.read {
            0 => (&[], &[]),
            _ => (self.metas.get(row), self.messages.get(row)),
        };
        let mut finished = Finished {
            cl,
            metas: with_room(known.0, fresh.len()),
            messages: with_room(known.1, fresh.len()),
            label_changes: 0,
        };
        // Their texts lie all over the log, so each is a cache miss: together these overlap.
        let first = |&meta: &u32| {
            let commit = commits.rows.get(meta);
            let message = log.bytes(commit.raw).get(commit.message as usize..);
            message.map(|text| text.iter().step_by(64).fold(0, |sum, byte| sum ^ byte))
        };
        black_box(
            fresh
                .iter()
                .filter_map(first)
                .fold(0, |sum, byte| sum ^ byte),
        );
        for &meta in fresh.iter().rev() {
            finished.learn(log, commits, meta);
        }
        let oldest = finished
            .metas
            .first()
            .map(|&meta| commits.rows.get(meta).commit_time);
        finished.cl.created = oldest.unwrap_or_default();
        finished.cl.read = cl.head;
        Some(finished)
    }
}

/// A copy of `list` to which `more` items can be added.
fn with_room<T: Copy>(list: &[T], more: usize) -> Vec<T> {
    let mut copy = Vec::with_capacity(list.len() + more);
    copy.extend_from_slice(list);
    copy
}

/// A change whose meta commits were read.
struct Finished {
    cl: ClRow,
    metas: Vec<u32>,
    messages: Vec<MessageRow>,
    label_changes: u64,
}

impl Finished {
    fn learn(&mut self, log: &Texts, commits: &Commits, meta: u32) {
        let commit = commits.rows.get(meta);
        let raw = log.bytes(commit.raw);
        let message = raw.get(commit.message as usize..).unwrap_or_default();
        let facts = MetaFacts::parse(message);
        self.cl.learn(&facts);
        self.label_changes += u64::from(facts.has_label);
        if let Some(branch) = facts.branch {
            let (_, locator) = log.from(commit.raw.position());
            self.cl.branch = locator.locate(branch);
        }
        if let Some((version, range)) = facts.message {
            let (start, len) = (commit.message + range.start as u32, range.len() as u32);
            self.messages.push(MessageRow {
                meta,
                version,
                start,
                len,
            });
        }
        self.metas.push(meta);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ref_names() {
        let kind = |name: &str| RefKind::of(name.as_bytes());
        assert_eq!(
            kind("refs/changes/00/14700/1"),
            RefKind::PatchSet(14_700, 1)
        );
        assert_eq!(kind("refs/changes/00/14700/meta"), RefKind::Meta(14_700));
        assert_eq!(kind("refs/changes/5a/5/12x"), RefKind::PatchSet(5, 12));
        assert_eq!(kind("refs/changes/00/14700/0"), RefKind::Impossible);
        assert_eq!(kind("refs/changes/00/99999999999/1"), RefKind::Impossible);
        assert_eq!(kind("refs/changes/00/14700/robot-comments"), RefKind::Plain);
        assert_eq!(kind("refs/changes/0/1/1"), RefKind::Plain);
        assert_eq!(kind("refs/meta/config"), RefKind::Ignored);
        assert_eq!(kind("refs/heads/master"), RefKind::Plain);
    }
}
