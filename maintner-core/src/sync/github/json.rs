//! JSON that is kept word for word: members that a producer does not understand.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// The members of an object as they stand.
pub(super) type Members = BTreeMap<String, Box<RawValue>>;

/// The compact JSON of what is left of an object, keys sorted, escaped as Go's encoder does;
/// nothing for an empty object. Null members are left out.
pub(super) fn rest(members: &Members, consumed: &[&str]) -> Vec<u8> {
    let mut text = String::new();
    for (key, value) in members {
        if consumed.contains(&key.as_str()) || value.get() == "null" {
            continue;
        }
        text.push(if text.is_empty() { '{' } else { ',' });
        let key = serde_json::to_string(key).expect("a text is valid JSON");
        compact(&key, &mut text);
        text.push(':');
        compact(value.get(), &mut text);
    }
    if !text.is_empty() {
        text.push('}');
    }
    text.into_bytes()
}

/// Without white space between the tokens, and with the escapes of Go's encoder.
fn compact(json: &str, out: &mut String) {
    let (mut inside, mut escaped) = (false, false);
    for c in json.chars() {
        match c {
            ' ' | '\t' | '\n' | '\r' if !inside => continue,
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            _ => out.push(c),
        }
        inside ^= c == '"' && !escaped;
        escaped = inside && c == '\\' && !escaped;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_kept_word_for_word() {
        let members: Members = serde_json::from_str(
            r#"{"z": 1.50, "id": 5, "b": [1, {"y" : "a \" <b>"}], "a": null, "k\"": "x & y"}"#,
        )
        .unwrap();
        let left = String::from_utf8(rest(&members, &["id"])).unwrap();
        assert_eq!(
            left,
            r#"{"b":[1,{"y":"a \" \u003cb\u003e"}],"k\"":"x \u0026 y","z":1.50}"#
        );
        let members: Members = serde_json::from_str(r#"{"id": 5, "a": null}"#).unwrap();
        assert!(rest(&members, &["id"]).is_empty());
    }
}
