//! File names as git prints them.

/// The name as it is, or in double quotes with escapes as in C if it has bytes that need them:
/// control characters, quotes, backslashes, and everything beyond ASCII.
pub(super) fn quoted(name: &[u8]) -> String {
    let plain = |byte: u8| (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\';
    if let (true, Ok(name)) = (name.iter().copied().all(plain), std::str::from_utf8(name)) {
        return name.to_owned();
    }
    let mut text = String::with_capacity(name.len() + 8);
    text.push('"');
    for &byte in name {
        match byte {
            _ if plain(byte) => text.push(char::from(byte)),
            b'"' | b'\\' => text.extend(['\\', char::from(byte)]),
            0x07 => text.push_str("\\a"),
            0x08 => text.push_str("\\b"),
            b'\t' => text.push_str("\\t"),
            b'\n' => text.push_str("\\n"),
            0x0b => text.push_str("\\v"),
            0x0c => text.push_str("\\f"),
            b'\r' => text.push_str("\\r"),
            _ => text.push_str(&format!("\\{byte:03o}")),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn names() {
        assert_eq!(quoted(b"src/a b.go"), "src/a b.go");
        assert_eq!(quoted("bin é".as_bytes()), r#""bin \303\251""#);
        assert_eq!(quoted(b"a\"\\\t\x01\x7f"), r#""a\"\\\t\001\177""#);
    }
}
