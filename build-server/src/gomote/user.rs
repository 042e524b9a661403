//! Whose a session is.

use build_core::{Error, ErrorKind, Result};

/// How users are called in basic authentication and in names of sessions: `user-alice`.
pub(super) const USER_PREFIX: &str = "user-";
/// Longest name of a user.
const MAX_NAME: usize = 64;

/// Somebody who may have sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    name: String,
}

impl User {
    /// Somebody of this name, without the prefix `user-`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for what cannot be a part of a session's name: other characters
    /// than letters, digits, `.`, `_`, `-`, an empty name, or one longer than 64.
    pub fn new(name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let starts_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
        match starts_well && name.len() <= MAX_NAME && name.bytes().all(plain) {
            true => Ok(Self { name }),
            false => Err(Error::new(
                ErrorKind::Invalid,
                format!("{name:?} cannot be the name of a gomote user"),
            )),
        }
    }

    /// The name, without the prefix `user-`.
    pub fn name(&self) -> &str {
        &self.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_users_are_plain() {
        for name in ["alice", "a.b", "Ann_1", "x-y"] {
            assert_eq!(User::new(name).unwrap().name(), name);
        }
        for bad in ["", "-x", ".x", "../x", "a b", "a/b", "a@b", &"x".repeat(65)] {
            assert!(User::new(bad).is_err(), "{bad}");
        }
    }
}
