//! `when` of a `[[step]]` or a `[[matrix]]` of `.farmer.toml`: read and checked.

use serde::Deserialize;

use super::farmer_toml::invalid;
use super::nearest::name_hint;
use crate::error::Result;
use crate::plan::When;
use crate::work::Trust;

/// A condition, or several of which one is enough.
#[derive(Clone, Deserialize)]
#[serde(
    untagged,
    expecting = "a condition such as { branch = \"main\" }, or a list of them"
)]
pub(super) enum RawWhen {
    One(RawCondition),
    Any(Vec<RawCondition>),
}

#[derive(Clone, Deserialize)]
pub(super) struct RawCondition {
    branch: Option<Texts>,
    tag: Option<Texts>,
    paths: Option<Texts>,
    trust: Option<Texts>,
}

#[derive(Clone, Deserialize)]
#[serde(untagged, expecting = "a text, or a list of texts")]
enum Texts {
    One(String),
    Many(Vec<String>),
}

impl RawWhen {
    /// The ways in which it holds; `place` names whose it is.
    pub(super) fn read(&self, place: &str) -> Result<Vec<When>> {
        let all = match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Any(all) => all,
        };
        if all.is_empty() {
            let text = format!("{place}: `when` lists no condition, so it never holds");
            return Err(
                invalid(text).with_hint("take it out, or write when = { branch = \"main\" }")
            );
        }
        all.iter().map(|condition| condition.read(place)).collect()
    }
}

impl RawCondition {
    fn read(&self, place: &str) -> Result<When> {
        let globs = |texts: &Option<Texts>, key: &str| {
            let texts = list(texts.as_ref());
            if texts.as_ref().is_some_and(|texts| {
                texts.is_empty() || texts.iter().any(|t| t.trim_start_matches('!').is_empty())
            }) {
                let text = format!("{place}: `when` names nothing for `{key}`");
                return Err(
                    invalid(text).with_hint(format!("write {key} = \"PATTERN\", or take it out"))
                );
            }
            Ok(texts.unwrap_or_default())
        };
        let when = When {
            branch: globs(&self.branch, "branch")?,
            tag: globs(&self.tag, "tag")?,
            paths: globs(&self.paths, "paths")?,
            trust: (globs(&self.trust, "trust")?.iter())
                .map(|word| trust(place, word))
                .collect::<Result<_>>()?,
        };
        if when == When::default() {
            let text = format!("{place}: a condition of `when` says nothing");
            return Err(invalid(text).with_hint("give it `branch`, `tag`, `paths` or `trust`"));
        }
        Ok(when)
    }
}

fn list(texts: Option<&Texts>) -> Option<Vec<String>> {
    texts.map(|texts| match texts {
        Texts::One(text) => vec![text.clone()],
        Texts::Many(texts) => texts.clone(),
    })
}

fn trust(place: &str, word: &str) -> Result<Trust> {
    let mut known = Trust::ALL.into_iter();
    known.find(|trust| trust.word() == word).ok_or_else(|| {
        let words = Trust::ALL.map(Trust::word);
        let text = format!("{place}: {word:?} is no trust that a commit can have");
        invalid(text).with_hint(name_hint(word, words.iter().copied()))
    })
}
