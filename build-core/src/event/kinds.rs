//! Kinds of streams and of events.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::stream::StreamId;
use crate::error::{Error, ErrorKind};

const MAX_KIND: usize = 64;

macro_rules! kind {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Cow<'static, str>);

        impl $name {
            /// A kind of somebody else's: a lower-case letter, then letters, digits, `_` and `-`.
            ///
            /// # Errors
            /// [`ErrorKind::Invalid`] naming the text.
            pub fn new(text: impl Into<String>) -> Result<Self, Error> {
                let text = text.into();
                let plain =
                    |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
                let fits = text.len() <= MAX_KIND && text.bytes().all(plain);
                if !fits || !text.starts_with(|c: char| c.is_ascii_lowercase()) {
                    let text = format!(concat!("bad ", $what, " {:?}"), text);
                    return Err(Error::new(ErrorKind::Invalid, text));
                }
                Ok(Self(Cow::Owned(text)))
            }

            /// A kind that a program knows. The word is not checked: it must be one that
            #[doc = concat!("[`", stringify!($name), "::new`] takes.")]
            pub const fn known(word: &'static str) -> Self {
                Self(Cow::Borrowed(word))
            }

            /// The kind as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;
            fn try_from(text: String) -> Result<Self, Error> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(kind: $name) -> String {
                kind.0.into_owned()
            }
        }
    };
}

kind! {
    /// A kind of streams, such as `build`.
    StreamKind, "kind of streams"
}
kind! {
    /// A kind of events of one kind of streams, such as `queued` of `build`.
    EventKind, "kind of events"
}

impl StreamKind {
    /// Builds.
    pub const BUILD: Self = Self::known("build");
    /// Sessions.
    pub const SESSION: Self = Self::known("session");
    /// Wishes.
    pub const WISH: Self = Self::known("wish");
    /// Repositories.
    pub const REPO: Self = Self::known("repo");
    /// Try sets.
    pub const TRYSET: Self = Self::known("tryset");
    /// Workflows.
    pub const WORKFLOW: Self = Self::known("workflow");
    /// Bots.
    pub const BOT: Self = Self::known("bot");
}

/// Which kinds of streams somebody reads: all, or those that are named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindSet(Option<BTreeSet<StreamKind>>);

impl KindSet {
    /// Every kind, also ones that are not known.
    pub fn all() -> Self {
        Self(None)
    }

    /// These kinds.
    pub fn of(kinds: impl IntoIterator<Item = StreamKind>) -> Self {
        Self(Some(kinds.into_iter().collect()))
    }

    /// Whether streams of this kind are read.
    pub fn contains(&self, kind: &StreamKind) -> bool {
        self.0.as_ref().is_none_or(|kinds| kinds.contains(kind))
    }

    /// Whether this stream is read.
    pub fn contains_stream(&self, stream: &StreamId) -> bool {
        self.0.is_none() || self.contains(&stream.kind())
    }

    /// The kinds, when they are named.
    pub fn named(&self) -> Option<impl Iterator<Item = &StreamKind>> {
        self.0.as_ref().map(BTreeSet::iter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_plain_words() {
        assert_eq!(StreamKind::new("build").unwrap(), StreamKind::BUILD);
        assert!(EventKind::new("lease_ended").is_ok());
        for bad in ["", "A", "1a", "a/b", "a.b", "a b"] {
            assert!(StreamKind::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_set_has_the_kinds_that_were_named() {
        let set = KindSet::of([StreamKind::BUILD]);
        assert!(set.contains(&StreamKind::BUILD));
        assert!(!set.contains(&StreamKind::WISH));
        assert!(KindSet::all().contains(&StreamKind::new("tide").unwrap()));
    }
}
