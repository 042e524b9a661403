//! TLS with the peer's key pinned: no names, no dates, no chain.

use std::fmt;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use tokio_rustls::TlsConnector;

use super::{Connection, Dial};
use crate::{Error, ErrorKind, Result};

/// The public key that a server must prove to hold.
#[derive(Clone, PartialEq, Eq)]
pub struct PinnedKey(SubjectPublicKeyInfoDer<'static>);

impl PinnedKey {
    /// The key of the first certificate of a PEM text.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when there is none.
    pub fn from_cert_pem(pem: &str) -> Result<Self> {
        let cert = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|e| Error::caused_by(ErrorKind::Invalid, "read certificate", e))?;
        Self::of(&cert).map_err(|e| Error::caused_by(ErrorKind::Invalid, "parse certificate", e))
    }

    fn of(cert: &CertificateDer<'_>) -> Result<Self, rustls::Error> {
        Ok(Self(
            ParsedCertificate::try_from(cert)?.subject_public_key_info(),
        ))
    }
}

impl fmt::Debug for PinnedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PinnedKey({} bytes)", self.0.len())
    }
}

/// TLS over the connections of another [`Dial`], to the holder of one key.
///
/// The whole public key is compared and the handshake's signature checked; name, dates and
/// issuer of the certificate are not, since buildlets sign their own (docs/protocol/buildlet.md).
#[derive(Clone)]
pub struct TlsDial<D> {
    inner: D,
    connector: TlsConnector,
}

impl<D: Dial> TlsDial<D> {
    /// Connections of `inner` to the holder of `key`.
    pub fn new(inner: D, key: PinnedKey) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = KeyVerifier {
            key,
            provider: Arc::clone(&provider),
        };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the ring provider has the default versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        // The key tells who answers; a name would be refused by servers that know themselves
        // by another, and an address is none.
        config.enable_sni = false;
        Self {
            inner,
            connector: TlsConnector::from(Arc::new(config)),
        }
    }
}

#[async_trait]
impl<D: Dial> Dial for TlsDial<D> {
    async fn dial(&self) -> io::Result<Connection> {
        let stream = self.inner.dial().await?;
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        Ok(Box::new(self.connector.connect(name, stream).await?))
    }

    fn authority(&self) -> &str {
        self.inner.authority()
    }

    fn refusal_is_final(&self) -> bool {
        self.inner.refusal_is_final()
    }
}

#[derive(Debug)]
struct KeyVerifier {
    key: PinnedKey,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for KeyVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if PinnedKey::of(end_entity)? == self.key {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
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
    use std::sync::Mutex;

    use rcgen::CertifiedKey;
    use rustls::ServerConfig;
    use rustls::server::{ClientHello, ResolvesServerCert};
    use rustls::sign;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio_rustls::TlsAcceptor;

    use super::*;

    /// A connection within this process, once.
    struct Once(Mutex<Option<DuplexStream>>);

    #[async_trait]
    impl Dial for Once {
        async fn dial(&self) -> io::Result<Connection> {
            let stream = self.0.lock().unwrap().take();
            Ok(Box::new(stream.expect("dialed once")))
        }

        fn authority(&self) -> &str {
            "once"
        }
    }

    /// Shows a certificate without asking whether the key belongs to it.
    #[derive(Debug)]
    struct Shown(Arc<sign::CertifiedKey>);

    impl ResolvesServerCert for Shown {
        fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<sign::CertifiedKey>> {
            Some(Arc::clone(&self.0))
        }
    }

    fn identity() -> CertifiedKey<rcgen::KeyPair> {
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap()
    }

    /// What a client that has pinned `pinned` says about a server that shows the certificate of
    /// `shown` and signs with the key of `signs`.
    async fn greet(
        pinned: &CertifiedKey<rcgen::KeyPair>,
        shown: &CertifiedKey<rcgen::KeyPair>,
        signs: &CertifiedKey<rcgen::KeyPair>,
    ) -> io::Result<Vec<u8>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = rustls_pki_types::PrivateKeyDer::from_pem_slice(
            signs.signing_key.serialize_pem().as_bytes(),
        );
        let key = provider
            .key_provider
            .load_private_key(key.unwrap())
            .unwrap();
        let shown = sign::CertifiedKey::new(vec![shown.cert.der().clone()], key);
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Shown(Arc::new(shown))));
        let (near, far) = tokio::io::duplex(64 << 10);
        let server = async {
            let mut stream = TlsAcceptor::from(Arc::new(config)).accept(far).await?;
            stream.write_all(b"hello").await?;
            stream.shutdown().await
        };
        let key = PinnedKey::from_cert_pem(&pinned.cert.pem()).unwrap();
        let client = async {
            let mut stream = TlsDial::new(Once(Mutex::new(Some(near))), key)
                .dial()
                .await?;
            let mut said = Vec::new();
            stream.read_to_end(&mut said).await?;
            Ok(said)
        };
        // The server's own failure is the client's refusal, seen from the other side.
        tokio::join!(client, server).0
    }

    #[tokio::test]
    async fn the_holder_of_the_pinned_key_is_greeted() {
        let (ours, other) = (identity(), identity());
        assert_eq!(greet(&ours, &ours, &ours).await.unwrap(), b"hello");
        greet(&ours, &other, &other).await.unwrap_err();
    }

    #[tokio::test]
    async fn the_certificate_alone_proves_nothing() {
        let (ours, thief) = (identity(), identity());
        let error = greet(&ours, &ours, &thief).await.unwrap_err();
        assert!(error.to_string().contains("BadSignature"), "{error}");
    }

    #[test]
    fn text_without_a_certificate_is_refused() {
        assert_eq!(
            PinnedKey::from_cert_pem("").unwrap_err().kind(),
            ErrorKind::Invalid
        );
    }
}
