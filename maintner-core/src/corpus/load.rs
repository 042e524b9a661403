//! From segments to operations: which bytes are new, cut into units, scanned by all cores while
//! the batch before is applied.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use rayon::prelude::*;

use super::Options;
use super::apply::{Round, State, Touched};
use super::checked::Checked;
use super::scan::{Scanned, Unit, scan};
use super::text::{MAX_LOG, Piece, Texts};
use crate::log::{LogPosition, Segment, SegmentData, SegmentName, Sha224Hex};
use crate::map::Map;
use crate::{Error, Result};

/// About this much is scanned by one task.
const UNIT: usize = 8 << 20;
/// About this much is applied in one go; bounds what loading needs besides the result.
const BATCH: usize = 64 << 20;
/// So many batches before its use, a batch is read from the disk: what a disk gives varies.
const AHEAD: usize = 2;
/// Additions up to this size are read into memory rather than mapped.
const READ: u64 = 1 << 20;

/// The new part of one segment.
#[derive(Debug)]
struct Fresh {
    path: PathBuf,
    unit: Unit,
    /// The hash that the whole segment must have, if all of it is new.
    sha224: Option<Sha224Hex>,
    /// Whether it may end in the middle of a record: a write may be under way.
    last: bool,
}

/// Brings `state` up to the end of `segments`.
///
/// Returns what was touched, or nothing when there was nothing new. On errors `state` is left
/// in the middle; callers keep a clone.
pub(crate) fn load(
    state: &mut State,
    segments: &[Segment],
    options: &Options,
) -> Result<Option<Touched>> {
    let before = state.clone();
    match try_load(state, segments, options, UNIT) {
        Err(Failure::CutsDoNotJoin) => {
            *state = before;
            try_load(state, segments, options, usize::MAX / 2)
        }
        done => done,
    }
    .map_err(Failure::into_error)
}

enum Failure {
    /// A text imitated a record header at its very own offset.
    CutsDoNotJoin,
    Error(Error),
}

impl Failure {
    fn into_error(self) -> Error {
        match self {
            Self::Error(error) => error,
            Self::CutsDoNotJoin => unreachable!("whole segments are not cut"),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

fn try_load(
    state: &mut State,
    segments: &[Segment],
    options: &Options,
    unit_size: usize,
) -> Result<Option<Touched>, Failure> {
    let mut fresh = add_pieces(state, segments)?;
    let checked = checked_before(&mut fresh, options);
    let touched = replay(state, &fresh, options, unit_size)?;
    checked.into_iter().for_each(Checked::keep);
    Ok(touched)
}

/// Takes the hashes from segments that are as they were when they were compared with them.
fn checked_before(fresh: &mut [Fresh], options: &Options) -> Option<Checked> {
    let first = fresh.iter().find(|fresh| fresh.sha224.is_some())?;
    let wanted = options.verify && options.remembers_checks();
    let mut checked = Checked::beside(&first.path, wanted);
    for segment in fresh.iter_mut().filter(|fresh| fresh.sha224.is_some()) {
        if checked.knows(&segment.path) {
            segment.sha224 = None;
        }
    }
    Some(checked)
}

/// Applies what is in `state`'s log already.
fn replay(
    state: &mut State,
    fresh: &[Fresh],
    options: &Options,
    unit_size: usize,
) -> Result<Option<Touched>, Failure> {
    if fresh.is_empty() {
        return Ok(None);
    }
    let batches = batches(&state.log, fresh, unit_size);
    let texts = state.log.clone();
    let read = |index: usize| match batches.get(index) {
        Some(batch) => {
            prefetch(&texts, batches.get(index + AHEAD));
            scan_batch(&texts, batch, options)
        }
        None => Ok(Vec::new()),
    };
    let mut round = Round::on(state);
    let start = state.position;
    for batch in batches.iter().take(AHEAD) {
        prefetch(&texts, Some(batch));
    }
    let mut next = read(0)?;
    for index in 0..batches.len() {
        let current = std::mem::take(&mut next);
        let (following, ()) =
            rayon::join(|| read(index + 1), || state.absorb(&current, &mut round));
        next = following?;
        // All segments so far: names are compared with their first occurrence anywhere.
        forget(&texts, fresh, state.position);
    }
    state.log.truncate(state.position);
    let touched = state.complete(round);
    forget(&texts, fresh, u64::MAX);
    Ok((state.position > start).then_some(touched))
}

/// Has a batch read from the disk while those before it are worked on.
fn prefetch(texts: &Texts, batch: Option<&Batch<'_>>) {
    let units = batch.into_iter().flat_map(|batch| &batch.units);
    units.for_each(|(_, unit)| texts.prefetch(unit.position, unit.len));
}

/// Gives back the memory of new segments up to a position: they are in the page cache if they
/// are needed again.
fn forget(texts: &Texts, fresh: &[Fresh], end: u64) {
    for unit in fresh.iter().map(|segment| segment.unit) {
        let done = end.saturating_sub(unit.position).min(unit.len as u64);
        if done > 0 {
            texts.forget(unit.position, done as usize);
        }
    }
}

/// The state at `position` of `now`'s log, or after the last record that ends before it.
pub(super) fn load_at(now: &State, position: u64, options: &Options) -> Result<State> {
    let origin = now.origin.as_deref();
    let mut state = match origin.filter(|origin| origin.position <= position) {
        Some(origin) => origin.clone(),
        None => State::default(),
    };
    let reached = state.position;
    state.log = now.log.clone();
    state.log.truncate(position);
    state.segments = Arc::new(
        now.segments
            .iter()
            .copied()
            .filter(|&at| at < position)
            .collect(),
    );
    let mut fresh = Vec::new();
    for (start, end) in state.log.ranges() {
        let start = start.max(reached);
        if start >= end {
            continue;
        }
        let segment = state.segments.partition_point(|&base| base <= start);
        // Small pieces are merged, so one may hold several segments.
        let cuts = state.segments[segment..]
            .iter()
            .copied()
            .take_while(|&base| base < end);
        let mut from = start;
        for to in cuts.chain([end]) {
            let base = state.segments[state.segments.partition_point(|&base| base <= from) - 1];
            let len = usize::try_from(to - from).expect("a loaded piece");
            let unit = Unit {
                position: from,
                len,
                offset: from - base,
            };
            fresh.push(Fresh {
                path: "log".into(),
                unit,
                sha224: None,
                last: to == position,
            });
            from = to;
        }
    }
    let before = state.clone();
    let done = replay(&mut state, &fresh, options, UNIT).or_else(|failure| match failure {
        Failure::CutsDoNotJoin => {
            state = before;
            replay(&mut state, &fresh, options, usize::MAX / 2)
        }
        error @ Failure::Error(_) => Err(error),
    });
    done.map(|_| state).map_err(Failure::into_error)
}

/// Makes the new bytes of each segment part of the state's log.
fn add_pieces(state: &mut State, segments: &[Segment]) -> Result<Vec<Fresh>> {
    let mut fresh = Vec::new();
    for (index, segment) in segments.iter().enumerate() {
        let (base, end) = (segment.base().bytes(), segment.end().bytes());
        let known = state.log.end();
        if end <= known {
            continue;
        }
        if end >= MAX_LOG {
            let source = std::io::ErrorKind::FileTooLarge.into();
            return Err(Error::io("load", &segment.path())(source));
        }
        let offset = known - base;
        let position = state.log.push(piece(segment, offset)?);
        if offset == 0 {
            Arc::make_mut(&mut state.segments).push(base);
        }
        let len = usize::try_from(end - known).expect("mapped or read, so it fits");
        fresh.push(Fresh {
            path: segment.path(),
            unit: Unit {
                position,
                len,
                offset,
            },
            sha224: segment.name().sha224().filter(|_| offset == 0),
            last: index + 1 == segments.len(),
        });
    }
    Ok(fresh)
}

/// The bytes of a segment from `offset` on.
fn piece(segment: &Segment, offset: u64) -> Result<Piece> {
    let start = usize::try_from(offset).expect("an offset in a loaded segment");
    let path = match segment.data() {
        SegmentData::Memory(bytes) if start == 0 => return Ok(Piece::Held(bytes.clone())),
        SegmentData::Memory(bytes) => {
            return Ok(Piece::Held(Bytes::copy_from_slice(&bytes[start..])));
        }
        SegmentData::File(path) => path,
    };
    if segment.len() - offset > READ || matches!(segment.name(), SegmentName::Frozen { .. }) {
        let map = Map::open(path, segment.len())?;
        let range = start..map.bytes().len();
        return Ok(Piece::Mapped(Arc::new(map), range));
    }
    let mut bytes = vec![0; (segment.len() - offset) as usize];
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    file.seek(SeekFrom::Start(offset))
        .and_then(|_| file.read_exact(&mut bytes))
        .map_err(Error::io("read", path))?;
    Ok(Piece::Held(bytes.into()))
}

/// Units that are scanned together, and the segments that are checked meanwhile.
#[derive(Default)]
struct Batch<'a> {
    units: Vec<(&'a Fresh, Unit)>,
    checks: Vec<&'a Fresh>,
}

fn batches<'a>(texts: &Texts, fresh: &'a [Fresh], unit_size: usize) -> Vec<Batch<'a>> {
    let mut batches = vec![Batch::default()];
    let mut filled = 0;
    for segment in fresh {
        for (index, unit) in segment.unit.split(texts, unit_size).into_iter().enumerate() {
            if filled >= BATCH {
                batches.push(Batch::default());
                filled = 0;
            }
            let batch = batches.last_mut().expect("there is always one");
            if index == 0 && segment.sha224.is_some() {
                batch.checks.push(segment);
            }
            batch.units.push((segment, unit));
            filled += unit.len;
        }
    }
    batches
}

fn scan_batch(
    texts: &Texts,
    batch: &Batch<'_>,
    options: &Options,
) -> Result<Vec<Scanned>, Failure> {
    let (checked, scanned) = rayon::join(
        || {
            batch
                .checks
                .par_iter()
                .filter(|_| options.verify)
                .try_for_each(|fresh| check(texts, fresh))
        },
        || -> Vec<Scanned> {
            let read = |(_, unit): &(&Fresh, Unit)| scan(texts, *unit, options.max_payload);
            batch.units.par_iter().map(read).collect()
        },
    );
    checked?;
    for ((fresh, unit), scanned) in batch.units.iter().zip(&scanned) {
        complete(fresh, *unit, scanned)?;
    }
    Ok(scanned)
}

fn check(texts: &Texts, fresh: &Fresh) -> Result<()> {
    let (bytes, _) = texts.from(fresh.unit.position);
    let actual = Sha224Hex::of(&bytes[..fresh.unit.len]);
    match fresh.sha224 {
        Some(wanted) if wanted != actual => Err(Error::HashMismatch {
            path: fresh.path.clone(),
            actual: actual.to_string(),
        }),
        _ => Ok(()),
    }
}

/// Whether a unit was read to its end, or to a place where the log may end.
fn complete(fresh: &Fresh, unit: Unit, scanned: &Scanned) -> Result<(), Failure> {
    let Some(stop) = &scanned.stop else {
        return Ok(());
    };
    if unit.end() != fresh.unit.end() {
        return Err(Failure::CutsDoNotJoin);
    }
    if fresh.last && stop.is_truncated() {
        return Ok(());
    }
    let (path, source) = (fresh.path.clone(), stop.clone());
    Err(Error::Record { path, source }.into())
}

/// Whether `segments` continue what `state` was loaded from; otherwise the common part.
///
/// Segments that are named by their hash are compared by it; of others the last bytes that were
/// read are compared.
pub(super) fn continues(state: &State, known: &[Segment], segments: &[Segment]) -> Result<()> {
    let mut common = LogPosition::START;
    for (old, new) in known.iter().zip(segments) {
        let renamed = old.name() != new.name();
        let frozen = |segment: &Segment| segment.name().sha224().is_some();
        let shrunk = new.len()
            < old
                .len()
                .min(state.position.saturating_sub(old.base().bytes()));
        if shrunk || renamed && frozen(old) || renamed && !same_end(state, old, new)? {
            return Err(Error::Split { common });
        }
        common = old.end();
    }
    if segments.last().map_or(0, |last| last.end().bytes()) < state.position {
        return Err(Error::Split { common });
    }
    Ok(())
}

/// Whether the end of what was read of a segment is still there under its new name.
fn same_end(state: &State, old: &Segment, new: &Segment) -> Result<bool> {
    use std::io::Read as _;
    let end = state.position.min(old.end().bytes()) - old.base().bytes();
    let start = end.saturating_sub(4096);
    let mut now = Vec::new();
    let reader = new.reader(start)?;
    reader
        .take(end - start)
        .read_to_end(&mut now)
        .map_err(Error::io("read", &new.path()))?;
    let mut position = old.base().bytes() + start;
    let mut rest = now.as_slice();
    while !rest.is_empty() {
        let (held, _) = state.log.from(position);
        let len = held.len().min(rest.len());
        if len == 0 || held[..len] != rest[..len] {
            return Ok(false);
        }
        rest = &rest[len..];
        position += len as u64;
    }
    Ok(now.len() as u64 == end - start)
}
