//! The users of GitHub.

use std::time::Duration;

use super::*;
use crate::rest;

/// Longest wait for an answer.
const LIMIT: Duration = Duration::from_secs(30);

/// GitHub's users, each asked for once and kept in a directory.
pub struct GitHubProfiles {
    base: String,
    token: Option<String>,
    cache: Option<PathBuf>,
    http: reqwest::Client,
}

#[derive(Deserialize)]
struct Commit {
    author: Option<User>,
}

#[derive(Deserialize)]
struct User {
    id: u64,
}

impl GitHubProfiles {
    /// The users of the API at `base` (`https://api.github.com`).
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(
        base: impl Into<String>,
        token: Option<String>,
        cache: Option<PathBuf>,
    ) -> Result<Self> {
        Ok(Self {
            base: base.into(),
            token,
            cache,
            http: rest::client(None)?,
        })
    }

    /// An answer, from the directory when it is there. `None` for 404 and 422.
    async fn ask(&self, path: &str, name: &str) -> Result<Option<Vec<u8>>> {
        let file = self.cache.as_ref().map(|dir| dir.join(name));
        if let Some(bytes) = file.as_ref().and_then(|file| std::fs::read(file).ok()) {
            return Ok(Some(bytes));
        }
        let what = format!("asking GitHub for {path}");
        let mut request = self
            .http
            .get(format!("{}{path}", self.base))
            .timeout(LIMIT)
            .header("accept", "application/vnd.github+json");
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let answer = request
            .send()
            .await
            .map_err(|error| rest::failed(&what, error))?;
        match answer.status().as_u16() {
            200 => {}
            404 | 422 => return Ok(None),
            _ => {
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    format!("{what}: {}", answer.status()),
                ));
            }
        }
        let bytes = answer
            .bytes()
            .await
            .map_err(|error| rest::failed(&what, error))?
            .to_vec();
        if let Some(file) = file {
            let kept = std::fs::create_dir_all(file.parent().unwrap_or_else(|| Path::new(".")))
                .and_then(|()| std::fs::write(&file, &bytes));
            if let Err(error) = kept {
                tracing::warn!(%error, "an answer is not kept");
            }
        }
        Ok(Some(bytes))
    }
}

#[async_trait]
impl Profiles for GitHubProfiles {
    async fn author(&self, repo: &str, commit: &str) -> Result<Option<Profile>> {
        let damaged =
            |error| Error::caused_by(ErrorKind::Corrupt, "reading what GitHub says", error);
        let plain = |text: &str| {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/'))
        };
        if !plain(repo) || !plain(commit) {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("bad name of a commit {repo:?} {commit:?}"),
            ));
        }
        let name = format!("{}-{commit}-id", repo.replace('/', "-"));
        let Some(bytes) = self
            .ask(&format!("/repos/{repo}/commits/{commit}"), &name)
            .await?
        else {
            return Ok(None);
        };
        let known: Commit = serde_json::from_slice(&bytes).map_err(damaged)?;
        let Some(User { id }) = known.author else {
            return Ok(None);
        };
        let bytes = self
            .ask(&format!("/user/{id}"), &format!("user-id-{id}"))
            .await?;
        bytes
            .map(|bytes| serde_json::from_slice(&bytes).map_err(damaged))
            .transpose()
    }
}
