//! Links of an archive, kept until all files are written.

use std::collections::HashMap;

/// Where a link points.
#[derive(Debug)]
pub(super) enum Link {
    Symbolic(Vec<u8>),
    Hard(Vec<u8>),
}

impl Link {
    pub(super) fn target(&self) -> &[u8] {
        match self {
            Self::Symbolic(target) | Self::Hard(target) => target,
        }
    }
}

/// Links to be made after all files, in the archive's order; the last entry of a name wins.
#[derive(Debug, Default)]
pub(super) struct Deferred {
    links: HashMap<Vec<u8>, (u64, Link)>,
    next: u64,
    bytes: usize,
}

impl Deferred {
    /// Returns the bytes held after the addition.
    pub(super) fn add(&mut self, path: Vec<u8>, link: Link) -> usize {
        self.bytes += path.len() + link.target().len();
        self.next += 1;
        self.links.insert(path, (self.next, link));
        self.bytes
    }

    /// A later file or directory of the same name replaces the link.
    pub(super) fn forget(&mut self, path: &[u8]) {
        if !self.links.is_empty() {
            self.links.remove(path);
        }
    }

    pub(super) fn into_ordered(self) -> Vec<(Vec<u8>, Link)> {
        let mut links: Vec<_> = self.links.into_iter().collect();
        links.sort_unstable_by_key(|(_, (order, _))| *order);
        links
            .into_iter()
            .map(|(path, (_, link))| (path, link))
            .collect()
    }
}
