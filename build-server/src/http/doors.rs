//! Where a server listens: in the clear, with TLS, or both.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use build_core::Result;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::page::text;
use crate::front::{Front, Peer, Services};
use crate::https::Tls;

/// What is answered without TLS too: those who ask whether a server lives have no certificates.
const HEALTH: [&str; 2] = ["/healthz", "/_ah/health"];

/// Where a server listens. A listener alone is a door without TLS.
#[derive(Debug)]
pub struct Doors {
    plain: TcpListener,
    encrypted: Option<(TcpListener, Tls)>,
    only_encrypted: bool,
    transport_security: Option<&'static str>,
}

impl From<TcpListener> for Doors {
    fn from(plain: TcpListener) -> Self {
        Self {
            plain,
            encrypted: None,
            only_encrypted: false,
            transport_security: None,
        }
    }
}

impl Doors {
    /// Listens with TLS as well.
    #[must_use]
    pub fn with_tls(mut self, listener: TcpListener, tls: Tls) -> Self {
        self.encrypted = Some((listener, tls));
        self
    }

    /// Sends those who come without TLS to the door with it, if there is one. Questions whether
    /// the server lives are answered.
    #[must_use]
    pub fn only_encrypted(mut self) -> Self {
        self.only_encrypted = true;
        self
    }

    /// Says this `Strict-Transport-Security` with each answer over TLS.
    #[must_use]
    pub fn with_transport_security(mut self, rule: &'static str) -> Self {
        self.transport_security = Some(rule);
        self
    }

    /// Serves `router` until `token` is canceled. See [`serve`](super::serve).
    pub(super) async fn serve(self, router: Router, token: CancellationToken) -> Result<()> {
        let Some((listener, tls)) = self.encrypted else {
            let services = Services::new().with_pages(router);
            Front::new(services).run(self.plain, token).await;
            return Ok(());
        };
        let rules = Arc::new(Rules {
            only_encrypted: self.only_encrypted,
            port: listener.local_addr()?.port(),
            transport_security: self.transport_security.map(HeaderValue::from_static),
        });
        let router = router.layer(from_fn_with_state(rules, by_the_right_door));
        let front = Front::new(Services::new().with_pages(router)).with_tls(tls);
        front.run_all(vec![self.plain, listener], token).await;
        Ok(())
    }
}

struct Rules {
    only_encrypted: bool,
    port: u16,
    transport_security: Option<HeaderValue>,
}

async fn by_the_right_door(
    State(rules): State<Arc<Rules>>,
    request: Request,
    next: Next,
) -> Response {
    let peer = request.extensions().get::<Peer>();
    let encrypted = peer.is_some_and(|peer| peer.encrypted);
    if rules.only_encrypted && !encrypted && !HEALTH.contains(&request.uri().path()) {
        return match encrypted_address(&request, rules.port) {
            Some(to) => (StatusCode::FOUND, [(header::LOCATION, to)]).into_response(),
            None => text(StatusCode::NOT_FOUND, "404 page not found\n"),
        };
    }
    let mut response = next.run(request).await;
    if let Some(rule) = rules.transport_security.as_ref().filter(|_| encrypted) {
        let headers = response.headers_mut();
        headers.insert(header::STRICT_TRANSPORT_SECURITY, rule.clone());
    }
    response
}

/// The same place with `https`; `None` when the request names no host.
fn encrypted_address(request: &Request, port: u16) -> Option<String> {
    let named = request.headers().get(header::HOST);
    let host = match request.uri().authority() {
        Some(authority) => authority.as_str(),
        None => named?.to_str().ok()?,
    };
    let authority: axum::http::uri::Authority = host.parse().ok()?;
    // What is before an @ is for no server to repeat.
    let host = authority.host();
    let port = match port {
        443 => String::new(),
        port => format!(":{port}"),
    };
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str());
    Some(format!("https://{host}{port}{path}"))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn those_without_tls_are_sent_to_the_same_place() {
        let asked = |uri: &str, host: Option<&str>| {
            let mut request = Request::builder().uri(uri);
            if let Some(host) = host {
                request = request.header("host", host);
            }
            request.body(Body::empty()).unwrap()
        };
        for (uri, host, port, to) in [
            (
                "/a?b=c",
                "tip.example.org",
                443,
                "https://tip.example.org/a?b=c",
            ),
            ("/", "tip.example.org:8080", 443, "https://tip.example.org/"),
            ("/", "[::1]:8080", 8443, "https://[::1]:8443/"),
            ("//elsewhere/x", "a.b", 443, "https://a.b//elsewhere/x"),
            ("/", "user@a.b", 443, "https://a.b/"),
        ] {
            let request = asked(uri, Some(host));
            assert_eq!(encrypted_address(&request, port).as_deref(), Some(to));
        }
        assert_eq!(encrypted_address(&asked("/", None), 443), None);
        assert_eq!(encrypted_address(&asked("/", Some("a b")), 443), None);
    }
}
