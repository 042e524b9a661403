//! Which coordinator a client speaks to, and how it knows that it is that one.
//!
//! ```
//! use build_client::instance::CoordinatorInstance;
//!
//! let farm = CoordinatorInstance::parse("farm.example.com")?;
//! assert_eq!(farm.host_port(), "farm.example.com:443");
//! # Ok::<(), build_client::Error>(())
//! ```

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::transport::{Connection, Dial};
use crate::{Error, ErrorKind, Result};

/// Where the Go project's coordinator is, and its staging twin.
const PROD: (&str, u16) = ("farmer.golang.org", 443);
const STAGING: (&str, u16) = ("104.154.113.235", 443);
/// The name in the certificates of Go's staging coordinator.
const STAGING_NAME: &str = "go";
const DEFAULT_PORT: u16 = 443;

/// A coordinator: `prod`, `staging`, or a host with or without a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoordinatorInstance {
    name: Name,
    host: String,
    port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Prod,
    Staging,
    Other,
}

/// How a client knows the coordinator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsOptions {
    ca_pem: Option<String>,
    protocols: Vec<Vec<u8>>,
}

impl TlsOptions {
    /// The usual authorities; on this machine's own addresses, any certificate.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Only what this authority vouches for; PEM.
    #[must_use]
    pub fn with_ca(mut self, pem: impl Into<String>) -> Self {
        self.ca_pem = Some(pem.into());
        self
    }

    /// Offers these protocols; none by default, since a take-over needs HTTP/1.1.
    #[must_use]
    pub fn with_protocols(mut self, names: &[&str]) -> Self {
        self.protocols = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        self
    }
}

impl FromStr for CoordinatorInstance {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl fmt::Display for CoordinatorInstance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name {
            Name::Prod => f.write_str("prod"),
            Name::Staging => f.write_str("staging"),
            Name::Other => f.write_str(&self.host_port()),
        }
    }
}

impl CoordinatorInstance {
    /// Reads `prod`, `staging`, `host`, `host:port`, `::1`, `[::1]` or `[::1]:port`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for an empty text and for what is no host or no port.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = |why: &str| {
            Error::new(ErrorKind::Invalid, format!("coordinator {text:?}: {why}"))
                .with_hint("name prod, staging, or a host such as farm.example.com:443")
        };
        let (name, host, port) = match text {
            "" => return Err(invalid("the name is empty")),
            "prod" => (Name::Prod, PROD.0, PROD.1),
            "staging" => (Name::Staging, STAGING.0, STAGING.1),
            other => {
                let (host, port) = split(other).map_err(invalid)?;
                (Name::Other, host, port)
            }
        };
        if ServerName::try_from(host).is_err() {
            return Err(invalid("this is no host name"));
        }
        Ok(Self {
            name,
            host: host.to_owned(),
            port,
        })
    }

    /// Where it listens, with brackets where the host needs them.
    #[must_use]
    pub fn host_port(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// Whether it is on this machine: `localhost` or a loopback address, and nothing that only
    /// begins so.
    #[must_use]
    pub fn is_local(&self) -> bool {
        let ip: Option<IpAddr> = self.host.parse().ok();
        self.host == "localhost" || ip.is_some_and(|ip| ip.is_loopback())
    }

    /// How its certificate is checked. On this machine, without an authority, any certificate
    /// will do: Go's development coordinator shows one that has expired.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for an authority that is none, and for `staging` without one: its
    /// own certificate has expired.
    pub fn tls_config(&self, options: &TlsOptions) -> Result<ClientConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("the ring provider has the default versions");
        let mut config = match &options.ca_pem {
            Some(pem) => builder.with_root_certificates(roots(pem)?),
            None if self.is_local() => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Anyone(provider))),
            None if self.name == Name::Staging => {
                return Err(
                    Error::new(ErrorKind::Invalid, "check the certificate of staging")
                        .with_hint("name the authority that vouches for it"),
                );
            }
            None => builder.with_root_certificates(RootCertStore {
                roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
            }),
        }
        .with_no_client_auth();
        config.alpn_protocols.clone_from(&options.protocols);
        Ok(config)
    }

    /// Makes connections to it.
    ///
    /// # Errors
    /// As [`CoordinatorInstance::tls_config`].
    pub fn dialer(&self, options: &TlsOptions) -> Result<InstanceDial> {
        let name = match self.name {
            Name::Staging => STAGING_NAME,
            _ => &self.host,
        };
        let name = ServerName::try_from(name.to_owned())
            .map_err(|e| Error::caused_by(ErrorKind::Invalid, "name the coordinator", e))?;
        Ok(InstanceDial {
            address: self.host_port(),
            name,
            connector: TlsConnector::from(Arc::new(self.tls_config(options)?)),
        })
    }
}

/// Host and port. A bare IPv6 address has colons of its own.
fn split(text: &str) -> Result<(&str, u16), &'static str> {
    const NO_PORT: &str = "this is no port";
    let port = |text: &str| text.parse().ok().filter(|port| *port > 0).ok_or(NO_PORT);
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or("a bracket is not closed")?;
        return match rest.strip_prefix(':') {
            Some(digits) => Ok((host, port(digits)?)),
            None if rest.is_empty() => Ok((host, DEFAULT_PORT)),
            None => Err(NO_PORT),
        };
    }
    match text.split_once(':') {
        Some((host, digits)) if !digits.contains(':') => Ok((host, port(digits)?)),
        _ => Ok((text, DEFAULT_PORT)),
    }
}

/// The authorities of a PEM text.
pub(crate) fn roots(pem: &str) -> Result<RootCertStore> {
    let invalid = |e| Error::caused_by(ErrorKind::Invalid, "read the authority's certificate", e);
    let mut roots = RootCertStore::empty();
    for cert in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let cert = cert.map_err(|e| {
            Error::caused_by(ErrorKind::Invalid, "read the authority's PEM text", e)
        })?;
        roots.add(cert).map_err(invalid)?;
    }
    match roots.is_empty() {
        true => Err(Error::new(
            ErrorKind::Invalid,
            "the authority's text holds no certificate",
        )),
        false => Ok(roots),
    }
}

/// TLS connections to one coordinator.
#[derive(Clone)]
pub struct InstanceDial {
    address: String,
    name: ServerName<'static>,
    connector: TlsConnector,
}

impl fmt::Debug for InstanceDial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InstanceDial({})", self.address)
    }
}

#[async_trait]
impl Dial for InstanceDial {
    async fn dial(&self) -> io::Result<Connection> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let greeted = self.connector.connect(self.name.clone(), stream).await;
        let failed = |error: io::Error| {
            let said = format!("failed to handshake with coordinator: {error}");
            io::Error::new(error.kind(), said)
        };
        Ok(Box::new(greeted.map_err(failed)?))
    }

    fn authority(&self) -> &str {
        &self.address
    }
}

/// Any certificate, even one that cannot be read by today's rules.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use rustls::ServerConfig;
    use rustls_pki_types::PrivateKeyDer;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    #[test]
    fn instances_have_a_host_and_a_port() {
        for (text, at) in [
            ("prod", "farmer.golang.org:443"),
            ("staging", "104.154.113.235:443"),
            ("localhost", "localhost:443"),
            ("localhost:8119", "localhost:8119"),
            ("farm.example.com", "farm.example.com:443"),
            ("farm.example.com:99", "farm.example.com:99"),
            ("::1", "[::1]:443"),
            ("[::1]", "[::1]:443"),
            ("[::1]:8119", "[::1]:8119"),
        ] {
            assert_eq!(
                CoordinatorInstance::parse(text).unwrap().host_port(),
                at,
                "{text}"
            );
        }
        for bad in [
            "", "a:b", "a:0", "a:99999", "[::1", "[::1]x", "a b", "http://a",
        ] {
            let error = CoordinatorInstance::parse(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{bad}");
        }
    }

    #[test]
    fn only_this_machine_is_local() {
        let is_local = |text| CoordinatorInstance::parse(text).unwrap().is_local();
        assert!(is_local("localhost:1") && is_local("127.0.0.9") && is_local("::1"));
        assert!(!is_local("localhost.example.com") && !is_local("127.example.com"));
    }

    /// What a client says of a server that shows a certificate of its own for `farm.test`.
    async fn greet(
        host: &str,
        options: &TlsOptions,
        key: &KeyPair,
        cert: &rcgen::Certificate,
    ) -> io::Result<()> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let der = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], der)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = async {
            let (stream, _) = listener.accept().await.unwrap();
            // The client's refusal, seen from the other side.
            let _ = TlsAcceptor::from(Arc::new(config)).accept(stream).await;
        };
        let instance = CoordinatorInstance::parse(&format!("{host}:{port}")).unwrap();
        let mut dial = instance.dialer(options).unwrap();
        // The name is not known to this machine's resolver.
        dial.address = format!("127.0.0.1:{port}");
        tokio::join!(server, dial.dial()).1.map(drop)
    }

    #[tokio::test]
    async fn a_strange_certificate_needs_its_authority() {
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::new(["farm.test".to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        let error = greet("farm.test", &TlsOptions::new(), &key, &cert)
            .await
            .unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("failed to handshake with coordinator: "),
            "{error}"
        );
        let trusted = TlsOptions::new().with_ca(cert.pem());
        greet("farm.test", &trusted, &key, &cert).await.unwrap();
        greet("other.test", &trusted, &key, &cert)
            .await
            .unwrap_err();
        greet("127.0.0.1", &TlsOptions::new(), &key, &cert)
            .await
            .unwrap();
        // An authority that is named counts on this machine too.
        greet("127.0.0.1", &trusted, &key, &cert).await.unwrap_err();
        let staging = CoordinatorInstance::parse("staging").unwrap();
        assert!(staging.dialer(&TlsOptions::new()).is_err());
        assert!(staging.dialer(&trusted).is_ok());
        assert!(
            staging
                .dialer(&TlsOptions::new().with_ca("no PEM"))
                .is_err()
        );
    }
}
