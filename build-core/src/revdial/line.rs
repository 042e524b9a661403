use std::borrow::Cow;

use memchr::memchr;
use serde::{Deserialize, Serialize};

use super::{Error, MAX_LINE, MAX_LINE_SENT, MAX_PATH};

/// How much of a bad line is shown.
const SHOWN: usize = 80;

/// One line of a control connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// The dialer is there.
    KeepAlive,
    /// A connection is wanted: fetch it at this path.
    ConnReady {
        /// The request target.
        path: String,
    },
    /// The connection of this path could not be fetched.
    PickupFailed {
        /// The request target, as it came.
        path: String,
        /// Why.
        error: String,
    },
    /// A command of another version: to be ignored.
    Unknown(String),
}

#[derive(Deserialize, Serialize)]
struct Wire<'a> {
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    command: Option<Cow<'a, str>>,
    #[serde(
        borrow,
        default,
        rename = "connPath",
        skip_serializing_if = "Option::is_none"
    )]
    conn_path: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    err: Option<Cow<'a, str>>,
}

impl Message {
    /// Reads a line without its line feed.
    ///
    /// # Errors
    /// [`Error::BadLine`] for text that is not a JSON object with these members, and for a path
    /// that cannot stand in a request.
    pub fn parse(line: &[u8]) -> Result<Self, Error> {
        let bad = |reason: String| Error::BadLine {
            shown: String::from_utf8_lossy(&line[..line.len().min(SHOWN)]).into_owned(),
            reason,
        };
        // The decoder would take an array for an object as well.
        if line.trim_ascii_start().first() != Some(&b'{') {
            return Err(bad("not a JSON object".into()));
        }
        let wire: Wire<'_> =
            serde_json::from_slice(line).map_err(|error| bad(error.to_string()))?;
        let path = wire.conn_path.unwrap_or_default().into_owned();
        match wire.command.as_deref().unwrap_or_default() {
            "keep-alive" => Ok(Self::KeepAlive),
            "conn-ready" if is_target(&path) => Ok(Self::ConnReady { path }),
            "conn-ready" => Err(bad("its path cannot be asked for".into())),
            "pickup-failed" => Ok(Self::PickupFailed {
                path,
                error: wire.err.unwrap_or_default().into_owned(),
            }),
            other => Ok(Self::Unknown(other.to_owned())),
        }
    }

    /// Appends the line to `out`. An error's text is shortened so that the line has at most
    /// [`MAX_LINE_SENT`] bytes; its path must be one that was received.
    pub fn write(&self, out: &mut Vec<u8>) {
        let (command, path, err) = match self {
            Self::KeepAlive => ("keep-alive", "", ""),
            Self::ConnReady { path } => ("conn-ready", &**path, ""),
            Self::PickupFailed { path, error } => ("pickup-failed", &**path, &**error),
            Self::Unknown(command) => (&**command, "", ""),
        };
        let some = |text| (!str::is_empty(text)).then_some(Cow::Borrowed(text));
        let begin = out.len();
        let mut wire = Wire {
            command: some(command),
            conn_path: some(path),
            err: None,
        };
        write_json(&wire, out);
        let room = MAX_LINE_SENT.saturating_sub(out.len() - begin + r#","err":"""#.len() + 1);
        let err = shorten(err, room);
        if !err.is_empty() {
            out.truncate(begin);
            wire.err = Some(Cow::Borrowed(err));
            write_json(&wire, out);
        }
        out.push(b'\n');
    }
}

fn write_json(wire: &Wire<'_>, out: &mut Vec<u8>) {
    serde_json::to_writer(out, wire).expect("text can be written as JSON");
}

/// Whether a path can be the target of a request, as it is.
pub(super) fn is_target(path: &str) -> bool {
    path.starts_with('/')
        && path.len() <= MAX_PATH
        && path
            .bytes()
            .all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
}

/// The longest beginning of `text` that takes at most `room` bytes in a JSON string.
fn shorten(text: &str, room: usize) -> &str {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += match c {
            '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
            c if c < ' ' => 6,
            c => c.len_utf8(),
        };
        if used > room {
            return &text[..at];
        }
    }
    text
}

/// Takes bytes as they come and gives messages.
#[derive(Debug, Default)]
pub struct LineReader {
    partial: Vec<u8>,
}

impl LineReader {
    /// Takes received bytes and appends the messages whose lines they end.
    ///
    /// # Errors
    /// [`Error::BadLine`], and [`Error::LineTooLong`] beyond [`MAX_LINE`]. The messages of the
    /// lines before stay appended; nothing more can be read.
    pub fn feed(&mut self, mut bytes: &[u8], messages: &mut Vec<Message>) -> Result<(), Error> {
        while let Some(end) = memchr(b'\n', bytes) {
            self.append(&bytes[..end])?;
            messages.push(Message::parse(&self.partial)?);
            self.partial.clear();
            bytes = &bytes[end + 1..];
        }
        self.append(bytes)
    }

    /// Whether the last line has no end yet.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        !self.partial.is_empty()
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.partial.len() + bytes.len() >= MAX_LINE {
            return Err(Error::LineTooLong { limit: MAX_LINE });
        }
        self.partial.extend_from_slice(bytes);
        Ok(())
    }
}
