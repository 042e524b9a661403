//! Which refs of a repository are built beside its branches and tags, and how far those are trusted
//! who may write to them.
//!
//! A ref says more of a commit than its author: anybody may write any name into a commit, but only
//! who was let can push to a branch.

use crate::error::{Error, ErrorKind, Result};
use crate::ids::{ChangeRef, RepoName};
use crate::tarutil::Glob;
use crate::work::Trust;

/// Where branches are.
const BRANCHES: &[u8] = b"refs/heads/";
/// Where tags are.
const TAGS: &[u8] = b"refs/tags/";

/// What the owner of a farm says of the refs of some repositories. Patterns of refs are matched
/// against the whole name, such as `refs/pull/17/head`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefRule {
    /// Which repositories: a pattern for their names.
    pub repo: String,
    /// Refs of changes under review, which are built when they come.
    pub changes: Vec<String>,
    /// Refs that anybody may write to, besides those that are neither branches nor tags.
    pub untrusted: Vec<String>,
    /// Refs that only those may write to who may have the project's machines do what they like.
    pub trusted: Vec<String>,
}

impl RefRule {
    /// A rule for the repositories whose names fit `repo`; it says nothing yet.
    pub fn of(repo: impl Into<String>) -> Self {
        Self {
            repo: repo.into(),
            ..Self::default()
        }
    }

    /// Refs of changes that are built when they come.
    #[must_use]
    pub fn changes(mut self, pattern: impl Into<String>) -> Self {
        self.changes.push(pattern.into());
        self
    }

    /// Refs that anybody may write to.
    #[must_use]
    pub fn untrusted(mut self, pattern: impl Into<String>) -> Self {
        self.untrusted.push(pattern.into());
        self
    }

    /// Refs that only trusted people write to.
    #[must_use]
    pub fn trusted(mut self, pattern: impl Into<String>) -> Self {
        self.trusted.push(pattern.into());
        self
    }

    /// Checks that it says what can be meant.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] naming the pattern and what to write.
    pub fn check(&self) -> Result<()> {
        if self.repo.is_empty() {
            return Err(invalid("a rule for refs names no repository".to_owned())
                .with_hint("write the name of one, \"team/*\", or \"**\" for all"));
        }
        for pattern in self.all() {
            check_pattern(pattern)?;
        }
        self.changes
            .iter()
            .try_for_each(|pattern| check_change(pattern))
    }

    fn all(&self) -> impl Iterator<Item = &String> {
        let lists = [&self.changes, &self.untrusted, &self.trusted];
        lists.into_iter().flatten()
    }
}

fn invalid(text: String) -> Error {
    Error::new(ErrorKind::Invalid, text)
}

/// A pattern becomes an argument of git's as well.
fn check_pattern(pattern: &str) -> Result<()> {
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || ":^~\\".contains(c);
    let is_whole = pattern.starts_with("refs/") && pattern.len() > "refs/".len();
    if is_whole && !pattern.contains(is_odd) && !pattern.contains("..") {
        return Ok(());
    }
    let text = format!("{pattern:?} is no pattern for the whole names of refs");
    Err(invalid(text).with_hint("write it like \"refs/pull/*/head\" or \"refs/heads/forks/**\""))
}

/// What fits it is fetched, and is neither a branch nor a tag.
fn check_change(pattern: &str) -> Result<()> {
    for (below, key) in [(BRANCHES, "branches"), (TAGS, "tags")] {
        if may_be_below(pattern, below) {
            let text = format!("changes has {pattern:?}, which fits {key} as well");
            return Err(invalid(text).with_hint(format!(
                "name refs such as \"refs/pull/*/head\" there; {key} are watched by `{key}`"
            )));
        }
    }
    let second = pattern.split('/').nth(1).unwrap_or_default();
    if second.contains(['*', '?', '[']) {
        let text = format!("changes has {pattern:?}, for which all refs would be fetched");
        return Err(
            invalid(text).with_hint("write where they are without a pattern: \"refs/pull/*/head\"")
        );
    }
    Ok(())
}

/// Whether a pattern may fit a ref below a directory.
fn may_be_below(pattern: &str, below: &[u8]) -> bool {
    let below = String::from_utf8_lossy(below);
    let fixed: Vec<&str> = below.split('/').filter(|part| !part.is_empty()).collect();
    for (at, part) in pattern.split('/').enumerate() {
        let Some(fixed) = fixed.get(at) else {
            return true;
        };
        if part == "**" {
            return true;
        }
        if !Glob::new(part).matches(fixed.as_bytes()) {
            return false;
        }
    }
    false
}

/// All rules of a farm. Where several fit a repository, what each says counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RefRules(Vec<RefRule>);

impl RefRules {
    /// These rules.
    ///
    /// # Errors
    /// As [`RefRule::check`].
    pub fn new(rules: Vec<RefRule>) -> Result<Self> {
        rules.iter().try_for_each(RefRule::check)?;
        Ok(Self(rules))
    }

    /// Which repositories they are for: a pattern each.
    pub fn repos(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|rule| rule.repo.as_str())
    }

    /// What they say of one repository.
    pub fn of(&self, repo: &RepoName) -> Refs {
        let fits = |rule: &&RefRule| Glob::new(&rule.repo).matches(repo.as_str().as_bytes());
        let mut refs = Refs::default();
        for rule in self.0.iter().filter(fits) {
            refs.changes.extend(rule.changes.iter().cloned());
            refs.untrusted.extend(rule.untrusted.iter().cloned());
            refs.trusted.extend(rule.trusted.iter().cloned());
        }
        refs
    }
}

/// What is known of the refs of one repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refs {
    changes: Vec<String>,
    untrusted: Vec<String>,
    trusted: Vec<String>,
}

impl Refs {
    /// Patterns of the refs of changes that are built when they come.
    pub fn changes(&self) -> &[String] {
        &self.changes
    }

    /// Whether the ref is that of a change that is built when it comes.
    pub fn is_change(&self, name: &[u8]) -> bool {
        fits(&self.changes, name)
    }

    /// How far those are trusted who may write to a ref, by its whole name. Of two patterns that
    /// contradict each other the stricter one counts; without any, branches and tags are what
    /// nobody said anything of, and everything else comes from outside.
    pub fn trust(&self, name: &[u8]) -> Trust {
        if fits(&self.untrusted, name) {
            return Trust::Untrusted;
        }
        if fits(&self.trusted, name) {
            return Trust::Trusted;
        }
        match name.starts_with(BRANCHES) || name.starts_with(TAGS) {
            true => Trust::Unknown,
            false => Trust::Untrusted,
        }
    }

    /// Patterns, below `refs/heads/` or `refs/tags/`, of refs that anybody may write to; `None`
    /// when that may be all of them.
    pub fn untrusted_below(&self, below: &str) -> Option<Vec<&str>> {
        let mut found = Vec::new();
        for pattern in &self.untrusted {
            match pattern.strip_prefix(below) {
                Some(rest) => found.push(rest),
                None if may_be_below(pattern, below.as_bytes()) => return None,
                None => {}
            }
        }
        Some(found)
    }
}

fn fits(patterns: &[String], name: &[u8]) -> bool {
    patterns
        .iter()
        .any(|pattern| Glob::new(pattern).matches(name))
}

/// What hosts call the change of a ref, and which version of it that is: `refs/pull/17/head` is
/// `#17`, `refs/merge-requests/17/head` is `!17`, `refs/changes/34/1234/2` the second of `1234`.
/// Anything else is called what it is. `None` for what holds no code: Gerrit's notes on a change.
pub fn change_of(name: &str) -> Option<(ChangeRef, Option<u32>)> {
    let parts: Vec<&str> = name.split('/').collect();
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let (called, version) = match parts[..] {
        ["refs", "pull", number, "head"] if is_number(number) => (format!("#{number}"), None),
        ["refs", "merge-requests", number, "head"] if is_number(number) => {
            (format!("!{number}"), None)
        }
        ["refs", "changes", _, number, "meta"] if is_number(number) => return None,
        ["refs", "changes", _, number, version] if is_number(number) && is_number(version) => {
            (number.to_owned(), version.parse().ok())
        }
        _ => (name.to_owned(), None),
    };
    // A name of a ref with control characters is none of a change.
    Some((ChangeRef::new(called).ok()?, version))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refs(rule: RefRule) -> Refs {
        let rules = RefRules::new(vec![rule]).unwrap();
        rules.of(&RepoName::new("acme/app").unwrap())
    }

    #[test]
    fn what_is_neither_branch_nor_tag_comes_from_outside() {
        let refs = Refs::default();
        for (name, trust) in [
            ("refs/heads/main", Trust::Unknown),
            ("refs/tags/v1", Trust::Unknown),
            ("refs/pull/17/head", Trust::Untrusted),
            ("refs/changes/34/1234/2", Trust::Untrusted),
            ("refs/headsmen/main", Trust::Untrusted),
            ("HEAD", Trust::Untrusted),
        ] {
            assert_eq!(refs.trust(name.as_bytes()), trust, "{name}");
        }
    }

    #[test]
    fn the_owner_says_more_and_the_stricter_word_counts() {
        let rule = RefRule::of("acme/*")
            .untrusted("refs/heads/forks/**")
            .trusted("refs/changes/**")
            .trusted("refs/heads/**");
        let refs = refs(rule);
        for (name, trust) in [
            ("refs/heads/main", Trust::Trusted),
            ("refs/heads/forks/ann/fix", Trust::Untrusted),
            ("refs/changes/34/1234/2", Trust::Trusted),
            ("refs/pull/17/head", Trust::Untrusted),
        ] {
            assert_eq!(refs.trust(name.as_bytes()), trust, "{name}");
        }
        let rules = RefRules::new(vec![RefRule::of("acme/*").trusted("refs/pull/**")]).unwrap();
        let other = rules.of(&RepoName::new("other/app").unwrap());
        assert_eq!(other, Refs::default());
    }

    #[test]
    fn what_a_pattern_may_fit_is_known_below_branches_and_tags() {
        let of = |pattern: &str| refs(RefRule::of("**").untrusted(pattern));
        let heads = |pattern: &str| {
            let refs = of(pattern);
            let found = refs.untrusted_below("refs/heads/");
            found.map(|found| found.join(","))
        };
        assert_eq!(heads("refs/heads/forks/*").as_deref(), Some("forks/*"));
        assert_eq!(heads("refs/pull/**").as_deref(), Some(""));
        assert_eq!(heads("refs/**"), None);
        assert_eq!(heads("refs/*/forks"), None);
        assert_eq!(heads("refs/h*/forks"), None);
    }

    #[test]
    fn rules_that_cannot_be_meant_are_refused_with_a_remedy() {
        let rule = || RefRule::of("**");
        for (rule, says) in [
            (RefRule::of(""), "names no repository"),
            (rule().untrusted("pull/*"), "\"pull/*\" is no pattern"),
            (rule().untrusted("refs/"), "\"refs/\" is no pattern"),
            (rule().changes("refs/pull/*:refs/x"), "is no pattern"),
            (rule().changes("refs/a b"), "is no pattern"),
            (rule().changes("refs/heads/*"), "fits branches as well"),
            (rule().changes("refs/**"), "fits branches as well"),
            (rule().changes("refs/t*/v1"), "fits tags as well"),
            (rule().changes("refs/p*/1"), "all refs would be fetched"),
        ] {
            let error = RefRules::new(vec![rule]).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
            assert!(error.hint().is_some(), "{error}");
        }
    }

    #[test]
    fn changes_are_called_what_their_hosts_call_them() {
        let called = |name: &str| change_of(name).map(|(change, n)| (change.to_string(), n));
        for (name, expected) in [
            ("refs/pull/17/head", Some(("#17", None))),
            ("refs/merge-requests/3/head", Some(("!3", None))),
            ("refs/changes/34/1234/2", Some(("1234", Some(2)))),
            ("refs/changes/34/1234/meta", None),
            ("refs/pull/x/head", Some(("refs/pull/x/head", None))),
            ("refs/outside/1", Some(("refs/outside/1", None))),
        ] {
            let expected = expected.map(|(name, n)| (name.to_owned(), n));
            assert_eq!(called(name), expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_rule_lets_a_ref_of_neither_kind_be_unknown(
            pattern in "refs/[a-z*/]{1,12}", name in "refs/[a-z]{1,8}/[a-z0-9/]{1,8}",
        ) {
            let rule = RefRule::of("**").untrusted(pattern);
            if let Ok(rules) = RefRules::new(vec![rule]) {
                let refs = rules.of(&RepoName::new("x").unwrap());
                let is_usual = name.starts_with("refs/heads/") || name.starts_with("refs/tags/");
                prop_assert!(is_usual || refs.trust(name.as_bytes()) == Trust::Untrusted);
            }
        }
    }
}
