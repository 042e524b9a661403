/// What a connection accepts before it gives up on its peer.
///
/// The defaults suit buildlets: heads are a few hundred bytes, trailers one short line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub(crate) head_bytes: usize,
    pub(crate) fields: usize,
    pub(crate) chunk_line_bytes: usize,
    pub(crate) trailer_bytes: usize,
    pub(crate) drain_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: 64 * 1024,
            fields: 100,
            chunk_line_bytes: 256,
            trailer_bytes: 16 * 1024,
            drain_bytes: 256 * 1024,
        }
    }
}

impl Limits {
    /// Largest head in bytes, start line and final empty line included (64 KiB).
    #[must_use]
    pub fn with_head_bytes(mut self, bytes: usize) -> Self {
        self.head_bytes = bytes;
        self
    }

    /// Most fields in one head or one trailer block (100).
    #[must_use]
    pub fn with_fields(mut self, count: usize) -> Self {
        self.fields = count;
        self
    }

    /// Longest chunk-size line in bytes, extensions and CRLF included (256).
    #[must_use]
    pub fn with_chunk_line_bytes(mut self, bytes: usize) -> Self {
        self.chunk_line_bytes = bytes;
        self
    }

    /// Largest trailer block in bytes (16 KiB).
    #[must_use]
    pub fn with_trailer_bytes(mut self, bytes: usize) -> Self {
        self.trailer_bytes = bytes;
        self
    }

    /// Most bytes of an unread request body that a server reads and drops to keep the
    /// connection alive after an early answer (256 KiB); beyond it, it closes.
    #[must_use]
    pub fn with_drain_bytes(mut self, bytes: u64) -> Self {
        self.drain_bytes = bytes;
        self
    }
}

/// What a server demands of the `Host` header of an HTTP/1.1 request.
///
/// More than one `Host` line is refused under every policy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HostPolicy {
    /// The line may be missing.
    Optional,
    /// The line must be there but may be empty: `/reverse`, `/revdial` and `/connect-ssh`
    /// requests of Go buildlets carry an empty one (protocol: docs/protocol/buildlet.md).
    #[default]
    Present,
    /// The line must name a host.
    Named,
}
