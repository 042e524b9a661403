//! Who a visitor is, and what they may do.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, StatusCode, header};
use build_core::event::Principal;
use build_core::key::Token;
use build_core::{ErrorKind, Result};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{Refusal, Site};
use crate::store::again;
use crate::who::{self, Caller, Credential, Directory, Right, Role, TokenFile};

/// The cookie that a browser shows instead of a header: the id of its sign-in, never a token.
pub(crate) const COOKIE: &str = "farmer_sign_in";
/// Longest id of a sign-in that is looked at.
const MAX_SIGN_IN: usize = 256;

/// Somebody who has shown credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User(Caller);

impl User {
    /// Somebody with a name for people and a role.
    pub fn new(name: impl AsRef<str>, role: Role) -> Self {
        Self(Caller::new(Principal::person(name.as_ref()), role))
    }

    /// The name for people.
    pub fn name(&self) -> &str {
        self.0.principal().name()
    }

    /// What they are.
    pub fn role(&self) -> Role {
        self.0.role()
    }

    /// Whether they may do it: their role allows it, and so does the key that they have shown.
    #[must_use]
    pub fn may(&self, right: Right<'_>) -> bool {
        self.0.may(right)
    }

    /// With all there is to know.
    pub fn caller(&self) -> &Caller {
        &self.0
    }
}

impl From<Caller> for User {
    fn from(caller: Caller) -> Self {
        Self(caller)
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

    /// Who shows this, from `peer` when that is known. The default asks
    /// [`Authorizer::identify`] for tokens, and knows nothing else.
    ///
    /// # Errors
    /// Why they are refused.
    async fn caller(
        &self,
        credential: &Credential<'_>,
        peer: Option<IpAddr>,
    ) -> Result<User, who::Refusal> {
        let _from_anywhere = peer;
        let Credential::Bearer(token) = credential else {
            return Err(who::Refusal::Unknown);
        };
        let found = self.identify(token).await;
        found
            .map_err(who::Refusal::Unavailable)?
            .ok_or(who::Refusal::Unknown)
    }

    /// Somebody who has shown a token a while ago, as they are now; `None` when that token is not
    /// good any more. The default lets them stay as they were.
    ///
    /// # Errors
    /// When it cannot be told now.
    async fn still(&self, user: User) -> Result<Option<User>> {
        Ok(Some(user))
    }

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

#[async_trait]
impl Authorizer for TokenFile {
    async fn identify(&self, token: &str) -> Result<Option<User>> {
        let same = Token::parse(token).is_ok_and(|shown| self.accepts(&shown));
        Ok(same.then(|| User::new("owner", Role::Admin)))
    }

    async fn has_signed(&self, message: &[u8], mac: &[u8]) -> Result<bool> {
        let mut own = Hmac::<Sha256>::new_from_slice(self.token().as_bytes())
            .expect("HMAC takes keys of any length");
        own.update(message);
        Ok(own.verify_slice(mac).is_ok())
    }
}

/// Users and keys. Notices of code hosts are signed with the token of the owner.
#[async_trait]
impl Authorizer for Directory {
    async fn identify(&self, token: &str) -> Result<Option<User>> {
        match Directory::caller(self, &Credential::bearer(token), None).await {
            Ok(caller) => Ok(Some(caller.into())),
            Err(who::Refusal::Unavailable(error)) => Err(error),
            Err(_) => Ok(None),
        }
    }

    async fn caller(
        &self,
        credential: &Credential<'_>,
        peer: Option<IpAddr>,
    ) -> Result<User, who::Refusal> {
        Directory::caller(self, credential, peer).await.map(User)
    }

    async fn still(&self, user: User) -> Result<Option<User>> {
        match user.caller().key() {
            Some(key) => Ok(Directory::still(self, key)?.map(User)),
            // The owner, or somebody whom an identity provider knows.
            None => Ok(self.still_user(user.caller())?.map(User)),
        }
    }

    async fn has_signed(&self, message: &[u8], mac: &[u8]) -> Result<bool> {
        match self.owner_token() {
            Some(token) => token.has_signed(message, mac).await,
            None => Ok(false),
        }
    }
}

/// Whoever asks: somebody known, or anyone. Refused only when that cannot be told now, for pages
/// that show more to some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visitor(pub Option<User>);

impl Visitor {
    /// Whether they may do it.
    #[must_use]
    pub fn may(&self, right: Right<'_>) -> bool {
        self.0.as_ref().is_some_and(|user| user.may(right))
    }
}

/// Who asks, or why nobody that is known: told once for each request.
#[derive(Clone)]
struct Asked(Arc<std::result::Result<User, who::Refusal>>);

async fn who_asks(parts: &mut Parts, site: &Site) -> Arc<std::result::Result<User, who::Refusal>> {
    if let Some(Asked(known)) = parts.extensions.get::<Asked>() {
        return known.clone();
    }
    let told = Arc::new(ask(parts, site).await);
    parts.extensions.insert(Asked(told.clone()));
    told
}

async fn ask(parts: &Parts, site: &Site) -> std::result::Result<User, who::Refusal> {
    if let Some(value) = parts.headers.get(header::AUTHORIZATION) {
        let credential = value.to_str().ok().and_then(Credential::of_authorization);
        let credential = credential.ok_or(who::Refusal::Unknown)?;
        return site
            .auth()
            .caller(&credential, peer(&parts.extensions))
            .await;
    }
    let known = sign_in_of(&parts.headers).and_then(|id| site.signed_in(id));
    let known = known.ok_or(who::Refusal::Unknown)?;
    // The token that was shown then may have been revoked since.
    let still = site.auth().still(known).await;
    still
        .map_err(who::Refusal::Unavailable)?
        .ok_or(who::Refusal::Unknown)
}

/// From where a request comes, for handlers.
pub(crate) struct CameFrom(pub(crate) Option<IpAddr>);

impl FromRequestParts<Site> for CameFrom {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        _: &Site,
    ) -> std::result::Result<Self, Self::Rejection> {
        Ok(Self(peer(&parts.extensions)))
    }
}

/// From where a request comes, if the server has said so.
pub(crate) fn peer(extensions: &Extensions) -> Option<IpAddr> {
    #[cfg(feature = "front")]
    if let Some(peer) = extensions.get::<crate::front::Peer>() {
        return Some(peer.address.ip());
    }
    extensions
        .get::<crate::http::Remote>()
        .map(|remote| remote.0)
}

impl FromRequestParts<Site> for Visitor {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, site: &Site) -> Result<Self, Refusal> {
        match &*who_asks(parts, site).await {
            Ok(user) => Ok(Self(Some(user.clone()))),
            Err(refusal @ (who::Refusal::Unavailable(_) | who::Refusal::Throttled(_))) => {
                Err(refusal.into())
            }
            Err(_) => Ok(Self(None)),
        }
    }
}

/// Somebody who may ask for builds and end them; everybody else is refused before the handler
/// runs.
impl FromRequestParts<Site> for User {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, site: &Site) -> Result<Self, Refusal> {
        known(parts, site, Right::Builds).await
    }
}

/// Somebody who may do everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin(pub User);

impl FromRequestParts<Site> for Admin {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, site: &Site) -> Result<Self, Refusal> {
        known(parts, site, Right::Administer).await.map(Self)
    }
}

async fn known(parts: &mut Parts, site: &Site, right: Right<'_>) -> Result<User, Refusal> {
    match &*who_asks(parts, site).await {
        Ok(user) => {
            user.caller().require(right)?;
            Ok(user.clone())
        }
        Err(who::Refusal::Unknown) => Err(unknown(&parts.headers)),
        Err(refusal) => Err(refusal.into()),
    }
}

fn unknown(headers: &HeaderMap) -> Refusal {
    let text = if headers.contains_key(header::AUTHORIZATION) {
        "the token is not known here"
    } else if sign_in_of(headers).is_some() {
        "the sign-in has ended"
    } else {
        "this needs a token, from this machine too"
    };
    let hint = "send `Authorization: Bearer TOKEN` with the token in the file `token` of the data directory";
    Refusal::new(ErrorKind::Denied, text, hint).with_status(StatusCode::UNAUTHORIZED)
}

impl From<&who::Refusal> for Refusal {
    fn from(refusal: &who::Refusal) -> Self {
        let (kind, status) = match refusal {
            who::Refusal::Unavailable(error) => return again(error).into(),
            who::Refusal::Forbidden { .. } => (ErrorKind::Denied, StatusCode::FORBIDDEN),
            who::Refusal::Throttled(_) => (ErrorKind::Unavailable, StatusCode::TOO_MANY_REQUESTS),
            _ => (ErrorKind::Denied, StatusCode::UNAUTHORIZED),
        };
        Self::new(kind, refusal.to_string(), refusal.hint()).with_status(status)
    }
}

impl From<who::Refusal> for Refusal {
    fn from(refusal: who::Refusal) -> Self {
        Self::from(&refusal)
    }
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
        .filter(|id| id.len() <= MAX_SIGN_IN)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let endless = format!("farmer_sign_in={}", "0".repeat(MAX_SIGN_IN + 1));
        headers.insert(header::COOKIE, endless.parse().unwrap());
        assert_eq!(sign_in_of(&headers), None);
    }

    #[tokio::test]
    async fn a_token_file_knows_the_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = TokenFile::open(dir.path()).unwrap();
        let owner = file.identify(file.token()).await.unwrap().unwrap();
        assert_eq!((owner.name(), owner.role()), ("owner", Role::Admin));
        for wrong in ["", "x", &file.token()[1..], &file.token().to_uppercase()] {
            assert!(file.identify(wrong).await.unwrap().is_none(), "{wrong:?}");
        }
    }
}
