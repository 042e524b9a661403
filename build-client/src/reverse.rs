//! A machine that nobody can reach joins a farm: it dials the coordinator, registers, and serves
//! the connections that the coordinator asks for. Facts: docs/protocol/revdial.md.
//!
//! [`Reverse::run`] does so for ever: a connection that is lost is made again, after a pause that
//! differs from machine to machine, so that a coordinator that comes back is not overrun.

mod pause;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use build_core::buildlet::VERSION as BUILDLET_VERSION;
use build_core::h1::RequestHead;
use build_core::h1::io::Rewind;
use build_core::revdial::io::{DialServer, Listener, TakeOverError, take_over};
use build_core::revdial::{VERSION, VERSION_HEADER};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use self::pause::Pause;
use crate::transport::{Connection, Dial, Proxy, TokioTimer, Trust};
use crate::{Error, ErrorKind, Result};

/// For a connection over TCP.
const CONNECT: Duration = Duration::from_secs(10);
/// For the handshake of TLS.
const HANDSHAKE: Duration = Duration::from_secs(30);
/// For the answer to the registration: the coordinator asks nobody else before it gives it.
const ANSWER: Duration = Duration::from_secs(30);
/// A silent connection is probed after so long: routers forget it otherwise.
#[cfg(unix)]
const TCP_KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The fields of a registration. Those that begin with `X-Farmer` are ours; Go ignores them.
pub mod header {
    /// The kind of machine.
    pub const HOST_TYPE: &str = "X-Go-Host-Type";
    /// What proves that the machine may be of that kind.
    pub const KEY: &str = "X-Go-Builder-Key";
    /// The machine's name.
    pub const HOST_NAME: &str = "X-Go-Builder-Hostname";
    /// The version of its buildlet.
    pub const VERSION: &str = "X-Go-Builder-Version";
    /// Names one life of a buildlet: from its clean start until everything it ran has ended.
    pub const INSTANCE: &str = "X-Farmer-Instance";
    /// What the machine has, divided by commas.
    pub const LABELS: &str = "X-Farmer-Labels";
}

/// Makes connections to a coordinator over TLS, through a proxy if need be.
pub struct CoordinatorDial {
    address: String,
    host: String,
    name: ServerName<'static>,
    connector: TlsConnector,
    proxy: Option<Proxy>,
    /// The direct way has failed and the proxy has not: it is asked first from now on.
    proxy_first: AtomicBool,
}

impl fmt::Debug for CoordinatorDial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoordinatorDial")
            .field("address", &self.address)
            .field("proxy", &self.proxy)
            .finish_non_exhaustive()
    }
}

impl CoordinatorDial {
    /// Connections to `address`, a host and a port, which is believed as `trust` says.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for an address that is none, and authorities that are none.
    pub fn new(address: &str, trust: &Trust) -> Result<Self> {
        let (host, _) = address
            .rsplit_once(':')
            .filter(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
            .ok_or_else(|| {
                let text = format!("coordinator {address:?}: a host and a port are needed");
                Error::new(ErrorKind::Invalid, text)
            })?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned())
            .map_err(|e| Error::caused_by(ErrorKind::Invalid, "name the coordinator", e))?;
        Ok(Self {
            address: address.to_owned(),
            host: host.to_owned(),
            name,
            connector: TlsConnector::from(Arc::new(trust.client_config()?)),
            proxy: None,
            proxy_first: AtomicBool::new(false),
        })
    }

    /// Goes through this proxy where the direct way fails.
    #[must_use]
    pub fn with_proxy(mut self, proxy: Option<Proxy>) -> Self {
        self.proxy = proxy.filter(|proxy| proxy.serves(&self.host));
        self
    }

    async fn road(&self) -> io::Result<Connection> {
        let Some(proxy) = &self.proxy else {
            return self.direct().await;
        };
        let by_proxy = async { limited(CONNECT, proxy.connect(&self.address)).await };
        if self.proxy_first.load(Ordering::Relaxed) {
            let stream = by_proxy.await;
            // The next time both ways are tried again.
            self.proxy_first.store(stream.is_ok(), Ordering::Relaxed);
            return stream;
        }
        match self.direct().await {
            Ok(stream) => Ok(stream),
            Err(direct) => match by_proxy.await {
                Ok(stream) => {
                    self.proxy_first.store(true, Ordering::Relaxed);
                    Ok(stream)
                }
                Err(error) => Err(io::Error::other(format!("{direct}; {error}"))),
            },
        }
    }

    async fn direct(&self) -> io::Result<Connection> {
        let stream = limited(CONNECT, TcpStream::connect(&self.address)).await?;
        stream.set_nodelay(true)?;
        probe(&stream)?;
        Ok(Box::new(stream))
    }
}

#[cfg(unix)]
fn probe(stream: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt;
    sockopt::set_socket_keepalive(stream, true)?;
    #[cfg(not(target_os = "openbsd"))]
    sockopt::set_tcp_keepidle(stream, TCP_KEEP_ALIVE)?;
    Ok(())
}

#[cfg(not(unix))]
fn probe(_: &TcpStream) -> io::Result<()> {
    Ok(())
}

async fn limited<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match timeout(limit, work).await {
        Ok(done) => done,
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("not done in {} s", limit.as_secs()),
        )),
    }
}

#[async_trait]
impl Dial for CoordinatorDial {
    async fn dial(&self) -> io::Result<Connection> {
        let stream = self.road().await?;
        let greeting = self.connector.connect(self.name.clone(), stream);
        Ok(Box::new(limited(HANDSHAKE, greeting).await?))
    }

    fn authority(&self) -> &str {
        &self.address
    }
}

/// What a machine says of itself.
#[derive(Clone)]
pub struct Registration {
    host_type: String,
    host_name: String,
    key: String,
    instance: Option<String>,
    labels: Vec<String>,
}

impl fmt::Debug for Registration {
    /// Leaves out the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration")
            .field("host_type", &self.host_type)
            .field("host_name", &self.host_name)
            .field("instance", &self.instance)
            .field("labels", &self.labels)
            .finish_non_exhaustive()
    }
}

impl Registration {
    /// A machine of the kind `host_type`, called `host_name`, that proves it by `key`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for an empty name and for characters that no field may have.
    pub fn new(host_type: &str, host_name: &str, key: &str) -> Result<Self> {
        let plain = |what: &str, text: &str| {
            let is_plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
            is_plain.then(|| text.to_owned()).ok_or_else(|| {
                let text = format!("the {what} must be a word of ASCII without spaces");
                Error::new(ErrorKind::Invalid, text)
            })
        };
        Ok(Self {
            host_type: plain("host type", host_type)?,
            host_name: plain("name of the machine", host_name)?,
            key: plain("key", key)?,
            instance: None,
            labels: Vec::new(),
        })
    }

    /// Names this life of the buildlet, so that a coordinator knows it when it comes back.
    #[must_use]
    pub fn with_instance(mut self, instance: impl Into<String>) -> Self {
        self.instance = Some(instance.into());
        self
    }

    /// What the machine has, beside its system and processor.
    #[must_use]
    pub fn with_labels(mut self, labels: impl IntoIterator<Item: Into<String>>) -> Self {
        self.labels = labels.into_iter().map(Into::into).collect();
        self
    }

    fn head(&self, authority: &str) -> RequestHead {
        let mut head = RequestHead::new("GET", "/reverse")
            .with("Host", authority)
            .with(header::HOST_NAME, &self.host_name)
            .with(header::KEY, &self.key)
            .with(header::VERSION, BUILDLET_VERSION.to_string())
            .with(header::HOST_TYPE, &self.host_type)
            .with(VERSION_HEADER, VERSION);
        if let Some(instance) = &self.instance {
            head = head.with(header::INSTANCE, instance);
        }
        match self.labels.is_empty() {
            true => head,
            false => head.with(header::LABELS, self.labels.join(",")),
        }
    }
}

/// What happens to a machine's place in a farm.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// The coordinator has taken it.
    Registered,
    /// The coordinator cannot be reached, or does not take it now; it is tried again after the
    /// pause.
    Failed {
        /// Why.
        error: Error,
        /// How long until the next attempt.
        pause: Duration,
    },
    /// The connection is lost; it is made again after the pause.
    Lost {
        /// Why.
        error: Error,
        /// How long until the next attempt.
        pause: Duration,
    },
}

/// A machine's end of its place in a farm.
#[derive(Debug)]
pub struct Reverse {
    dial: Arc<CoordinatorDial>,
    registration: Registration,
    reconnects: bool,
    pause: Pause,
}

type Control = Listener<Rewind<Connection>, Connection>;

impl Reverse {
    /// A machine that registers at the coordinator of `dial`.
    #[must_use]
    pub fn new(dial: Arc<CoordinatorDial>, registration: Registration) -> Self {
        Self {
            dial,
            registration,
            reconnects: true,
            pause: Pause::default(),
        }
    }

    /// Whether it registers again when the connection is lost (yes). If not, [`Reverse::run`] ends
    /// with the first failure.
    #[must_use]
    pub fn with_reconnects(mut self, reconnects: bool) -> Self {
        self.reconnects = reconnects;
        self
    }

    /// The first pause and the longest (1 s, 30 s). Each is drawn at random below its limit.
    #[must_use]
    pub fn with_pauses(mut self, first: Duration, longest: Duration) -> Self {
        self.pause = Pause::new(first, longest);
        self
    }

    /// Registers, and sends the connections that the coordinator asks for to `streams`, for ever.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] when the coordinator refuses the machine for good: its key, its name
    /// or its version is not right. [`ErrorKind::Unavailable`] when the connection could not be
    /// made or was lost, and it does not reconnect.
    ///
    /// # Cancel safety
    /// A dropped future ends the registration; streams that were sent stay.
    pub async fn run(
        mut self,
        streams: mpsc::Sender<Connection>,
        mut tell: impl FnMut(&Event),
    ) -> Error {
        loop {
            let (error, was_registered) = match self.register().await {
                Ok(listener) => {
                    tell(&Event::Registered);
                    self.pause.reset();
                    (serve(listener, &streams).await, true)
                }
                Err(error) => (error, false),
            };
            if error.kind() == ErrorKind::Denied || !self.reconnects {
                return error;
            }
            let pause = self.pause.next();
            let event = match was_registered {
                true => Event::Lost { error, pause },
                false => Event::Failed { error, pause },
            };
            tell(&event);
            tokio::time::sleep(pause).await;
        }
    }

    async fn register(&self) -> Result<Control> {
        let authority = self.dial.authority();
        let context = || format!("register at {authority}");
        let failed = |e: io::Error| Error::caused_by(ErrorKind::Unavailable, context(), e);
        let io = self.dial.dial().await.map_err(failed)?;
        let taken = timeout(ANSWER, take_over(io, self.registration.head(authority)));
        let control = match taken.await {
            Ok(Ok(control)) => control,
            Ok(Err(error)) => return Err(refused(error, context())),
            Err(_) => {
                let text = format!("{}: no answer in {} s", context(), ANSWER.as_secs());
                return Err(Error::new(ErrorKind::TimedOut, text));
            }
        };
        let dial = Arc::clone(&self.dial);
        let again: DialServer<Connection> = Box::new(move || {
            let dial = Arc::clone(&dial);
            Box::pin(async move { dial.dial().await })
        });
        Ok(Listener::new(control, again, Arc::new(TokioTimer)))
    }
}

async fn serve(mut listener: Control, streams: &mpsc::Sender<Connection>) -> Error {
    loop {
        match listener.accept().await {
            // Who serves them has ended, or is overrun: the coordinator sees a closed connection.
            Ok(stream) => drop(streams.try_send(Box::new(stream))),
            Err(error) => {
                let text = "the connection to the coordinator";
                return Error::caused_by(ErrorKind::Unavailable, text, error);
            }
        }
    }
}

/// Refusals that will not change until somebody does something are final.
fn refused(error: TakeOverError, context: String) -> Error {
    let kind = match &error {
        TakeOverError::Refused {
            status: 400 | 401 | 403 | 412,
            ..
        } => ErrorKind::Denied,
        _ => ErrorKind::Unavailable,
    };
    Error::caused_by(kind, context, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registration_says_what_go_says_and_hides_its_key() {
        let registration = Registration::new("host-linux-foo", "myhost", "2c37").unwrap();
        let head = registration.head("farm:443");
        let field = |name: &str| head.headers().get_str(name).map(str::to_owned);
        assert_eq!(head.target(), "/reverse");
        assert_eq!(field("X-Go-Builder-Hostname").as_deref(), Some("myhost"));
        assert_eq!(field("X-Go-Host-Type").as_deref(), Some("host-linux-foo"));
        assert_eq!(field("X-Go-Builder-Version").as_deref(), Some("25"));
        assert_eq!(field("X-Revdial-Version").as_deref(), Some("2"));
        assert_eq!(field("X-Farmer-Instance"), None);
        let more = registration.with_instance("ab").with_labels(["gpu", "big"]);
        assert!(!format!("{more:?}").contains("2c37"));
        let head = more.head("farm:443");
        assert_eq!(head.headers().get_str("X-Farmer-Labels"), Some("gpu,big"));
        for (name, key) in [("", "k"), ("a b", "k"), ("a\r\nb", "k"), ("a", "")] {
            assert!(Registration::new("t", name, key).is_err(), "{name:?}");
        }
    }

    #[test]
    fn addresses_need_a_port() {
        for bad in ["", "farm", ":1", "farm:x"] {
            let error = CoordinatorDial::new(bad, &Trust::Authorities).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{bad}");
        }
        CoordinatorDial::new("[::1]:8119", &Trust::Authorities).unwrap();
    }
}
