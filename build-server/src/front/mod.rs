//! One port for everything: machines, programs and people come through the same door.
//!
//! The first byte of a connection tells TLS from plain text, the protocol that TLS agreed on or
//! the first request tells the rest: a request that the [`Dialect`] takes gets the whole
//! connection, since it may be taken over (`/reverse`, `/revdial`, `/connect-ssh`, docs/protocol/
//! buildlet.md 1.1); all others go to the pages, over HTTP/1.1 or HTTP/2.
//!
//! What is behind it comes from many parts of a farm: each adds its own to [`Services`].
//!
//! Nobody holds a connection for free: the first byte, the handshake and each head have
//! deadlines and limits ([`Limits`]), and connections that have not said anything yet get less
//! time when there are many. Open answers are counted, not connections alone: HTTP/2 has many of
//! them on one. An answer of which the peer takes nothing for a while is ended. No address holds
//! all places: each has its share of connections and answers, and some of both are kept for programs
//! of this machine, so that the owner's own commands are always served.
//!
//! Every head is read strictly before the server of pages sees it, the later ones of a connection
//! too: what two readers could understand differently is refused.
//!
//! ```
//! # async fn example() -> std::io::Result<()> {
//! use axum::Router;
//! use axum::routing::get;
//! use build_server::front::{Front, Services};
//! use tokio_util::sync::CancellationToken;
//!
//! let services = Services::new()
//!     .with_pages(Router::new().route("/", get(|| async { "a page" })))
//!     .with_pages(Router::new().route("/other", get(|| async { "another" })));
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! Front::new(services).run(listener, CancellationToken::new()).await;
//! # Ok(()) }
//! ```

mod connection;
mod judged;
mod pages;
mod services;
mod shares;
mod streams;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use build_core::h1::RequestHead;
use build_core::h1::io::{Duplex, Rewind};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub use services::Services;

use self::shares::{Shares, kept_of};
use self::streams::Streams;
use crate::https::Tls;
use crate::supervise::Supervisor;

/// After a failure to accept: out of file descriptors, most likely.
const PAUSE: Duration = Duration::from_millis(100);
/// How long answers may go on at the end.
const DRAIN: Duration = Duration::from_secs(2);

/// A connection with what was read of it in front.
pub type Stream = Rewind<Box<dyn Duplex>>;

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Where it connects from.
    pub address: SocketAddr,
    /// Whether what passes is encrypted.
    pub encrypted: bool,
    /// Whether it is a program of this machine.
    pub local: bool,
}

/// From where a request comes, as an extension of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remote(pub IpAddr);

/// The host and port that a request is for, in the client's words, as an extension of it. Good to
/// tell the same client where to ask next, and for nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority(pub String);

/// Serves the connections whose first request it takes.
#[async_trait]
pub trait Dialect: Send + Sync {
    /// Whether a request is one of its own. By path and fields alone: bodies come later.
    fn takes(&self, head: &RequestHead) -> bool;

    /// Serves a connection to its end, its first request included.
    async fn serve(&self, stream: Stream, peer: Peer);
}

/// What a connection may take before it has shown what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time; more wait to be accepted.
    pub connections: usize,
    /// Those among them of one address; more are closed at once. An address of IPv6 is its
    /// network of 64 bits. Programs of this machine are not counted.
    pub connections_of_address: usize,
    /// Until the first byte.
    pub first_byte: Duration,
    /// The same when three quarters of all connections are taken.
    pub first_byte_when_crowded: Duration,
    /// For the handshake of TLS.
    pub handshake: Duration,
    /// From the first byte of a head to its end.
    pub head: Duration,
    /// Largest head in bytes.
    pub head_bytes: usize,
    /// Longest line of a head in bytes.
    pub line_bytes: usize,
    /// Open answers at a time, over all connections; more are told to come back.
    pub streams: usize,
    /// Those among them that go on until somebody leaves: streams of events, logs that are
    /// followed.
    pub lasting_streams: usize,
    /// Open answers of one address; more are told to come back.
    pub streams_of_address: usize,
    /// Those among them that go on until somebody leaves.
    pub lasting_streams_of_address: usize,
    /// Open answers at a time on one connection of HTTP/2.
    pub streams_of_connection: u32,
    /// How long a peer may take nothing of an answer.
    pub stall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connections_of_address: 5_000,
            first_byte: Duration::from_secs(20),
            first_byte_when_crowded: Duration::from_secs(1),
            handshake: Duration::from_secs(15),
            head: Duration::from_secs(15),
            head_bytes: 64 * 1024,
            line_bytes: 16 * 1024,
            streams: 4096,
            lasting_streams: 1024,
            streams_of_address: 1024,
            lasting_streams_of_address: 256,
            streams_of_connection: 64,
            stall: Duration::from_secs(30),
        }
    }
}

impl Limits {
    /// The default limits of a process that may have `descriptors` open: connections take half of
    /// them, the rest is for the work.
    #[must_use]
    pub fn for_descriptors(descriptors: u64) -> Self {
        let defaults = Self::default();
        let half = usize::try_from(descriptors / 2).unwrap_or(usize::MAX);
        let connections = defaults.connections.min(half.max(16));
        Self {
            connections,
            connections_of_address: connections / 2,
            ..defaults
        }
    }
}

/// What becomes of requests for pages that are not encrypted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Plain {
    /// They are answered.
    #[default]
    Serve,
    /// Those of this machine are answered, the others are sent to the same place with `https`.
    Local,
    /// They are sent to the same place with `https`.
    Redirect,
}

/// Fixes switched off, so that tests can show what they are for.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Quirks {
    /// Nothing is the dialect's.
    pub pages_only: bool,
    /// Every request must name a host.
    pub named_hosts: bool,
    /// Heads after the first one of a connection are read by the server of pages alone.
    pub first_head_only: bool,
    /// Of the addresses of this machine, 127.0.0.1 alone is one of its programs: the others stand
    /// for machines far away.
    pub far_loopback: bool,
}

/// The door of a server. Clones are the same door.
#[derive(Clone)]
pub struct Front(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    tls: Option<Tls>,
    plain: Plain,
    services: Services,
    limits: Limits,
    quirks: Quirks,
    streams: Streams,
}

impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Front")
            .field("tls", &self.0.tls.is_some())
            .field("plain", &self.0.plain)
            .field("limits", &self.0.limits)
            .finish_non_exhaustive()
    }
}

impl Front {
    /// A door without TLS.
    pub fn new(services: Services) -> Self {
        Self(Arc::new(Inner {
            tls: None,
            plain: Plain::default(),
            services,
            limits: Limits::default(),
            quirks: Quirks::default(),
            streams: Streams::new(&Limits::default()),
        }))
    }

    fn with(self, change: impl FnOnce(&mut Inner)) -> Self {
        let mut inner = Inner::clone(&self.0);
        change(&mut inner);
        Self(Arc::new(inner))
    }

    /// Takes TLS as well.
    #[must_use]
    pub fn with_tls(self, tls: Tls) -> Self {
        self.with(|inner| inner.tls = Some(tls))
    }

    /// Sets what becomes of pages without TLS.
    #[must_use]
    pub fn with_plain(self, plain: Plain) -> Self {
        self.with(|inner| inner.plain = plain)
    }

    /// Sets the limits.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        self.with(|inner| {
            inner.limits = limits;
            inner.streams = Streams::new(&limits);
        })
    }

    /// Switches fixes off.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn with_quirks(self, quirks: Quirks) -> Self {
        self.with(|inner| inner.quirks = quirks)
    }

    /// Serves what is accepted on several addresses, as [`Front::run`] does. Limits of connections
    /// count for each address, those of open answers for all together.
    ///
    /// # Cancel safety
    /// A dropped future ends every connection.
    pub async fn run_all(self, listeners: Vec<TcpListener>, stop: CancellationToken) {
        let each = listeners
            .into_iter()
            .map(|listener| self.clone().run(listener, stop.clone()));
        futures::future::join_all(each).await;
    }

    /// Serves what is accepted until `stop` is canceled, then lets running answers of pages end
    /// for a short while; connections of the dialect end at once, machines come back.
    ///
    /// # Cancel safety
    /// A dropped future ends every connection.
    pub async fn run(self, listener: TcpListener, stop: CancellationToken) {
        let connections = Supervisor::with_token("front", stop.child_token());
        let limits = self.0.limits;
        let slots = Arc::new(Semaphore::new(limits.connections));
        let (shares, kept) = (Shares::default(), kept_of(limits.connections));
        loop {
            let accepted = async {
                let slot = Arc::clone(&slots).acquire_owned().await;
                (slot, listener.accept().await)
            };
            let Some((slot, accepted)) = stop.run_until_cancelled(accepted).await else {
                break;
            };
            match accepted {
                Ok((stream, address)) => {
                    let free = slots.available_permits();
                    let crowded = free < limits.connections / 4;
                    let door = Arc::clone(&self.0);
                    let peer = connection::peer(&door, &stream, address);
                    let share = shares.take(peer, limits.connections_of_address);
                    let Some(share) = share.filter(|_| peer.local || free >= kept) else {
                        tracing::debug!(%address, free, "a connection too many is closed");
                        continue;
                    };
                    let group = connections.group("connection");
                    let token = group.token().clone();
                    // One group each: a connection that panics ends alone.
                    group.spawn("serve", async move {
                        let _place = (slot, share);
                        connection::serve(&door, stream, peer, crowded, token).await;
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        if let Err(error) = connections.drain(DRAIN).await {
            tracing::debug!(%error, "the front has ended");
        }
    }
}
