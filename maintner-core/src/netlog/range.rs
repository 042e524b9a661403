//! The `Range` header of HTTP.

use std::ops::Range;

/// More ranges than this are answered with everything.
const MOST: usize = 16;

/// What a `Range` header asks of something of a known length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ranges {
    /// Everything: there is no header, or it is none that anybody understands.
    All,
    /// These parts, in the order asked for; at least one.
    Parts(Vec<Range<u64>>),
    /// Nothing of it exists: status 416.
    Unsatisfiable,
}

/// Reads a `Range` header for something of `len` bytes, as Go's file server does: parts that
/// begin behind the end are left out, and ends are cut.
pub fn parse_range(header: Option<&str>, len: u64) -> Ranges {
    // Another unit is not understood, and so ignored.
    let Some(list) = header.and_then(|header| header.strip_prefix("bytes=")) else {
        return Ranges::All;
    };
    let mut parts = Vec::new();
    let mut missed = false;
    for part in list
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        match one(part, len) {
            None => return Ranges::Unsatisfiable,
            Some(None) => missed = true,
            Some(Some(range)) => parts.push(range),
        }
    }
    let wanted: u64 = parts.iter().map(|part| part.end - part.start).sum();
    match parts.len() {
        0 if missed => Ranges::Unsatisfiable,
        0 => Ranges::All,
        count if count > MOST || count > 1 && wanted > len => Ranges::All,
        _ => Ranges::Parts(parts),
    }
}

/// `None` for what is malformed, `Some(None)` for what lies behind the end.
fn one(part: &str, len: u64) -> Option<Option<Range<u64>>> {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (first, last) = part.split_once('-')?;
    if !digits(first) || !digits(last) {
        return None;
    }
    if first.is_empty() {
        let count: u64 = last.parse().ok()?;
        let start = len.saturating_sub(count);
        return Some((start < len).then_some(start..len));
    }
    let start: u64 = first.parse().ok()?;
    let end = match last {
        "" => u64::MAX,
        last => last.parse::<u64>().ok()?.saturating_add(1),
    };
    if end <= start {
        return None;
    }
    Some((start < len).then_some(start..end.min(len)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_go_reads_them() {
        let part = |range: Range<u64>| Ranges::Parts(std::iter::once(range).collect());
        for (header, wanted) in [
            (None, Ranges::All),
            (Some("lines=1-2"), Ranges::All),
            (Some("bytes="), Ranges::All),
            (Some("bytes=79-264"), part(79..265)),
            (Some("bytes=0-0"), part(0..1)),
            (Some("bytes=200-"), part(200..265)),
            (Some("bytes=-5"), part(260..265)),
            (Some("bytes=-500"), part(0..265)),
            (Some("bytes=260-999"), part(260..265)),
            (Some("bytes=0-1, 4-5"), Ranges::Parts(vec![0..2, 4..6])),
            (Some("bytes=0-1,900-"), part(0..2)),
            (Some("bytes=0-,0-"), Ranges::All),
            (Some("bytes=265-"), Ranges::Unsatisfiable),
            (Some("bytes=5-4"), Ranges::Unsatisfiable),
            (Some("bytes=a-4"), Ranges::Unsatisfiable),
            (Some("bytes=-+4"), Ranges::Unsatisfiable),
            (Some("bytes=7"), Ranges::Unsatisfiable),
            (Some("bytes=99999999999999999999-"), Ranges::Unsatisfiable),
        ] {
            assert_eq!(parse_range(header, 265), wanted, "{header:?}");
        }
    }
}
