//! The page about TLS: what clients offered, what came of it, what they asked for.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use askama::Template;
use axum::Extension;
use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::Response;
use build_core::clock::{Clock, SystemClock, Timestamp};

use super::Vcweb;
use crate::front::Peer;
use crate::http::page::{Frame, html};
use crate::https::Greeting;

/// Requests that are remembered.
const KEPT: usize = 100;
/// Longest text of a request that is shown.
const MAX_TEXT: usize = 300;

/// The last requests, the newest first.
#[derive(Default)]
pub(super) struct Asked(Mutex<VecDeque<Arc<Question>>>);

struct Question {
    at: Timestamp,
    from: SocketAddr,
    encrypted: bool,
    what: String,
    agent: String,
}

impl Question {
    fn new(request: &Request) -> Option<Self> {
        let peer = request.extensions().get::<Peer>()?;
        let cut = |text: &str| text.chars().take(MAX_TEXT).collect::<String>();
        let agent = request.headers().get(header::USER_AGENT);
        let agent = agent.map(|agent| String::from_utf8_lossy(agent.as_bytes()).into_owned());
        let what = format!(
            "{} {} {:?}",
            request.method(),
            request.uri(),
            request.version()
        );
        Some(Self {
            at: SystemClock.now(),
            from: peer.address,
            encrypted: peer.encrypted,
            what: cut(&what),
            agent: cut(&agent.unwrap_or_default()),
        })
    }
}

/// Remembers each request.
pub(super) async fn remember(
    State(site): State<Arc<Vcweb>>,
    request: Request,
    next: Next,
) -> Response {
    if let Some(question) = Question::new(&request) {
        let mut kept = site.asked.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.truncate(KEPT - 1);
        kept.push_front(Arc::new(question));
    }
    next.run(request).await
}

/// A request with the handshake of its connection.
struct Shown {
    asked: Option<Arc<Question>>,
    greeting: Option<Greeting>,
}

#[derive(Template)]
#[template(path = "vcweb-tls.html")]
struct Page {
    frame: Frame,
    has_tls: bool,
    own: Shown,
    recent: Vec<Shown>,
    silent: Vec<Shown>,
}

/// The page.
pub(super) async fn page(
    State(site): State<Arc<Vcweb>>,
    peer: Option<Extension<Peer>>,
) -> Response {
    let greetings = site.hellos.all();
    let of = |from: SocketAddr| greetings.iter().find(|g| g.from == from).cloned();
    let asked: Vec<_> = {
        let kept = site.asked.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().cloned().collect()
    };
    let shown = |asked: &Arc<Question>| Shown {
        greeting: of(asked.from).filter(|_| asked.encrypted),
        asked: Some(asked.clone()),
    };
    let own = peer.map(|Extension(peer)| peer.address);
    let is_own = |question: &&Arc<Question>| Some(question.from) == own;
    let silent = greetings
        .iter()
        .filter(|greeting| !asked.iter().any(|question| question.from == greeting.from));
    html(&Page {
        frame: Frame::new("vcweb", "TLS", SystemClock.now()).with_links(super::LINKS),
        has_tls: site.has_tls,
        own: asked.iter().find(is_own).map_or(
            Shown {
                asked: None,
                greeting: None,
            },
            shown,
        ),
        recent: asked.iter().map(shown).collect(),
        silent: silent
            .map(|greeting| Shown {
                asked: None,
                greeting: Some(greeting.clone()),
            })
            .collect(),
    })
}
