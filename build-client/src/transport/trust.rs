//! How a client knows the server that it dials.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sha2::{Digest as _, Sha256};

use crate::{Error, ErrorKind, Result};

/// How pins begin.
const PREFIX: &str = "sha256:";

/// The SHA-256 of a public key, as text `sha256:` and 64 hex digits: of a server's own, or of the
/// authority that signs for it.
///
/// It is no secret: who has it can tell that server from all others.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Pin([u8; 32]);

impl Pin {
    /// The pin of the key in the last certificate of a PEM text: of a chain, the authority's.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when there is none, or it cannot be parsed.
    pub fn of_pem(pem: &str) -> Result<Self> {
        let mut last = None;
        for cert in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            last = Some(
                cert.map_err(|e| Error::caused_by(ErrorKind::Invalid, "read certificate", e))?,
            );
        }
        let cert =
            last.ok_or_else(|| Error::new(ErrorKind::Invalid, "the text holds no certificate"))?;
        Self::of(&cert).map_err(|e| Error::caused_by(ErrorKind::Invalid, "parse certificate", e))
    }

    fn of(cert: &CertificateDer<'_>) -> Result<Self, rustls::Error> {
        let key = ParsedCertificate::try_from(cert)?.subject_public_key_info();
        Ok(Self(Sha256::digest(&key).into()))
    }
}

impl FromStr for Pin {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut bytes = [0; 32];
        let digits = text.trim().strip_prefix(PREFIX).unwrap_or_default();
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| {
            let what = format!("{text:?} is no pin: it is {PREFIX} and 64 hex digits");
            Error::new(ErrorKind::Invalid, what)
        })?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", hex::encode(self.0))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Which servers a client believes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// Those that the usual authorities vouch for, by name.
    #[default]
    Authorities,
    /// Those that these authorities vouch for, by name; PEM.
    Ca(String),
    /// Whoever has the pinned key, and whoever the pinned authority has signed. Names do not
    /// matter: the authority is one server's own.
    Pin(Pin),
    /// Anybody. For development on one machine alone: whoever is in between can read and change
    /// everything.
    Anyone,
}

impl Trust {
    /// The configuration of a TLS client that offers no protocol, as take-overs need it.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for authorities that are none.
    pub fn client_config(&self) -> Result<ClientConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("the ring provider has the default versions");
        let custom = |pin| {
            let verifier = Verifier { pin, provider };
            builder
                .clone()
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(verifier))
        };
        Ok(match self {
            Self::Authorities => builder.with_root_certificates(RootCertStore {
                roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
            }),
            Self::Ca(pem) => builder.with_root_certificates(crate::instance::roots(pem)?),
            Self::Pin(pin) => custom(Some(*pin)),
            Self::Anyone => custom(None),
        }
        .with_no_client_auth())
    }
}

/// Believes a pinned key, or anybody.
#[derive(Debug)]
struct Verifier {
    pin: Option<Pin>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(pin) = self.pin else {
            return Ok(ServerCertVerified::assertion());
        };
        if Pin::of(end_entity)? == pin {
            return Ok(ServerCertVerified::assertion());
        }
        let unknown = || rustls::Error::from(CertificateError::UnknownIssuer);
        let authority = intermediates
            .iter()
            .find(|cert| Pin::of(cert).is_ok_and(|found| found == pin))
            .ok_or_else(unknown)?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &roots,
            intermediates,
            now,
            self.provider.signature_verification_algorithms.all,
        )?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if self.pin.is_none() {
            // Anybody may be there: what a key proves is nothing, and certificates that the parser
            // does not take, such as that of Go's coordinator for development, are fine.
            return Ok(HandshakeSignatureValid::assertion());
        }
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if self.pin.is_none() {
            // Anybody may be there: what a key proves is nothing, and certificates that the parser
            // does not take, such as that of Go's coordinator for development, are fine.
            return Ok(HandshakeSignatureValid::assertion());
        }
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, IsCa, Issuer, KeyPair};

    use super::*;

    fn verify(pin: Pin, chain: &[CertificateDer<'static>]) -> Result<(), rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Verifier {
            pin: Some(pin),
            provider,
        };
        let name = ServerName::try_from("elsewhere").unwrap();
        let (first, rest) = chain.split_first().unwrap();
        verifier
            .verify_server_cert(first, rest, &name, &[], UnixTime::now())
            .map(drop)
    }

    #[test]
    fn a_pinned_authority_vouches_and_its_certificate_alone_does_not() {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca = params.self_signed(&key).unwrap();
        let pin = Pin::of_pem(&ca.pem()).unwrap();
        assert_eq!(pin.to_string().parse::<Pin>().unwrap(), pin);
        let issuer = Issuer::new(params, key);
        let server_key = KeyPair::generate().unwrap();
        let server = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let signed = server.clone().signed_by(&server_key, &issuer).unwrap();
        let (ca, signed) = (ca.der().clone(), signed.der().clone());
        verify(pin, &[signed.clone(), ca.clone()]).unwrap();
        verify(pin, std::slice::from_ref(&ca)).unwrap();
        verify(pin, &[signed]).unwrap_err();
        // A stranger may send the authority along, but it has not signed for him.
        let own = server.self_signed(&server_key).unwrap().der().clone();
        verify(pin, &[own.clone(), ca]).unwrap_err();
        let own_pin = Pin::of(&own).unwrap();
        verify(own_pin, &[own]).unwrap();
    }

    #[test]
    fn a_pin_is_read_whole_or_not_at_all() {
        for bad in ["", "sha256:", "sha256:00", "md5:0000"] {
            assert_eq!(
                bad.parse::<Pin>().unwrap_err().kind(),
                ErrorKind::Invalid,
                "{bad}"
            );
        }
        assert!(Pin::of_pem("").is_err());
    }
}
