//! Where a service answers: an address for plain text, and some for TLS.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use axum::Router;
use axum::serve::{Listener, ListenerExt as _};
use build_server::https::acme::{Acme, Autocert};
use build_server::https::{Tls, TlsStream, development};
use farmer_cli::{Exit, Failure};
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// A client that has not finished its handshake by then is let go.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes at a time; further clients wait.
const SHAKING: usize = 256;
/// Go clients of gRPC offer both, and understand only answers over HTTP/2.
const PROTOCOLS: &[&[u8]] = &[b"h2", b"http/1.1"];
/// Pause after the system refused a connection, as when there are too many files.
const AFTER_ERROR: Duration = Duration::from_millis(100);

/// The open addresses.
#[derive(Debug)]
pub(crate) struct Doors {
    plain: TcpListener,
    tls: Vec<TlsListener>,
    /// What keeps a certificate of an authority good.
    renewed: Option<Acme>,
}

/// An address with a certificate that an authority gives.
#[derive(Debug)]
pub(crate) struct Public {
    /// Where it listens; the authority asks port 443 of each name.
    pub(crate) address: String,
    pub(crate) certificate: Autocert,
}

impl Doors {
    /// Listens on `plain`, and with a certificate of this machine's own on `tls`.
    pub(crate) async fn open(
        plain: &str,
        self_signed: Option<&str>,
        public: Option<&Public>,
        folder: &Path,
    ) -> Result<Self, Failure> {
        let plain = listen(plain, "-listen=localhost:0").await?;
        let mut tls = Vec::new();
        if let Some(address) = self_signed {
            tls.push({
                // As everybody may read it; only the certificates are for the owner alone.
                std::fs::create_dir_all(folder)?;
                let made = development(&folder.join("tls"), &[]);
                let made =
                    made.map_err(|error| Failure::because(Exit::Infrastructure, &error, None))?;
                let tcp = listen(address, "-listen-https-selfsigned=localhost:0").await?;
                if let Ok(address) = tcp.local_addr() {
                    let ca = made.ca_path().display();
                    eprintln!(
                        "listening on https://{address}, self-signed; clients may trust {ca}"
                    );
                }
                TlsListener::new(
                    tcp,
                    Tls::with_protocols(made.certificate().clone(), PROTOCOLS),
                )
            });
        }
        let mut renewed = None;
        if let Some(public) = public {
            // Credentials of a store are those of the environment, as its own tools read them.
            let acme = public.certificate.open(std::env::vars()).map_err(|error| {
                let hint = "give names that lead to this machine, and a place that can be written with -autocert-cache";
                Failure::because(Exit::Usage, &error, Some(hint))
            })?;
            let tcp = listen(&public.address, "-listen-https=localhost:0").await?;
            if let Ok(address) = tcp.local_addr() {
                let names = public.certificate.hosts.join(", ");
                eprintln!("listening on https://{address}, for {names}");
            }
            tls.push(TlsListener::new(
                tcp,
                Tls::with_acme_protocols(&acme, PROTOCOLS),
            ));
            renewed = Some(acme);
        }
        if let Ok(address) = plain.local_addr() {
            // Programs that start this one read the port from here.
            eprintln!("listening on http://{address}");
        }
        Ok(Self {
            plain,
            tls,
            renewed,
        })
    }

    /// Answers with `routes` until `stop`, and to the end what was asked before.
    pub(crate) async fn serve(self, routes: Router, stop: CancellationToken) -> io::Result<()> {
        // News are small and must not wait for each other.
        let plain = self.plain.tap_io(|tcp| {
            let _slower = tcp.set_nodelay(true);
        });
        let plain = axum::serve(plain, routes.clone())
            .with_graceful_shutdown(stop.clone().cancelled_owned())
            .into_future();
        let encrypted = self.tls.into_iter().map(|tls| {
            axum::serve(tls, routes.clone())
                .with_graceful_shutdown(stop.clone().cancelled_owned())
                .into_future()
        });
        let encrypted = futures::future::try_join_all(encrypted);
        let renewed = async {
            if let Some(acme) = self.renewed {
                acme.run(stop.clone()).await;
            }
            Ok(())
        };
        tokio::try_join!(plain, encrypted, renewed).map(drop)
    }
}

async fn listen(address: &str, hint: &str) -> Result<TcpListener, Failure> {
    // As in Go, no host means all of them.
    let full = match address.strip_prefix(':') {
        Some(port) => format!("0.0.0.0:{port}"),
        None => address.to_owned(),
    };
    TcpListener::bind(&full).await.map_err(|error| {
        let error = anyhow::Error::new(error).context(format!("cannot listen on {address}"));
        let hint = format!("is another program there? {hint} takes any free port");
        Failure::because(Exit::Infrastructure, error.as_ref(), Some(&hint))
    })
}

type Shaken = Option<(TlsStream<TcpStream>, SocketAddr)>;

/// Connections over TLS. Handshakes go on beside each other: a client that stops in the middle
/// of one holds up nobody.
struct TlsListener {
    tcp: TcpListener,
    tls: Tls,
    shaking: FuturesUnordered<Pin<Box<dyn Future<Output = Shaken> + Send>>>,
}

impl TlsListener {
    fn new(tcp: TcpListener, tls: Tls) -> Self {
        Self {
            tcp,
            tls,
            shaking: FuturesUnordered::new(),
        }
    }
}

impl std::fmt::Debug for TlsListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsListener")
            .field("tcp", &self.tcp)
            .field("shaking", &self.shaking.len())
            .finish_non_exhaustive()
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            tokio::select! {
                accepted = self.tcp.accept(), if self.shaking.len() < SHAKING => {
                    match accepted {
                        Ok((tcp, peer)) => self.shaking.push(shake(self.tls.clone(), tcp, peer).boxed()),
                        Err(error) => {
                            tracing::warn!("cannot accept a connection: {error}");
                            tokio::time::sleep(AFTER_ERROR).await;
                        }
                    }
                }
                Some(shaken) = self.shaking.next(), if !self.shaking.is_empty() => {
                    if let Some(shaken) = shaken {
                        return shaken;
                    }
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}

async fn shake(tls: Tls, tcp: TcpStream, peer: SocketAddr) -> Shaken {
    let _slower = tcp.set_nodelay(true);
    match tokio::time::timeout(HANDSHAKE, tls.accept(tcp)).await {
        Ok(Ok(stream)) => Some((stream, peer)),
        Ok(Err(error)) => {
            tracing::debug!("no handshake with {peer}: {error}");
            None
        }
        Err(_late) => None,
    }
}
