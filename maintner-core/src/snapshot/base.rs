//! Which log a snapshot belongs to.

use std::fs;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use super::hash;
use crate::Result;
use crate::corpus::text::{Piece, Texts};
use crate::log::{Segment, SegmentData, SegmentName};
use crate::map::Map;

/// A segment as it was when the snapshot was made.
#[derive(Debug, PartialEq, Eq)]
struct BaseSegment {
    name: SegmentName,
    /// Bytes of it in the snapshot.
    len: u64,
    /// Size and modification time of the file, which make hashing unnecessary.
    stamp: (u64, u128),
    /// Of those bytes; 0 for segments that have a hash in their name.
    hash: u64,
}

/// The segments that `position` bytes of a log consist of, one a line.
pub(super) fn describe(log: &Texts, segments: &[Segment], position: u64) -> String {
    let mut text = String::new();
    for segment in segments {
        let base = segment.base().bytes();
        let len = segment.len().min(position.saturating_sub(base));
        if len == 0 {
            continue;
        }
        let whole = len == segment.len();
        let hash = match segment.name() {
            SegmentName::Frozen { .. } if whole => 0,
            _ => hash_of(log, base, len),
        };
        let (size, time) = stamp(segment);
        text += &format!("{} {len} {size} {time} {hash}\n", segment.name());
    }
    text
}

/// The hash of bytes that may lie in several pieces.
fn hash_of(log: &Texts, base: u64, len: u64) -> u64 {
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    let (mut position, end) = (base, base + len);
    while position < end {
        let (bytes, _) = log.from(position);
        let take = bytes.len().min((end - position) as usize);
        if take == 0 {
            break;
        }
        hasher.update(&bytes[..take]);
        position += take as u64;
    }
    hasher.digest()
}

fn stamp(segment: &Segment) -> (u64, u128) {
    let SegmentData::File(path) = segment.data() else {
        return (0, 0);
    };
    let Ok(meta) = fs::metadata(path) else {
        return (0, 0);
    };
    let time = meta
        .modified()
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    (meta.len(), time.map_or(0, |time| time.as_nanos()))
}

fn parse(line: &str) -> Option<BaseSegment> {
    let mut words = line.rsplitn(5, ' ');
    let hash = words.next()?.parse().ok()?;
    let time = words.next()?.parse().ok()?;
    let size = words.next()?.parse().ok()?;
    let len = words.next()?.parse().ok()?;
    let name = SegmentName::parse(words.next()?)?;
    Some(BaseSegment {
        name,
        len,
        stamp: (size, time),
        hash,
    })
}

/// The bytes of the log that `text` describes and where its segments begin, if `segments` still
/// begin with them.
pub(super) fn reopen(text: &str, segments: &[Segment]) -> Result<Option<(Texts, Vec<u64>)>> {
    let mut log = Texts::default();
    let mut starts = Vec::new();
    let mut segments = segments.iter();
    for line in text.lines() {
        let (Some(base), Some(segment)) = (parse(line), segments.next()) else {
            return Ok(None);
        };
        if segment.base().bytes() != log.end() || segment.len() < base.len {
            return Ok(None);
        }
        let piece = match segment.data() {
            SegmentData::Memory(bytes) => Piece::Held(bytes.slice(..base.len as usize)),
            SegmentData::File(path) => {
                Piece::Mapped(Arc::new(Map::open(path, base.len)?), 0..base.len as usize)
            }
        };
        if !is_same(&base, segment, &piece) {
            return Ok(None);
        }
        starts.push(log.end());
        log.push_whole(piece);
    }
    Ok(Some((log, starts)))
}

fn is_same(base: &BaseSegment, segment: &Segment, piece: &Piece) -> bool {
    if base.name == *segment.name() {
        if base.hash == 0 && base.name.sha224().is_some() {
            return base.len == segment.len();
        }
        if base.stamp != (0, 0) && base.stamp == stamp(segment) {
            return true;
        }
    } else if base.name.number().is_none() || base.name.number() != segment.name().number() {
        return false;
    }
    hash(piece.bytes()) == base.hash
}
