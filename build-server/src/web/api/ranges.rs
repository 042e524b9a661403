//! Parts of files: what `Range` asks for, and its bytes.

use std::ops::RangeInclusive;

use axum::http::HeaderValue;
use build_core::buildlet::ByteStream;
use build_core::{Error, ErrorKind};
use futures::{StreamExt, TryStreamExt, stream};

/// What a request wants of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Requested {
    All,
    Part(RangeInclusive<u64>),
    /// It begins behind the end.
    Nothing,
}

/// One range of bytes; what is no such range, or several of them, asks for everything
/// (RFC 9110, 14.2).
pub(super) fn requested(range: &HeaderValue, size: u64) -> Requested {
    let text = range.to_str().unwrap_or_default().trim();
    let Some((first, last)) = text.strip_prefix("bytes=").and_then(|r| r.split_once('-')) else {
        return Requested::All;
    };
    let (first, last) = (first.trim(), last.trim());
    let bytes = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => first..=last.min(size.saturating_sub(1)),
        (Ok(first), Err(_)) if last.is_empty() => first..=size.saturating_sub(1),
        (Err(_), Ok(count)) if first.is_empty() => {
            if count == 0 {
                return Requested::Nothing;
            }
            size.saturating_sub(count)..=size.saturating_sub(1)
        }
        _ => return Requested::All,
    };
    match *bytes.start() < size {
        true => Requested::Part(bytes),
        false => Requested::Nothing,
    }
}

/// `length` bytes from `start` on.
pub(super) fn part(contents: ByteStream, start: u64, length: u64) -> ByteStream {
    let state = (contents, start, length);
    let pieces = stream::try_unfold(state, async |(mut contents, mut skip, left)| {
        if left == 0 {
            return Ok(None);
        }
        loop {
            let Some(mut piece) = contents.try_next().await? else {
                let text = "a kept file is shorter than it was";
                return Err(Error::new(ErrorKind::Corrupt, text));
            };
            let passed = skip.min(piece.len() as u64);
            skip -= passed;
            piece = piece.slice(passed as usize..);
            piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            if !piece.is_empty() {
                let left = left - piece.len() as u64;
                return Ok(Some((piece, (contents, skip, left))));
            }
        }
    });
    pieces.boxed()
}

#[cfg(test)]
mod tests {
    use build_core::Result;
    use bytes::Bytes;

    use super::*;

    #[test]
    fn ranges_are_read_as_the_standard_says() {
        use Requested::{All, Nothing, Part};
        let cases = [
            ("bytes=0-3", Part(0..=3)),
            ("bytes=4-", Part(4..=9)),
            ("bytes=-3", Part(7..=9)),
            ("bytes=-30", Part(0..=9)),
            ("bytes=8-30", Part(8..=9)),
            ("bytes=10-", Nothing),
            ("bytes=-0", Nothing),
            ("bytes=3-2", All),
            ("bytes=0-1,4-5", All),
            ("lines=1-2", All),
            ("bytes=", All),
        ];
        for (text, wanted) in cases {
            assert_eq!(
                requested(&HeaderValue::from_static(text), 10),
                wanted,
                "{text}"
            );
        }
        assert_eq!(requested(&HeaderValue::from_static("bytes=0-"), 0), Nothing);
        let odd = HeaderValue::from_bytes(b"bytes=\xff-").unwrap();
        assert_eq!(requested(&odd, 10), All);
    }

    #[tokio::test]
    async fn a_part_crosses_pieces_and_a_short_file_is_told() {
        let pieces = || {
            let pieces = ["abc", "", "defg", "hi"].map(|p| Ok(Bytes::from_static(p.as_bytes())));
            stream::iter(pieces).boxed()
        };
        let read = async |start, length| {
            let parts: Result<Vec<_>> = part(pieces(), start, length).try_collect().await;
            parts.map(|parts| String::from_utf8(parts.concat()).unwrap())
        };
        assert_eq!(read(0, 9).await.unwrap(), "abcdefghi");
        assert_eq!(read(2, 4).await.unwrap(), "cdef");
        assert_eq!(read(7, 1).await.unwrap(), "h");
        assert_eq!(read(9, 0).await.unwrap(), "");
        assert_eq!(read(8, 2).await.unwrap_err().kind(), ErrorKind::Corrupt);
    }
}
