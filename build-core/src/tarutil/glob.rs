//! Path patterns: `*` and `?` within a component, `[a-z]` and `[!a-z]`, `**` for any number of components,
//! `\xE9` for a byte.

/// A pattern for `/`-separated relative paths, matched against the whole path: `*.log` matches at the
/// top only, `**/*.log` anywhere, `out/**` everything below `out`. Patterns stand in files that are text:
/// bytes of a name that is not, such as `caf\xe9`, are told by two hexadecimal digits each, in sets too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    components: Vec<Vec<u8>>,
}

impl Glob {
    /// Reads a pattern; every text is one. `./` in front and `/` at the end mean nothing.
    pub fn new(pattern: &str) -> Self {
        let components = pattern.as_bytes().split(|&b| b == b'/');
        let components = components.filter(|part| !part.is_empty() && *part != b".");
        Self {
            components: components.map(<[u8]>::to_vec).collect(),
        }
    }

    /// Whether the whole `path` matches.
    pub fn matches(&self, path: &[u8]) -> bool {
        let path: Vec<&[u8]> = path
            .split(|&b| b == b'/')
            .filter(|part| !part.is_empty())
            .collect();
        let pattern: Vec<&[u8]> = self.components.iter().map(Vec::as_slice).collect();
        wild(
            &pattern,
            &path,
            |part| *part == b"**".as_slice(),
            |pattern, part| component(pattern, part),
        )
    }
}

fn component(pattern: &[u8], text: &[u8]) -> bool {
    let tokens = tokens(pattern);
    wild(
        &tokens,
        text,
        |token| *token == Token::Star,
        |token, byte| token.matches(*byte),
    )
}

/// Matches with stars that take any number of items. On a mismatch only the last star is tried
/// again, so the cost is the product of both lengths at most, never exponential.
fn wild<P, T>(
    pattern: &[P],
    text: &[T],
    star: impl Fn(&P) -> bool,
    one: impl Fn(&P, &T) -> bool,
) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(item) if star(item) => {
                retry = Some((p + 1, t));
                p += 1;
            }
            Some(item) if one(item, &text[t]) => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((after, from)) = retry else {
                    return false;
                };
                retry = Some((after, from + 1));
                (p, t) = (after, from + 1);
            }
        }
    }
    pattern[p..].iter().all(star)
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Star,
    Any,
    Byte(u8),
    /// Ranges of bytes, and whether a byte must be outside of them.
    Set(Vec<(u8, u8)>, bool),
}

impl Token {
    fn matches(&self, byte: u8) -> bool {
        match self {
            Self::Star => false,
            Self::Any => true,
            Self::Byte(wanted) => *wanted == byte,
            Self::Set(ranges, inverted) => {
                ranges
                    .iter()
                    .any(|(low, high)| (*low..=*high).contains(&byte))
                    != *inverted
            }
        }
    }
}

fn tokens(pattern: &[u8]) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = pattern;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if let Some((byte, after)) = told(after).filter(|_| first == b'\\') {
            tokens.push(Token::Byte(byte));
            rest = after;
            continue;
        }
        tokens.push(match first {
            b'*' => Token::Star,
            b'?' => Token::Any,
            b'[' => match set(after) {
                Some((token, after)) => {
                    rest = after;
                    token
                }
                None => Token::Byte(b'['),
            },
            byte => Token::Byte(byte),
        });
    }
    tokens
}

/// The byte that `xE9` behind a backslash tells, and what follows it.
fn told(text: &[u8]) -> Option<(u8, &[u8])> {
    let [b'x', high, low, rest @ ..] = text else {
        return None;
    };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = digit(*high)? << 4 | digit(*low)?;
    Some((u8::try_from(byte).ok()?, rest))
}

/// The first byte of the members of a set, whether it is told by its digits or not.
fn member(text: &[u8]) -> Option<(u8, &[u8])> {
    let (&first, after) = text.split_first()?;
    match told(after).filter(|_| first == b'\\') {
        Some(told) => Some(told),
        None => Some((first, after)),
    }
}

/// What follows a `[`, up to its `]`; `None` when it is not closed.
fn set(text: &[u8]) -> Option<(Token, &[u8])> {
    let inverted = matches!(text.first(), Some(b'!' | b'^'));
    let body = &text[usize::from(inverted)..];
    // A closing bracket in the first place is meant itself.
    let end = 1 + body.iter().skip(1).position(|&b| b == b']')?;
    let mut ranges = Vec::new();
    let mut members = &body[..end];
    while let Some((low, after)) = member(members) {
        let high = after.strip_prefix(b"-").and_then(member);
        let (high, after) = high.unwrap_or((low, after));
        ranges.push((low, high));
        members = after;
    }
    Some((Token::Set(ranges, inverted), &body[end + 1..]))
}

/// Entry point of the fuzz target: a pattern and a path, with a zero byte between them.
#[cfg(any(test, feature = "testing"))]
pub fn fuzz_glob(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let (Some(pattern), Some(path)) = (parts.next(), parts.next()) else {
        return;
    };
    let Ok(pattern) = std::str::from_utf8(pattern) else {
        return;
    };
    let matches = Glob::new(pattern).matches(path);
    assert!(Glob::new("**").matches(path), "any path matches **");
    let below = [pattern, "/**"].concat();
    let inside = [path, b"/inside"].concat();
    assert!(
        !matches || Glob::new(&below).matches(&inside),
        "a match does not hold below"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let table = [
            ("out/**", "out/a", true),
            ("out/**", "out/a/b.o", true),
            ("out/**", "output", false),
            ("*.log", "a.log", true),
            ("*.log", "d/a.log", false),
            ("**/*.log", "a.log", true),
            ("**/*.log", "d/e/a.log", true),
            ("a/**/b", "a/b", true),
            ("a/**/b", "a/x/y/b", true),
            ("a/**/b", "a/x/y/c", false),
            ("[a-c]?", "bz", true),
            ("[!a-c]?", "bz", false),
            ("[]x]", "]", true),
            ("[ab", "[ab", true),
            ("./src/", "src", true),
            ("a*b*c", "aXbYbZc", true),
            ("", "", true),
            ("", "a", false),
        ];
        for (pattern, path, expected) in table {
            assert_eq!(
                Glob::new(pattern).matches(path.as_bytes()),
                expected,
                "{pattern} on {path}"
            );
        }
        // Bytes that are no text are told by their digits.
        for (pattern, path, expected) in [
            (r"out/caf\xe9", &b"out/caf\xe9"[..], true),
            (r"out/caf\xE9", b"out/caf\xe8", false),
            (r"caf[\xe0-\xff]", b"caf\xe9", true),
            (r"caf[!\xe9]", b"caf\xe9", false),
            (r"a\x2a", b"a*", true),
            (r"a\x2a", b"ab", false),
            (r"a\xzz\x", br"a\xzz\x", true),
            ("caf?", b"caf\xe9", true),
        ] {
            assert_eq!(Glob::new(pattern).matches(path), expected, "{pattern}");
        }
    }

    #[test]
    fn many_stars_stay_cheap() {
        let pattern = "*a".repeat(200);
        assert!(!Glob::new(&pattern).matches("b".repeat(20_000).as_bytes()));
    }

    proptest::proptest! {
        #[test]
        fn any_pattern_and_path_agree(text in "[ab*?/\\[\\]!-]{0,12}\0[ab/]{0,12}") {
            fuzz_glob(text.as_bytes());
        }
    }
}
