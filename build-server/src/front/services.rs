use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use build_core::h1::RequestHead;

use super::Dialect;

/// What is behind a door. Each part of a farm adds its own; clones share it.
#[derive(Clone)]
pub struct Services {
    dialects: Vec<Arc<dyn Dialect>>,
    pages: Router,
    grpc: Router,
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services")
            .field("dialects", &self.dialects.len())
            .finish_non_exhaustive()
    }
}

impl Default for Services {
    fn default() -> Self {
        Self::new()
    }
}

impl Services {
    /// Nothing yet: pages are not found, methods of gRPC are not implemented.
    #[must_use]
    pub fn new() -> Self {
        Self {
            dialects: Vec::new(),
            pages: Router::new(),
            grpc: unknown_methods(),
        }
    }

    /// Serves the connections whose first request it takes. Of several that take one, the first
    /// one added serves.
    #[must_use]
    pub fn with_dialect(mut self, dialect: impl Dialect + 'static) -> Self {
        self.dialects.push(Arc::new(dialect));
        self
    }

    /// Answers requests of browsers and programs. Checks of names and origins are the router's
    /// own ([`crate::http::guarded`] puts them before it).
    ///
    /// # Panics
    /// When a path has two handlers, or two routers bring a fallback.
    #[must_use]
    pub fn with_pages(mut self, pages: Router) -> Self {
        self.pages = self.pages.merge(pages);
        self
    }

    /// Answers requests whose content is gRPC: a router with a route for each service, such as
    /// `/protos.Coordinator/{method}`, without a fallback.
    ///
    /// # Panics
    /// When a path has two handlers, or the router brings a fallback.
    #[must_use]
    pub fn with_grpc(mut self, services: Router) -> Self {
        self.grpc = self.grpc.merge(services);
        self
    }

    /// Who serves a connection that begins with this request.
    pub(super) fn dialect_of(&self, head: &RequestHead) -> Option<Arc<dyn Dialect>> {
        let takes = |dialect: &&Arc<dyn Dialect>| dialect.takes(head);
        self.dialects.iter().find(takes).cloned()
    }

    pub(super) fn router(&self, is_grpc: bool) -> Router {
        match is_grpc {
            true => self.grpc.clone(),
            false => self.pages.clone(),
        }
    }
}

/// Answers for methods that nobody has.
fn unknown_methods() -> Router {
    let unknown = Router::new().fallback(unimplemented);
    #[cfg(feature = "grpc")]
    let unknown = Router::new().fallback_service(crate::grpc::TrailersAlways::new(unknown));
    unknown
}

/// How gRPC says that there is no such method.
async fn unimplemented() -> impl IntoResponse {
    let head = [
        ("content-type", "application/grpc"),
        ("grpc-status", "12"),
        ("grpc-message", "unknown method"),
    ];
    let mut response = Response::new(axum::body::Body::empty());
    for (name, value) in head {
        let value = axum::http::HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    *response.status_mut() = StatusCode::OK;
    response
}
