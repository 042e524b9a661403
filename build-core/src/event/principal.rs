//! Who did something.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};

/// What sort of somebody a [`Principal`] is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum PrincipalKind {
    /// The farm itself.
    Farm,
    /// A person.
    Person,
    /// A supply of work.
    Source,
    /// A reader of the log.
    Reader,
    /// A program that acts by rules of its own.
    Bot,
    /// A machine.
    Machine,
    /// A sort this version does not know: a lower-case word.
    Other(String),
}

impl PrincipalKind {
    fn as_str(&self) -> &str {
        match self {
            Self::Farm => "farm",
            Self::Person => "person",
            Self::Source => "source",
            Self::Reader => "reader",
            Self::Bot => "bot",
            Self::Machine => "machine",
            Self::Other(word) => word,
        }
    }
}

/// Who did something: `person:ann`, `farm`. Two are the same when both parts are.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Principal {
    kind: PrincipalKind,
    name: String,
}

/// Longest name in bytes; of a longer one the first are kept.
const MAX_NAME: usize = 256;

impl Principal {
    /// Somebody of a sort. Control characters in the name become spaces, and what is longer than
    /// 256 bytes is cut.
    pub fn new(kind: PrincipalKind, name: &str) -> Self {
        let plain = |c: char| if c.is_control() { ' ' } else { c };
        let mut name: String = name.trim().chars().map(plain).collect();
        name.truncate(name.floor_char_boundary(MAX_NAME));
        Self { kind, name }
    }

    /// The farm itself.
    pub fn farm() -> Self {
        Self::new(PrincipalKind::Farm, "")
    }

    /// A person.
    pub fn person(name: &str) -> Self {
        Self::new(PrincipalKind::Person, name)
    }

    /// What sort of somebody.
    pub fn kind(&self) -> &PrincipalKind {
        &self.kind
    }

    /// The name among those of its sort; empty for the farm itself.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// For people: the name alone of a person, and of others what they are, too.
    pub fn text(&self) -> String {
        match (&self.kind, self.name.is_empty()) {
            (PrincipalKind::Person, false) => self.name.clone(),
            (kind, true) => kind.as_str().to_owned(),
            (kind, false) => format!("{} {}", kind.as_str(), self.name),
        }
    }
}

/// A person of this name.
impl From<&str> for Principal {
    fn from(name: &str) -> Self {
        Self::person(name)
    }
}

impl fmt::Display for Principal {
    /// As it is stored: `KIND:NAME`, or `KIND` when there is no name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.as_str())?;
        match self.name.is_empty() {
            true => Ok(()),
            false => write!(f, ":{}", self.name),
        }
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Principal {
    type Err = Error;

    /// Reads what [`fmt::Display`] writes.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] naming the text.
    fn from_str(text: &str) -> Result<Self, Error> {
        let (kind, name) = text.split_once(':').unwrap_or((text, ""));
        let is_word = |kind: &str| {
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            (1..=64).contains(&kind.len()) && kind.bytes().all(plain)
        };
        let kind = match kind {
            "farm" => PrincipalKind::Farm,
            "person" => PrincipalKind::Person,
            "source" => PrincipalKind::Source,
            "reader" => PrincipalKind::Reader,
            "bot" => PrincipalKind::Bot,
            "machine" => PrincipalKind::Machine,
            other if is_word(other) => PrincipalKind::Other(other.to_owned()),
            _ => {
                let text = format!("bad principal {text:?}");
                return Err(Error::new(ErrorKind::Invalid, text));
            }
        };
        Ok(Self::new(kind, name))
    }
}

impl TryFrom<String> for Principal {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Principal> for String {
    fn from(principal: Principal) -> Self {
        principal.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_comes_back_as_it_was_written() {
        for text in ["farm", "person:ann", "reader:rerun", "vendor:x:y"] {
            let read: Principal = text.parse().unwrap();
            assert_eq!(read.to_string(), text);
        }
        assert_eq!(Principal::person("ann").text(), "ann");
        assert_eq!(Principal::farm().text(), "farm");
        assert!("".parse::<Principal>().is_err());
        assert!("Ann".parse::<Principal>().is_err());
    }
}
