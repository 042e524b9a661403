//! Lines added and deleted by a commit, as `git diff-tree --numstat` counts them.

use std::collections::VecDeque;
use std::fmt::Display;
use std::ops::ControlFlow;

use gix_diff::tree::{State, Visit, visit};
use gix_hash::ObjectId;
use gix_imara_diff::{Algorithm, Diff, InternedInput, sources::byte_lines};
use gix_object::bstr::{BStr, BString};
use gix_object::tree::EntryMode;
use gix_object::{CommitRefIter, FindExt as _};
use gix_odb::HandleArc;

use super::quote::quoted;
use crate::pb::GitDiffTreeFile;

/// Files changed against the only parent, by name. Root commits, merges, and commits whose
/// parent is not there have none.
///
/// # Errors
/// The reason, when an object is missing or broken.
pub(super) fn of_commit(objects: &HandleArc, raw: &[u8]) -> Result<Vec<GitDiffTreeFile>, String> {
    let commit = || CommitRefIter::from_bytes(raw, gix_hash::Kind::Sha1);
    let mut parents = commit().parent_ids();
    let (Some(parent), None) = (parents.next(), parents.next()) else {
        return Ok(Vec::new());
    };
    let mut buffer = Vec::new();
    let Ok(parent) = objects.find_commit_iter(&parent, &mut buffer) else {
        return Ok(Vec::new());
    };
    let before = parent.clone().tree_id().map_err(reason)?;
    let after = commit().tree_id().map_err(reason)?;
    if before == after {
        return Ok(Vec::new());
    }
    let (mut old, mut new) = (Vec::new(), Vec::new());
    let old = objects.find_tree_iter(&before, &mut old).map_err(reason)?;
    let new = objects.find_tree_iter(&after, &mut new).map_err(reason)?;
    let mut changes = Changes::default();
    gix_diff::tree(old, new, State::default(), objects, &mut changes).map_err(reason)?;
    changes.found.sort_by(|a, b| a.path.cmp(&b.path));
    merge_type_changes(&mut changes.found);
    let count = |change: &Change| change.count(objects);
    changes.found.iter().map(count).collect()
}

fn reason(error: impl Display) -> String {
    error.to_string()
}

/// What is at a path on one side.
#[derive(Debug, Clone, Copy)]
struct Entry {
    mode: EntryMode,
    id: ObjectId,
}

#[derive(Debug)]
struct Change {
    path: BString,
    before: Option<Entry>,
    after: Option<Entry>,
}

/// A file that became a link is one change to git, and may be two to the tree comparison.
fn merge_type_changes(changes: &mut Vec<Change>) {
    changes.dedup_by(|second, first| {
        let same = second.path == first.path;
        if same {
            first.before = first.before.or(second.before);
            first.after = first.after.or(second.after);
        }
        same
    });
}

impl Change {
    fn count(&self, objects: &HandleArc) -> Result<GitDiffTreeFile, String> {
        let before = content(objects, self.before)?;
        let after = content(objects, self.after)?;
        let binary = is_binary(&before) || is_binary(&after);
        let (added, deleted) = if binary {
            (0, 0)
        } else {
            changed_lines(&before, &after)
        };
        Ok(GitDiffTreeFile {
            file: quoted(&self.path),
            added: added.into(),
            deleted: deleted.into(),
            binary,
        })
    }
}

/// What git compares: the bytes of a file, the target of a link, a line that names the commit
/// of a submodule.
fn content(objects: &HandleArc, entry: Option<Entry>) -> Result<Vec<u8>, String> {
    let Some(entry) = entry else {
        return Ok(Vec::new());
    };
    if entry.mode.is_commit() {
        return Ok(format!("Subproject commit {}\n", entry.id).into_bytes());
    }
    let mut buffer = Vec::new();
    objects.find_blob(&entry.id, &mut buffer).map_err(reason)?;
    Ok(buffer)
}

/// Git looks for a zero byte in the first 8000 bytes.
fn is_binary(content: &[u8]) -> bool {
    content[..content.len().min(8000)].contains(&0)
}

/// Lines added and deleted.
fn changed_lines(before: &[u8], after: &[u8]) -> (u32, u32) {
    let (old, new) = without_common_ends(before, after);
    let (deleted, added) = (lines(old), lines(new));
    if deleted == 0 || added == 0 {
        return (added, deleted);
    }
    // All lines of both files tell which of them are too common to be compared, as in git. Where
    // so few differ, none is.
    match deleted.max(added) <= FEW {
        true => compared(old, new),
        false => compared(before, after),
    }
}

/// A line that is common is left out when it has seven others around it that are on one side
/// only.
const FEW: u32 = 7;

fn compared(before: &[u8], after: &[u8]) -> (u32, u32) {
    let input = InternedInput::new(byte_lines(before), byte_lines(after));
    let diff = Diff::compute(Algorithm::Myers, &input);
    (diff.count_additions(), diff.count_removals())
}

fn lines(text: &[u8]) -> u32 {
    let ends = memchr::memchr_iter(b'\n', text).count();
    let last = text.last().is_some_and(|&byte| byte != b'\n');
    u32::try_from(ends).map_or(u32::MAX, |ends| ends + u32::from(last))
}

/// What is left without the lines that both begin and end with.
fn without_common_ends<'a>(before: &'a [u8], after: &'a [u8]) -> (&'a [u8], &'a [u8]) {
    let same = common_prefix(before, after);
    // A line that goes on in one of them is not the same.
    let start = match same == before.len() && same == after.len() {
        true => same,
        false => before[..same]
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |at| at + 1),
    };
    let (before, after) = (&before[start..], &after[start..]);
    let same = common_suffix(before, after);
    let at_line = |text: &[u8]| {
        let rest = &text[..text.len() - same];
        rest.last().is_none_or(|&byte| byte == b'\n')
    };
    let tail = &before[before.len() - same..];
    let end = match at_line(before) && at_line(after) {
        true => same,
        false => memchr::memchr(b'\n', tail).map_or(0, |at| same - at - 1),
    };
    (&before[..before.len() - end], &after[..after.len() - end])
}

/// Bytes that are compared at a time.
const BLOCK: usize = 64;

fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let most = a.len().min(b.len());
    let blocks = a.chunks(BLOCK).zip(b.chunks(BLOCK));
    let same = blocks.take_while(|(a, b)| a == b).count() * BLOCK;
    let same = same.min(most);
    let rest = a[same..].iter().zip(&b[same..]);
    same + rest.take_while(|(a, b)| a == b).count()
}

fn common_suffix(a: &[u8], b: &[u8]) -> usize {
    let most = a.len().min(b.len());
    let blocks = a.rchunks(BLOCK).zip(b.rchunks(BLOCK));
    let same = blocks.take_while(|(a, b)| a == b).count() * BLOCK;
    let same = same.min(most);
    let (a, b) = (&a[..a.len() - same], &b[..b.len() - same]);
    let rest = a.iter().rev().zip(b.iter().rev());
    same + rest.take_while(|(a, b)| a == b).count()
}

/// Collects the changed paths of a tree comparison.
#[derive(Default)]
struct Changes {
    path: BString,
    queue: VecDeque<BString>,
    found: Vec<Change>,
}

impl Changes {
    fn push(&mut self, before: Option<Entry>, after: Option<Entry>) {
        let file = |entry: &Entry| !entry.mode.is_tree();
        let (before, after) = (before.filter(file), after.filter(file));
        if before.is_some() || after.is_some() {
            self.found.push(Change {
                path: self.path.clone(),
                before,
                after,
            });
        }
    }
}

impl Visit for Changes {
    fn pop_front_tracked_path_and_set_current(&mut self) {
        self.path = self.queue.pop_front().unwrap_or_default();
    }

    fn push_back_tracked_path_component(&mut self, component: &BStr) {
        self.push_path_component(component);
        self.queue.push_back(self.path.clone());
    }

    fn push_path_component(&mut self, component: &BStr) {
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(component);
    }

    fn pop_path_component(&mut self) {
        let end = self
            .path
            .iter()
            .rposition(|&byte| byte == b'/')
            .unwrap_or(0);
        self.path.truncate(end);
    }

    fn visit(&mut self, change: visit::Change) -> visit::Action {
        match change {
            visit::Change::Addition {
                entry_mode: mode,
                oid: id,
                ..
            } => {
                self.push(None, Some(Entry { mode, id }));
            }
            visit::Change::Deletion {
                entry_mode: mode,
                oid: id,
                ..
            } => {
                self.push(Some(Entry { mode, id }), None);
            }
            visit::Change::Modification {
                previous_entry_mode,
                previous_oid,
                entry_mode,
                oid,
            } => {
                let before = Entry {
                    mode: previous_entry_mode,
                    id: previous_oid,
                };
                self.push(
                    Some(before),
                    Some(Entry {
                        mode: entry_mode,
                        id: oid,
                    }),
                );
            }
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts of few different lines, some without an end, from a number.
    fn text(mut seed: u64, most: u64) -> Vec<u8> {
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            seed >> 33
        };
        let mut text = Vec::new();
        for _ in 0..next() % (most + 1) {
            let line: &[u8] =
                [&b"\n"[..], b"a\n", b"bb\n", b"a\r\n", b"long line\n"][(next() % 5) as usize];
            text.extend_from_slice(line);
        }
        text.extend_from_slice([&b""[..], b"a", b"bb"][(next() % 3) as usize]);
        text
    }

    #[test]
    fn lines_are_counted_as_by_comparing_all_of_them() {
        for seed in 0..20_000_u64 {
            let most = [4, 9, 30][(seed % 3) as usize];
            let (start, end) = (text(seed * 7 + 1, most), text(seed * 7 + 2, most));
            let both = |middle: Vec<u8>| [&start[..], &middle, &end].concat();
            let before = both(text(seed * 7 + 3, seed % 9));
            let after = both(text(seed * 7 + 4, seed % 11));
            assert_eq!(
                changed_lines(&before, &after),
                compared(&before, &after),
                "{:?} {:?}",
                before.escape_ascii().to_string(),
                after.escape_ascii().to_string()
            );
        }
    }

    #[test]
    fn ends_that_are_no_lines_are_kept() {
        for (before, after, left) in [
            (&b"a\nb"[..], &b"a\nb\nc"[..], (&b"b"[..], &b"b\nc"[..])),
            (b"a\nb\n", b"b\n", (b"a\n", b"")),
            (b"xb\n", b"b\n", (b"xb\n", b"b\n")),
            (b"a\n", b"a\n", (b"", b"")),
            (b"a", b"a", (b"", b"")),
            (b"", b"a", (b"", b"a")),
            (b"a\nc\nz", b"b\nc\nz", (b"a\n", b"b\n")),
        ] {
            assert_eq!(without_common_ends(before, after), left);
        }
        // Ends of more than a block, of more than one, and of whole blocks.
        for (start, end) in [(0, 64), (1, 128), (63, 65), (64, 0), (130, 200)] {
            let text = |middle: &str| {
                let parts = ["s\n".repeat(start), middle.to_owned(), "e\n".repeat(end)];
                parts.concat().into_bytes()
            };
            let (before, after) = (text("a\nx\n"), text("b\nx\ny\n"));
            let left = without_common_ends(&before, &after);
            let expected = (&b"a\nx\n"[..], &b"b\nx\ny\n"[..]);
            assert_eq!(left, expected, "{start} {end}");
        }
    }
}
