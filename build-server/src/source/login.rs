//! Passwords in the URLs of repositories: they are known to this process alone, and told to git where
//! no other user reads them. No event, file or argument has them.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use percent_encoding::percent_decode_str;
use tokio::process::Command;

/// What asks for the password: git runs it for whoever wants a login, and it says what the environment
/// says, which only its owner reads.
const HELPER: &str = "!f() { test \"$1\" = get && \
     printf 'username=%s\\npassword=%s\\n' \"$FARMER_GIT_USER\" \"$FARMER_GIT_PASSWORD\"; }; f";

/// Who fetches, with what password.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Login {
    user: Vec<u8>,
    password: Vec<u8>,
}

impl fmt::Debug for Login {
    /// Without the password; the name of a user may be a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(…)")
    }
}

impl Login {
    /// Lets git know, instead of what the user's own settings know for the address.
    pub(super) fn tell(&self, git: &mut Command) {
        git.env("GIT_CONFIG_COUNT", "2")
            .env("GIT_CONFIG_KEY_0", "credential.helper")
            .env("GIT_CONFIG_VALUE_0", "")
            .env("GIT_CONFIG_KEY_1", "credential.helper")
            .env("GIT_CONFIG_VALUE_1", HELPER)
            .env("FARMER_GIT_USER", OsStr::from_bytes(&self.user))
            .env("FARMER_GIT_PASSWORD", OsStr::from_bytes(&self.password));
    }
}

/// A URL without what is secret in it, and that. Over HTTP the user is left out too, for it may be a
/// token; elsewhere, as in `ssh://git@host/a`, it leads to the repository and stays.
pub(super) fn split(url: &str) -> (String, Option<Login>) {
    let Some((scheme, rest)) = url.split_once("://") else {
        return (url.to_owned(), None);
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let Some(at) = rest[..end].rfind('@') else {
        return (url.to_owned(), None);
    };
    let (user, password) = rest[..at].split_once(':').unwrap_or((&rest[..at], ""));
    let host = &rest[at + 1..];
    if !matches!(scheme, "http" | "https") {
        return (format!("{scheme}://{user}@{host}"), None);
    }
    let decoded = |text: &str| percent_decode_str(text).collect::<Vec<u8>>();
    let login = Login {
        user: decoded(user),
        password: decoded(password),
    };
    (format!("{scheme}://{host}"), Some(login))
}

/// The logins that this process was told of, by their URLs.
#[derive(Clone, Default)]
pub(super) struct Logins(Arc<Mutex<HashMap<String, Login>>>);

impl Logins {
    /// A URL without its password, which is remembered; and the login, also of a URL that is named
    /// without it.
    pub(super) fn of(&self, url: &str) -> (String, Option<Login>) {
        let (plain, told) = split(url);
        // Nothing panics while it holds this lock.
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(login) = told {
            all.insert(plain.clone(), login);
        }
        let login = all.get(&plain).cloned();
        (plain, login)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_taken_out_and_remembered_for_their_address() {
        let logins = Logins::default();
        let url = "https://me%40x:p%3Aw@host:8/a/b@c.git";
        let plain = "https://host:8/a/b@c.git";
        let (told, login) = logins.of(url);
        let expected = Login {
            user: b"me@x".to_vec(),
            password: b"p:w".to_vec(),
        };
        assert_eq!((told.as_str(), login.as_ref()), (plain, Some(&expected)));
        assert_eq!(logins.of(plain), (plain.to_owned(), Some(expected)));
        assert_eq!(split("https://token@host/a").0, "https://host/a");
        for (url, plain) in [
            ("ssh://git:pw@host:22/a", "ssh://git@host:22/a"),
            ("git@host:a/b", "git@host:a/b"),
            ("https://host/a@b", "https://host/a@b"),
            ("file:///a@b/c", "file:///a@b/c"),
        ] {
            assert_eq!(split(url), (plain.to_owned(), None));
        }
        assert!(!format!("{:?}", logins.of(plain)).contains("p:w"));
    }
}
