//! Requests and answers.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::auth::{Auth, cnonce, digest};
use super::{ChangeId, Error};
use crate::rest;

/// How much of a body stands in an error.
const SHOWN_BODY: usize = 4096;
/// Tries of a call that only reads.
const TRIES: u32 = 4;
/// Wait before the second try; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// Longest wait that a server may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// What a change answers that has been written to too often.
const TOO_MANY_UPDATES: &str = "may not exceed";

/// A client of one Gerrit server. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Client {
    base: String,
    auth: Auth,
    http: reqwest::Client,
    tries: u32,
}

/// How a [`Client`] is made; by [`Client::builder`].
#[derive(Debug)]
pub struct ClientBuilder {
    url: String,
    auth: Auth,
    http: Option<reqwest::Client>,
    tries: u32,
}

impl ClientBuilder {
    /// How it says who it is ([`Auth::None`]).
    #[must_use]
    pub fn auth(self, auth: Auth) -> Self {
        Self { auth, ..self }
    }

    /// The HTTP client to use, such as one that trusts more ([`rest::client`]).
    #[must_use]
    pub fn http(self, http: reqwest::Client) -> Self {
        Self {
            http: Some(http),
            ..self
        }
    }

    /// How often a call that only reads is tried when the server is not well (4).
    #[must_use]
    pub fn tries(self, tries: u32) -> Self {
        Self {
            tries: tries.max(1),
            ..self
        }
    }

    /// The client. Nothing is asked yet.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an address that is none.
    pub fn build(self) -> Result<Client, Error> {
        let invalid = |why: String| Error::Invalid(why);
        let base = self.url.strip_suffix('/').unwrap_or(&self.url).to_owned();
        let url: Url = base
            .parse()
            .map_err(|_| invalid(format!("bad address of a server {base:?}")))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(invalid(format!(
                "the address {base:?} does not begin with http:// or https://"
            )));
        }
        let http = match self.http {
            Some(http) => http,
            None => rest::client(None).map_err(|error| invalid(error.to_string()))?,
        };
        Ok(Client {
            base,
            auth: self.auth,
            http,
            tries: self.tries,
        })
    }
}

/// A call: what is asked and which status answers it.
pub(super) struct Call<'a, B: ?Sized> {
    method: Method,
    path: String,
    query: Vec<(&'a str, String)>,
    body: Option<&'a B>,
    raw: Option<(&'static str, Vec<u8>)>,
    expects: u16,
}

impl<'a> Call<'a, ()> {
    pub(super) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    pub(super) fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            query: Vec::new(),
            body: None,
            raw: None,
            expects: 200,
        }
    }

    pub(super) fn body<B: Serialize + ?Sized>(self, body: &'a B) -> Call<'a, B> {
        Call {
            method: self.method,
            path: self.path,
            query: self.query,
            body: Some(body),
            raw: self.raw,
            expects: self.expects,
        }
    }
}

impl<'a, B: Serialize + ?Sized> Call<'a, B> {
    pub(super) fn query(mut self, pairs: impl IntoIterator<Item = (&'a str, String)>) -> Self {
        self.query.extend(pairs);
        self
    }

    pub(super) fn raw(mut self, content_type: &'static str, bytes: Vec<u8>) -> Self {
        self.raw = Some((content_type, bytes));
        self
    }

    pub(super) fn expects(mut self, status: u16) -> Self {
        self.expects = status;
        self
    }
}

impl Client {
    /// A client of the server at `url`, such as `https://go-review.googlesource.com`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an address that is none.
    pub fn new(url: impl Into<String>, auth: Auth) -> Result<Self, Error> {
        Self::builder(url).auth(auth).build()
    }

    /// A client of the server at `url`, to be told more.
    #[must_use]
    pub fn builder(url: impl Into<String>) -> ClientBuilder {
        ClientBuilder {
            url: url.into(),
            auth: Auth::None,
            http: None,
            tries: TRIES,
        }
    }

    /// The address of the server.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.base
    }

    /// `/changes/ID` and what follows.
    pub(super) fn change_path(id: &ChangeId, rest: &str) -> Result<String, Error> {
        let id = id.to_string();
        if id.is_empty() || id.bytes().all(|b| b == b'.') {
            return Err(Error::Invalid(format!("bad id of a change {id:?}")));
        }
        Ok(format!("/changes/{id}{rest}"))
    }

    /// Sends a call and decodes what answers it.
    pub(super) async fn json<B: Serialize + ?Sized, T: DeserializeOwned>(
        &self,
        call: Call<'_, B>,
    ) -> Result<T, Error> {
        let (url, body) = self.answer(&call).await?;
        decode(&url, &body)
    }

    /// Sends a call that is answered by its status alone.
    pub(super) async fn done<B: Serialize + ?Sized>(&self, call: Call<'_, B>) -> Result<(), Error> {
        self.answer(&call).await.map(|_| ())
    }

    /// Sends a call and gives the bytes that answer it, with the address.
    pub(super) async fn answer<B: Serialize + ?Sized>(
        &self,
        call: &Call<'_, B>,
    ) -> Result<(Url, Vec<u8>), Error> {
        let url = self.url_of(call)?;
        let only_reads = call.method == Method::GET;
        let tries = if only_reads { self.tries } else { 1 };
        let mut wait = FIRST_WAIT;
        for left in (0..tries).rev() {
            let (failure, asked) = match self.once(&url, call).await {
                Ok(body) => return Ok((url, body)),
                Err(failure) => failure,
            };
            let passing = match &failure {
                Error::Transport { .. } => true,
                Error::Status { status, .. } => *status == 429 || *status >= 500,
                _ => false,
            };
            if left == 0 || !passing {
                return Err(failure);
            }
            tracing::debug!(%url, %failure, "asking again");
            tokio::time::sleep(asked.unwrap_or(wait).min(LONGEST_WAIT)).await;
            wait *= 2;
        }
        Err(Error::Invalid("a call was never tried".to_owned()))
    }

    fn url_of<B: ?Sized>(&self, call: &Call<'_, B>) -> Result<Url, Error> {
        let prefix = if self.auth.is_some() { "/a" } else { "" };
        let mut url = format!("{}{prefix}{}", self.base, call.path);
        if !call.query.is_empty() {
            url = format!("{url}?{}", rest::query(&call.query));
        }
        url.parse()
            .map_err(|_| Error::Invalid(format!("bad address {url:?}")))
    }

    /// One try; with the failure, how long the server wants to be left alone.
    async fn once<B: Serialize + ?Sized>(
        &self,
        url: &Url,
        call: &Call<'_, B>,
    ) -> Result<Vec<u8>, (Error, Option<Duration>)> {
        let lost = |source| {
            (
                Error::Transport {
                    url: url.to_string(),
                    source,
                },
                None,
            )
        };
        let mut request = self.http.request(call.method.clone(), url.clone());
        if let Some(body) = call.body {
            let text = serde_json::to_vec(body).map_err(|error| {
                (
                    Error::Invalid(format!("a body that is no JSON: {error}")),
                    None,
                )
            })?;
            request = request
                .header("content-type", "application/json")
                .body(text);
        } else if let Some((content_type, bytes)) = &call.raw {
            request = request
                .header("content-type", *content_type)
                .body(bytes.clone());
        }
        if let Some((name, value)) = self.authorization(url, call).await.map_err(|e| (e, None))? {
            request = request.header(name, value);
        }
        let answer = request.send().await.map_err(lost)?;
        let status = answer.status();
        let asked = answer
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        let body = answer.bytes().await.map_err(lost)?;
        if status.as_u16() == call.expects {
            return Ok(body.to_vec());
        }
        Err((refused(status, &body), asked))
    }

    async fn authorization<B: ?Sized>(
        &self,
        url: &Url,
        call: &Call<'_, B>,
    ) -> Result<Option<(&'static str, String)>, Error> {
        let Auth::Digest { user, password } = &self.auth else {
            return self.auth.header(url).await;
        };
        let lost = |source| Error::Transport {
            url: url.to_string(),
            source,
        };
        let asked = self.http.get(url.clone()).send().await.map_err(lost)?;
        let challenge = asked
            .headers()
            .get("www-authenticate")
            .and_then(|value| value.to_str().ok());
        let header = challenge.and_then(|challenge| {
            digest(
                challenge,
                user,
                password,
                call.method.as_str(),
                url.path(),
                &cnonce(),
            )
        });
        header
            .map(|header| Some(("authorization", header)))
            .ok_or_else(|| Error::Auth {
                server: self.base.clone(),
                why: "it asks for no digest".to_owned(),
            })
    }
}

fn refused(status: StatusCode, body: &[u8]) -> Error {
    let shown = String::from_utf8_lossy(&body[..body.len().min(SHOWN_BODY)]).into_owned();
    if status == StatusCode::CONFLICT
        && shown.contains(TOO_MANY_UPDATES)
        && shown.contains("updates")
    {
        return Error::TooManyUpdates(shown.trim().to_owned());
    }
    Error::Status {
        status: status.as_u16(),
        reason: status.canonical_reason().unwrap_or("Unknown"),
        body: shown,
    }
}

/// The value after the guard line.
fn decode<T: DeserializeOwned>(url: &Url, body: &[u8]) -> Result<T, Error> {
    let end = body.iter().position(|b| *b == b'\n');
    let (guard, rest) = body.split_at(end.map_or(0, |end| end + 1));
    if !guard.windows(4).any(|four| four == b")]}'")
        && !guard.windows(3).any(|three| three == b")]}")
    {
        return Err(Error::NotGerrit {
            url: url.to_string(),
            start: String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned(),
        });
    }
    let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<T>();
    let fault = |source| Error::Decode {
        url: url.to_string(),
        source,
    };
    match values.next() {
        Some(value) => value.map_err(fault),
        None => Err(fault(serde::de::Error::custom("there is no value"))),
    }
}
