use bytes::Bytes;

use super::encode::Kind;
use super::headers::write_field;
use super::{BodyEvent, Headers};

/// What a connection received. `H` is the head of the direction read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<H> {
    /// A message begins.
    Head(H),
    /// `100 Continue` or another 1xx came (client side only).
    Interim(u16),
    /// Some bytes of its body; never empty.
    Data(Bytes),
    /// The message is complete; trailers are empty unless the body was chunked.
    End(Headers),
    /// The peer closed the connection between two messages.
    Closed,
}

impl<H> From<BodyEvent> for Event<H> {
    fn from(event: BodyEvent) -> Self {
        match event {
            BodyEvent::Data(data) => Self::Data(data),
            BodyEvent::End(trailers) => Self::End(trailers),
        }
    }
}

/// Writes the framing fields of a message and says how its body is to be encoded.
pub(crate) fn announce_length(length: u64, out: &mut Vec<u8>) -> Kind {
    write_field("Content-Length", length.to_string().as_bytes(), out);
    Kind::Length(length)
}

/// As [`announce_length`], for bodies of unknown length.
pub(crate) fn announce_chunks(out: &mut Vec<u8>) -> Kind {
    write_field("Transfer-Encoding", b"chunked", out);
    Kind::Chunked
}
