//! What callers send, with every mistake answered in the API's own words.

use axum::Json;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use build_core::ErrorKind;
use build_core::ids::BuildId;
use serde::de::DeserializeOwned;

use crate::web::{Refusal, Site};

const SEE: &str = "the description of the API is at /api/v1/openapi.json";

/// The id in the path.
pub(super) struct Id(pub(super) BuildId);

impl FromRequestParts<Site> for Id {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, site: &Site) -> Result<Self, Refusal> {
        let Path(text) = Path::<String>::from_request_parts(parts, site)
            .await
            .map_err(|e| Refusal::new(ErrorKind::Invalid, e.body_text(), SEE))?;
        let id = BuildId::new(&text).map_err(|e| {
            let hint = "they look like B0123456789; list them with GET /api/v1/builds";
            Refusal::new(ErrorKind::Invalid, e.to_string(), hint)
        })?;
        Ok(Self(id))
    }
}

/// The parameters behind `?`.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<Site> for Params<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, site: &Site) -> Result<Self, Refusal> {
        let Query(params) = Query::<T>::from_request_parts(parts, site)
            .await
            .map_err(|e| Refusal::new(ErrorKind::Invalid, e.body_text(), SEE))?;
        Ok(Self(params))
    }
}

/// The body.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Site> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, site: &Site) -> Result<Self, Refusal> {
        let Json(body) = Json::<T>::from_request(request, site).await.map_err(|e| {
            let kind = match e.status() {
                StatusCode::PAYLOAD_TOO_LARGE => ErrorKind::Limit,
                _ => ErrorKind::Invalid,
            };
            Refusal::new(kind, e.body_text(), SEE).with_status(e.status())
        })?;
        Ok(Self(body))
    }
}
