use rustls::server::ParsedCertificate;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};

use super::Error;

/// The pin of the key in the last certificate of a PEM text, of a chain the authority's: `sha256:`
/// and the hash of the public key in hex digits. Clients that are given it trust that key alone.
///
/// # Errors
/// When there is no certificate, or it cannot be read.
pub fn pin_of_pem(pem: &str) -> Result<String, Error> {
    let mut last = None;
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        last = Some(certificate.map_err(Error::Certificate)?);
    }
    let last = last.ok_or(Error::NoCertificate)?;
    let parsed = ParsedCertificate::try_from(&last).map_err(Error::Pair)?;
    let hash = Sha256::digest(parsed.subject_public_key_info());
    Ok(format!("sha256:{}", hex::encode(hash)))
}
