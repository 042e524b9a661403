//! The search language, as far as this project's programs use it.

use super::world::Change;

/// Whether `query` finds `change`: words that must all hold, `OR` between them, `-` or `NOT`
/// before one, round brackets.
pub(super) fn finds(query: &str, change: &Change) -> Result<bool, String> {
    let mut tokens = tokens(query).into_iter().peekable();
    let found = either(&mut tokens, change)?;
    match tokens.next() {
        None => Ok(found),
        Some(token) => Err(format!("line 1:0 no viable alternative at input '{token}'")),
    }
}

type Tokens = std::iter::Peekable<std::vec::IntoIter<String>>;

fn tokens(query: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    for c in query.chars() {
        match c {
            '"' => quoted = !quoted,
            '(' | ')' | ' ' if !quoted => {
                if !word.is_empty() {
                    tokens.push(std::mem::take(&mut word));
                }
                if c != ' ' {
                    tokens.push(c.to_string());
                }
            }
            _ => word.push(c),
        }
    }
    if !word.is_empty() {
        tokens.push(word);
    }
    tokens
}

fn either(tokens: &mut Tokens, change: &Change) -> Result<bool, String> {
    let mut found = every(tokens, change)?;
    while tokens.next_if(|token| token == "OR").is_some() {
        found |= every(tokens, change)?;
    }
    Ok(found)
}

fn every(tokens: &mut Tokens, change: &Change) -> Result<bool, String> {
    let mut found = true;
    while let Some(token) = tokens.next_if(|token| token != "OR" && token != ")") {
        found &= match token.as_str() {
            "AND" => continue,
            "NOT" => !every_one(tokens, change)?,
            "(" => bracket(tokens, change)?,
            word => one(word, change)?,
        };
    }
    Ok(found)
}

fn every_one(tokens: &mut Tokens, change: &Change) -> Result<bool, String> {
    match tokens.next().as_deref() {
        Some("(") => bracket(tokens, change),
        Some(word) => one(word, change),
        None => Err("nothing after NOT".to_owned()),
    }
}

fn bracket(tokens: &mut Tokens, change: &Change) -> Result<bool, String> {
    let found = either(tokens, change)?;
    tokens
        .next_if(|token| token == ")")
        .ok_or("a bracket is not closed")?;
    Ok(found)
}

fn one(word: &str, change: &Change) -> Result<bool, String> {
    if let Some(rest) = word.strip_prefix('-') {
        return Ok(!one(rest, change)?);
    }
    let info = &change.info;
    let message = info
        .revisions
        .get(&info.current_revision)
        .and_then(|revision| revision.commit.as_ref())
        .map_or("", |commit| &commit.message);
    let Some((key, value)) = word
        .split_once(':')
        .filter(|(key, _)| key.bytes().all(|b| b.is_ascii_lowercase()))
    else {
        return Ok(info.number.to_string() == word
            || info.change_id == word
            || message.contains(word));
    };
    let day =
        |time: Option<crate::gerrit::GerritTime>| time.map(|t| t.to_string()).unwrap_or_default();
    Ok(match key {
        "status" | "is" => match value {
            "open" | "new" => info.status == "NEW",
            "closed" => info.status != "NEW",
            "wip" => info.work_in_progress,
            other => info.status.eq_ignore_ascii_case(other),
        },
        "project" | "repo" => info.project == value,
        "branch" => info.branch == value,
        "topic" => info.topic == value,
        "hashtag" => info.hashtags.iter().any(|tag| tag == value),
        "owner" => info
            .owner
            .as_ref()
            .is_some_and(|owner| owner.email == value || owner.username == value),
        "change" => info.number.to_string() == value || info.change_id == value,
        "message" => message.contains(value),
        "comment" => {
            let inline = change.comments.values().flatten();
            inline
                .map(|comment| &comment.message)
                .chain(info.messages.iter().map(|m| &m.message))
                .any(|text| text.contains(value))
                || message.contains(value)
        }
        "since" | "after" => day(info.updated).as_str() >= value,
        "until" | "before" => day(info.updated).as_str() < value,
        other => return Err(format!("unsupported operator: {other}")),
    })
}
