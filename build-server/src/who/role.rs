//! What somebody is, and what there is to be allowed.

use std::fmt;
use std::str::FromStr;

use build_core::{Error, ErrorKind};
use serde::{Deserialize, Serialize};

/// What somebody is to a farm. A builder is not more than a user, and a user not more than a
/// builder: ask what they may do ([`Role::allows`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Role {
    /// Reads public pages.
    Anyone,
    /// Asks for builds, ends them, has sessions.
    User,
    /// A machine, or what posts results: registers and posts what its key names.
    Builder,
    /// Everything.
    Admin,
}

/// Something that not everybody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Right<'a> {
    /// Ask for builds, and end them.
    Builds,
    /// Make sessions, and drive one's own.
    Sessions,
    /// Register a machine.
    Register {
        /// Its kind, as `X-Go-Host-Type` names it.
        host_type: &'a str,
        /// Its own name, as `X-Go-Builder-Hostname` names it.
        name: &'a str,
    },
    /// Post results of this builder, and clear them.
    Post(&'a str),
    /// Read a repository that is private.
    Read(&'a str),
    /// Manage users, keys and settings.
    Administer,
}

impl Role {
    /// All of them, from the least.
    pub const ALL: [Self; 4] = [Self::Anyone, Self::User, Self::Builder, Self::Admin];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anyone => "anyone",
            Self::User => "user",
            Self::Builder => "builder",
            Self::Admin => "admin",
        }
    }

    /// Whether somebody of this role may ever do it. A key's scope may allow less; which private
    /// repositories a user reads is said with the user.
    #[must_use]
    pub fn allows(self, right: Right<'_>) -> bool {
        match self {
            Self::Anyone => false,
            Self::User => matches!(right, Right::Builds | Right::Sessions | Right::Read(_)),
            Self::Builder => matches!(right, Right::Register { .. } | Right::Post(_)),
            Self::Admin => true,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Role {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|role| role.as_str() == text);
        found.ok_or_else(|| {
            Error::new(ErrorKind::Invalid, format!("there is no role {text:?}"))
                .with_hint("roles are anyone, user, builder and admin")
        })
    }
}

impl fmt::Display for Right<'_> {
    /// As the end of a sentence: somebody may not …
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Builds => f.write_str("ask for builds or end them"),
            Self::Sessions => f.write_str("have sessions"),
            Self::Register { host_type, name } => {
                write!(f, "register machine {name:?} of host type {host_type:?}")
            }
            Self::Post(builder) => write!(f, "post results of builder {builder:?}"),
            Self::Read(repo) => write!(f, "read repository {repo:?}"),
            Self::Administer => f.write_str("manage users, keys and settings"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_no_ladder() {
        let machine = Right::Register {
            host_type: "host-a",
            name: "a",
        };
        assert!(Role::Builder.allows(machine) && !Role::User.allows(machine));
        assert!(Role::User.allows(Right::Sessions) && !Role::Builder.allows(Right::Sessions));
        assert!(!Role::Builder.allows(Right::Read("x")));
        for right in [Right::Builds, Right::Sessions, machine, Right::Administer] {
            assert!(Role::Admin.allows(right) && !Role::Anyone.allows(right));
        }
        assert!(!Role::User.allows(Right::Administer) && !Role::Builder.allows(Right::Administer));
    }

    #[test]
    fn words_come_back() {
        for role in Role::ALL {
            assert_eq!(role.to_string().parse::<Role>().unwrap(), role);
        }
        assert!("root".parse::<Role>().unwrap_err().hint().is_some());
    }
}
