//! The tail: what was appended, as server-sent events.
//!
//! One event is one batch of whole records:
//!
//! ```text
//! id: 0:265
//! event: append
//! data: {"number":0,"offset":79,"position":79,"sha224":"7d69…","records":"UkVDQD…"}
//! ```
//!
//! `position` is where in the whole log the batch begins, `sha224` the hash of its segment
//! after it, so that a batch that was lost, doubled or changed on the way is noticed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::log::Sha224Hex;

/// The longest event that a follower reads: more than a record of the greatest length never
/// comes this way (a server sends nothing over 1 MiB as an event).
const LONGEST: usize = 4 << 20;

/// A batch of records that was appended to one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// The segment.
    pub number: u32,
    /// Where in the segment the batch begins.
    pub offset: u64,
    /// Where in the whole log it begins.
    pub position: u64,
    /// Hash of the whole segment after it.
    pub sha224: Sha224Hex,
    /// The records with their headers.
    pub records: Bytes,
}

#[derive(Serialize, Deserialize)]
struct Wire<'a> {
    number: u32,
    offset: u64,
    position: u64,
    sha224: Sha224Hex,
    #[serde(borrow)]
    records: std::borrow::Cow<'a, str>,
}

/// Why a tail cannot be read on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// An event is no batch of records.
    #[error("the tail holds an event that is malformed")]
    Json(#[from] serde_json::Error),
    /// The records are not what they are encoded as.
    #[error("the tail holds records that are not base64")]
    Base64(#[from] base64::DecodeError),
    /// An event without an end.
    #[error("the tail holds an event of more than {LONGEST} bytes")]
    Overlong,
}

impl Append {
    /// The event that carries it.
    pub fn to_event(&self) -> Bytes {
        let records = STANDARD.encode(&self.records);
        let wire = Wire {
            number: self.number,
            offset: self.offset,
            position: self.position,
            sha224: self.sha224,
            records: records.into(),
        };
        let data = serde_json::to_string(&wire).expect("numbers and texts always serialise");
        let end = self.offset + self.records.len() as u64;
        format!("id: {}:{end}\nevent: append\ndata: {data}\n\n", self.number).into()
    }

    fn parse(data: &str) -> Result<Self, AppendError> {
        let wire: Wire<'_> = serde_json::from_str(data)?;
        Ok(Self {
            number: wire.number,
            offset: wire.offset,
            position: wire.position,
            sha224: wire.sha224,
            records: STANDARD.decode(&*wire.records)?.into(),
        })
    }
}

/// Reads batches out of a stream of server-sent events, however it is cut.
#[derive(Debug, Default)]
pub struct EventReader {
    buffer: Vec<u8>,
    scanned: usize,
}

impl EventReader {
    /// A reader at the beginning of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the stream.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next batch, if all of it is there. Comments and events of other kinds are skipped.
    ///
    /// # Errors
    /// When an event is malformed or too long; the stream cannot be read on.
    pub fn next_append(&mut self) -> Result<Option<Append>, AppendError> {
        loop {
            let from = self.scanned.saturating_sub(1);
            let Some(at) = memchr::memmem::find(&self.buffer[from..], b"\n\n") else {
                self.scanned = self.buffer.len();
                return if self.buffer.len() > LONGEST {
                    Err(AppendError::Overlong)
                } else {
                    Ok(None)
                };
            };
            let event: Vec<u8> = self.buffer.drain(..from + at + 2).collect();
            self.scanned = 0;
            if let Some(append) = parse_event(&event)? {
                return Ok(Some(append));
            }
        }
    }
}

fn parse_event(event: &[u8]) -> Result<Option<Append>, AppendError> {
    let text = String::from_utf8_lossy(event);
    let (mut kind, mut data) = ("", None);
    for line in text.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => kind = value,
            "data" => data = Some(value),
            _ => {}
        }
    }
    match (kind, data) {
        ("append", Some(data)) => Append::parse(data).map(Some),
        _ => Ok(None),
    }
}

/// Fuzz entry: any stream is read or refused without a panic, however it is cut.
pub fn fuzz_events(data: &[u8]) {
    let mut reader = EventReader::new();
    for piece in data.chunks(7) {
        reader.feed(piece);
        while let Ok(Some(append)) = reader.next_append() {
            assert!(append.records.len() <= data.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_survive_any_cut() {
        let append = |number| Append {
            number,
            offset: 79,
            position: 79,
            sha224: Sha224Hex::of(b"x"),
            records: Bytes::from_static(b"REC@4f+0="),
        };
        let mut stream = b": keep-alive\n\nevent: other\ndata: {}\n\n".to_vec();
        stream.extend_from_slice(&append(1).to_event());
        stream.extend_from_slice(b": keep-alive\n\n");
        stream.extend_from_slice(&append(2).to_event());
        for size in 1..20 {
            let mut reader = EventReader::new();
            let mut got = Vec::new();
            for piece in stream.chunks(size) {
                reader.feed(piece);
                while let Some(append) = reader.next_append().unwrap() {
                    got.push(append);
                }
            }
            assert_eq!(got, [append(1), append(2)], "pieces of {size}");
        }
    }

    #[test]
    fn a_malformed_event_is_an_error() {
        let mut reader = EventReader::new();
        reader.feed(b"event: append\ndata: {\"number\":1}\n\n");
        assert!(matches!(reader.next_append(), Err(AppendError::Json(_))));
    }
}
