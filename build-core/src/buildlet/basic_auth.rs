//! HTTP Basic authentication as buildlets use it: only the password counts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::key::same_secret;

/// User name that Go clients send to a buildlet.
pub const GO_USER: &str = "gomote";

/// The value of an `Authorization` field.
#[must_use]
pub fn basic_auth(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// User and password of an `Authorization` field; `None` for another scheme or bad text.
#[must_use]
pub fn parse_basic_auth(value: &[u8]) -> Option<(String, String)> {
    let (scheme, encoded) = value.split_at_checked(6)?;
    let pair = scheme
        .eq_ignore_ascii_case(b"basic ")
        .then(|| STANDARD.decode(encoded).ok())??;
    let (user, password) = std::str::from_utf8(&pair).ok()?.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// Whether the field carries the password, whatever the user; in constant time.
#[must_use]
pub fn has_password(value: Option<&[u8]>, password: &str) -> bool {
    let given = value.and_then(parse_basic_auth);
    given.is_some_and(|(_, given)| same_secret(given.as_bytes(), password.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_and_written() {
        let field = basic_auth("gomote", "pw:1");
        assert_eq!(field, "Basic Z29tb3RlOnB3OjE=");
        assert_eq!(
            parse_basic_auth(field.as_bytes()),
            Some(("gomote".into(), "pw:1".into()))
        );
        assert_eq!(
            parse_basic_auth(b"basic Og=="),
            Some((String::new(), String::new()))
        );
        for bad in [
            "",
            "Basic",
            "Basic ",
            "Basic %%%",
            "Bearer Og==",
            "Basic Zm9v",
            "Basic //8=",
        ] {
            assert_eq!(parse_basic_auth(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn only_the_password_counts() {
        let field = |user, password| basic_auth(user, password).into_bytes();
        assert!(has_password(Some(&field("anyone", "pw")), "pw"));
        assert!(!has_password(Some(&field("gomote", "pw2")), "pw"));
        assert!(!has_password(Some(&field("gomote", "")), "pw"));
        assert!(!has_password(None, "pw"));
    }
}
