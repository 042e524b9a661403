//! Reads records one after the other across segments, without mapping files.

use std::io::{BufReader, Read};
use std::path::PathBuf;

use super::{
    DEFAULT_MAX_PAYLOAD, HeaderParse, LogPosition, MAX_HEADER, RecordError, RecordHeader, Segment,
};
use crate::{Error, Result};

/// Reads a log from a position to the end it had when its segments were listed.
///
/// Strict unless [`lenient`](Self::lenient) is asked for: the first damaged
/// record is an error. Memory use is one payload.
pub struct LogReader {
    segments: std::vec::IntoIter<Segment>,
    current: Option<Open>,
    from: LogPosition,
    max_payload: u64,
    lenient: bool,
    stop: Option<Stop>,
    payload: Vec<u8>,
}

/// Where and why a lenient reader stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// The file.
    pub path: PathBuf,
    /// Everything before this position was read.
    pub pos: LogPosition,
    /// What is wrong there.
    pub reason: RecordError,
}

struct Open {
    segment: Segment,
    reader: BufReader<Box<dyn Read + Send>>,
    offset: u64,
}

impl LogReader {
    /// Reads `segments` from position `from` on, which must be a boundary
    /// between records.
    ///
    /// # Errors
    /// When `from` lies beyond the end of the last segment.
    pub fn new(segments: Vec<Segment>, from: LogPosition) -> Result<Self> {
        let end = segments.last().map_or(LogPosition::START, Segment::end);
        if from > end {
            return Err(Error::BeyondEnd { pos: from, end });
        }
        Ok(Self {
            segments: segments.into_iter(),
            current: None,
            from,
            max_payload: DEFAULT_MAX_PAYLOAD,
            lenient: false,
            stop: None,
            payload: Vec::new(),
        })
    }

    /// Ends quietly at the first damaged record; see [`stopped`](Self::stopped).
    #[must_use]
    pub fn lenient(mut self) -> Self {
        self.lenient = true;
        self
    }

    /// Refuses payloads of more than `bytes` bytes.
    #[must_use]
    pub fn max_payload(mut self, bytes: u64) -> Self {
        self.max_payload = bytes;
        self
    }

    /// Why a lenient reader ended before the end of the log.
    pub fn stopped(&self) -> Option<&Stop> {
        self.stop.as_ref()
    }

    /// The next record: its position and its payload, valid until the next
    /// call. `None` at the end.
    ///
    /// # Errors
    /// When a file cannot be read, or (strict) when a record is damaged.
    pub fn next_record(&mut self) -> Result<Option<(LogPosition, &[u8])>> {
        while self.stop.is_none() && self.open_next()? {
            let Some(open) = &mut self.current else { break };
            let pos = open.segment.base().after(open.offset);
            match open.read(self.max_payload, &mut self.payload)? {
                Ok(true) => return Ok(Some((pos, &self.payload))),
                Ok(false) => self.current = None,
                Err(reason) if self.lenient => {
                    self.stop = Some(Stop {
                        path: open.segment.path(),
                        pos,
                        reason,
                    });
                }
                Err(source) => {
                    return Err(Error::Record {
                        path: open.segment.path(),
                        source,
                    });
                }
            }
        }
        Ok(None)
    }

    /// Makes sure a segment is open; `false` when there is none left.
    fn open_next(&mut self) -> Result<bool> {
        while self.current.is_none() {
            let Some(segment) = self.segments.next() else {
                return Ok(false);
            };
            if segment.end() <= self.from {
                continue;
            }
            let offset = self.from.bytes().saturating_sub(segment.base().bytes());
            let reader = BufReader::with_capacity(1 << 18, segment.reader(offset)?);
            self.current = Some(Open {
                segment,
                reader,
                offset,
            });
        }
        Ok(true)
    }
}

impl Open {
    /// Reads one record into `payload`; `Ok(Ok(false))` at the end.
    fn read(
        &mut self,
        max_payload: u64,
        payload: &mut Vec<u8>,
    ) -> Result<Result<bool, RecordError>> {
        match self.read_record(max_payload, payload) {
            Ok(done) => Ok(Ok(done)),
            Err(Fault::Record(error)) => Ok(Err(error)),
            Err(Fault::Io(error)) => Err(Error::io("read", &self.segment.path())(error)),
        }
    }

    fn read_record(&mut self, max_payload: u64, payload: &mut Vec<u8>) -> Result<bool, Fault> {
        let mut text = [0; MAX_HEADER];
        let mut len = 0;
        while len < MAX_HEADER && self.reader.read(&mut text[len..=len])? == 1 {
            len += 1;
            if text[len - 1] == b'=' {
                break;
            }
        }
        if len == 0 {
            return Ok(false);
        }
        let header = match RecordHeader::parse(&text[..len], self.offset, max_payload)? {
            HeaderParse::Complete(header) => header,
            HeaderParse::Incomplete => {
                return Err(Fault::Record(RecordError::TruncatedHeader {
                    at: self.offset,
                }));
            }
        };
        payload.clear();
        let want = header.payload_len();
        let have = self.reader.by_ref().take(want).read_to_end(payload)? as u64;
        if have < want {
            let at = self.offset;
            return Err(Fault::Record(RecordError::TruncatedPayload {
                at,
                have,
                want,
            }));
        }
        self.offset = header.end();
        Ok(true)
    }
}

enum Fault {
    Io(std::io::Error),
    Record(RecordError),
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<RecordError> for Fault {
    fn from(error: RecordError) -> Self {
        Self::Record(error)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::log::{SegmentName, encode_record};

    fn log(segments: &[&[&[u8]]]) -> Vec<Segment> {
        let mut base = LogPosition::START;
        let mut all = Vec::new();
        for (number, payloads) in (0..).zip(segments) {
            let mut bytes = Vec::new();
            for payload in *payloads {
                let offset = bytes.len() as u64;
                encode_record(&mut bytes, offset, payload);
            }
            let segment = Segment::memory(SegmentName::Growing { number }, base, bytes.into());
            base = segment.end();
            all.push(segment);
        }
        all
    }

    fn read(reader: &mut LogReader) -> Vec<(u64, Vec<u8>)> {
        let mut all = Vec::new();
        while let Some((pos, payload)) = reader.next_record().unwrap() {
            all.push((pos.bytes(), payload.to_vec()));
        }
        all
    }

    #[test]
    fn positions_run_on_over_segments_and_empty_ones_do_not_matter() {
        let log = log(&[&[b"a", b""], &[], &[b"bc"]]);
        let mut reader = LogReader::new(log, LogPosition::START).unwrap();
        let all = read(&mut reader);
        assert_eq!(all, [(0, b"a".to_vec()), (9, vec![]), (17, b"bc".to_vec())]);
    }

    #[test]
    fn reading_may_start_at_any_record() {
        let log = log(&[&[b"a", b""], &[b"bc"]]);
        for (from, count) in [(0, 3), (9, 2), (17, 1), (27, 0)] {
            let mut reader = LogReader::new(log.clone(), LogPosition::new(from)).unwrap();
            assert_eq!(read(&mut reader).len(), count, "from {from}");
        }
        assert!(matches!(
            LogReader::new(log, LogPosition::new(28)),
            Err(Error::BeyondEnd { .. })
        ));
    }

    #[test]
    fn a_torn_tail_is_an_error_or_the_end() {
        let whole = log(&[&[b"a", b"second"]])[0].load().unwrap();
        let torn: Bytes = whole.slice(..whole.len() - 2);
        let name = SegmentName::Day("x".to_owned());
        let segments = vec![Segment::memory(name, LogPosition::START, torn)];
        let mut strict = LogReader::new(segments.clone(), LogPosition::START).unwrap();
        assert!(strict.next_record().unwrap().is_some());
        assert_eq!(
            strict.next_record().unwrap_err().to_string(),
            "error in maintner-x.mutlog"
        );
        let mut lenient = LogReader::new(segments, LogPosition::START)
            .unwrap()
            .lenient();
        assert_eq!(read(&mut lenient).len(), 1);
        let stop = lenient.stopped().unwrap();
        assert_eq!(stop.pos, LogPosition::new(9));
        assert_eq!(
            stop.reason.to_string(),
            "truncated record at offset 9: 4 of 6 payload bytes"
        );
    }
}
