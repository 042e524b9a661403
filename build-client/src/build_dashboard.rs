//! A client of the build dashboard: what passed, what failed, the logs of failures; and how a
//! failure is cleared so that it is built again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::rest::{self, query};
use crate::{Error, ErrorKind, Result};

/// Longest log that is read.
const LONGEST_LOG: usize = 256 << 20;
/// Longest wait for an answer that is not a log.
const LIMIT: Duration = Duration::from_secs(60);
/// What the dashboard says when somebody else wrote at the same time.
const CONCURRENT: &str = "datastore: concurrent transaction";

/// A page of the dashboard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct BuildStatus {
    /// The builders: columns.
    pub builders: Vec<String>,
    /// The commits: rows, newest first.
    #[serde(deserialize_with = "null_is_empty")]
    pub revisions: Vec<BuildRevision>,
}

fn null_is_empty<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Vec<BuildRevision>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A commit and its results, in the order in which Go programs write it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BuildRevision {
    /// Its repository, such as `go` or `net`.
    pub repo: String,
    /// Its hash.
    pub revision: String,
    /// The commit of Go it was built with.
    #[serde(rename = "goRevision", skip_serializing_if = "String::is_empty")]
    pub go_revision: String,
    /// When it was committed, RFC 3339.
    pub date: String,
    /// Its branch.
    pub branch: String,
    /// The branch of Go.
    #[serde(rename = "goBranch", skip_serializing_if = "String::is_empty")]
    pub go_branch: String,
    /// `Name <address>`.
    pub author: String,
    /// First line of its message.
    pub desc: String,
    /// For each builder: nothing, `ok`, or where the log of the failure is.
    pub results: Vec<String>,
}

/// A failed build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The commit.
    pub hash: String,
    /// The builder.
    pub builder: String,
    /// Where its log is.
    pub log: String,
}

/// What a dashboard says when it is asked to clear a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cleared {
    /// It is gone, or was not there.
    Done,
    /// Somebody else writes to the same place: ask again.
    Busy,
    /// Its reason to refuse.
    Refused(String),
    /// It has answered with this status.
    Status(u16),
}

/// A client of one dashboard.
#[derive(Clone, Debug)]
pub struct Dashboard {
    base: String,
    http: reqwest::Client,
}

#[derive(Deserialize)]
struct Response {
    #[serde(rename = "Error", default)]
    error: String,
}

impl Dashboard {
    /// The dashboard at `base`, such as `https://build.golang.org`.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(base: &str) -> Result<Self> {
        Ok(Self {
            base: base.strip_suffix('/').unwrap_or(base).to_owned(),
            http: rest::client(None)?,
        })
    }

    /// The address of a page of a repository, named by import path; empty for the main one.
    #[must_use]
    pub fn page_url(&self, page: usize, import_path: &str, branch: &str) -> String {
        let mut url = format!("{}/?mode=json&page={page}", self.base);
        for (name, value) in [("repo", import_path), ("branch", branch)] {
            if !value.is_empty() {
                url += &format!("&{}", query(&[(name, value.to_owned())]));
            }
        }
        url
    }

    /// The page at an address of [`Dashboard::page_url`].
    ///
    /// # Errors
    /// When it cannot be had, or its rows have not one result for each column.
    pub async fn page(&self, url: &str) -> Result<BuildStatus> {
        let text = self.get(url, LIMIT).await?;
        let bogus = |source: Option<serde_json::Error>| {
            let text = format!("bogus JSON response from dashboard: {url}");
            match source {
                Some(source) => Error::caused_by(ErrorKind::Corrupt, text, source),
                None => Error::new(ErrorKind::Corrupt, text),
            }
        };
        let status: BuildStatus =
            serde_json::from_slice(&text).map_err(|error| bogus(Some(error)))?;
        if status
            .revisions
            .iter()
            .any(|row| row.results.len() != status.builders.len())
        {
            return Err(bogus(None));
        }
        Ok(status)
    }

    /// The failures of a branch of the main repository: those of the newest commits.
    ///
    /// # Errors
    /// When they cannot be had.
    pub async fn failures(&self, branch: &str) -> Result<Vec<Failure>> {
        let url = format!(
            "{}/?{}",
            self.base,
            query(&[("mode", "failures".into()), ("branch", branch.into())])
        );
        let text = self.get(&url, LIMIT).await?;
        let text = String::from_utf8_lossy(&text);
        let failures =
            text.lines().filter_map(
                |line| match line.split_whitespace().collect::<Vec<_>>()[..] {
                    [hash, builder, log] => Some(Failure {
                        hash: hash.into(),
                        builder: builder.into(),
                        log: log.into(),
                    }),
                    _ => None,
                },
            );
        Ok(failures.collect())
    }

    /// A log, by its address.
    ///
    /// # Errors
    /// When it cannot be had: an answer that is not 200 is no log.
    pub async fn log(&self, url: &str) -> Result<Vec<u8>> {
        self.get(url, Duration::from_secs(600)).await
    }

    async fn get(&self, url: &str, limit: Duration) -> Result<Vec<u8>> {
        let what = format!("fetching {url}");
        let answer = self
            .http
            .get(url)
            .timeout(limit)
            .send()
            .await
            .map_err(|error| rest::failed(&what, error))?;
        let status = answer.status();
        if status != 200 {
            let kind = if status == 404 {
                ErrorKind::NotFound
            } else {
                ErrorKind::Unavailable
            };
            return Err(Error::new(kind, format!("{what}: {status}")));
        }
        let mut answer = answer;
        let mut body = Vec::new();
        while let Some(piece) = answer
            .chunk()
            .await
            .map_err(|error| rest::failed(&what, error))?
        {
            body.extend_from_slice(&piece);
            if body.len() > LONGEST_LOG {
                return Err(Error::new(
                    ErrorKind::Limit,
                    format!("{what}: more than {LONGEST_LOG} bytes"),
                ));
            }
        }
        Ok(body)
    }

    /// Clears the result of a builder for a commit, so that it is built again. Tries ten times
    /// while somebody else writes to the same place, `wait` apart.
    ///
    /// # Errors
    /// What the dashboard says; [`ErrorKind::Conflict`] after ten tries.
    pub async fn clear(&self, builder: &str, hash: &str, key: &str, wait: Duration) -> Result<()> {
        let what = format!("clearing {builder} at {hash}");
        let failed = |kind, text: &str| Err(Error::new(kind, format!("{what}: {text}")));
        for left in (0..10).rev() {
            match self.clear_once(builder, hash, key).await? {
                Cleared::Done => return Ok(()),
                Cleared::Busy if left > 0 => {
                    tracing::info!(%builder, %hash, "somebody else writes, trying again");
                    tokio::time::sleep(wait).await;
                }
                Cleared::Busy => break,
                Cleared::Status(status) => {
                    let text = status.to_string();
                    return failed(ErrorKind::Unavailable, &text);
                }
                Cleared::Refused(error) => {
                    let text = format!("Dashboard error: {error}");
                    return failed(ErrorKind::Denied, &text);
                }
            }
        }
        failed(ErrorKind::Conflict, "too many datastore transaction issues")
    }

    /// Asks once to clear the result of a builder for a commit.
    ///
    /// # Errors
    /// When the dashboard cannot be reached, or its answer is none.
    pub async fn clear_once(&self, builder: &str, hash: &str, key: &str) -> Result<Cleared> {
        let what = format!("clearing {builder} at {hash}");
        let pairs = [
            ("builder", builder.to_owned()),
            ("hash", hash.to_owned()),
            ("key", key.to_owned()),
        ];
        // The key is in the query, by the protocol: the address stands in no error.
        let url = format!("{}/clear-results?{}", self.base, query(&pairs));
        let lost = |error: reqwest::Error| rest::failed(&what, error.without_url());
        let sent = self.http.post(&url).timeout(LIMIT).send().await;
        let answer = sent.map_err(lost)?;
        let status = answer.status();
        if status != 200 {
            return Ok(Cleared::Status(status.as_u16()));
        }
        let body = answer.bytes().await.map_err(lost)?;
        if body.is_empty() {
            return Ok(Cleared::Done);
        }
        let response: Response = serde_json::from_slice(&body).map_err(|error| {
            let text = format!("{what}: bad dashboard response");
            Error::caused_by(ErrorKind::Corrupt, text, error)
        })?;
        Ok(match response.error.replace(key, "[key]").as_str() {
            "" => Cleared::Done,
            CONCURRENT => Cleared::Busy,
            error => Cleared::Refused(error.to_owned()),
        })
    }
}
