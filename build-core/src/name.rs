//! Names that git, file systems and test runners give: any bytes, mostly text.
//!
//! Where something is stored, a name that is text (UTF-8) stands there as text, and any other one
//! as `{"b64": "…"}`: nothing is lost, and nothing is taken for something else.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The name of a branch, a file or a test.
///
/// Shown to people ([`fmt::Display`]) it has no control characters and nothing that turns text
/// around: `\x1b` stands for such a byte, and for one that is not UTF-8.
///
/// ```
/// use build_core::name::Name;
///
/// let name = Name::from(b"caf\xe9/\x1b[1m".to_vec());
/// assert_eq!(name.to_string(), r"caf\xe9/\x1b[1m");
/// assert_eq!(name.as_str(), None);
/// assert_eq!(Name::unescape(&name.escaped()), name);
/// assert_eq!(Name::from("plain"), "plain");
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<[u8]>);

impl Name {
    /// The name as it was given.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The name, when it is text.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// Whether it is the empty one.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As text from which [`Name::unescape`] makes the same name: for columns of a database, and
    /// addresses. Text without backslashes and control characters stands there as it is.
    pub fn escaped(&self) -> Cow<'_, str> {
        match self.as_str() {
            Some(text) if !text.contains(|c: char| c == '\\' || is_hidden(c)) => {
                Cow::Borrowed(text)
            }
            _ => Cow::Owned(self.written(true)),
        }
    }

    /// Reads what [`Name::escaped`] writes. A backslash before anything else is one.
    pub fn unescape(text: &str) -> Self {
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text.as_bytes();
        while let Some((&byte, behind)) = rest.split_first() {
            let hex = match behind {
                [b'x', high, low, ..] if byte == b'\\' => digits(*high, *low),
                _ => None,
            };
            let (byte, taken) = match (byte, behind.first(), hex) {
                (_, _, Some(value)) => (value, 3),
                (b'\\', Some(b'\\'), None) => (b'\\', 1),
                _ => (byte, 0),
            };
            bytes.push(byte);
            rest = &behind[taken..];
        }
        Self(bytes.into())
    }

    fn written(&self, doubled: bool) -> String {
        let mut out = String::with_capacity(self.0.len() + 8);
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '\\' if doubled => out.push_str(r"\\"),
                    c if is_hidden(c) => escape(&mut out, c.encode_utf8(&mut [0; 4]).as_bytes()),
                    c => out.push(c),
                }
            }
            escape(&mut out, chunk.invalid());
        }
        out
    }
}

fn escape(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        write!(out, r"\x{byte:02x}").expect("text is written to memory");
    }
}

fn digits(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}

/// Control characters, and those that turn the text after them around.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_str() {
            Some(text) if !text.contains(is_hidden) => f.pad(text),
            _ => f.pad(&self.written(false)),
        }
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl From<Vec<u8>> for Name {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl From<&[u8]> for Name {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

impl From<String> for Name {
    fn from(text: String) -> Self {
        text.into_bytes().into()
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        text.as_bytes().into()
    }
}

impl AsRef<[u8]> for Name {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl std::borrow::Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, text: &str) -> bool {
        *self.0 == *text.as_bytes()
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, text: &&str) -> bool {
        *self == **text
    }
}

impl PartialEq<String> for Name {
    fn eq(&self, text: &String) -> bool {
        *self == **text
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Some(text) = self.as_str() {
            return serializer.serialize_str(text);
        }
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("b64", &STANDARD.encode(&self.0))?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Written)
    }
}

struct Written;

impl<'de> Visitor<'de> for Written {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, or bytes as {\"b64\": \"…\"}")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Name, E> {
        Ok(text.into())
    }

    fn visit_string<E: serde::de::Error>(self, text: String) -> Result<Name, E> {
        Ok(text.into())
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Name, M::Error> {
        let Some((key, value)) = map.next_entry::<Cow<'_, str>, Cow<'_, str>>()? else {
            return Err(M::Error::missing_field("b64"));
        };
        if key != "b64" || map.next_key::<Cow<'_, str>>()?.is_some() {
            return Err(M::Error::custom(
                "bytes of a name are written {\"b64\": \"…\"}",
            ));
        }
        let bytes = STANDARD
            .decode(value.as_bytes())
            .map_err(M::Error::custom)?;
        Ok(bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(name: &Name) -> String {
        serde_json::to_string(name).unwrap()
    }

    #[test]
    fn text_stands_as_text_and_bytes_as_base64() {
        assert_eq!(json(&"a\nb".into()), r#""a\nb""#);
        assert_eq!(json(&Name::from(vec![0xff])), r#"{"b64":"/w=="}"#);
        for bad in [r#"{"b64":"?"}"#, "{}", r#"{"b65":""}"#, "7", "null"] {
            assert!(serde_json::from_str::<Name>(bad).is_err(), "{bad}");
        }
        let twice = r#"{"b64":"/w==","b64":"/w=="}"#;
        assert!(serde_json::from_str::<Name>(twice).is_err());
    }

    #[test]
    fn nothing_that_is_shown_moves_the_cursor_or_turns_text_around() {
        let name = Name::from("a\u{1b}[2Jb\u{202e}c\r\n\u{9b}");
        assert_eq!(name.to_string(), r"a\x1b[2Jb\xe2\x80\xaec\x0d\x0a\xc2\x9b");
        assert_eq!(Name::from(r"C:\x").to_string(), r"C:\x");
        assert_eq!(Name::from(r"C:\x").escaped(), r"C:\\x");
    }

    proptest! {
        #[test]
        fn every_name_comes_back_from_json_and_from_its_escaped_form(
            bytes in proptest::collection::vec(any::<u8>(), 0..40),
            text in "(\\\\|x|[0-9a-f]|\u{1b}|é|a){0,12}",
        ) {
            for name in [Name::from(bytes), Name::from(text)] {
                let read: Name = serde_json::from_str(&json(&name)).unwrap();
                prop_assert_eq!(&read, &name);
                prop_assert_eq!(&Name::unescape(&name.escaped()), &name);
                let shown = name.to_string();
                prop_assert!(!shown.contains(is_hidden));
                prop_assert!(!name.escaped().contains(is_hidden));
            }
        }
    }
}
