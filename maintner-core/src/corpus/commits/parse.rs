//! Reading a commit object.

use crate::GitHash;

/// What the header of a commit object says; `N` is how a name is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CommitParts<N> {
    /// Offset of the message.
    pub(crate) message: u32,
    pub(crate) author: N,
    pub(crate) author_zone: N,
    pub(crate) author_time: i64,
    pub(crate) committer: N,
    pub(crate) committer_zone: N,
    pub(crate) commit_time: i64,
}

impl<N> CommitParts<N> {
    /// The same parts with names kept another way.
    pub(crate) fn map<M>(self, mut name: impl FnMut(N) -> M) -> CommitParts<M> {
        CommitParts {
            message: self.message,
            author: name(self.author),
            author_zone: name(self.author_zone),
            author_time: self.author_time,
            committer: name(self.committer),
            committer_zone: name(self.committer_zone),
            commit_time: self.commit_time,
        }
    }
}

struct Person<'a> {
    name: &'a [u8],
    seconds: i64,
    zone: &'a [u8],
}

/// Reads the header of a commit object; its parents go to `parents`.
///
/// `None`: no empty line, a malformed tree or parent, or no tree, author or committer. Lines of other kinds and continuation lines (signatures) are passed over.
pub(crate) fn parse_commit<'a>(
    raw: &'a [u8],
    parents: &mut Vec<GitHash>,
) -> Option<CommitParts<&'a [u8]>> {
    let (mut tree, mut author, mut committer) = (None, None, None);
    let mut lines = header_lines(raw);
    for line in lines.by_ref() {
        match line.first() {
            Some(b'p') => {
                if let Some(hash) = line.strip_prefix(b"parent ") {
                    parents.push(GitHash::from_hex(hash)?);
                }
            }
            Some(b't') => {
                if let Some(hash) = line.strip_prefix(b"tree ") {
                    tree = Some(GitHash::from_hex(hash)?);
                }
            }
            Some(b'a') => {
                if let Some(text) = line.strip_prefix(b"author ") {
                    author = Some(parse_person(text));
                }
            }
            Some(b'c') => {
                if let Some(text) = line.strip_prefix(b"committer ") {
                    committer = Some(parse_person(text));
                }
            }
            _ => {}
        }
    }
    let message = lines.message()?;
    let (_, author, committer) = (tree?, author?, committer?);
    Some(CommitParts {
        message: u32::try_from(message).ok()?,
        author: author.name,
        author_zone: author.zone,
        author_time: author.seconds,
        committer: committer.name,
        committer_zone: committer.zone,
        commit_time: committer.seconds,
    })
}

/// The lines of a commit object up to the first empty one.
struct HeaderLines<'a> {
    raw: &'a [u8],
    next: usize,
    done: bool,
}

fn header_lines(raw: &[u8]) -> HeaderLines<'_> {
    HeaderLines {
        raw,
        next: 0,
        done: false,
    }
}

impl HeaderLines<'_> {
    /// Where the message starts; only after all lines were taken.
    fn message(&self) -> Option<usize> {
        self.done.then_some(self.next)
    }
}

impl<'a> Iterator for HeaderLines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.done {
            return None;
        }
        let rest = self.raw.get(self.next..)?;
        // Lines of hashes have one length: a line end inside makes them no hashes.
        let len = match rest.first() {
            Some(b't') if rest.get(45) == Some(&b'\n') && rest.starts_with(b"tree ") => 45,
            Some(b'p') if rest.get(47) == Some(&b'\n') && rest.starts_with(b"parent ") => 47,
            _ => memchr::memchr(b'\n', rest)?,
        };
        let end = self.next + len;
        let line = &self.raw[self.next..end];
        // An empty line ends the header; one at the very beginning ends nothing.
        self.done = line.is_empty() && self.next > 0;
        self.next = end + 1;
        (!self.done).then_some(line)
    }
}

/// The value of the first header line with this key, such as `tree`.
pub(crate) fn header_value<'a>(raw: &'a [u8], key: &str) -> Option<&'a [u8]> {
    header_lines(raw).find_map(|line| line.strip_prefix(key.as_bytes())?.strip_prefix(b" "))
}

/// `Name <email> seconds zone`. A date that cannot be read is the year 1970 without a zone, as
/// git shows it: the commit is no less there.
fn parse_person(text: &[u8]) -> Person<'_> {
    if let Some(person) = usual_person(text).or_else(|| dated_person(text)) {
        return person;
    }
    let end = memchr::memrchr(b'>', text).map_or(text.len(), |at| at + 1);
    Person {
        name: text[..end].trim_ascii(),
        seconds: 0,
        zone: &text[..0],
    }
}

fn dated_person(text: &[u8]) -> Option<Person<'_>> {
    let text = text.trim_ascii();
    let (rest, zone) = split_last_word(text)?;
    let (name, seconds) = split_last_word(rest)?;
    zone_offset(zone)?;
    Some(Person {
        name: name.trim_ascii(),
        seconds: parse_seconds(seconds)?,
        zone,
    })
}

/// A person at a time of ten digits, as nearly all are; others are for [`dated_person`] to judge.
fn usual_person(text: &[u8]) -> Option<Person<'_>> {
    let (name, tail) = text.split_last_chunk::<17>()?;
    let (seconds, zone) = (&tail[1..11], &tail[12..]);
    if tail[0] != b' ' || tail[11] != b' ' || !seconds.iter().all(u8::is_ascii_digit) {
        return None;
    }
    zone_offset(zone)?;
    Some(Person {
        name: name.trim_ascii(),
        seconds: parse_seconds(seconds)?,
        zone,
    })
}

/// Nearly all times are a few digits.
fn parse_seconds(text: &[u8]) -> Option<i64> {
    if text.len() > 18 || !text.iter().all(u8::is_ascii_digit) {
        return std::str::from_utf8(text).ok()?.parse().ok();
    }
    let digits = text.iter().map(|digit| i64::from(digit - b'0'));
    (!text.is_empty()).then(|| digits.fold(0, |value, digit| value * 10 + digit))
}

fn split_last_word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.trim_ascii_end();
    let blank = memchr::memrchr(b' ', text)?;
    Some((&text[..blank], &text[blank + 1..]))
}

/// Seconds east of Greenwich of `±hhmm`.
pub(crate) fn zone_offset(zone: &[u8]) -> Option<i32> {
    let [sign, h1, h2, m1, m2, ..] = *zone else {
        return None;
    };
    let digits = [h1, h2, m1, m2].map(|digit| i32::from(digit) - i32::from(b'0'));
    if !digits.iter().all(|digit| (0..=9).contains(digit)) {
        return None;
    }
    let seconds = (digits[0] * 10 + digits[1]) * 3600 + (digits[2] * 10 + digits[3]) * 60;
    match sign {
        b'+' => Some(seconds),
        b'-' => Some(-seconds),
        _ => None,
    }
}

/// Feeds arbitrary bytes to the reader of commit objects.
pub fn fuzz_commit(data: &[u8]) {
    let mut parents = Vec::new();
    if let Some(parts) = parse_commit(data, &mut parents) {
        assert!(parts.message as usize <= data.len());
        assert!(parents.len() * 40 <= data.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAW: &[u8] = b"tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n\
        parent 0123456789abcdef0123456789abcdef01234567\n\
        parent 1123456789abcdef0123456789abcdef01234567\n\
        author  Foo Bar <foo@bar.com> 1257894000 -0800\n\
        committer C <c@d> 1257894001 +0530\n\
        gpgsig -----BEGIN\n author nobody\n\nsubject\n\nbody\n";

    #[test]
    fn a_commit_with_everything() {
        let mut parents = Vec::new();
        let parts = parse_commit(RAW, &mut parents).unwrap();
        assert_eq!(parents.len(), 2);
        assert_eq!(parts.author, b"Foo Bar <foo@bar.com>");
        assert_eq!(
            (parts.author_time, parts.author_zone),
            (1_257_894_000, &b"-0800"[..])
        );
        assert_eq!(
            (parts.committer, parts.commit_time),
            (&b"C <c@d>"[..], 1_257_894_001)
        );
        assert_eq!(&RAW[parts.message as usize..], b"subject\n\nbody\n");
        let tree = header_value(RAW, "tree").unwrap();
        assert_eq!(tree, b"4b825dc642cb6eb9a060e54bf8d69288fbee4904");
    }

    #[test]
    fn seconds() {
        let parsed = |text: &str| parse_seconds(text.as_bytes());
        assert_eq!(parsed("1257894000"), Some(1_257_894_000));
        assert_eq!(parsed("-5"), Some(-5));
        assert_eq!(parsed("9223372036854775807"), Some(i64::MAX));
        assert_eq!(parsed("9223372036854775808"), None);
        assert_eq!((parsed(""), parsed("1x")), (None, None));
    }

    #[test]
    fn zones() {
        assert_eq!(zone_offset(b"-0800"), Some(-28_800));
        assert_eq!(zone_offset(b"+0530"), Some(19_800));
        assert_eq!(zone_offset(b"+530"), None, "too short");
        assert_eq!(zone_offset(b"UTC+0"), None);
    }

    #[test]
    fn unreadable_dates_are_the_year_1970() {
        let good = std::str::from_utf8(RAW).unwrap();
        for (from, to) in [
            ("1257894000 -0800", "soon -0800"),
            ("-0800", "-080"),
            (" 1257894000 -0800", ""),
            (" 1257894000 -0800", " 99999999999999999999 +0000"),
        ] {
            let odd = good.replace(from, to);
            let parts = parse_commit(odd.as_bytes(), &mut Vec::new()).unwrap();
            assert_eq!(parts.author, b"Foo Bar <foo@bar.com>", "{to}");
            assert_eq!(
                (parts.author_time, parts.author_zone),
                (0, &b""[..]),
                "{to}"
            );
            assert_eq!(parts.commit_time, 1_257_894_001);
        }
    }

    #[test]
    fn unreadable_commits_are_refused() {
        let good = std::str::from_utf8(RAW).unwrap();
        for (from, to) in [
            ("tree 4b", "tree zz"),
            ("tree ", "trio "),
            ("parent 0", "parent z"),
            ("committer C", "committed C"),
            ("\n\n", "\n"),
        ] {
            let bad = good.replace(from, to);
            assert_ne!(bad, good);
            assert_eq!(parse_commit(bad.as_bytes(), &mut Vec::new()), None, "{to}");
        }
    }
}
