//! Issues mentioned in texts: `#12`, `owner/repo#12`.

use std::fmt;

/// An issue named in a text; it need not exist.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IssueRef {
    owner: String,
    repo: String,
    number: i32,
}

impl IssueRef {
    /// The issue `number` of `owner/repo`.
    pub fn new(owner: impl Into<String>, repo: impl Into<String>, number: i32) -> Self {
        Self {
            owner: owner.into(),
            repo: repo.into(),
            number,
        }
    }

    /// Account or organisation, in lower case if it was found in a text.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// Repository name, in lower case if it was found in a text.
    pub fn repo(&self) -> &str {
        &self.repo
    }

    /// Number of the issue.
    pub fn number(&self) -> i32 {
        self.number
    }
}

impl fmt::Display for IssueRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}#{}", self.owner, self.repo, self.number)
    }
}

/// All issues that `text` names, in order, each once. `default` is the repository of plain `#12`.
pub(crate) fn refs_in(text: &str, default: Option<(&str, &str)>) -> Vec<IssueRef> {
    let bytes = text.as_bytes();
    let mut found: Vec<IssueRef> = Vec::new();
    let Some(first) = memchr::memchr(b'#', bytes) else {
        return found;
    };
    // Nothing before the line of the first mark is looked at.
    let mut free = memchr::memrchr(b'\n', &bytes[..first]).map_or(0, |at| at + 1);
    for mark in memchr::memchr_iter(b'#', bytes) {
        let digits = bytes[mark + 1..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let end = mark + 1 + digits;
        if mark < free || digits == 0 || bytes.get(end).is_some_and(|&byte| is_word(byte)) {
            continue;
        }
        let named = repo_before(bytes, free, mark);
        free = end;
        let (owner, repo) = match named {
            Some((owner, repo)) => (&text[owner], &text[repo]),
            None => match default {
                Some(default) => default,
                None => continue,
            },
        };
        let Ok(number) = text[mark + 1..end].parse() else {
            continue;
        };
        let (owner, repo) = (owner.to_ascii_lowercase(), repo.to_ascii_lowercase());
        let found_ref = IssueRef {
            owner,
            repo,
            number,
        };
        if !found.contains(&found_ref) {
            found.push(found_ref);
        }
    }
    found
}

type Range = std::ops::Range<usize>;

/// `owner/repo` that ends at `end` and does not begin before `free`.
fn repo_before(text: &[u8], free: usize, end: usize) -> Option<(Range, Range)> {
    let run = |end: usize| {
        let name = |&&byte: &&u8| is_word(byte) || byte == b'-';
        end - text[free..end].iter().rev().take_while(name).count()
    };
    let repo = run(end);
    let slash = repo
        .checked_sub(1)
        .filter(|&at| at >= free && text[at] == b'/' && repo < end)?;
    let owner = (run(slash)..slash).find(|&at| {
        let before = at
            .checked_sub(1)
            .is_some_and(|before| is_word(text[before]));
        before != is_word(text[at])
    })?;
    Some((owner..slash, repo..end))
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refs(text: &str, default: Option<(&str, &str)>) -> Vec<String> {
        refs_in(text, default)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn the_documented_cases() {
        let go = Some(("golang", "go"));
        let text = "Mention issue #1234 a second time.\n\nFixes #1234.\nUpdates #1235.";
        assert_eq!(refs(text, go), ["golang/go#1234", "golang/go#1235"]);
        assert!(refs("Fixes #1234", None).is_empty());
        assert_eq!(refs("Fixes golang/go#1234.", None), ["golang/go#1234"]);
        assert_eq!(refs("see a/b.c#5", go), ["golang/go#5"]);
        assert!(refs("#12ab", go).is_empty());
        assert!(refs("#99999999999", go).is_empty());
    }

    #[test]
    fn names_begin_at_word_boundaries_and_are_folded() {
        assert_eq!(refs("(GoLang/VSCode-Go#7)", None), ["golang/vscode-go#7"]);
        assert_eq!(
            refs("-x/y#1 a/b/c#2 é/z#3", Some(("d", "e"))),
            ["x/y#1", "b/c#2", "d/e#3"]
        );
        assert_eq!(refs("#1/b#2", Some(("d", "e"))), ["d/e#1", "d/e#2"]);
        assert_eq!(refs("##4 #", Some(("d", "e"))), ["d/e#4"]);
    }
}
