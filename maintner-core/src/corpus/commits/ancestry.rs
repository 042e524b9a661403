//! Who descends from whom, answered without walking the history.
//!
//! Each commit knows its generation (longest way to a root), its depth along first parents, a
//! *jump* to an earlier first parent and the nearest merge on that line. The jumps form a skip
//! list (each either repeats the parent's jump twice or goes to the parent), so that "is A on
//! the first-parent line of C" takes logarithmic time; only merges newer than A are looked
//! into beyond that.

use std::ops::Deref;

use hashbrown::HashSet;
use zerocopy::{FromBytes, FromZeros as _, Immutable, IntoBytes, KnownLayout};

use super::{CommitBatch, Commits};

/// Place of a commit in the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Graph {
    /// 0: no parent; parent row + 1; or `MERGE` plus a row of the merges.
    link: u32,
    /// 1 + that of the highest parent; 0 before it is computed; `UNKNOWN` while an ancestor is
    /// known only by name.
    generation: u32,
    /// First parents below, itself included; meaningful for known generations only.
    depth: u32,
    /// Row of an earlier first parent (of itself for roots).
    jump: u32,
    /// Row + 1 of the nearest merge among itself and its first parents.
    merge: u32,
}

const MERGE: u32 = 1 << 31;
const UNKNOWN: u32 = u32::MAX;
/// Being computed: met again, it is its own ancestor.
const PENDING: u32 = u32::MAX - 1;

impl Graph {
    pub(super) fn merge_link(merge: u32) -> u32 {
        MERGE | merge
    }

    pub(super) fn unsettled(link: u32) -> Self {
        Self {
            link,
            ..Self::new_zeroed()
        }
    }

    fn is_known(self) -> bool {
        self.generation < PENDING
    }
}

/// Rows of a commit's parents; nearly always one, which is kept in the commit itself.
#[derive(Debug)]
pub(crate) enum Parents<'a> {
    One([u32; 1]),
    Listed(&'a [u32]),
}

impl Parents<'_> {
    pub(crate) fn into_owned(self) -> Vec<u32> {
        self.to_vec()
    }
}

impl Deref for Parents<'_> {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        match self {
            Self::One(parent) => parent,
            Self::Listed(parents) => parents,
        }
    }
}

impl Commits {
    /// Rows of the parents, in order.
    pub(crate) fn parents(&self, row: u32) -> Parents<'_> {
        match self.graph.get(row).link {
            0 => Parents::Listed(&[]),
            link if link & MERGE != 0 => Parents::Listed(self.merges.get(link & !MERGE)),
            link => Parents::One([link - 1]),
        }
    }

    /// Row of the first parent.
    pub(crate) fn first_parent(&self, row: u32) -> Option<u32> {
        match self.graph.get(row).link {
            0 => None,
            link if link & MERGE != 0 => self.merges.get(link & !MERGE).first().copied(),
            link => Some(link - 1),
        }
    }

    /// Whether `ancestor` can be reached from `commit` by one or more steps to a parent.
    pub(crate) fn has_ancestor(&self, commit: u32, ancestor: u32) -> bool {
        let target = self.graph.get(ancestor);
        let mut seen = HashSet::new();
        let mut heads = self.parents(commit).into_owned();
        while let Some(head) = heads.pop() {
            if head == ancestor {
                return true;
            }
            let graph = self.graph.get(head);
            if !graph.is_known() {
                if seen.insert(head) {
                    heads.extend_from_slice(&self.parents(head));
                }
                continue;
            }
            // Everything below a known generation is known, and lower.
            if !target.is_known() || graph.generation <= target.generation {
                continue;
            }
            if self.on_first_parent_line(head, graph, ancestor, target) {
                return true;
            }
            self.push_sides(graph, target, &mut seen, &mut heads);
        }
        false
    }

    /// Pushes the other parents of all merges on the first-parent line above `target`.
    fn push_sides(
        &self,
        from: Graph,
        target: Graph,
        seen: &mut HashSet<u32>,
        heads: &mut Vec<u32>,
    ) {
        let mut next = from.merge;
        while let Some(merge) = next.checked_sub(1) {
            // Below a merge seen before, everything was pushed then.
            if self.graph.get(merge).generation <= target.generation || !seen.insert(merge) {
                return;
            }
            let parents = self.parents(merge);
            heads.extend_from_slice(parents.get(1..).unwrap_or_default());
            next = parents
                .first()
                .map_or(0, |&first| self.graph.get(first).merge);
        }
    }

    fn on_first_parent_line(
        &self,
        mut row: u32,
        mut graph: Graph,
        ancestor: u32,
        target: Graph,
    ) -> bool {
        while graph.depth > target.depth {
            let jump = self.graph.get(graph.jump);
            let next = if jump.depth >= target.depth {
                graph.jump
            } else {
                let Some(parent) = self.first_parent(row) else {
                    return false;
                };
                parent
            };
            let lower = self.graph.get(next);
            // Always so, unless a snapshot is damaged.
            if lower.depth >= graph.depth {
                return false;
            }
            (row, graph) = (next, lower);
        }
        row == ancestor
    }

    /// Computes the places of the batch's commits, once all of its commits are there.
    pub(crate) fn settle(&mut self, batch: &CommitBatch) {
        if batch.disturbed {
            for row in 0..self.graph.len() {
                if self.graph.get(row).generation != 0 {
                    self.graph.update(row, |graph| graph.generation = 0);
                }
            }
            (0..self.graph.len()).for_each(|row| self.settle_below(row));
        } else {
            (batch.first..self.graph.len()).for_each(|row| self.settle_below(row));
        }
    }

    fn settle_below(&mut self, row: u32) {
        let mut stack = vec![row];
        while let Some(&row) = stack.last() {
            let graph = self.graph.get(row);
            if graph.generation != 0 && graph.generation != PENDING {
                stack.pop();
                continue;
            }
            let parents = self.parents(row);
            if graph.generation == 0 {
                let open = |parent: &u32| self.graph.get(*parent).generation == 0;
                let before = stack.len();
                stack.extend(parents.iter().copied().filter(open));
                if stack.len() > before {
                    self.graph.update(row, |graph| graph.generation = PENDING);
                    continue;
                }
            }
            let placed = self.place(row, &parents);
            self.graph.set(row, placed);
            stack.pop();
        }
    }

    /// The place of a commit whose parents have theirs.
    fn place(&self, row: u32, parents: &[u32]) -> Graph {
        let link = self.graph.get(row).link;
        if self.is_placeholder(row) {
            return Graph {
                generation: UNKNOWN,
                ..Graph::unsettled(link)
            };
        }
        let mut generation = 1;
        for &parent in parents {
            let parent = self.graph.get(parent);
            if !parent.is_known() || parent.generation == 0 {
                return Graph {
                    generation: UNKNOWN,
                    ..Graph::unsettled(link)
                };
            }
            generation = generation.max(parent.generation + 1);
        }
        let Some(&first) = parents.first() else {
            return Graph {
                link,
                generation,
                depth: 1,
                jump: row,
                merge: 0,
            };
        };
        let parent = self.graph.get(first);
        let jump = self.graph.get(parent.jump);
        let far = self.graph.get(jump.jump);
        // Depths fall along jumps, unless a snapshot is damaged.
        let doubled = parent.depth.wrapping_sub(jump.depth) == jump.depth.wrapping_sub(far.depth);
        Graph {
            link,
            generation,
            depth: parent.depth.wrapping_add(1),
            jump: if doubled { jump.jump } else { first },
            merge: if parents.len() > 1 {
                row + 1
            } else {
                parent.merge
            },
        }
    }
}
