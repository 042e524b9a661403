//! Credentials: a token, or an App whose tokens expire.

use std::fmt;

use super::{Answer, Http, Request};
use crate::sync::SyncError;

/// A token is renewed this many seconds before it expires.
const EARLY: i64 = 300;
/// Seconds for which an App vouches for itself; GitHub allows ten minutes.
const VOUCH: i64 = 540;
/// GitHub's clock may be behind ours.
const SKEW: i64 = 60;

/// Signs with the private key of an App, as RS256 wants it: RSA PKCS#1 v1.5 with SHA-256.
pub trait Sign: Send {
    /// The signature of `message`.
    ///
    /// # Errors
    /// Why there is none.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, String>;
}

/// What proves who is asking.
pub enum Credentials {
    /// Nobody: sixty requests an hour.
    Nobody,
    /// A personal or a fine-grained token.
    Token(String),
    /// An App installed on the repository.
    App(App),
}

impl fmt::Debug for Credentials {
    /// Secrets are not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nobody => "Nobody",
            Self::Token(_) => "Token",
            Self::App(_) => "App",
        })
    }
}

/// An App, and the token that it has at present.
pub struct App {
    id: u64,
    installation: u64,
    key: Box<dyn Sign>,
    token: Option<(String, i64)>,
}

#[derive(serde::Deserialize)]
struct Granted {
    token: String,
    expires_at: String,
}

impl App {
    /// The App with this id, as installed under this number, with its private key.
    pub fn new(id: u64, installation: u64, key: impl Sign + 'static) -> Self {
        Self {
            id,
            installation,
            key: Box::new(key),
            token: None,
        }
    }

    /// What the App shows instead of a token, to get one.
    fn vouch(&self, now: i64) -> Result<String, String> {
        let claims = format!(
            r#"{{"iat":{},"exp":{},"iss":"{}"}}"#,
            now - SKEW,
            now - SKEW + VOUCH,
            self.id
        );
        let text = format!(
            "{}.{}",
            base64url(br#"{"alg":"RS256","typ":"JWT"}"#),
            base64url(claims.as_bytes())
        );
        let signature = self.key.sign(text.as_bytes())?;
        Ok(format!("{text}.{}", base64url(&signature)))
    }
}

impl Credentials {
    /// The value of `Authorization` at `now`. A token that is about to expire is renewed by a
    /// request through `send`, which gets the request and the value for it.
    ///
    /// # Errors
    /// [`SyncError::Credentials`] when an App gets no token.
    pub fn authorization(
        &mut self,
        now: i64,
        send: &mut dyn FnMut(&Request, &str) -> Result<Answer, String>,
    ) -> Result<Option<String>, SyncError> {
        let app = match self {
            Self::Nobody => return Ok(None),
            Self::Token(token) => return Ok(Some(format!("Bearer {token}"))),
            Self::App(app) => app,
        };
        if let Some((token, expires)) = &app.token
            && now + EARLY < *expires
        {
            return Ok(Some(format!("Bearer {token}")));
        }
        let failed = |reason: String| SyncError::Credentials {
            host: "api.github.com".into(),
            reason,
        };
        let request = Request {
            method: "POST",
            ..Request::get(format!(
                "/app/installations/{}/access_tokens",
                app.installation
            ))
        };
        let vouched = format!("Bearer {}", app.vouch(now).map_err(failed)?);
        let answer = send(&request, &vouched).map_err(|reason| SyncError::Unreachable {
            request: request.name(),
            reason,
        })?;
        if answer.status != 201 {
            return Err(failed(format!(
                "no token for installation {}: {}",
                app.installation,
                answer.message()
            )));
        }
        let granted: Granted =
            serde_json::from_slice(&answer.body).map_err(|error| failed(error.to_string()))?;
        let expires: jiff::Timestamp = granted
            .expires_at
            .parse()
            .map_err(|error: jiff::Error| failed(error.to_string()))?;
        let value = format!("Bearer {}", granted.token);
        app.token = Some((granted.token, expires.as_second()));
        Ok(Some(value))
    }

    /// Forgets a token that was refused; whether there can be another.
    pub fn renew(&mut self) -> bool {
        match self {
            Self::App(app) => app.token.take().is_some(),
            _ => false,
        }
    }
}

/// Base 64 for URLs, without padding: RFC 4648, section 5.
fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let three = [
            group[0],
            *group.get(1).unwrap_or(&0),
            *group.get(2).unwrap_or(&0),
        ];
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        for digit in 0..=group.len() {
            let value = bits >> (18 - 6 * digit) & 63;
            text.push(char::from(DIGITS[value as usize]));
        }
    }
    text
}

/// Requests with credentials, over something that sends them with a given value of
/// `Authorization`.
pub struct Authorized<S> {
    credentials: Credentials,
    send: S,
    now: fn() -> i64,
}

impl<S> fmt::Debug for Authorized<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorized")
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}

impl<S> Authorized<S>
where
    S: FnMut(&Request, Option<&str>) -> Result<Answer, String> + Send,
{
    /// `now` is our clock in Unix seconds.
    pub fn new(credentials: Credentials, now: fn() -> i64, send: S) -> Self {
        Self {
            credentials,
            send,
            now,
        }
    }
}

impl<S> Http for Authorized<S>
where
    S: FnMut(&Request, Option<&str>) -> Result<Answer, String> + Send,
{
    fn send(&mut self, request: &Request) -> Result<Answer, String> {
        let send = &mut self.send;
        let mut with = |request: &Request, value: &str| send(request, Some(value));
        let value = self.credentials.authorization((self.now)(), &mut with);
        let value = value.map_err(|error| error.to_string())?;
        (self.send)(request, value.as_deref())
    }

    fn renew(&mut self) -> bool {
        self.credentials.renew()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Key;

    impl Sign for Key {
        fn sign(&self, message: &[u8]) -> Result<Vec<u8>, String> {
            Ok(vec![message.len() as u8; 4])
        }
    }

    #[test]
    fn base64_for_urls() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"f", "Zg"),
            (b"fo", "Zm8"),
            (b"foo", "Zm9v"),
            (b"\xfb\xff\xfe", "-__-"),
        ] {
            assert_eq!(base64url(bytes), text);
        }
    }

    #[test]
    fn a_token_is_renewed_before_it_expires_and_when_it_is_refused() {
        let mut asked = Vec::new();
        let mut send = |request: &Request, value: &str| {
            asked.push((request.name(), value.to_owned()));
            Ok(Answer {
                status: 201,
                body: format!(
                    r#"{{"token":"t{}","expires_at":"1970-01-01T01:00:00Z"}}"#,
                    asked.len()
                )
                .into_bytes(),
                ..Answer::default()
            })
        };
        let mut app = Credentials::App(App::new(7, 42, Key));
        let mut value = |now| app.authorization(now, &mut send).unwrap().unwrap();
        assert_eq!(
            (value(0), value(3200)),
            ("Bearer t1".into(), "Bearer t1".into())
        );
        assert_eq!(value(3301), "Bearer t2", "five minutes before its end");
        assert!(app.renew() && !app.renew());
        let again = app.authorization(10, &mut send).unwrap();
        assert_eq!(again.as_deref(), Some("Bearer t3"));
        assert_eq!(asked.len(), 3);
        assert_eq!(asked[0].0, "POST /app/installations/42/access_tokens");
        let claims = asked[0].1.split('.').nth(1).unwrap();
        assert_eq!(claims, base64url(br#"{"iat":-60,"exp":480,"iss":"7"}"#));
        assert!(!format!("{app:?}").contains("t3"), "no secret is shown");
    }

    #[test]
    fn an_app_that_is_refused_says_so() {
        let mut app = Credentials::App(App::new(7, 42, Key));
        let mut send = |_: &Request, _: &str| {
            Ok(Answer {
                status: 401,
                body: br#"{"message":"A JSON web token could not be decoded"}"#.to_vec(),
                ..Answer::default()
            })
        };
        let error = app.authorization(0, &mut send).unwrap_err();
        assert!(error.is_lasting() && error.to_string().contains("could not be decoded"));
    }
}
