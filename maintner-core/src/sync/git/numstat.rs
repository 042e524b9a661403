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

use super::quote::quoted;
use crate::pb::GitDiffTreeFile;

/// Files changed against the only parent, by name. Root commits, merges, and commits whose
/// parent is not there have none.
///
/// # Errors
/// The reason, when an object is missing or broken.
pub(super) fn of_commit(
    objects: &gix_odb::Handle,
    raw: &[u8],
) -> Result<Vec<GitDiffTreeFile>, String> {
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
    fn count(&self, objects: &gix_odb::Handle) -> Result<GitDiffTreeFile, String> {
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
fn content(objects: &gix_odb::Handle, entry: Option<Entry>) -> Result<Vec<u8>, String> {
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

fn changed_lines(before: &[u8], after: &[u8]) -> (u32, u32) {
    let input = InternedInput::new(byte_lines(before), byte_lines(after));
    let diff = Diff::compute(Algorithm::Myers, &input);
    (diff.count_additions(), diff.count_removals())
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
