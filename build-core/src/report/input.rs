//! What lies in the work directory of a build besides its commit.

use serde::{Deserialize, Serialize};

use crate::ids::{BuildId, CommitHash, StepName};
use crate::plan::{self, InputFrom};

/// One thing beside the commit: what was asked for, and what was found for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// Where it is, below the checkout.
    pub dir: String,
    /// What sort of thing it is.
    pub from: InputWord,
    /// What it is, in a few words.
    pub text: String,
    /// The repository of a checkout or a snapshot, as it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<String>,
    /// The branch, tag or commit that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rev: Option<String>,
    /// The commit that is checked out there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitHash>,
    /// Where an archive is fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// SHA-256 of an archive, or of the snapshot that was found; lower-case hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The step that has kept a snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepName>,
    /// The build that has kept it; absent when none was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<BuildId>,
}

/// What sort of thing an input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputWord {
    /// A commit of a repository.
    Checkout,
    /// A file from the web.
    Archive,
    /// What a step of an earlier build has kept.
    Snapshot,
}

impl From<plan::Input> for Input {
    /// Addresses are taken as they are: whoever reports them takes passwords out before.
    fn from(input: plan::Input) -> Self {
        let mut told = Self {
            dir: input.dir,
            from: InputWord::Checkout,
            text: input.from.to_string(),
            repo: None,
            rev: None,
            commit: None,
            url: None,
            sha256: None,
            step: None,
            build: None,
        };
        match input.from {
            InputFrom::Checkout { repo, rev, item } => {
                told.repo = Some(repo);
                told.rev = rev;
                told.commit = item.map(|item| item.commit);
            }
            InputFrom::Archive { url, sha256, .. } => {
                told.from = InputWord::Archive;
                told.url = Some(url);
                told.sha256 = Some(sha256);
            }
            InputFrom::Snapshot {
                step,
                repo,
                rev,
                found,
                ..
            } => {
                told.from = InputWord::Snapshot;
                told.step = Some(step);
                told.repo = repo;
                told.rev = rev;
                if let Some(found) = found {
                    told.sha256 = Some(found.contents.sha256);
                    told.build = Some(found.build);
                }
            }
        }
        told
    }
}
