//! What a reader's machine is told, and what it asks for.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use super::effect::Effect;
use super::place::Cursor;
use crate::clock::Timestamp;
use crate::event::Memo;
use crate::ids::EffectKey;

/// What happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Input {
    /// The feed may have more.
    Changed,
    /// [`Step::Fetch`] gave a page; whoever drives the machine keeps its items.
    Fetched(PageEnds),
    /// [`Step::Fetch`] failed; one sentence.
    FetchFailed(String),
    /// [`Step::Take`] gave this.
    Taken(Taken),
    /// [`Step::Take`] failed.
    TakeFailed(TakeFailure),
    /// [`Step::Commit`] is durable.
    Committed {
        /// Its number.
        batch: u64,
    },
    /// [`Step::Commit`] failed, or nobody knows: it is given again.
    CommitFailed {
        /// Its number.
        batch: u64,
        /// One sentence.
        text: String,
    },
    /// What came of a [`Call`]. One that comes twice changes nothing.
    Answered {
        /// The call's number.
        call: u64,
        /// What came of it.
        answer: Answer,
    },
    /// Somebody wants what was given up to be tried again, for as long again as `until` says; with
    /// it a reader that has stopped reads on.
    Retry {
        /// Which entry; all when `None`.
        key: Option<EffectKey>,
        /// When trying ends.
        until: Timestamp,
    },
    /// Somebody wants an entry that was given up to be forgotten.
    Forget {
        /// Which entry.
        key: EffectKey,
    },
    /// A time that was asked for has come; harmless when it comes early.
    Tick,
    /// The feed ends there: a cursor that has stood for [`super::PARK_AFTER`] is parked.
    Park {
        /// The position of the last item.
        end: u64,
    },
    /// Nothing new is to be begun; see [`super::Machine::is_idle`].
    Stop,
}

/// What a page is, apart from its items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageEnds {
    /// The cursor behind each item, in order.
    pub ends: Vec<Cursor>,
    /// The cursor behind everything that was looked at: behind the last item, or further when
    /// nothing more was of interest.
    pub next: Cursor,
    /// Whether the feed had no more.
    pub is_last: bool,
    /// Whether the feed begins anew, so that effects may have been made before.
    pub is_reset: bool,
}

/// What follows from a look at some items.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// What is to be done.
    pub effects: Vec<Effect>,
    /// What the reader wants to know of them later, when that has changed: given to it again at
    /// the next start. At most [`super::STATE_BYTES`] bytes.
    pub state: Option<Bytes>,
}

impl From<Vec<Effect>> for Taken {
    fn from(effects: Vec<Effect>) -> Self {
        Self {
            effects,
            state: None,
        }
    }
}

/// Why a look at items gave nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TakeFailure {
    /// The reader panicked; its message.
    Panicked(String),
    /// It cannot make sense of the items; one sentence.
    Failed(String),
    /// Something it needs is not there at present, whatever the items are; one sentence.
    NotNow(String),
}

/// What is to be done next.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Step {
    /// Read a page of at most [`super::PAGE_ITEMS`] items and [`super::PAGE_BYTES`] bytes.
    Fetch {
        /// Behind this.
        after: Cursor,
    },
    /// Look at some items of the page that was fetched last.
    Take {
        /// The first.
        from: usize,
        /// The one behind the last.
        to: usize,
    },
    /// Write these memos in one commit. Commits come one at a time.
    Commit {
        /// Its number.
        batch: u64,
        /// Those that change.
        memos: Vec<Memo>,
    },
    /// Call a receiver.
    Call(Box<Call>),
    /// Give [`Input::Tick`] then; replaces an earlier wish.
    WakeAt(Timestamp),
    /// Tell people.
    Tell(Notice),
}

/// A call of a receiver. It has to be answered, if only because it took too long.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its number.
    pub number: u64,
    /// Whether to ask or to act.
    pub kind: CallKind,
    /// Counts the calls of this effect, from 1.
    pub attempt: u32,
    /// What is to be done.
    pub effect: Effect,
}

/// Whether to ask or to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallKind {
    /// Look whether it was made.
    Ask,
    /// Make it.
    Make,
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is made.
    Made,
    /// It was asked for and is not made.
    NotMade,
    /// It failed and is worth another try.
    Failed {
        /// One sentence.
        text: String,
        /// Whether it may have been made nevertheless: the call was sent and no answer came.
        in_doubt: bool,
        /// The pause that the receiver asked for.
        pause: Option<Duration>,
    },
    /// The receiver will never accept it; one sentence.
    Refused(String),
}

/// What people should know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// An effect is not tried any more.
    GivenUp {
        /// Which.
        key: EffectKey,
        /// Why, one sentence.
        text: String,
    },
    /// An item could not be looked at, and the reader goes on without it.
    SetAside {
        /// The cursor behind it.
        behind: Cursor,
        /// Why, one sentence.
        text: String,
    },
    /// The reader does not read on.
    Stopped {
        /// Why, one sentence.
        text: String,
    },
    /// The reader has not moved for a month, and the log is packed without regard to it.
    Parked,
    /// Something fails again and again; told at the third time.
    Troubled {
        /// What and why, one sentence.
        text: String,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GivenUp { key, text } => {
                write!(f, "gave up {key}: {text}; see `farmer outbox list`")
            }
            Self::SetAside { behind, text } => {
                write!(
                    f,
                    "set the item before position {} aside: {text}",
                    behind.at
                )
            }
            Self::Stopped { text } => {
                write!(f, "reads no further: {text}; see `farmer outbox list`")
            }
            Self::Parked => {
                f.write_str("has read nothing for 30 days: events are packed without regard to it")
            }
            Self::Troubled { text } => f.write_str(text),
        }
    }
}
