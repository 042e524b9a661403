//! What a key is good for.

use std::fmt;
use std::str::FromStr;

use build_core::{Error, ErrorKind};
use serde::{Deserialize, Serialize};

use super::Right;

/// Longest text of one grant in bytes.
const MAX_GRANT: usize = 512;
/// Grants of one key at most.
const MAX_GRANTS: usize = 64;

/// A name, or how names begin: `host-linux-*`, `*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(String);

impl Pattern {
    /// Any name.
    #[must_use]
    pub fn any() -> Self {
        Self("*".into())
    }

    /// A name, or the beginning of names with `*` behind it.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for an empty text, control characters, a comma or a white space,
    /// or a `*` before the end.
    pub fn new(text: &str) -> Result<Self, Error> {
        let bad = |why: &str| {
            let text = format!("bad pattern {text:?}: {why}");
            Error::new(ErrorKind::Invalid, text)
                .with_hint("write a name, or its beginning and a `*`: host-linux-*")
        };
        if text.is_empty() || text.len() > MAX_GRANT {
            return Err(bad("it is empty or too long"));
        }
        if text.contains(|c: char| c.is_control() || c.is_whitespace() || c == ',') {
            return Err(bad("names hold no white space and no comma"));
        }
        if text[..text.len() - 1].contains('*') {
            return Err(bad("`*` stands at the end"));
        }
        Ok(Self(text.to_owned()))
    }

    /// Whether it is `name`, or how `name` begins.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(begin) => name.starts_with(begin),
            None => self.0 == name,
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Pattern {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        Self::new(text)
    }
}

impl TryFrom<String> for Pattern {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        Self::new(&text)
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.0
    }
}

/// One thing that a key is good for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Grant {
    /// `all`: whatever its owner may do.
    All,
    /// `builds`: ask for builds, and end them.
    Builds,
    /// `sessions`: make and drive sessions.
    Sessions,
    /// `machine:TYPE/NAME`: register machines of this host type under this name.
    Machine(Pattern, Pattern),
    /// `builder:NAME`: post results of this builder.
    Builder(Pattern),
    /// `repo:NAME`: read this private repository, if its owner may.
    Repo(Pattern),
}

impl Grant {
    fn covers(&self, right: Right<'_>) -> bool {
        match (self, right) {
            (Self::All, _) => true,
            (Self::Builds, Right::Builds) | (Self::Sessions, Right::Sessions) => true,
            (Self::Machine(kind, machine), Right::Register { host_type, name }) => {
                kind.matches(host_type) && machine.matches(name)
            }
            (Self::Builder(pattern), Right::Post(name)) => pattern.matches(name),
            (Self::Repo(pattern), Right::Read(name)) => pattern.matches(name),
            _ => false,
        }
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Builds => f.write_str("builds"),
            Self::Sessions => f.write_str("sessions"),
            Self::Machine(kind, name) => write!(f, "machine:{kind}/{name}"),
            Self::Builder(name) => write!(f, "builder:{name}"),
            Self::Repo(name) => write!(f, "repo:{name}"),
        }
    }
}

impl FromStr for Grant {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let unknown = || {
            let text = format!("a key cannot be good for {text:?}");
            Error::new(ErrorKind::Invalid, text).with_hint(
                "write all, builds, sessions, machine:TYPE/NAME, builder:NAME or repo:NAME",
            )
        };
        match text.split_once(':') {
            None if text == "all" => Ok(Self::All),
            None if text == "builds" => Ok(Self::Builds),
            None if text == "sessions" => Ok(Self::Sessions),
            Some(("machine", rest)) => {
                let (kind, name) = rest.split_once('/').ok_or_else(unknown)?;
                Ok(Self::Machine(Pattern::new(kind)?, Pattern::new(name)?))
            }
            Some(("builder", name)) => Ok(Self::Builder(Pattern::new(name)?)),
            Some(("repo", name)) => Ok(Self::Repo(Pattern::new(name)?)),
            _ => Err(unknown()),
        }
    }
}

impl TryFrom<String> for Grant {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Grant> for String {
    fn from(grant: Grant) -> Self {
        grant.to_string()
    }
}

/// All that a key is good for; never more than its owner may.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scope(Vec<Grant>);

impl Scope {
    /// Whatever the owner may do.
    #[must_use]
    pub fn all() -> Self {
        Self(vec![Grant::All])
    }

    /// These.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when there are none, [`ErrorKind::Limit`] for more than 64.
    pub fn of(grants: impl IntoIterator<Item = Grant>) -> Result<Self, Error> {
        let grants: Vec<_> = grants.into_iter().collect();
        if grants.is_empty() {
            let text = "a key that is good for nothing";
            return Err(Error::new(ErrorKind::Invalid, text).with_hint("say what for with --scope"));
        }
        if grants.len() > MAX_GRANTS {
            let text = format!("a key is good for {MAX_GRANTS} things at most");
            return Err(
                Error::new(ErrorKind::Limit, text).with_hint("use patterns: builder:linux-*")
            );
        }
        Ok(Self(grants))
    }

    /// The single grants.
    #[must_use]
    pub fn grants(&self) -> &[Grant] {
        &self.0
    }

    /// Whether it includes this.
    #[must_use]
    pub fn covers(&self, right: Right<'_>) -> bool {
        self.0.iter().any(|grant| grant.covers(right))
    }
}

impl From<Grant> for Scope {
    fn from(grant: Grant) -> Self {
        Self(vec![grant])
    }
}

impl fmt::Display for Scope {
    /// The grants with commas between them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.pad(&words.join(","))
    }
}

impl FromStr for Scope {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let words = text.split(',').map(str::trim).filter(|w| !w.is_empty());
        Self::of(words.map(str::parse).collect::<Result<Vec<_>, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_scope_covers_what_it_names() {
        let scope: Scope = "machine:host-arm64/board-7, builder:linux-*,repo:secret"
            .parse()
            .unwrap();
        let machine = |host_type, name| Right::Register { host_type, name };
        assert!(scope.covers(machine("host-arm64", "board-7")));
        assert!(!scope.covers(machine("host-arm64", "board-70")));
        assert!(!scope.covers(machine("host-amd64", "board-7")));
        assert!(scope.covers(Right::Post("linux-amd64")) && !scope.covers(Right::Post("windows")));
        assert!(scope.covers(Right::Read("secret")) && !scope.covers(Right::Read("secret2")));
        assert!(!scope.covers(Right::Sessions) && !scope.covers(Right::Administer));
        assert!(Scope::all().covers(Right::Administer));
        assert_eq!(scope.to_string().parse::<Scope>().unwrap(), scope);
    }

    #[test]
    fn what_is_no_scope_is_refused_with_a_remedy() {
        for bad in [
            "",
            ",",
            "everything",
            "machine:x",
            "repo:",
            "builder:a*b",
            "host:x",
            "repo:a b",
        ] {
            let error = bad.parse::<Scope>().unwrap_err();
            assert!(error.hint().is_some(), "{bad:?}: {error}");
        }
        let many = vec!["builds"; 65].join(",");
        assert_eq!(many.parse::<Scope>().unwrap_err().kind(), ErrorKind::Limit);
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_alike(text in "(all|builds|sessions|(machine|builder|repo):[a-z*/-]{0,8})(,[a-z:/*]{0,9})?") {
            if let Ok(scope) = text.parse::<Scope>() {
                prop_assert_eq!(scope.to_string().parse::<Scope>().unwrap(), scope);
            }
        }
    }
}
