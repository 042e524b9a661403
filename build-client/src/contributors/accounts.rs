//! What GitHub says of the people of a project: authors of its commits, members of its teams.

use std::time::Duration;

use serde::de::DeserializeOwned;

use super::*;
use crate::rest;

/// Longest wait for an answer.
const LIMIT: Duration = Duration::from_secs(30);
/// Entries of a page: the most that GitHub gives.
const PER_PAGE: usize = 100;
/// Pages that are asked for at most: ten million commits.
const PAGES: usize = 100_000;

/// GitHub, as far as it knows people.
pub struct GitHubAccounts {
    base: String,
    credentials: Option<(String, String)>,
    http: reqwest::Client,
}

/// The author of a commit, by the commit and by GitHub.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuthorAccount {
    /// The account's name.
    pub login: String,
    /// The author's name in the commit.
    pub name: String,
    /// The author's address in the commit.
    pub email: String,
}

/// A team that may do something in a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Team {
    /// Its name.
    pub name: String,
    /// Names of the accounts in it, sorted.
    pub members: Vec<String>,
}

#[derive(Deserialize)]
struct ListedCommit {
    commit: CommitText,
    author: Option<Account>,
}

#[derive(Deserialize)]
struct CommitText {
    author: Option<Signature>,
}

#[derive(Deserialize)]
struct Signature {
    #[serde(default)]
    name: String,
    #[serde(default)]
    email: String,
}

#[derive(Deserialize)]
struct Account {
    #[serde(default)]
    login: String,
}

#[derive(Deserialize)]
struct ListedTeam {
    name: String,
    slug: String,
}

impl GitHubAccounts {
    /// The API at `base` (`https://api.github.com`), asked by a user with a token, if there is one.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(base: impl Into<String>, credentials: Option<(String, String)>) -> Result<Self> {
        let base: String = base.into();
        Ok(Self {
            base: base.trim_end_matches('/').to_owned(),
            credentials,
            http: rest::client(None)?,
        })
    }

    /// The first commit, from the newest back, of each account that has one in a repository
    /// (`owner/name`); `tell` hears after each page how many commits were looked at. One request for
    /// a hundred commits.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::Denied`], [`ErrorKind::Limit`] when GitHub wants a pause,
    /// and those of the connection.
    pub async fn authors(
        &self,
        repo: &str,
        mut tell: impl FnMut(usize),
    ) -> Result<Vec<AuthorAccount>> {
        let path = format!("/repos/{}/commits", plain_path(repo)?);
        let (mut seen, mut found) = (HashSet::new(), Vec::new());
        for page in 1..=PAGES {
            let commits: Vec<ListedCommit> = self.page(&path, page).await?;
            let (count, before) = (commits.len(), (page - 1) * PER_PAGE);
            for commit in commits {
                let (Some(account), Some(author)) = (commit.author, commit.commit.author) else {
                    continue;
                };
                if !account.login.is_empty() && seen.insert(account.login.clone()) {
                    found.push(AuthorAccount {
                        login: account.login,
                        name: author.name,
                        email: author.email,
                    });
                }
            }
            tell(before + count);
            if count < PER_PAGE {
                break;
            }
        }
        Ok(found)
    }

    /// Teams with rights in a repository (`owner/name`), those in `wanted` alone. Who asks has to be
    /// somebody who may see them.
    ///
    /// # Errors
    /// As [`GitHubAccounts::authors`].
    pub async fn teams(&self, repo: &str, wanted: &[String]) -> Result<Vec<Team>> {
        let repo = plain_path(repo)?;
        let owner = repo.split('/').next().unwrap_or_default();
        let listed: Vec<ListedTeam> = self.all(&format!("/repos/{repo}/teams")).await?;
        let mut teams = Vec::new();
        for team in listed {
            if !wanted.contains(&team.name) && !wanted.contains(&team.slug) {
                continue;
            }
            let slug = rest::segment(&team.slug);
            let path = format!("/orgs/{owner}/teams/{slug}/members");
            let members: Vec<Account> = self.all(&path).await?;
            let mut members: Vec<_> = members.into_iter().map(|member| member.login).collect();
            members.sort();
            teams.push(Team {
                name: team.name,
                members,
            });
        }
        Ok(teams)
    }

    async fn all<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>> {
        let mut all = Vec::new();
        for page in 1..=PAGES {
            let entries: Vec<T> = self.page(path, page).await?;
            let is_last = entries.len() < PER_PAGE;
            all.extend(entries);
            if is_last {
                break;
            }
        }
        Ok(all)
    }

    async fn page<T: DeserializeOwned>(&self, path: &str, page: usize) -> Result<T> {
        let what = format!("asking GitHub for {path}, page {page}");
        let url = format!("{}{path}?per_page={PER_PAGE}&page={page}", self.base);
        let mut request = self.http.get(url).timeout(LIMIT);
        request = request.header("accept", "application/vnd.github+json");
        if let Some((user, token)) = &self.credentials {
            request = request.basic_auth(user, Some(token));
        }
        let answer = request.send().await;
        let answer = answer.map_err(|error| rest::failed(&what, error))?;
        if !answer.status().is_success() {
            return Err(refused(&what, &answer));
        }
        let bytes = answer.bytes().await;
        let bytes = bytes.map_err(|error| rest::failed(&what, error))?;
        serde_json::from_slice(&bytes)
            .map_err(|error| Error::caused_by(ErrorKind::Corrupt, what, error))
    }
}

fn refused(what: &str, answer: &reqwest::Response) -> Error {
    let status = answer.status();
    let left = answer.headers().get("x-ratelimit-remaining");
    let is_limit = status.as_u16() == 429 || left.is_some_and(|left| left == "0");
    let (kind, hint) = match status.as_u16() {
        _ if is_limit => (
            ErrorKind::Limit,
            "with a token more can be asked in an hour; or wait",
        ),
        401 | 403 => (ErrorKind::Denied, "see that the token may read this"),
        404 => (
            ErrorKind::NotFound,
            "see that it is called so, and that the token may read it",
        ),
        _ => (ErrorKind::Unavailable, "ask again later"),
    };
    Error::new(kind, format!("{what}: {status}")).with_hint(hint)
}

/// `owner/name`, which can be part of a path.
fn plain_path(repo: &str) -> Result<&str> {
    let plain = |part: &str| {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        !part.is_empty() && !part.starts_with('.') && part.bytes().all(is_plain)
    };
    match repo.split_once('/') {
        Some((owner, name)) if plain(owner) && plain(name) => Ok(repo),
        _ => {
            let error = Error::new(ErrorKind::Invalid, format!("{repo:?} is no repository"));
            Err(error.with_hint("write it as owner/name"))
        }
    }
}
