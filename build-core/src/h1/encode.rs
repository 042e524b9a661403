use std::io::Cursor;

use bytes::{Buf, BufMut};

use super::{Error, Headers};

/// What the sender of a message knows about its body when it writes the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodySize {
    /// There is none, and no field announces one.
    None,
    /// Exactly so many bytes: `Content-Length`.
    Known(u64),
    /// Not known: chunks, which may be followed by trailers.
    Unknown,
}

/// Puts body bytes into the framing its head announced.
#[derive(Debug)]
pub struct BodyEncoder {
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// So many bytes are still owed.
    Length(u64),
    Chunked,
    /// Bytes as they are; the end of the connection ends the body. For HTTP/1.0 readers.
    UntilClose,
    /// The response to a HEAD request: data are counted by nobody and go nowhere.
    Discard,
}

impl BodyEncoder {
    pub(crate) fn new(kind: Kind) -> Self {
        Self { kind }
    }

    /// Puts a piece of the body into its framing, without copying it: the result yields
    /// prefix, data and suffix. An empty piece yields nothing at all.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`] when the piece exceeds the declared length.
    pub fn frame<'a>(&mut self, data: &'a [u8]) -> Result<impl Buf + use<'a>, Error> {
        let (prefix, data, suffix) = match &mut self.kind {
            Kind::Length(left) => {
                let count = data.len() as u64;
                let owed = *left;
                let too_many = || Error::LengthMismatch { by: count - owed };
                *left = owed.checked_sub(count).ok_or_else(too_many)?;
                (String::new(), data, &b""[..])
            }
            Kind::Chunked if !data.is_empty() => {
                (format!("{:x}\r\n", data.len()), data, &b"\r\n"[..])
            }
            Kind::Chunked | Kind::UntilClose => (String::new(), data, &b""[..]),
            Kind::Discard => (String::new(), &b""[..], &b""[..]),
        };
        Ok(Cursor::new(prefix).chain(data).chain(suffix))
    }

    /// Appends a piece of the body in its framing to `out`.
    ///
    /// # Errors
    /// As [`BodyEncoder::frame`].
    pub fn encode(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        out.put(self.frame(data)?);
        Ok(())
    }

    /// Appends the end of the body to `out`. Trailers can only follow chunks; other
    /// framings drop them.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`] when bytes are missing, [`Error::UnwritableField`] for a
    /// trailer that cannot stand on the wire.
    pub fn finish(self, trailers: &Headers, out: &mut Vec<u8>) -> Result<(), Error> {
        match self.kind {
            Kind::Length(by @ 1..) => Err(Error::LengthMismatch { by }),
            Kind::Chunked => {
                out.extend_from_slice(b"0\r\n");
                trailers.write(out)?;
                out.extend_from_slice(b"\r\n");
                Ok(())
            }
            Kind::Length(0) | Kind::UntilClose | Kind::Discard => Ok(()),
        }
    }

    /// Whether trailers given to [`BodyEncoder::finish`] reach the peer.
    #[must_use]
    pub fn carries_trailers(&self) -> bool {
        self.kind == Kind::Chunked
    }
}
