//! Notices of code hosts that something was pushed.
//!
//! Their contents are not believed, only that there was a push: the sources then look for
//! themselves. So one path serves every code host that can show the token, or sign with it.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use build_core::ErrorKind;
use serde::Serialize;

use crate::web::auth::bearer;
use crate::web::{Refusal, Site};

/// The signature of the body, as GitHub, Gitea and Forgejo send it.
const SIGNATURE: &str = "x-hub-signature-256";
/// The token itself, as GitLab sends it.
const GITLAB_TOKEN: &str = "x-gitlab-token";

#[derive(Debug, Serialize)]
struct Noticed {
    looking: bool,
}

/// Has every source look for new commits now.
pub(super) async fn push(
    State(site): State<Site>,
    headers: HeaderMap,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Result<Response, Refusal> {
    let body = body.map_err(|e| {
        let kind = match e.status() {
            StatusCode::PAYLOAD_TOO_LARGE => ErrorKind::Limit,
            _ => ErrorKind::Invalid,
        };
        Refusal::new(kind, e.body_text(), "send at most 1 MiB").with_status(e.status())
    })?;
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok());
    let known = if let Some(signature) = text(SIGNATURE) {
        let mac = signature.strip_prefix("sha256=").map(hex::decode);
        match mac {
            Some(Ok(mac)) => site.auth().has_signed(&body, &mac).await?,
            _ => false,
        }
    } else if let Some(token) = text(GITLAB_TOKEN).or_else(|| bearer(&headers)) {
        site.auth().identify(token).await?.is_some()
    } else {
        false
    };
    if !known {
        return Err(Refusal::new(
            ErrorKind::Denied,
            "the notice is neither signed with the token nor shows it",
            "give the code host the token in the file `token` of the data directory as secret",
        )
        .with_status(StatusCode::UNAUTHORIZED));
    }
    site.handle().look_for_work();
    let answer = Json(Noticed { looking: true });
    Ok((StatusCode::ACCEPTED, answer).into_response())
}
