//! JSON as Go programs write it, where its bytes matter.
//!
//! Go escapes `<`, `>`, `&`, U+2028 and U+2029 in strings, so that JSON can stand in a page, and
//! its status pages indent with tabs.

use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

/// The text of a value, in one line.
///
/// # Panics
/// When the value has maps with keys that are not text, or fails to serialize itself.
#[must_use]
pub fn to_string(value: &impl Serialize) -> String {
    write(value, Escaping(serde_json::ser::CompactFormatter))
}

/// The text of a value, indented with tabs; without a line feed at its end.
///
/// # Panics
/// As [`to_string`].
#[must_use]
pub fn to_string_indented(value: &impl Serialize) -> String {
    write(value, Escaping(PrettyFormatter::with_indent(b"\t")))
}

fn write(value: &impl Serialize, formatter: impl Formatter) -> String {
    let mut out = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut out, formatter);
    value
        .serialize(&mut serializer)
        .expect("records are maps of text");
    String::from_utf8(out).expect("JSON is UTF-8")
}

/// Another formatter with Go's escapes.
struct Escaping<F>(F);

type Io = std::io::Result<()>;

impl<F: Formatter> Formatter for Escaping<F> {
    fn write_string_fragment<W: std::io::Write + ?Sized>(&mut self, w: &mut W, text: &str) -> Io {
        let mut rest = text;
        while let Some(at) = rest.find(['<', '>', '&', '\u{2028}', '\u{2029}']) {
            let c = rest[at..].chars().next().unwrap_or_default();
            w.write_all(&rest.as_bytes()[..at])?;
            write!(w, "\\u{:04x}", u32::from(c))?;
            rest = &rest[at + c.len_utf8()..];
        }
        w.write_all(rest.as_bytes())
    }

    fn begin_array<W: std::io::Write + ?Sized>(&mut self, w: &mut W) -> Io {
        self.0.begin_array(w)
    }

    fn end_array<W: std::io::Write + ?Sized>(&mut self, w: &mut W) -> Io {
        self.0.end_array(w)
    }

    fn begin_array_value<W: std::io::Write + ?Sized>(&mut self, w: &mut W, first: bool) -> Io {
        self.0.begin_array_value(w, first)
    }

    fn end_array_value<W: std::io::Write + ?Sized>(&mut self, w: &mut W) -> Io {
        self.0.end_array_value(w)
    }

    fn begin_object<W: std::io::Write + ?Sized>(&mut self, w: &mut W) -> Io {
        self.0.begin_object(w)
    }

    fn end_object<W: std::io::Write + ?Sized>(&mut self, w: &mut W) -> Io {
        self.0.end_object(w)
    }

    fn begin_object_key<W: std::io::Write + ?Sized>(&mut self, w: &mut W, first: bool) -> Io {
        self.0.begin_object_key(w, first)
    }

    fn begin_object_value<W: std::io::Write + ?Sized>(&mut self, w: &mut W) -> Io {
        self.0.begin_object_value(w)
    }

    fn end_object_value<W: std::io::Write + ?Sized>(&mut self, w: &mut W) -> Io {
        self.0.end_object_value(w)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped_and_lists_indented_as_go_does() {
        let value = serde_json::json!({"a<b": ["x&y\u{2028}\"", "é>"], "c": [], "d": {}});
        assert_eq!(
            to_string(&value),
            r#"{"a\u003cb":["x\u0026y\u2028\"","é\u003e"],"c":[],"d":{}}"#
        );
        assert_eq!(
            to_string_indented(&value),
            "{\n\t\"a\\u003cb\": [\n\t\t\"x\\u0026y\\u2028\\\"\",\n\t\t\"é\\u003e\"\n\t],\n\t\"c\": [],\n\t\"d\": {}\n}"
        );
    }
}
