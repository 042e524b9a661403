//! Lines of a text, one after the other, without copies.

/// Calls `f` with each line, without its line feed, until it fails. The last line may lack the
/// line feed; what follows the last one is no line when it is empty. A carriage return is part of
/// its line.
///
/// ```
/// let mut lines = Vec::new();
/// build_core::foreach::line(b"a\n\nb", |line| {
///     lines.push(line.to_vec());
///     Ok::<(), ()>(())
/// })?;
/// assert_eq!(lines, [&b"a"[..], b"", b"b"]);
/// # Ok::<(), ()>(())
/// ```
///
/// # Errors
/// The first error of `f`.
pub fn line<'t, E>(text: &'t [u8], mut f: impl FnMut(&'t [u8]) -> Result<(), E>) -> Result<(), E> {
    let mut begin = 0;
    for end in memchr::memchr_iter(b'\n', text) {
        f(&text[begin..end])?;
        begin = end + 1;
    }
    match &text[begin..] {
        [] => Ok(()),
        last => f(last),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<&str> {
        let mut lines = Vec::new();
        let all = line(text.as_bytes(), |line| {
            lines.push(std::str::from_utf8(line).unwrap());
            Ok::<(), ()>(())
        });
        assert_eq!(all, Ok(()));
        lines
    }

    #[test]
    fn lines_are_given_without_their_ends() {
        assert_eq!(lines("a\n\n\nb"), ["a", "", "", "b"]);
        assert_eq!(lines("a\r\nb\n"), ["a\r", "b"]);
        assert_eq!(lines("\n"), [""]);
        assert!(lines("").is_empty());
    }

    #[test]
    fn the_first_error_ends_it() {
        let mut seen = 0;
        let failed = line(b"1\n2\n3\n", |line| {
            seen += 1;
            if line == b"2" { Err("two") } else { Ok(()) }
        });
        assert_eq!((failed, seen), (Err("two"), 2));
    }
}
