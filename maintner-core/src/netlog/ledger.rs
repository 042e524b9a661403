//! The server's side: what is served, with its hashes.

use std::collections::VecDeque;
use std::io::Read as _;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest as _, Sha224};

use super::store::whole_records;
use super::{Append, Entry, Index};
use crate::log::{LogPosition, Segment, SegmentName, Sha224Hex};
use crate::{Error, Result};

/// The longest batch that is sent as one event: records beyond go in further events, and a
/// longer record makes the follower ask for the segment.
const BATCH: u64 = 1 << 20;
/// Events kept for followers that are a little behind: all of them are sent the same bytes, and
/// none of them waits for the disk.
const RECENT: usize = 32;
/// And at most so many bytes of them, the newest aside.
const RECENT_BYTES: usize = 4 << 20;

/// One segment as it is served.
#[derive(Debug, Clone)]
pub struct Served {
    number: u32,
    base: u64,
    len: u64,
    sha224: Sha224Hex,
    frozen: bool,
    segment: Segment,
}

impl Served {
    /// Its number.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Where in the log it begins.
    pub fn base(&self) -> LogPosition {
        LogPosition::new(self.base)
    }

    /// Bytes of whole records in it.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Their hash.
    pub fn sha224(&self) -> Sha224Hex {
        self.sha224
    }

    /// The name of its file or object, once it is complete.
    pub fn object_name(&self) -> String {
        SegmentName::Frozen {
            number: self.number,
            sha224: self.sha224,
        }
        .to_string()
    }

    /// Whether it is complete.
    pub fn is_frozen(&self) -> bool {
        self.frozen
    }

    /// Where the bytes are.
    pub fn segment(&self) -> &Segment {
        &self.segment
    }

    /// Bytes from `from` up to `to`, which are at most its length. Blocks on a disk.
    ///
    /// # Errors
    /// When the file cannot be read or is shorter than it was.
    pub fn read(&self, from: u64, to: u64) -> Result<Bytes> {
        let want = to.min(self.len).saturating_sub(from);
        let mut bytes = Vec::with_capacity(usize::try_from(want).unwrap_or(0));
        let path = self.segment.path();
        let mut reader = self.segment.reader(from)?.take(want);
        reader
            .read_to_end(&mut bytes)
            .map_err(Error::io("read", &path))?;
        if (bytes.len() as u64) < want {
            let short = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
            return Err(Error::io("read", &path)(short));
        }
        Ok(bytes.into())
    }
}

/// A batch that was appended, as the event that tells so.
#[derive(Debug, Clone)]
pub struct Latest {
    number: u32,
    offset: u64,
    end: u64,
    event: Bytes,
}

/// What is served at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    served: Vec<Served>,
    /// What was appended last, oldest first.
    recent: VecDeque<Latest>,
    rewrites: u64,
}

impl Snapshot {
    /// The segments.
    pub fn served(&self) -> &[Served] {
        &self.served
    }

    /// The sum of their sizes.
    pub fn sum(&self) -> u64 {
        self.served.last().map_or(0, |last| last.base + last.len)
    }

    /// How often the log was rewritten rather than continued.
    pub fn rewrites(&self) -> u64 {
        self.rewrites
    }

    /// The segment with this number.
    pub fn find(&self, number: u32) -> Option<&Served> {
        self.served.get(number as usize)
    }

    /// The list of non-empty segments; `url` gives the address of each.
    pub fn index(&self, url: impl Fn(&Served) -> String) -> Index {
        let entries = self.served.iter().filter(|served| served.len > 0);
        Index::new(
            entries
                .map(|served| Entry {
                    number: served.number,
                    size: served.len,
                    sha224: served.sha224,
                    url: url(served),
                    frozen: served.frozen.then_some(true),
                })
                .collect(),
        )
    }

    /// Whether a follower that has `offset` bytes of a segment, with this hash, has what we have.
    ///
    /// # Errors
    /// When the segment cannot be read. Blocks on a disk when the follower lacks something.
    pub fn agrees(&self, number: u32, offset: u64, sha224: Sha224Hex) -> Result<bool> {
        let Some(served) = self.find(number) else {
            // At the beginning of the next segment there is nothing to compare.
            return Ok(offset == 0 && number as usize == self.served.len());
        };
        if offset >= served.len {
            return Ok(offset == served.len && sha224 == served.sha224);
        }
        Ok(offset == 0 || Sha224Hex::of(&served.read(0, offset)?) == sha224)
    }

    /// The event for a follower that lacks only what came a moment ago, and where it is after
    /// it. All followers share its bytes.
    pub fn latest_event(&self, number: u32, offset: u64) -> Option<(Bytes, u32, u64)> {
        let mut newest_first = self.recent.iter().rev();
        let fits = |latest: &&Latest| (latest.number, latest.offset) == (number, offset);
        let latest = newest_first.find(fits)?;
        Some((latest.event.clone(), number, latest.end))
    }

    /// The event for a follower that has `offset` bytes of segment `number`, and where it is
    /// after it; nothing when it has everything. Blocks on a disk unless the follower lacks
    /// only what came a moment ago.
    ///
    /// # Errors
    /// [`Error::Split`] when the place does not exist any more, or that of reading.
    pub fn next_event(&self, number: u32, offset: u64) -> Result<Option<(Bytes, u32, u64)>> {
        if let Some(latest) = self.latest_event(number, offset) {
            return Ok(Some(latest));
        }
        let split = || Error::Split {
            common: LogPosition::START,
        };
        let Some(served) = self.find(number) else {
            let next = offset == 0 && number as usize == self.served.len();
            return if next { Ok(None) } else { Err(split()) };
        };
        if offset > served.len {
            return Err(split());
        }
        if offset == served.len {
            return match served.frozen && (number as usize) + 1 < self.served.len() {
                true => self.next_event(number + 1, 0),
                false => Ok(None),
            };
        }
        let (event, end) = event_after(served, offset)?;
        Ok(Some((event, number, end)))
    }
}

/// The event of what follows `offset`, at most [`BATCH`] bytes or one record.
fn event_after(served: &Served, offset: u64) -> Result<(Bytes, u64)> {
    let mut records = served.read(offset, served.len.min(offset + BATCH))?;
    records.truncate(whole_records(&records, offset));
    if records.is_empty() {
        // One record that is longer: only the segment itself holds it.
        return Err(Error::Split {
            common: served.base().after(offset),
        });
    }
    let end = offset + records.len() as u64;
    let sha224 = if end == served.len {
        served.sha224
    } else {
        Sha224Hex::of(&served.read(0, end)?)
    };
    let append = Append {
        number: served.number,
        offset,
        position: served.base + offset,
        sha224,
        records,
    };
    Ok((append.to_event(), end))
}

/// Keeps [`Snapshot`]s of a log that grows.
#[derive(Debug, Default)]
pub struct Ledger {
    snapshot: Arc<Snapshot>,
    /// Of the last segment: the hash state of what is served of it.
    hash: Sha224,
}

impl Ledger {
    /// A ledger of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// What is served now.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// Looks at the log, whose segments are now these. Reads only what is new, and shows whole
    /// records only: a write may be under way. Returns whether anything changed.
    ///
    /// # Errors
    /// When the log cannot be read; what is served stays as it was.
    pub fn refresh(&mut self, segments: &[Segment]) -> Result<bool> {
        let old = Arc::clone(&self.snapshot);
        let same = old
            .served
            .iter()
            .zip(segments)
            .take_while(|(served, segment)| is_same(served, segment))
            .count();
        // The segment that was the last one may have grown and been completed.
        let continued = old.served.len().checked_sub(1).filter(|&last| {
            same == last
                && segments
                    .get(last)
                    .is_some_and(|now| may_continue(&old.served[last], now))
        });
        let mut next = Snapshot {
            served: old.served[..continued.unwrap_or(same).min(old.served.len())].to_vec(),
            recent: old.recent.clone(),
            rewrites: old.rewrites,
        };
        let mut hash = Sha224::new();
        for (at, segment) in segments.iter().enumerate().skip(next.served.len()) {
            let known = match continued {
                Some(last) if last == at => {
                    hash = self.hash.clone();
                    Some(&old.served[last])
                }
                _ => {
                    hash = Sha224::new();
                    None
                }
            };
            let last = at + 1 == segments.len();
            let (served, latest) = look(&next, segment, known, last, &mut hash)?;
            if let (Some(known), Some(wanted)) = (known, segment.name().sha224())
                && served.sha224 != wanted
            {
                // Not a continuation after all, as its name says.
                hash = Sha224::new();
                let (served, _) = look(&next, segment, None, last, &mut hash)?;
                next.rewrites += u64::from(known.len > 0);
                next.push(served, None, old.sum());
                continue;
            }
            next.push(served, latest, old.sum());
        }
        let gone =
            old.served.len() > segments.len() || continued.is_none() && same < old.served.len();
        next.rewrites += u64::from(gone);
        let entries = |snapshot: &Snapshot| {
            let all = snapshot.served.iter().filter(|served| served.len > 0);
            all.map(|served| (served.len, served.sha224, served.frozen))
                .collect::<Vec<_>>()
        };
        let changed = entries(&old) != entries(&next);
        if next.rewrites != old.rewrites {
            next.recent.clear();
        }
        self.hash = hash;
        self.snapshot = Arc::new(next);
        Ok(changed)
    }
}

impl Snapshot {
    fn push(&mut self, served: Served, latest: Option<Latest>, sum: u64) {
        // Only a batch that continues what was served before is what followers lack.
        if let Some(latest) = latest
            && served.base + latest.offset == sum
        {
            self.recent.push_back(latest);
            let bytes = |recent: &VecDeque<Latest>| {
                let all = recent.iter().map(|latest| latest.event.len());
                all.sum::<usize>()
            };
            while self.recent.len() > RECENT
                || self.recent.len() > 1 && bytes(&self.recent) > RECENT_BYTES
            {
                self.recent.pop_front();
            }
        }
        self.served.push(served);
    }
}

fn is_same(served: &Served, segment: &Segment) -> bool {
    served.frozen && served.segment.name() == segment.name() && served.len == segment.len()
}

/// Whether a segment may be what one that was growing has become.
fn may_continue(served: &Served, segment: &Segment) -> bool {
    let was = served.segment.name();
    let same_name = was == segment.name();
    let completed =
        was.number().is_some() && was.sha224().is_none() && segment.name().number() == was.number();
    served.base == segment.base().bytes() && segment.len() >= served.len && (same_name || completed)
}

/// Hashes what is new of a segment.
fn look(
    so_far: &Snapshot,
    segment: &Segment,
    known: Option<&Served>,
    last: bool,
    hash: &mut Sha224,
) -> Result<(Served, Option<Latest>)> {
    let number = u32::try_from(so_far.served.len()).expect("a log has fewer segments");
    let start = known.map_or(0, |known| known.len);
    let base = so_far.sum();
    let mut served = Served {
        number,
        base,
        len: start,
        sha224: Sha224Hex::of(b""),
        frozen: false,
        segment: segment.clone(),
    };
    if known.is_none()
        && let SegmentName::Frozen { sha224, .. } = segment.name()
    {
        // The name promises it, and every follower checks it.
        (served.len, served.sha224, served.frozen) = (segment.len(), *sha224, true);
        return Ok((served, None));
    }
    served.len = segment.len();
    let mut fresh = served.read(start, segment.len())?;
    fresh.truncate(whole_records(&fresh, start));
    hash.update(&fresh);
    served.len = start + fresh.len() as u64;
    served.sha224 = Sha224Hex::finish(hash.clone());
    served.frozen = segment.name().sha224().is_some() || !last && served.len > 0;
    let small = !fresh.is_empty() && fresh.len() as u64 <= BATCH;
    let latest = small.then(|| {
        let append = Append {
            number,
            offset: start,
            position: base + start,
            sha224: served.sha224,
            records: fresh,
        };
        Latest {
            number,
            offset: start,
            end: served.len,
            event: append.to_event(),
        }
    });
    Ok((served, latest))
}
