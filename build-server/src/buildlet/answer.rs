//! How requests are answered that are not streams.

use std::io;

/// A request is refused: its status and the text for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) text: String,
}

/// The connection, or the work for it, is gone: nothing more can be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lost;

impl Refusal {
    pub(crate) fn new(status: u16, text: impl Into<String>) -> Self {
        Self {
            status,
            text: text.into(),
        }
    }

    /// 400.
    pub(crate) fn bad(text: impl Into<String>) -> Self {
        Self::new(400, text)
    }

    /// 500.
    pub(crate) fn failed(text: impl Into<String>) -> Self {
        Self::new(500, text)
    }
}

impl From<io::Error> for Refusal {
    /// The system's fault, in its words.
    fn from(error: io::Error) -> Self {
        Self::failed(error.to_string())
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
