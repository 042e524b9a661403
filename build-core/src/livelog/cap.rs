//! A log's upper bound: the head and the last 64 KiB stay, a mark says what is missing between them.

use std::collections::VecDeque;

/// Bytes of the end that are kept; failures are explained at the end.
const TAIL: usize = 64 << 10;
/// Room for the mark.
const MARK: u64 = 128;

/// Splits what is written into a head that is stored at once and a tail that is held back.
#[derive(Debug)]
pub(super) struct Cap {
    head: u64,
    tail: VecDeque<u8>,
    dropped: u64,
}

impl Cap {
    /// At most `bytes` in all; less than 128 KiB counts as that.
    pub(super) fn new(bytes: u64) -> Self {
        let bytes = bytes.max(2 * TAIL as u64);
        Self {
            head: bytes - TAIL as u64 - MARK,
            tail: VecDeque::new(),
            dropped: 0,
        }
    }

    /// The part of `bytes` that belongs to the head of a text that is `length` long.
    pub(super) fn head<'b>(&self, length: u64, bytes: &'b [u8]) -> &'b [u8] {
        if !self.tail.is_empty() {
            return &[];
        }
        let room = usize::try_from(self.head.saturating_sub(length)).unwrap_or(usize::MAX);
        &bytes[..bytes.len().min(room)]
    }

    /// Holds back what is beyond the head.
    pub(super) fn hold(&mut self, bytes: &[u8]) {
        let kept = &bytes[bytes.len().saturating_sub(TAIL)..];
        let surplus = (self.tail.len() + kept.len()).saturating_sub(TAIL);
        self.tail.drain(..surplus);
        self.tail.extend(kept);
        self.dropped += (surplus + bytes.len() - kept.len()) as u64;
    }

    /// What comes after the head when the log ends.
    pub(super) fn rest(self) -> Vec<u8> {
        let mut rest = Vec::with_capacity(self.tail.len() + MARK as usize);
        if self.dropped > 0 {
            rest.extend_from_slice(
                format!("\n\n... {} bytes left out ...\n\n", self.dropped).as_bytes(),
            );
        }
        rest.extend(self.tail);
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capped(limit: u64, pieces: &[&[u8]]) -> Vec<u8> {
        let mut cap = Cap::new(limit);
        let mut text = Vec::new();
        for piece in pieces {
            let head = cap.head(text.len() as u64, piece);
            text.extend_from_slice(head);
            cap.hold(&piece[head.len()..]);
        }
        text.extend(cap.rest());
        text
    }

    #[test]
    fn short_logs_are_whole() {
        let piece = vec![b'x'; 100_000];
        assert_eq!(capped(0, &[&piece, b"end"]).len(), 100_003);
    }

    #[test]
    fn long_logs_keep_both_ends_within_the_limit() {
        let middle = vec![b'm'; 1 << 20];
        let text = capped(256 << 10, &[b"begin", &middle, &middle, b"end"]);
        assert!(text.len() <= 256 << 10, "{}", text.len());
        assert!(text.starts_with(b"beginmm") && text.ends_with(b"mmend"));
        let total = 8 + (2 << 20);
        let head = (256 << 10) - TAIL - MARK as usize;
        let mark = format!("\n\n... {} bytes left out ...\n\n", total - head - TAIL);
        assert_eq!(&text[head..head + mark.len()], mark.as_bytes());
        assert_eq!(text.len(), head + mark.len() + TAIL);
    }
}
