//! Events of a pubsub server: who should look, and where to ask on.

use std::time::Duration;

use serde::Deserialize;

/// How long a server may hold a question.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// What a server says happened.
#[derive(Debug, Clone, Deserialize)]
pub struct Event {
    /// When; the next question is for what came after.
    #[serde(rename = "Time")]
    pub time: String,
    #[serde(rename = "Gerrit")]
    gerrit: Option<GerritEvent>,
    #[serde(rename = "GitHub")]
    github: Option<GitHubEvent>,
}

#[derive(Debug, Clone, Deserialize)]
struct GerritEvent {
    #[serde(rename = "URL")]
    url: String,
    #[serde(rename = "Project")]
    project: String,
}

#[derive(Debug, Clone, Deserialize)]
struct GitHubEvent {
    #[serde(rename = "RepoOwner")]
    owner: String,
    #[serde(rename = "Repo")]
    repo: String,
}

/// The path of the question for what came after `time`, which may be empty.
pub fn path(time: &str) -> String {
    // A time has no characters that mean something in a query, but for the plus of a zone.
    format!("/waitevent?after={}", time.replace('+', "%2B"))
}

impl Event {
    /// Reads an answer.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(body: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(body).map_err(|error| error.to_string())
    }

    /// The name of the reader that it is for; none for what says only that nothing happened.
    pub fn topic(&self) -> Option<String> {
        if let Some(github) = &self.github {
            return Some(format!("github:{}/{}", github.owner, github.repo));
        }
        let gerrit = self.gerrit.as_ref()?;
        let host = gerrit
            .url
            .split_once("://")
            .map_or(gerrit.url.as_str(), |(_, rest)| rest);
        let host = host.split('/').next()?;
        let host = match host.strip_suffix("-review.googlesource.com") {
            Some(name) => format!("{name}.googlesource.com"),
            None => host.to_owned(),
        };
        Some(format!("gerrit:{host}/{}", gerrit.project))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics() {
        for (event, topic) in [
            (
                r#"{"Time":"t","Gerrit":{"URL":"https://go-review.googlesource.com/2","Project":"build","CommitHash":"x","ChangeNumber":2}}"#,
                Some("gerrit:go.googlesource.com/build"),
            ),
            (
                r#"{"Time":"t","GitHub":{"Action":"opened","RepoOwner":"golang","Repo":"go","IssueNumber":5}}"#,
                Some("github:golang/go"),
            ),
            (r#"{"Time":"t","LongPollTimeout":true}"#, None),
        ] {
            let event = Event::read(event.as_bytes()).unwrap();
            assert_eq!(event.topic().as_deref(), topic);
        }
        assert!(Event::read(b"{}").is_err());
        assert_eq!(
            path("2021-01-01T00:00:00+01:00"),
            "/waitevent?after=2021-01-01T00:00:00%2B01:00"
        );
    }
}
