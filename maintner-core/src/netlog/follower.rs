//! The follower: what to ask next, and what an answer means.
//!
//! A state machine without a clock and without a network. The shell asks [`Follower::next`],
//! carries it out however it likes, and hands the outcome to [`Follower::feed`].

use bytes::Bytes;
use sha2::{Digest as _, Sha224};

use super::store::whole_records;
use super::{Append, Index, LocalLog};
use crate::Result;
use crate::log::{LogPosition, Sha224Hex};

/// Downloads of one segment that gave other bytes than promised before it is an error.
const TRIES: u32 = 3;

/// What the follower wants of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// The list of segments.
    Index {
        /// To be answered only when the sum of all sizes is not this any more, or after a
        /// while; at once when nothing is said.
        wait: Option<u64>,
    },
    /// A part of a segment.
    Segment {
        /// Its number.
        number: u32,
        /// Its address as the index gave it.
        url: String,
        /// The first byte wanted.
        from: u64,
        /// The byte after the last one wanted.
        to: u64,
    },
}

/// What the server said.
#[derive(Debug)]
pub enum Answer {
    /// Nothing is new (status 304).
    Unchanged,
    /// The list of segments.
    Index(Index),
    /// Bytes of a segment: all or a part of those asked for, or more because the server ignored
    /// the range.
    Bytes {
        /// Which byte of the segment is the first one.
        from: u64,
        /// The bytes.
        bytes: Bytes,
    },
    /// The segment is not as the index said any more; the index is asked for again.
    Gone,
}

/// What became of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// The log is longer.
    Grown {
        /// Where it ends now.
        end: LogPosition,
    },
    /// The server's history is another one than ours: the log was rolled back.
    Split {
        /// How much of it is as before.
        common: LogPosition,
    },
}

/// Why an answer cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A segment is not what its hash says, time after time.
    #[error("corrupt download: segment {number} has hash {found}, not {wanted}")]
    Corrupt {
        /// The segment.
        number: u32,
        /// The hash that the server promised.
        wanted: Sha224Hex,
        /// That of what came.
        found: Sha224Hex,
    },
    /// The answer is none to the question.
    #[error("the server answered something else than it was asked")]
    Unexpected,
    /// The server has no log any more, but we have one. Loading nothing in its place would
    /// throw away what is known because of a server that is just being set up.
    #[error("the server has an empty log, but {known} bytes of it are known")]
    Emptied {
        /// Length of what is known.
        known: LogPosition,
    },
    /// The local log cannot be read or written.
    #[error("the local copy of the log fails")]
    Local(#[from] crate::Error),
}

#[derive(Debug)]
enum State {
    /// Asks for the index.
    Index,
    /// Works through an index.
    Fetch(Fetch),
}

#[derive(Debug)]
struct Fetch {
    index: Index,
    number: u32,
    /// Where `got` begins in the segment: at the end of ours, or at 0.
    from: u64,
    got: Vec<u8>,
    tries: u32,
}

/// Follows one log server.
#[derive(Debug)]
pub struct Follower {
    state: State,
    /// Whether the server was in agreement with us at least once.
    caught_up: bool,
    /// Whether the server may hold the next answer back.
    patient: bool,
    /// Whether complete segments of the first index are only remembered, not fetched.
    skip: bool,
}

impl Default for Follower {
    fn default() -> Self {
        Self::new()
    }
}

impl Follower {
    /// A follower that has asked nothing yet.
    pub fn new() -> Self {
        Self {
            state: State::Index,
            caught_up: false,
            patient: false,
            skip: false,
        }
    }

    /// A follower that wants only what is appended from now on: of what the server has, it
    /// fetches the segment that still grows.
    pub fn from_now() -> Self {
        Self {
            skip: true,
            ..Self::new()
        }
    }

    /// Whether the local log was at least once all that the server had.
    pub fn is_caught_up(&self) -> bool {
        self.caught_up
    }

    /// The same follower, whose next question is to be answered at once.
    pub fn ask_at_once(&mut self) {
        self.patient = false;
    }

    /// What to ask now. Asking again after a failure is always right.
    pub fn next(&self, log: &LocalLog) -> Ask {
        match &self.state {
            State::Index => Ask::Index {
                wait: self.patient.then(|| log.end().bytes()),
            },
            State::Fetch(fetch) => {
                let entry = &fetch.index.entries()[fetch.number as usize];
                Ask::Segment {
                    number: fetch.number,
                    url: entry.url.clone(),
                    from: fetch.from + fetch.got.len() as u64,
                    to: entry.size,
                }
            }
        }
    }

    /// Takes the answer to [`next`](Self::next).
    ///
    /// # Errors
    /// When it cannot be used; the next question is for the index then, and the log is as it
    /// was.
    pub fn feed(&mut self, log: &mut LocalLog, answer: Answer) -> Result<Vec<News>, Refusal> {
        let state = std::mem::replace(&mut self.state, State::Index);
        // Only a complete agreement makes the follower patient again.
        let patient = std::mem::take(&mut self.patient);
        match (state, answer) {
            (State::Index, Answer::Unchanged) => {
                self.patient = patient;
                Ok(Vec::new())
            }
            (State::Index, Answer::Index(index)) => self.compare(log, index, 0),
            (State::Fetch(fetch), Answer::Bytes { from, bytes }) => {
                self.take(log, fetch, from, &bytes)
            }
            (State::Fetch(_), Answer::Gone) => Ok(Vec::new()),
            _ => Err(Refusal::Unexpected),
        }
    }

    /// Takes a batch of the tail. Returns whether it fits; when it does not, the tail is to be
    /// given up for the index.
    ///
    /// # Errors
    /// When the local log cannot be written.
    pub fn tail(&mut self, log: &mut LocalLog, batch: &Append) -> Result<bool> {
        let whole = whole_records(&batch.records, batch.offset) == batch.records.len();
        if !whole || batch.position != log.end().bytes() || batch.records.is_empty() {
            return Ok(false);
        }
        let count = log.pieces().len();
        let hash = match log.pieces().last() {
            Some(last) if batch.number as usize + 1 == count => {
                if last.is_frozen() || last.len() != batch.offset {
                    return Ok(false);
                }
                last.hash_with(&batch.records)
            }
            _ if batch.number as usize == count && batch.offset == 0 => {
                Sha224::new_with_prefix(&batch.records)
            }
            _ => return Ok(false),
        };
        if Sha224Hex::finish(hash.clone()) != batch.sha224 {
            return Ok(false);
        }
        log.append(batch.number, &batch.records, hash)?;
        Ok(true)
    }

    /// Compares our segments with the server's from `number` on, and asks for the first that
    /// differs.
    fn compare(
        &mut self,
        log: &mut LocalLog,
        index: Index,
        number: u32,
    ) -> Result<Vec<News>, Refusal> {
        let mut news = Vec::new();
        if index.entries().is_empty() && log.end() > LogPosition::START {
            return Err(Refusal::Emptied { known: log.end() });
        }
        for (number, entry) in (0u32..).zip(index.entries()).skip(number as usize) {
            let Some(piece) = log.pieces().get(number as usize) else {
                if self.skip && number as usize + 1 < index.entries().len() {
                    log.skip(entry);
                    continue;
                }
                return Ok(self.fetch(index, number, 0, news));
            };
            let len = piece.len();
            if piece.is(entry) {
                if index.is_frozen(number) {
                    log.freeze(number)?;
                }
                continue;
            }
            if len < entry.size && !piece.is_frozen() {
                return Ok(self.fetch(index, number, len, news));
            }
            if len > entry.size && log.prefix_hash(number, entry.size)? == entry.sha224 {
                // The server lost the end of this segment, and all that followed.
                let common = log.cut(number, entry.size)?;
                news.push(News::Split { common });
                if index.is_frozen(number) {
                    log.freeze(number)?;
                }
                continue;
            }
            return Ok(self.fetch(index, number, 0, news));
        }
        let count = u32::try_from(index.entries().len()).expect("numbers are 32 bits long");
        if log.pieces().len() > count as usize {
            let common = log.drop_from(count);
            news.push(News::Split { common });
        }
        (self.caught_up, self.patient, self.skip) = (true, true, false);
        Ok(news)
    }

    fn fetch(&mut self, index: Index, number: u32, from: u64, news: Vec<News>) -> Vec<News> {
        self.state = State::Fetch(Fetch {
            index,
            number,
            from,
            got: Vec::new(),
            tries: 0,
        });
        news
    }

    fn take(
        &mut self,
        log: &mut LocalLog,
        mut fetch: Fetch,
        from: u64,
        bytes: &[u8],
    ) -> Result<Vec<News>, Refusal> {
        let entry = fetch.index.entries()[fetch.number as usize].clone();
        let asked = fetch.from + fetch.got.len() as u64;
        if from == asked {
            fetch.got.extend_from_slice(bytes);
        } else if from == 0 {
            // The server ignored the range.
            (fetch.from, fetch.got) = (0, bytes.to_vec());
        } else {
            return Err(Refusal::Unexpected);
        }
        // A server whose segment has grown meanwhile may send more than was asked for.
        let most = usize::try_from(entry.size - fetch.from).unwrap_or(usize::MAX);
        fetch.got.truncate(most);
        if fetch.got.len() < most {
            self.state = State::Fetch(fetch);
            return Ok(Vec::new());
        }
        let hash = match log.pieces().get(fetch.number as usize) {
            Some(piece) if fetch.from > 0 => piece.hash_with(&fetch.got),
            _ => Sha224::new_with_prefix(&fetch.got),
        };
        let found = Sha224Hex::finish(hash.clone());
        if found != entry.sha224 {
            return self.again(fetch, found, entry.sha224);
        }
        if whole_records(&fetch.got, fetch.from) != fetch.got.len() {
            // Verified, and yet no records: nothing that asking again would change.
            let (number, wanted) = (fetch.number, entry.sha224);
            return Err(Refusal::Corrupt {
                number,
                wanted,
                found,
            });
        }
        let mut news = vec![put(log, &fetch, hash)?];
        if fetch.index.is_frozen(fetch.number) {
            log.freeze(fetch.number)?;
        }
        let number = fetch.number + 1;
        news.extend(self.compare(log, fetch.index, number)?);
        Ok(news)
    }

    /// The bytes are not those promised: everything of the segment is asked for, and in the end
    /// it is an error.
    fn again(
        &mut self,
        fetch: Fetch,
        found: Sha224Hex,
        wanted: Sha224Hex,
    ) -> Result<Vec<News>, Refusal> {
        let number = fetch.number;
        if fetch.tries + 1 == TRIES {
            return Err(Refusal::Corrupt {
                number,
                wanted,
                found,
            });
        }
        self.state = State::Fetch(Fetch {
            from: 0,
            got: Vec::new(),
            tries: fetch.tries + 1,
            ..fetch
        });
        Ok(Vec::new())
    }
}

/// Puts verified bytes into the log: at the end when ours is a beginning of them, in the place
/// of ours otherwise.
fn put(log: &mut LocalLog, fetch: &Fetch, hash: Sha224) -> Result<News> {
    let number = fetch.number;
    let Some(piece) = log.pieces().get(number as usize) else {
        log.append(number, &fetch.got, hash)?;
        return Ok(News::Grown { end: log.end() });
    };
    let have = usize::try_from(piece.len()).unwrap_or(usize::MAX);
    let growing = !piece.is_frozen() && number as usize + 1 == log.pieces().len();
    let ours = piece.sha224();
    let rest = match fetch.from {
        0 => fetch
            .got
            .split_at_checked(have)
            .filter(|(beginning, _)| Sha224Hex::of(beginning) == ours)
            .map(|(_, rest)| rest),
        _ => Some(&fetch.got[..]),
    };
    match rest {
        Some(rest) if growing => {
            log.append(number, rest, hash)?;
            Ok(News::Grown { end: log.end() })
        }
        // Without its beginning the rest is of no use; it is compared anew.
        Some(_) if fetch.from > 0 => Ok(News::Split {
            common: log.drop_from(number),
        }),
        _ => {
            let before = log.end();
            let common = log.replace(number, &fetch.got)?;
            if common >= before {
                // A segment that was taken for complete was continued.
                return Ok(News::Grown { end: log.end() });
            }
            Ok(News::Split { common })
        }
    }
}
