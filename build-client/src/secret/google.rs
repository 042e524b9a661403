//! The secret manager of Google Cloud, and what an instance knows about itself.

use std::time::Duration;

use base64::Engine as _;
use serde::Deserialize;

use super::*;
use crate::gerrit::TokenSource;
use crate::rest::{self, segment};

/// Longest wait for the metadata server, which is near or not there.
const METADATA: Duration = Duration::from_secs(2);
/// Longest wait for a secret.
const LIMIT: Duration = Duration::from_secs(5);

/// What a Google Cloud instance knows about itself: its project, and tokens of its account.
#[derive(Clone, Debug)]
pub struct MetadataServer {
    base: String,
    http: reqwest::Client,
}

impl MetadataServer {
    /// The server at `base`: `http://metadata.google.internal`, or a stand-in.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(base: impl Into<String>) -> Result<Self> {
        Ok(Self {
            base: base.into(),
            http: rest::client(None)?,
        })
    }

    async fn ask(&self, path: &str) -> Result<reqwest::Response> {
        let url = format!("{}/computeMetadata/v1/{path}", self.base);
        let asked = self
            .http
            .get(&url)
            .header("Metadata-Flavor", "Google")
            .timeout(METADATA)
            .send()
            .await;
        let answer = asked.map_err(|error| {
            rest::failed("asking the metadata server: not on Google Cloud?", error)
        })?;
        if answer.status() == 200 {
            return Ok(answer);
        }
        let text = format!("the metadata server knows no {path}: {}", answer.status());
        Err(Error::new(ErrorKind::NotFound, text))
    }

    /// The project of the instance.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] where this is no instance.
    pub async fn project(&self) -> Result<String> {
        let answer = self.ask("project/project-id").await?;
        answer
            .text()
            .await
            .map_err(|error| rest::failed("asking the metadata server", error))
    }
}

#[derive(Deserialize)]
struct AccessToken {
    access_token: String,
}

#[async_trait]
impl TokenSource for MetadataServer {
    async fn token(&self) -> Result<String> {
        let answer = self.ask("instance/service-accounts/default/token").await?;
        let token: AccessToken = answer
            .json()
            .await
            .map_err(|error| rest::failed("asking the metadata server for a token", error))?;
        Ok(token.access_token)
    }
}

/// The secrets of a Google Cloud project.
pub struct GoogleSecrets {
    base: String,
    project: String,
    token: Box<dyn TokenSource>,
    http: reqwest::Client,
}

impl GoogleSecrets {
    /// The secrets of `project`, for whoever `token` speaks for.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(project: impl Into<String>, token: impl TokenSource + 'static) -> Result<Self> {
        Ok(Self {
            base: "https://secretmanager.googleapis.com".to_owned(),
            project: project.into(),
            token: Box::new(token),
            http: rest::client(None)?,
        })
    }

    /// The secrets of the instance's own project.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] where this is no instance.
    pub async fn of_instance(metadata: MetadataServer) -> Result<Self> {
        let project = metadata.project().await?;
        Self::new(project, metadata)
    }

    /// Asks the service at `base` instead of Google's.
    #[must_use]
    pub fn at(self, base: impl Into<String>) -> Self {
        Self {
            base: base.into(),
            ..self
        }
    }
}

#[derive(Deserialize)]
struct Version {
    payload: Payload,
}

#[derive(Deserialize)]
struct Payload {
    data: String,
}

#[async_trait]
impl SecretSource for GoogleSecrets {
    async fn get(&self, name: &str) -> Result<Secret> {
        checked(name)?;
        let what = format!("secret {name:?} of project {}", self.project);
        let url = format!(
            "{}/v1/projects/{}/secrets/{name}/versions/latest:access",
            self.base,
            segment(&self.project)
        );
        let token = self.token.token().await?;
        let asked = self
            .http
            .get(url)
            .bearer_auth(token)
            .timeout(LIMIT)
            .send()
            .await;
        let answer = asked.map_err(|error| rest::failed(&what, error))?;
        let kind = match answer.status().as_u16() {
            200 => None,
            404 => Some(ErrorKind::NotFound),
            401 | 403 => Some(ErrorKind::Denied),
            _ => Some(ErrorKind::Unavailable),
        };
        if let Some(kind) = kind {
            return Err(Error::new(kind, format!("{what}: {}", answer.status())));
        }
        let damaged = || {
            Error::new(
                ErrorKind::Corrupt,
                format!("{what}: the answer holds no text"),
            )
        };
        let version: Version = answer.json().await.map_err(|_| damaged())?;
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(version.payload.data)
            .map_err(|_| damaged())?;
        Ok(Secret::new(
            String::from_utf8(bytes).map_err(|_| damaged())?,
        ))
    }
}
