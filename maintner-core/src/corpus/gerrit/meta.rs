//! What a Gerrit meta commit says: its message is a text, then footers.

use std::ops::Range;

use memchr::memmem;

/// State of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// Under review.
    New,
    /// Submitted.
    Merged,
    /// Given up.
    Abandoned,
    /// Not yet public (old servers).
    Draft,
}

impl Status {
    /// Gerrit's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Merged => "merged",
            Self::Abandoned => "abandoned",
            Self::Draft => "draft",
        }
    }

    pub(super) fn from_number(number: u32) -> Self {
        match number {
            1 => Self::Merged,
            2 => Self::Abandoned,
            3 => Self::Draft,
            _ => Self::New,
        }
    }

    fn at_start(text: &[u8]) -> Option<Self> {
        [Self::Merged, Self::Abandoned, Self::Draft, Self::New]
            .into_iter()
            .find(|status| text.starts_with(status.as_str().as_bytes()))
    }
}

/// What one meta commit changes about its change.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct MetaFacts<'a> {
    pub(crate) status: Option<Status>,
    pub(crate) private: Option<bool>,
    pub(crate) wip: Option<bool>,
    pub(crate) branch: Option<&'a [u8]>,
    /// A vote was given or taken back.
    pub(crate) has_label: bool,
    /// Patch set and place of a review message.
    pub(crate) message: Option<(i32, Range<usize>)>,
}

impl<'a> MetaFacts<'a> {
    /// Reads the message of a meta commit, in one pass over its lines.
    pub(crate) fn parse(message: &'a [u8]) -> Self {
        let mut facts = Self::default();
        let mut status_seen = false;
        let mut in_footer = false;
        let mut phrase = None;
        let mut patch_set_line = None;
        let mut start = 0;
        while start <= message.len() {
            let end =
                memchr::memchr(b'\n', &message[start..]).map_or(message.len(), |at| start + at);
            let line = &message[start..end];
            let first = start == 0;
            match line.first() {
                // Footers come after the last empty line: what looked like some was text.
                None if !first && end < message.len() => {
                    (facts.private, facts.wip, in_footer) = (None, None, true);
                }
                Some(b'S') if !first && !status_seen && line.starts_with(b"Status: ") => {
                    status_seen = true;
                    facts.status = Status::at_start(&line[b"Status: ".len()..]);
                }
                Some(b'L') if !first => facts.has_label |= line.starts_with(b"Label: "),
                Some(b'B') if facts.branch.is_none() => facts.branch = branch(line),
                Some(b'P') if in_footer && line.starts_with(b"Private:") => {
                    facts.private = flag(&line[b"Private:".len()..]).or(facts.private);
                }
                Some(b'W') if in_footer && line.starts_with(b"Work-in-progress:") => {
                    facts.wip = flag(&line[b"Work-in-progress:".len()..]).or(facts.wip);
                }
                Some(b'P' | b'U') if !first && phrase.is_none() && is_phrase(line) => {
                    phrase = Some(start);
                }
                _ => {}
            }
            // The line that ends a review message; it must be a whole line.
            if patch_set_line.is_none() && line.starts_with(b"Patch-set:") {
                patch_set_line = Some((start, end < message.len()));
            }
            start = end + 1;
        }
        facts.message = review_message(message, phrase, patch_set_line);
        facts
    }
}

const PHRASES: [&[u8]; 2] = [b"Patch Set ", b"Uploaded patch set "];

fn is_phrase(line: &[u8]) -> bool {
    PHRASES.iter().any(|phrase| line.starts_with(phrase))
}

fn branch(line: &[u8]) -> Option<&[u8]> {
    let value = line.strip_prefix(b"Branch:")?.trim_ascii();
    Some(value.strip_prefix(b"refs/heads/").unwrap_or(value))
}

fn flag(value: &[u8]) -> Option<bool> {
    match value.trim_ascii() {
        b"true" => Some(true),
        b"false" => Some(false),
        _ => None,
    }
}

fn review_message(
    message: &[u8],
    phrase: Option<usize>,
    patch_set_line: Option<(usize, bool)>,
) -> Option<(i32, Range<usize>)> {
    let start = phrase?;
    let (end, true) = patch_set_line? else {
        return None;
    };
    let end = end.checked_sub(2).filter(|&end| end >= start)?;
    let text = &message[start..];
    let phrase = PHRASES.iter().find(|phrase| text.starts_with(phrase))?;
    let number = &text[phrase.len()..];
    // A colon beyond the line would take the line end into the number, which is none then.
    let number = &number[..memchr::memchr(b':', number)?];
    let version = std::str::from_utf8(number).ok()?.parse().ok()?;
    Some((version, start..end))
}

/// Where the footers begin: after the last empty line.
fn footer_start(message: &[u8]) -> usize {
    memmem::rfind(message, b"\n\n").map_or(message.len(), |at| at + 2)
}

/// The footers of a meta commit's message.
pub(crate) fn footer(message: &str) -> &str {
    &message[footer_start(message.as_bytes())..]
}

/// Value of the first line that starts with `prefix`, trimmed, and the text after that line.
/// A line may also begin after a carriage return.
pub(crate) fn line_value<'a>(text: &'a str, prefix: &str) -> Option<(&'a str, &'a str)> {
    let at = memmem::find_iter(text.as_bytes(), prefix).find(|&at| {
        at.checked_sub(1)
            .is_none_or(|before| matches!(text.as_bytes()[before], b'\n' | b'\r'))
    })?;
    let rest = &text[at + prefix.len()..];
    let (value, rest) = rest.split_once('\n').unwrap_or((rest, ""));
    Some((value.trim(), rest))
}

/// All values of lines that start with `prefix`.
pub(crate) fn line_values<'a>(text: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (value, after) = line_value(rest, prefix)?;
        rest = after;
        Some(value)
    })
}

/// One vote line, without its `Label: `: the label, the value (none takes the vote back), and
/// the account that it is given for.
pub(crate) fn parse_vote(text: &str) -> (&str, Option<i8>, &str) {
    let (vote, person) = text.split_once(' ').unwrap_or((text, ""));
    let who = email_of(person);
    if let Some(label) = vote.strip_prefix('-') {
        return (label, None, who);
    }
    let (label, value) = vote.split_once('=').unwrap_or((vote, ""));
    (label, Some(value.parse().unwrap_or(0)), who)
}

/// What stands between the first `<` and the first `>` after it.
pub(crate) fn email_of(person: &str) -> &str {
    let Some((_, rest)) = person.split_once('<') else {
        return "";
    };
    rest.split_once('>').map_or("", |(email, _)| email)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Option<(i32, &str)> {
        let facts = MetaFacts::parse(text.as_bytes());
        facts
            .message
            .map(|(version, range)| (version, &text[range]))
    }

    #[test]
    fn messages() {
        let text = "Update patch set 1\n\nPatch Set 1: Code-Review+2\n\nHello\n\nPatch-set: 1\nLabel: Code-Review=+2\n";
        assert_eq!(
            message(text),
            Some((1, "Patch Set 1: Code-Review+2\n\nHello"))
        );
        let text = "Create change\n\nUploaded patch set 1: Run-TryBot+1.\n\nPatch-set: 1\nLabel: Run-TryBot=+1\n";
        assert_eq!(
            message(text),
            Some((1, "Uploaded patch set 1: Run-TryBot+1."))
        );
        for none in [
            "Create change\n\nUploaded patch set 1.\n\nPatch-set: 1\n",
            "x\n\nUploaded patch set 7.: Commit message was updated\n\nPatch-set: 7\n",
            "Uploaded patch set 1.\n\nPatch-set: 1\n",
            "Uploaded patch set 1: x\n\nPatch-set: 1\n",
            "x\n\nPatch Set 1: y\n\nPatch-set: 1",
            "",
        ] {
            assert_eq!(message(none), None, "{none:?}");
        }
    }

    #[test]
    fn facts_of_a_meta_commit() {
        let text = "Create change\n\nUploaded patch set 1.\n\nPatch-set: 1\nChange-id: I1\n\
            Branch: refs/heads/dev.go\nStatus: new\nPrivate: true\nWork-in-progress: false\nLabel: A=+1\n";
        let facts = MetaFacts::parse(text.as_bytes());
        let wanted = MetaFacts {
            status: Some(Status::New),
            private: Some(true),
            wip: Some(false),
            branch: Some(b"dev.go"),
            has_label: true,
            message: None,
        };
        assert_eq!(facts, wanted);
    }

    #[test]
    fn only_the_first_status_line_counts() {
        let status = |text: &str| MetaFacts::parse(text.as_bytes()).status;
        assert_eq!(
            status("x\n\nStatus: merged\nStatus: new\n"),
            Some(Status::Merged)
        );
        assert_eq!(status("x\n\nStatus: lost\nStatus: new\n"), None);
        assert_eq!(status("Status: merged\n"), None, "not after a line end");
    }

    #[test]
    fn line_values_in_texts() {
        assert_eq!(line_value("foo:  value ", "foo:"), Some(("value", "")));
        assert_eq!(
            line_value("notfoo: other\nfoo:  value\n", "foo:"),
            Some(("value", ""))
        );
        let text = "Foo: bar\nLabel: Vote=+1\nLabel: Vote=+2\n";
        assert_eq!(
            line_value(text, "Label: "),
            Some(("Vote=+1", "Label: Vote=+2\n"))
        );
        assert!(line_values(text, "Label: ").eq(["Vote=+1", "Vote=+2"]));
        assert_eq!(line_value("bar:\n", "foo:"), None);
    }

    #[test]
    fn votes() {
        assert_eq!(parse_vote("Run-TryBot=+1"), ("Run-TryBot", Some(1), ""));
        assert_eq!(parse_vote("-Run-TryBot"), ("Run-TryBot", None, ""));
        let removed = parse_vote("-TryBot-Result Gobot Gobot <5976@62eb>");
        assert_eq!(removed, ("TryBot-Result", None, "5976@62eb"));
        let given = parse_vote("TryBot-Result=-1 Gobot Gobot <5976@62eb>");
        assert_eq!(given, ("TryBot-Result", Some(-1), "5976@62eb"));
        assert_eq!(parse_vote("X=many"), ("X", Some(0), ""));
    }
}
