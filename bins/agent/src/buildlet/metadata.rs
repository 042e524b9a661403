//! What the environment tells: password, certificate, nonce. None of it reaches a command.

use std::ffi::OsString;
use std::fs;

use build_core::ids::Nonce;
use build_server::buildlet::Listener;

/// Variable with the nonce of the lease.
pub(super) const NONCE: &str = "FARMER_LEASE_NONCE";
/// Variables that tell where the key of the machine is.
const KEYS: &[&str] = &["GO_BUILD_KEY_PATH", "GO_BUILD_KEY_DELETE_AFTER_READ"];
/// What the names of the others begin with.
const PREFIX: &str = "META_";

/// What was told.
#[derive(Debug)]
pub(super) struct Metadata {
    pub(super) password: Option<String>,
    /// Certificate chain and key, PEM.
    pub(super) tls: Option<(String, String)>,
    pub(super) nonce: Option<Nonce>,
}

impl Metadata {
    /// Reads the environment; values that begin with `@` name files.
    ///
    /// # Errors
    /// A file or a value cannot be read; a certificate comes without key, or the other way round.
    pub(super) fn from_env() -> Result<Self, String> {
        let tls = match (find("tls-cert")?, find("tls-key")?) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => {
                return Err(
                    "tls-cert and tls-key must be given together (META_tls_cert, META_tls_key)"
                        .into(),
                );
            }
        };
        let nonce = std::env::var(NONCE).ok().map(Nonce::new).transpose();
        Ok(Self {
            password: find("password")?.filter(|password| !password.is_empty()),
            tls,
            // The text is a secret, and not repeated.
            nonce: nonce.map_err(|_| format!("{NONCE} is no nonce"))?,
        })
    }
}

/// Names of a key's variable: as the Go buildlet reads them, and as its starter for Kubernetes
/// writes them.
fn names(key: &str) -> [String; 2] {
    let name = key.replace('-', "_");
    [
        format!("{PREFIX}{name}"),
        format!("{PREFIX}{}", name.to_ascii_uppercase()),
    ]
}

fn find(key: &str) -> Result<Option<String>, String> {
    let Some((name, text)) = names(key)
        .into_iter()
        .find_map(|name| Some((name.clone(), std::env::var(name).ok()?)))
    else {
        return Ok(None);
    };
    match text.strip_prefix('@') {
        Some(path) => fs::read_to_string(path)
            .map(Some)
            .map_err(|error| format!("{name}: cannot read {path}: {error}")),
        None => Ok(Some(text)),
    }
}

/// The environment for commands: without secrets, and without what is not UTF-8.
pub(super) fn clean_env(vars: impl Iterator<Item = (OsString, OsString)>) -> Vec<String> {
    let texts = vars
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let secret = |name: &str| name == NONCE || name.starts_with(PREFIX) || KEYS.contains(&name);
    let kept = texts.filter(|(name, _)| !secret(name));
    kept.map(|(name, value)| format!("{name}={value}"))
        .collect()
}

/// Encrypts a listener when there is a certificate.
///
/// # Errors
/// They cannot be used.
#[cfg(feature = "tls")]
pub(super) fn encrypt(listener: Listener, metadata: &Metadata) -> Result<Listener, String> {
    use std::error::Error as _;
    let Some((certificate, key)) = &metadata.tls else {
        return Ok(listener);
    };
    match build_server::buildlet::ServerTls::from_pem(certificate, key) {
        Ok(tls) => Ok(listener.with_tls(tls)),
        Err(error) => {
            let cause = error
                .source()
                .map(|cause| format!(": {cause}"))
                .unwrap_or_default();
            Err(format!("{error}{cause}"))
        }
    }
}

/// A listener without TLS cannot do what was asked for.
///
/// # Errors
/// A certificate was given.
#[cfg(not(feature = "tls"))]
pub(super) fn encrypt(listener: Listener, metadata: &Metadata) -> Result<Listener, String> {
    match metadata.tls {
        Some(_) => Err("tls-cert: this buildlet was built without TLS".into()),
        None => Ok(listener),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_known() {
        assert_eq!(names("tls-cert"), ["META_tls_cert", "META_TLS_CERT"]);
    }

    #[test]
    fn commands_get_no_secrets() {
        let vars = [
            ("PATH", "/bin"),
            ("META_password", "x"),
            (NONCE, "n"),
            ("META_TLS_KEY", "k"),
        ];
        let vars = vars.map(|(name, value)| (name.into(), value.into()));
        assert_eq!(clean_env(vars.into_iter()), ["PATH=/bin"]);
    }
}
