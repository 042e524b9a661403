use bytes::{Buf, Bytes, BytesMut};

use super::head::parse_fields;
use super::scan::BlockScan;
use super::{Error, Framing, Headers, Limits};

/// What a body decoder found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyEvent {
    /// Some bytes of the body, as they came; never empty.
    Data(Bytes),
    /// The end of the body, with its trailers (none but for chunked bodies).
    End(Headers),
}

/// Takes a body out of the bytes that follow a head.
///
/// ```
/// use build_core::h1::{BodyDecoder, BodyEvent, Framing, Limits};
///
/// let mut input = bytes::BytesMut::from("4\r\nout\n\r\n0\r\nProcess-State: ok\r\n\r\nGET /");
/// let mut body = BodyDecoder::new(Framing::Chunked, Limits::default());
/// assert_eq!(body.decode(&mut input)?, Some(BodyEvent::Data("out\n".into())));
/// let Some(BodyEvent::End(trailers)) = body.decode(&mut input)? else { panic!() };
/// assert_eq!(trailers.get_str("Process-State"), Some("ok"));
/// assert_eq!(&input[..], b"GET /");
/// # Ok::<(), build_core::h1::Error>(())
/// ```
#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
    limits: Limits,
}

#[derive(Debug)]
enum State {
    Length(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailers(BlockScan),
    UntilClose,
    Ended,
}

impl BodyDecoder {
    /// A decoder for the body that begins at the next byte.
    #[must_use]
    pub fn new(framing: Framing, limits: Limits) -> Self {
        let state = match framing {
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::ChunkSize,
            Framing::UntilClose => State::UntilClose,
        };
        Self { state, limits }
    }

    /// The next event, taken from the front of `input`; `None` when more bytes are needed,
    /// or after the end.
    ///
    /// # Errors
    /// Bad chunk lines and trailers; the decoder must not be used any more then.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<BodyEvent>, Error> {
        loop {
            match &mut self.state {
                State::Length(0) => return Ok(Some(self.end(Headers::new()))),
                State::Length(left) | State::ChunkData(left @ 1..) => {
                    return Ok(take(input, left).map(BodyEvent::Data));
                }
                State::ChunkData(0) => self.state = State::ChunkEnd,
                State::UntilClose => {
                    let data = input.split().freeze();
                    return Ok((!data.is_empty()).then_some(BodyEvent::Data(data)));
                }
                State::ChunkEnd => match strip_line_end(input)? {
                    true => self.state = State::ChunkSize,
                    false => return Ok(None),
                },
                State::ChunkSize => match take_chunk_size(input, self.limits.chunk_line_bytes)? {
                    Some(0) => self.state = State::Trailers(BlockScan::default()),
                    Some(size) => self.state = State::ChunkData(size),
                    None => return Ok(None),
                },
                State::Trailers(scan) => {
                    let limit = self.limits.trailer_bytes;
                    let found = scan.find_end(input, limit, Error::TrailersTooLarge { limit })?;
                    let Some(end) = found else { return Ok(None) };
                    let trailers = parse_fields(&input.split_to(end), self.limits.fields)?;
                    return Ok(Some(self.end(trailers)));
                }
                State::Ended => return Ok(None),
            }
        }
    }

    /// The event at the end of the connection, to be asked for once `decode` has taken all
    /// input; `None` if the body ended before.
    ///
    /// # Errors
    /// [`Error::Truncated`] when the body is cut off.
    pub fn decode_eof(&mut self) -> Result<Option<BodyEvent>, Error> {
        match self.state {
            State::UntilClose => Ok(Some(self.end(Headers::new()))),
            State::Ended => Ok(None),
            _ => Err(Error::Truncated),
        }
    }

    /// Whether [`BodyEvent::End`] was given.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// Bytes still to come, where the framing tells.
    #[must_use]
    pub fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Length(left) => Some(left),
            State::Ended => Some(0),
            _ => None,
        }
    }

    fn end(&mut self, trailers: Headers) -> BodyEvent {
        self.state = State::Ended;
        BodyEvent::End(trailers)
    }
}

/// Up to `left` bytes off the front, counted down.
fn take(input: &mut BytesMut, left: &mut u64) -> Option<Bytes> {
    let count = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
    if count == 0 {
        return None;
    }
    *left -= count as u64;
    Some(input.split_to(count).freeze())
}

/// Takes the CRLF after chunk data; false while it has not arrived.
fn strip_line_end(input: &mut BytesMut) -> Result<bool, Error> {
    match &input[..input.len().min(2)] {
        b"\r\n" => input.advance(2),
        b"" | b"\r" => return Ok(false),
        _ => return Err(Error::BadChunkEnd),
    }
    Ok(true)
}

/// Takes a chunk-size line; `None` while its end has not arrived.
fn take_chunk_size(input: &mut BytesMut, limit: usize) -> Result<Option<u64>, Error> {
    let window = &input[..input.len().min(limit)];
    let Some(feed) = window.iter().position(|&b| b == b'\n') else {
        let full = window.len() == limit;
        return if full {
            Err(Error::ChunkLineTooLong { limit })
        } else {
            Ok(None)
        };
    };
    let size = window[..feed]
        .strip_suffix(b"\r")
        .and_then(parse_chunk_size)
        .ok_or(Error::BadChunkSize)?;
    input.advance(feed + 1);
    Ok(Some(size))
}

/// Hexadecimal digits, then nothing or `;` and an extension, which is ignored.
fn parse_chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|&b| b == b';').next().unwrap_or_default();
    let extension_ok = line[digits.len()..]
        .iter()
        .all(|&b| b == b'\t' || (b >= b' ' && b != 0x7f));
    if digits.is_empty() || digits.len() > 16 || !extension_ok {
        return None;
    }
    digits.iter().try_fold(0, |size, &b| {
        let digit = char::from(b).to_digit(16)?;
        Some(size << 4 | u64::from(digit))
    })
}
