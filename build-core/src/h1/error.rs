use thiserror::Error;

/// Why a byte stream is not a message of the dialect, or a message cannot be written.
///
/// After an error that came from received bytes the connection has lost its message
/// boundaries: answer with [`Error::status`] if a request was being read, then close.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Error {
    /// The head did not end within the limit.
    #[error("message head exceeds {limit} bytes")]
    HeadTooLarge {
        /// The limit in force, in bytes.
        limit: usize,
    },
    /// More header or trailer fields than the limit.
    #[error("message has more than {limit} fields")]
    TooManyFields {
        /// The limit in force.
        limit: usize,
    },
    /// A line of a head or of trailers ends in LF without CR.
    #[error("bare line feed in a head or trailer line")]
    BareLineFeed,
    /// The head is not HTTP/1.
    #[error("malformed message head: {reason}")]
    MalformedHead {
        /// Which part is wrong.
        reason: &'static str,
    },
    /// A version other than HTTP/1.0 and HTTP/1.1 (and `HTTP/0.0`, which only a 101 may carry).
    #[error("unsupported HTTP version")]
    UnsupportedVersion,
    /// The request has no `Host` line (or an empty one, where the policy wants a name).
    #[error("missing required Host header")]
    MissingHost,
    /// The request has more than one `Host` line.
    #[error("too many Host headers")]
    DuplicateHost,
    /// `Content-Length` is repeated, a list, not decimal, or too big.
    #[error("invalid or repeated Content-Length")]
    InvalidContentLength,
    /// Both `Content-Length` and `Transfer-Encoding` are there.
    #[error("both Content-Length and Transfer-Encoding are present")]
    LengthAndEncoding,
    /// A transfer coding other than a single `chunked`, or any coding in HTTP/1.0.
    #[error("unsupported Transfer-Encoding")]
    UnsupportedTransferEncoding,
    /// An `Expect` value other than `100-continue`.
    #[error("unsupported Expect value")]
    UnsupportedExpectation,
    /// A chunk-size line is not hexadecimal digits, an optional extension and CRLF.
    #[error("malformed chunk size line")]
    BadChunkSize,
    /// A chunk-size line with its extensions exceeds the limit.
    #[error("chunk size line exceeds {limit} bytes")]
    ChunkLineTooLong {
        /// The limit in force, in bytes.
        limit: usize,
    },
    /// The data of a chunk are not followed by CRLF.
    #[error("chunk data do not end in CRLF")]
    BadChunkEnd,
    /// The trailer block exceeds the limit.
    #[error("trailers exceed {limit} bytes")]
    TrailersTooLarge {
        /// The limit in force, in bytes.
        limit: usize,
    },
    /// A collected body exceeds the limit its reader set.
    #[error("body exceeds {limit} bytes")]
    BodyTooLarge {
        /// The limit in force, in bytes.
        limit: u64,
    },
    /// The peer closed in the middle of a message.
    #[error("connection closed in the middle of a message")]
    Truncated,
    /// The peer closed before the first byte of a response: on a reused connection it is
    /// safe to send an idempotent request again on a fresh one.
    #[error("connection closed before the response began")]
    ClosedBeforeResponse,
    /// A field to be written has an invalid name or value, or one that the writer owns
    /// (`Content-Length`, `Transfer-Encoding`).
    #[error("field {name:?} cannot be written")]
    UnwritableField {
        /// Name of the field.
        name: String,
    },
    /// A method, target or reason to be written holds blanks or control characters.
    #[error("start line cannot be written")]
    UnwritableStartLine,
    /// More or fewer body bytes were written than the head declared.
    #[error("body differs from its declared length by at least {by} bytes")]
    LengthMismatch {
        /// How many bytes too many, or missing.
        by: u64,
    },
    /// The call does not fit the state of the connection, for example a second response
    /// to one request.
    #[error("connection is not in a state for this: {0}")]
    WrongState(&'static str),
}

impl Error {
    /// The status a server answers with when this error ends the reading of a request.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::HeadTooLarge { .. }
            | Self::TooManyFields { .. }
            | Self::TrailersTooLarge { .. } => 431,
            Self::BodyTooLarge { .. } => 413,
            Self::UnsupportedVersion => 505,
            Self::UnsupportedTransferEncoding => 501,
            Self::UnsupportedExpectation => 417,
            Self::UnwritableField { .. }
            | Self::UnwritableStartLine
            | Self::LengthMismatch { .. }
            | Self::WrongState(_) => 500,
            _ => 400,
        }
    }
}

impl From<httparse::Error> for Error {
    fn from(error: httparse::Error) -> Self {
        let reason = match error {
            httparse::Error::Version => return Self::UnsupportedVersion,
            httparse::Error::HeaderName => "field name",
            httparse::Error::HeaderValue => "field value",
            httparse::Error::NewLine => "line end",
            httparse::Error::Status => "status line",
            httparse::Error::Token => "request line",
            httparse::Error::TooManyHeaders => "too many fields",
        };
        Self::MalformedHead { reason }
    }
}
