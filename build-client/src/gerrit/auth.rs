//! How a client says who it is.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use base64::Engine as _;
use md5::{Digest as _, Md5};
use url::Url;

use super::Error;
use super::cookies::{self, Cookie, parse_cookies, parse_netrc};

/// Where bearer tokens come from.
#[async_trait]
pub trait TokenSource: Send + Sync {
    /// A token that is good now.
    ///
    /// # Errors
    /// When there is none.
    async fn token(&self) -> crate::Result<String>;
}

#[async_trait]
impl TokenSource for String {
    async fn token(&self) -> crate::Result<String> {
        Ok(self.clone())
    }
}

/// How a client says who it is.
#[derive(Clone)]
#[non_exhaustive]
pub enum Auth {
    /// It does not.
    None,
    /// A user and an HTTP password.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// The cookies of a cookie file, which is read again when it changes.
    Cookies(Arc<CookieFile>),
    /// MD5 digest, for servers before 2.14.
    Digest {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// A bearer token.
    Bearer(Arc<dyn TokenSource>),
}

impl fmt::Debug for Auth {
    /// Names the kind alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Basic { .. } => "Basic",
            Self::Cookies(_) => "Cookies",
            Self::Digest { .. } => "Digest",
            Self::Bearer(_) => "Bearer",
        })
    }
}

impl Auth {
    /// A user and an HTTP password.
    pub fn basic(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self::Basic {
            user: user.into(),
            password: password.into(),
        }
    }

    /// The cookies in the file at `path`.
    ///
    /// # Errors
    /// [`Error::Auth`] when it cannot be read.
    pub fn cookie_file(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let file = CookieFile {
            path: path.into(),
            read: Mutex::default(),
        };
        file.cookies()?;
        Ok(Self::Cookies(Arc::new(file)))
    }

    /// What git would use for `server`: the cookie file of its configuration, seen from `dir`,
    /// then the netrc file in `home`.
    ///
    /// # Errors
    /// [`Error::Auth`] when neither has credentials for the server.
    pub fn of_git(server: &str, dir: &Path, home: &Path) -> Result<Self, Error> {
        let none = |why: &str| Error::Auth {
            server: server.to_owned(),
            why: why.to_owned(),
        };
        let url: Url = server
            .parse()
            .map_err(|_| none("the address of the server is none"))?;
        let configured = Command::new("git")
            .args(["config", "--path", "http.cookiefile"])
            .current_dir(dir)
            .env("HOME", home)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| none(&format!("cannot run git: {error}")))?;
        let path = String::from_utf8_lossy(&configured.stdout)
            .trim()
            .to_owned();
        if configured.status.success() && !path.is_empty() {
            let text = std::fs::read_to_string(dir.join(&path)).unwrap_or_default();
            if cookies::header(&parse_cookies(&text), &url).is_some() {
                return Self::cookie_file(dir.join(path));
            }
        }
        let host = match (url.host_str(), url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (Some(host), None) => host.to_owned(),
            _ => return Err(none("the address names no host")),
        };
        let netrc = home.join(if cfg!(windows) { "_netrc" } else { ".netrc" });
        let text = std::fs::read_to_string(netrc).unwrap_or_default();
        let (user, password) = parse_netrc(&text, &host).ok_or_else(|| {
            none("git's cookie file has no cookie for it and the netrc file no entry")
        })?;
        Ok(Self::basic(user, password))
    }

    /// Whether calls go to the paths under `/a`.
    pub(super) fn is_some(&self) -> bool {
        !matches!(self, Self::None)
    }

    /// The header that goes with a call.
    pub(super) async fn header(&self, url: &Url) -> Result<Option<(&'static str, String)>, Error> {
        Ok(match self {
            // The digest is made of what the server says, in `client`.
            Self::None | Self::Digest { .. } => None,
            Self::Basic { user, password } => {
                let text =
                    base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
                Some(("authorization", format!("Basic {text}")))
            }
            Self::Cookies(file) => {
                let cookies = file.cookies()?;
                let value = cookies::header(&cookies, url).ok_or_else(|| Error::Auth {
                    server: url.origin().ascii_serialization(),
                    why: format!("no cookie for it in {}", file.path.display()),
                })?;
                Some(("cookie", value))
            }
            Self::Bearer(source) => {
                let token = source.token().await.map_err(|error| Error::Auth {
                    server: url.origin().ascii_serialization(),
                    why: error.to_string(),
                })?;
                Some(("authorization", format!("Bearer {token}")))
            }
        })
    }
}

/// A cookie file that may change on disk.
pub struct CookieFile {
    path: PathBuf,
    read: Mutex<Option<(SystemTime, Vec<Cookie>)>>,
}

impl CookieFile {
    fn cookies(&self) -> Result<Vec<Cookie>, Error> {
        let unreadable = |error: std::io::Error| Error::Auth {
            server: self.path.display().to_string(),
            why: format!("cannot read the cookie file: {error}"),
        };
        let changed = std::fs::metadata(&self.path)
            .and_then(|meta| meta.modified())
            .map_err(unreadable)?;
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, cookies)) = &*read
            && *at == changed
        {
            return Ok(cookies.clone());
        }
        let text = std::fs::read_to_string(&self.path).map_err(unreadable)?;
        let cookies = parse_cookies(&text);
        *read = Some((changed, cookies.clone()));
        Ok(cookies)
    }
}

/// The `Authorization` header that answers a `WWW-Authenticate: Digest …` challenge.
pub(super) fn digest(
    challenge: &str,
    user: &str,
    password: &str,
    method: &str,
    path: &str,
    cnonce: &str,
) -> Option<String> {
    let fields = challenge.strip_prefix("Digest ")?;
    let field = |name: &str| {
        fields.split(',').find_map(|field| {
            let (key, value) = field.trim().split_once('=')?;
            (key == name).then(|| value.trim_matches('"').to_owned())
        })
    };
    let (realm, nonce) = (field("realm")?, field("nonce")?);
    let hash = |text: String| hex::encode(Md5::digest(text));
    let ha1 = hash(format!("{user}:{realm}:{password}"));
    let ha2 = hash(format!("{method}:{path}"));
    let count = "00000001";
    let response = hash(format!("{ha1}:{nonce}:{count}:{cnonce}:auth:{ha2}"));
    Some(format!(
        "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{path}\", \
         cnonce=\"{cnonce}\", nc={count}, qop=\"auth\", response=\"{response}\", algorithm=\"MD5\""
    ))
}

/// A random word for [`digest`].
pub(super) fn cnonce() -> String {
    let mut random = [0; 16];
    // Without it the digest is as weak as the one that Go's client sends.
    let _weaker = getrandom::fill(&mut random);
    hex::encode(random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_of_the_protocol() {
        let challenge = "Digest realm=\"Gerrit Code Review\", domain=\"x\", \
                         nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", qop=\"auth\"";
        let header = digest(
            challenge,
            "User",
            "Password",
            "GET",
            "/a/accounts/self",
            "MTM3MDgw",
        )
        .unwrap();
        assert!(
            header.contains("response=\"10d5e4a0cf67e932500d6046e480c264\""),
            "{header}"
        );
        assert!(digest("Basic realm=\"x\"", "u", "p", "GET", "/", "c").is_none());
    }

    #[test]
    fn what_git_uses() {
        let home = tempfile::tempdir().unwrap();
        let server = "https://review.example.test";
        assert!(Auth::of_git(server, home.path(), home.path()).is_err());
        std::fs::write(
            home.path().join(".netrc"),
            "machine review.example.test login u password p\n",
        )
        .unwrap();
        let auth = Auth::of_git(server, home.path(), home.path()).unwrap();
        assert_eq!(format!("{auth:?}"), "Basic");
        std::fs::write(
            home.path().join("jar"),
            "review.example.test\tFALSE\t/\tTRUE\t0\to\tv\n",
        )
        .unwrap();
        std::fs::write(
            home.path().join(".gitconfig"),
            "[http]\n\tcookiefile = ~/jar\n",
        )
        .unwrap();
        let auth = Auth::of_git(server, home.path(), home.path()).unwrap();
        assert_eq!(format!("{auth:?}"), "Cookies");
    }
}
