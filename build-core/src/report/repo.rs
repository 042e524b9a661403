//! Repositories, whatever they are called.

use serde::{Deserialize, Serialize};

use crate::ids::{RepoId, RepoName};
use crate::repository::RepoState;

/// Every repository, in order of name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repos {
    /// The repositories.
    pub repos: Vec<Repo>,
}

/// One repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repo {
    /// Its id, which stays.
    pub id: RepoId,
    /// What it is called.
    pub name: RepoName,
    /// Where it lies, by what was told last.
    pub origin: String,
    /// Every place where it was ever found.
    pub origins: Vec<String>,
}

impl From<&RepoState> for Repo {
    fn from(state: &RepoState) -> Self {
        Self {
            id: state.id().clone(),
            name: state.name().clone(),
            origin: state.origin().to_owned(),
            origins: state.origins().map(str::to_owned).collect(),
        }
    }
}

/// What becomes of a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RepoChange {
    /// It lies there too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// It is called so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<RepoName>,
}
