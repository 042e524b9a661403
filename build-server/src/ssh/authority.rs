//! Certificates of users: the farm says who somebody is, and for which session, for some minutes.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use build_core::clock::Timestamp;
use build_core::{Error, ErrorKind, Result};
use russh::keys::ssh_key::certificate::{Builder, CertType};
use russh::keys::ssh_key::public::KeyData;
use russh::keys::ssh_key::{Certificate, Fingerprint, HashAlg, PrivateKey, PublicKey};

use super::files;

/// What follows the name of a session in a certificate's principal: the one that Go's servers
/// write and Go's clients never look at.
pub const PRINCIPAL_DOMAIN: &str = "farmer.golang.org";
/// What Go's servers call every certificate, and number it.
const KEY_ID: &str = "go_build";
const SERIAL: u64 = 1;
/// What Go's servers allow with it.
const EXTENSIONS: [&str; 5] = [
    "permit-X11-forwarding",
    "permit-agent-forwarding",
    "permit-port-forwarding",
    "permit-pty",
    "permit-user-rc",
];
/// Clocks of two machines may differ by so much.
const SKEW: Duration = Duration::from_secs(60);
/// Longest time that a certificate is signed for.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// Most principals of one, and most that are remembered.
const MAX_PRINCIPALS: usize = 16;
const REMEMBERED: usize = 10_000;
const NONCE_BYTES: usize = 32;

/// Why a certificate is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// It is not one of a user.
    #[error("it is a host's certificate")]
    NotOfUser,
    /// Somebody else has signed it, or it was changed.
    #[error("it is not signed by this farm")]
    Foreign,
    /// Its time is over, or has not come.
    #[error("it is not valid at this time")]
    Time,
    /// It asks for something that is not known here.
    #[error("it has critical options")]
    Options,
    /// It is for another session.
    #[error("it is for another session")]
    Session,
}

/// The farm's own authority for users of ssh. Clones are the same.
#[derive(Clone)]
pub struct Authority(Arc<Inner>);

struct Inner {
    key: PrivateKey,
    fingerprint: Fingerprint,
    /// Keys that have a certificate, and until when.
    certified: Mutex<HashMap<Fingerprint, Timestamp>>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({})", self.0.fingerprint)
    }
}

fn invalid(text: impl Into<String>, hint: &str) -> Error {
    Error::new(ErrorKind::Invalid, text).with_hint(hint)
}

/// How a session is called in certificates.
fn principal(session: &str) -> String {
    format!("{session}@{PRINCIPAL_DOMAIN}")
}

impl Authority {
    /// The authority whose private key is in this file; drawn when there is none.
    ///
    /// # Errors
    /// When others may read the file, it is damaged, or cannot be written.
    pub fn open(path: &Path) -> Result<Self> {
        let key = files::private_key(path, "farmer-user-ca")?;
        let fingerprint = key.fingerprint(HashAlg::Sha256);
        let certified = Mutex::default();
        Ok(Self(Arc::new(Inner {
            key,
            fingerprint,
            certified,
        })))
    }

    /// Its public key, as a line for `known_hosts` or `TrustedUserCAKeys`.
    ///
    /// # Panics
    /// Never: keys of this kind always have a text.
    #[must_use]
    pub fn public_key(&self) -> String {
        let line = self.0.key.public_key().to_openssh();
        line.expect("a public key has a text")
    }

    /// Signs a public key for one session: whoever holds its private half may log in there, from
    /// a minute ago until `valid` from now, when they are one of `principals` (names of users) to
    /// whom the session belongs. The caller has checked that they are.
    ///
    /// `public_key` is a line as in a file `.pub`; the answer is one, for `CertificateFile`.
    /// The kind, number, name and extensions are those of Go's servers.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for what is no public key or one of a kind that is not taken, for
    /// no principals or too many, for an empty session, and for more than a day.
    pub fn sign(
        &self,
        public_key: &str,
        session: &str,
        principals: &[&str],
        valid: Duration,
        now: Timestamp,
    ) -> Result<String> {
        let hint = "make a key with: ssh-keygen -t ed25519";
        let key = PublicKey::from_openssh(public_key.trim());
        let key = key.map_err(|_| invalid("this is not a public key for ssh", hint))?;
        match key.key_data() {
            KeyData::Ed25519(_)
            | KeyData::Ecdsa(_)
            | KeyData::SkEd25519(_)
            | KeyData::SkEcdsaSha2NistP256(_) => {}
            _ => return Err(invalid("keys of this kind are not taken here", hint)),
        }
        let plain = |name: &&str| !name.is_empty() && !name.contains(char::is_control);
        let is_fine = plain(&session) && principals.iter().all(plain);
        if !is_fine || principals.is_empty() || principals.len() > MAX_PRINCIPALS {
            let text = "a certificate names a session and whose it is";
            return Err(invalid(text, "name one session and at most 16 users"));
        }
        if valid > LONGEST {
            let text = "a certificate is good for a day at the longest";
            return Err(invalid(text, "ask for another one then"));
        }
        let mut nonce = [0; NONCE_BYTES];
        let drawn = getrandom::fill(&mut nonce);
        drawn.map_err(|e| Error::caused_by(ErrorKind::Bug, "draw a nonce", e))?;
        let seconds = |at: Timestamp| u64::try_from(at.as_seconds()).unwrap_or(0);
        let (from, until) = (seconds(now).saturating_sub(SKEW.as_secs()), now + valid);
        let signed = || {
            let data = key.key_data().clone();
            let mut builder = Builder::new(nonce, data, from, seconds(until))?;
            builder.serial(SERIAL)?.key_id(KEY_ID)?;
            builder.cert_type(CertType::User)?;
            builder.valid_principal(principal(session))?;
            for name in principals {
                builder.valid_principal(*name)?;
            }
            for extension in EXTENSIONS {
                builder.extension(extension, "")?;
            }
            builder.comment(key.comment().to_string())?;
            builder.sign(&self.0.key)?.to_openssh()
        };
        let signed = signed();
        let signed = signed.map_err(|e| Error::caused_by(ErrorKind::Bug, "sign a key", e))?;
        self.remember(key.fingerprint(HashAlg::Sha256), until, now);
        Ok(signed)
    }

    fn certified(&self) -> MutexGuard<'_, HashMap<Fingerprint, Timestamp>> {
        // Nothing panics while it holds the lock.
        let certified = self.0.certified.lock();
        certified.unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, key: Fingerprint, until: Timestamp, now: Timestamp) {
        let mut certified = self.certified();
        if certified.len() >= REMEMBERED {
            certified.retain(|_, until| *until > now);
        }
        if certified.len() < REMEMBERED {
            let known = certified.entry(key).or_insert(until);
            *known = until.max(*known);
        }
    }

    /// Whether this process has signed a certificate for this key lately. It says who may be
    /// asked to prove that they hold the key; what counts is the certificate.
    pub(super) fn has_certified(&self, key: &Fingerprint) -> bool {
        self.certified().contains_key(key)
    }

    /// The names of users in a certificate that is good for a session now.
    pub(super) fn check(
        &self,
        certificate: &Certificate,
        session: &str,
        now: Timestamp,
    ) -> Result<Vec<String>, CertificateError> {
        if certificate.cert_type() != CertType::User {
            return Err(CertificateError::NotOfUser);
        }
        let seconds = u64::try_from(now.as_seconds()).unwrap_or(0);
        // A time at which it is good: whether it is now is told apart.
        let signed = certificate.validate_at(certificate.valid_after(), [&self.0.fingerprint]);
        if signed.is_err() {
            return Err(CertificateError::Foreign);
        }
        if !(certificate.valid_after()..certificate.valid_before()).contains(&seconds) {
            return Err(CertificateError::Time);
        }
        if !certificate.critical_options().is_empty() {
            return Err(CertificateError::Options);
        }
        let (mut names, of_session) = (Vec::new(), principal(session));
        let mut is_for_session = false;
        for name in certificate.valid_principals() {
            match *name == of_session {
                true => is_for_session = true,
                false => names.push(name.clone()),
            }
        }
        match is_for_session {
            true => Ok(names),
            false => Err(CertificateError::Session),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f ann@laptop";
    const FIVE: Duration = Duration::from_secs(300);

    fn authority() -> (tempfile::TempDir, Authority) {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(&dir.path().join("ca")).unwrap();
        (dir, authority)
    }

    #[test]
    fn certificates_are_those_of_gos_servers() {
        let (_dir, authority) = authority();
        let now = Timestamp::from_seconds(1_600_000_000);
        let line = authority
            .sign(KEY, "ann-linux-0", &["ann"], FIVE, now)
            .unwrap();
        assert!(
            line.starts_with("ssh-ed25519-cert-v01@openssh.com "),
            "{line}"
        );
        let certificate = Certificate::from_openssh(&line).unwrap();
        assert_eq!(
            (certificate.serial(), certificate.key_id()),
            (1, "go_build")
        );
        let names = ["ann-linux-0@farmer.golang.org", "ann"];
        assert_eq!(certificate.valid_principals(), names);
        assert_eq!(certificate.extensions().len(), 5);
        let good = |session, at| authority.check(&certificate, session, at);
        assert_eq!(good("ann-linux-0", now).unwrap(), ["ann"]);
        assert_eq!(good("ann-linux-1", now), Err(CertificateError::Session));
        assert_eq!(good("ann-linux-0", now + FIVE), Err(CertificateError::Time));
        let before = Timestamp::from_seconds(1_600_000_000 - 61);
        assert_eq!(good("ann-linux-0", before), Err(CertificateError::Time));
        let (_other_dir, other) = self::authority();
        let foreign = other.check(&certificate, "ann-linux-0", now);
        assert_eq!(foreign, Err(CertificateError::Foreign));
    }

    #[test]
    fn what_is_no_key_and_names_nobody_is_not_signed() {
        let (_dir, authority) = authority();
        let now = Timestamp::from_seconds(1_600_000_000);
        let sign = |key: &str, session, names: &[&str], valid| {
            authority.sign(key, session, names, valid, now).unwrap_err()
        };
        for error in [
            sign("", "s", &["ann"], FIVE),
            sign("ssh-rsa AAAA", "s", &["ann"], FIVE),
            sign(KEY, "", &["ann"], FIVE),
            sign(KEY, "s", &[], FIVE),
            sign(KEY, "s", &[""], FIVE),
            sign(KEY, "s", &["ann"], LONGEST * 2),
        ] {
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.hint().is_some());
        }
    }
}
