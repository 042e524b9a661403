//! What is searched for among results: terms that all must hold.
//!
//! `commit:1a2b3c goos:linux date>2020 "key:with blanks"`. Values compare as text.

use std::borrow::Cow;

use crate::{Error, ErrorKind, Result};

/// How a term compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// `:`
    Equal,
    /// `<`
    Less,
    /// `>`
    Greater,
}

/// One term of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// The label.
    pub key: String,
    /// How it compares.
    pub op: Op,
    /// With what.
    pub value: String,
}

/// Terms that all must hold; none holds for everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    terms: Vec<Term>,
}

impl Query {
    /// Reads a query.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`], with the part that cannot be read.
    pub fn parse(text: &str) -> Result<Self> {
        let terms = split(text)
            .iter()
            .map(|word| term(word))
            .collect::<Result<_>>()?;
        Ok(Self { terms })
    }

    /// Its terms.
    pub fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// Whether it holds for something whose labels `label` tells.
    pub fn holds<'a>(&self, label: impl Fn(&str) -> Option<Cow<'a, str>>) -> bool {
        self.terms.iter().all(|term| {
            let Some(value) = label(&term.key) else {
                return false;
            };
            match term.op {
                Op::Equal => value == term.value,
                Op::Less => *value < *term.value,
                Op::Greater => *value > *term.value,
            }
        })
    }
}

/// Words as a shell parts them: `"` quotes, `\` takes the next character as it is. A quote that
/// does not end goes to the end.
fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let (mut quoted, mut chars) = (false, text.chars());
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '\\' => word.get_or_insert_default().extend(chars.next()),
            c if c.is_whitespace() && !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

fn term(word: &str) -> Result<Term> {
    let wrong = |what: &str| {
        let error = Error::new(ErrorKind::Invalid, format!("query part {word:?} {what}"));
        Err(error.with_hint("write KEY:VALUE, KEY>VALUE or KEY<VALUE, parted by blanks"))
    };
    let stops = |c: char| matches!(c, ':' | '<' | '>') || c.is_whitespace() || c.is_uppercase();
    let Some(at) = word.find(stops) else {
        return wrong("is missing operator");
    };
    let (key, rest) = word.split_at(at);
    let op = match rest.chars().next() {
        Some(':') => Op::Equal,
        Some('<') => Op::Less,
        Some('>') => Op::Greater,
        _ => return wrong("has invalid key"),
    };
    if key.is_empty() {
        return wrong("has invalid key");
    }
    Ok(Term {
        key: key.to_owned(),
        op,
        value: rest[1..].to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn terms_are_parted_as_a_shell_does() {
        let query = Query::parse(r#"a:1 b>"x y"  c<z\ w upload:20201223.1"#).unwrap();
        let terms: Vec<_> = query
            .terms()
            .iter()
            .map(|t| (t.key.as_str(), t.op, t.value.as_str()))
            .collect();
        assert_eq!(
            terms,
            [
                ("a", Op::Equal, "1"),
                ("b", Op::Greater, "x y"),
                ("c", Op::Less, "z w"),
                ("upload", Op::Equal, "20201223.1"),
            ]
        );
        assert_eq!(Query::parse("").unwrap().terms(), []);
        // A quote that does not end is no reason to fail.
        assert_eq!(Query::parse("a:\"x y").unwrap().terms()[0].value, "x y");
    }

    #[test]
    fn what_cannot_be_read_is_said_in_the_known_words() {
        let told = |text| Query::parse(text).unwrap_err().to_string();
        assert_eq!(told("x"), "query part \"x\" is missing operator");
        assert_eq!(told("X:1"), "query part \"X:1\" has invalid key");
        assert_eq!(told("\"a b:1\""), "query part \"a b:1\" has invalid key");
        assert_eq!(told(":1"), "query part \":1\" has invalid key");
    }

    #[test]
    fn values_compare_as_text_and_all_terms_must_hold() {
        let label = |key: &str| match key {
            "n" => Some(Cow::Borrowed("10")),
            "os" => Some(Cow::Borrowed("linux")),
            _ => None,
        };
        for (query, holds) in [
            ("", true),
            ("os:linux", true),
            ("os:linux n<9", true),
            ("n>9", false),
            ("n>1 n<2", true),
            ("os:linux os:plan9", false),
            ("other:x", false),
        ] {
            assert_eq!(Query::parse(query).unwrap().holds(label), holds, "{query}");
        }
    }

    proptest! {
        #[test]
        fn any_query_is_read_without_a_panic(text in "\\PC{0,60}") {
            let _ = Query::parse(&text);
        }
    }
}
