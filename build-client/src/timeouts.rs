use std::time::Duration;

/// How long a client waits for a buildlet.
///
/// The defaults are those of the Go client (docs/protocol/buildlet.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    pub(crate) connect: Duration,
    pub(crate) headers: Duration,
    pub(crate) close: Duration,
    pub(crate) beat: Duration,
    pub(crate) misses: u32,
    pub(crate) reattach: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            headers: Duration::from_secs(10),
            close: Duration::from_secs(2),
            beat: Duration::from_secs(10),
            misses: 3,
            reattach: Duration::from_secs(20),
        }
    }
}

impl Timeouts {
    /// Making a connection, handshake included (10 s).
    #[must_use]
    pub fn with_connect(mut self, limit: Duration) -> Self {
        self.connect = limit;
        self
    }

    /// The head of the answer to short calls and to the start of a command (10 s).
    #[must_use]
    pub fn with_headers(mut self, limit: Duration) -> Self {
        self.headers = limit;
        self
    }

    /// The answer to [`close`](build_core::buildlet::Buildlet::close) (2 s).
    #[must_use]
    pub fn with_close(mut self, limit: Duration) -> Self {
        self.close = limit;
        self
    }

    /// The pause between two heart-beats (10 s).
    #[must_use]
    pub fn with_beat(mut self, pause: Duration) -> Self {
        self.beat = pause;
        self
    }

    /// So many heart-beats missed in a row prove that the buildlet is dead (3).
    #[must_use]
    pub fn with_misses(mut self, count: u32) -> Self {
        self.misses = count.max(1);
        self
    }

    /// How long a cut stream of output is tried to be attached again (20 s).
    #[must_use]
    pub fn with_reattach(mut self, limit: Duration) -> Self {
        self.reattach = limit;
        self
    }
}
