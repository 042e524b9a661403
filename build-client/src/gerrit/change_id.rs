//! Names of changes.

use std::fmt;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::rest::segment;

/// What cannot stand in a segment of a path; a `%` may: the server's own ids are escaped.
const UNSAFE: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'/')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// How a change is named.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ChangeId {
    /// By the Change-Id of its message, which is unique in a branch.
    Triplet {
        /// The project.
        project: String,
        /// The branch, without `refs/heads/`.
        branch: String,
        /// `I` and 40 hex digits.
        change_id: String,
    },
    /// By its number, with the project: the cheapest for the server.
    Numbered {
        /// The project.
        project: String,
        /// The number.
        number: u64,
    },
    /// As the server or a person says it: a number, a Change-Id, the `id` of an answer.
    Raw(String),
}

impl From<u64> for ChangeId {
    fn from(number: u64) -> Self {
        Self::Raw(number.to_string())
    }
}

impl From<&str> for ChangeId {
    fn from(id: &str) -> Self {
        Self::Raw(id.to_owned())
    }
}

impl fmt::Display for ChangeId {
    /// As a segment of a path, escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Triplet {
                project,
                branch,
                change_id,
            } => {
                write!(
                    f,
                    "{}~{}~{}",
                    segment(project),
                    segment(branch),
                    segment(change_id)
                )
            }
            Self::Numbered { project, number } => write!(f, "{}~{number}", segment(project)),
            Self::Raw(id) => utf8_percent_encode(id, UNSAFE).fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_one_segment_of_a_path() {
        let id = ChangeId::Triplet {
            project: "a/b".into(),
            branch: "release/1.0".into(),
            change_id: "I12".into(),
        };
        assert_eq!(id.to_string(), "a%2Fb~release%2F1.0~I12");
        let id = ChangeId::Numbered {
            project: "a/b".into(),
            number: 7,
        };
        assert_eq!(id.to_string(), "a%2Fb~7");
        assert_eq!(
            ChangeId::from("a%2Fb~master~I1").to_string(),
            "a%2Fb~master~I1"
        );
        assert_eq!(ChangeId::from("1/../2?x").to_string(), "1%2F..%2F2%3Fx");
        assert_eq!(ChangeId::from(12).to_string(), "12");
    }
}
