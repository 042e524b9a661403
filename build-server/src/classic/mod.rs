//! What programs and people of the Go project read from a coordinator: its builders, its status,
//! its try runs, its logs. Beside the farm's own pages and API, at the addresses and in the forms
//! of the coordinator of December 2020.
//!
//! [`Classic::router`] is all of it but the front page, [`Classic::front_page`] is that one.

mod board;
mod builders;
#[cfg(feature = "web")]
mod debug;
mod health;
mod logs;
#[cfg(feature = "reverse")]
mod machines;
mod queues;
mod reading;
mod status;
mod tries;

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use build_core::builders::Farm;
use build_core::clock::{Clock, SystemClock, Timestamp};
use build_core::{Error, ErrorKind};

pub use health::{Finding, HealthCheck, Level};

use crate::coordinator::Handle;
use crate::http::page::{self, Frame};
use crate::record::BuildRow;
use crate::store::Records;

/// The pages among which one chooses.
const LINKS: &[(&str, &str)] = &[
    ("/builders", "Builders"),
    ("/dashboard", "Dashboard"),
    ("/queues", "Queues"),
];

/// The pages of one coordinator. Clones share it.
#[derive(Clone)]
pub struct Classic(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    handle: Handle,
    /// What the one who asks may read.
    records: Arc<dyn Records>,
    /// By whom those who ask are known.
    #[cfg(feature = "web")]
    people: Option<crate::web::Site>,
    #[cfg(feature = "reverse")]
    machines: Option<crate::pool::ReversePool>,
    farm: Arc<Farm>,
    /// The one whom the server runs as, for hosts that are this machine.
    user: String,
    /// Where people find it, without a slash at the end.
    base: String,
    clock: Arc<dyn Clock>,
    begun: Timestamp,
    checks: Vec<Arc<dyn HealthCheck>>,
}

impl fmt::Debug for Classic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Classic")
            .field("base", &self.0.base)
            .finish_non_exhaustive()
    }
}

impl Classic {
    /// The pages of a coordinator that has these builders and hosts, and is found at `base`, such
    /// as `https://localhost:8119`.
    pub fn new(handle: Handle, farm: Farm, base: &str) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let checks: Vec<Arc<dyn HealthCheck>> = vec![Arc::new(health::Work(handle.clone()))];
        Self(Arc::new(Inner {
            records: handle.records().clone(),
            #[cfg(feature = "web")]
            people: None,
            #[cfg(feature = "reverse")]
            machines: None,
            handle,
            farm: Arc::new(farm),
            user: String::new(),
            base: base.trim_end_matches('/').to_owned(),
            begun: clock.now(),
            clock,
            checks,
        }))
    }

    fn with(self, change: impl FnOnce(&mut Inner)) -> Self {
        let mut inner = Inner::clone(&self.0);
        change(&mut inner);
        Self(Arc::new(inner))
    }

    /// Sets whom the server runs as.
    #[must_use]
    pub fn with_user(self, user: impl Into<String>) -> Self {
        self.with(|inner| inner.user = user.into())
    }

    /// Adds something to look at, under `/status/ID`.
    #[must_use]
    pub fn with_check(self, check: impl HealthCheck + 'static) -> Self {
        self.with(|inner| inner.checks.push(Arc::new(check)))
    }

    /// By whom people are known: repositories that are private are then shown to those alone who
    /// may read them, and `/debug` to admins. Default: everybody is shown everything, and there is
    /// no `/debug`.
    #[cfg(feature = "web")]
    #[must_use]
    pub fn with_people(self, people: crate::web::Site) -> Self {
        self.with(|inner| inner.people = Some(people))
    }

    /// The machines that register, for `/status/reverse.json` and `/status/machines`. Default:
    /// none can.
    #[cfg(feature = "reverse")]
    #[must_use]
    pub fn with_machines(self, machines: crate::pool::ReversePool) -> Self {
        self.with(|inner| {
            let check = machines::Missing(machines.clone());
            inner.checks.push(Arc::new(check));
            inner.machines = Some(machines);
        })
    }

    fn records(&self) -> &dyn Records {
        &*self.0.records
    }

    /// The same for somebody who is shown these rows.
    #[cfg(feature = "web")]
    fn reading(&self, records: Arc<dyn Records>) -> Self {
        self.clone().with(|inner| inner.records = records)
    }

    /// All pages and documents but the front page.
    pub fn router(&self) -> Router {
        let router = self.documents();
        #[cfg(feature = "web")]
        let router = router.merge(debug::router(self.0.people.as_ref()));
        router
    }

    fn documents(&self) -> Router {
        let documents = Router::new();
        #[cfg(feature = "reverse")]
        let documents = documents.route("/status/reverse.json", get(machines::page));
        documents
            .route("/builders", get(builders::page))
            .route("/dashboard", get(board::page))
            .route("/queues", get(queues::page))
            .route("/temporarylogs", get(logs::page))
            .route("/logs", get(logs::page))
            .route("/try", get(tries::page))
            .route("/try.json", get(tries::json).options(tries::options))
            .route(
                "/status/post-submit-active.json",
                get(status::post_submit_active),
            )
            .route("/status/{id}", get(health::page))
            .route("/style.css", get(style))
            .merge(page::files())
            .with_state(self.clone())
    }

    /// The front page: what the farm does.
    pub fn front_page(&self) -> Router {
        Router::new()
            .route("/", get(status::page))
            .with_state(self.clone())
    }

    fn frame(&self, title: &str) -> Frame {
        Frame::new("Go Build Coordinator", title, self.0.clock.now()).with_links(LINKS)
    }

    /// Where a build is looked at.
    fn log_path(&self, row: &BuildRow) -> String {
        format!(
            "/temporarylogs?name={}&rev={}&st={}",
            row.builder, row.item.commit, row.id
        )
    }

    /// The same for people elsewhere.
    fn log_url(&self, row: &BuildRow) -> String {
        format!("{}{}", self.0.base, self.log_path(row))
    }
}

async fn style() -> impl IntoResponse {
    let kind = [(header::CONTENT_TYPE, "text/css; charset=utf-8")];
    (kind, page::style())
}

/// An error as Go servers write one: its text, a line feed, no guessing of types.
struct Said(StatusCode, String);

impl Said {
    fn not_found(text: impl Into<String>) -> Self {
        Self(StatusCode::NOT_FOUND, text.into())
    }
}

impl From<Error> for Said {
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::Invalid => StatusCode::BAD_REQUEST,
            ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if status.is_server_error() {
            tracing::error!(error = error.chain(), "a page could not be drawn");
        }
        Self(status, error.to_string())
    }
}

impl IntoResponse for Said {
    fn into_response(self) -> Response {
        let headers = [
            (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ];
        (self.0, headers, format!("{}\n", self.1)).into_response()
    }
}

/// JSON as an answer.
fn json(text: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}
