//! Keys of builders and users: the legacy keys that Go buildlets present, and random tokens.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha1::{Digest, Sha1};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::error::{Error, ErrorKind, Result};

/// The public master key of development coordinators.
pub const GO_DEVELOPMENT_MASTER: &str = "gophers rule";

/// How token texts begin, so that people and scanners recognise them.
const TOKEN_PREFIX: &str = "farmer_";
const TOKEN_BYTES: usize = 32;

/// Whether two secrets are equal, in a time that depends on their lengths alone.
#[must_use]
pub fn same_secret(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// The secret from which the legacy key of each host type or user is derived.
///
/// Legacy: one key for all machines of a type, by HMAC-MD5, kept for Go buildlets and
/// clients. Prefer a [`Token`] for everything new.
#[derive(Clone)]
pub struct MasterKey(Vec<u8>);

impl MasterKey {
    /// A master key; white space around it is dropped.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when it is empty: everybody would know every key.
    pub fn new(secret: impl AsRef<[u8]>) -> Result<Self> {
        let secret = secret.as_ref().trim_ascii();
        if secret.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "the master key is empty"));
        }
        Ok(Self(secret.to_vec()))
    }

    /// The key of a host type, or of a user by the name `user-NAME`: 32 lower-case hex
    /// digits.
    #[must_use]
    pub fn key_of(&self, name: &str) -> String {
        let mut mac = Hmac::<Md5>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(name.as_bytes());
        hex::encode(mac.finalize().into_bytes())
    }

    /// Whether `key` is the key of `name`; in constant time.
    #[must_use]
    pub fn accepts(&self, name: &str, key: &str) -> bool {
        same_secret(self.key_of(name).as_bytes(), key.as_bytes())
    }

    /// A key of `name` that is good until `expires`, seconds since 1970: `v2.EXPIRES.HEX`, by
    /// HMAC-SHA-256 of the name and the time.
    #[must_use]
    pub fn expiring_key_of(&self, name: &str, expires: u64) -> String {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        // A name holds no zero byte that could make two pairs alike: the time has one form.
        mac.update(format!("{EXPIRING_PREFIX}{expires}.").as_bytes());
        mac.update(name.as_bytes());
        format!(
            "{EXPIRING_PREFIX}{expires}.{}",
            hex::encode(mac.finalize().into_bytes())
        )
    }

    /// Whether `key` is a key of `name` at `now`, seconds since 1970: the one without an end, or
    /// one whose end is yet to come. The secrets are compared in constant time.
    #[must_use]
    pub fn accepts_at(&self, name: &str, key: &str, now: u64) -> bool {
        let Some(rest) = key.strip_prefix(EXPIRING_PREFIX) else {
            return self.accepts(name, key);
        };
        let Some(expires) = rest
            .split_once('.')
            .and_then(|(digits, _)| digits.parse::<u64>().ok())
        else {
            return false;
        };
        same_secret(
            self.expiring_key_of(name, expires).as_bytes(),
            key.as_bytes(),
        ) && now < expires
    }
}

/// How keys with an end begin.
const EXPIRING_PREFIX: &str = "v2.";

/// Whether `name` looks like one that keys are for: `user-NAME`, `host-KIND`, or a builder,
/// which begins with a system and a processor of Go.
#[must_use]
pub fn is_principal(name: &str) -> bool {
    let plain = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    let mut words = name.split('-');
    let (first, second) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let starts_right = matches!(first, "user" | "host") || GO_SYSTEMS.contains(&first);
    plain && starts_right && !second.is_empty()
}

/// The systems that Go runs on.
const GO_SYSTEMS: &[&str] = &[
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "illumos",
    "ios",
    "js",
    "linux",
    "misc",
    "nacl",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "wasip1",
    "windows",
];

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(hidden)")
    }
}

/// The password of a buildlet with a TLS key pair: lower-case hex SHA-1 of the exact PEM
/// text of the private key, line ends included.
#[must_use]
pub fn pair_password(key_pem: &str) -> String {
    hex::encode(Sha1::digest(key_pem))
}

/// A random secret that its holder presents as text.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// A token from random bytes, which must come from the system's generator.
    #[must_use]
    pub fn from_entropy(random: [u8; TOKEN_BYTES]) -> Self {
        Self(format!("{TOKEN_PREFIX}{}", hex::encode(random)))
    }

    /// Reads a presented token; white space around it is dropped.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for text that no token has; the text is not repeated.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let digits = text.strip_prefix(TOKEN_PREFIX).unwrap_or_default();
        let lower_hex = digits
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if digits.len() != 2 * TOKEN_BYTES || !lower_hex {
            return Err(Error::new(ErrorKind::Invalid, "text is not a token"));
        }
        Ok(Self(text.to_owned()))
    }

    /// The text to hand out, once.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is stored of it. A plain hash is enough: 256 random bits cannot be guessed.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        TokenHash(Sha256::digest(&self.0).into())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// A stored token: whoever reads it cannot present it.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// Reads the stored form, 64 lower-case hex digits.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] for other text.
    pub fn parse(text: &str) -> Result<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|source| {
            Error::caused_by(ErrorKind::Corrupt, "bad stored token hash", source)
        })?;
        Ok(Self(bytes))
    }

    /// Whether this is the stored form of `token`; in constant time.
    #[must_use]
    pub fn accepts(&self, token: &Token) -> bool {
        same_secret(&self.0, &token.hash().0)
    }
}

impl fmt::Display for TokenHash {
    /// The stored form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenHash({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legacy_keys_of_the_protocol() {
        let dev = MasterKey::new(GO_DEVELOPMENT_MASTER).unwrap();
        assert_eq!(
            dev.key_of("host-linux-foo"),
            "2c3751c948a3f763672397642ac5515c"
        );
        assert_eq!(
            dev.key_of("host-linux-arm64-packet"),
            "3bbd3cc17b04ff172add770f85794dc5"
        );
        assert_eq!(
            dev.key_of("linux-amd64"),
            "8b3dbf220b21848be6884e982b34702e"
        );
        let other = MasterKey::new("secret-master\n").unwrap();
        assert_eq!(
            other.key_of("host-linux-foo"),
            "dd44de8aa63b78d4ff3f40f9ebc9b588"
        );
    }

    #[test]
    fn keys_are_accepted_for_their_name_alone() {
        let master = MasterKey::new("secret-master").unwrap();
        assert!(master.accepts("a", &master.key_of("a")));
        for key in [
            "",
            &master.key_of("b"),
            &master.key_of("a")[..31],
            &master.key_of("a").to_uppercase(),
        ] {
            assert!(!master.accepts("a", key), "{key:?}");
        }
        assert!(MasterKey::new(" \n").is_err());
    }

    #[test]
    fn genbuilderkey_vectors_of_the_protocol() {
        let master = MasterKey::new("secret-master\n").unwrap();
        assert_eq!(
            master.key_of("user-alice"),
            "0531171d6fb533c531e4505db1e343ab"
        );
        assert_eq!(
            master.key_of("host-linux-jessie"),
            "f50bf5984dbdbffd2ffaa7ee1373b735"
        );
    }

    #[test]
    fn keys_with_an_end_end() {
        let master = MasterKey::new("m").unwrap();
        let key = master.expiring_key_of("user-a", 100);
        assert!(key.starts_with("v2.100.") && key.len() == 7 + 64);
        assert!(
            master.accepts_at("user-a", &key, 99)
                && master.accepts_at("user-a", &master.key_of("user-a"), 99)
        );
        assert!(!master.accepts_at("user-a", &key, 100) && !master.accepts_at("user-b", &key, 99));
        for bad in [
            key.replace("100", "200"),
            key.replace("v2.100", "v2.x"),
            "v2.".into(),
            key[..70].into(),
        ] {
            assert!(!master.accepts_at("user-a", &bad, 99), "{bad}");
        }
    }

    #[test]
    fn names_that_keys_are_for() {
        for name in [
            "user-gopher",
            "host-linux-jessie",
            "linux-amd64",
            "linux-386-387",
            "misc-vet-vetall",
        ] {
            assert!(is_principal(name), "{name}");
        }
        for name in [
            "",
            "user",
            "user-",
            "linux",
            "gopher",
            "linxu-amd64",
            "user-a b",
            "-",
        ] {
            assert!(!is_principal(name), "{name}");
        }
    }

    #[test]
    fn the_password_of_a_key_pair() {
        let pem = "-----BEGIN RSA PRIVATE KEY-----\nAA==\n-----END RSA PRIVATE KEY-----\n";
        assert_eq!(
            pair_password(pem),
            "267562cc650a7fbe3279eccbba341fab65fb8370"
        );
    }

    #[test]
    fn tokens_are_stored_hashed() {
        let token = Token::from_entropy([0xab; 32]);
        let stored = token.hash().to_string();
        assert_eq!(stored.len(), 64);
        assert!(!stored.contains("abab"));
        let hash = TokenHash::parse(&stored).unwrap();
        assert!(hash.accepts(&Token::parse(token.reveal()).unwrap()));
        assert!(!hash.accepts(&Token::from_entropy([0xac; 32])));
        assert!(TokenHash::parse("ab").is_err() && TokenHash::parse(&"g".repeat(64)).is_err());
    }

    #[test]
    fn other_text_is_no_token() {
        let good = Token::from_entropy([1; 32]);
        assert!(Token::parse(&format!(" {}\n", good.reveal())).is_ok());
        for bad in [
            "",
            "farmer_",
            &good.reveal()[1..],
            &good.reveal().to_uppercase(),
            &format!("{}0", good.reveal()),
        ] {
            assert!(Token::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        let token = Token::from_entropy([1; 32]);
        assert_eq!(format!("{token:?}"), "Token(hidden)");
        assert_eq!(
            format!("{:?}", MasterKey::new("x").unwrap()),
            "MasterKey(hidden)"
        );
    }
}
