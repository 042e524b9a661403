//! How a log is served.

use std::sync::Arc;
use std::time::Duration;

use crate::netlog::Served;

/// Addresses of complete segments elsewhere.
type Elsewhere = Arc<dyn Fn(&Served) -> Option<String> + Send + Sync>;

/// How a log is served.
#[derive(Clone)]
pub struct Options {
    pub(super) path: String,
    pub(super) heartbeat: Duration,
    pub(super) keep_alive: Duration,
    pub(super) waiting: usize,
    pub(super) elsewhere: Option<Elsewhere>,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("path", &self.path)
            .field("heartbeat", &self.heartbeat)
            .field("keep_alive", &self.keep_alive)
            .field("waiting", &self.waiting)
            .field("elsewhere", &self.elsewhere.is_some())
            .finish()
    }
}

/// Below the 60 s after which proxies give up.
const HEARTBEAT: Duration = Duration::from_secs(55);
/// Below the 40 s after which followers take a tail for broken.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// A waiting client costs some kilobytes and a socket.
const WAITING: usize = 10_000;

impl Default for Options {
    fn default() -> Self {
        Self {
            path: "/logs".to_owned(),
            heartbeat: HEARTBEAT,
            keep_alive: KEEP_ALIVE,
            waiting: WAITING,
            elsewhere: None,
        }
    }
}

impl Options {
    /// The path of the index as clients see it, when something before this server adds to it:
    /// `/prefix/logs`. Addresses of segments begin with it. Default: `/logs`.
    #[must_use]
    pub fn public_path(mut self, path: &str) -> Self {
        self.path = format!("/{}", path.trim_matches('/'));
        self
    }

    /// How long a long poll is held. Default: 55 s.
    #[must_use]
    pub fn heartbeat(mut self, heartbeat: Duration) -> Self {
        self.heartbeat = heartbeat;
        self
    }

    /// How often an idle tail says that it is alive. Default: 15 s.
    #[must_use]
    pub fn keep_alive(mut self, interval: Duration) -> Self {
        self.keep_alive = interval;
        self
    }

    /// Clients that may wait at once, long polls and tails together; those beyond get status
    /// 503. Default: 10,000.
    #[must_use]
    pub fn waiting(mut self, clients: usize) -> Self {
        self.waiting = clients;
        self
    }

    /// Complete segments are listed and redirected to `base`, followed by the name of their
    /// file, such as `https://storage.googleapis.com/bucket/`. Go clients keep only segments at
    /// such addresses for good.
    #[must_use]
    pub fn frozen_url_base(self, base: &str) -> Self {
        let base = base.to_owned();
        self.frozen_url(move |served| Some(format!("{base}{}", served.object_name())))
    }

    /// Complete segments for which `url` has an address are listed and redirected there.
    #[must_use]
    pub fn frozen_url(
        mut self,
        url: impl Fn(&Served) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.elsewhere = Some(Arc::new(url));
        self
    }

    pub(super) fn elsewhere(&self, served: &Served) -> Option<String> {
        let url = self.elsewhere.as_ref().filter(|_| served.is_frozen())?;
        url(served)
    }

    pub(super) fn url(&self, served: &Served) -> String {
        self.elsewhere(served)
            .unwrap_or_else(|| format!("{}/{}", self.path, served.number()))
    }
}
