//! What a gateway allows.

use std::path::PathBuf;
use std::time::Duration;

/// Connections, and how long things may take.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Most connections at a time (512).
    pub connections: usize,
    /// Most connections from one address that have not logged in yet (20).
    pub strangers: usize,
    /// Most channels of one connection: commands, transfers, forwarded connections (64).
    pub channels: usize,
    /// From the first byte until somebody has logged in (120 s).
    pub login: Duration,
    /// How long a wrong key is answered after it came (300 ms).
    pub rejection: Duration,
    /// How long a certificate is good for a login (5 min).
    pub certificate: Duration,
    /// How long keys that a code host publishes count without another look (10 min).
    pub hosted: Duration,
    /// Whether clients may have their agents forwarded to machines (no): whatever runs on a machine
    /// can then have them sign, as long as the connection lasts.
    pub agent: bool,
    /// Where what commands say is written down; `None`: nowhere. Where it is wanted and cannot be,
    /// no command is run.
    pub transcripts: Option<PathBuf>,
    /// How long a transcript is kept after its last byte (90 days).
    pub keep_transcripts: Duration,
    /// Bytes of all transcripts together (8 GiB): from there on the oldest ones are removed.
    pub most_transcripts: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connections: 512,
            strangers: 20,
            channels: 64,
            login: Duration::from_secs(120),
            rejection: Duration::from_millis(300),
            certificate: Duration::from_secs(300),
            hosted: Duration::from_secs(600),
            agent: false,
            transcripts: None,
            keep_transcripts: Duration::from_secs(90 * 24 * 60 * 60),
            most_transcripts: 8 << 30,
        }
    }
}
