//! Text of other people on a terminal: shown, never obeyed.
//!
//! A subject, a branch, the name of a test, the output of a step: whoever writes a commit chooses
//! them. Escape sequences in them could set titles, move the cursor over what this program has
//! said, or answer for the keyboard. Everything that is printed goes through here.

use std::borrow::Cow;
use std::io::{self, Write};

/// Longest colour sequence that is passed on.
const MAX_COLOUR: usize = 64;

/// One field of a line: every control character, also a line's end, becomes visible.
///
/// ```
/// assert_eq!(farmer_cli::shown("a\x1b]0;title\x07b\n"), r"a\x1b]0;title\x07b\n");
/// ```
pub fn shown(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false)
}

/// Text of several lines: line ends and tabs stay.
pub fn shown_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| matches!(c, '\n' | '\t'))
}

fn escaped(text: &str, stays: impl Fn(char) -> bool) -> Cow<'_, str> {
    let is_bad = |c: char| is_obeyed(c) && !stays(c);
    if !text.chars().any(is_bad) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match is_bad(c) {
            true => escape(c, &mut out),
            false => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// Control characters of both sets, and those that turn the direction of writing or part lines.
fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn escape(c: char, out: &mut String) {
    match c {
        '\n' => out.push_str("\\n"),
        '\t' => out.push_str("\\t"),
        '\r' => out.push_str("\\r"),
        '\0'..='\x7f' => out.push_str(&format!("\\x{:02x}", u32::from(c))),
        _ => out.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
    }
}

/// One JSON value as a line, the same value without characters that a terminal obeys: the format
/// itself escapes only some of them.
pub fn json_line(value: &impl serde::Serialize) -> serde_json::Result<String> {
    let json = serde_json::to_string(value)?;
    let mut line = String::with_capacity(json.len() + 1);
    for c in json.chars() {
        match is_obeyed(c) {
            // All of them are below 0x10000, and only strings hold them.
            true => line.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => line.push(c),
        }
    }
    line.push('\n');
    Ok(line)
}

/// What a step printed, on its way to a terminal: colours, tabs, line ends and carriage returns
/// pass, everything else that a terminal would obey is made visible. Sequences and characters may
/// come in pieces.
pub struct Screen<W> {
    out: W,
    pending: Vec<u8>,
}

impl<W: Write> Screen<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self {
            out,
            pending: Vec::new(),
        }
    }

    /// What it writes to; what is held back is lost, so call [`Screen::finish`] before.
    pub fn into_inner(self) -> W {
        self.out
    }

    /// Writes what was held back for its rest, which does not come.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn finish(&mut self) -> io::Result<()> {
        let (text, _) = filtered(&self.pending, true);
        self.pending.clear();
        self.out.write_all(&text)?;
        self.out.flush()
    }
}

impl<W: Write> Write for Screen<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pending.extend_from_slice(bytes);
        let (text, used) = filtered(&self.pending, false);
        self.pending.drain(..used);
        self.out.write_all(&text)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The bytes as they are shown, and how many of them were looked at: at the end of a piece that is
/// not the last one, what may go on is left.
fn filtered(bytes: &[u8], is_last: bool) -> (Vec<u8>, usize) {
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(first) = bytes.get(at) {
        let rest = &bytes[at..];
        let used = match first {
            0x1b => match colour(rest) {
                Some(length) => {
                    out.extend_from_slice(&rest[..length]);
                    length
                }
                None if !is_last && may_be_colour(rest) => break,
                None => {
                    out.extend_from_slice(b"\\x1b");
                    1
                }
            },
            b'\n' | b'\t' | b'\r' | b' '..=b'~' => {
                out.push(*first);
                1
            }
            0..=0x7f => {
                out.extend_from_slice(format!("\\x{first:02x}").as_bytes());
                1
            }
            _ => match character(rest) {
                Some(c) if is_obeyed(c) => {
                    let mut text = String::new();
                    escape(c, &mut text);
                    out.extend_from_slice(text.as_bytes());
                    c.len_utf8()
                }
                Some(c) => {
                    out.extend_from_slice(&rest[..c.len_utf8()]);
                    c.len_utf8()
                }
                None if !is_last && may_be_character(rest) => break,
                None => {
                    out.extend_from_slice(format!("\\x{first:02x}").as_bytes());
                    1
                }
            },
        };
        at += used;
    }
    (out, at)
}

/// The length of the colour sequence that `bytes` begin with.
fn colour(bytes: &[u8]) -> Option<usize> {
    let parameters = bytes.strip_prefix(b"\x1b[")?;
    let is_parameter = |b: &u8| b.is_ascii_digit() || matches!(b, b';' | b':');
    let length = parameters.iter().take_while(|b| is_parameter(b)).count();
    (length <= MAX_COLOUR && parameters.get(length) == Some(&b'm')).then_some(length + 3)
}

fn may_be_colour(bytes: &[u8]) -> bool {
    let mut rest = bytes[1..].iter();
    match rest.next() {
        None => true,
        Some(b'[') => {
            bytes.len() <= MAX_COLOUR
                && rest.all(|b| b.is_ascii_digit() || matches!(b, b';' | b':'))
        }
        Some(_) => false,
    }
}

/// The character of several bytes that `bytes` begin with.
fn character(bytes: &[u8]) -> Option<char> {
    let most = &bytes[..bytes.len().min(4)];
    let valid = match std::str::from_utf8(most) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&most[..error.valid_up_to()]).ok()?,
    };
    valid.chars().next()
}

fn may_be_character(bytes: &[u8]) -> bool {
    bytes.len() < 4 && std::str::from_utf8(bytes).is_err_and(|e| e.error_len().is_none())
}

/// Prints a line for people on standard error; what they did not write themselves is shown, not
/// obeyed.
#[macro_export]
macro_rules! say {
    ($($text:tt)*) => {
        eprintln!("{}", $crate::shown_lines(&format!($($text)*)))
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(pieces: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut screen = Screen::new(&mut out);
        for piece in pieces {
            screen.write_all(piece).unwrap();
        }
        screen.finish().unwrap();
        out
    }

    const HOSTILE: &[u8] = b"a\x1b[31mred\x1b[0m\tb\r\n\x1b]0;t\x07\x1b[2J\x1b[6n\x1bc \xc2\x9b1m \xff \xe2\x80\xae \xc3\xa4\n\x1b[";
    const SHOWN: &[u8] = b"a\x1b[31mred\x1b[0m\tb\r\n\\x1b]0;t\\x07\\x1b[2J\\x1b[6n\\x1bc \\u{9b}1m \\xff \\u{202e} \xc3\xa4\n\\x1b[";

    #[test]
    fn colours_pass_and_nothing_else_is_obeyed_however_it_is_cut() {
        assert_eq!(screen(&[HOSTILE]), SHOWN);
        for cut in 0..HOSTILE.len() {
            let (begin, end) = HOSTILE.split_at(cut);
            assert_eq!(screen(&[begin, end]), SHOWN, "cut at {cut}");
        }
        let bytes: Vec<_> = HOSTILE.chunks(1).collect();
        assert_eq!(screen(&bytes), SHOWN);
        let endless = [b"\x1b[".as_slice(), &[b'1'; 1000], b"m"].concat();
        assert!(!screen(&[&endless]).contains(&0x1b));
    }

    #[test]
    fn a_field_is_one_line_and_plain_text_is_not_copied() {
        assert_eq!(shown("a\nb\u{9b}2J\u{202e}c"), r"a\nb\u{9b}2J\u{202e}c");
        assert_eq!(shown_lines("a\tb\n\x1b"), "a\tb\n\\x1b");
        assert!(matches!(shown("plain äöü 你好"), Cow::Borrowed(_)));
    }

    #[test]
    fn json_keeps_its_value() {
        let value = serde_json::json!({"a": "\u{1b}]0;\u{9b}\u{202e}\u{7f}ä"});
        let line = json_line(&value).unwrap();
        assert!(!line.trim_end().chars().any(is_obeyed), "{line:?}");
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read, value);
    }
}
