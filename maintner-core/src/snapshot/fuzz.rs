//! Snapshots that somebody made up.

use std::convert::Infallible;
use std::io::Cursor;
use std::sync::{Arc, LazyLock};

use zerocopy::{FromBytes as _, IntoBytes as _};

use super::read::{open_map, range};
use super::write::write_to;
use super::{Header, Section, Sections, hash, visit};
use crate::corpus::apply::State;
use crate::corpus::chunk::{Column, Index, Lists, Row};
use crate::corpus::load::load;
use crate::log::Segment;
use crate::map::Map;
use crate::source::{MemoryLog, MutationSink as _, MutationSource as _};
use crate::{Options, View, sample};

/// Fuzz entry: changes bytes of a good snapshot and makes its checksums right again; whatever
/// comes out is refused, or answers and can be updated. Two bytes cut the file, then each
/// three say where and what to write.
pub fn fuzz_snapshot(data: &[u8]) {
    let Some((&cut, edits)) = data.split_first_chunk::<2>() else {
        return;
    };
    let mut bytes = good().to_vec();
    for edit in edits.as_chunks::<3>().0 {
        let at = usize::from(u16::from_be_bytes([edit[0], edit[1]])) % bytes.len();
        bytes[at] = edit[2];
    }
    let cut = usize::from(u16::from_be_bytes(cut)) % bytes.len();
    bytes.truncate(bytes.len() - cut);
    let mut log = log();
    let segments = |log: &MemoryLog| log.segments().expect("a log in memory can be listed");
    // As it is it is refused or, if only columns changed, found out.
    if let Ok(opened) = open_map(Map::held(&bytes), &segments(&log)) {
        opened.check.is_sound();
    }
    make_right(&mut bytes);
    let Ok(opened) = open_map(Map::held(&bytes), &segments(&log)) else {
        return;
    };
    ask(&opened.state);
    let mut state = opened.state;
    log.append_mutations(&sample::mutations())
        .expect("a log in memory can be written");
    if load(&mut state, &segments(&log), &Options::default()).is_ok() {
        ask(&state);
    }
}

fn log() -> MemoryLog {
    MemoryLog::of(&sample::mutations())
}

/// Replaces the indexes of an empty state by ones that are the same in every process: what
/// failed is to fail again.
struct KnownSecrets;

impl Sections for KnownSecrets {
    type Error = Infallible;

    fn column<T: Row>(&mut self, _: &mut Column<T>) -> Result<(), Infallible> {
        Ok(())
    }

    fn lists<T: Row>(&mut self, _: &mut Lists<T>) -> Result<(), Infallible> {
        Ok(())
    }

    fn index(&mut self, index: &mut Index) -> Result<(), Infallible> {
        *index = Index::with_secret(0);
        Ok(())
    }
}

/// A snapshot of the example.
fn good() -> &'static [u8] {
    static GOOD: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let segments: Vec<Segment> = log().segments().expect("a log in memory can be listed");
        let mut state = State::default();
        let Ok(()) = visit(&mut state, &mut KnownSecrets);
        load(&mut state, &segments, &Options::default()).expect("the example is whole");
        let mut out = Cursor::new(Vec::new());
        write_to(&mut out, &state, &segments).expect("memory can be written");
        out.into_inner()
    });
    &GOOD
}

/// Puts the right checksums where they are looked at on opening.
fn make_right(bytes: &mut [u8]) -> Option<()> {
    let len = bytes.len() as u64;
    let (mut header, _) = Header::read_from_prefix(bytes).ok()?;
    let rows = usize::try_from(header.sections).ok()?;
    let end = rows.checked_mul(size_of::<Section>())?;
    let end = end.checked_add(size_of::<Header>())?;
    let table = bytes.get(size_of::<Header>()..end)?.to_vec();
    let mut table = <Vec<Section>>::from_iter(
        table
            .chunks_exact(size_of::<Section>())
            .filter_map(|row| Section::read_from_bytes(row).ok()),
    );
    for section in table.iter_mut().take(2) {
        let inside = section.offset.checked_add(section.len)? <= len;
        section.hash = hash(inside.then(|| &bytes[range(section)])?);
    }
    header.table_hash = hash(table.as_bytes());
    header.len = len;
    header.hash = 0;
    header.hash = hash(header.as_bytes());
    bytes[..size_of::<Header>()].copy_from_slice(header.as_bytes());
    bytes[size_of::<Header>()..end].copy_from_slice(table.as_bytes());
    Some(())
}

/// Asks everything; only that an answer comes matters.
fn ask(state: &State) {
    let view = View::new(Arc::new(state.clone()));
    view.canonical_dump();
    let mut seen = 0;
    let commits: Vec<_> = view.git().commits().take(8).collect();
    for commit in &commits {
        seen += commit.summary().len() + commit.first_parents().take(64).count();
        seen += commit.author().email().len() + commit.files().take(64).count();
        let below = |other: &&_| commit.has_ancestor(other);
        seen += commits.iter().filter(below).count();
    }
    for repo in view.github().repos().take(8) {
        seen += usize::from(repo.issue(3).is_ok());
        for issue in repo.issues().with_tombstones().take(8) {
            seen += issue.title().len() + issue.labels().take(64).count();
        }
    }
    for project in view.gerrit().projects().take(8) {
        seen += project.refs().take(64).count() + project.cls().take(64).count();
    }
    std::hint::black_box(seen);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::snapshot::FIRST;

    #[test]
    fn what_was_not_changed_opens_and_is_sound() {
        let mut bytes = good().to_vec();
        make_right(&mut bytes).unwrap();
        assert_eq!(bytes, good());
        let opened = open_map(Map::held(&bytes), &log().segments().unwrap()).unwrap();
        assert_eq!(opened.check.is_sound(), Some(true));
        let view = View::new(Arc::new(opened.state));
        let wanted = sample::corpus().view().canonical_dump();
        assert_eq!(view.canonical_dump().lines(), wanted.lines());
    }

    #[test]
    fn an_index_that_names_rows_that_do_not_exist() {
        fuzz_snapshot(b"\0\0\xc6\xf4\xfe\xac\xac\xac\xac\xac\xac\xac");
    }

    #[test]
    fn each_damage_of_a_column_is_found_and_harms_nobody() {
        for at in (FIRST as usize..good().len()).step_by(211) {
            let [high, low] = u16::try_from(at).unwrap().to_be_bytes();
            for value in [0, 0x7f, 0xff] {
                fuzz_snapshot(&[0, 0, high, low, value]);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_snapshot_makes_trouble(
            cut in prop_oneof![4 => Just(0u16), 1 => any::<u16>()],
            edits in proptest::collection::vec((any::<u16>(), any::<u8>()), 0..12),
        ) {
            let mut data = cut.to_be_bytes().to_vec();
            for (at, value) in edits {
                data.extend(at.to_be_bytes());
                data.push(value);
            }
            fuzz_snapshot(&data);
        }
    }
}
