//! What comes in pieces, put together: lines, and server-sent events.

use build_core::buildlet::ByteStream;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;

use crate::{Error, ErrorKind, Result};

/// Bytes of a line or an event.
const MAX_FRAME: usize = 64 << 20;

/// The frames in a stream of bytes.
pub(super) struct Frames {
    pieces: ByteStream,
    buffer: BytesMut,
    /// Bytes of the buffer in which no frame ends.
    searched: usize,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Lines,
    Events,
}

impl Frames {
    /// Each line, without its end.
    pub(super) fn lines(pieces: ByteStream) -> Self {
        Self::new(pieces, Kind::Lines)
    }

    /// The data of each server-sent event; what is none, such as a sign of life, is passed over.
    pub(super) fn events(pieces: ByteStream) -> Self {
        Self::new(pieces, Kind::Events)
    }

    fn new(pieces: ByteStream, kind: Kind) -> Self {
        Self {
            pieces,
            buffer: BytesMut::new(),
            searched: 0,
            kind,
        }
    }

    /// The next frame; `None` at the end. What is left without an end is no frame.
    ///
    /// # Errors
    /// Those of the stream; [`ErrorKind::Corrupt`] when it ends in the middle of a frame.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(frame) = self.take() {
                return Ok(Some(frame));
            }
            match self.pieces.next().await {
                Some(piece) => self.buffer.extend_from_slice(&piece?),
                None if self.buffer.is_empty() => return Ok(None),
                None => {
                    let text = "the answer of the farm broke off";
                    return Err(Error::new(ErrorKind::Unavailable, text));
                }
            }
            if self.buffer.len() > MAX_FRAME {
                let text = format!("a line of the farm is longer than {MAX_FRAME} bytes");
                return Err(Error::new(ErrorKind::Limit, text));
            }
        }
    }

    fn take(&mut self) -> Option<Bytes> {
        let end: &[u8] = match self.kind {
            Kind::Lines => b"\n",
            Kind::Events => b"\n\n",
        };
        loop {
            let rest = &self.buffer[self.searched..];
            let Some(at) = rest.windows(end.len()).position(|window| window == end) else {
                self.searched = (self.buffer.len() + 1).saturating_sub(end.len());
                return None;
            };
            let frame = self
                .buffer
                .split_to(self.searched + at + end.len())
                .freeze();
            self.searched = 0;
            let frame = frame.slice(..frame.len() - end.len());
            match self.kind {
                Kind::Lines => return Some(frame),
                Kind::Events => {
                    if let Some(data) = data(&frame) {
                        return Some(data);
                    }
                }
            }
        }
    }
}

/// What an event tells: farms write it on one line.
fn data(event: &Bytes) -> Option<Bytes> {
    let mut lines = event.split(|byte| *byte == b'\n');
    let data = lines.find_map(|line| line.strip_prefix(b"data:"))?;
    Some(event.slice_ref(data.strip_prefix(b" ").unwrap_or(data)))
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    fn pieces(parts: &[&str]) -> ByteStream {
        let parts = parts
            .iter()
            .map(|part| Ok(Bytes::copy_from_slice(part.as_bytes())));
        stream::iter(parts.collect::<Vec<_>>()).boxed()
    }

    #[tokio::test]
    async fn frames_come_whole_however_they_are_cut() {
        let text = ": sign of life\n\nid: 7\ndata: {\"a\":1}\n\ndata:two\n\n";
        for cut in 0..text.len() {
            let (begin, end) = text.split_at(cut);
            let mut frames = Frames::events(pieces(&[begin, end]));
            assert_eq!(
                frames.next().await.unwrap().unwrap(),
                "{\"a\":1}",
                "cut at {cut}"
            );
            assert_eq!(frames.next().await.unwrap().unwrap(), "two");
            assert_eq!(frames.next().await.unwrap(), None);
        }
        let mut frames = Frames::lines(pieces(&["a", "\nb\n", "torn"]));
        assert_eq!(frames.next().await.unwrap().unwrap(), "a");
        assert_eq!(frames.next().await.unwrap().unwrap(), "b");
        assert_eq!(
            frames.next().await.unwrap_err().kind(),
            ErrorKind::Unavailable
        );
    }
}
