//! The certificate and key that a buildlet and its client share.

use std::fmt;

use sha1::{Digest, Sha1};

use crate::{Error, ErrorKind, Result};

/// How long the certificate of a new pair is valid.
#[cfg(feature = "key-generation")]
const LIFE: std::time::Duration = std::time::Duration::from_secs(5 * 365 * 24 * 60 * 60);

/// A self-signed certificate and its private key, both as PEM text.
///
/// Whoever starts a buildlet hands it the pair; clients pin its key and send its password.
/// `KeyPair::generate` (feature `key-generation`) makes one for our own programs. Go clients
/// need an RSA key (docs/protocol/buildlet.md): `openssl req -x509 -newkey rsa:2048 -nodes`
/// makes one, and [`KeyPair::from_pem`] reads it.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyPair {
    cert_pem: String,
    key_pem: String,
}

impl KeyPair {
    /// A pair of PEM texts. They are kept as they are: the password is made of the exact text
    /// of the key, line ends included.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] naming the text that has no PEM block of its kind.
    pub fn from_pem(cert_pem: impl Into<String>, key_pem: impl Into<String>) -> Result<Self> {
        let (cert_pem, key_pem) = (cert_pem.into(), key_pem.into());
        let missing = if !cert_pem.contains("-----BEGIN CERTIFICATE-----") {
            Some("certificate")
        } else if !has_private_key(&key_pem) {
            Some("private key")
        } else {
            None
        };
        match missing {
            Some(what) => Err(Error::new(
                ErrorKind::Invalid,
                format!("no {what} in the PEM text of a key pair"),
            )),
            None => Ok(Self { cert_pem, key_pem }),
        }
    }

    /// A new pair: an ECDSA key on P-256, and a certificate for `localhost` that is valid from
    /// now on for five years. Its other fields are those of the protocol
    /// (docs/protocol/buildlet.md); Go clients refuse the kind of its key.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when the system gives no random numbers.
    #[cfg(feature = "key-generation")]
    pub fn generate() -> Result<Self> {
        use std::time::SystemTime;

        use rcgen::{DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose};

        let failed = |error| Error::caused_by(ErrorKind::Unavailable, "make a key pair", error);
        let now = SystemTime::now();
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).map_err(failed)?;
        params.not_before = now.into();
        params.not_after = (now + LIFE).into();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Gopher Co");
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
        ];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = rcgen::KeyPair::generate().map_err(failed)?;
        let cert = params.self_signed(&key).map_err(failed)?;
        Self::from_pem(cert.pem(), key.serialize_pem())
    }

    /// The certificate.
    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    /// The private key: a secret.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// The password of the buildlet that has this pair: the SHA-1 of the key's text, in
    /// lower-case hex. A secret.
    pub fn password(&self) -> String {
        password_of(&self.key_pem)
    }

    /// The public key that the buildlet must prove to hold.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when the certificate cannot be parsed.
    #[cfg(feature = "tls")]
    pub fn pinned_key(&self) -> Result<crate::transport::PinnedKey> {
        crate::transport::PinnedKey::from_cert_pem(&self.cert_pem)
    }
}

impl fmt::Debug for KeyPair {
    /// Leaves out both texts: the key is a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPair(hidden)")
    }
}

/// PKCS#8, PKCS#1 and SEC 1 blocks all end their title in these words.
fn has_private_key(pem: &str) -> bool {
    pem.lines().any(|line| {
        line.starts_with("-----BEGIN ") && line.trim_end().ends_with("PRIVATE KEY-----")
    })
}

fn password_of(key_pem: &str) -> String {
    hex::encode(Sha1::digest(key_pem))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "-----BEGIN RSA PRIVATE KEY-----\nAA==\n-----END RSA PRIVATE KEY-----\n";
    const CERT: &str = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";

    #[test]
    fn the_password_is_the_hash_of_the_exact_text() {
        let pair = KeyPair::from_pem(CERT, KEY).unwrap();
        assert_eq!(pair.password(), "267562cc650a7fbe3279eccbba341fab65fb8370");
        let other = KeyPair::from_pem(CERT, KEY.trim_end()).unwrap();
        assert_ne!(other.password(), pair.password());
    }

    #[test]
    fn a_pair_without_one_of_its_halves_is_refused() {
        for (cert, key, missing) in [("", KEY, "certificate"), (CERT, CERT, "private key")] {
            let error = KeyPair::from_pem(cert, key).unwrap_err();
            assert!(error.to_string().contains(missing), "{error}");
        }
    }

    #[cfg(feature = "key-generation")]
    #[test]
    fn a_new_pair_is_whole_and_like_no_other() {
        let (one, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        assert_ne!(one.password(), other.password());
        let again = KeyPair::from_pem(one.cert_pem(), one.key_pem()).unwrap();
        assert!(again == one);
        #[cfg(feature = "tls")]
        assert!(one.pinned_key().is_ok());
    }

    #[test]
    fn debug_output_hides_the_key() {
        let pair = KeyPair::from_pem(CERT, KEY).unwrap();
        assert!(!format!("{pair:?}").contains("AA=="));
    }
}
