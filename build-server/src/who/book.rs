//! The book of users and keys.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use build_core::clock::Timestamp;
use build_core::event::{Principal, PrincipalKind};
use build_core::key::{Token, TokenHash};
use build_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::{Grant, Pattern, Role, Scope, SshKey, SshSource};

/// The version of the format.
const VERSION: u32 = 1;
/// Keys that are kept, ended ones included.
pub(super) const MAX_KEYS: usize = 50_000;
/// Users that are kept.
pub(super) const MAX_USERS: usize = 50_000;
/// Longest name of a user in bytes.
const MAX_USER_NAME: usize = 64;
/// Longest note in bytes.
pub(super) const MAX_NOTE: usize = 256;

/// The name of a key, which is no secret: `K` and eight hex digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId(String);

impl KeyId {
    pub(super) fn of_number(number: u32) -> Self {
        Self(format!("K{number:08x}"))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for KeyId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let digits = text.strip_prefix('K').unwrap_or_default();
        let is_hex = digits
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if digits.len() != 8 || !is_hex {
            // Somebody may have given the secret instead of the name.
            let error = Error::new(ErrorKind::Invalid, "this is not the name of a key");
            return Err(error.with_hint("names look like K0123abcd; list them: farmer key list"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for KeyId {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> Self {
        id.0
    }
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UserEntry {
    /// What they are.
    pub role: Role,
    /// Which private repositories they read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<Pattern>,
    /// Since when they are known.
    pub added: Timestamp,
    /// Who added them.
    pub added_by: Principal,
}

/// Whether a key is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// It is.
    Active,
    /// Its time is over.
    Expired,
    /// Somebody has ended it.
    Revoked,
}

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        })
    }
}

/// A random token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Key {
    /// Its name.
    pub id: KeyId,
    /// Whose it is.
    pub owner: Principal,
    /// What it is good for.
    pub scope: Scope,
    /// What people wrote beside it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// When it was made.
    pub created: Timestamp,
    /// Who made it.
    pub created_by: Principal,
    /// From when on it is not good any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// When somebody ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Timestamp>,
    /// Which one it takes the place of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<KeyId>,
}

impl Key {
    /// Whether it is good at this time.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> KeyState {
        match (self.revoked, self.expires) {
            (Some(_), _) => KeyState::Revoked,
            (None, Some(expires)) if expires <= now => KeyState::Expired,
            _ => KeyState::Active,
        }
    }
}

/// A key that somebody wants made.
#[derive(Clone, Debug)]
pub struct NewKey {
    pub(super) owner: Principal,
    pub(super) scope: Scope,
    pub(super) expires: Option<Timestamp>,
    pub(super) note: String,
}

impl NewKey {
    /// Of a user, good for whatever they may do.
    #[must_use]
    pub fn of_user(name: &str) -> Self {
        Self::of(Principal::person(name), Scope::all())
    }

    /// Of one machine, which registers under its name and host type alone.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a name that is none.
    pub fn of_machine(host_type: &str, name: &str) -> Result<Self> {
        let grant = Grant::Machine(Pattern::new(host_type)?, Pattern::new(name)?);
        let owner = Principal::new(PrincipalKind::Machine, name);
        Ok(Self::of(owner, grant.into()))
    }

    /// Of what posts the results of one builder.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a name that is none.
    pub fn of_builder(builder: &str) -> Result<Self> {
        let grant = Grant::Builder(Pattern::new(builder)?);
        let owner = Principal::new(PrincipalKind::Machine, builder);
        Ok(Self::of(owner, grant.into()))
    }

    fn of(owner: Principal, scope: Scope) -> Self {
        Self {
            owner,
            scope,
            expires: None,
            note: String::new(),
        }
    }

    /// Good for this only.
    #[must_use]
    pub fn with_scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Good until then.
    #[must_use]
    pub fn until(mut self, expires: Timestamp) -> Self {
        self.expires = Some(expires);
        self
    }

    /// With a note for people.
    #[must_use]
    pub fn with_note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }
}

/// A key as it is written.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Stored {
    #[serde(flatten)]
    pub(super) key: Key,
    /// SHA-256 of the token.
    pub(super) hash: String,
}

/// Everything that is written.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Book {
    version: u32,
    #[serde(default)]
    pub(super) users: BTreeMap<String, UserEntry>,
    #[serde(default)]
    pub(super) keys: BTreeMap<KeyId, Stored>,
    /// By fingerprint.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) ssh_keys: BTreeMap<String, SshKey>,
    /// By address.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) ssh_sources: BTreeMap<String, SshSource>,
    /// Names whose legacy keys are refused.
    #[serde(default)]
    pub(super) refused: BTreeSet<String>,
}

impl Book {
    pub(super) fn to_json(&self) -> Vec<u8> {
        let book = Self {
            version: VERSION,
            ..self.clone()
        };
        serde_json::to_vec_pretty(&book).expect("names and numbers always serialise")
    }

    pub(super) fn parse(path: &Path, bytes: Option<&[u8]>) -> Result<Self> {
        let Some(bytes) = bytes else {
            return Ok(Self::default());
        };
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let damaged = |e: serde_json::Error| {
            let text = format!("{} is damaged", path.display());
            Error::caused_by(ErrorKind::Corrupt, text, e).with_hint(
                "put back a copy, or move it away: then only the token of the owner is known",
            )
        };
        let versioned: Versioned = serde_json::from_slice(bytes).map_err(damaged)?;
        if versioned.version > VERSION {
            let text = format!("{} was written by a newer version", path.display());
            return Err(Error::new(ErrorKind::Unsupported, text).with_hint("use that version"));
        }
        serde_json::from_slice(bytes).map_err(damaged)
    }

    /// What an owner of keys is; `None` for users that are not known.
    pub(super) fn role_of(&self, owner: &Principal) -> Option<Role> {
        match owner.kind() {
            PrincipalKind::Person => self.users.get(owner.name()).map(|user| user.role),
            _ => Some(Role::Builder),
        }
    }
}

/// The book with its index.
#[derive(Debug, Default)]
pub(super) struct Indexed {
    pub(super) book: Book,
    by_hash: HashMap<String, KeyId>,
}

impl Indexed {
    pub(super) fn new(book: Book) -> Self {
        let pair = |stored: &Stored| (stored.hash.clone(), stored.key.id.clone());
        let by_hash = book.keys.values().map(pair).collect();
        Self { book, by_hash }
    }

    pub(super) fn parse(path: &Path, bytes: Option<&[u8]>) -> Result<Self> {
        Book::parse(path, bytes).map(Self::new)
    }

    /// The key of a token. An entry is found by a hash, which tells nothing about the token; then
    /// both are compared in constant time.
    pub(super) fn find(&self, token: &Token) -> Option<&Key> {
        let id = self.by_hash.get(&token.hash().to_string())?;
        let stored = self.book.keys.get(id)?;
        let hash = TokenHash::parse(&stored.hash).ok()?;
        hash.accepts(token).then_some(&stored.key)
    }
}

/// Whether users may be called so: letters, digits, `.`, `_`, `-`, `+` and `@`, at most 64.
#[must_use]
pub fn is_user_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-+@".contains(&b);
    (1..=MAX_USER_NAME).contains(&name.len())
        && name.bytes().all(plain)
        && !name.starts_with(['-', '.'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_keys_and_users() {
        let id = KeyId::of_number(0xabc);
        assert_eq!(id.as_str(), "K00000abc");
        assert_eq!(id.as_str().parse::<KeyId>().unwrap(), id);
        let secret = Token::from_entropy([7; 32]);
        let error = secret.reveal().parse::<KeyId>().unwrap_err();
        assert!(
            !error.chain().contains("0707"),
            "the secret is not repeated"
        );
        for name in ["ann", "ann@example.org", "a.b-c_d+e"] {
            assert!(is_user_name(name), "{name}");
        }
        for name in ["", "-x", ".x", "a b", "a/b", "a:b", &"x".repeat(65)] {
            assert!(!is_user_name(name), "{name}");
        }
    }

    #[test]
    fn books_of_newer_versions_and_damaged_ones_are_refused_by_name() {
        let path = Path::new("/data/who/book.json");
        let newer = Book::parse(path, Some(br#"{"version":2,"people":[]}"#)).unwrap_err();
        assert_eq!(newer.kind(), ErrorKind::Unsupported);
        for bad in [
            &b""[..],
            b"{",
            b"[]",
            br#"{"version":1,"users":{"ann":{"role":"king"}}}"#,
        ] {
            let error = Book::parse(path, Some(bad)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            assert!(error.to_string().contains("/data/who/book.json") && error.hint().is_some());
        }
        assert!(Book::parse(path, None).unwrap().users.is_empty());
    }
}
