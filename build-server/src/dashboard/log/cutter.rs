//! Cuts bytes into lines of bounded length.

/// Bytes of a line that are shown; the raw log has the rest.
const MAX_LINE: usize = 2_000;

/// Where the lines are cut. Sans-IO: fed with pieces of any size.
#[derive(Debug)]
pub(super) struct Cutter {
    kept: Vec<u8>,
    length: u64,
    most: usize,
}

impl Default for Cutter {
    fn default() -> Self {
        Self::keeping(MAX_LINE)
    }
}

impl Cutter {
    /// One that keeps `most` bytes of each line.
    pub(super) fn keeping(most: usize) -> Self {
        Self {
            kept: Vec::new(),
            length: 0,
            most,
        }
    }

    /// Consumes `bytes` up to and with the next newline; says whether there was one. Then
    /// [`Cutter::line`] is complete.
    pub(super) fn feed(&mut self, bytes: &mut &[u8]) -> bool {
        let newline = memchr::memchr(b'\n', bytes);
        let end = newline.unwrap_or(bytes.len());
        let room = self.most.saturating_sub(self.kept.len());
        self.kept.extend_from_slice(&bytes[..end.min(room)]);
        self.length += end as u64;
        *bytes = &bytes[newline.map_or(end, |at| at + 1)..];
        newline.is_some()
    }

    /// What is known of the line, and how many bytes of it were left out.
    pub(super) fn line(&self) -> (&[u8], u64) {
        (&self.kept, self.length - self.kept.len() as u64)
    }

    /// Bytes of the line so far.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Bytes of the line that were passed over elsewhere.
    pub(super) fn skip(&mut self, bytes: u64) {
        self.length += bytes;
    }

    /// Begins the next line.
    pub(super) fn clear(&mut self) {
        self.kept.clear();
        self.length = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(pieces: &[Vec<u8>]) -> Vec<(Vec<u8>, u64)> {
        let mut cutter = Cutter::keeping(5);
        let mut lines = Vec::new();
        for piece in pieces {
            let mut rest = piece.as_slice();
            while cutter.feed(&mut rest) {
                let (text, left_out) = cutter.line();
                lines.push((text.to_vec(), left_out));
                cutter.clear();
            }
            assert!(rest.is_empty());
        }
        lines
    }

    #[test]
    fn long_lines_are_cut() {
        let pieces = [b"ab\n\nabcd".to_vec(), b"efg\nx".to_vec()];
        let expected = [(b"ab".to_vec(), 0), (vec![], 0), (b"abcde".to_vec(), 2)];
        assert_eq!(lines(&pieces), expected);
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(pieces: Vec<Vec<u8>>) {
            prop_assert_eq!(lines(&pieces), lines(&[pieces.concat()]));
        }
    }
}
