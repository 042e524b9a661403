//! What a farm allows its gomote users.

use std::ops::RangeInclusive;
use std::time::Duration;

/// How long a session lasts without being used, in 2020 and by default.
const TTL: Duration = Duration::from_secs(30 * 60);
/// Sessions that one user may have at a time.
const PER_USER: usize = 20;
/// How long a command that nobody looks at keeps its session.
const UNATTENDED: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a stream may be silent both ways.
const SILENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// What is allowed, and for how long.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a session lasts after its last use (30 min).
    pub ttl: Duration,
    /// How long after its last use a session is kept by a command that was started to go on by
    /// itself and still runs (24 h); without one it ends after [`Settings::ttl`].
    pub unattended: Duration,
    /// Most sessions of one user (20).
    pub per_user: usize,
    /// The ports of a machine that connections may be made to.
    pub ports: Ports,
    /// Longest silence of one request (24 h): a client whose network has gone holds nothing for
    /// longer.
    pub silence: Duration,
    /// Whether requests without TLS are answered when they come from this machine itself.
    pub plain_from_here: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ttl: TTL,
            unattended: UNATTENDED,
            per_user: PER_USER,
            ports: Ports::default(),
            silence: SILENCE,
            plain_from_here: false,
        }
    }
}

/// A set of TCP ports. The default: ssh (22, and 2200 as in images of the Go project), remote
/// desktops (3389), and all that any user of a machine may listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports(Vec<RangeInclusive<u16>>);

impl Default for Ports {
    fn default() -> Self {
        Self(vec![22..=22, 1024..=u16::MAX])
    }
}

impl Ports {
    /// Exactly these.
    pub fn only(ranges: impl IntoIterator<Item = RangeInclusive<u16>>) -> Self {
        Self(ranges.into_iter().collect())
    }

    /// Whether it is one of them. Port 0 never is.
    pub fn allow(&self, port: u16) -> bool {
        port != 0 && self.0.iter().any(|range| range.contains(&port))
    }
}
