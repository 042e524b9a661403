//! `/builds/ID/raw`: the output of a run as it was printed.

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use crate::dashboard::error::{Failure, Looking};

#[derive(Deserialize)]
pub(in crate::dashboard) struct Question {
    run: usize,
}

/// Streams the output so far, however long it is.
pub(in crate::dashboard) async fn raw(
    Looking(site): Looking,
    Path(id): Path<String>,
    question: Result<Query<Question>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(question) = question?;
    let row = super::build(&site, &id).await?;
    let run = super::run(&row, question.run)?;
    let logs = site.handle().logs();
    let text = logs.read(&row.id, &run.exec, 0, false).await?;
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    Ok((headers, Body::from_stream(text)).into_response())
}
