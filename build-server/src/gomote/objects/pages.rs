//! `POST /gomote/objects/TOKEN/` takes a file, `GET /gomote/objects/TOKEN/NAME` gives one.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use build_core::{Error, ErrorKind, Result};
use futures::StreamExt as _;

use super::{Address, Objects, PATH};

/// Parts of one form, besides the file.
const MOST_FIELDS: usize = 32;
/// What a form may have besides the file.
const FORM_BYTES: u64 = 64 << 10;

pub(super) fn router(objects: Objects) -> Router {
    Router::new()
        .route(&format!("{PATH}{{token}}/"), post(send))
        .route(&format!("{PATH}{{token}}/{{name}}"), get(give))
        .with_state(objects)
}

/// The status of an error, and its text. Addresses are secrets: no text holds one.
struct Refused(Error);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = match self.0.kind() {
            ErrorKind::Invalid => StatusCode::BAD_REQUEST,
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::Conflict => StatusCode::CONFLICT,
            ErrorKind::Limit => StatusCode::PAYLOAD_TOO_LARGE,
            ErrorKind::TimedOut => StatusCode::REQUEST_TIMEOUT,
            _ => {
                tracing::warn!(error = self.0.chain(), "a file was not kept");
                StatusCode::INSUFFICIENT_STORAGE
            }
        };
        let plain = "text/plain; charset=utf-8";
        let fields = [(header::CONTENT_TYPE, plain)];
        let text = super::super::create::said(&self.0) + "\n";
        (status, fields, text).into_response()
    }
}

/// Takes a form whose last part is the file; other parts mean nothing here.
async fn send(
    State(objects): State<Objects>,
    Path(token): Path<String>,
    request: Request,
) -> Result<StatusCode, Refused> {
    receive(&objects, &token, request).await.map_err(Refused)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn receive(objects: &Objects, token: &str, request: Request) -> Result<()> {
    let arriving = objects.arriving(token)?;
    let kind = request.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let boundary = multer::parse_boundary(kind).map_err(bad)?;
    let whole = objects.0.limits.object_bytes.saturating_add(FORM_BYTES);
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|bytes| bytes.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > whole) {
        let text = format!(
            "one file may not have more than {} bytes",
            objects.0.limits.object_bytes
        );
        return Err(Error::new(ErrorKind::Limit, text));
    }
    let limits = multer::SizeLimit::new().whole_stream(whole);
    let constraints = multer::Constraints::new().size_limit(limits);
    let body = request.into_body().into_data_stream();
    let mut form = multer::Multipart::with_constraints(body, boundary, constraints);
    let mut content = None;
    let mut fields = 0;
    while let Some(field) = form.next_field().await.map_err(bad)? {
        fields += 1;
        if content.is_some() || fields > MOST_FIELDS {
            let text = "a form is some fields, and a part file at the end";
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        if field.name() == Some("file") {
            let pieces = field.map(|piece| piece.map_err(bad));
            content = Some(arriving.store(pieces).await?);
        }
    }
    let text = "the form has no part file";
    let content = content.ok_or_else(|| Error::new(ErrorKind::Invalid, text))?;
    arriving.keep(content);
    Ok(())
}

fn bad(error: multer::Error) -> Error {
    let kind = match error {
        multer::Error::StreamSizeExceeded { .. } | multer::Error::FieldSizeExceeded { .. } => {
            ErrorKind::Limit
        }
        _ => ErrorKind::Invalid,
    };
    Error::caused_by(kind, "the form cannot be read", error)
}

async fn give(
    State(objects): State<Objects>,
    Path((token, name)): Path<(String, String)>,
) -> Result<Response, Refused> {
    let address = Address { token, name };
    let content = objects.packed(&address).map_err(Refused)?;
    let size = content.size();
    let stream = content.stream().await.map_err(Refused)?;
    let mut response = Response::new(Body::from_stream(stream));
    let fields = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "application/gzip"),
        (header::CONTENT_DISPOSITION, "attachment"),
        (header::CACHE_CONTROL, "private, no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        fields.insert(name, HeaderValue::from_static(value));
    }
    fields.insert(header::CONTENT_LENGTH, HeaderValue::from(size));
    Ok(response)
}
