//! Where a buildlet is reached.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use build_core::h1::io::Duplex;
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{Mutex, mpsc};

#[cfg(feature = "buildlet-tls")]
use super::tls::ServerTls;

/// How long a dead peer is not noticed at the most, give or take the probes.
const TCP_KEEP_ALIVE: Duration = Duration::from_secs(180);
/// Pause after a failed accept: usually the descriptors have run out, and some come back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// An address to listen on: `unix:/path`, `host:port` or `:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Address {
    /// A unix socket.
    Unix(PathBuf),
    /// A host name or address, empty for all, and a port.
    Tcp(String),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = Path::new(path);
            return match path.is_absolute() {
                true => Ok(Self::Unix(path.to_owned())),
                false => Err(format!("socket path {path:?} is not absolute")),
            };
        }
        let port = text.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
        match port {
            Some(Ok(_)) => Ok(Self::Tcp(text.to_owned())),
            _ => Err(format!("{text:?} is neither host:port nor unix:/path")),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(text) => f.write_str(text),
        }
    }
}

/// A bound address.
#[derive(Debug)]
pub struct Listener(Kind);

#[derive(Debug)]
enum Kind {
    Unix(UnixListener, SocketFile),
    Tcp(TcpListener, SocketAddr),
    #[cfg(feature = "buildlet-tls")]
    Tls(TcpListener, SocketAddr, ServerTls),
    /// Connections that somebody else makes, and where they come from.
    Incoming(Mutex<mpsc::Receiver<Box<dyn Duplex>>>, String),
}

/// A stream whose protocol may have to be greeted first.
pub(crate) enum Accepted {
    Ready(Box<dyn Duplex>),
    #[cfg(feature = "buildlet-tls")]
    Handshake(TcpStream, ServerTls),
}

impl Listener {
    /// Binds an address without encryption. A unix socket replaces one that nobody listens on
    /// any more; its directory should be for its owner alone.
    ///
    /// # Errors
    /// The system's; also when somebody listens on that socket.
    pub async fn bind(address: &Address) -> io::Result<Self> {
        match address {
            Address::Unix(path) => {
                remove_dead_socket(path)?;
                Ok(Self(Kind::Unix(
                    UnixListener::bind(path)?,
                    SocketFile(path.clone()),
                )))
            }
            Address::Tcp(text) => {
                let listener = bind_tcp(text).await?;
                let address = listener.local_addr()?;
                Ok(Self(Kind::Tcp(listener, address)))
            }
        }
    }

    /// Serves the connections that come through `connections`, as those of a coordinator that this
    /// machine has dialed. Whoever makes them knows who is at the other end: no password is asked
    /// for unless the configuration has one. `from` names where they come from, for people.
    ///
    /// When the sender is gone nothing more comes; the buildlet goes on until it is stopped.
    pub fn incoming(from: &str, connections: mpsc::Receiver<Box<dyn Duplex>>) -> Self {
        Self(Kind::Incoming(
            Mutex::new(connections),
            format!("reverse:{from}"),
        ))
    }

    /// Encrypts what is accepted on a TCP address from now on; others stay as they are.
    #[cfg(feature = "buildlet-tls")]
    #[must_use]
    pub fn with_tls(self, tls: ServerTls) -> Self {
        match self.0 {
            Kind::Tcp(listener, address) | Kind::Tls(listener, address, _) => {
                Self(Kind::Tls(listener, address, tls))
            }
            other => Self(other),
        }
    }

    /// Where it listens, as [`Address`] reads it; the port is the real one.
    pub fn address(&self) -> String {
        match &self.0 {
            Kind::Unix(_, file) => format!("unix:{}", file.0.display()),
            Kind::Tcp(_, address) => address.to_string(),
            #[cfg(feature = "buildlet-tls")]
            Kind::Tls(_, address, _) => address.to_string(),
            Kind::Incoming(_, from) => from.clone(),
        }
    }

    /// Whether other machines can reach it.
    pub fn is_exposed(&self) -> bool {
        match &self.0 {
            Kind::Unix(..) | Kind::Incoming(..) => false,
            Kind::Tcp(_, address) => !address.ip().is_loopback(),
            #[cfg(feature = "buildlet-tls")]
            Kind::Tls(_, address, _) => !address.ip().is_loopback(),
        }
    }

    /// Whether what passes is encrypted, or never leaves the machine's kernel.
    pub fn is_private(&self) -> bool {
        !matches!(self.0, Kind::Tcp(..))
    }

    /// Whether programs of other users of this machine, browsers included, can reach it.
    pub(crate) fn is_tcp(&self) -> bool {
        !matches!(self.0, Kind::Unix(..) | Kind::Incoming(..))
    }

    /// The next connection. Cancel safe.
    pub(crate) async fn accept(&self) -> Accepted {
        loop {
            match self.try_accept().await {
                Ok(accepted) => return accepted,
                Err(error) => {
                    tracing::warn!(%error, address = self.address(), "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn try_accept(&self) -> io::Result<Accepted> {
        match &self.0 {
            Kind::Unix(listener, _) => Ok(Accepted::Ready(Box::new(listener.accept().await?.0))),
            Kind::Tcp(listener, _) => Ok(Accepted::Ready(Box::new(accept_tcp(listener).await?))),
            #[cfg(feature = "buildlet-tls")]
            Kind::Tls(listener, _, tls) => Ok(Accepted::Handshake(
                accept_tcp(listener).await?,
                tls.clone(),
            )),
            Kind::Incoming(connections, _) => {
                // Locked by one accepting task alone.
                match connections.lock().await.recv().await {
                    Some(stream) => Ok(Accepted::Ready(stream)),
                    None => std::future::pending().await,
                }
            }
        }
    }
}

/// The name of a socket in the file system, which goes with it.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // A socket that stays is replaced by the next buildlet.
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn bind_tcp(text: &str) -> io::Result<TcpListener> {
    match text.strip_prefix(':') {
        Some(port) => match TcpListener::bind(format!("[::]:{port}")).await {
            Ok(listener) => Ok(listener),
            // Without IPv6.
            Err(_) => TcpListener::bind(format!("0.0.0.0:{port}")).await,
        },
        None => TcpListener::bind(text).await,
    }
}

async fn accept_tcp(listener: &TcpListener) -> io::Result<TcpStream> {
    use rustix::net::sockopt;
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(&stream, true)?;
    sockopt::set_tcp_keepidle(&stream, TCP_KEEP_ALIVE)?;
    Ok(stream)
}

/// Removes a socket whose process is gone.
fn remove_dead_socket(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt as _;
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if !is_socket {
        return Ok(());
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        _ => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "somebody listens on this socket",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for text in ["localhost:5936", ":80", "[::1]:0", "unix:/tmp/s"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for bad in ["", "localhost", "unix:s", "host:port", "x:99999"] {
            assert!(bad.parse::<Address>().is_err(), "{bad:?}");
        }
    }

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let address = Address::Unix(path.clone());
        let listener = Listener::bind(&address).await.unwrap();
        let second = Listener::bind(&address).await.unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn only_other_machines_count_as_exposure() {
        let local = Listener::bind(&"127.0.0.1:0".parse().unwrap())
            .await
            .unwrap();
        assert!(!local.is_exposed() && !local.is_private());
        let all = Listener::bind(&":0".parse().unwrap()).await.unwrap();
        assert!(all.is_exposed());
    }
}
