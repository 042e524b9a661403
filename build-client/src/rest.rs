//! The one HTTP client of the REST calls: TLS by rustls, bounds on every wait.

use std::sync::Arc;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{Error, ErrorKind, Result};

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest silence in the middle of an answer.
const SILENCE: Duration = Duration::from_secs(60);

/// What stays as it is in a query or in a segment of a path.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// A client for REST calls and downloads. `more_roots` are certificates in PEM that are trusted
/// besides the usual ones.
///
/// # Errors
/// [`ErrorKind::Invalid`] when `more_roots` holds no certificate.
pub fn client(more_roots: Option<&[u8]>) -> Result<reqwest::Client> {
    build(builder(more_roots)?)
}

/// What [`client`] is made of, for those who need more.
///
/// # Errors
/// As [`client`].
pub fn builder(more_roots: Option<&[u8]>) -> Result<reqwest::ClientBuilder> {
    Ok(unhurried(more_roots)?.read_timeout(SILENCE))
}

/// The same without a bound on silence, for answers that come as things happen.
pub(crate) fn unhurried(more_roots: Option<&[u8]>) -> Result<reqwest::ClientBuilder> {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject as _;
    let mut roots = rustls::RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    if let Some(pem) = more_roots {
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
            .collect::<std::result::Result<_, _>>()
            .map_err(|error| Error::caused_by(ErrorKind::Invalid, "bad certificates", error))?;
        if roots.add_parsable_certificates(certificates).0 == 0 {
            return Err(Error::new(ErrorKind::Invalid, "no certificate to trust"));
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let bug = |error| Error::caused_by(ErrorKind::Bug, "setting up TLS", error);
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(bug)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .user_agent(concat!("farmer/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT))
}

pub(crate) fn build(builder: reqwest::ClientBuilder) -> Result<reqwest::Client> {
    let built = builder.build();
    built.map_err(|error| Error::caused_by(ErrorKind::Bug, "setting up the HTTP client", error))
}

/// `text` as a segment of a path.
pub fn segment(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

/// A query: keys in order, blanks as `+`.
pub fn query(pairs: &[(&str, String)]) -> String {
    let mut sorted: Vec<_> = pairs.iter().collect();
    sorted.sort_by_key(|(key, _)| *key);
    let encode = |text: &str| segment(text).replace("%20", "+");
    let pairs: Vec<String> = sorted
        .iter()
        .map(|(key, value)| format!("{}={}", encode(key), encode(value)))
        .collect();
    pairs.join("&")
}

/// A transport error as one of this crate. The address in it holds no secret of ours: secrets
/// travel in headers.
pub(crate) fn failed(what: &str, error: reqwest::Error) -> Error {
    let kind = if error.is_timeout() {
        ErrorKind::TimedOut
    } else {
        ErrorKind::Unavailable
    };
    Error::caused_by(kind, what.to_owned(), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_sorted_bytewise() {
        let pairs = [
            ("q", "is:active".to_owned()),
            ("o", "DETAILS".to_owned()),
            ("n", "2".to_owned()),
            ("S", "1".to_owned()),
            ("o", "A B".to_owned()),
        ];
        assert_eq!(query(&pairs), "S=1&n=2&o=DETAILS&o=A+B&q=is%3Aactive");
        let pairs = [("q", "\"GitHub-Pull-Request: a/b#1\"".to_owned())];
        assert_eq!(query(&pairs), "q=%22GitHub-Pull-Request%3A+a%2Fb%231%22");
    }

    #[test]
    fn certificates_must_be_some() {
        assert!(client(None).is_ok());
        assert!(client(Some(b"nothing")).is_err());
    }
}
