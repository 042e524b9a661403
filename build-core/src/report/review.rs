//! The change under which a commit is reviewed.

use serde::{Deserialize, Serialize};

/// A pull request, or a change of a review server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    /// Where people read it.
    pub url: String,
    /// Its number.
    pub number: u32,
    /// Its title.
    pub title: String,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Who has reviewed it, in the order in which they did first.
    pub reviewers: Vec<String>,
}
