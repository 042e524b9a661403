//! How far a reader has come, and everything it keeps: the memos.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use bytes::Bytes;

use super::entry::Entry;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Memo, MemoKey};
use crate::ids::{EffectKey, ReaderName};

/// A cursor that has not moved for so long although there was something to read is parked: the
/// log is packed without regard to it. The reader can go on at any time, for packed events can
/// be read.
pub const PARK_AFTER: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The format of the memos.
const VERSION: u32 = 1;

/// How far a feed was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cursor {
    /// Which feed, where a feed can be exchanged for another one: the identity of a log. Empty
    /// for the event log of a farm.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub feed: String,
    /// The position behind the last item read; 0 at the beginning.
    pub at: u64,
}

impl Cursor {
    /// A position in the event log of a farm.
    pub fn at(at: u64) -> Self {
        Self {
            feed: String::new(),
            at,
        }
    }

    /// A position in a feed that has an identity.
    pub fn of(feed: impl Into<String>, at: u64) -> Self {
        Self {
            feed: feed.into(),
            at,
        }
    }
}

/// What is kept of a reader besides its entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// How far it has read.
    pub cursor: Cursor,
    /// The number of its next entry.
    pub next: u64,
    /// When the cursor moved.
    pub moved: Timestamp,
    /// Items that were set aside.
    #[serde(default)]
    pub set_aside: u64,
    /// Why it does not read on, when it stopped at an item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// Whether the log is packed without regard to it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub parked: bool,
}

impl Place {
    /// The place of a reader that has read nothing.
    pub fn new(now: Timestamp) -> Self {
        Self {
            cursor: Cursor::default(),
            next: 1,
            moved: now,
            set_aside: 0,
            stopped: None,
            parked: false,
        }
    }

    /// Parks the cursor if it has not moved for [`PARK_AFTER`] although the feed ends at `end`.
    /// Whether that is new.
    pub fn park(&mut self, end: u64, now: Timestamp) -> bool {
        let stands = self.cursor.at < end && now.since(self.moved) >= PARK_AFTER;
        stands && !std::mem::replace(&mut self.parked, true)
    }
}

/// An item that a reader could not look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aside {
    /// The cursor behind it.
    pub behind: Cursor,
    /// When it was set aside.
    pub at: Timestamp,
    /// Why, one sentence.
    pub text: String,
}

/// One thing that a reader keeps.
#[derive(Clone, Debug)]
pub enum Kept {
    /// How far it has come.
    Place(Place),
    /// An effect that is not settled.
    Entry(Box<Entry>),
    /// An item it could not look at.
    Aside(Aside),
    /// What it wants to know of what it has read, as it wrote it.
    State(Bytes),
}

#[derive(Deserialize)]
struct Version {
    v: u32,
}

#[derive(Serialize)]
struct Stored<'a, T> {
    v: u32,
    is: &'a T,
}

#[derive(Deserialize)]
struct Taken<T> {
    is: T,
}

impl Kept {
    /// The key of a reader's place.
    pub fn place_key(reader: &ReaderName) -> MemoKey {
        key(format!("cursor/{reader}"))
    }

    /// The key of an entry.
    pub fn entry_key(reader: &ReaderName, effect: &EffectKey) -> MemoKey {
        key(format!("outbox/{reader}/{effect}"))
    }

    /// The key of what a reader wants to know of what it has read.
    pub fn state_key(reader: &ReaderName) -> MemoKey {
        key(format!("state/{reader}"))
    }

    /// The key of the `nth` item that was set aside.
    pub fn aside_key(reader: &ReaderName, nth: u64) -> MemoKey {
        key(format!("aside/{reader}/{nth}"))
    }

    /// As it is stored: JSON, with the version of its format; a state as it was given.
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Place(place) => encode(place),
            Self::Entry(entry) => entry.encode(),
            Self::Aside(aside) => encode(aside),
            Self::State(state) => state.clone(),
        }
    }

    /// What a memo holds; `None` when readers keep nothing under such a key, or nothing is there.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] when a newer version wrote it, [`ErrorKind::Corrupt`] when it
    /// cannot be read.
    pub fn decode(memo: &Memo) -> Result<Option<Self>> {
        let Some(value) = &memo.value else {
            return Ok(None);
        };
        let key = memo.key.as_str();
        Ok(Some(match key.split('/').next() {
            Some("cursor") => Self::Place(decode(key, value)?),
            Some("outbox") => Self::Entry(Box::new(decode(key, value)?)),
            Some("state") => Self::State(value.clone()),
            Some("aside") => Self::Aside(decode(key, value)?),
            _ => return Ok(None),
        }))
    }
}

pub(super) fn encode<T: Serialize>(value: &T) -> Bytes {
    let stored = Stored {
        v: VERSION,
        is: value,
    };
    let bytes = serde_json::to_vec(&stored);
    bytes.expect("names are text, and so are all keys").into()
}

fn decode<T: for<'de> Deserialize<'de>>(key: &str, value: &[u8]) -> Result<T> {
    let read = |e| Error::caused_by(ErrorKind::Corrupt, format!("read the memo {key}"), e);
    let version: Version = serde_json::from_slice(value).map_err(read)?;
    if version.v != VERSION {
        let text = format!("the memo {key} has format {}, not {VERSION}", version.v);
        let error = Error::new(ErrorKind::Unsupported, text);
        return Err(error.with_hint("a newer version wrote it: use that one"));
    }
    let taken: Taken<T> = serde_json::from_slice(value).map_err(read)?;
    Ok(taken.is)
}

/// Names are short and hold no control characters, so that every such key is a good one.
fn key(text: String) -> MemoKey {
    MemoKey::new(text).expect("made of names")
}

/// What the keys of all memos of a reader begin with. Those of a reader with a longer name may
/// be among them.
pub fn memo_prefixes(reader: &ReaderName) -> [MemoKey; 4] {
    [
        Kept::place_key(reader),
        Kept::state_key(reader),
        key(format!("outbox/{reader}/")),
        key(format!("aside/{reader}/")),
    ]
}
