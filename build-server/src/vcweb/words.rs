//! A line of a script: conditions, a prefix, words with quotes and variables.

use std::collections::BTreeMap;

use build_core::{Error, ErrorKind, Result};

/// What a command must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    Success,
    Failure,
    Either,
}

/// A command of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Conditions, each with whether it must not hold.
    pub(super) conditions: Vec<(bool, String)>,
    pub(super) want: Want,
    pub(super) words: Vec<String>,
}

/// Reads a line; `None` when there is no command on it.
pub(super) fn parse(line: &str, env: &BTreeMap<String, String>) -> Result<Option<Line>> {
    let mut words = split(line, env)?.into_iter().peekable();
    let mut parsed = Line {
        conditions: Vec::new(),
        want: Want::Success,
        words: Vec::new(),
    };
    while let Some(word) = words.peek() {
        let condition = word.strip_prefix('[').and_then(|w| w.strip_suffix(']'));
        if let Some(condition) = condition {
            let (not, condition) = match condition.strip_prefix('!') {
                Some(rest) => (true, rest),
                None => (false, condition),
            };
            parsed.conditions.push((not, condition.to_owned()));
        } else if word == "!" {
            parsed.want = Want::Failure;
        } else if word == "?" {
            parsed.want = Want::Either;
        } else {
            break;
        }
        words.next();
    }
    parsed.words.extend(words);
    Ok((!parsed.words.is_empty()).then_some(parsed))
}

/// Words parted by blanks. Between single quotes nothing is replaced, and two of them are one.
fn split(line: &str, env: &BTreeMap<String, String>) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\r' => words.extend(word.take()),
            '#' if word.is_none() => break,
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('\'') if chars.peek() == Some(&'\'') => {
                            chars.next();
                            word.push('\'');
                        }
                        Some('\'') => break,
                        Some(c) => word.push(c),
                        None => {
                            let text = format!("a quote does not end: {line}");
                            return Err(Error::new(ErrorKind::Invalid, text));
                        }
                    }
                }
            }
            '$' => {
                let word = word.get_or_insert_default();
                let mut name = String::new();
                if chars.peek() == Some(&'{') {
                    chars.next();
                    name.extend(chars.by_ref().take_while(|c| *c != '}'));
                } else {
                    while let Some(c) = chars.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
                        name.push(c);
                    }
                }
                match name.as_str() {
                    "" => word.push('$'),
                    "/" => word.push('/'),
                    ":" => word.push(':'),
                    name => word.push_str(env.get(name).map_or("", String::as_str)),
                }
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_quotes_variables_and_conditions() {
        let env = BTreeMap::from([("A".to_owned(), "x y".to_owned())]);
        let line = parse("[!hg] ! git commit -m 'it''s $A' \"$A\"${A}z # said", &env);
        let line = line.unwrap().unwrap();
        assert_eq!(line.conditions, [(true, "hg".to_owned())]);
        assert_eq!(line.want, Want::Failure);
        assert_eq!(
            line.words,
            ["git", "commit", "-m", "it's $A", "\"x y\"x yz"]
        );
        assert_eq!(parse("  # nothing", &env).unwrap(), None);
        assert!(parse("git 'x", &env).is_err());
    }
}
