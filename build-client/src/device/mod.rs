//! Logging in at an identity provider from a terminal: the device flow of OAuth 2.0 (RFC 8628),
//! for the signed tokens of OpenID Connect that farms take.
//!
//! The provider tells an address and a short code; the person opens the address in any browser,
//! types the code and says yes; meanwhile this program asks for the token, as often as the provider
//! wants to be asked.
//!
//! ```no_run
//! # async fn login() -> build_client::Result<()> {
//! use build_client::device::DeviceLogin;
//!
//! let login = DeviceLogin::discover("https://login.example.org", "farm", None, None).await?;
//! let prompt = login.begin().await?;
//! println!("open {} and type {}", prompt.address, prompt.code);
//! let tokens = login.wait(&prompt).await?;
//! # Ok(())
//! # }
//! ```

mod patience;

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::{sleep, timeout};
use url::{Host, Url};

use self::patience::{Next, Patience};
use crate::rest::failed;
use crate::{Error, ErrorKind, Result};

/// For one request and its answer.
const LIMIT: Duration = Duration::from_secs(30);
/// Largest answer of a provider.
const MAX_BYTES: usize = 1 << 20;
/// Longest code, address, and token that is taken.
const MAX_TEXT: usize = 2048;
const MAX_TOKEN: usize = 64 << 10;
/// What is asked for: who somebody is, and that it can be asked again without them.
const SCOPE: &str = "openid email profile offline_access";
const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// A provider at which people log in.
pub struct DeviceLogin {
    http: reqwest::Client,
    client_id: String,
    client_secret: Option<String>,
    device_endpoint: Option<Url>,
    token_endpoint: Url,
}

impl fmt::Debug for DeviceLogin {
    /// Leaves out the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceLogin")
            .field("client_id", &self.client_id)
            .field("token_endpoint", &self.token_endpoint.as_str())
            .finish_non_exhaustive()
    }
}

/// What a person is told.
pub struct Prompt {
    /// What they open.
    pub address: String,
    /// What they type there.
    pub code: String,
    /// The same address with the code in it, when the provider has one.
    pub whole_address: Option<String>,
    /// How long they have for it.
    pub expires: Duration,
    device_code: String,
    interval: Duration,
}

impl fmt::Debug for Prompt {
    /// Leaves out the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prompt")
            .field("address", &self.address)
            .field("code", &self.code)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// What the provider gives for it.
#[derive(Clone, PartialEq, Eq)]
pub struct Tokens {
    /// Says who somebody is, signed; what a farm is shown.
    pub id_token: String,
    /// For another one when that has expired.
    pub refresh_token: Option<String>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens")
    }
}

#[derive(Deserialize)]
struct Configuration {
    issuer: String,
    device_authorization_endpoint: Option<String>,
    token_endpoint: String,
}

#[derive(Deserialize)]
struct Authorization {
    device_code: String,
    user_code: String,
    // Google's, from before there was a standard.
    #[serde(alias = "verification_url")]
    verification_uri: String,
    verification_uri_complete: Option<String>,
    expires_in: u64,
    interval: Option<u64>,
}

#[derive(Deserialize)]
struct Granted {
    id_token: Option<String>,
    refresh_token: Option<String>,
}

#[derive(Deserialize)]
struct Refused {
    error: String,
    error_description: Option<String>,
}

/// How a provider answers.
enum Answer<T> {
    Fine(T),
    /// In its own words: `authorization_pending`, …
    No(Refused),
}

impl DeviceLogin {
    /// The provider `issuer`, as its own configuration describes it, at which this program is called
    /// `client_id`. `roots` are certificates in PEM that are trusted besides the usual ones.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] for an address without TLS that is not of this machine,
    /// [`ErrorKind::Invalid`] when it is the configuration of another provider; when the provider
    /// does not answer.
    pub async fn discover(
        issuer: &str,
        client_id: &str,
        client_secret: Option<String>,
        roots: Option<&[u8]>,
    ) -> Result<Self> {
        let place = checked_address(issuer)?;
        let builder = crate::rest::builder(roots)?;
        // A redirection could take a code elsewhere.
        let builder = builder.redirect(reqwest::redirect::Policy::none());
        let http = crate::rest::build(builder.timeout(LIMIT))?;
        let path = ".well-known/openid-configuration";
        let address = format!("{}/{path}", issuer.trim_end_matches('/'));
        let answer = http.get(&address).send().await;
        let answer = answer.map_err(|e| failed(&format!("ask {address}"), e))?;
        let known: Configuration = match read(answer, &address).await? {
            Answer::Fine(known) => known,
            Answer::No(refused) => return Err(said(&refused)),
        };
        if known.issuer.trim_end_matches('/') != issuer.trim_end_matches('/') {
            let text = format!("{address} is the configuration of {:?}", known.issuer);
            return Err(Error::new(ErrorKind::Invalid, text)
                .with_hint("name the provider as it names itself"));
        }
        let endpoint = |text: &str| {
            let url = checked_address(text)?;
            match place.scheme() == "https" && url.scheme() != "https" {
                true => {
                    let text = format!("{issuer} is to be asked at an address that is not private");
                    Err(Error::new(ErrorKind::Denied, text))
                }
                false => Ok(url),
            }
        };
        let device = known.device_authorization_endpoint.as_deref();
        Ok(Self {
            http,
            client_id: client_id.to_owned(),
            client_secret,
            device_endpoint: device.map(endpoint).transpose()?,
            token_endpoint: endpoint(&known.token_endpoint)?,
        })
    }

    /// Begins a login.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] when the provider has no device flow; its own words when it
    /// refuses; [`ErrorKind::Corrupt`] for an answer that cannot be shown to a person.
    pub async fn begin(&self) -> Result<Prompt> {
        let endpoint = self.device_endpoint.as_ref().ok_or_else(|| {
            let text = "the identity provider has no login for terminals (device flow)";
            Error::new(ErrorKind::Unsupported, text)
                .with_hint("get a token in another way, and give it with: gomote login -token-file")
        })?;
        let form = [("client_id", self.client_id.as_str()), ("scope", SCOPE)];
        let begun: Authorization = match self.post(endpoint, &form).await? {
            Answer::Fine(begun) => begun,
            Answer::No(refused) => return Err(said(&refused)),
        };
        let address = shown(&begun.verification_uri)?;
        checked_address(&address)?;
        let whole_address = begun.verification_uri_complete.as_deref().map(shown);
        let whole_address = whole_address.transpose()?;
        if let Some(whole) = &whole_address {
            checked_address(whole)?;
        }
        Ok(Prompt {
            address,
            code: shown(&begun.user_code)?,
            whole_address,
            expires: patience::lifetime(begun.expires_in),
            device_code: begun.device_code,
            interval: patience::interval(begun.interval),
        })
    }

    /// Waits until the person has said yes, asking as often as the provider wants to be asked.
    /// Cancel safe: a login that is not waited for runs out by itself.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] when they say no, [`ErrorKind::TimedOut`] when they say nothing in
    /// time; what the provider says.
    pub async fn wait(&self, prompt: &Prompt) -> Result<Tokens> {
        let mut patience = Patience::new(prompt.interval);
        let form = [
            ("grant_type", DEVICE_GRANT),
            ("device_code", prompt.device_code.as_str()),
            ("client_id", self.client_id.as_str()),
        ];
        let asking = async {
            loop {
                sleep(patience.interval()).await;
                let answer = self.post(&self.token_endpoint, &form).await;
                let next = match answer {
                    Ok(Answer::Fine(granted)) => return tokens(granted),
                    Ok(Answer::No(refused)) => match patience.after(&refused.error) {
                        Next::Ask => continue,
                        Next::End(end) => ended(end),
                        Next::Said => said(&refused),
                    },
                    // The person is still busy: a network that is away for a moment may come back.
                    Err(error) if patience.bears(error.kind()) => {
                        tracing::info!(error = error.chain(), "the provider is asked again");
                        continue;
                    }
                    Err(error) => error,
                };
                return Err(next);
            }
        };
        let asked = timeout(prompt.expires, asking).await;
        asked.unwrap_or_else(|_| Err(ended(patience::EXPIRED)))
    }

    /// Another token for one that has expired.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] when the provider wants the person again.
    pub async fn refresh(&self, refresh_token: &str) -> Result<Tokens> {
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh_token),
            ("client_id", self.client_id.as_str()),
            ("scope", SCOPE),
        ];
        match self.post(&self.token_endpoint, &form).await? {
            Answer::Fine(granted) => {
                let mut tokens = tokens(granted)?;
                // A provider that sends no new one means the old one.
                let old = || Some(refresh_token.to_owned());
                tokens.refresh_token = tokens.refresh_token.or_else(old);
                Ok(tokens)
            }
            Answer::No(refused) => Err(said(&refused)),
        }
    }

    async fn post<T: DeserializeOwned>(
        &self,
        endpoint: &Url,
        form: &[(&str, &str)],
    ) -> Result<Answer<T>> {
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(form);
        if let Some(secret) = &self.client_secret {
            body.append_pair("client_secret", secret);
        }
        let request = self.http.post(endpoint.clone());
        let request = request.header("Content-Type", "application/x-www-form-urlencoded");
        let request = request.header("Accept", "application/json");
        let what = format!("ask {endpoint}");
        let answer = request.body(body.finish()).send().await;
        let answer = answer.map_err(|e| failed(&what, e))?;
        read(answer, endpoint.as_str()).await
    }
}

async fn read<T: DeserializeOwned>(mut answer: reqwest::Response, from: &str) -> Result<Answer<T>> {
    let status = answer.status();
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(|e| failed(from, e))? {
        body.extend_from_slice(&piece);
        if body.len() > MAX_BYTES {
            let text = format!("the answer of {from} is larger than {MAX_BYTES} bytes");
            return Err(Error::new(ErrorKind::Limit, text));
        }
    }
    if status.is_success() {
        let read = serde_json::from_slice(&body).map(Answer::Fine);
        let what = format!("read the answer of {from}");
        return read.map_err(|e| Error::caused_by(ErrorKind::Corrupt, what, e));
    }
    if status.is_client_error()
        && let Ok(refused) = serde_json::from_slice(&body)
    {
        return Ok(Answer::No(refused));
    }
    let kind = match status.is_server_error() {
        true => ErrorKind::Unavailable,
        false => ErrorKind::Invalid,
    };
    Err(Error::new(kind, format!("{from} answers {status}")))
}

fn ended((kind, text, hint): patience::End) -> Error {
    Error::new(kind, text).with_hint(hint)
}

fn tokens(granted: Granted) -> Result<Tokens> {
    let id_token = granted.id_token.ok_or_else(|| {
        let text = "the identity provider gives no signed token (id_token)";
        Error::new(ErrorKind::Unsupported, text).with_hint("let its client have the scope openid")
    })?;
    let is_plain =
        |token: &str| token.len() <= MAX_TOKEN && token.bytes().all(|b| b.is_ascii_graphic());
    let refresh = granted.refresh_token;
    if !is_plain(&id_token) || !refresh.as_deref().is_none_or(is_plain) {
        let text = "the identity provider gives something that is no token";
        return Err(Error::new(ErrorKind::Corrupt, text));
    }
    Ok(Tokens {
        id_token,
        refresh_token: refresh,
    })
}

/// An address that secrets may be sent to: with TLS, or of this machine.
fn checked_address(text: &str) -> Result<Url> {
    let url = Url::parse(text);
    let url = url.map_err(|e| {
        Error::caused_by(ErrorKind::Invalid, format!("{text:?} is no address"), e)
            .with_hint("an identity provider is an address such as https://login.example.org")
    })?;
    let is_here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    match (url.scheme(), is_here) {
        ("https", _) | ("http", true) => Ok(url),
        _ => {
            let text = format!("{text:?} is not private");
            Err(Error::new(ErrorKind::Denied, text).with_hint("name it with https://"))
        }
    }
}

/// A provider's text, when it can be shown on a terminal.
fn shown(text: &str) -> Result<String> {
    let plain = |c: char| c == ' ' || c.is_ascii_graphic();
    match !text.is_empty() && text.len() <= MAX_TEXT && text.chars().all(plain) {
        true => Ok(text.to_owned()),
        false => {
            let text = "the identity provider says what cannot be shown";
            Err(Error::new(ErrorKind::Corrupt, text))
        }
    }
}

/// What a provider says when it refuses.
fn said(refused: &Refused) -> Error {
    let clean = |text: &str| -> String {
        let text = text.chars().take(300);
        text.map(|c| if c.is_control() { '?' } else { c }).collect()
    };
    let mut text = format!("the identity provider says {}", clean(&refused.error));
    if let Some(more) = &refused.error_description {
        text += &format!(": {}", clean(more));
    }
    match refused.error.as_str() {
        "invalid_grant" => Error::new(ErrorKind::Denied, text).with_hint("log in again"),
        "invalid_client" | "unauthorized_client" => Error::new(ErrorKind::Denied, text)
            .with_hint("the provider must know the client, and let it use the device flow"),
        _ => Error::new(ErrorKind::Denied, text),
    }
}

/// When a signed token expires, in seconds since 1970, by what it says of itself; `None` for what
/// is no such token. Nothing of it is verified.
#[must_use]
pub fn expires(token: &str) -> Option<i64> {
    #[derive(Deserialize)]
    struct Claims {
        exp: i64,
    }
    let mut parts = token.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let claims = claims.trim_end_matches('=');
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let claims = engine.decode(claims).ok()?;
    serde_json::from_slice::<Claims>(&claims)
        .ok()
        .map(|c| c.exp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_to_private_addresses_alone() {
        for fine in [
            "https://login.example.org",
            "http://127.0.0.1:1",
            "http://[::1]:2/x",
            "http://localhost",
        ] {
            assert!(checked_address(fine).is_ok(), "{fine}");
        }
        for bad in [
            "http://login.example.org",
            "ftp://localhost",
            "login",
            "",
            "http://localhost.evil.org",
        ] {
            let error = checked_address(bad).unwrap_err();
            assert!(error.hint().is_some(), "{bad}");
        }
    }

    #[test]
    fn a_provider_does_not_write_on_a_terminal() {
        assert_eq!(shown("WDJB-MJHT").unwrap(), "WDJB-MJHT");
        for bad in ["", "a\u{1b}[2J", "a\nb", "\u{202e}x"] {
            assert!(shown(bad).is_err(), "{bad:?}");
        }
        let refused = Refused {
            error: "no\u{7}".into(),
            error_description: Some("a\nb".into()),
        };
        assert_eq!(
            said(&refused).to_string(),
            "the identity provider says no?: a?b"
        );
    }

    #[test]
    fn tokens_say_when_they_expire() {
        // {"exp":1600000000}
        assert_eq!(
            expires("e30.eyJleHAiOjE2MDAwMDAwMDB9.sig"),
            Some(1_600_000_000)
        );
        for none in [
            "",
            "t0ken",
            "a.b.c",
            "a.e30.c",
            "e30.eyJleHAiOjE2MDAwMDAwMDB9.s.x",
        ] {
            assert_eq!(expires(none), None, "{none}");
        }
    }
}
