//! What programs ask: uploads, searches, lists of uploads.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use axum::Json;
use axum::body::Body;
use axum::extract::{Query as Params, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use build_core::benchfmt::{Query, Result as Bench};
use build_core::key::same_secret;
use build_core::{Error, ErrorKind, Result};
use serde::Serialize;

use super::Site;
use super::store::{NewFile, label, matches};
use crate::http::page::text;

/// Parts of one upload.
const MAX_FILES: usize = 1000;
/// Uploads that are listed when the caller names no number.
const DEFAULT_LIMIT: usize = 1000;

#[derive(Serialize)]
struct Uploaded {
    uploadid: String,
    fileids: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    viewurl: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    count: usize,
    #[serde(rename = "UploadID")]
    upload_id: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    label_values: BTreeMap<String, String>,
}

/// `POST /upload`: a form of files.
pub(super) async fn upload(State(site): State<Site>, request: Request) -> Response {
    if !site.may_upload(request.headers()) {
        let said = "show the token: Authorization: Bearer TOKEN\n";
        return text(StatusCode::UNAUTHORIZED, said);
    }
    match store(&site, request).await {
        Ok(uploaded) => Json(uploaded).into_response(),
        Err(error) => {
            let status = match error.kind() {
                ErrorKind::Limit => StatusCode::PAYLOAD_TOO_LARGE,
                // Clients of this interface know 500 for whatever an upload lacks.
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            };
            tracing::info!(error = error.chain(), "an upload was refused");
            text(status, format!("{}\n", error.chain()))
        }
    }
}

async fn store(site: &Site, request: Request) -> Result<Uploaded> {
    let kind = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok());
    let boundary = multer::parse_boundary(kind.unwrap_or(""))
        .map_err(|e| Error::caused_by(ErrorKind::Invalid, "read the form", e))?;
    let by = request
        .headers()
        .get("x-farmer-by")
        .and_then(|v| v.to_str().ok().map(str::to_owned));
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|v| v.to_str().ok().map(str::to_owned));
    let limits = multer::SizeLimit::new().whole_stream(site.max_upload);
    let constraints = multer::Constraints::new().size_limit(limits);
    let body = request.into_body().into_data_stream();
    let mut form = multer::Multipart::with_constraints(body, boundary, constraints);
    let mut files = Vec::new();
    loop {
        let field = form.next_field().await.map_err(unread)?;
        let Some(field) = field else { break };
        match field.name() {
            Some("commit") => continue,
            Some("file") => {}
            // Clients send another name to take an upload back.
            name => {
                let text = format!("unexpected field {:?}", name.unwrap_or(""));
                return Err(Error::new(ErrorKind::Invalid, text));
            }
        }
        if files.len() == MAX_FILES {
            let text = format!("more than {MAX_FILES} files in one upload");
            return Err(Error::new(ErrorKind::Limit, text));
        }
        let name = field.file_name().unwrap_or("").to_owned();
        let bytes = field.bytes().await.map_err(unread)?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        files.push(NewFile { name, text });
    }
    let (store, now) = (site.store.clone(), site.clock.now());
    let tasks = site.tasks.group("upload");
    let stored = tasks.spawn_blocking("store", move || store.add(&files, by.as_deref(), now));
    let stored = stored
        .await
        .map_err(|e| Error::caused_by(ErrorKind::Bug, "store an upload", e))??;
    let viewurl = host.map(|host| format!("http://{host}/results?q=upload:{}", stored.id));
    Ok(Uploaded {
        uploadid: stored.id,
        fileids: stored.files,
        viewurl,
    })
}

fn unread(error: multer::Error) -> Error {
    let kind = match error {
        multer::Error::StreamSizeExceeded { .. } | multer::Error::FieldSizeExceeded { .. } => {
            ErrorKind::Limit
        }
        _ => ErrorKind::Invalid,
    };
    Error::caused_by(kind, "read the form", error)
}

impl Site {
    /// Whether a request shows the token, when one is needed.
    fn may_upload(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else {
            return true;
        };
        let shown = headers
            .get(header::AUTHORIZATION)
            .and_then(|v| v.to_str().ok());
        let shown = shown.and_then(|value| value.strip_prefix("Bearer "));
        shown.is_some_and(|shown| same_secret(shown.trim().as_bytes(), token.as_bytes()))
    }
}

/// `GET /search?q=`: results in the format in which they were sent.
pub(super) async fn search(
    State(site): State<Site>,
    Params(params): Params<BTreeMap<String, String>>,
) -> Response {
    let Some(query) = params.get("q").filter(|q| !q.is_empty()) else {
        return text(StatusCode::BAD_REQUEST, "missing q parameter\n");
    };
    match Query::parse(query) {
        Ok(query) => {
            let found = site.read(move |site| Ok(written(&site.store.search(&query)?)));
            match found.await {
                Ok(results) => text(StatusCode::OK, results),
                Err(error) => unreadable(&error),
            }
        }
        Err(error) => text(StatusCode::BAD_REQUEST, format!("{error}\n")),
    }
}

/// The answer when the uploads cannot be read, or hold too much for one answer.
pub(super) fn unreadable(error: &Error) -> Response {
    let status = match error.kind() {
        ErrorKind::Limit => StatusCode::BAD_REQUEST,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    tracing::warn!(error = error.chain(), "uploads could not be read");
    text(status, format!("{}\n", error.chain()))
}

/// Results as text: labels where they change, then each result.
pub(super) fn written(results: &[Bench]) -> String {
    let mut text = String::new();
    let mut before: Option<&Bench> = None;
    for result in results {
        let known = before.map(|b| &*b.labels);
        if known.is_none_or(|known| *known != *result.labels) {
            if !text.is_empty() {
                text.push('\n');
            }
            for key in known.into_iter().flat_map(|known| known.keys()) {
                if !result.labels.contains_key(key) {
                    let _infallible = writeln!(text, "{key}:");
                }
            }
            for (key, value) in result.labels.iter() {
                if known.and_then(|known| known.get(key)) != Some(value) {
                    let _infallible = writeln!(text, "{key}: {value}");
                }
            }
        }
        text.push_str(&result.to_line());
        text.push('\n');
        before = Some(result);
    }
    text
}

/// `GET /uploads`: uploads with results for which a query holds, the newest first, one a line.
pub(super) async fn uploads(State(site): State<Site>, request: Request) -> Response {
    let query = request.uri().query().unwrap_or("").to_owned();
    let (mut q, mut labels, mut limit) = (String::new(), Vec::new(), DEFAULT_LIMIT);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "q" => q = value.into_owned(),
            "extra_label" => labels.push(value.into_owned()),
            "limit" => match value.parse() {
                Ok(0) => limit = DEFAULT_LIMIT,
                Ok(number) => limit = number,
                Err(_) => return text(StatusCode::BAD_REQUEST, "invalid limit parameter\n"),
            },
            _ => {}
        }
    }
    let query = match Query::parse(&q) {
        Ok(query) => query,
        Err(error) => return text(StatusCode::BAD_REQUEST, format!("{error}\n")),
    };
    let listed = site.read(move |site| list(site, &query, &labels, limit));
    let kind = [(header::CONTENT_TYPE, "application/json; charset=utf-8")];
    match listed.await {
        Ok(lines) => (kind, Body::from(lines)).into_response(),
        Err(error) => unreadable(&error),
    }
}

fn list(site: &Site, query: &Query, labels: &[String], limit: usize) -> Result<String> {
    let (mut lines, mut left) = (String::new(), limit);
    for upload in site.store.uploads().iter().rev() {
        if left == 0 {
            break;
        }
        if !upload.summary.may_hold(query) {
            continue;
        }
        let mut listed = Listed {
            label_values: BTreeMap::new(),
            upload_id: upload.id.clone(),
            count: upload.count(),
        };
        // The index alone tells of all results.
        if !query.terms().is_empty() || !labels.is_empty() {
            let results = site.store.results(upload)?;
            let mut found = results.iter().filter(|r| matches(query, r)).peekable();
            let Some(first) = found.peek() else {
                continue;
            };
            let value = |key: &String| Some((key.clone(), label(first, key)?.into_owned()));
            listed.label_values = labels.iter().filter_map(value).collect();
            listed.count = found.count();
        }
        if listed.count == 0 {
            continue;
        }
        lines.push_str(&serde_json::to_string(&listed).unwrap_or_default());
        lines.push('\n');
        left -= 1;
    }
    Ok(lines)
}
