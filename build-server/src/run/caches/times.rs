//! The modification times of the files of a checkout into which caches are put back.
//!
//! Tools that go by times must see what they would see in a directory where somebody works: a file
//! is older than what was made of it, and newer than what was made of another content. What a cache
//! remembers of each file is therefore the time that it has had since its content is what it is.

use std::collections::BTreeMap;

use build_core::name::Name;
use build_core::tarutil::{EntryHeader, EntryKind, Modified};

use super::manifest::Hit;

/// Files that say how others are checked out: their contents change without a change of theirs.
const OF_GIT: [&[u8]; 2] = [b".gitattributes", b".gitmodules"];
/// Times that are remembered one by one. With more of them all files get the latest one: then
/// some things are made again, and nothing is kept that should not be.
const REMEMBERED: usize = 20_000;

/// The times of the files of a checkout, in seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::run) struct Times {
    /// Of what has not changed since the first of a row of caches.
    base: i64,
    /// Of what has: later than all that was made before. A submodule stands for its files.
    later: BTreeMap<Name, i64>,
    /// What the machine took for the present: nothing got a later time there.
    present: i64,
}

impl Times {
    /// Those of a checkout as it is packed.
    pub(in crate::run) fn packed(base: i64) -> Self {
        Self {
            base,
            later: BTreeMap::new(),
            present: i64::MAX,
        }
    }

    /// What caches ask for on a machine whose clock says `present`; `None` when there are none.
    pub(in crate::run) fn of(hits: &[Hit], present: i64) -> Option<Self> {
        let base = hits.iter().map(Hit::base).min()?;
        let newest = hits.iter().map(|hit| hit.manifest.newest).max()?;
        let fresh = newest.saturating_add(1);
        let changed = || hits.iter().flat_map(Hit::changed);
        if changed().any(is_of_git) {
            return Some(Self {
                present,
                ..Self::packed(fresh)
            });
        }
        let mut later = BTreeMap::new();
        for (name, time) in hits.iter().flat_map(|hit| &hit.manifest.later) {
            let known = later.entry(name.clone()).or_insert(*time);
            *known = (*known).max(*time);
        }
        later.extend(changed().map(|name| (name.clone(), fresh)));
        Some(Self {
            base,
            later,
            present,
        })
    }

    /// What the next cache remembers: the time of most files, and those of others.
    pub(super) fn remembered(&self) -> (i64, Vec<(Name, i64)>) {
        if self.later.len() > REMEMBERED {
            let latest = self.later.values().copied().max();
            return (latest.unwrap_or(self.base).max(self.base), Vec::new());
        }
        let later = self.later.iter();
        (
            self.base,
            later.map(|(name, time)| (name.clone(), *time)).collect(),
        )
    }

    /// That of an entry of the checkout; `None`: as it is. The repository itself keeps its times.
    pub(in crate::run) fn of_entry(&self, entry: &EntryHeader) -> Option<Modified> {
        let is_own = entry
            .path()
            .split(|b| *b == b'/')
            .any(|part| part == b".git");
        if is_own || *entry.kind() != EntryKind::File {
            return None;
        }
        let path = entry.path().strip_prefix(b"./").unwrap_or(entry.path());
        Some(Modified {
            seconds: self.of_path(path),
            nanos: 0,
        })
    }

    /// Whether a file that has this time now still has the one it was given.
    pub(super) fn gave(&self, path: &[u8], seconds: i64) -> bool {
        let given = self.of_path(path);
        // The machine gives nothing a time of the future.
        seconds == given || (self.present..=given).contains(&seconds)
    }

    fn of_path(&self, path: &[u8]) -> i64 {
        let slashes = (0..path.len()).filter(|at| path[*at] == b'/');
        let known = slashes.chain([path.len()]);
        let known = known.filter_map(|end| self.later.get(&path[..end]));
        known.copied().max().unwrap_or(self.base)
    }
}

fn is_of_git(name: &Name) -> bool {
    let last = name.as_bytes().rsplit(|b| *b == b'/').next();
    last.is_some_and(|last| OF_GIT.contains(&last))
}

#[cfg(test)]
mod tests {
    use build_core::clock::Timestamp;
    use build_core::ids::CommitHash;

    use super::super::manifest::Manifest;
    use super::*;

    fn hit(base: i64, newest: i64, later: &[(&str, i64)], changed: &[&str]) -> Hit {
        let manifest = Manifest {
            commit: CommitHash::new("0123456789abcdef0123456789abcdef01234567").unwrap(),
            base: Timestamp::from_seconds(base),
            contents: "c".into(),
            inputs: String::new(),
            newest,
            later: later.iter().map(|(n, t)| (Name::from(*n), *t)).collect(),
            touched: Vec::new(),
        };
        Hit {
            path: "out".into(),
            manifest,
            since: changed.iter().map(|name| Name::from(*name)).collect(),
        }
    }

    #[test]
    fn a_file_is_newer_than_what_was_made_of_another_content() {
        let hit = hit(7, 20, &[("was", 12), ("sub", 13)], &["is", "mod"]);
        let times = Times::of(&[hit], 100).unwrap();
        let of = |path: &str| times.of_path(path.as_bytes());
        assert_eq!((of("other"), of("was"), of("is")), (7, 12, 21));
        // A submodule that is another one stands for its files.
        assert_eq!((of("mod/a/b"), of("sub/x"), of("model")), (21, 13, 7));
        let (base, later) = times.remembered();
        assert_eq!((base, later.len()), (7, 4));
        assert!(later.contains(&("is".into(), 21)));
    }

    #[test]
    fn of_several_caches_the_latest_time_counts() {
        let one = hit(7, 20, &[("a", 12)], &[]);
        let two = hit(9, 30, &[("a", 15)], &["b"]);
        let times = Times::of(&[one, two], 100).unwrap();
        let of = |path: &str| times.of_path(path.as_bytes());
        assert_eq!((of("c"), of("a"), of("b")), (7, 15, 31));
        assert_eq!(Times::of(&[], 100), None);
    }

    #[test]
    fn everything_is_new_when_it_is_checked_out_in_another_way() {
        let hit = hit(7, 20, &[("a", 12)], &["sub/.gitattributes"]);
        let times = Times::of(&[hit], 100).unwrap();
        assert_eq!((times.of_path(b"a"), times.of_path(b"b")), (21, 21));
        assert_eq!(times.remembered(), (21, Vec::new()));
    }

    #[test]
    fn times_without_number_become_one() {
        let many: Vec<String> = (0..=REMEMBERED).map(|n| n.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let times = Times::of(&[hit(7, 20, &[], &many)], 100).unwrap();
        assert_eq!(times.remembered(), (21, Vec::new()));
    }

    #[test]
    fn what_a_build_has_touched_is_seen() {
        let times = Times::of(&[hit(7, 20, &[], &["new"])], 20).unwrap();
        assert!(times.gave(b"old", 7) && !times.gave(b"old", 8) && !times.gave(b"old", 21));
        // Put there in the second in which the machine's clock said 20.
        assert!(times.gave(b"new", 20) && times.gave(b"new", 21) && !times.gave(b"new", 22));
    }

    #[test]
    fn only_files_of_the_checkout_get_other_times() {
        let times = Times::of(&[hit(7, 20, &[], &["sub/new"])], 100).unwrap();
        let of = |entry: EntryHeader| times.of_entry(&entry).map(|time| time.seconds);
        assert_eq!(of(EntryHeader::file("sub/new", 1)), Some(21));
        assert_eq!(of(EntryHeader::file("./sub/new", 1)), Some(21));
        assert_eq!(of(EntryHeader::file("new", 1)), Some(7));
        assert_eq!(of(EntryHeader::file(".git/index", 1)), None);
        assert_eq!(of(EntryHeader::file("sub/.git", 1)), None);
        assert_eq!(of(EntryHeader::dir("sub")), None);
        assert_eq!(of(EntryHeader::symlink("l", "sub/new")), None);
    }
}
