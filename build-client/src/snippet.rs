//! The snippets of the playground, as far as one has to be deleted.

use std::path::PathBuf;

use async_trait::async_trait;

use crate::{Error, ErrorKind, Result};

/// Addresses that end in the id of a snippet.
const ADDRESSES: &[&str] = &["play.golang.org/p/", "go.dev/play/p/", "play.go.dev/p/"];

/// The id of a snippet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnippetId(String);

impl SnippetId {
    /// Reads an id, or the address of a snippet: `https://play.golang.org/p/ID`,
    /// `https://go.dev/play/p/ID`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for text that no snippet is called.
    pub fn parse(text: &str) -> Result<Self> {
        let address = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"));
        let id = match address {
            None => text,
            Some(address) => ADDRESSES
                .iter()
                .find_map(|start| address.strip_prefix(start))
                .unwrap_or_default(),
        };
        // The playground adds .go for downloads.
        let id = id.strip_suffix(".go").unwrap_or(id);
        let plain = id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        if id.is_empty() || id.len() > 64 || !plain {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("{text:?} is no snippet of the playground"),
            )
            .with_hint("give its id, or an address such as https://play.golang.org/p/ID"));
        }
        Ok(Self(id.to_owned()))
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where snippets are.
#[async_trait]
pub trait SnippetStore: Send + Sync {
    /// Whether there is such a snippet.
    ///
    /// # Errors
    /// When the store cannot be asked.
    async fn has(&self, id: &SnippetId) -> Result<bool>;

    /// Deletes a snippet.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is none.
    async fn delete(&self, id: &SnippetId) -> Result<()>;
}

fn none(id: &SnippetId) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("no such snippet {:?}", id.as_str()),
    )
}

/// A file for each snippet, named by its id.
#[derive(Clone, Debug)]
pub struct Directory(PathBuf);

impl Directory {
    /// The snippets in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self(dir.into())
    }
}

#[async_trait]
impl SnippetStore for Directory {
    async fn has(&self, id: &SnippetId) -> Result<bool> {
        self.0.join(id.as_str()).try_exists().map_err(|error| {
            Error::caused_by(
                ErrorKind::Unavailable,
                format!("looking into {}", self.0.display()),
                error,
            )
        })
    }

    async fn delete(&self, id: &SnippetId) -> Result<()> {
        match std::fs::remove_file(self.0.join(id.as_str())) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(none(id)),
            done => done.map_err(|error| {
                let text = format!("deleting snippet {:?} in {}", id.as_str(), self.0.display());
                Error::caused_by(ErrorKind::Unavailable, text, error)
            }),
        }
    }
}

#[cfg(feature = "rest")]
pub use datastore::Datastore;

#[cfg(feature = "rest")]
mod datastore {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::gerrit::TokenSource;
    use crate::rest::{self, segment};

    /// Longest wait for one answer.
    const LIMIT: Duration = Duration::from_secs(30);

    /// The entities `Snippet` of a Google Cloud project.
    pub struct Datastore {
        base: String,
        project: String,
        token: Box<dyn TokenSource>,
        http: reqwest::Client,
    }

    impl Datastore {
        /// The store of `project`, for whoever `token` speaks for.
        ///
        /// # Errors
        /// When no HTTP client can be made.
        pub fn new(project: impl Into<String>, token: impl TokenSource + 'static) -> Result<Self> {
            Ok(Self {
                base: "https://datastore.googleapis.com".to_owned(),
                project: project.into(),
                token: Box::new(token),
                http: rest::client(None)?,
            })
        }

        /// Asks the service at `base` instead of Google's.
        #[must_use]
        pub fn at(self, base: impl Into<String>) -> Self {
            Self {
                base: base.into(),
                ..self
            }
        }

        async fn call(&self, method: &str, body: &Value) -> Result<Value> {
            let what = format!("the snippets of project {}", self.project);
            let url = format!(
                "{}/v1/projects/{}:{method}",
                self.base,
                segment(&self.project)
            );
            let token = self.token.token().await?;
            let asked = self
                .http
                .post(url)
                .bearer_auth(token)
                .json(body)
                .timeout(LIMIT)
                .send()
                .await;
            let answer = asked.map_err(|error| rest::failed(&what, error))?;
            let status = answer.status().as_u16();
            if status == 200 {
                return answer
                    .json()
                    .await
                    .map_err(|error| rest::failed(&what, error));
            }
            let kind = match status {
                401 | 403 => ErrorKind::Denied,
                404 => ErrorKind::NotFound,
                409 => ErrorKind::Conflict,
                _ => ErrorKind::Unavailable,
            };
            let error = Error::new(kind, format!("{what}: {}", answer.status()));
            Err(if kind == ErrorKind::Denied {
                error.with_hint("it needs Application Default Credentials: gcloud auth application-default login")
            } else {
                error
            })
        }

        fn key(&self, id: &SnippetId) -> Value {
            json!({
                "partitionId": { "projectId": self.project },
                "path": [{ "kind": "Snippet", "name": id.as_str() }],
            })
        }
    }

    #[async_trait]
    impl SnippetStore for Datastore {
        async fn has(&self, id: &SnippetId) -> Result<bool> {
            let answer = self
                .call("lookup", &json!({ "keys": [self.key(id)] }))
                .await?;
            Ok(answer["found"]
                .as_array()
                .is_some_and(|found| !found.is_empty()))
        }

        async fn delete(&self, id: &SnippetId) -> Result<()> {
            // The service says done to what it does not have.
            if !self.has(id).await? {
                return Err(none(id));
            }
            let body =
                json!({ "mode": "NON_TRANSACTIONAL", "mutations": [{ "delete": self.key(id) }] });
            self.call("commit", &body).await.map(|_| ())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_addresses() {
        for text in [
            "aB_9-x",
            "https://play.golang.org/p/aB_9-x",
            "http://play.golang.org/p/aB_9-x",
            "https://go.dev/play/p/aB_9-x",
            "https://play.golang.org/p/aB_9-x.go",
        ] {
            assert_eq!(SnippetId::parse(text).unwrap().as_str(), "aB_9-x", "{text}");
        }
        for text in [
            "",
            "../x",
            "a/b",
            "https://play.golang.org/p/",
            "https://example.test/p/x",
            "a b",
            "x?y",
        ] {
            assert!(SnippetId::parse(text).is_err(), "{text}");
        }
    }

    #[cfg(feature = "testing-gerrit")]
    #[tokio::test]
    async fn entities_of_a_google_project() {
        let server = crate::fake_gerrit::FakeGerrit::start().unwrap();
        let store = Datastore::new("proj", "t0ken".to_owned())
            .unwrap()
            .at(server.url());
        let id = SnippetId::parse("x").unwrap();
        server
            .world()
            .answer("/v1/projects/proj:lookup", 200, "{\"missing\": [{}]}");
        assert_eq!(
            store.delete(&id).await.unwrap_err().to_string(),
            "no such snippet \"x\""
        );
        server.world().answer(
            "/v1/projects/proj:lookup",
            200,
            "{\"found\": [{\"entity\": {}}]}",
        );
        server.world().answer(
            "/v1/projects/proj:commit",
            200,
            "{\"mutationResults\": [{}]}",
        );
        store.delete(&id).await.unwrap();
        assert_eq!(
            server.seen().last().unwrap(),
            "POST /v1/projects/proj:commit"
        );
        server.world().answer("/v1/projects/proj:lookup", 403, "{}");
        let error = store.delete(&id).await.unwrap_err();
        assert!(
            error.kind() == ErrorKind::Denied && !error.chain().contains("t0ken"),
            "{error}"
        );
    }
}
