//! Opening a snapshot.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;
use zerocopy::FromBytes as _;

use super::{ALIGN, BYTE_ORDER, Header, MAGIC, Section, Sections, VERSION, base, hash, visit};
use crate::corpus::Anomalies;
use crate::corpus::apply::State;
use crate::corpus::chunk::{Column, Index, Lists, MappedRows, Row};
use crate::log::Segment;
use crate::map::Map;
use zerocopy::IntoBytes as _;

/// Why a snapshot is not used; the corpus is then loaded from the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// There is none, or it cannot be read.
    Absent,
    /// Another version or another kind of machine wrote it, or it is damaged.
    Malformed,
    /// It belongs to another log.
    Foreign,
}

/// The state that the snapshot at `path` holds, if it is one of the log in `segments`.
pub(crate) fn open(path: &Path, segments: &[Segment]) -> Result<State, Unusable> {
    let len = std::fs::metadata(path).map_err(|_| Unusable::Absent)?.len();
    let map = Arc::new(Map::open(path, len).map_err(|_| Unusable::Absent)?);
    let (header, table) = read_table(map.bytes()).ok_or(Unusable::Malformed)?;
    let whole = |section: &Section| hash(&map.bytes()[range(section)]) == section.hash;
    if !table.par_iter().all(whole) {
        return Err(Unusable::Malformed);
    }
    let mut reader = Reader {
        map: &map,
        sections: table.iter(),
    };
    let base = reader.bytes()?;
    let base = std::str::from_utf8(base).map_err(|_| Unusable::Malformed)?;
    let (log, starts) = base::reopen(base, segments)
        .ok()
        .flatten()
        .ok_or(Unusable::Foreign)?;
    let numbers = reader.bytes()?;
    let numbers = <[u64]>::ref_from_bytes(numbers).map_err(|_| Unusable::Malformed)?;
    let (&records, counts) = numbers.split_first().ok_or(Unusable::Malformed)?;
    let mut state = State {
        position: log.end(),
        log,
        segments: Arc::new(starts),
        records,
        anomalies: Anomalies::from_counts(counts).ok_or(Unusable::Malformed)?,
        ..State::default()
    };
    if state.position != header.position {
        return Err(Unusable::Malformed);
    }
    visit(&mut state, &mut reader)?;
    Ok(state)
}

/// The header and the table, with every range checked.
fn read_table(bytes: &[u8]) -> Option<(Header, &[Section])> {
    let (header, _) = Header::read_from_prefix(bytes).ok()?;
    let plain = Header { hash: 0, ..header };
    let fits = header.magic == MAGIC
        && header.version == VERSION
        && header.byte_order == BYTE_ORDER
        && header.hash == hash(plain.as_bytes());
    if !fits {
        return None;
    }
    let table = bytes.get(usize::try_from(header.table_offset).ok()?..)?;
    let table = <[Section]>::ref_from_bytes(table).ok()?;
    let whole =
        table.len() as u64 == header.sections && hash(table.as_bytes()) == header.table_hash;
    let inside = |section: &Section| {
        let end = section.offset.checked_add(section.len);
        section.offset.is_multiple_of(ALIGN) && end.is_some_and(|end| end <= header.table_offset)
    };
    (whole && table.iter().all(inside)).then_some((header, table))
}

fn range(section: &Section) -> Range<usize> {
    // Checked against the length of the file, which is in memory.
    section.offset as usize..(section.offset + section.len) as usize
}

struct Reader<'a> {
    map: &'a Arc<Map>,
    sections: std::slice::Iter<'a, Section>,
}

impl<'a> Reader<'a> {
    fn next_range(&mut self) -> Result<Range<usize>, Unusable> {
        self.sections.next().map(range).ok_or(Unusable::Malformed)
    }

    fn bytes(&mut self) -> Result<&'a [u8], Unusable> {
        let range = self.next_range()?;
        Ok(&self.map.bytes()[range])
    }

    fn rows<T: Row>(&mut self) -> Result<MappedRows<T>, Unusable> {
        let range = self.next_range()?;
        MappedRows::new(Arc::clone(self.map), range).ok_or(Unusable::Malformed)
    }
}

impl Sections for Reader<'_> {
    type Error = Unusable;

    fn column<T: Row>(&mut self, column: &mut Column<T>) -> Result<(), Unusable> {
        *column = Column::mapped(self.rows()?).ok_or(Unusable::Malformed)?;
        Ok(())
    }

    fn lists<T: Row>(&mut self, lists: &mut Lists<T>) -> Result<(), Unusable> {
        *lists = Lists::mapped(self.rows()?, self.rows()?).ok_or(Unusable::Malformed)?;
        Ok(())
    }

    fn index(&mut self, index: &mut Index) -> Result<(), Unusable> {
        let slots = Column::mapped(self.rows()?).ok_or(Unusable::Malformed)?;
        let used = u32::read_from_bytes(self.bytes()?).map_err(|_| Unusable::Malformed)?;
        *index = Index::mapped(slots, used).ok_or(Unusable::Malformed)?;
        Ok(())
    }
}
