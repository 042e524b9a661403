//! Making a snapshot.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use xxhash_rust::xxh3::Xxh3;
use zerocopy::IntoBytes as _;

use super::{
    ALIGN, BYTE_ORDER, FIRST, Header, MAGIC, Section, Sections, VERSION, base, hash, visit,
};
use crate::corpus::apply::State;
use crate::corpus::chunk::{Column, Index, Lists, Row};
use crate::log::Segment;
use crate::{Error, Result};

/// Writes a snapshot of `state`, which was loaded from `segments`, to `path`.
///
/// The file appears whole or not at all.
pub(crate) fn write(path: &Path, state: &State, segments: &[Segment]) -> Result<()> {
    let temporary = temporary(path);
    let written = write_file(&temporary, state, segments)
        .and_then(|()| fs::rename(&temporary, path))
        .map_err(Error::io("write", path));
    if written.is_err() {
        // The error that matters is the one of writing.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// A name that no other writer uses, whether in this process or in another.
fn temporary(path: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    path.with_extension(format!("tmp-{}-{number}", std::process::id()))
}

fn write_file(path: &Path, state: &State, segments: &[Segment]) -> io::Result<()> {
    let file = File::create(path)?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    write_to(&mut out, state, segments)?;
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_data()
}

/// Writes a snapshot to the beginning of `out`, which is empty.
pub(super) fn write_to(
    out: &mut (impl Write + Seek),
    state: &State,
    segments: &[Segment],
) -> io::Result<()> {
    let mut writer = Writer {
        out,
        offset: 0,
        sections: Vec::new(),
    };
    writer.bytes(&[0; FIRST as usize])?;
    let base = base::describe(&state.log, segments, state.position);
    writer.section([base.as_bytes()])?;
    writer.section([
        state.records.as_bytes(),
        state.anomalies.as_counts().as_bytes(),
    ])?;
    visit(&mut state.clone(), &mut writer)?;
    let table = std::mem::take(&mut writer.sections);
    if size_of::<Header>() + size_of_val(&table[..]) > FIRST as usize {
        return Err(io::Error::other(
            "the sections do not fit on the first page",
        ));
    }
    let mut header = Header {
        magic: MAGIC,
        version: VERSION,
        byte_order: BYTE_ORDER,
        position: state.position,
        len: writer.offset,
        sections: table.len() as u64,
        table_hash: hash(table.as_bytes()),
        hash: 0,
        unused: 0,
    };
    header.hash = hash(header.as_bytes());
    out.seek(SeekFrom::Start(0))?;
    out.write_all(header.as_bytes())?;
    out.write_all(table.as_bytes())
}

struct Writer<'w, W> {
    out: &'w mut W,
    offset: u64,
    sections: Vec<Section>,
}

impl<W: Write> Writer<'_, W> {
    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.offset += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    fn align(&mut self) -> io::Result<()> {
        let padding = self.offset.next_multiple_of(ALIGN) - self.offset;
        self.bytes(&[0; ALIGN as usize][..padding as usize])
    }

    fn section<'a>(&mut self, parts: impl IntoIterator<Item = &'a [u8]>) -> io::Result<()> {
        self.align()?;
        let offset = self.offset;
        let mut hash = Xxh3::new();
        for part in parts {
            hash.update(part);
            self.bytes(part)?;
        }
        let len = self.offset - offset;
        self.sections.push(Section {
            offset,
            len,
            hash: hash.digest(),
            used: 0,
            secret: 0,
        });
        Ok(())
    }
}

impl<W: Write> Sections for Writer<'_, W> {
    type Error = io::Error;

    fn column<T: Row>(&mut self, column: &mut Column<T>) -> io::Result<()> {
        self.section(column.slices().map(zerocopy::IntoBytes::as_bytes))
    }

    fn lists<T: Row>(&mut self, lists: &mut Lists<T>) -> io::Result<()> {
        let mut offsets = vec![0u64];
        for row in 0..lists.len() {
            let start = offsets[row as usize];
            offsets.push(start + lists.get(row).len() as u64);
        }
        self.section([offsets.as_bytes()])?;
        self.section((0..lists.len()).map(|row| lists.get(row).as_bytes()))
    }

    fn index(&mut self, index: &mut Index) -> io::Result<()> {
        self.section(index.slots().slices().map(zerocopy::IntoBytes::as_bytes))?;
        if let Some(section) = self.sections.last_mut() {
            section.used = index.used().into();
            section.secret = index.secret();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::open;

    #[test]
    fn writers_of_one_file_do_not_disturb_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("corpus.snap");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10 {
                        write(&path, &State::default(), &[]).unwrap();
                        open(&path, &[]).unwrap();
                    }
                });
            }
        });
        let files = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(files, 1, "no temporary file is left");
    }
}
