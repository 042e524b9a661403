//! SHA-256 sums as projects publish them: one alone, a list of files, or an index in JSON.

use serde_json::Value;

use crate::httpdl::Sha256Sum;

/// What is known of an archive before it is downloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) sum: Sha256Sum,
    pub(super) bytes: Option<u64>,
}

/// The sum of `archive` in what a checksum address answered.
pub(super) fn find(text: &[u8], archive: &str) -> Option<Known> {
    let name = archive.rsplit('/').next()?;
    let text = str::from_utf8(text).ok()?.trim();
    if text.starts_with(['{', '[']) {
        return in_index(&serde_json::from_str(text).ok()?, name);
    }
    let sum = |sum| Some(Known { sum, bytes: None });
    if let Some(alone) = hex_sum(text) {
        return sum(alone);
    }
    text.lines().find_map(|line| {
        let (hex, file) = line.trim().split_once([' ', '\t'])?;
        // `sha256sum` marks binary files with a star.
        let file = file
            .trim_start()
            .trim_start_matches('*')
            .trim_start_matches("./");
        (file == name).then(|| hex_sum(hex)).flatten().and_then(sum)
    })
}

/// An object that names the file, by its name or its address, and has the sum beside it.
fn in_index(value: &Value, name: &str) -> Option<Known> {
    match value {
        Value::Array(values) => values.iter().find_map(|value| in_index(value, name)),
        Value::Object(fields) => {
            let names_it = |value: &Value| {
                let text = value.as_str();
                text.is_some_and(|text| text.rsplit('/').next() == Some(name))
            };
            let sum = fields.get("sha256").or_else(|| fields.get("shasum"));
            let sum = sum.and_then(Value::as_str).and_then(hex_sum);
            match sum {
                Some(sum) if fields.values().any(names_it) => {
                    let bytes = fields.get("size").and_then(|size| match size {
                        Value::String(text) => text.parse().ok(),
                        other => other.as_u64(),
                    });
                    Some(Known { sum, bytes })
                }
                _ => fields.values().find_map(|value| in_index(value, name)),
            }
        }
        _ => None,
    }
}

fn hex_sum(text: &str) -> Option<Sha256Sum> {
    hex::decode(text).ok()?.try_into().ok()
}

/// The versions that an index lists, without `go` or `v` before them: values called `version`, the
/// keys of its outermost object, and Rust's own version in a manifest of a channel.
pub(super) fn versions(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    if let Ok(index) = serde_json::from_str::<Value>(&text) {
        let mut found = Vec::new();
        if let Value::Object(fields) = &index {
            found.extend(fields.keys().map(String::as_str));
        }
        collect(&index, &mut found);
        let plain = |text: &str| {
            let text = text.trim_start_matches("go").trim_start_matches('v');
            text.starts_with(|c: char| c.is_ascii_digit())
                .then(|| text.to_owned())
        };
        return found.into_iter().filter_map(plain).collect();
    }
    let mut lines = text.lines().skip_while(|line| line.trim() != "[pkg.rust]");
    let version = lines.find_map(|line| line.strip_prefix("version = \""));
    let version = version.and_then(|rest| rest.split([' ', '"']).next());
    version.map(str::to_owned).into_iter().collect()
}

fn collect<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| collect(value, found)),
        Value::Object(fields) => {
            found.extend(fields.get("version").and_then(Value::as_str));
            fields.values().for_each(|value| collect(value, found));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUM: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn found(text: &str) -> Option<Option<u64>> {
        let known = find(text.as_bytes(), "v1/a.tar.gz")?;
        assert_eq!(hex::encode(known.sum), SUM);
        Some(known.bytes)
    }

    #[test]
    fn a_sum_is_found_in_each_form() {
        assert_eq!(found(&format!("{SUM}\n")), Some(None));
        assert_eq!(
            found(&format!("{}  b.tar.gz\n{SUM} *a.tar.gz\n", "0".repeat(64))),
            Some(None)
        );
        let go = format!(
            r#"[{{"version":"go1","files":[{{"filename":"a.tar.gz","sha256":"{SUM}","size":7}}]}}]"#
        );
        assert_eq!(found(&go), Some(Some(7)));
        let zig = format!(
            r#"{{"1":{{"x":{{"tarball":"https://h/a.tar.gz","shasum":"{SUM}","size":"7"}}}}}}"#
        );
        assert_eq!(found(&zig), Some(Some(7)));
    }

    #[test]
    fn what_is_no_sum_of_the_archive_is_none() {
        for text in [
            "",
            "<html>",
            "00",
            &format!("{SUM}  b.tar.gz"),
            "[{\"filename\":\"a.tar.gz\"}]",
            "{\"sha256\":1",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
    }

    #[test]
    fn versions_are_read_from_each_index() {
        assert_eq!(
            versions(br#"[{"version":"go1.22.1"},{"version":"v20.1.0"}]"#),
            ["1.22.1", "20.1.0"]
        );
        assert_eq!(
            versions(br#"{"master":{"version":"0.16.0-dev"},"0.15.2":{}}"#),
            ["0.15.2", "0.16.0-dev"]
        );
        let channel = "[pkg.cargo]\nversion = \"0.81\"\n[pkg.rust]\nversion = \"1.80.1 (3f5fd8dd4 2024-08-06)\"\n";
        assert_eq!(versions(channel.as_bytes()), ["1.80.1"]);
        assert!(versions(b"<html>").is_empty());
    }
}
