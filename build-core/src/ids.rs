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

fn is_build_id(text: &str) -> bool {
    text.len() == 10 && text.starts_with(['B', 'S']) && is_lower_hex(&text[1..])
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
    /// What events belong to. One build, one commit on one builder: `B` and nine lower-case hex
    /// digits. Or one session, a machine held for somebody: `S` and as many.
    BuildId, "build id", is_build_id
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
    /// A secret that proves who holds a lease. Never printed by `Debug` of the types that carry it.
    Nonce, "nonce", is_plain
}

impl BuildId {
    /// The id made of the low 36 bits of `bits`.
    pub fn from_bits(bits: u64) -> Self {
        Self(format!("B{:09x}", bits & 0xf_ffff_ffff).into())
    }

    /// The id of a session, made of the low 36 bits of `bits`.
    pub fn session_from_bits(bits: u64) -> Self {
        Self(format!("S{:09x}", bits & 0xf_ffff_ffff).into())
    }

    /// Whether it is the id of a session.
    pub fn is_session(&self) -> bool {
        self.0.starts_with('S')
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
        assert!(!id.is_session());
        let session = BuildId::session_from_bits(7);
        assert_eq!(BuildId::new("S000000007").unwrap(), session);
        assert!(session.is_session());
    }

    #[test]
    fn a_bad_identifier_in_json_is_an_error_that_names_it() {
        let err = serde_json::from_str::<BuildId>("\"B12\"").unwrap_err();
        assert!(err.to_string().contains("bad build id \"B12\""), "{err}");
    }
}
