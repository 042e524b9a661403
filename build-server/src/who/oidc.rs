//! Signed tokens of identity providers: OpenID Connect.
//!
//! A token is good when the provider has signed it with a key that it publishes now, for this farm
//! (`aud`), and its time has not come to an end (`exp`, `nbf`). The keys of a provider are fetched
//! when a token names one that is not known, by one request however many ask, and not more often
//! than a provider bears.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use build_core::clock::Timestamp;
use build_core::recipe::Identity;
use build_core::{Error, ErrorKind, Result};
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use serde_json::Value;

use super::{Refusal, Role, SignedName, SignedTokens};
use crate::singleflight::Flights;

/// How long fetched keys count without another look.
const FRESH: Duration = Duration::from_secs(60 * 60);
/// Between two fetches, whatever tokens name.
const PAUSE: Duration = Duration::from_secs(10);
/// How long a fetch may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Largest answer of a provider.
const MAX_BYTES: usize = 1 << 20;
/// How far clocks may differ.
const LEEWAY: Duration = Duration::from_secs(60);
/// Signatures that are taken: none that a public key could be mistaken for the secret of.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// The providers of a farm.
#[derive(Clone, Debug)]
pub struct Oidc(Arc<[Provider]>);

#[derive(Debug)]
struct Provider {
    identity: Identity,
    http: reqwest::Client,
    keys: RwLock<Option<Arc<Fetched>>>,
    fetching: Flights<(), Result<Arc<Fetched>, Arc<Error>>>,
}

/// Keys of a provider; none when the last fetch failed.
#[derive(Debug)]
struct Fetched {
    keys: JwkSet,
    at: Timestamp,
}

#[derive(Deserialize)]
struct Configuration {
    issuer: String,
    jwks_uri: String,
}

#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    nbf: Option<i64>,
    exp: i64,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

impl Oidc {
    /// These providers. Nothing is fetched before a token is shown.
    ///
    /// # Errors
    /// When the certificates of one cannot be read.
    pub fn new(identities: &[Identity]) -> Result<Self> {
        let providers: Result<Vec<_>> = identities.iter().cloned().map(Provider::new).collect();
        Ok(Self(providers?.into()))
    }
}

#[async_trait]
impl SignedTokens for Oidc {
    async fn verify(&self, token: &str, now: Timestamp) -> Result<SignedName, Refusal> {
        let header = decode_header(token).map_err(|e| refused(&e))?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(Refusal::Signed(format!(
                "signatures by {:?} are not taken",
                header.alg
            )));
        }
        let issuer = unverified_issuer(token)?;
        let found = self.0.iter().find(|p| p.identity.issuer == issuer);
        let provider = found.ok_or_else(|| {
            Refusal::Signed("it is from a provider that this farm does not know".into())
        })?;
        provider
            .verify(token, header.kid.as_deref(), header.alg, now)
            .await
    }
}

/// What a token says of its issuer, before anything is known to be true.
fn unverified_issuer(token: &str) -> Result<String, Refusal> {
    #[derive(Deserialize)]
    struct Issuer {
        iss: String,
    }
    let claims = jsonwebtoken::dangerous::insecure_decode_claims::<Issuer>(token);
    claims.map(|claims| claims.iss).map_err(|e| refused(&e))
}

fn refused(error: &jsonwebtoken::errors::Error) -> Refusal {
    use jsonwebtoken::errors::ErrorKind as Kind;
    Refusal::Signed(
        match error.kind() {
            Kind::InvalidSignature => "its signature is wrong",
            Kind::InvalidIssuer => "it is from another provider",
            Kind::InvalidAudience => "it was made for another audience",
            Kind::InvalidAlgorithm | Kind::UnsupportedAlgorithm => "its key is of another kind",
            Kind::MissingRequiredClaim(claim) => {
                return Refusal::Signed(format!("it has no {claim}"));
            }
            _ => "it cannot be read",
        }
        .into(),
    )
}

impl Provider {
    fn new(identity: Identity) -> Result<Self> {
        let roots = match &identity.ca_file {
            None => None,
            Some(file) => Some(std::fs::read(file).map_err(|e| {
                Error::caused_by(ErrorKind::Invalid, format!("read {file}"), e)
                    .with_hint("name the file of certificates in identity.ca_file")
            })?),
        };
        Ok(Self {
            http: build_client::rest::client(roots.as_deref())?,
            identity,
            keys: RwLock::default(),
            fetching: Flights::new(),
        })
    }

    fn known(&self) -> Option<Arc<Fetched>> {
        self.keys
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    async fn verify(
        &self,
        token: &str,
        kid: Option<&str>,
        algorithm: Algorithm,
        now: Timestamp,
    ) -> Result<SignedName, Refusal> {
        let keys = self.keys_for(kid, now).await?;
        let candidates = keys.keys.keys.iter().filter(|key| fits(key, kid));
        let mut last = Refusal::Signed("no key of the provider has signed it".into());
        for key in candidates {
            match self.decode(token, key, algorithm) {
                Ok(claims) => return self.name_of(&claims, now),
                Err(refusal) => last = refusal,
            }
        }
        Err(last)
    }

    fn decode(&self, token: &str, key: &Jwk, algorithm: Algorithm) -> Result<Claims, Refusal> {
        let decoding = DecodingKey::from_jwk(key).map_err(|e| refused(&e))?;
        let mut wanted = Validation::new(algorithm);
        wanted.set_issuer(&[&self.identity.issuer]);
        wanted.set_audience(&[&self.identity.audience]);
        wanted.set_required_spec_claims(&["exp", "iss", "aud"]);
        // By the clock of the directory, below.
        wanted.validate_exp = false;
        let data = decode::<Claims>(token, &decoding, &wanted).map_err(|e| refused(&e))?;
        Ok(data.claims)
    }

    fn name_of(&self, claims: &Claims, now: Timestamp) -> Result<SignedName, Refusal> {
        let no = |text: &str| Err(Refusal::Signed(text.to_owned()));
        if Timestamp::from_seconds(claims.exp) + LEEWAY <= now {
            return no("it has expired");
        }
        if claims
            .nbf
            .is_some_and(|begin| Timestamp::from_seconds(begin) > now + LEEWAY)
        {
            return no("its time has not come yet");
        }
        let user = match claims.rest.get(&self.identity.user) {
            Some(Value::String(user)) if !user.is_empty() => user.as_str(),
            _ => return Err(Refusal::Signed(format!("it has no {}", self.identity.user))),
        };
        // An address that nobody has proven could be anybody's.
        if self.identity.user == "email"
            && claims
                .rest
                .get("email_verified")
                .is_some_and(|v| *v == Value::Bool(false))
        {
            return no("its email is not verified");
        }
        Ok(SignedName::new(user, self.role_of(claims), Vec::new()))
    }

    fn role_of(&self, claims: &Claims) -> Option<Role> {
        let groups: Vec<&str> = match claims.rest.get(&self.identity.groups) {
            Some(Value::Array(groups)) => groups.iter().filter_map(Value::as_str).collect(),
            Some(Value::String(group)) => vec![group],
            _ => Vec::new(),
        };
        let is_in = |wanted: &[String]| {
            wanted
                .iter()
                .any(|name| name == "*" || groups.contains(&name.as_str()))
        };
        match () {
            () if is_in(&self.identity.admins) => Some(Role::Admin),
            () if is_in(&self.identity.users) => Some(Role::User),
            () => None,
        }
    }

    /// The keys of the provider, fetched when they are old or lack the one that is named.
    async fn keys_for(&self, kid: Option<&str>, now: Timestamp) -> Result<Arc<Fetched>, Refusal> {
        let known = self.known();
        if let Some(known) = &known {
            let age = now.since(known.at);
            let has_it = known.keys.keys.iter().any(|key| fits(key, kid));
            if age < PAUSE || (has_it && age < FRESH) {
                return Ok(known.clone());
            }
        }
        match self.fetch(now).await {
            Ok(fetched) => Ok(fetched),
            // The provider is away: the keys that it had are good for a while yet.
            Err(error) => match known.filter(|k| now.since(k.at) < FRESH * 24) {
                Some(known) => {
                    tracing::warn!(
                        error = error.chain(),
                        "keys of an identity provider are old"
                    );
                    Ok(known)
                }
                None => Err(Refusal::Unavailable(again(&error))),
            },
        }
    }

    async fn fetch(&self, now: Timestamp) -> Result<Arc<Fetched>, Arc<Error>> {
        let (http, issuer) = (self.http.clone(), self.identity.issuer.clone());
        let work = move || async move {
            let fetched = tokio::time::timeout(PATIENCE, fetch(http, issuer));
            match fetched.await {
                Ok(Ok(keys)) => Ok(Arc::new(Fetched { keys, at: now })),
                Ok(Err(error)) => Err(Arc::new(error)),
                Err(_) => Err(Arc::new(Error::new(
                    ErrorKind::TimedOut,
                    "an identity provider does not answer",
                ))),
            }
        };
        let fetched = self.fetching.fly((), work).await;
        let fetched =
            fetched.map_err(|e| Arc::new(Error::caused_by(ErrorKind::Bug, "fetch keys", e)))??;
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Some(fetched.clone());
        Ok(fetched)
    }
}

/// The same error for each of those who wait.
fn again(error: &Error) -> Error {
    Error::new(error.kind(), error.chain())
}

/// Whether a key may have signed a token that names this one, or none.
fn fits(key: &Jwk, kid: Option<&str>) -> bool {
    let signs = key
        .common
        .public_key_use
        .as_ref()
        .is_none_or(|usage| *usage == PublicKeyUse::Signature);
    signs && (kid.is_none() || key.common.key_id.as_deref() == kid)
}

async fn fetch(http: reqwest::Client, issuer: String) -> Result<JwkSet> {
    let address = format!(
        "{}/.well-known/openid-configuration",
        issuer.trim_end_matches('/')
    );
    let configuration: Configuration = get(&http, &address).await?;
    if configuration.issuer != issuer {
        let text = format!(
            "{address} is the configuration of {:?}",
            configuration.issuer
        );
        return Err(Error::new(ErrorKind::Invalid, text)
            .with_hint("write identity.issuer as the provider does"));
    }
    let is_private = configuration.jwks_uri.starts_with("https://");
    if !is_private && issuer.starts_with("https://") {
        let text = format!("{issuer} publishes its keys at an address that is not private");
        return Err(Error::new(ErrorKind::Denied, text));
    }
    get(&http, &configuration.jwks_uri).await
}

async fn get<T: serde::de::DeserializeOwned>(http: &reqwest::Client, url: &str) -> Result<T> {
    let failed = |e: reqwest::Error| {
        Error::caused_by(
            ErrorKind::Unavailable,
            format!("ask {url}"),
            e.without_url(),
        )
    };
    let mut answer = http.get(url).send().await.map_err(failed)?;
    if !answer.status().is_success() {
        let text = format!("{url} answers {}", answer.status());
        return Err(Error::new(ErrorKind::Unavailable, text));
    }
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(failed)? {
        body.extend_from_slice(&piece);
        if body.len() > MAX_BYTES {
            let text = format!("the answer of {url} is larger than {MAX_BYTES} bytes");
            return Err(Error::new(ErrorKind::Limit, text));
        }
    }
    serde_json::from_slice(&body)
        .map_err(|e| Error::caused_by(ErrorKind::Invalid, format!("read the answer of {url}"), e))
}
