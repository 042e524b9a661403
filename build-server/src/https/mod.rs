//! What a server needs to be an HTTPS server: a certificate that can change while it serves, and
//! handshakes with every client of the field.
//!
//! A [`Certificate`] comes from files that are read again when they change
//! ([`CertificateFiles`]) or from a development authority of this machine ([`development`]).
//! [`Tls`] serves it.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use build_server::https::{Tls, development};
//!
//! let dir = tempfile::tempdir()?;
//! let made = development(dir.path(), &[])?;
//! println!("clients may trust {}", made.ca_path().display());
//! let tls = Tls::new(made.certificate().clone());
//! # let _ = tls;
//! # Ok(()) }
//! ```

mod accept;
#[cfg(feature = "acme")]
pub mod acme;
mod development;
mod files;
mod hellos;
mod pin;
mod sni;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

pub use accept::{Tls, TlsStream};
pub use development::{Development, development};
pub use files::CertificateFiles;
pub use hellos::{Agreed, Greeting, Hellos, Offered};
pub use pin::pin_of_pem;

/// Why a certificate cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file.
    #[error("{}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The certificate's text.
    #[error("cannot read the certificate")]
    Certificate(#[source] pem::Error),
    /// The certificate's text holds none.
    #[error("the text holds no certificate")]
    NoCertificate,
    /// The key's text.
    #[error("cannot read the private key")]
    Key(#[source] pem::Error),
    /// They do not belong together, or are of a kind that is not supported.
    #[error("cannot use the certificate with the private key")]
    Pair(#[source] rustls::Error),
    /// A name for which there is no certificate.
    #[error("no authority vouches for the name {0:?}")]
    Name(String),
    /// An authority, or the place where its certificates are kept.
    #[error("{0}")]
    Acme(String),
    /// A new certificate.
    #[error("cannot make a certificate")]
    Make(#[source] rcgen::Error),
}

/// A certificate chain with its key, which can be replaced while it is served: new handshakes get
/// the new one. Clones are the same certificate.
#[derive(Clone)]
pub struct Certificate(Arc<RwLock<Arc<CertifiedKey>>>);

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({} in the chain)", self.current().cert.len())
    }
}

impl Certificate {
    /// Reads a chain, the server's own first, and its key, both PEM.
    ///
    /// # Errors
    /// When one of them cannot be read, or they do not fit each other.
    pub fn from_pem(chain: &str, key: &str) -> Result<Self, Error> {
        Ok(Self(Arc::new(RwLock::new(Arc::new(certified(
            chain, key,
        )?)))))
    }

    /// Puts another in its place.
    ///
    /// # Errors
    /// As [`Certificate::from_pem`]; the old one stays.
    pub fn replace(&self, chain: &str, key: &str) -> Result<(), Error> {
        let new = Arc::new(certified(chain, key)?);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    fn current(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

fn certified(chain: &str, key: &str) -> Result<CertifiedKey, Error> {
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(Error::Certificate)?;
    if chain.is_empty() {
        return Err(Error::NoCertificate);
    }
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(Error::Key)?;
    CertifiedKey::from_der(chain, key, &sni::provider()).map_err(Error::Pair)
}

/// The error and its causes, as one line.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
