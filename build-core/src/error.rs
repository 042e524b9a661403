//! The error of this crate, and of every seam declared in it.

use std::error::Error as StdError;
use std::fmt;

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, as far as a caller acts on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The caller's input cannot be accepted; trying again changes nothing.
    Invalid,
    /// The named thing does not exist.
    NotFound,
    /// Somebody else holds or changed it: a lock, a fence, an id in use.
    Conflict,
    /// The credentials do not allow it.
    Denied,
    /// A limit was reached: size, count, disk, memory.
    Limit,
    /// A deadline passed.
    TimedOut,
    /// The caller, or the other side, gave up on purpose.
    Canceled,
    /// The machine or the connection failed: worth a retry elsewhere.
    Unavailable,
    /// The other side does not know this call.
    Unsupported,
    /// Stored or received data is damaged.
    Corrupt,
    /// A fault of this program.
    Bug,
}

impl ErrorKind {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::Invalid,
        Self::NotFound,
        Self::Conflict,
        Self::Denied,
        Self::Limit,
        Self::TimedOut,
        Self::Canceled,
        Self::Unavailable,
        Self::Unsupported,
        Self::Corrupt,
        Self::Bug,
    ];

    /// The kind whose [`ErrorKind::code`] is `code`.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// Whether the same request may succeed on another machine or a little later.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Unavailable | Self::TimedOut)
    }

    /// The stable word for this kind in JSON answers and logs.
    pub fn code(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Denied => "denied",
            Self::Limit => "limit",
            Self::TimedOut => "timed_out",
            Self::Canceled => "canceled",
            Self::Unavailable => "unavailable",
            Self::Unsupported => "unsupported",
            Self::Corrupt => "corrupt",
            Self::Bug => "bug",
        }
    }
}

/// An error: its kind, what failed on which object, what the reader can do, and the cause.
///
/// `Display` prints the context alone; the cause is in [`StdError::source`], never in the
/// text. Print the whole chain at the edge with [`Error::chain`].
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    context: String,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error without a cause. `context` is a lower-case fragment that names the object.
    pub fn new(kind: ErrorKind, context: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            context: context.into(),
            hint: None,
            source: None,
        }))
    }

    /// An error caused by `source`.
    pub fn caused_by(
        kind: ErrorKind,
        context: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self(Box::new(Inner {
            kind,
            context: context.into(),
            hint: None,
            source: Some(source.into()),
        }))
    }

    /// Adds what the reader can do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Wraps this error in what the caller was doing; kind and hint are kept.
    #[must_use]
    pub fn while_doing(self, context: impl Into<String>) -> Self {
        let (kind, hint) = (self.kind(), self.0.hint.clone());
        Self(Box::new(Inner {
            kind,
            context: context.into(),
            hint,
            source: Some(Box::new(self)),
        }))
    }

    /// What went wrong, as far as a caller acts on it.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What the reader can do about it, if anything is known.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The error and all its causes in one line, `: ` between them.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.context)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.kind, self.chain())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0
            .source
            .as_deref()
            .map(|e| e as &(dyn StdError + 'static))
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let kind = match error.kind() {
            Io::NotFound => ErrorKind::NotFound,
            Io::PermissionDenied => ErrorKind::Denied,
            Io::AlreadyExists => ErrorKind::Conflict,
            Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge => ErrorKind::Limit,
            Io::TimedOut => ErrorKind::TimedOut,
            Io::InvalidInput | Io::InvalidFilename => ErrorKind::Invalid,
            Io::InvalidData => ErrorKind::Corrupt,
            _ => ErrorKind::Unavailable,
        };
        Self::caused_by(kind, "input or output failed", error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_in_the_chain_once_and_not_in_the_text() {
        let io = std::io::Error::new(std::io::ErrorKind::StorageFull, "no space left");
        let error = Error::from(io)
            .while_doing("append to events.db")
            .with_hint("free some disk");
        assert_eq!(error.to_string(), "append to events.db");
        assert_eq!(
            error.chain(),
            "append to events.db: input or output failed: no space left"
        );
        assert_eq!(error.kind(), ErrorKind::Limit);
        assert_eq!(error.hint(), Some("free some disk"));
    }
}
