//! Identifiers: a type for each, parsed once at the edge.
//!
//! All of them are short printable strings on the wire and in the store; the
//! types keep a lease from being passed for a build.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};

/// Longest accepted identifier, in bytes.
pub const MAX_ID_LEN: usize = 128;

fn is_plain(text: &str) -> bool {
    !text.starts_with(['.', '-'])
        && text.bytes().all(|b| {
            b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'+' | b':' | b'@')
        })
}

fn is_printable(text: &str) -> bool {
    text.trim() == text && !text.chars().any(char::is_control)
}

fn is_hash(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && is_lower_hex(text)
}

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_numbered(text: &str, letter: char, digits: usize) -> bool {
    let number = text.strip_prefix(letter);
    number.is_some_and(|number| number.len() == digits && is_lower_hex(number))
}

macro_rules! string_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $accepts:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses the identifier.
            ///
            /// # Errors
            /// [`ErrorKind::Invalid`] naming the text when it is empty, too long, or has
            /// characters this identifier does not allow.
            pub fn new(text: impl AsRef<str>) -> Result<Self, Error> {
                let text = text.as_ref();
                let accepts: fn(&str) -> bool = $accepts;
                if text.is_empty() || text.len() > MAX_ID_LEN || !accepts(text) {
                    return Err(Error::new(ErrorKind::Invalid, format!(concat!("bad ", $what, " {:?}"), text)));
                }
                Ok(Self(text.into()))
            }

            /// The identifier as text.
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

        impl FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self, Error> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;
            fn try_from(text: String) -> Result<Self, Error> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.as_ref().into()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

string_id! {
    /// A named configuration that builds run under, such as `linux-amd64`.
    BuilderName, "builder name", is_plain
}
string_id! {
    /// A kind of machine, such as `host-linux-jessie` or `local`.
    HostType, "host type", is_plain
}
string_id! {
    /// One machine, or one slot of a machine, in a pool.
    MachineId, "machine id", is_plain
}
string_id! {
    /// A capacity that machines share, such as `cores-eu`.
    AccountName, "account name", is_plain
}
string_id! {
    /// A repository as users name it: `farmer`, `golang/go`.
    RepoName, "repository name", is_printable
}
string_id! {
    /// The full object id of a commit: 40 (SHA-1) or 64 (SHA-256) lower-case hex digits.
    CommitHash, "commit hash", is_hash
}
string_id! {
    /// A change under review, such as `I8473b95934b5732ac55d26311a706c9c2bde9940` or `#17`.
    ChangeRef, "change", is_printable
}
string_id! {
    /// One build, one commit on one builder: `B` and nine lower-case hex digits.
    BuildId, "build id", |text| is_numbered(text, 'B', 9)
}
string_id! {
    /// One session, a machine held for somebody: `S` and nine lower-case hex digits.
    SessionId, "session id", |text| is_numbered(text, 'S', 9)
}
string_id! {
    /// A repository, whatever it is called and wherever it lies: `R` and 32 lower-case hex
    /// digits, drawn when it is first seen.
    RepoId, "repository id", |text| is_numbered(text, 'R', 32)
}
string_id! {
    /// A patch set that is tried.
    TrySetId, "try set id", is_plain
}
string_id! {
    /// A workflow, such as one release.
    WorkflowId, "workflow id", is_plain
}
string_id! {
    /// A program that acts by rules of its own.
    BotName, "bot name", is_plain
}
string_id! {
    /// The name of a stream among those of a kind of somebody else's.
    StreamName, "stream name", is_printable
}
string_id! {
    /// One who reads facts and acts on them, such as `rerun` or `gitmirror`.
    ReaderName, "reader name", is_plain
}
string_id! {
    /// Whereto a reader's effects go, such as `webhook` or `mail`.
    SinkName, "sink name", is_plain
}
string_id! {
    /// One effect of a reader. The same key is the same effect, however often it is derived.
    EffectKey, "effect key", is_printable
}
string_id! {
    /// What effects are about; those of one topic are made one after another, in order.
    Topic, "topic", is_printable
}
string_id! {
    /// The right to one machine for some time.
    LeaseId, "lease id", is_plain
}
string_id! {
    /// One command started on a buildlet; survives the connection that started it.
    ExecId, "exec id", is_plain
}
string_id! {
    /// A machine held for a person or a tool.
    SessionName, "session name", is_plain
}
string_id! {
    /// A step of a build, as its configuration names it.
    StepName, "step name", is_printable
}
string_id! {
    /// The name of a secret that somebody keeps; not the secret.
    SecretName, "name of a secret", is_printable
}
string_id! {
    /// A secret that proves who holds a lease. Never printed by `Debug` of the types that carry it.
    Nonce, "nonce", is_plain
}

impl BuildId {
    /// The id made of the low 36 bits of `bits`.
    pub fn from_bits(bits: u64) -> Self {
        Self(format!("B{:09x}", bits & 0xf_ffff_ffff).into())
    }
}

impl SessionId {
    /// The id made of the low 36 bits of `bits`.
    pub fn from_bits(bits: u64) -> Self {
        Self(format!("S{:09x}", bits & 0xf_ffff_ffff).into())
    }
}

impl RepoId {
    /// The id made of all bits of `bits`.
    pub fn from_bits(bits: u128) -> Self {
        Self(format!("R{bits:032x}").into())
    }
}

/// What holds machines: a build or a session.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum HolderId {
    /// A build.
    Build(BuildId),
    /// A session.
    Session(SessionId),
}

impl HolderId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Build(id) => id.as_str(),
            Self::Session(id) => id.as_str(),
        }
    }

    /// The build, if it is one.
    pub fn build(&self) -> Option<&BuildId> {
        match self {
            Self::Build(id) => Some(id),
            Self::Session(_) => None,
        }
    }

    /// The session, if it is one.
    pub fn session(&self) -> Option<&SessionId> {
        match self {
            Self::Build(_) => None,
            Self::Session(id) => Some(id),
        }
    }

    /// The word for what it is: `build` or `session`.
    pub fn what(&self) -> &'static str {
        match self {
            Self::Build(_) => "build",
            Self::Session(_) => "session",
        }
    }
}

impl From<BuildId> for HolderId {
    fn from(id: BuildId) -> Self {
        Self::Build(id)
    }
}

impl From<SessionId> for HolderId {
    fn from(id: SessionId) -> Self {
        Self::Session(id)
    }
}

impl From<&BuildId> for HolderId {
    fn from(id: &BuildId) -> Self {
        Self::Build(id.clone())
    }
}

impl From<&SessionId> for HolderId {
    fn from(id: &SessionId) -> Self {
        Self::Session(id.clone())
    }
}

impl From<&Self> for HolderId {
    fn from(id: &Self) -> Self {
        id.clone()
    }
}

impl fmt::Display for HolderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for HolderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for HolderId {
    type Err = Error;

    /// Reads the id of a build or a session, as people write it.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] naming the text when it is neither.
    fn from_str(text: &str) -> Result<Self, Error> {
        match SessionId::new(text) {
            Ok(session) => Ok(Self::Session(session)),
            Err(_) => BuildId::new(text).map(Self::Build),
        }
    }
}

impl TryFrom<String> for HolderId {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<HolderId> for String {
    fn from(id: HolderId) -> Self {
        id.as_str().to_owned()
    }
}

/// Names a wish: 128 bits, written as 32 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WishKey(u128);

impl WishKey {
    /// The key made of these bits.
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// The key that stands for `parts`: the first half of their SHA-256, each with its length
    /// before it. The same parts make the same key, in any process.
    pub fn of(parts: &[&[u8]]) -> Self {
        use sha2::{Digest, Sha256};
        let mut digest = Sha256::new();
        for part in parts {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        let digest = digest.finalize();
        Self(
            digest
                .iter()
                .take(16)
                .fold(0, |bits, byte| bits << 8 | u128::from(*byte)),
        )
    }
}

impl fmt::Display for WishKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for WishKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for WishKey {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let bits = Some(text).filter(|text| text.len() == 32 && is_lower_hex(text));
        let bits = bits.and_then(|text| u128::from_str_radix(text, 16).ok());
        bits.map(Self)
            .ok_or_else(|| Error::new(ErrorKind::Invalid, format!("bad wish key {text:?}")))
    }
}

impl TryFrom<String> for WishKey {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<WishKey> for String {
    fn from(key: WishKey) -> Self {
        key.to_string()
    }
}

impl Nonce {
    /// What stands where a proof is not known; it proves nothing.
    pub fn unknown() -> Self {
        Self("unknown".into())
    }
}

impl LeaseId {
    /// The id made of all bits of `bits`.
    pub fn from_bits(bits: u64) -> Self {
        Self(format!("L{bits:016x}").into())
    }
}

impl CommitHash {
    /// The first ten digits, enough for people.
    pub fn short(&self) -> &str {
        &self.0[..10]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_refuse_what_cannot_be_one() {
        assert!(BuilderName::new("linux-amd64").is_ok());
        for bad in ["", "../x", "a/b", "a b", "-x", "é"] {
            assert!(BuilderName::new(bad).is_err(), "{bad:?}");
        }
        assert!(CommitHash::new("0123456789012345678901234567890123456789").is_ok());
        assert!(CommitHash::new("0123").is_err());
        assert!(StepName::new("unit tests").is_ok());
        assert!(StepName::new("a\nb").is_err());
    }

    #[test]
    fn build_ids_have_the_shape_of_the_protocol() {
        let id = BuildId::from_bits(u64::MAX);
        assert_eq!(id.as_str(), "Bfffffffff");
        assert_eq!(BuildId::new(id.as_str()).unwrap(), id);
        let session = SessionId::from_bits(7);
        assert_eq!("S000000007".parse::<HolderId>().unwrap(), session.into());
        assert_eq!("Bfffffffff".parse::<HolderId>().unwrap(), id.into());
        assert!(BuildId::new("S000000007").is_err());
    }

    #[test]
    fn a_bad_identifier_in_json_is_an_error_that_names_it() {
        let err = serde_json::from_str::<BuildId>("\"B12\"").unwrap_err();
        assert!(err.to_string().contains("bad build id \"B12\""), "{err}");
    }
}
