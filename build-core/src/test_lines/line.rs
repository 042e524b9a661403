//! A line of output: whether it may tell anything, and its plain text.

use std::borrow::Cow;
use std::time::Duration;

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

/// The line as text, without colours; most lines have none.
pub(super) fn plain(line: &[u8]) -> Cow<'_, str> {
    if memchr::memchr2(0x1b, b'\r', line).is_none() {
        return String::from_utf8_lossy(line);
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
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
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
