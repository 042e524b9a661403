//! Blocks by number, whose versions share memory.
//!
//! A published version holds all blocks, so a writer that changes one has to leave the list of
//! them alone, too. The list is in groups: what is copied for a change is the list of groups and
//! one of them, not an entry for each block there is, which would make every update take longer
//! the more there is.

use std::sync::Arc;

/// Blocks of a group.
const GROUP: usize = 256;

type Group<B> = [Option<Arc<B>>; GROUP];

/// Blocks, some of which may be absent.
#[derive(Debug)]
pub(super) struct Spine<B: ?Sized> {
    groups: Arc<Vec<Option<Arc<Group<B>>>>>,
}

impl<B: ?Sized> Clone for Spine<B> {
    fn clone(&self) -> Self {
        Self {
            groups: Arc::clone(&self.groups),
        }
    }
}

impl<B: ?Sized> Default for Spine<B> {
    fn default() -> Self {
        Self {
            groups: Arc::default(),
        }
    }
}

impl<B: ?Sized> Spine<B> {
    pub(super) fn get(&self, number: usize) -> Option<&B> {
        let group = self.groups.get(number / GROUP)?.as_ref()?;
        group[number % GROUP].as_deref()
    }

    /// The block of that number, which `make` makes when there is none. Whatever is on the way to
    /// it belongs to this version alone afterwards; the block itself may be shared.
    pub(super) fn block(&mut self, number: usize, make: impl FnOnce() -> Arc<B>) -> &mut Arc<B> {
        let groups = Arc::make_mut(&mut self.groups);
        let index = number / GROUP;
        if groups.len() <= index {
            groups.resize(index + 1, None);
        }
        let group = groups[index].get_or_insert_with(|| Arc::new(std::array::from_fn(|_| None)));
        Arc::make_mut(group)[number % GROUP].get_or_insert_with(make)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_copies_one_group_and_leaves_other_versions_alone() {
        let mut spine = Spine::<[u32]>::default();
        for number in [0, 1, 255, 256, 70_000] {
            spine.block(number, || [number as u32; 4].into());
        }
        let before = spine.clone();
        let block = spine.block(256, || unreachable!("it is there"));
        Arc::make_mut(block)[0] = 7;
        spine.block(2, || [2; 4].into());
        let first = |spine: &Spine<[u32]>, number| spine.get(number).map(|block| block[0]);
        assert_eq!(
            (first(&spine, 256), first(&before, 256)),
            (Some(7), Some(256))
        );
        assert_eq!((first(&spine, 2), first(&before, 2)), (Some(2), None));
        assert_eq!(
            (first(&spine, 70_000), first(&spine, 3)),
            (Some(70_000), None)
        );
        assert_eq!(first(&spine, 1 << 40), None);
        let shared = |index: usize| match (&spine.groups[index], &before.groups[index]) {
            (Some(now), Some(then)) => Arc::ptr_eq(now, then),
            (now, then) => now.is_none() && then.is_none(),
        };
        let copied: Vec<usize> = (0..spine.groups.len()).filter(|&at| !shared(at)).collect();
        assert_eq!(copied, [0, 1], "the groups of the two blocks that changed");
    }
}
