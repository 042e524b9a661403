//! Memos: small things that change, kept beside the facts and written with them.
//!
//! A cursor, an entry of an outbox, the secret of a lease. Of a memo only the last value is known.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};

/// Longest key in bytes.
const MAX_KEY: usize = 1024;

/// Names a memo: `cursor/READER`, `outbox/READER/KEY`, `lease/LEASE`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MemoKey(String);

impl MemoKey {
    /// The key, or what several begin with.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] naming the text when it is empty, longer than 1,024 bytes or has
    /// control characters.
    pub fn new(text: impl Into<String>) -> Result<Self, Error> {
        let text = text.into();
        let fits = (1..=MAX_KEY).contains(&text.len());
        if !fits || text.chars().any(char::is_control) {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("bad memo key {text:?}"),
            ));
        }
        Ok(Self(text))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this key begins with `prefix`.
    pub fn begins_with(&self, prefix: &Self) -> bool {
        self.0.starts_with(&prefix.0)
    }
}

impl fmt::Display for MemoKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for MemoKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for MemoKey {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        Self::new(text)
    }
}

impl From<MemoKey> for String {
    fn from(key: MemoKey) -> Self {
        key.0
    }
}

/// A memo and its value; as part of a [`super::Batch`], `None` removes it.
#[derive(Clone, PartialEq, Eq)]
pub struct Memo {
    /// Which.
    pub key: MemoKey,
    /// What it says.
    pub value: Option<Bytes>,
}

impl Memo {
    /// A memo that says `value` from now on.
    pub fn set(key: MemoKey, value: impl Into<Bytes>) -> Self {
        let value = Some(value.into());
        Self { key, value }
    }

    /// A memo that is not there any more.
    pub fn removed(key: MemoKey) -> Self {
        Self { key, value: None }
    }
}

impl fmt::Debug for Memo {
    /// Leaves out the value, which may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.value.as_ref().map(Bytes::len);
        f.debug_struct("Memo")
            .field("key", &self.key)
            .field("bytes", &bytes)
            .finish()
    }
}
