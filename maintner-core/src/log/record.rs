//! The frame of one record: `REC@<offset>+<length>=<payload>`.
//!
//! Pure functions over bytes; who owns the bytes is the caller's business.
//! Format: `docs/protocol/reclog.md`.

/// The longest header a reader accepts, `=` included.
pub const MAX_HEADER: usize = 40;

/// The longest payload a reader accepts unless told otherwise: 256 MiB.
pub const DEFAULT_MAX_PAYLOAD: u64 = 256 << 20;

const PREFIX: &[u8] = b"REC@";

/// The parsed header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader {
    offset: u64,
    header_len: u32,
    payload_len: u64,
}

impl RecordHeader {
    /// Offset of the record's first byte in its file.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes of the header itself, `=` included.
    pub fn header_len(&self) -> u64 {
        u64::from(self.header_len)
    }

    /// Bytes of the payload.
    pub fn payload_len(&self) -> u64 {
        self.payload_len
    }

    /// Offset of the record that follows.
    pub fn end(&self) -> u64 {
        self.offset + self.header_len() + self.payload_len
    }

    /// Parses the header at the start of `input`, which is what the file holds
    /// from `expected_offset` on (or a beginning of that).
    ///
    /// # Errors
    /// When the bytes can be no header of a record at that offset, or when the
    /// payload is longer than `max_payload`. Nothing is allocated for it.
    pub fn parse(
        input: &[u8],
        expected_offset: u64,
        max_payload: u64,
    ) -> Result<HeaderParse, RecordError> {
        if let Some(header) = Self::parse_canonical(input)
            && header.offset == expected_offset
            && header.payload_len <= max_payload
        {
            return Ok(HeaderParse::Complete(header));
        }
        let window = &input[..input.len().min(MAX_HEADER)];
        let Some(equals) = window.iter().position(|&b| b == b'=') else {
            return incomplete(window, expected_offset);
        };
        let text = &input[..=equals];
        let (offset, length) = split(text).ok_or_else(|| RecordError::Malformed {
            header: quote(text),
            at: expected_offset,
        })?;
        let offset = parse_hex(offset).ok_or_else(|| RecordError::BadOffset {
            header: quote(text),
            at: expected_offset,
        })?;
        if offset != expected_offset {
            return Err(RecordError::WrongOffset {
                header: quote(text),
                found: offset,
                expected: expected_offset,
            });
        }
        let payload_len = parse_hex(length).ok_or_else(|| RecordError::BadSize {
            header: quote(text),
            at: expected_offset,
        })?;
        if payload_len > max_payload {
            return Err(RecordError::TooLarge {
                len: payload_len,
                limit: max_payload,
                at: offset,
            });
        }
        let header_len = u32::try_from(text.len()).expect("a header has at most 40 bytes");
        Ok(HeaderParse::Complete(Self {
            offset,
            header_len,
            payload_len,
        }))
    }
}

impl RecordHeader {
    /// A header as writers make it, in one pass; anything else is for [`Self::parse`] to judge.
    #[inline]
    fn parse_canonical(input: &[u8]) -> Option<Self> {
        let (offset, rest) = lower_hex(input.strip_prefix(PREFIX)?, b'+')?;
        let (payload_len, rest) = lower_hex(rest, b'=')?;
        let header_len = u32::try_from(input.len() - rest.len()).ok()?;
        Some(Self {
            offset,
            header_len,
            payload_len,
        })
    }
}

/// A number of at most eleven digits that `end` follows, and what comes then.
#[inline]
fn lower_hex(input: &[u8], end: u8) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (index, &byte) in input.iter().take(12).enumerate() {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ if byte == end && index > 0 => return Some((value, &input[index + 1..])),
            _ => return None,
        };
        value = value << 4 | u64::from(digit);
    }
    None
}

/// What [`RecordHeader::parse`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderParse {
    /// A whole header.
    Complete(RecordHeader),
    /// The beginning of a header: more bytes are needed.
    Incomplete,
}

/// Appends the header and the payload of a record at `offset` to `out`.
pub fn encode_record(out: &mut Vec<u8>, offset: u64, payload: &[u8]) {
    use std::io::Write as _;
    write!(out, "REC@{offset:x}+{:x}=", payload.len()).expect("writing to a Vec cannot fail");
    out.extend_from_slice(payload);
}

/// Why reading a log file stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// No `=` within the longest header.
    #[error("malformed overlong header {header} at offset {at}")]
    Overlong {
        /// The quoted bytes.
        header: String,
        /// Offset in the file.
        at: u64,
    },
    /// Not `REC@…+…=`.
    #[error("malformed header {header} at offset {at}")]
    Malformed {
        /// The quoted header.
        header: String,
        /// Offset in the file.
        at: u64,
    },
    /// The offset is no hexadecimal number.
    #[error("malformed header {header} (malformed offset) at offset {at}")]
    BadOffset {
        /// The quoted header.
        header: String,
        /// Offset in the file.
        at: u64,
    },
    /// The header was written for another place.
    #[error(
        "malformed header {header} with offset {found} doesn't match expected offset {expected}"
    )]
    WrongOffset {
        /// The quoted header.
        header: String,
        /// The offset it names.
        found: u64,
        /// Where it stands.
        expected: u64,
    },
    /// The length is no hexadecimal number.
    #[error("malformed header {header} (bad size) at offset {at}")]
    BadSize {
        /// The quoted header.
        header: String,
        /// Offset in the file.
        at: u64,
    },
    /// The length is beyond the limit.
    #[error("record at offset {at} has {len} bytes, more than the limit of {limit}")]
    TooLarge {
        /// Length that the header claims.
        len: u64,
        /// The limit in force.
        limit: u64,
        /// Offset in the file.
        at: u64,
    },
    /// The file ends inside a header.
    #[error("truncated record at offset {at}: header is incomplete")]
    TruncatedHeader {
        /// Offset in the file.
        at: u64,
    },
    /// The file ends inside a payload.
    #[error("truncated record at offset {at}: {have} of {want} payload bytes")]
    TruncatedPayload {
        /// Offset in the file.
        at: u64,
        /// Payload bytes present.
        have: u64,
        /// Payload bytes announced.
        want: u64,
    },
}

impl RecordError {
    /// Whether the file simply ends too early, as after a crash or during a
    /// write.
    pub fn is_truncated(&self) -> bool {
        matches!(
            self,
            Self::TruncatedHeader { .. } | Self::TruncatedPayload { .. }
        )
    }
}

/// One record, borrowed from the bytes of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    header: RecordHeader,
    payload: &'a [u8],
}

impl<'a> Record<'a> {
    /// The header.
    pub fn header(&self) -> RecordHeader {
        self.header
    }

    /// Offset of the record in its file.
    pub fn offset(&self) -> u64 {
        self.header.offset()
    }

    /// The payload: a serialised mutation.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// Iterates over the records in a slice of a log file.
///
/// Ends after the first error. Whatever happened, [`Records::valid_end`] is the
/// offset up to which the input consists of whole records.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    rest: &'a [u8],
    offset: u64,
    max_payload: u64,
    failed: bool,
}

impl<'a> Records<'a> {
    /// Reads `bytes` as a whole file.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self::at(bytes, 0)
    }

    /// Reads `bytes` as what a file holds from `offset` on; `offset` must be a
    /// record boundary.
    pub fn at(bytes: &'a [u8], offset: u64) -> Self {
        Self {
            rest: bytes,
            offset,
            max_payload: DEFAULT_MAX_PAYLOAD,
            failed: false,
        }
    }

    /// Refuses payloads of more than `bytes` bytes.
    #[must_use]
    pub fn max_payload(mut self, bytes: u64) -> Self {
        self.max_payload = bytes;
        self
    }

    /// Offset in the file after the last whole record that was returned.
    pub fn valid_end(&self) -> u64 {
        self.offset
    }

    fn read(&mut self) -> Result<Record<'a>, RecordError> {
        let header = match RecordHeader::parse(self.rest, self.offset, self.max_payload)? {
            HeaderParse::Complete(header) => header,
            HeaderParse::Incomplete => {
                return Err(RecordError::TruncatedHeader { at: self.offset });
            }
        };
        let body = &self.rest[header.header_len as usize..];
        let payload = usize::try_from(header.payload_len)
            .ok()
            .and_then(|len| body.get(..len));
        let Some(payload) = payload else {
            return Err(RecordError::TruncatedPayload {
                at: self.offset,
                have: body.len() as u64,
                want: header.payload_len,
            });
        };
        self.rest = &body[payload.len()..];
        self.offset = header.end();
        Ok(Record { header, payload })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.rest.is_empty() {
            return None;
        }
        let record = self.read();
        self.failed = record.is_err();
        Some(record)
    }
}

impl std::iter::FusedIterator for Records<'_> {}

/// Fuzz entry: any input is read to an end without a panic, and what was
/// accepted is the canonical encoding up to digits' case and leading zeros.
pub fn fuzz_records(data: &[u8]) {
    let mut records = Records::new(data).max_payload(1 << 20);
    let mut end = 0;
    for record in records.by_ref().flatten() {
        assert_eq!(record.offset(), end, "records are contiguous");
        end = record.header().end();
        let mut again = Vec::new();
        encode_record(&mut again, record.offset(), record.payload());
        assert!(
            again.len() as u64 <= end - record.offset(),
            "canonical headers are the shortest"
        );
    }
    assert_eq!(
        records.valid_end(),
        end,
        "the valid end is the end of the last record"
    );
}

/// A header without `=` so far: a beginning of one, or hopeless?
fn incomplete(window: &[u8], at: u64) -> Result<HeaderParse, RecordError> {
    if window.len() == MAX_HEADER {
        return Err(RecordError::Overlong {
            header: quote(window),
            at,
        });
    }
    let common = window.len().min(PREFIX.len());
    let (prefix, numbers) = window.split_at(common);
    let plausible = prefix == &PREFIX[..common]
        && numbers.iter().all(|b| b.is_ascii_hexdigit() || *b == b'+')
        && numbers.iter().filter(|b| **b == b'+').count() <= 1;
    if plausible {
        Ok(HeaderParse::Incomplete)
    } else {
        Err(RecordError::Malformed {
            header: quote(window),
            at,
        })
    }
}

/// `REC@A+B=` into `A` and `B`.
fn split(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let inner = text.strip_prefix(PREFIX)?.strip_suffix(b"=")?;
    let mut parts = inner.split(|&b| b == b'+');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(offset), Some(length), None) => Some((offset, length)),
        _ => None,
    }
}

/// A hexadecimal number that fits a signed 64-bit integer; no sign.
fn parse_hex(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, &digit| {
        let digit = u64::from((digit as char).to_digit(16)?);
        (value <= (i64::MAX as u64) >> 4).then_some(value << 4 | digit)
    })
}

fn quote(bytes: &[u8]) -> String {
    format!("\"{}\"", bytes.escape_ascii())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse_all(bytes: &[u8]) -> (Vec<&[u8]>, Option<String>) {
        let mut payloads = Vec::new();
        for record in Records::new(bytes) {
            match record {
                Ok(record) => payloads.push(record.payload()),
                Err(error) => return (payloads, Some(error.to_string())),
            }
        }
        (payloads, None)
    }

    #[test]
    fn an_empty_record_is_eight_bytes() {
        let mut out = Vec::new();
        encode_record(&mut out, 0, b"");
        assert_eq!(out, [0x52, 0x45, 0x43, 0x40, 0x30, 0x2b, 0x30, 0x3d]);
    }

    #[test]
    fn upper_case_and_leading_zeros_are_read() {
        assert_eq!(
            parse_all(b"REC@00+0A=0123456789"),
            (vec![&b"0123456789"[..]], None)
        );
    }

    #[test]
    fn each_fault_has_its_text() {
        for (input, text) in [
            (
                &b"REC@1+0="[..],
                r#"malformed header "REC@1+0=" with offset 1 doesn't match expected offset 0"#,
            ),
            (
                b"REC@0+0+0=",
                r#"malformed header "REC@0+0+0=" at offset 0"#,
            ),
            (b"REC@00=", r#"malformed header "REC@00=" at offset 0"#),
            (
                b"REC@-0+0=",
                r#"malformed header "REC@-0+0=" (malformed offset) at offset 0"#,
            ),
            (
                b"REC@+0=",
                r#"malformed header "REC@+0=" (malformed offset) at offset 0"#,
            ),
            (
                b"REC@0+-1=",
                r#"malformed header "REC@0+-1=" (bad size) at offset 0"#,
            ),
            (
                b"REC@0+ffffffffffffffff=",
                r#"malformed header "REC@0+ffffffffffffffff=" (bad size) at offset 0"#,
            ),
            (
                b"REC@0+10000000000=",
                "record at offset 0 has 1099511627776 bytes, more than the limit of 268435456",
            ),
            (
                b"REC@00000000000000000000000000000000000+0=",
                r#"malformed overlong header "REC@00000000000000000000000000000000000+" at offset 0"#,
            ),
            (
                b"REC@0+3=ab",
                "truncated record at offset 0: 2 of 3 payload bytes",
            ),
            (
                b"REC@0+",
                "truncated record at offset 0: header is incomplete",
            ),
            (b"garbage", r#"malformed header "garbage" at offset 0"#),
        ] {
            let (payloads, error) = parse_all(input);
            assert_eq!(error.as_deref(), Some(text), "{}", input.escape_ascii());
            assert!(payloads.is_empty());
        }
    }

    #[test]
    fn forty_bytes_of_header_are_read_and_one_more_is_not() {
        let forty = format!("REC@{}+0=", "0".repeat(33));
        assert_eq!(forty.len(), MAX_HEADER);
        assert_eq!(parse_all(forty.as_bytes()).1, None);
        let longer = format!("REC@{}+0=", "0".repeat(34));
        assert!(
            parse_all(longer.as_bytes())
                .1
                .is_some_and(|e| e.contains("overlong"))
        );
    }

    #[test]
    fn reading_may_start_at_a_boundary() {
        let mut file = Vec::new();
        encode_record(&mut file, 0, b"one");
        let second = file.len();
        encode_record(&mut file, second as u64, b"two");
        let records: Vec<_> = Records::at(&file[second..], second as u64)
            .map(Result::unwrap)
            .collect();
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].payload(), b"two");
        assert_eq!(records[0].offset(), second as u64);
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20)) {
            let mut file = Vec::new();
            for payload in &payloads {
                let offset = file.len() as u64;
                encode_record(&mut file, offset, payload);
            }
            let (read, error) = parse_all(&file);
            prop_assert_eq!(error, None);
            prop_assert_eq!(read, payloads.iter().map(Vec::as_slice).collect::<Vec<_>>());
        }

        #[test]
        fn any_bytes_are_survived(mut data in prop::collection::vec(any::<u8>(), 0..200), real in any::<bool>()) {
            if real {
                let mut file = b"REC@0+3=abc".to_vec();
                file.append(&mut data);
                data = file;
            }
            fuzz_records(&data);
        }

        #[test]
        fn every_cut_is_noticed(payload in prop::collection::vec(any::<u8>(), 0..40), cut in 0usize..100) {
            let mut file = Vec::new();
            encode_record(&mut file, 0, &payload);
            let cut = cut % file.len();
            let mut records = Records::new(&file[..cut]);
            match records.next() {
                None => prop_assert_eq!(cut, 0),
                Some(Err(error)) => prop_assert!(error.is_truncated(), "{}", error),
                Some(Ok(_)) => prop_assert!(false, "a cut record was read"),
            }
            prop_assert_eq!(records.valid_end(), 0);
        }
    }
}
