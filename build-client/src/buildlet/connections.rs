//! The few connections of one client, kept open between calls.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use build_core::h1::Limits;
use build_core::h1::io::Client;
use futures::FutureExt;
use tokio::time::{Instant, timeout};

use crate::transport::{Connection, Dial};

/// Idle connections kept; calls at the same time beyond them make their own.
const MOST_IDLE: usize = 8;
/// Servers close idle connections after a minute or more: an older one is not tried.
const LONGEST_IDLE: Duration = Duration::from_secs(60);
/// So young a connection is trusted with a request that cannot be sent twice: no server
/// gives up on a connection within that time.
const SURELY_OPEN: Duration = Duration::from_secs(5);

/// Connections to one buildlet.
pub(super) struct Connections {
    dial: Arc<dyn Dial>,
    connect_limit: Duration,
    idle: Mutex<Vec<Idle>>,
    gone: AtomicBool,
}

struct Idle {
    client: Client<Connection>,
    since: Instant,
}

/// A connection to use.
pub(super) struct Taken {
    pub(super) client: Client<Connection>,
    /// It was used before: the server may have closed it meanwhile.
    pub(super) reused: bool,
}

impl Connections {
    pub(super) fn new(dial: Arc<dyn Dial>, connect_limit: Duration) -> Self {
        Self {
            dial,
            connect_limit,
            idle: Mutex::default(),
            gone: AtomicBool::new(false),
        }
    }

    pub(super) fn dial(&self) -> &dyn Dial {
        &*self.dial
    }

    /// A connection for a request; `repeatable` ones may get an old connection, since they
    /// can be sent again when it turns out to be closed.
    pub(super) async fn take(&self, repeatable: bool) -> io::Result<Taken> {
        let longest = if repeatable {
            LONGEST_IDLE
        } else {
            SURELY_OPEN
        };
        match self.take_idle(longest) {
            Some(client) => Ok(Taken {
                client,
                reused: true,
            }),
            None => self.make().await,
        }
    }

    /// A connection that is not kept.
    pub(super) async fn dial_one(&self) -> io::Result<Connection> {
        let dialed = timeout(self.connect_limit, self.dial.dial()).await;
        dialed
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .inspect_err(|error| self.note_failure(error))
    }

    /// A new connection.
    pub(super) async fn make(&self) -> io::Result<Taken> {
        let stream = self.dial_one().await?;
        Ok(Taken {
            client: Client::new(stream, Limits::default()),
            reused: false,
        })
    }

    /// Whether a refused connection has proved that nobody will ever answer.
    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    fn note_failure(&self, error: &io::Error) {
        use io::ErrorKind::{ConnectionRefused, NotFound};
        let refused = matches!(error.kind(), ConnectionRefused | NotFound);
        if refused && self.dial.refusal_is_final() {
            self.gone.store(true, Ordering::Relaxed);
        }
    }

    /// Keeps a connection for the next call, if it can serve one.
    pub(super) fn put_back(&self, client: Client<Connection>) {
        let mut idle = self.lock();
        if client.is_reusable() && idle.len() < MOST_IDLE {
            let since = Instant::now();
            idle.push(Idle { client, since });
        }
    }

    /// Closes the idle connections.
    pub(super) fn close_idle(&self) {
        self.lock().clear();
    }

    /// The youngest idle connection that is still open.
    fn take_idle(&self, longest: Duration) -> Option<Client<Connection>> {
        loop {
            let mut youngest = self.lock().pop()?;
            if youngest.since.elapsed() > longest {
                // The others are older still.
                if longest == LONGEST_IDLE {
                    self.close_idle();
                }
                return None;
            }
            if youngest.client.closed().now_or_never().is_none() {
                return Some(youngest.client);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Idle>> {
        // Only pushes and pops happen under the lock: a panic leaves the list whole.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
