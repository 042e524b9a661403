//! The calls that read, and the reviews.

use std::collections::BTreeMap;

use futures::Stream;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::client::Call;
use super::{
    AccountInfo, BranchInfo, ChangeId, ChangeInfo, Client, CommentInfo, Error, FileInfo, GroupInfo,
    ProjectInfo, ProjectInput, ReviewInput, ReviewResult, ReviewerInfo, TagInfo,
};
use crate::rest::segment;

/// Projects that hold rights alone.
const NO_PROJECTS: &[&str] = &["All-Projects", "All-Users"];

/// What of a list is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryOptions {
    limit: usize,
    start: usize,
    fields: Vec<String>,
}

impl QueryOptions {
    /// Everything, without more fields.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// At most so many on a page; 0: as many as the server likes.
    #[must_use]
    pub fn limit(self, limit: usize) -> Self {
        Self { limit, ..self }
    }

    /// Passes over so many at the beginning.
    #[must_use]
    pub fn start(self, start: usize) -> Self {
        Self { start, ..self }
    }

    /// Adds fields, such as `LABELS`, `MESSAGES`, `CURRENT_REVISION`, `DETAILS`.
    #[must_use]
    pub fn field(mut self, name: impl Into<String>) -> Self {
        self.fields.push(name.into());
        self
    }

    fn pairs(&self, query: Option<&str>) -> Vec<(&'static str, String)> {
        let mut pairs = Vec::new();
        pairs.extend(query.map(|query| ("q", query.to_owned())));
        pairs.extend((self.limit > 0).then(|| ("n", self.limit.to_string())));
        pairs.extend((self.start > 0).then(|| ("S", self.start.to_string())));
        pairs.extend(self.fields.iter().map(|field| ("o", field.clone())));
        pairs
    }
}

/// A missing change or project by its own name.
fn not_exist(error: Error, made: impl FnOnce() -> Error) -> Error {
    match error {
        Error::Status { status: 404, .. } => made(),
        other => other,
    }
}

/// An object with the members that are given.
fn given(members: &[(&str, Option<Value>)]) -> Value {
    let members = members
        .iter()
        .filter_map(|(name, value)| Some(((*name).to_owned(), value.clone()?)));
    Value::Object(members.collect::<Map<_, _>>())
}

impl Client {
    /// One page of the changes that `query` finds. The last of it says whether there are more.
    pub async fn query_changes(
        &self,
        query: &str,
        options: &QueryOptions,
    ) -> Result<Vec<ChangeInfo>, Error> {
        self.json(Call::get("/changes/").query(options.pairs(Some(query))))
            .await
    }

    /// All changes that `query` finds, page by page as they are taken.
    pub fn changes(
        &self,
        query: &str,
        options: &QueryOptions,
    ) -> impl Stream<Item = Result<ChangeInfo, Error>> + Send + use<> {
        let (client, query) = (self.clone(), query.to_owned());
        pages(
            options.clone(),
            |change: &ChangeInfo| change.more_changes,
            move |options| {
                let (client, query) = (client.clone(), query.clone());
                async move { client.query_changes(&query, &options).await }
            },
        )
    }

    /// A change.
    ///
    /// # Errors
    /// [`Error::ChangeNotExist`].
    pub async fn get_change(
        &self,
        id: &ChangeId,
        options: &QueryOptions,
    ) -> Result<ChangeInfo, Error> {
        let call = Call::get(Self::change_path(id, "")?).query(options.pairs(None));
        self.json(call)
            .await
            .map_err(|e| not_exist(e, || Error::ChangeNotExist(id.to_string())))
    }

    /// A change with labels, messages and accounts.
    ///
    /// # Errors
    /// [`Error::ChangeNotExist`].
    pub async fn get_change_detail(
        &self,
        id: &ChangeId,
        options: &QueryOptions,
    ) -> Result<ChangeInfo, Error> {
        let call = Call::get(Self::change_path(id, "/detail")?).query(options.pairs(None));
        self.json(call)
            .await
            .map_err(|e| not_exist(e, || Error::ChangeNotExist(id.to_string())))
    }

    /// The published comments of a change by file; `/PATCHSET_LEVEL` for those on no file.
    pub async fn list_change_comments(
        &self,
        id: &ChangeId,
    ) -> Result<BTreeMap<String, Vec<CommentInfo>>, Error> {
        self.json(Call::get(Self::change_path(id, "/comments")?))
            .await
    }

    /// The files of a revision: `current`, a number or a hash. `/COMMIT_MSG` is one of them.
    pub async fn list_files(
        &self,
        id: &ChangeId,
        revision: &str,
    ) -> Result<BTreeMap<String, FileInfo>, Error> {
        let path = Self::change_path(id, &format!("/revisions/{}/files", segment(revision)))?;
        self.json(Call::get(path)).await
    }

    /// Posts a review on a revision: `current`, a number or a hash.
    pub async fn set_review(
        &self,
        id: &ChangeId,
        revision: &str,
        review: &ReviewInput,
    ) -> Result<ReviewResult, Error> {
        let path = Self::change_path(id, &format!("/revisions/{}/review", segment(revision)))?;
        self.json(Call::new(Method::POST, path).body(review)).await
    }

    /// The reviewers of a change, with their votes.
    pub async fn list_reviewers(&self, id: &ChangeId) -> Result<Vec<ReviewerInfo>, Error> {
        self.json(Call::get(Self::change_path(id, "/reviewers")?))
            .await
    }

    /// Adds and takes away hashtags; gives those that there are then.
    pub async fn set_hashtags(
        &self,
        id: &ChangeId,
        add: &[String],
        remove: &[String],
    ) -> Result<Vec<String>, Error> {
        let list = |names: &[String]| (!names.is_empty()).then(|| json!(names));
        let body = given(&[("add", list(add)), ("remove", list(remove))]);
        self.json(Call::new(Method::POST, Self::change_path(id, "/hashtags")?).body(&body))
            .await
    }

    /// Adds and takes away hashtags, unless that would change nothing: then nothing is written.
    pub async fn ensure_hashtags(
        &self,
        id: &ChangeId,
        add: &[String],
        remove: &[String],
    ) -> Result<Vec<String>, Error> {
        let there = self.get_hashtags(id).await?;
        let add: Vec<String> = add
            .iter()
            .filter(|tag| !there.contains(tag))
            .cloned()
            .collect();
        let remove: Vec<String> = remove
            .iter()
            .filter(|tag| there.contains(tag))
            .cloned()
            .collect();
        if add.is_empty() && remove.is_empty() {
            return Ok(there);
        }
        self.set_hashtags(id, &add, &remove).await
    }

    /// The hashtags of a change.
    pub async fn get_hashtags(&self, id: &ChangeId) -> Result<Vec<String>, Error> {
        self.json(Call::get(Self::change_path(id, "/hashtags")?))
            .await
    }

    /// Abandons a change, with a message unless it is empty.
    pub async fn abandon_change(&self, id: &ChangeId, message: &str) -> Result<ChangeInfo, Error> {
        let body = given(&[("message", (!message.is_empty()).then(|| json!(message)))]);
        self.json(Call::new(Method::POST, Self::change_path(id, "/abandon")?).body(&body))
            .await
    }

    /// The active projects, by name; not those that hold rights alone.
    pub async fn list_projects(&self) -> Result<Vec<ProjectInfo>, Error> {
        let named: BTreeMap<String, ProjectInfo> = self.json(Call::get("/projects/")).await?;
        let mut projects: Vec<ProjectInfo> = named
            .into_iter()
            .filter(|(name, project)| {
                !NO_PROJECTS.contains(&name.as_str())
                    && matches!(project.state.as_str(), "" | "ACTIVE")
            })
            .map(|(name, project)| ProjectInfo { name, ..project })
            .collect();
        projects.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(projects)
    }

    /// All projects by name, with the head of `branch` where they have it. Newer servers leave
    /// the heads out; [`Client::project_branches`] asks for one project.
    pub async fn get_projects(&self, branch: &str) -> Result<BTreeMap<String, ProjectInfo>, Error> {
        let query = [("b", branch.to_owned()), ("format", "JSON".to_owned())];
        self.json(Call::get("/projects/").query(query)).await
    }

    /// Makes a project.
    pub async fn create_project(
        &self,
        name: &str,
        input: &ProjectInput,
    ) -> Result<ProjectInfo, Error> {
        let path = format!("/projects/{}", segment(name));
        self.json(Call::new(Method::PUT, path).body(input).expects(201))
            .await
    }

    /// A project.
    ///
    /// # Errors
    /// [`Error::ProjectNotExist`].
    pub async fn get_project(&self, name: &str) -> Result<ProjectInfo, Error> {
        let call = Call::get(format!("/projects/{}", segment(name)));
        self.json(call)
            .await
            .map_err(|e| not_exist(e, || Error::ProjectNotExist(name.to_owned())))
    }

    /// The branches of a project by reference (`refs/heads/master`, `HEAD`).
    pub async fn project_branches(
        &self,
        name: &str,
    ) -> Result<BTreeMap<String, BranchInfo>, Error> {
        let list: Vec<BranchInfo> = self
            .json(Call::get(format!("/projects/{}/branches/", segment(name))))
            .await?;
        Ok(list
            .into_iter()
            .map(|branch| (branch.r#ref.clone(), branch))
            .collect())
    }

    /// The tags of a project by reference (`refs/tags/v1`).
    pub async fn project_tags(&self, name: &str) -> Result<BTreeMap<String, TagInfo>, Error> {
        let list: Vec<TagInfo> = self
            .json(Call::get(format!("/projects/{}/tags/", segment(name))))
            .await?;
        Ok(list
            .into_iter()
            .map(|tag| (tag.r#ref.clone(), tag))
            .collect())
    }

    /// An account by number, name or address; `self` is the caller, which checks credentials.
    pub async fn get_account(&self, id: &str) -> Result<AccountInfo, Error> {
        self.json(Call::get(format!("/accounts/{}", segment(id))))
            .await
    }

    /// One page of the accounts that `query` finds. The last of it says whether there are more.
    pub async fn query_accounts(
        &self,
        query: &str,
        options: &QueryOptions,
    ) -> Result<Vec<AccountInfo>, Error> {
        self.json(Call::get("/accounts/").query(options.pairs(Some(query))))
            .await
    }

    /// All accounts that `query` finds, page by page as they are taken.
    pub fn accounts(
        &self,
        query: &str,
        options: &QueryOptions,
    ) -> impl Stream<Item = Result<AccountInfo, Error>> + Send + use<> {
        let (client, query) = (self.clone(), query.to_owned());
        pages(
            options.clone(),
            |account: &AccountInfo| account.more_accounts,
            move |options| {
                let (client, query) = (client.clone(), query.clone());
                async move { client.query_accounts(&query, &options).await }
            },
        )
    }

    /// The groups by name.
    pub async fn get_groups(&self) -> Result<BTreeMap<String, GroupInfo>, Error> {
        let mut groups: BTreeMap<String, GroupInfo> = self.json(Call::get("/groups/")).await?;
        for (name, group) in &mut groups {
            if group.name.is_empty() {
                group.name.clone_from(name);
            }
        }
        Ok(groups)
    }

    /// The members of a group, by id or name.
    pub async fn group_members(&self, id: &str) -> Result<Vec<AccountInfo>, Error> {
        self.json(Call::get(format!("/groups/{}/members", segment(id))))
            .await
    }
}

/// A list as a stream: the next page begins after what has come, until the server says that
/// there is no more, or gives an empty page.
fn pages<T, F>(
    options: QueryOptions,
    more: impl Fn(&T) -> bool + Send + 'static,
    page: impl Fn(QueryOptions) -> F + Send + 'static,
) -> impl Stream<Item = Result<T, Error>> + Send
where
    T: Send + 'static,
    F: Future<Output = Result<Vec<T>, Error>> + Send,
{
    let state = (
        Some(options),
        std::collections::VecDeque::<T>::new(),
        more,
        page,
    );
    futures::stream::unfold(state, |(mut next, mut ready, more, page)| async move {
        loop {
            if let Some(item) = ready.pop_front() {
                return Some((Ok(item), (next, ready, more, page)));
            }
            let options = next.take()?;
            match page(options.clone()).await {
                Ok(list) => {
                    next = list.last().is_some_and(&more).then(|| QueryOptions {
                        start: options.start + list.len(),
                        ..options
                    });
                    ready = list.into();
                }
                Err(error) => return Some((Err(error), (None, ready, more, page))),
            }
        }
    })
}
