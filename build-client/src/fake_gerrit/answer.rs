//! Answers, and who may ask.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode};
use base64::Engine as _;
use md5::{Digest as _, Md5};
use serde::Serialize;

use super::world::World;

/// What is answered.
pub(super) struct Answer {
    status: u16,
    body: String,
    /// What credentials are asked for.
    challenge: Option<&'static str>,
}

impl From<Answer> for Response<Body> {
    fn from(answer: Answer) -> Self {
        let mut response = Self::new(Body::from(answer.body));
        *response.status_mut() =
            StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if let Some(challenge) = answer.challenge {
            let value = HeaderValue::from_static(challenge);
            response.headers_mut().insert("www-authenticate", value);
        }
        response
    }
}

/// An answer, or one that says what is wrong.
pub(super) type Answered = Result<Answer, Answer>;

pub(super) fn plain(status: u16, body: impl Into<String>) -> Answer {
    Answer {
        status,
        body: body.into(),
        challenge: None,
    }
}

/// A value after the guard line.
pub(super) fn json(status: u16, value: &impl Serialize) -> Answer {
    match serde_json::to_string_pretty(value) {
        Ok(text) => plain(status, format!(")]}}'\n{text}\n")),
        Err(error) => plain(500, error.to_string()),
    }
}

pub(super) fn ok(value: &impl Serialize) -> Answered {
    Ok(json(200, value))
}

pub(super) fn missing(what: &str) -> Answer {
    plain(404, format!("Not found: {what}"))
}

pub(super) fn conflict(why: &str) -> Answer {
    plain(409, why)
}

/// Whether a call under `/a` shows the credentials that the world asks for.
pub(super) fn admitted(world: &World, header: Option<&str>, method: &str, path: &str) -> Answered {
    let Some((user, password)) = &world.password else {
        return Ok(plain(200, ""));
    };
    let shown = header.unwrap_or_default();
    let fits = if world.digest {
        digest_fits(shown, user, password, method, path)
    } else {
        let text = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        shown == format!("Basic {text}") || shown == format!("Bearer {password}")
    };
    if fits {
        return Ok(plain(200, ""));
    }
    let refusal = plain(401, "Unauthorized");
    let challenge = if world.digest {
        "Digest realm=\"Gerrit Code Review\", nonce=\"0123\", qop=\"auth\""
    } else {
        "Basic realm=\"Gerrit Code Review\""
    };
    let challenge = Some(challenge);
    Err(Answer {
        challenge,
        ..refusal
    })
}

fn digest_fits(shown: &str, user: &str, password: &str, method: &str, path: &str) -> bool {
    let field = |name: &str| {
        let fields = shown.strip_prefix("Digest ")?.split(", ");
        fields
            .filter_map(|field| field.split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.trim_matches('"'))
    };
    let hash = |text: String| hex::encode(Md5::digest(text));
    let ha1 = hash(format!("{user}:Gerrit Code Review:{password}"));
    let ha2 = hash(format!("{method}:{path}"));
    let cnonce = field("cnonce").unwrap_or_default();
    let nc = field("nc").unwrap_or_default();
    let expected = hash(format!("{ha1}:0123:{nc}:{cnonce}:auth:{ha2}"));
    field("username") == Some(user) && field("response") == Some(expected.as_str())
}
