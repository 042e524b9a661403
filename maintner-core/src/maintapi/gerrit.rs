//! The review server of a Gerrit project, asked for the changes that wait.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{ChangeSearch, Comment, SearchError, WaitingChange, WaitingMessage};

/// The Go project's review server.
const GO_REVIEW: &str = "https://go-review.googlesource.com";
const QUERY: &str = "label:Run-TryBot=1 label:TryBot-Result=0 status:open";
const OPTIONS: [&str; 4] = [
    "CURRENT_REVISION",
    "CURRENT_COMMIT",
    "MESSAGES",
    "DETAILED_ACCOUNTS",
];
/// What Gerrit puts before JSON so that no browser runs it.
const GUARD: &[u8] = b")]}'";
const LONGEST: usize = 64 << 20;

/// Asks a Gerrit server over REST, without credentials.
#[derive(Debug, Clone)]
pub struct GerritSearch {
    http: reqwest::Client,
    server: String,
    query: String,
}

impl GerritSearch {
    /// Asks the server at `url`, such as `https://go-review.googlesource.com`.
    ///
    /// # Errors
    /// When no connection could ever be made: TLS cannot be set up.
    pub fn new(url: &str) -> Result<Self, SearchError> {
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(crate::net::tls())
            .timeout(Duration::from_secs(10))
            .build()?;
        Ok(Self {
            http,
            server: url.trim_end_matches('/').to_owned(),
            query: QUERY.to_owned(),
        })
    }

    /// Asks the Go project's server.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn go() -> Result<Self, SearchError> {
        Self::new(GO_REVIEW)
    }

    async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, SearchError> {
        let request = self.http.get(format!("{}{path}", self.server)).query(query);
        let mut response = request.send().await?.error_for_status()?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            body.extend_from_slice(&chunk);
            if body.len() > LONGEST {
                return Err(format!("{} sent more than {LONGEST} bytes", self.server).into());
            }
        }
        let json = body.strip_prefix(GUARD).unwrap_or(&body);
        Ok(serde_json::from_slice(json)?)
    }
}

#[derive(Deserialize)]
struct ChangeInfo {
    project: String,
    #[serde(rename = "_number")]
    number: i32,
    branch: String,
    #[serde(default)]
    current_revision: String,
    #[serde(default)]
    revisions: std::collections::HashMap<String, Revision>,
    #[serde(default)]
    messages: Vec<MessageInfo>,
}

#[derive(Deserialize)]
struct Revision {
    #[serde(rename = "_number", default)]
    number: i32,
}

#[derive(Deserialize, Default)]
struct Account {
    #[serde(rename = "_account_id", default)]
    id: i64,
}

#[derive(Deserialize)]
struct MessageInfo {
    #[serde(default)]
    author: Account,
    date: String,
    #[serde(default)]
    message: String,
    #[serde(rename = "_revision_number", default)]
    revision: i32,
}

#[derive(Deserialize)]
struct CommentInfo {
    #[serde(default)]
    author: Account,
    updated: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    patch_set: i32,
}

impl From<ChangeInfo> for WaitingChange {
    fn from(info: ChangeInfo) -> Self {
        let revision = info.revisions.get(&info.current_revision);
        Self {
            patch_set: revision.map_or(0, |revision| revision.number),
            commit: revision.map(|_| info.current_revision.clone()),
            project: info.project,
            number: info.number,
            branch: info.branch,
            messages: info
                .messages
                .into_iter()
                .map(|message| WaitingMessage {
                    author_id: message.author.id,
                    date: message.date,
                    patch_set: message.revision,
                    text: message.message,
                })
                .collect(),
        }
    }
}

impl ChangeSearch for GerritSearch {
    fn waiting(
        &self,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<WaitingChange>, SearchError>> + Send + '_>> {
        Box::pin(async {
            let mut query = vec![("q", self.query.as_str())];
            query.extend(OPTIONS.map(|option| ("o", option)));
            let found: Vec<ChangeInfo> = self.get("/changes/", &query).await?;
            Ok(found.into_iter().map(WaitingChange::from).collect())
        })
    }

    fn comments<'a>(
        &'a self,
        project: &'a str,
        number: i32,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<Comment>, SearchError>> + Send + 'a>> {
        Box::pin(async move {
            let escaped = project.replace('%', "%25").replace('/', "%2F");
            let path = format!("/changes/{escaped}~{number}/comments");
            let mut by_file: std::collections::HashMap<String, Vec<CommentInfo>> =
                self.get(&path, &[]).await?;
            let found = by_file.remove("/PATCHSET_LEVEL").unwrap_or_default();
            Ok(found
                .into_iter()
                .map(|comment| Comment {
                    author_id: comment.author.id,
                    date: comment.updated,
                    patch_set: comment.patch_set,
                    text: comment.message,
                })
                .collect())
        })
    }
}
