//! Forms and queries: `application/x-www-form-urlencoded` as Go clients write it.

use std::fmt::Write as _;

use crate::error::{Error, ErrorKind, Result};

/// Longest form body a server takes, in bytes (10 MiB, as the Go implementation).
pub const MAX_FORM_BYTES: u64 = 10 << 20;

/// Names and values of a form or query, in order; names may repeat.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// An empty form.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a query or a form body.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`], naming the pair, for broken escapes and text that is not
    /// UTF-8: a value that is only nearly right must not be acted on.
    pub fn parse(text: &[u8]) -> Result<Self> {
        let pairs = text.split(|&b| b == b'&').filter(|pair| !pair.is_empty());
        pairs.map(parse_pair).collect::<Result<_>>().map(Self)
    }

    /// Adds a value.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.0.push((name.to_owned(), value.into()));
        self
    }

    /// Adds a value for each item.
    #[must_use]
    pub fn with_all(mut self, name: &str, values: impl IntoIterator<Item: Into<String>>) -> Self {
        self.0.extend(
            values
                .into_iter()
                .map(|value| (name.to_owned(), value.into())),
        );
        self
    }

    /// The first value of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut named = self.0.iter().filter(|(n, _)| n == name);
        named.next().map(|(_, value)| value.as_str())
    }

    /// The values of a name, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// The form as Go clients write it: names sorted, values of a name in order.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut pairs: Vec<_> = self.0.iter().collect();
        pairs.sort_by_key(|(name, _)| name);
        let mut out = String::new();
        for (name, value) in pairs {
            if !out.is_empty() {
                out.push('&');
            }
            escape(name, &mut out);
            out.push('=');
            escape(value, &mut out);
        }
        out
    }
}

/// The parameters of a request: those of its query, and those of its form body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Params {
    query: Form,
    body: Form,
}

impl Params {
    /// Reads the query of a request target and its form body (empty when it has none).
    ///
    /// # Errors
    /// As [`Form::parse`].
    pub fn parse(query: &str, body: &[u8]) -> Result<Self> {
        Ok(Self {
            query: Form::parse(query.as_bytes())?,
            body: Form::parse(body)?,
        })
    }

    /// The parameters of the query alone.
    #[must_use]
    pub fn query(&self) -> &Form {
        &self.query
    }

    /// The parameters of the form body alone.
    #[must_use]
    pub fn body(&self) -> &Form {
        &self.body
    }

    /// The first value of a name, of the body before the query.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.body.get(name).or_else(|| self.query.get(name))
    }

    /// The values of a name, those of the body first.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.body.all(name).chain(self.query.all(name))
    }

    /// Whether a parameter is true; unreadable ones and missing ones are not.
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        self.get(name).and_then(parse_bool).unwrap_or(false)
    }

    /// A number; `None` when it is missing.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`], naming the parameter, for anything but decimal digits.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        let number = text.parse().ok().filter(|_| digits);
        number.map(Some).ok_or_else(|| {
            Error::new(
                ErrorKind::Invalid,
                format!("bad '{name}' parameter: {text:?} is not a number in range"),
            )
        })
    }
}

/// The truth values the protocol knows; `None` for other text.
#[must_use]
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

fn parse_pair(pair: &[u8]) -> Result<(String, String)> {
    let split = pair.iter().position(|&b| b == b'=');
    let (name, value) = split.map_or((pair, &[][..]), |at| (&pair[..at], &pair[at + 1..]));
    unescape(name).zip(unescape(value)).ok_or_else(|| {
        let shown = String::from_utf8_lossy(&pair[..pair.len().min(100)]);
        Error::new(ErrorKind::Invalid, format!("bad form pair {shown:?}"))
    })
}

fn unescape(text: &[u8]) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(&byte) = rest.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => hex_digit(*rest.next()?)? << 4 | hex_digit(*rest.next()?)?,
            other => other,
        });
    }
    String::from_utf8(out).ok()
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

fn escape(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            _ => write!(out, "%{byte:02X}").expect("a string takes any text"),
        }
    }
}

/// Entry point of the fuzz target: any bytes as a form.
#[cfg(any(test, feature = "testing"))]
pub fn fuzz_form(data: &[u8]) {
    if let Ok(form) = Form::parse(data) {
        let encoded = form.encode();
        let again = Form::parse(encoded.as_bytes()).expect("a written form parses");
        assert_eq!(again.encode(), encoded);
        for (name, _) in &form.0 {
            assert!(
                form.all(name).eq(again.all(name)),
                "values of {name:?} changed"
            );
        }
        // Whatever it holds is either a command or refused; a command comes back.
        let params = Params {
            query: Form::new(),
            body: form,
        };
        if let Ok(exec) = super::parse_exec(&params) {
            let body = super::exec_form(&exec);
            let params = Params {
                query: Form::new(),
                body,
            };
            assert_eq!(
                super::parse_exec(&params).expect("a written command parses"),
                exec
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_are_gos() {
        let form = Form::new().with("path", "a/b c.txt").with("mode", "420");
        assert_eq!(form.encode(), "mode=420&path=a%2Fb+c.txt");
        let odd = Form::new().with("k", "-_.~*!'() +%\u{e9}\n");
        assert_eq!(odd.encode(), "k=-_.~%2A%21%27%28%29+%2B%25%C3%A9%0A");
        assert_eq!(Form::parse(odd.encode().as_bytes()).unwrap(), odd);
    }

    #[test]
    fn names_are_sorted_and_values_keep_their_order() {
        let form = Form::new()
            .with_all("skip", ["pkg", "bin"])
            .with("recursive", "true")
            .with("digest", "true")
            .with("dir", "go");
        assert_eq!(
            form.encode(),
            "digest=true&dir=go&recursive=true&skip=pkg&skip=bin"
        );
    }

    #[test]
    fn odd_pairs_are_read_as_go_reads_them() {
        let form = Form::parse(b"&a&b=&=c&d=e=f&a=%41%62&g=%c3%A9").unwrap();
        let pairs = [
            ("a", ""),
            ("b", ""),
            ("", "c"),
            ("d", "e=f"),
            ("a", "Ab"),
            ("g", "\u{e9}"),
        ];
        assert_eq!(form.0, pairs.map(|(n, v)| (n.to_owned(), v.to_owned())));
        assert_eq!(form.get("a"), Some(""));
        assert_eq!(form.all("a").collect::<Vec<_>>(), ["", "Ab"]);
        assert_eq!(form.get("x"), None);
    }

    #[test]
    fn broken_pairs_are_errors() {
        for text in ["a=%", "a=%4", "a=%zz", "%=a", "a=%ff", "a=\u{fffd}%80"] {
            let error = Form::parse(text.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{text:?}");
        }
    }

    #[test]
    fn the_body_comes_before_the_query() {
        let params = Params::parse("dir=q&skip=1&flag=t", b"dir=b&skip=2").unwrap();
        assert_eq!(params.get("dir"), Some("b"));
        assert_eq!(params.query().get("dir"), Some("q"));
        assert_eq!(params.body().get("flag"), None);
        assert!(params.flag("flag"));
        assert_eq!(params.all("skip").collect::<Vec<_>>(), ["2", "1"]);
    }

    #[test]
    fn truth_is_gos() {
        for text in ["1", "t", "T", "TRUE", "true", "True"] {
            assert_eq!(parse_bool(text), Some(true), "{text}");
        }
        for text in ["0", "f", "F", "FALSE", "false", "False"] {
            assert_eq!(parse_bool(text), Some(false), "{text}");
        }
        for text in ["", "yes", "tRUE", " true", "2"] {
            assert_eq!(parse_bool(text), None, "{text:?}");
            let params = Params::parse("", format!("x={text}").as_bytes()).unwrap();
            assert!(!params.flag("x"));
        }
    }

    #[test]
    fn numbers_are_digits() {
        let params = Params::parse("a=12&b=-1&c=&d=300&e=%2B1", b"").unwrap();
        assert_eq!(params.number::<u64>("a").unwrap(), Some(12));
        assert_eq!(params.number::<u64>("x").unwrap(), None);
        for name in ["b", "c", "e"] {
            assert!(params.number::<i64>(name).is_err(), "{name}");
        }
        assert!(params.number::<u8>("d").is_err(), "out of range");
    }

    proptest! {
        #[test]
        fn forms_come_back(pairs in proptest::collection::vec(("[a-c]{0,2}", "\\PC{0,12}"), 0..8)) {
            let mut sorted = pairs.clone();
            sorted.sort_by(|a, b| a.0.cmp(&b.0));
            let form = pairs.iter().fold(Form::new(), |form, (n, v)| form.with(n, v));
            prop_assert_eq!(Form::parse(form.encode().as_bytes()).unwrap(), Form(sorted));
        }

        #[test]
        fn any_bytes_are_taken_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..120), text in "[a-z%&=+0-9A-F]{0,60}") {
            fuzz_form(&bytes);
            fuzz_form(text.as_bytes());
        }
    }
}
