//! Asks a server of the interface.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Status};

use super::apipb::maintner_service_client::MaintnerServiceClient;
use super::apipb::{
    DashboardRequest, DashboardResponse, GetRefRequest, GoFindTryWorkRequest,
    GoFindTryWorkResponse, HasAncestorRequest, HasAncestorResponse, ListGoReleasesRequest,
    ListGoReleasesResponse,
};
use super::tls;

const CONNECT: Duration = Duration::from_secs(10);
/// A dashboard of a thousand commits takes a second; a search on the review server ten.
const PATIENCE: Duration = Duration::from_secs(30);
/// Dashboards of a thousand commits have half a megabyte.
const LONGEST: usize = 10 << 20;

/// Asks a corpus server. Clones share the connection, which is made anew when it broke.
#[derive(Debug, Clone)]
pub struct Client {
    inner: MaintnerServiceClient<Channel>,
}

/// A server that cannot be reached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address is none.
    #[error(
        "{server:?} is no address of a corpus server: use HOST, HOST:PORT, or http://HOST:PORT for one without TLS"
    )]
    Address {
        /// What was given.
        server: String,
    },
    /// Nobody answers there, or not as a corpus server does.
    #[error("cannot connect to the corpus server {server}")]
    Connect {
        /// Its address.
        server: String,
        /// Why.
        source: tonic::transport::Error,
    },
}

impl Client {
    /// Connects to `HOST:PORT` over TLS (port 443 when none is named), or to
    /// `http://HOST:PORT` without. The certificate of `localhost` is not checked.
    ///
    /// # Errors
    /// When the address is none, or nobody answers there within 10 s.
    pub async fn connect(server: &str) -> Result<Self, ConnectError> {
        let inner = MaintnerServiceClient::new(channel(server).await?);
        Ok(Self {
            inner: inner.max_decoding_message_size(LONGEST),
        })
    }

    /// Whether one commit is an ancestor of another; both are named by forty hexadecimal digits.
    ///
    /// # Errors
    /// What the server said, or that it cannot be reached.
    pub async fn has_ancestor(
        &mut self,
        commit: &str,
        ancestor: &str,
    ) -> Result<HasAncestorResponse, Status> {
        let request = HasAncestorRequest {
            commit: commit.to_owned(),
            ancestor: ancestor.to_owned(),
        };
        let answer = self.inner.has_ancestor(Request::new(request)).await?;
        Ok(answer.into_inner())
    }

    /// What a ref of a Gerrit project points at; empty when there is no such ref.
    ///
    /// # Errors
    /// What the server said, or that it cannot be reached.
    pub async fn get_ref(
        &mut self,
        server: &str,
        project: &str,
        name: &str,
    ) -> Result<String, Status> {
        let request = GetRefRequest {
            r#ref: name.to_owned(),
            gerrit_server: server.to_owned(),
            gerrit_project: project.to_owned(),
        };
        let answer = self.inner.get_ref(Request::new(request)).await?;
        Ok(answer.into_inner().value)
    }

    /// The changes that wait for a try run.
    ///
    /// # Errors
    /// What the server said, or that it cannot be reached.
    pub async fn find_try_work(
        &mut self,
        for_staging: bool,
    ) -> Result<GoFindTryWorkResponse, Status> {
        let request = GoFindTryWorkRequest { for_staging };
        let answer = self.inner.go_find_try_work(Request::new(request)).await?;
        Ok(answer.into_inner())
    }

    /// The supported releases.
    ///
    /// # Errors
    /// What the server said, or that it cannot be reached.
    pub async fn list_go_releases(&mut self) -> Result<ListGoReleasesResponse, Status> {
        let request = Request::new(ListGoReleasesRequest {});
        Ok(self.inner.list_go_releases(request).await?.into_inner())
    }

    /// What a dashboard shows of a project's commits.
    ///
    /// # Errors
    /// What the server said, or that it cannot be reached.
    pub async fn dashboard(
        &mut self,
        request: DashboardRequest,
    ) -> Result<DashboardResponse, Status> {
        let answer = self.inner.get_dashboard(Request::new(request)).await?;
        Ok(answer.into_inner())
    }
}

/// A connection to a server of gRPC: to `HOST:PORT` over TLS (port 443 when none is named), or to
/// `http://HOST:PORT` without. The certificate of `localhost` is not checked. Clones share it, and
/// it is made anew when it broke.
///
/// # Errors
/// When the address is none, or nobody answers there within 10 s.
pub async fn channel(server: &str) -> Result<Channel, ConnectError> {
    let address = || ConnectError::Address {
        server: server.to_owned(),
    };
    let plain = server.starts_with("http://");
    let named = server.strip_prefix("https://").unwrap_or(server);
    let url = if plain {
        named.to_owned()
    } else if has_port(named) {
        format!("http://{named}")
    } else {
        format!("http://{named}:443")
    };
    let uri: Uri = url.trim_end_matches('/').parse().map_err(|_| address())?;
    let host = uri
        .host()
        .ok_or_else(address)?
        .trim_matches(['[', ']'])
        .to_owned();
    let name = ServerName::try_from(host.clone()).map_err(|_| address())?;
    let tls = (!plain).then(|| TlsConnector::from(Arc::new(tls::config(host == "localhost"))));
    let port = uri.port_u16().unwrap_or(80);
    let connect = tower::service_fn(move |_: Uri| {
        let (host, name, tls) = (host.clone(), name.clone(), tls.clone());
        async move { dial(&host, port, name, tls).await }
    });
    // The scheme of requests is that of the connection, whoever encrypts it.
    let scheme = if plain { "http" } else { "https" };
    let authority = uri.authority().ok_or_else(address)?;
    let shown: Uri = format!("{scheme}://{authority}")
        .parse()
        .map_err(|_| address())?;
    let endpoint = Endpoint::from(uri.clone())
        .origin(shown)
        .connect_timeout(CONNECT)
        .timeout(PATIENCE);
    let channel = endpoint.connect_with_connector(connect).await;
    channel.map_err(|source| ConnectError::Connect {
        server: server.to_owned(),
        source,
    })
}

fn has_port(server: &str) -> bool {
    let behind = server.rsplit_once(']').map_or(server, |(_, behind)| behind);
    behind.contains(':')
}

/// A connection, encrypted or not.
enum Connection {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

async fn dial(
    host: &str,
    port: u16,
    name: ServerName<'static>,
    tls: Option<TlsConnector>,
) -> std::io::Result<TokioIo<Connection>> {
    let tcp = TcpStream::connect((host, port)).await?;
    tcp.set_nodelay(true)?;
    Ok(TokioIo::new(match tls {
        Some(tls) => Connection::Tls(Box::new(tls.connect(name, tcp).await?)),
        None => Connection::Plain(tcp),
    }))
}

mod io {
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    use super::Connection;

    impl AsyncRead for Connection {
        fn poll_read(
            self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            match self.get_mut() {
                Self::Plain(io) => Pin::new(io).poll_read(context, buffer),
                Self::Tls(io) => Pin::new(io).poll_read(context, buffer),
            }
        }
    }

    impl AsyncWrite for Connection {
        fn poll_write(
            self: Pin<&mut Self>,
            context: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            match self.get_mut() {
                Self::Plain(io) => Pin::new(io).poll_write(context, bytes),
                Self::Tls(io) => Pin::new(io).poll_write(context, bytes),
            }
        }

        fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            match self.get_mut() {
                Self::Plain(io) => Pin::new(io).poll_flush(context),
                Self::Tls(io) => Pin::new(io).poll_flush(context),
            }
        }

        fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            match self.get_mut() {
                Self::Plain(io) => Pin::new(io).poll_shutdown(context),
                Self::Tls(io) => Pin::new(io).poll_shutdown(context),
            }
        }
    }
}
