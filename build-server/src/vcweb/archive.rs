//! Archives of text files: a comment, then files, each after a line `-- NAME --`.

/// A file of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File<'a> {
    pub(super) name: &'a str,
    pub(super) data: &'a [u8],
}

/// The comment before the first file, and the files.
pub(super) fn parse(text: &[u8]) -> (&[u8], Vec<File<'_>>) {
    let (comment, mut next) = until_marker(text);
    let mut files = Vec::new();
    while let Some((name, rest)) = next {
        let (data, after) = until_marker(rest);
        files.push(File { name, data });
        next = after;
    }
    (comment, files)
}

/// What is before the next marker; its name, and what is after it.
fn until_marker(text: &[u8]) -> (&[u8], Option<(&str, &[u8])>) {
    let mut at = 0;
    while at < text.len() {
        let end = text[at..].iter().position(|b| *b == b'\n');
        let end = end.map_or(text.len(), |n| at + n + 1);
        if let Some(name) = marker(&text[at..end]) {
            return (&text[..at], Some((name, &text[end..])));
        }
        at = end;
    }
    (text, None)
}

fn marker(line: &[u8]) -> Option<&str> {
    let line = std::str::from_utf8(line)
        .ok()?
        .trim_end_matches(['\r', '\n']);
    let name = line.strip_prefix("-- ")?.strip_suffix(" --")?.trim();
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_and_files_are_told_apart() {
        let (comment, files) = parse(b"git init\n-- a/b --\none\n-- c --\n-- not one\n--  --\nx");
        assert_eq!(comment, b"git init\n");
        let names: Vec<_> = files.iter().map(|f| (f.name, f.data)).collect();
        assert_eq!(
            names,
            [("a/b", &b"one\n"[..]), ("c", &b"-- not one\n--  --\nx"[..])]
        );
        assert_eq!(parse(b"").1, []);
    }
}
