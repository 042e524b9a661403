//! Prints serialised mutations as they are, field by field, by the schema text:
//! as protobuf text format, or as JSON.
//!
//! Works on the wire bytes, so fields of a newer schema show up too.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::LazyLock;

use maintner_core::pb::SCHEMA;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use serde_json::{Map, Value, json};

/// Message name and field number to the field's name and type.
static FIELDS: LazyLock<HashMap<(&'static str, u32), Field>> = LazyLock::new(parse_schema);

#[derive(Debug, Clone, Copy)]
struct Field {
    name: &'static str,
    kind: &'static str,
    repeated: bool,
}

fn parse_schema() -> HashMap<(&'static str, u32), Field> {
    let mut message = "";
    let mut fields = HashMap::new();
    for line in SCHEMA
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with("//"))
    {
        if let Some(rest) = line.strip_prefix("message ") {
            message = rest.trim_end_matches(" {");
        } else if let Some((left, number)) = line.trim_end_matches(';').split_once(" = ")
            && let Ok(number) = number.parse()
        {
            let repeated = left.starts_with("repeated ");
            let left = left.trim_start_matches("repeated ");
            if let Some((kind, name)) = left.split_once(' ') {
                fields.insert(
                    (message, number),
                    Field {
                        name,
                        kind,
                        repeated,
                    },
                );
            }
        }
    }
    fields
}

/// A decoded field: its name (a number when unknown) and its content.
struct Entry {
    name: String,
    repeated: bool,
    content: Content,
}

enum Content {
    Scalar(Value),
    Message(Vec<Entry>),
}

/// The mutation in protobuf text format, two blanks a level.
pub(crate) fn text(payload: &[u8]) -> Result<String, prost::DecodeError> {
    let mut out = String::new();
    write_entries(&mut out, &decode("Mutation", payload)?, 0);
    Ok(out)
}

/// The mutation as JSON.
pub(crate) fn json(payload: &[u8]) -> Result<Value, prost::DecodeError> {
    Ok(to_json(&decode("Mutation", payload)?))
}

fn decode(message: &str, mut bytes: &[u8]) -> Result<Vec<Entry>, prost::DecodeError> {
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        let (number, wire) = decode_key(&mut bytes)?;
        let field = FIELDS
            .iter()
            .find(|((of, n), _)| *of == message && *n == number)
            .map(|f| *f.1);
        decode_field(&mut bytes, number, wire, field, &mut entries)?;
    }
    Ok(entries)
}

fn decode_field(
    bytes: &mut &[u8],
    number: u32,
    wire: WireType,
    field: Option<Field>,
    entries: &mut Vec<Entry>,
) -> Result<(), prost::DecodeError> {
    let name = field.map_or_else(|| number.to_string(), |field| field.name.to_owned());
    let repeated = field.is_none_or(|field| field.repeated);
    let mut push = |content| {
        entries.push(Entry {
            name: name.clone(),
            repeated,
            content,
        });
    };
    match wire {
        WireType::Varint => push(Content::Scalar(number_of(decode_varint(bytes)?, field))),
        WireType::LengthDelimited => {
            let mut inner = take(bytes, number)?;
            match field.map(|field| field.kind) {
                Some("string" | "bytes") | None => push(Content::Scalar(string_of(inner))),
                Some("int64" | "int32" | "bool") => {
                    while !inner.is_empty() {
                        push(Content::Scalar(number_of(
                            decode_varint(&mut inner)?,
                            field,
                        )));
                    }
                }
                Some(kind) => push(Content::Message(decode(kind, inner)?)),
            }
        }
        other => {
            skip_field(other, number, bytes, DecodeContext::default())?;
            push(Content::Scalar(json!("?")));
        }
    }
    Ok(())
}

/// The bytes of a length-delimited field.
fn take<'a>(bytes: &mut &'a [u8], number: u32) -> Result<&'a [u8], prost::DecodeError> {
    let mut after = *bytes;
    skip_field(
        WireType::LengthDelimited,
        number,
        &mut after,
        DecodeContext::default(),
    )?;
    let len = usize::try_from(decode_varint(bytes)?).unwrap_or(usize::MAX);
    let (inner, rest) = bytes.split_at(len.min(bytes.len()));
    *bytes = rest;
    Ok(inner)
}

fn number_of(value: u64, field: Option<Field>) -> Value {
    match field.map(|field| field.kind) {
        Some("bool") => json!(value != 0),
        Some(_) => json!(value.cast_signed()),
        None => json!(value),
    }
}

/// Text stays text; other bytes are escaped so that nothing is lost.
fn string_of(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!(bytes.escape_ascii().to_string()),
    }
}

fn write_entries(out: &mut String, entries: &[Entry], level: usize) {
    for Entry { name, content, .. } in entries {
        match content {
            Content::Scalar(value) => {
                writeln!(out, "{:level$}{name}: {value}", "")
                    .expect("writing to a String cannot fail");
            }
            Content::Message(inner) => {
                writeln!(out, "{:level$}{name}: <", "").expect("writing to a String cannot fail");
                write_entries(out, inner, level + 2);
                writeln!(out, "{:level$}>", "").expect("writing to a String cannot fail");
            }
        }
    }
}

fn to_json(entries: &[Entry]) -> Value {
    let mut object = Map::new();
    for entry in entries {
        let value = match &entry.content {
            Content::Scalar(value) => value.clone(),
            Content::Message(inner) => to_json(inner),
        };
        if !entry.repeated {
            object.insert(entry.name.clone(), value);
        } else if let Value::Array(list) = object
            .entry(entry.name.clone())
            .or_insert_with(|| json!([]))
        {
            list.push(value);
        }
    }
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use maintner_core::pb::{BoolChange, GithubIssueMutation, Mutation};
    use prost::Message as _;

    use super::*;

    fn issue() -> Vec<u8> {
        let issue = GithubIssueMutation {
            owner: "golang".into(),
            number: 7,
            title: "\"quoted\"\n".into(),
            closed: Some(BoolChange { val: false }),
            remove_label: vec![3, 4],
            ..Default::default()
        };
        Mutation {
            github_issue: Some(issue),
            ..Default::default()
        }
        .encode_to_vec()
    }

    #[test]
    fn text_shows_every_field_even_unknown_ones() {
        let mut payload = issue();
        payload.extend([0xa0, 0x06, 0x2a]);
        let wanted = "github_issue: <\n  owner: \"golang\"\n  number: 7\n  title: \"\\\"quoted\\\"\\n\"\n  closed: <\n  >\n  \
                      remove_label: 3\n  remove_label: 4\n>\n100: 42\n";
        assert_eq!(text(&payload).unwrap(), wanted);
    }

    #[test]
    fn json_keeps_the_lists() {
        let json = json(&issue()).unwrap();
        assert_eq!(json["github_issue"]["remove_label"], json!([3, 4]));
        assert_eq!(json["github_issue"]["closed"], json!({}));
    }

    #[test]
    fn broken_bytes_are_an_error() {
        let payload = issue();
        for cut in 1..payload.len() {
            assert!(text(&payload[..cut]).is_err(), "cut at {cut}");
        }
    }
}
