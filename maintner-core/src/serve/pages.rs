//! The corpus to be read by people: repositories, issues, projects, changes.

use axum::Router;
use axum::extract::{Query, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, LOCATION,
};
use axum::http::{Method, StatusCode, Uri};
use axum::response::Response;
use axum::routing::{any, get};

use super::answer::{Params, bad_method, empty, text};
use crate::{Corpus, View};

mod change;
mod index;
mod issue;
mod list;

/// Rows of a list on one page.
const ROWS: usize = 100;
const STYLE: &str = include_str!("../../templates/style.css");
/// Texts of the corpus were written by strangers: nothing on a page runs.
const POLICY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; style-src 'self'; frame-ancestors 'none'");

/// Pages over a corpus: `/`, `/OWNER/REPO[/N]`, `/HOST/PROJECT[/N]`.
///
/// ```
/// # let corpus = maintner_core::sample::corpus();
/// let pages = maintner_core::serve::Pages::new(corpus).router();
/// # let _ = pages;
/// ```
#[derive(Debug, Clone)]
pub struct Pages {
    corpus: Corpus,
}

impl Pages {
    /// Shows a corpus, always as it is now.
    pub fn new(corpus: Corpus) -> Self {
        Self { corpus }
    }

    /// The routes: a style sheet, and everything that is no other route's.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/assets/style.css", get(style))
            .fallback(any(answer))
            .with_state(self.clone())
    }
}

async fn style() -> Response {
    let mut response = Response::new(STYLE.into());
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/css; charset=utf-8"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=3600"));
    response
}

async fn answer(
    State(pages): State<Pages>,
    method: Method,
    uri: Uri,
    Query(params): Query<Params>,
) -> Response {
    if let Some(refusal) = bad_method(&method) {
        return refusal;
    }
    let path = uri.path();
    if path != "/" && path.ends_with('/') {
        return without_slash(path, uri.query());
    }
    let view = pages.corpus.view();
    let path = path.to_owned();
    // Lists of a large corpus take milliseconds, which other requests need not wait for.
    let made = tokio::task::spawn_blocking(move || page(&view, &path, &params)).await;
    match made {
        Ok(Ok(html)) => show(html),
        Ok(Err(what)) => text(StatusCode::NOT_FOUND, &format!("404 Not Found\n\n{what}")),
        Err(_) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            "500 Internal Server Error",
        ),
    }
}

/// `//host` would lead away from this server.
fn without_slash(path: &str, query: Option<&str>) -> Response {
    let path = format!("/{}", path.trim_matches('/'));
    let query = query.map_or(String::new(), |query| format!("?{query}"));
    let mut response = empty(StatusCode::FOUND);
    if let Ok(location) = HeaderValue::try_from(format!("{path}{query}")) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// The page at a path, or what is not there.
fn page(view: &View, path: &str, params: &Params) -> Result<String, String> {
    let mut parts = path.trim_start_matches('/').split('/');
    let first = parts.next().unwrap_or_default();
    if first.is_empty() {
        return index::page(view);
    }
    let (name, number) = (parts.next(), parts.next());
    let Some(name) = name.filter(|_| parts.next().is_none()) else {
        return Err(format!("page {path:?} not found"));
    };
    let is_gerrit = first.ends_with(".googlesource.com")
        || view
            .gerrit()
            .projects()
            .any(|project| project.server() == first);
    if is_gerrit {
        let project = view.gerrit().project(first, name);
        let project = project.map_err(|_| format!("Gerrit project {first}/{name} not found"))?;
        return match number {
            None => change::list(&project, params),
            Some(number) => change::page(&project, number),
        };
    }
    let repo = view.github().try_repo(first, name);
    let repo = repo.ok_or_else(|| format!("GitHub repository \"{first}/{name}\" not found"))?;
    match number {
        None => issue::list(&repo, params),
        Some(number) => issue::page(&repo, number),
    }
}

fn show(html: String) -> Response {
    let mut response = Response::new(html.into());
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    response
}

/// A time for people, in UTC; nothing when there is none.
fn shown(time: Option<crate::query::UnixTime>) -> String {
    let time = time.and_then(|time| jiff::Timestamp::from_second(time.seconds()).ok());
    time.map_or_else(String::new, |time| {
        time.strftime("%Y-%m-%d %H:%M").to_string()
    })
}

fn rendered(template: &impl askama::Template) -> Result<String, String> {
    template.render().map_err(|error| error.to_string())
}
