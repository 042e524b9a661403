use super::Error;

/// Finds the empty line that ends a head or a trailer block, without looking at any byte
/// twice however small the pieces are in which it arrives.
#[derive(Debug, Default)]
pub(crate) struct BlockScan {
    scanned: usize,
    line_start: usize,
}

impl BlockScan {
    /// Length of the block at the start of `buf`, final CRLF included; `None` while its end
    /// has not arrived. `buf` must start at the same byte in every call for one block.
    ///
    /// # Errors
    /// `too_large` when the block does not end within `limit` bytes, [`Error::BareLineFeed`]
    /// when a line ends without CR.
    pub(crate) fn find_end(
        &mut self,
        buf: &[u8],
        limit: usize,
        too_large: Error,
    ) -> Result<Option<usize>, Error> {
        let window = &buf[..buf.len().min(limit)];
        while let Some(at) = window[self.scanned..].iter().position(|&b| b == b'\n') {
            let feed = self.scanned + at;
            if feed == self.line_start || window[feed - 1] != b'\r' {
                return Err(Error::BareLineFeed);
            }
            let empty_line = feed == self.line_start + 1;
            self.scanned = feed + 1;
            self.line_start = feed + 1;
            if empty_line {
                *self = Self::default();
                return Ok(Some(feed + 1));
            }
        }
        self.scanned = window.len();
        if buf.len() >= limit {
            Err(too_large)
        } else {
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: &[u8]) -> Result<Option<usize>, Error> {
        BlockScan::default().find_end(text, 64, Error::HeadTooLarge { limit: 64 })
    }

    #[test]
    fn finds_the_empty_line_at_every_split() {
        let text = b"GET / HTTP/1.1\r\nHost: \r\n\r\nleftover\n";
        let end = text.len() - 9;
        for split in 0..=text.len() {
            let mut state = BlockScan::default();
            let early = state
                .find_end(&text[..split], 64, Error::BareLineFeed)
                .unwrap();
            if split < end {
                assert_eq!(early, None);
                assert_eq!(state.find_end(text, 64, Error::BareLineFeed), Ok(Some(end)));
            } else {
                assert_eq!(early, Some(end));
            }
        }
    }

    #[test]
    fn an_empty_block_is_two_bytes() {
        assert_eq!(scan(b"\r\nrest"), Ok(Some(2)));
        assert_eq!(scan(b"\r"), Ok(None));
    }

    #[test]
    fn bare_line_feeds_and_long_blocks_are_refused() {
        assert_eq!(scan(b"\n"), Err(Error::BareLineFeed));
        assert_eq!(scan(b"a\n"), Err(Error::BareLineFeed));
        assert_eq!(scan(b"a\r\n\n"), Err(Error::BareLineFeed));
        assert_eq!(scan(&[b'a'; 63]), Ok(None));
        assert_eq!(scan(&[b'a'; 64]), Err(Error::HeadTooLarge { limit: 64 }));
    }
}
