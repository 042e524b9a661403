//! Trees that a machine keeps beside its work directory: our extension of the protocol, in JSON.

use serde::{Deserialize, Serialize};

/// The answer about a kept tree: `GET`, `PUT` and `POST /trees/SHA256`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct KeptTree {
    /// Its absolute path on the machine; absent when the machine does not have it.
    #[serde(rename = "Dir", default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<String>,
}

impl KeptTree {
    /// One that is there, or is not.
    pub fn new(dir: Option<String>) -> Self {
        Self { dir }
    }

    /// Whether this can name a tree: a SHA-256 in lower-case hex.
    pub fn is_name(text: &str) -> bool {
        text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_hashes_and_nothing_else() {
        let hash = "0123456789abcdef".repeat(4);
        assert!(KeptTree::is_name(&hash));
        for bad in [
            "",
            "..",
            &hash[1..],
            &hash.to_uppercase(),
            &hash.replace('0', "/"),
        ] {
            assert!(!KeptTree::is_name(bad), "{bad}");
        }
    }

    #[test]
    fn a_tree_that_is_not_there_has_no_directory() {
        let json = |tree: &KeptTree| serde_json::to_string(tree).unwrap();
        assert_eq!(json(&KeptTree::default()), "{}");
        let there = KeptTree::new(Some("/k/a".into()));
        assert_eq!(json(&there), r#"{"Dir":"/k/a"}"#);
        assert_eq!(
            serde_json::from_str::<KeptTree>(&json(&there)).unwrap(),
            there
        );
    }
}
