use std::io;
use std::sync::Arc;

use build_core::h1::io::{Duplex, Rewind};
use rustls::ServerConfig;
use rustls::server::ResolvesServerCert;
use tokio::io::AsyncReadExt as _;
use tokio_rustls::TlsAcceptor;

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
        let protocols: [&[u8]; 3] = [b"http/1.1", b"h2", super::acme::CHALLENGE];
        Self::with_protocols(acme.resolver(), &protocols)
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
        }
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
    pub async fn accept<I: Duplex>(&self, mut io: I) -> io::Result<TlsStream<I>> {
        let mut record = Vec::new();
        read_record(&mut io, &mut record).await?;
        if self.hides_bad_names {
            sni::hide(&mut record);
        }
        self.acceptor.accept(Rewind::new(record.into(), io)).await
    }

    /// The protocol that was agreed on, if any.
    #[must_use]
    pub fn protocol<I>(stream: &TlsStream<I>) -> Option<&[u8]> {
        stream.get_ref().1.alpn_protocol()
    }
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
