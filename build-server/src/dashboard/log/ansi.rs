//! Lines of a log as HTML: colours are rendered, everything else is text.
//!
//! A log line is hostile text. Select-graphic-rendition sequences become classes of the style
//! sheet; every other escape sequence is dropped; markup is escaped; control characters and
//! those that turn the direction of writing are made visible.

use std::fmt::Write;

/// Longest sequence that is looked at; a longer one is dropped like those not known.
const MAX_SEQUENCE: usize = 64;

/// Renders line after line; a colour lasts until it is changed, over the end of the line too.
#[derive(Clone, Debug, Default)]
pub(in crate::dashboard) struct Painter {
    style: Style,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Style {
    foreground: Option<u8>,
    background: Option<u8>,
    bold: bool,
    faint: bool,
    italic: bool,
    underlined: bool,
    inverse: bool,
}

/// Where in an escape sequence the next character is.
enum Place {
    Text,
    Escape,
    /// Behind `ESC [`, with its parameters.
    Control(String),
    /// In a string such as a title or a link, which ends with BEL or `ESC \`.
    String,
    StringEscape,
    /// Behind `ESC (` and its like, which one more character ends.
    Charset,
}

/// What has been drawn of the line.
struct Canvas<'a> {
    html: &'a mut String,
    /// The style of the open element.
    open: Option<Style>,
}

impl Painter {
    /// Appends one line, given without its newline, to `html`.
    pub(in crate::dashboard) fn line(&mut self, line: &[u8], html: &mut String) {
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end_matches('\r');
        // A carriage return begins the line anew: only what was printed last is seen.
        let seen = text.rfind('\r').map_or(0, |at| at + 1);
        let mut canvas = Canvas { html, open: None };
        let mut place = Place::Text;
        for (at, c) in text.char_indices() {
            place = self.step(place, c, (at >= seen).then_some(&mut canvas));
        }
        canvas.close();
    }

    fn step(&mut self, place: Place, c: char, canvas: Option<&mut Canvas<'_>>) -> Place {
        match (place, c) {
            (Place::Text | Place::Control(_) | Place::Charset, '\x1b') => Place::Escape,
            (Place::Text, c) => {
                if let Some(canvas) = canvas {
                    canvas.draw(c, self.style);
                }
                Place::Text
            }
            (Place::Escape, '[') => Place::Control(String::new()),
            (Place::Escape, ']' | 'P' | 'X' | '^' | '_') => Place::String,
            (Place::Escape, '(' | ')' | '*' | '+' | '#' | '%' | ' ') => Place::Charset,
            (Place::Escape, '\x1b') => Place::Escape,
            (Place::Escape | Place::Charset, _) => Place::Text,
            (Place::Control(parameters), '@'..='~') => {
                if c == 'm' {
                    self.style.select(&parameters);
                }
                Place::Text
            }
            (Place::Control(mut parameters), c) => {
                if parameters.len() < MAX_SEQUENCE {
                    parameters.push(c);
                }
                Place::Control(parameters)
            }
            (Place::String, '\x07') => Place::Text,
            (Place::String, '\x1b') => Place::StringEscape,
            (Place::String, _) => Place::String,
            (Place::StringEscape, '\\') => Place::Text,
            (Place::StringEscape, _) => Place::String,
        }
    }
}

impl Canvas<'_> {
    fn draw(&mut self, c: char, style: Style) {
        if self.open != Some(style) {
            self.close();
            style.open(self.html);
            self.open = Some(style);
        }
        match c {
            '<' => self.html.push_str("&lt;"),
            '>' => self.html.push_str("&gt;"),
            '&' => self.html.push_str("&amp;"),
            '"' => self.html.push_str("&#34;"),
            '\'' => self.html.push_str("&#39;"),
            '\t' => self.html.push('\t'),
            '\x08' => {}
            '\0'..='\x1f' => self.html.extend(char::from_u32(0x2400 + c as u32)),
            c if is_hidden(c) => {
                // Writing to a string cannot fail.
                let _ = write!(self.html, "⟨U+{:04X}⟩", c as u32);
            }
            c => self.html.push(c),
        }
    }

    fn close(&mut self) {
        if self
            .open
            .take()
            .is_some_and(|style| style != Style::default())
        {
            self.html.push_str("</span>");
        }
    }
}

/// Control characters, and those that turn the direction of writing and so hide what is written.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl Style {
    fn open(self, html: &mut String) {
        if self == Self::default() {
            return;
        }
        let flags = [
            (self.bold, "k"),
            (self.faint, "d"),
            (self.italic, "t"),
            (self.underlined, "u"),
            (self.inverse, "v"),
        ];
        let mut classes: Vec<String> = flags
            .iter()
            .filter(|(is_set, _)| *is_set)
            .map(|(_, class)| (*class).to_owned())
            .collect();
        classes.extend(self.foreground.map(|n| format!("c{n}")));
        classes.extend(self.background.map(|n| format!("b{n}")));
        // Writing to a string cannot fail.
        let _ = write!(html, "<span class=\"{}\">", classes.join(" "));
    }

    /// Applies the parameters of a select-graphic-rendition sequence.
    fn select(&mut self, parameters: &str) {
        let numbers: Vec<u16> = parameters
            .split([';', ':'])
            .map(|n| if n.is_empty() { Ok(0) } else { n.parse() })
            .map(|n| n.unwrap_or(u16::MAX))
            .collect();
        let mut rest = numbers.as_slice();
        while let [first, after @ ..] = rest {
            rest = after;
            match *first {
                0 => *self = Self::default(),
                1 => self.bold = true,
                2 => self.faint = true,
                3 => self.italic = true,
                4 => self.underlined = true,
                7 => self.inverse = true,
                22 => (self.bold, self.faint) = (false, false),
                23 => self.italic = false,
                24 => self.underlined = false,
                27 => self.inverse = false,
                n @ 30..=37 => self.foreground = Some((n - 30) as u8),
                n @ 90..=97 => self.foreground = Some((n - 82) as u8),
                n @ 40..=47 => self.background = Some((n - 40) as u8),
                n @ 100..=107 => self.background = Some((n - 92) as u8),
                39 => self.foreground = None,
                49 => self.background = None,
                n @ (38 | 48) => {
                    let (color, after) = extended(rest);
                    rest = after;
                    let place = if n == 38 {
                        &mut self.foreground
                    } else {
                        &mut self.background
                    };
                    *place = color.or(*place);
                }
                _ => {}
            }
        }
    }
}

/// A colour behind `38` or `48`, as the nearest of the sixteen, and what follows it.
fn extended(parameters: &[u16]) -> (Option<u8>, &[u16]) {
    match parameters {
        [5, n, rest @ ..] => (u8::try_from(*n).ok().map(of_palette), rest),
        [2, r, g, b, rest @ ..] => {
            let part = |n: &u16| u8::try_from(*n).unwrap_or(u8::MAX);
            (Some(nearest(part(r), part(g), part(b))), rest)
        }
        _ => (None, &[]),
    }
}

/// One of 256 colours: sixteen as they are, a cube of 6 × 6 × 6, greys.
fn of_palette(n: u8) -> u8 {
    match n {
        0..=15 => n,
        16..=231 => {
            let part = |n: u8| if n == 0 { 0 } else { 55 + 40 * n };
            let n = n - 16;
            nearest(part(n / 36), part(n / 6 % 6), part(n % 6))
        }
        232..=255 => {
            let grey = 8 + 10 * (n - 232);
            nearest(grey, grey, grey)
        }
    }
}

fn nearest(red: u8, green: u8, blue: u8) -> u8 {
    let most = red.max(green).max(blue);
    if most < 48 {
        return 0;
    }
    let bit = |part: u8, bit: u8| if part > most / 2 { bit } else { 0 };
    match bit(red, 1) | bit(green, 2) | bit(blue, 4) {
        7 if most < 100 => 8,
        7 if most < 200 => 7,
        hue => hue + if most >= 200 { 8 } else { 0 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn html(line: &str) -> String {
        let mut html = String::new();
        Painter::default().line(line.as_bytes(), &mut html);
        html
    }

    #[test]
    fn colours_become_classes() {
        assert_eq!(
            html("\x1b[1;31merror\x1b[0m: \x1b[38;5;10mgreen\x1b[39m"),
            "<span class=\"k c1\">error</span>: <span class=\"c10\">green</span>"
        );
        assert_eq!(html("\x1b[38;2;250;5;5mx"), "<span class=\"c9\">x</span>");
        assert_eq!(html("\x1b[48;2;9;9;9;4mx"), "<span class=\"u b0\">x</span>");
        assert_eq!(
            html("\x1b[38;9mx\x1b[999;1mx"),
            "x<span class=\"k\">x</span>"
        );
    }

    #[test]
    fn a_colour_lasts_over_the_end_of_a_line() {
        let (mut painter, mut html) = (Painter::default(), String::new());
        painter.line(b"\x1b[32ma", &mut html);
        painter.line(b"b\x1b[mc", &mut html);
        assert_eq!(
            html,
            "<span class=\"c2\">a</span><span class=\"c2\">b</span>c"
        );
    }

    #[test]
    fn markup_is_text() {
        assert_eq!(
            html("<script>alert('x')</script> & \"q\""),
            "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &#34;q&#34;"
        );
    }

    #[test]
    fn other_sequences_are_dropped_and_control_characters_shown() {
        assert_eq!(html("a\x1b[2Kb\x1b(Bc\x1b]0;title\x07d"), "abcd");
        let link = "\x1b]8;;javascript:alert(1)\x1b\\click\x1b]8;;\x1b\\";
        assert_eq!(html(link), "click");
        assert_eq!(
            html("nul\0 del\x7f rtl\u{202e}"),
            "nul␀ del⟨U+007F⟩ rtl⟨U+202E⟩"
        );
        assert_eq!(html("cut \x1b[3"), "cut ");
    }

    #[test]
    fn only_what_was_printed_last_on_a_line_is_seen() {
        assert_eq!(html(" 10 %\r 50 %\r100 %\r"), "100 %");
        assert_eq!(
            html("\x1b[31mred\rstill"),
            "<span class=\"c1\">still</span>"
        );
    }

    /// Everything between the elements of [`Painter`] itself is escaped, and they are closed.
    fn check(line: &[u8]) {
        let mut html = String::new();
        Painter::default().line(line, &mut html);
        let mut open = false;
        let mut rest = html.as_str();
        while let Some(at) = rest.find('<') {
            assert!(!rest[..at].contains('>'), "{html:?}");
            let end = at + rest[at..].find('>').unwrap();
            match &rest[at..=end] {
                "</span>" => assert!(std::mem::replace(&mut open, false), "{html:?}"),
                tag => {
                    let classes = tag.strip_prefix("<span class=\"").unwrap();
                    let classes = classes.strip_suffix("\">").unwrap();
                    let plain = |c: char| c.is_ascii_alphanumeric() || c == ' ';
                    assert!(classes.chars().all(plain), "{html:?}");
                    assert!(!std::mem::replace(&mut open, true), "{html:?}");
                }
            }
            rest = &rest[end + 1..];
        }
        assert!(!open && !rest.contains(['>', '"', '\'']), "{html:?}");
        assert!(
            !html.chars().any(|c| c.is_control() && c != '\t'),
            "{html:?}"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_safe(line: Vec<u8>) {
            check(&line);
        }

        #[test]
        fn anything_like_a_sequence_is_safe(line in "(\x1b[\\[\\]P(]?[0-9;:m<>&\"'\x07\x08\r\\\\a]{0,9}){0,9}") {
            check(line.as_bytes());
        }
    }
}
