use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use build_core::h1::io::{Duplex, Rewind};
use rustls::ServerConfig;
use rustls::server::ResolvesServerCert;
use tokio::io::AsyncReadExt as _;
use tokio_rustls::TlsAcceptor;

use super::hellos::{Agreed, Hellos};
use super::sni;

/// Largest record of a handshake; more is left for TLS to refuse.
const MAX_RECORD: usize = 16 * 1024 + 256;

/// An encrypted stream.
pub type TlsStream<I> = tokio_rustls::server::TlsStream<Rewind<I>>;

/// Greets clients over TLS. Clones are the same server.
///
/// Clients that offer both HTTP versions get HTTP/1.1, since only that can be taken over; those of
/// gRPC offer HTTP/2 alone; those that offer nothing get HTTP/1.1. A server name that is none, as
/// Go buildlets send it, is ignored.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    hides_bad_names: bool,
    hellos: Option<Hellos>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// A server with this certificate, or these.
    pub fn new(certificates: impl ResolvesServerCert + 'static) -> Self {
        Self::with_protocols(certificates, &[b"http/1.1", b"h2"])
    }

    /// A server with the certificate that an authority gives; it answers the authority too.
    #[cfg(feature = "acme")]
    pub fn with_acme(acme: &super::acme::Acme) -> Self {
        Self::with_acme_protocols(acme, &[b"http/1.1", b"h2"])
    }

    /// The same, which prefers these protocols, in this order.
    #[cfg(feature = "acme")]
    pub fn with_acme_protocols(acme: &super::acme::Acme, protocols: &[&[u8]]) -> Self {
        let challenge: &[u8] = super::acme::CHALLENGE;
        let protocols = protocols.iter().copied().chain([challenge]);
        Self::with_protocols(acme.resolver(), &protocols.collect::<Vec<_>>())
    }

    /// A server that prefers these protocols, in this order: of clients that offer several, those
    /// of gRPC need HTTP/2.
    pub fn with_protocols(
        certificates: impl ResolvesServerCert + 'static,
        protocols: &[&[u8]],
    ) -> Self {
        let mut config = ServerConfig::builder_with_provider(sni::provider())
            .with_safe_default_protocol_versions()
            .expect("the ring provider has the default versions")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(certificates));
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            hides_bad_names: true,
            hellos: None,
        }
    }

    /// Tells `hellos` of each handshake of which it is said where it comes from.
    #[must_use]
    pub fn with_hellos(mut self, hellos: Hellos) -> Self {
        self.hellos = Some(hellos);
        self
    }

    /// Leaves server names as they come: what the tests show to fail.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn with_strict_names(mut self) -> Self {
        self.hides_bad_names = false;
        self
    }

    /// Prefers HTTP/2: what the tests show to fail.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn preferring_http2(certificates: impl ResolvesServerCert + 'static) -> Self {
        Self::with_protocols(certificates, &[b"h2", b"http/1.1"])
    }

    /// Does the handshake. The caller sets the deadline.
    ///
    /// # Errors
    /// The stream's, or the handshake's.
    ///
    /// # Cancel safety
    /// A dropped future has lost the stream.
    pub async fn accept<I: Duplex>(&self, io: I) -> io::Result<TlsStream<I>> {
        self.shake_hands(io, None).await
    }

    /// Does the handshake with a client that comes from `from`. See [`Tls::accept`].
    ///
    /// # Errors
    /// The stream's, or the handshake's.
    ///
    /// # Cancel safety
    /// A dropped future has lost the stream.
    pub async fn accept_from<I: Duplex>(
        &self,
        io: I,
        from: SocketAddr,
    ) -> io::Result<TlsStream<I>> {
        self.shake_hands(io, Some(from)).await
    }

    async fn shake_hands<I: Duplex>(
        &self,
        mut io: I,
        from: Option<SocketAddr>,
    ) -> io::Result<TlsStream<I>> {
        let mut record = Vec::new();
        read_record(&mut io, &mut record).await?;
        let told = self.hellos.as_ref().zip(from);
        let told = told.map(|(hellos, from)| (hellos, hellos.begin(from, &record)));
        if self.hides_bad_names {
            sni::hide(&mut record);
        }
        let shaken = self.acceptor.accept(Rewind::new(record.into(), io)).await;
        if let Some((hellos, number)) = told {
            hellos.end(number, agreed(&shaken));
        }
        shaken
    }

    /// The protocol that was agreed on, if any.
    #[must_use]
    pub fn protocol<I>(stream: &TlsStream<I>) -> Option<&[u8]> {
        stream.get_ref().1.alpn_protocol()
    }
}

/// What came of a handshake.
fn agreed<I>(shaken: &io::Result<TlsStream<I>>) -> Result<Agreed, String> {
    let stream = shaken.as_ref().map_err(ToString::to_string)?;
    let connection = stream.get_ref().1;
    let version = connection.protocol_version();
    let suite = connection.negotiated_cipher_suite();
    let protocol = connection.alpn_protocol().unwrap_or_default();
    Ok(Agreed {
        version: version.map_or_else(String::new, |version| format!("{version:?}")),
        cipher_suite: suite.map_or_else(String::new, |suite| format!("{:?}", suite.suite())),
        protocol: String::from_utf8_lossy(protocol).into_owned(),
    })
}

/// The first record of a connection, or what there is of it.
async fn read_record(io: &mut (impl Duplex + ?Sized), record: &mut Vec<u8>) -> io::Result<()> {
    let mut wanted = sni::RECORD_HEAD;
    while record.len() < wanted {
        let mut piece = (&mut *io).take((wanted - record.len()) as u64);
        if piece.read_buf(record).await? == 0 {
            return Ok(());
        }
        if record.len() == sni::RECORD_HEAD {
            let length = usize::from(u16::from_be_bytes([record[3], record[4]]));
            if length <= MAX_RECORD {
                wanted += length;
            }
        }
    }
    Ok(())
}
