//! Whose a session is.

use build_core::{Error, ErrorKind, Result};

/// How users are called in basic authentication and in names of sessions: `user-alice`.
pub(super) const USER_PREFIX: &str = "user-";
/// Longest name of a user, and longest domain of a mail address.
const MAX_NAME: usize = 64;

/// Somebody who may have sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    name: String,
}

/// Whether it can be a part of a session's name.
fn is_plain(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let starts_well = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    starts_well && text.len() <= MAX_NAME && text.bytes().all(plain)
}

impl User {
    /// Somebody of this name, without the prefix `user-`; or of this mail address, as identity
    /// providers name people.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for what cannot be a part of a session's name: other characters
    /// than letters, digits, `.`, `_`, `-`, an empty name, or one longer than 64.
    pub fn new(name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        let is_fine = match name.rsplit_once('@') {
            Some((local, domain)) => is_plain(local) && is_plain(domain),
            None => is_plain(&name),
        };
        match is_fine {
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

    /// What their sessions are named after: the name, of a mail address what stands before the
    /// domain. Several users may have the same one; who they are is [`User::name`].
    pub fn short_name(&self) -> &str {
        self.name
            .rsplit_once('@')
            .map_or(&self.name, |(local, _)| local)
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
        let ann = User::new("ann@example.org").unwrap();
        assert_eq!((ann.name(), ann.short_name()), ("ann@example.org", "ann"));
        let long = "x".repeat(65);
        for bad in [
            "", "-x", ".x", "../x", "a b", "a/b", "a@", "@b", "a@b@c", "a@../b", &long,
        ] {
            assert!(User::new(bad).is_err(), "{bad}");
        }
    }
}
