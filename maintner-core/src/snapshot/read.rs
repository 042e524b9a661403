//! Opening a snapshot.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use zerocopy::{FromBytes as _, IntoBytes as _};

use super::{
    ALIGN, BYTE_ORDER, Check, Header, MAGIC, Section, Sections, VERSION, base, hash, visit,
};
use crate::corpus::Anomalies;
use crate::corpus::apply::State;
use crate::corpus::chunk::{Column, Index, Lists, MappedRows, Row};
use crate::log::Segment;
use crate::map::Map;

/// Read ahead on opening: the parts that are needed first.
const FRONT: usize = 64 << 10;

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

/// What a snapshot holds, and what is to be checked of it yet.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) state: State,
    pub(crate) check: Check,
}

/// The state that the snapshot at `path` holds, if it is one of the log in `segments`.
pub(crate) fn open(path: &Path, segments: &[Segment]) -> Result<Opened, Unusable> {
    let len = std::fs::metadata(path).map_err(|_| Unusable::Absent)?.len();
    let map = Map::open(path, len).map_err(|_| Unusable::Absent)?;
    // Questions read a row here and there; the check will read the rest in order.
    map.expect_order(false);
    map.prefetch(0..map.bytes().len().min(FRONT));
    open_map(map, segments)
}

/// As [`open`], of a file in memory.
pub(super) fn open_map(map: Map, segments: &[Segment]) -> Result<Opened, Unusable> {
    let map = Arc::new(map);
    let (header, table) = read_table(map.bytes()).ok_or(Unusable::Malformed)?;
    let mut reader = Reader {
        map: &map,
        sections: table.iter(),
    };
    let base = reader.checked_bytes()?;
    let base = std::str::from_utf8(base).map_err(|_| Unusable::Malformed)?;
    let numbers = reader.checked_bytes()?;
    let numbers = <[u64]>::ref_from_bytes(numbers).map_err(|_| Unusable::Malformed)?;
    let (&records, counts) = numbers.split_first().ok_or(Unusable::Malformed)?;
    let (log, starts) = base::reopen(base, segments)
        .ok()
        .flatten()
        .ok_or(Unusable::Foreign)?;
    log.expect_order(false);
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
    if reader.sections.next().is_some() {
        return Err(Unusable::Malformed);
    }
    let check = Check::new(Arc::clone(&map), table.to_vec(), state.log.clone());
    Ok(Opened { state, check })
}

/// The header and the table, with every range checked.
fn read_table(bytes: &[u8]) -> Option<(Header, &[Section])> {
    let (header, rest) = Header::read_from_prefix(bytes).ok()?;
    let plain = Header { hash: 0, ..header };
    let fits = header.magic == MAGIC
        && header.version == VERSION
        && header.byte_order == BYTE_ORDER
        && header.len == bytes.len() as u64
        && header.hash == hash(plain.as_bytes());
    if !fits {
        return None;
    }
    let table_len = usize::try_from(header.sections)
        .ok()?
        .checked_mul(size_of::<Section>())?;
    let table = rest.get(..table_len)?;
    let whole = hash(table) == header.table_hash;
    let table = <[Section]>::ref_from_bytes(table).ok()?;
    let inside = |section: &Section| {
        let end = section.offset.checked_add(section.len);
        section.offset.is_multiple_of(ALIGN) && end.is_some_and(|end| end <= header.len)
    };
    (whole && table.iter().all(inside)).then_some((header, table))
}

pub(super) fn range(section: &Section) -> Range<usize> {
    // Checked against the length of the file, which is in memory.
    section.offset as usize..(section.offset + section.len) as usize
}

struct Reader<'a> {
    map: &'a Arc<Map>,
    sections: std::slice::Iter<'a, Section>,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<&'a Section, Unusable> {
        self.sections.next().ok_or(Unusable::Malformed)
    }

    /// A section that is needed at once.
    fn checked_bytes(&mut self) -> Result<&'a [u8], Unusable> {
        let section = self.next()?;
        let bytes = &self.map.bytes()[range(section)];
        let whole = hash(bytes) == section.hash;
        whole.then_some(bytes).ok_or(Unusable::Malformed)
    }

    fn rows<T: Row>(&mut self) -> Result<MappedRows<T>, Unusable> {
        let section = self.next()?;
        self.rows_of(section)
    }

    fn rows_of<T: Row>(&self, section: &Section) -> Result<MappedRows<T>, Unusable> {
        MappedRows::new(Arc::clone(self.map), range(section)).ok_or(Unusable::Malformed)
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
        let section = self.next()?;
        let slots = Column::mapped(self.rows_of(section)?).ok_or(Unusable::Malformed)?;
        let used = u32::try_from(section.used).map_err(|_| Unusable::Malformed)?;
        *index = Index::mapped(slots, used, section.secret).ok_or(Unusable::Malformed)?;
        Ok(())
    }
}
