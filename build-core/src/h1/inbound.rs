use bytes::{Bytes, BytesMut};

use super::scan::BlockScan;
use super::{BodyDecoder, BodyEvent, Error, Framing, Limits};

/// Most buffer space an idle connection keeps.
const IDLE_BYTES: usize = 8 * 1024;

/// The receiving half that server and client connections share: bytes in, head blocks and
/// body events out.
#[derive(Debug)]
pub(crate) struct Inbound {
    buf: BytesMut,
    eof: bool,
    limits: Limits,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// Nothing is expected; bytes that come wait.
    Idle,
    Head {
        scan: BlockScan,
        /// An empty line was skipped: a second one is an error.
        skipped: bool,
    },
    Body(BodyDecoder),
    /// The bytes belong to another protocol.
    Switched,
    /// Boundaries are lost.
    Failed,
}

/// What waiting for a head can give.
#[derive(Debug)]
pub(crate) enum HeadBlock {
    Partial,
    Block(Bytes),
    /// The connection ended before the first byte.
    Closed,
}

impl Inbound {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            buf: BytesMut::new(),
            eof: false,
            limits,
            phase: Phase::Idle,
        }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn buffer_mut(&mut self) -> &mut BytesMut {
        &mut self.buf
    }

    pub(crate) fn buffered(&self) -> usize {
        self.buf.len()
    }

    pub(crate) fn feed_eof(&mut self) {
        self.eof = true;
    }

    pub(crate) fn is_eof(&self) -> bool {
        self.eof
    }

    pub(crate) fn expect_head(&mut self) {
        // Idle connections are many: what a large body needed is not kept for them.
        if self.buf.is_empty() && self.buf.capacity() > IDLE_BYTES {
            self.buf = BytesMut::new();
        }
        self.phase = Phase::Head {
            scan: BlockScan::default(),
            skipped: false,
        };
    }

    pub(crate) fn expect_body(&mut self, framing: Framing) {
        self.phase = Phase::Body(BodyDecoder::new(framing, self.limits));
    }

    pub(crate) fn switch(&mut self) {
        self.phase = Phase::Switched;
    }

    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Idle)
    }

    pub(crate) fn is_reading_head(&self) -> bool {
        matches!(self.phase, Phase::Head { .. })
    }

    pub(crate) fn is_reading(&self) -> bool {
        matches!(self.phase, Phase::Head { .. } | Phase::Body(_))
    }

    pub(crate) fn is_switched(&self) -> bool {
        matches!(self.phase, Phase::Switched)
    }

    /// Passes a result on; an error ends all reading.
    pub(crate) fn check<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        if result.is_err() {
            self.phase = Phase::Failed;
        }
        result
    }

    /// The next head block; one empty line before it is skipped (old clients send one after
    /// a body).
    pub(crate) fn poll_head(&mut self) -> Result<HeadBlock, Error> {
        let result = self.try_head();
        self.check(result)
    }

    fn try_head(&mut self) -> Result<HeadBlock, Error> {
        let Phase::Head { scan, skipped } = &mut self.phase else {
            return Ok(HeadBlock::Partial);
        };
        let limit = self.limits.head_bytes;
        let too_large = Error::HeadTooLarge { limit };
        let mut end = scan.find_end(&self.buf, limit, too_large.clone())?;
        if end == Some(2) && !*skipped {
            *skipped = true;
            drop(self.buf.split_to(2));
            end = scan.find_end(&self.buf, limit, too_large)?;
        }
        match end {
            Some(2) => Err(Error::MalformedHead {
                reason: "empty start line",
            }),
            Some(end) => Ok(HeadBlock::Block(self.buf.split_to(end).freeze())),
            None if !self.eof => Ok(HeadBlock::Partial),
            None if self.buf.is_empty() => Ok(HeadBlock::Closed),
            None => Err(Error::Truncated),
        }
    }

    /// The next piece of the body; after its end the connection is idle.
    pub(crate) fn poll_body(&mut self) -> Result<Option<BodyEvent>, Error> {
        let result = self.try_body();
        self.check(result)
    }

    fn try_body(&mut self) -> Result<Option<BodyEvent>, Error> {
        let decoder = match &mut self.phase {
            Phase::Body(decoder) => decoder,
            Phase::Failed => return Err(Error::WrongState("an earlier error ended the reading")),
            _ => return Ok(None),
        };
        let mut event = decoder.decode(&mut self.buf)?;
        if event.is_none() && self.eof {
            event = decoder.decode_eof()?;
        }
        if matches!(event, Some(BodyEvent::End(_))) {
            self.phase = Phase::Idle;
        }
        Ok(event)
    }

    /// Bytes of the current body still to come, where that is known.
    pub(crate) fn body_remaining(&self) -> Option<u64> {
        match &self.phase {
            Phase::Body(decoder) => decoder.remaining(),
            _ => Some(0),
        }
    }
}
