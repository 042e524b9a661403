use std::fmt;

use super::Error;

/// Names whose values never appear in debug output.
const SECRET_NAMES: [&str; 5] = [
    "Authorization",
    "Proxy-Authorization",
    "Cookie",
    "Set-Cookie",
    "X-Go-Builder-Key",
];

/// Fields of a head or of trailers, in order; names compare without case.
///
/// Values are bytes: peers may send text that is not UTF-8. All text of one block lives in
/// one allocation.
#[derive(Clone, Default)]
pub struct Headers {
    text: Vec<u8>,
    spans: Vec<Span>,
}

/// Where one field lies in the text: the name, directly followed by the value.
#[derive(Clone, Copy)]
struct Span {
    name: u32,
    value: u32,
    end: u32,
}

impl Headers {
    /// An empty list.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn with_capacity(bytes: usize, fields: usize) -> Self {
        Self {
            text: Vec::with_capacity(bytes),
            spans: Vec::with_capacity(fields),
        }
    }

    /// Appends a field, keeping earlier ones of the same name.
    ///
    /// Nothing is checked here: a field that cannot stand on the wire is refused when the
    /// head is written.
    pub fn append(&mut self, name: &str, value: impl AsRef<[u8]>) {
        let start = self.offset();
        self.text.extend_from_slice(name.as_bytes());
        let middle = self.offset();
        self.text.extend_from_slice(value.as_ref());
        self.spans.push(Span {
            name: start,
            value: middle,
            end: self.offset(),
        });
    }

    /// Sets a field, dropping earlier ones of the same name.
    pub fn set(&mut self, name: &str, value: impl AsRef<[u8]>) {
        let text = &self.text;
        self.spans
            .retain(|span| !span.name(text).eq_ignore_ascii_case(name.as_bytes()));
        self.append(name, value);
    }

    /// [`Headers::append`] for chains.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.append(name, value);
        self
    }

    /// Value of the first field of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let named = |span: &&Span| span.name(&self.text).eq_ignore_ascii_case(name.as_bytes());
        self.spans
            .iter()
            .find(named)
            .map(|span| span.value(&self.text))
    }

    /// Value of the first field of that name, if it is UTF-8.
    #[must_use]
    pub fn get_str(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.get(name)?).ok()
    }

    /// Values of all fields of that name, in order.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.spans
            .iter()
            .filter(move |span| span.name(&self.text).eq_ignore_ascii_case(name.as_bytes()))
            .map(|span| span.value(&self.text))
    }

    /// Whether there is a field of that name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Whether a field of that name lists this token (`Connection: keep-alive, Close` lists
    /// `close`).
    #[must_use]
    pub fn lists(&self, name: &str, token: &str) -> bool {
        self.get_all(name)
            .flat_map(|value| value.split(|&b| b == b','))
            .any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }

    /// Names and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.spans.iter().map(|span| {
            let name = std::str::from_utf8(span.name(&self.text)).unwrap_or_default();
            (name, span.value(&self.text))
        })
    }

    /// Number of fields.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is no field.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Writes `Name: value` lines, without the final empty line.
    pub(crate) fn write(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        for (name, value) in self.iter() {
            if !writable(name, value) {
                return Err(Error::UnwritableField {
                    name: name.to_owned(),
                });
            }
            write_field(name, value, out);
        }
        Ok(())
    }

    fn offset(&self) -> u32 {
        // Heads are bounded far below 4 GiB; a builder that exceeds it gets empty fields,
        // which are refused when written.
        u32::try_from(self.text.len()).unwrap_or(u32::MAX)
    }
}

impl Span {
    fn name(self, text: &[u8]) -> &[u8] {
        text.get(self.name as usize..self.value as usize)
            .unwrap_or_default()
    }

    fn value(self, text: &[u8]) -> &[u8] {
        text.get(self.value as usize..self.end as usize)
            .unwrap_or_default()
    }
}

pub(crate) fn write_field(name: &str, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Whether these bytes may be a method or a field name.
pub(crate) fn is_token(text: &[u8]) -> bool {
    !text.is_empty()
        && text
            .iter()
            .all(|&b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// Whether a field may be written: no line breaks to smuggle, no blanks at the ends that
/// a reader would strip, and not one of the fields the writer derives from the body.
fn writable(name: &str, value: &[u8]) -> bool {
    let framing = ["Content-Length", "Transfer-Encoding"];
    is_token(name.as_bytes())
        && !framing.iter().any(|f| f.eq_ignore_ascii_case(name))
        && value
            .iter()
            .all(|&b| b == b'\t' || (b >= b' ' && b != 0x7f))
        && value.trim_ascii().len() == value.len()
}

impl PartialEq for Headers {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Headers {}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.iter().map(|(name, value)| {
            let secret = SECRET_NAMES.iter().any(|s| s.eq_ignore_ascii_case(name));
            (
                name,
                if secret {
                    "(hidden)".into()
                } else {
                    String::from_utf8_lossy(value)
                },
            )
        });
        f.debug_map().entries(shown).finish()
    }
}

impl<N: AsRef<str>, V: AsRef<[u8]>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(fields: I) -> Self {
        let mut headers = Self::new();
        for (name, value) in fields {
            headers.append(name.as_ref(), value);
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Headers {
        Headers::new()
            .with("Host", "")
            .with("Connection", "keep-alive, Close")
            .with("X-A", "1")
            .with("x-a", "2")
    }

    #[test]
    fn lookup_ignores_case_and_keeps_order() {
        let headers = sample();
        assert_eq!(headers.get("host"), Some(&b""[..]));
        assert_eq!(headers.get_all("X-a").collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!(headers.get_str("x-A"), Some("1"));
        assert!(!headers.contains("X-B"));
        assert!(headers.lists("connection", "close"));
        assert!(!headers.lists("connection", "clos"));
    }

    #[test]
    fn set_replaces_every_field_of_the_name() {
        let mut headers = sample();
        headers.set("X-A", "3");
        assert_eq!(headers.len(), 3);
        assert_eq!(headers.get_all("x-a").collect::<Vec<_>>(), [b"3"]);
        assert_eq!(headers, sample_with_three());
    }

    fn sample_with_three() -> Headers {
        [
            ("Host", ""),
            ("Connection", "keep-alive, Close"),
            ("X-A", "3"),
        ]
        .into_iter()
        .collect()
    }

    #[test]
    fn fields_that_would_split_a_message_are_refused() {
        let bad = [
            ("X", "a\r\nY: b"),
            ("X", "a\n"),
            ("X", "a\0"),
            ("X", " a"),
            ("X Y", "a"),
            ("", "a"),
            ("X:", "a"),
            ("content-length", "1"),
            ("Transfer-Encoding", "chunked"),
        ];
        for (name, value) in bad {
            let result = Headers::new().with(name, value).write(&mut Vec::new());
            assert_eq!(
                result,
                Err(Error::UnwritableField { name: name.into() }),
                "{name:?} {value:?}"
            );
        }
    }

    #[test]
    fn debug_output_hides_credentials() {
        let text = format!("{:?}", sample().with("authorization", "Basic c2VjcmV0"));
        assert!(
            text.contains("(hidden)") && !text.contains("c2VjcmV0"),
            "{text}"
        );
    }
}
