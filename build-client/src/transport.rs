//! How connections to a buildlet are made.
//!
//! A [`Dial`] makes one connection at a time; TLS wraps another one. Whoever has a machine
//! behind some other road (a tunnel, a proxy) implements the trait.

#[cfg(feature = "tls")]
mod proxy;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tls")]
mod trust;

use std::io;
#[cfg(unix)]
use std::path::{Path, PathBuf};

use async_trait::async_trait;
pub use build_core::h1::io::Duplex;
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

#[cfg(feature = "tls")]
pub use proxy::Proxy;
#[cfg(feature = "tls")]
pub use tls::{PinnedKey, TlsDial};
#[cfg(feature = "tls")]
pub use trust::{Pin, Trust};

/// The time of tokio's runtime, for [`build_core::revdial::io`].
#[derive(Clone, Copy, Debug, Default)]
pub struct TokioTimer;

impl build_core::revdial::io::Timer for TokioTimer {
    fn now(&self) -> std::time::Instant {
        tokio::time::Instant::now().into_std()
    }

    fn sleep_until(&self, at: std::time::Instant) -> futures::future::BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep_until(at.into()))
    }
}

/// One connection to a buildlet.
pub type Connection = Box<dyn Duplex>;

/// Makes connections to one buildlet.
#[async_trait]
pub trait Dial: Send + Sync {
    /// Makes a connection. The caller sets the deadline; a dropped future leaves nothing.
    ///
    /// # Errors
    /// The system's, or the handshake's.
    async fn dial(&self) -> io::Result<Connection>;

    /// What stands in the `Host` field of requests, and the place's name for people.
    fn authority(&self) -> &str;

    /// Whether a refused connection proves that nobody will ever answer at this place. True
    /// where the place belongs to one process: calls then fail at once instead of trying
    /// again for a while.
    fn refusal_is_final(&self) -> bool {
        false
    }
}

/// Connections over TCP.
#[derive(Clone, Debug)]
pub struct TcpDial {
    address: String,
}

impl TcpDial {
    /// Connections to `address`, a name or number and a port: `localhost:5936`.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
        }
    }
}

#[async_trait]
impl Dial for TcpDial {
    async fn dial(&self) -> io::Result<Connection> {
        let stream = TcpStream::connect(&self.address).await?;
        // Requests are written whole: waiting for more to send only delays them.
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }

    fn authority(&self) -> &str {
        &self.address
    }
}

/// Connections to a unix socket, which one process owns.
#[cfg(unix)]
#[derive(Clone, Debug)]
pub struct UnixDial {
    path: PathBuf,
}

#[cfg(unix)]
impl UnixDial {
    /// What stands in `Host` fields: a socket has no name there.
    const AUTHORITY: &str = "buildlet";

    /// Connections to the socket at `path` (108 bytes at most on Linux).
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where the socket is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(unix)]
#[async_trait]
impl Dial for UnixDial {
    async fn dial(&self) -> io::Result<Connection> {
        Ok(Box::new(UnixStream::connect(&self.path).await?))
    }

    fn authority(&self) -> &str {
        Self::AUTHORITY
    }

    fn refusal_is_final(&self) -> bool {
        true
    }
}
