//! Secrets by name: from a directory, a secret manager, or several places in turn.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> build_client::Result<()> {
//! use build_client::secret::{Chain, Directory, Given, SecretSource, names};
//!
//! let dir = tempfile::tempdir().expect("a directory");
//! std::fs::write(dir.path().join(names::BUILDER_MASTER_KEY), "gophers rule\n").expect("a file");
//! let secrets = Chain::new().with(Given::default()).with(Directory::new(dir.path()));
//! let key = secrets.get(names::BUILDER_MASTER_KEY).await?;
//! assert_eq!(key.reveal(), "gophers rule\n");
//! assert_eq!(format!("{key:?}"), "Secret(hidden)");
//! # Ok(()) }
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use async_trait::async_trait;

use crate::{Error, ErrorKind, Result};

/// What the Go project's secrets are called.
pub mod names {
    /// The secret that the keys of builders and users are derived from.
    pub const BUILDER_MASTER_KEY: &str = "builder-master-key";
    /// The key that runs benchmarks.
    pub const FARMER_RUN_BENCH: &str = "farmer-run-bench";
    /// The cookie file of gerritbot.
    pub const GERRITBOT_GIT_COOKIES: &str = "gerritbot-gitcookies";
    /// The SSH key for GitHub.
    pub const GITHUB_SSH: &str = "github-ssh";
    /// The private SSH key for GitHub.
    pub const GITHUB_SSH_KEY: &str = "github-ssh-private-key";
    /// The password of gopherbot.
    pub const GOBOT_PASSWORD: &str = "gobot-password";
    /// The public SSH key of gomote.
    pub const GOMOTE_SSH_PUBLIC_KEY: &str = "gomote-ssh-public-key";
    /// The GitHub token of the corpus.
    pub const MAINTNER_GITHUB_TOKEN: &str = "maintner-github-token";
    /// What GitHub's webhooks are signed with.
    pub const PUBSUBHELPER_WEBHOOK: &str = "pubsubhelper-webhook-secret";
    /// The secret half of the key for AWS.
    pub const AWS_ACCESS_KEY: &str = "aws-access-key";
    /// The public half of the key for AWS.
    pub const AWS_KEY_ID: &str = "aws-key-id";
}

/// How a flag's value says that it names a secret.
const REFERENCE: &str = "secret:";

/// A secret. It does not show in debug output, and is overwritten when it is dropped.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// A secret, as it was stored: white space around it is part of it.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.0).into_bytes();
        bytes.fill(0);
        // Keeps the writes from being seen as useless.
        std::hint::black_box(&bytes);
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// Where secrets are.
#[async_trait]
pub trait SecretSource: Send + Sync {
    /// The secret of that name.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is none, [`ErrorKind::Invalid`] for a name that no
    /// secret has; what was found never stands in the error.
    async fn get(&self, name: &str) -> Result<Secret>;
}

fn none(name: &str, place: &str) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("no secret {name:?} in {place}"),
    )
}

fn checked(name: &str) -> Result<()> {
    let plain = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if name.is_empty() || !plain || name.starts_with('.') {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("bad name of a secret {name:?}"),
        ));
    }
    Ok(())
}

/// A file for each secret: `DIR/NAME`, as Kubernetes and systemd hand them in.
#[derive(Clone, Debug)]
pub struct Directory(PathBuf);

impl Directory {
    /// The secrets in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self(dir.into())
    }
}

#[async_trait]
impl SecretSource for Directory {
    async fn get(&self, name: &str) -> Result<Secret> {
        checked(name)?;
        match std::fs::read_to_string(self.0.join(name)) {
            Ok(text) => Ok(Secret::new(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(none(name, &self.0.display().to_string()))
            }
            Err(error) => {
                let text = format!("reading secret {name:?} in {}", self.0.display());
                Err(Error::caused_by(ErrorKind::Denied, text, error))
            }
        }
    }
}

/// Secrets that somebody handed in, such as those of the environment.
#[derive(Clone, Default)]
pub struct Given(BTreeMap<String, Secret>);

impl Given {
    /// The variables of an environment that begin with `prefix`: what follows it, in lower case
    /// and with `-` for `_`, is the name. `FARMER_SECRET_GITHUB_SSH` is `github-ssh`.
    pub fn from_env(env: impl IntoIterator<Item = (String, String)>, prefix: &str) -> Self {
        let named = env.into_iter().filter_map(|(key, value)| {
            let name = key
                .strip_prefix(prefix)?
                .to_ascii_lowercase()
                .replace('_', "-");
            Some((name, Secret::new(value)))
        });
        Self(named.collect())
    }
}

#[async_trait]
impl SecretSource for Given {
    async fn get(&self, name: &str) -> Result<Secret> {
        checked(name)?;
        self.0
            .get(name)
            .cloned()
            .ok_or_else(|| none(name, "what was handed in"))
    }
}

/// Several places: the first that has a secret gives it.
#[derive(Default)]
pub struct Chain(Vec<Box<dyn SecretSource>>);

impl Chain {
    /// No place yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a place, to be asked after those that are there.
    #[must_use]
    pub fn with(mut self, source: impl SecretSource + 'static) -> Self {
        self.0.push(Box::new(source));
        self
    }
}

#[async_trait]
impl SecretSource for Chain {
    async fn get(&self, name: &str) -> Result<Secret> {
        checked(name)?;
        for source in &self.0 {
            match source.get(name).await {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                found => return found,
            }
        }
        Err(none(name, "any place that was asked"))
    }
}

/// The value of a flag: `secret:NAME` is the secret of that name, everything else stands for
/// itself.
///
/// # Errors
/// Those of `source`.
pub async fn resolve(value: &str, source: &dyn SecretSource) -> Result<Secret> {
    match value.strip_prefix(REFERENCE) {
        Some(name) => source.get(name).await,
        None => Ok(Secret::new(value)),
    }
}

#[cfg(feature = "rest")]
pub use google::{GoogleSecrets, MetadataServer};

#[cfg(feature = "rest")]
mod google;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_place_that_has_it_gives_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("one"), " 1\n").unwrap();
        std::fs::write(dir.path().join("github-ssh"), "from the directory").unwrap();
        let env = [
            ("FARMER_SECRET_GITHUB_SSH", "from the environment"),
            ("PATH", "/bin"),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let chain = Chain::new()
            .with(Given::from_env(env, "FARMER_SECRET_"))
            .with(Directory::new(dir.path()));
        assert_eq!(
            chain.get(names::GITHUB_SSH).await.unwrap().reveal(),
            "from the environment"
        );
        assert_eq!(chain.get("one").await.unwrap().reveal(), " 1\n");
        assert_eq!(
            chain.get("two").await.unwrap_err().kind(),
            ErrorKind::NotFound
        );
        for bad in ["", "../one", "a/b", ".hidden", "a b"] {
            assert_eq!(
                chain.get(bad).await.unwrap_err().kind(),
                ErrorKind::Invalid,
                "{bad}"
            );
        }
        assert_eq!(
            resolve("secret:one", &chain).await.unwrap().reveal(),
            " 1\n"
        );
        assert_eq!(resolve("one", &chain).await.unwrap().reveal(), "one");
        let error = resolve("secret:nope", &chain).await.unwrap_err();
        assert!(error.to_string().contains("\"nope\""), "{error}");
    }

    #[cfg(feature = "testing-gerrit")]
    #[tokio::test]
    async fn secrets_of_a_google_project() {
        use crate::fake_gerrit::FakeGerrit;
        // Any server that gives fixed answers will do.
        let server = FakeGerrit::start().unwrap();
        {
            let mut world = server.world();
            world.answer("/computeMetadata/v1/project/project-id", 200, "proj");
            let token = "/computeMetadata/v1/instance/service-accounts/default/token";
            world.answer(
                token,
                200,
                "{\"access_token\": \"t0ken\", \"expires_in\": 3000}",
            );
            let path =
                |name: &str| format!("/v1/projects/proj/secrets/{name}/versions/latest:access");
            world.answer(
                &path("github-ssh"),
                200,
                "{\"name\": \"x\", \"payload\": {\"data\": \"IGtleQo=\"}}",
            );
            world.answer(&path("odd"), 200, "{\"payload\": {\"data\": \"!\"}}");
            world.answer(&path("closed"), 403, "{\"error\": \"IGtleQo=\"}");
        }
        let metadata = MetadataServer::new(server.url()).unwrap();
        let secrets = GoogleSecrets::of_instance(metadata)
            .await
            .unwrap()
            .at(server.url());
        assert_eq!(secrets.get("github-ssh").await.unwrap().reveal(), " key\n");
        for (name, kind) in [
            ("none", ErrorKind::NotFound),
            ("closed", ErrorKind::Denied),
            ("odd", ErrorKind::Corrupt),
        ] {
            let error = secrets.get(name).await.unwrap_err();
            assert_eq!(error.kind(), kind);
            let told = error.chain();
            assert!(
                told.contains(name) && told.contains("proj") && !told.contains("IGtl"),
                "{told}"
            );
        }
    }
}
