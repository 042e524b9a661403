//! The calls that make and move changes, branches and tags.

use base64::Engine as _;
use reqwest::Method;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

use super::client::Call;
use super::{
    ActionInfo, BranchInfo, ChangeId, ChangeInfo, ChangeInput, Client, CommitMessageInfo,
    DestinationInput, Error, MergeableInfo, RelatedChangesInfo, TagInfo,
};
use crate::rest::segment;

const BYTES: &str = "application/octet-stream";

fn revision(id: &ChangeId, revision: &str, rest: &str) -> Result<String, Error> {
    Client::change_path(id, &format!("/revisions/{}{rest}", segment(revision)))
}

impl Client {
    /// Makes a change without files.
    pub async fn create_change(&self, input: &ChangeInput) -> Result<ChangeInfo, Error> {
        self.json(
            Call::new(Method::POST, "/changes/")
                .body(input)
                .expects(201),
        )
        .await
    }

    /// Writes a file in the edit of a change.
    pub async fn put_edit_file(
        &self,
        id: &ChangeId,
        path: &str,
        contents: impl Into<Vec<u8>>,
    ) -> Result<(), Error> {
        let path = Self::change_path(id, &format!("/edit/{}", segment(path)))?;
        self.done(
            Call::new(Method::PUT, path)
                .raw(BYTES, contents.into())
                .expects(204),
        )
        .await
    }

    /// Deletes a file in the edit of a change.
    pub async fn delete_edit_file(&self, id: &ChangeId, path: &str) -> Result<(), Error> {
        let path = Self::change_path(id, &format!("/edit/{}", segment(path)))?;
        self.done(Call::new(Method::DELETE, path).expects(204))
            .await
    }

    /// Makes the edit of a change its newest patch set.
    pub async fn publish_edit(&self, id: &ChangeId) -> Result<(), Error> {
        let path = Self::change_path(id, "/edit:publish")?;
        self.done(Call::new(Method::POST, path).body(&json!({})).expects(204))
            .await
    }

    /// Submits a change.
    pub async fn submit_change(&self, id: &ChangeId) -> Result<ChangeInfo, Error> {
        self.json(Call::new(Method::POST, Self::change_path(id, "/submit")?).body(&json!({})))
            .await
    }

    /// Whether a revision merges.
    pub async fn mergeable(&self, id: &ChangeId, rev: &str) -> Result<MergeableInfo, Error> {
        self.json(Call::get(revision(id, rev, "/mergeable")?)).await
    }

    /// What can be done to a revision, by name.
    pub async fn actions(
        &self,
        id: &ChangeId,
        rev: &str,
    ) -> Result<BTreeMap<String, ActionInfo>, Error> {
        self.json(Call::get(revision(id, rev, "/actions")?)).await
    }

    /// The changes above and below a revision.
    pub async fn related(&self, id: &ChangeId, rev: &str) -> Result<RelatedChangesInfo, Error> {
        self.json(Call::get(revision(id, rev, "/related")?)).await
    }

    /// The change as a change on another branch: `message`, `destination`.
    pub async fn cherry_pick(
        &self,
        id: &ChangeId,
        rev: &str,
        input: &DestinationInput,
    ) -> Result<ChangeInfo, Error> {
        self.json(Call::new(Method::POST, revision(id, rev, "/cherrypick")?).body(input))
            .await
    }

    /// Moves a change to another branch: `destination_branch`.
    pub async fn move_change(
        &self,
        id: &ChangeId,
        input: &DestinationInput,
    ) -> Result<ChangeInfo, Error> {
        self.json(Call::new(Method::POST, Self::change_path(id, "/move")?).body(input))
            .await
    }

    /// Puts a change on a new base: `base`, or the head of its branch.
    pub async fn rebase(
        &self,
        id: &ChangeId,
        input: &DestinationInput,
    ) -> Result<ChangeInfo, Error> {
        self.json(Call::new(Method::POST, Self::change_path(id, "/rebase")?).body(input))
            .await
    }

    /// The message of a change.
    pub async fn commit_message(&self, id: &ChangeId) -> Result<CommitMessageInfo, Error> {
        self.json(Call::get(Self::change_path(id, "/message")?))
            .await
    }

    /// Takes the topic away.
    pub async fn delete_topic(&self, id: &ChangeId) -> Result<(), Error> {
        self.done(Call::new(Method::DELETE, Self::change_path(id, "/topic")?).expects(204))
            .await
    }

    /// In which of the `refs` each of the `commits` is, by commit.
    pub async fn commits_in(
        &self,
        project: &str,
        commits: &[String],
        refs: &[String],
    ) -> Result<BTreeMap<String, Vec<String>>, Error> {
        let pairs = commits
            .iter()
            .map(|c| ("commit", c.clone()))
            .chain(refs.iter().map(|r| ("ref", r.clone())));
        self.json(Call::get(format!("/projects/{}/commits:in", segment(project))).query(pairs))
            .await
    }

    /// A branch, with or without `refs/heads/`.
    pub async fn get_branch(&self, project: &str, branch: &str) -> Result<BranchInfo, Error> {
        self.json(Call::get(format!(
            "/projects/{}/branches/{}",
            segment(project),
            segment(branch)
        )))
        .await
    }

    /// Makes a branch at a revision.
    pub async fn create_branch(
        &self,
        project: &str,
        branch: &str,
        at: &str,
    ) -> Result<BranchInfo, Error> {
        let path = format!(
            "/projects/{}/branches/{}",
            segment(project),
            segment(branch)
        );
        self.json(
            Call::new(Method::PUT, path)
                .body(&json!({ "revision": at }))
                .expects(201),
        )
        .await
    }

    /// A tag, without `refs/tags/`.
    pub async fn get_tag(&self, project: &str, tag: &str) -> Result<TagInfo, Error> {
        self.json(Call::get(format!(
            "/projects/{}/tags/{}",
            segment(project),
            segment(tag)
        )))
        .await
    }

    /// Makes a tag at a revision; an annotated one with a message.
    pub async fn create_tag(
        &self,
        project: &str,
        tag: &str,
        at: &str,
        message: &str,
    ) -> Result<TagInfo, Error> {
        let path = format!("/projects/{}/tags/{}", segment(project), segment(tag));
        let mut body = Map::from_iter([("revision".to_owned(), Value::from(at))]);
        if !message.is_empty() {
            body.insert("message".to_owned(), message.into());
        }
        self.json(Call::new(Method::PUT, path).body(&body).expects(201))
            .await
    }

    /// Deletes a tag.
    pub async fn delete_tag(&self, project: &str, tag: &str) -> Result<(), Error> {
        let path = format!("/projects/{}/tags/{}", segment(project), segment(tag));
        self.done(Call::new(Method::DELETE, path).expects(204))
            .await
    }

    /// The content of a file in a commit.
    ///
    /// # Errors
    /// [`Error::NotGerrit`] when the answer is not the base64 that Gerrit sends.
    pub async fn file_content(
        &self,
        project: &str,
        commit: &str,
        path: &str,
    ) -> Result<Vec<u8>, Error> {
        let path = format!(
            "/projects/{}/commits/{}/files/{}/content",
            segment(project),
            segment(commit),
            segment(path)
        );
        let (url, mut body) = self.answer(&Call::get(path)).await?;
        body.retain(|b| !b.is_ascii_whitespace());
        base64::engine::general_purpose::STANDARD
            .decode(&body)
            .map_err(|_| Error::NotGerrit {
                url: url.to_string(),
                start: String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned(),
            })
    }
}
