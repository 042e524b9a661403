//! The type of a file by its first bytes, as web servers guess it.
//!
//! The rules are those of the WHATWG MIME sniffing standard, in the part that Go's servers
//! apply; so an object gets the type that the Go programs gave it.

/// How many bytes are looked at.
pub const SNIFFED_BYTES: usize = 512;

/// Tags that begin a page, after white space, and end at a blank or `>`.
const TAGS: &[&str] = &[
    "<!DOCTYPE HTML",
    "<HTML",
    "<HEAD",
    "<SCRIPT",
    "<IFRAME",
    "<H1",
    "<DIV",
    "<FONT",
    "<TABLE",
    "<A",
    "<STYLE",
    "<TITLE",
    "<B",
    "<BODY",
    "<BR",
    "<P",
    "<!--",
];

/// A beginning (`?` for any byte) and the type it tells.
type Signature = (&'static [u8], &'static str);

const SIGNATURES: &[Signature] = &[
    (b"%PDF-", "application/pdf"),
    (b"%!PS-Adobe-", "application/postscript"),
    (b"\xfe\xff??", "text/plain; charset=utf-16be"),
    (b"\xff\xfe??", "text/plain; charset=utf-16le"),
    (b"\xef\xbb\xbf?", "text/plain; charset=utf-8"),
    (b"\x00\x00\x01\x00", "image/x-icon"),
    (b"\x00\x00\x02\x00", "image/x-icon"),
    (b"BM", "image/bmp"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"RIFF????WEBPVP", "image/webp"),
    (b"\x89PNG\x0d\x0a\x1a\x0a", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"FORM????AIFF", "audio/aiff"),
    (b"ID3", "audio/mpeg"),
    (b"OggS\x00", "application/ogg"),
    (b"MThd\x00\x00\x00\x06", "audio/midi"),
    (b"RIFF????AVI ", "video/avi"),
    (b"RIFF????WAVE", "audio/wave"),
];

/// Looked at after the video container below.
const LATER: &[Signature] = &[
    (b"\x1a\x45\xdf\xa3", "video/webm"),
    (b"\x00\x01\x00\x00", "font/ttf"),
    (b"OTTO", "font/otf"),
    (b"ttcf", "font/collection"),
    (b"wOFF", "font/woff"),
    (b"wOF2", "font/woff2"),
    (b"\x1f\x8b\x08", "application/x-gzip"),
    (b"PK\x03\x04", "application/zip"),
    (b"Rar!\x1a\x07\x00", "application/x-rar-compressed"),
    (b"Rar!\x1a\x07\x01\x00", "application/x-rar-compressed"),
    (b"\x00asm", "application/wasm"),
];

/// The type of what begins with `start`; never empty, `application/octet-stream` when nothing
/// is known of it. Only the first [`SNIFFED_BYTES`] count.
///
/// ```
/// use build_core::content_type::of;
/// assert_eq!(of(b"<!doctype html>"), "text/html; charset=utf-8");
/// assert_eq!(of(b"\x1f\x8b\x08\0"), "application/x-gzip");
/// assert_eq!(of(b"hello"), "text/plain; charset=utf-8");
/// ```
#[must_use]
pub fn of(start: &[u8]) -> &'static str {
    let start = &start[..start.len().min(SNIFFED_BYTES)];
    let text = start.trim_ascii_start_of_pages();
    if TAGS.iter().any(|tag| begins_with_tag(text, tag)) {
        return "text/html; charset=utf-8";
    }
    if text.starts_with(b"<?xml") {
        return "text/xml; charset=utf-8";
    }
    if let Some(found) = signed(SIGNATURES, start) {
        return found;
    }
    if is_mp4(start) {
        return "video/mp4";
    }
    if let Some(found) = signed(LATER, start) {
        return found;
    }
    if text
        .iter()
        .any(|b| matches!(b, 0..=8 | 0x0b | 0x0e..=0x1a | 0x1c..=0x1f))
    {
        return "application/octet-stream";
    }
    "text/plain; charset=utf-8"
}

trait TrimStart {
    fn trim_ascii_start_of_pages(&self) -> &Self;
}

impl TrimStart for [u8] {
    /// Without the white space of the standard, which is not quite ASCII's.
    fn trim_ascii_start_of_pages(&self) -> &[u8] {
        let blank = |b: &u8| matches!(b, b'\t' | b'\n' | 0x0c | b'\r' | b' ');
        let first = self.iter().position(|b| !blank(b)).unwrap_or(self.len());
        &self[first..]
    }
}

fn signed(table: &[Signature], start: &[u8]) -> Option<&'static str> {
    let fits = |pattern: &[u8]| {
        start.len() >= pattern.len()
            && pattern
                .iter()
                .zip(start)
                .all(|(want, have)| *want == b'?' || want == have)
    };
    table
        .iter()
        .find(|(pattern, _)| fits(pattern))
        .map(|(_, name)| *name)
}

fn begins_with_tag(text: &[u8], tag: &str) -> bool {
    let Some((head, rest)) = text.split_at_checked(tag.len()) else {
        return false;
    };
    head.eq_ignore_ascii_case(tag.as_bytes()) && matches!(rest.first(), Some(b' ' | b'>'))
}

/// A box of file types, one of whose brands begins with `mp4`.
fn is_mp4(start: &[u8]) -> bool {
    let Some(size) = start
        .first_chunk::<4>()
        .map(|size| u32::from_be_bytes(*size) as usize)
    else {
        return false;
    };
    if start.len() < 12 || start.len() < size || !size.is_multiple_of(4) || &start[4..8] != b"ftyp"
    {
        return false;
    }
    // The second word is a version, no brand.
    (8..size)
        .step_by(4)
        .any(|at| at != 12 && start[at..].starts_with(b"mp4"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Go's `net/http` says of the same bytes.
    #[test]
    fn types_are_those_of_go() {
        for (start, expected) in [
            (&b""[..], "text/plain; charset=utf-8"),
            (b"\x01\x02\x03", "application/octet-stream"),
            (b"  <HtMl><bOdY>blah", "text/html; charset=utf-8"),
            (b"<htmlx>", "text/plain; charset=utf-8"),
            (b"\n<!-- x -->", "text/html; charset=utf-8"),
            (b"\n<!--x", "text/plain; charset=utf-8"),
            (b"\n<?xml!", "text/xml; charset=utf-8"),
            (b"%PDF-1.7", "application/pdf"),
            (b"\xff\xfeab", "text/plain; charset=utf-16le"),
            (b"\xff\xfe", "text/plain; charset=utf-8"),
            (b"RIFF1234WAVEfmt ", "audio/wave"),
            (b"\x1f\x8b\x08\x08", "application/x-gzip"),
            (b"PK\x03\x04", "application/zip"),
            (b"\0asm\x01", "application/wasm"),
            (
                b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom<\x06t\xbfmdat",
                "video/mp4",
            ),
            (b"\x7fELF\x02\x01\x01\0", "application/octet-stream"),
            (b"\x00\x01\x00\x00\x00", "font/ttf"),
            (b"a\x1bb", "text/plain; charset=utf-8"),
        ] {
            assert_eq!(of(start), expected, "{start:?}");
        }
    }

    #[test]
    fn only_the_first_bytes_count() {
        let mut long = vec![b'a'; SNIFFED_BYTES];
        long.push(0);
        assert_eq!(of(&long), "text/plain; charset=utf-8");
    }
}
