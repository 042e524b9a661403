//! Who a visitor is, and what they may do.

use std::fs::{OpenOptions, Permissions};
use std::io::{ErrorKind as Io, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use build_core::key::Token;
use build_core::{Error, ErrorKind, Result};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{Refusal, Site};

/// The cookie that a browser shows instead of a header: the id of its sign-in, never a token.
pub(crate) const COOKIE: &str = "farmer_sign_in";
/// The file of the token in the data directory.
const TOKEN_FILE: &str = "token";
/// Longest token that is looked at.
const MAX_TOKEN: usize = 256;

/// What somebody may do; each may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Reads public pages.
    Anyone,
    /// Asks for builds, and ends them.
    User,
    /// Everything.
    Admin,
}

/// Somebody who has shown credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    name: String,
    role: Role,
}

impl User {
    /// Somebody with a name for people and a role.
    pub fn new(name: impl Into<String>, role: Role) -> Self {
        Self {
            name: name.into(),
            role,
        }
    }

    /// The name for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What they may do.
    pub fn role(&self) -> Role {
        self.role
    }
}

/// Knows people by what they show.
#[async_trait]
pub trait Authorizer: Send + Sync {
    /// Whose token it is; `None` when it is nobody's.
    ///
    /// Takes the same time whatever part of a wrong token is right.
    ///
    /// # Errors
    /// When it cannot be told now.
    async fn identify(&self, token: &str) -> Result<Option<User>>;

    /// Whether `mac` is the HMAC-SHA256 of `message` under a token that is known here, as code
    /// hosts sign their notices. The default knows none.
    ///
    /// # Errors
    /// When it cannot be told now.
    async fn has_signed(&self, message: &[u8], mac: &[u8]) -> Result<bool> {
        let _nobody = (message, mac);
        Ok(false)
    }
}

/// One token in a file that its owner alone can read: whoever reads it is the admin.
#[derive(Clone)]
pub struct TokenFile {
    path: PathBuf,
    token: Token,
}

impl std::fmt::Debug for TokenFile {
    /// Leaves out the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenFile")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl TokenFile {
    /// The token of a data directory; drawn and written there at the first call.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] when others than its owner may read the file; otherwise when it
    /// cannot be read or written.
    pub fn open(data_dir: &Path) -> Result<Self> {
        let path = data_dir.join(TOKEN_FILE);
        let failed = |error: std::io::Error| {
            Error::from(error).while_doing(format!("read the token {}", path.display()))
        };
        let token = match draw_into(&path) {
            Ok(token) => token,
            Err(error) if error.kind() == Io::AlreadyExists => {
                check_private(&path)?;
                parse(&path, &std::fs::read_to_string(&path).map_err(failed)?)?
            }
            Err(error) => return Err(failed(error)),
        };
        Ok(Self { path, token })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The token, to be shown by programs of its owner.
    pub fn token(&self) -> &str {
        self.token.reveal()
    }
}

#[async_trait]
impl Authorizer for TokenFile {
    async fn identify(&self, token: &str) -> Result<Option<User>> {
        let same = Token::parse(token).is_ok_and(|shown| self.token.hash().accepts(&shown));
        Ok(same.then(|| User::new("owner", Role::Admin)))
    }

    async fn has_signed(&self, message: &[u8], mac: &[u8]) -> Result<bool> {
        let mut own = Hmac::<Sha256>::new_from_slice(self.token().as_bytes())
            .expect("HMAC takes keys of any length");
        own.update(message);
        Ok(own.verify_slice(mac).is_ok())
    }
}

fn parse(path: &Path, text: &str) -> Result<Token> {
    Token::parse(text).map_err(|_| {
        let text = format!("the file {} holds no token", path.display());
        Error::new(ErrorKind::Corrupt, text)
            .with_hint("remove it: the next start draws a new token")
    })
}

/// Writes a new token, whole or not at all; an older one is left alone.
fn draw_into(path: &Path) -> std::io::Result<Token> {
    if path.exists() {
        return Err(Io::AlreadyExists.into());
    }
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    let token = Token::from_entropy(bytes);
    let draft = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    writeln!(file, "{}", token.reveal())?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    Ok(token)
}

fn check_private(path: &Path) -> Result<()> {
    let mode = std::fs::metadata(path)?.permissions().mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let text = format!("the token {} can be read by others", path.display());
    let hint = format!("remove it, a new one is drawn: rm {}", path.display());
    Err(Error::new(ErrorKind::Denied, text).with_hint(hint))
}

/// Whoever asks: somebody known, or anyone. Never refused, for pages that show more to some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visitor(pub Option<User>);

impl FromRequestParts<Site> for Visitor {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, site: &Site) -> Result<Self, Refusal> {
        if let Some(token) = bearer(&parts.headers) {
            let is_one = token.len() <= MAX_TOKEN;
            return Ok(Self(match is_one {
                true => site.auth().identify(token).await?,
                false => None,
            }));
        }
        Ok(Self(
            sign_in_of(&parts.headers).and_then(|id| site.signed_in(id)),
        ))
    }
}

/// Somebody who may change something; everybody else is refused before the handler runs.
impl FromRequestParts<Site> for User {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, site: &Site) -> Result<Self, Refusal> {
        let Visitor(user) = Visitor::from_request_parts(parts, site).await?;
        match user {
            Some(user) if user.role >= Role::User => Ok(user),
            Some(user) => Err(Refusal::new(
                ErrorKind::Denied,
                format!("{} may only read", user.name),
                "ask an admin of this farm for another role",
            )),
            None => Err(unknown(&parts.headers)),
        }
    }
}

fn unknown(headers: &HeaderMap) -> Refusal {
    let text = if bearer(headers).is_some() {
        "the token is not known here"
    } else if sign_in_of(headers).is_some() {
        "the sign-in has ended"
    } else {
        "this needs a token, from this machine too"
    };
    let hint = "send `Authorization: Bearer TOKEN` with the token in the file `token` of the data directory";
    Refusal::new(ErrorKind::Denied, text, hint).with_status(StatusCode::UNAUTHORIZED)
}

/// The token in `Authorization: Bearer TOKEN`.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?;
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The id of the sign-in that a browser shows.
pub(crate) fn sign_in_of(headers: &HeaderMap) -> Option<&str> {
    let values = headers.get_all(header::COOKIE).iter();
    let mut pairs = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    pairs
        .find(|(name, _)| *name == COOKIE)
        .map(|(_, id)| id)
        .filter(|id| id.len() <= MAX_TOKEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_token_is_private_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let first = TokenFile::open(dir.path()).unwrap();
        let mode = std::fs::metadata(first.path())
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = TokenFile::open(dir.path()).unwrap();
        assert_eq!(again.token(), first.token());
        let owner = again.identify(first.token()).await.unwrap().unwrap();
        assert_eq!(owner.role(), Role::Admin);
        for wrong in ["", "x", &first.token()[1..], &first.token().to_uppercase()] {
            assert!(again.identify(wrong).await.unwrap().is_none(), "{wrong:?}");
        }
    }

    #[test]
    fn a_token_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let token = TokenFile::open(dir.path()).unwrap();
        std::fs::set_permissions(token.path(), Permissions::from_mode(0o644)).unwrap();
        let error = TokenFile::open(dir.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert!(error.hint().unwrap().contains("rm "), "{error:?}");
    }

    #[test]
    fn tokens_come_in_the_header_and_sign_ins_in_the_cookie() {
        let mut headers = HeaderMap::new();
        assert_eq!((bearer(&headers), sign_in_of(&headers)), (None, None));
        let cookies = "a=b; farmer_sign_in=c00kie; x";
        headers.insert(header::COOKIE, cookies.parse().unwrap());
        assert_eq!(sign_in_of(&headers), Some("c00kie"));
        headers.insert(header::AUTHORIZATION, "bearer h34der".parse().unwrap());
        assert_eq!(bearer(&headers), Some("h34der"));
        headers.insert(header::AUTHORIZATION, "Basic eDp5".parse().unwrap());
        assert_eq!(bearer(&headers), None);
        let endless = format!("farmer_sign_in={}", "0".repeat(MAX_TOKEN + 1));
        headers.insert(header::COOKIE, endless.parse().unwrap());
        assert_eq!(sign_in_of(&headers), None);
    }
}
