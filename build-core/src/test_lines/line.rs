//! A line of output: whether it may tell anything, and its plain text.

use std::borrow::Cow;
use std::time::Duration;

use crate::name::Name;

/// Beginnings of lines that tell something, behind white space.
const BEGINNINGS: &[&[u8]] = &[
    b"test",
    b"ok",
    b"not ok",
    b"--- ",
    b"PASS",
    b"FAIL",
    b"TIMEOUT",
    b"SIG",
    b"ERROR",
    b"LEAK",
    b"FLAKY",
    b"TRY ",
    b"SKIP",
    b"XFAIL",
    b"XPASS",
    b"{\"",
    b"[gw",
    b"[ERROR]",
    b"[INFO]",
    b"[WARNING]",
    b"=",
    b"running 0 tests",
    b"No test",
    b"no test",
    b"Ran ",
    b"Tests",
    b"collected 0",
    b"Bail out!",
];

/// Whether a line may be one of a test runner, at the cost of a glance: everything that is ever
/// printed passes here.
pub(super) fn may_tell(line: &[u8]) -> bool {
    let Some(at) = line.iter().position(|byte| !byte.is_ascii_whitespace()) else {
        return false;
    };
    let rest = &line[at..];
    match rest[0] {
        // `1/3`, `2 passing`, `1) name`; a mark or a space beyond ASCII; a colour.
        b'0'..=b'9' | 0x1b | 0x80.. => true,
        _ => {
            BEGINNINGS.iter().any(|word| rest.starts_with(word))
                || memchr::memchr_iter(b':', rest).any(|at| {
                    let (before, after) = rest.split_at(at);
                    (after.starts_with(b"::") && before.ends_with(b".py"))
                        || before.ends_with(b"--- FAIL")
                })
        }
    }
}

/// The line as text, without colours; most lines have none. See [`unmarked`] for the rest.
pub(super) fn plain(line: &[u8]) -> Cow<'_, str> {
    if memchr::memchr2(0x1b, b'\r', line).is_none() {
        return marked(line);
    }
    let mut out = Vec::with_capacity(line.len());
    let mut bytes = line.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            // ESC [ parameters letter
            0x1b if bytes.next() == Some(b'[') => {
                bytes.find(|b| (0x40..=0x7e).contains(b));
            }
            0x1b | b'\r' => {}
            _ => out.push(byte),
        }
    }
    Cow::Owned(marked(&out).into_owned())
}

/// The first of 128 characters that stand for bytes which are not UTF-8: the last ones there are,
/// and nobody's.
const MARKS: u32 = 0x10_ff80;

fn byte_of(mark: char) -> Option<u8> {
    let byte = u32::from(mark).checked_sub(MARKS)?;
    u8::try_from(byte + 0x80).ok()
}

/// The line as text in which each byte that is not UTF-8 has a mark; a mark that is printed counts
/// as such bytes.
fn marked(line: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(line)
        && memchr::memmem::find(line, b"\xf4\x8f\xbe").is_none()
        && memchr::memmem::find(line, b"\xf4\x8f\xbf").is_none()
    {
        return Cow::Borrowed(text);
    }
    let mark = |byte: &u8| char::from_u32(MARKS + u32::from(byte & 0x7f));
    let mut out = String::with_capacity(line.len() + 16);
    for chunk in line.utf8_chunks() {
        for c in chunk.valid().chars() {
            match byte_of(c) {
                Some(_) => out.extend(
                    c.encode_utf8(&mut [0; 4])
                        .as_bytes()
                        .iter()
                        .filter_map(mark),
                ),
                None => out.push(c),
            }
        }
        out.extend(chunk.invalid().iter().filter_map(mark));
    }
    Cow::Owned(out)
}

/// The bytes that a marked text stands for.
pub(super) fn unmarked(text: &str) -> Name {
    if !text.contains(|c| byte_of(c).is_some()) {
        return text.into();
    }
    let mut bytes = Vec::with_capacity(text.len());
    for c in text.chars() {
        match byte_of(c) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes.into()
}

pub(super) fn first_word(text: &str) -> &str {
    text.split_whitespace().next().unwrap_or_default()
}

/// `0.01s`, `0.01 s`, `12 ms`, `1.5ms`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 1e-3),
        None => (text.strip_suffix('s')?, 1.0),
    };
    let seconds = number.trim().parse::<f64>().ok()? * unit;
    Duration::try_from_secs_f64(seconds).ok()
}
