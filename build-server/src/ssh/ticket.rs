//! `/buildlet/ssh`: what a client needs to come to a session, for whoever owns it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use build_core::ErrorKind;
use build_core::buildlet::{Form, MAX_FORM_BYTES, header};
use build_core::clock::SystemClock;
use build_core::h1::io::{Body as _, Exchange, Server};
use build_core::h1::{Limits, RequestHead, ResponseHead};
use serde::Serialize;
use tokio::time::timeout;

use super::gateway::Gateway;
use crate::front::{Dialect, Peer, Stream};
use crate::gomote::Gomote;

const PATH: &str = "/buildlet/ssh";
/// For the whole request and its answer.
const LIMIT: Duration = Duration::from_secs(30);
/// What a client may still send at the end, so that it reads the answer.
const LAST_BYTES: u64 = 1 << 20;
const LAST_TIME: Duration = Duration::from_secs(2);

/// Gives certificates over the front door of a farm: `POST /buildlet/ssh` with the form `name` (a
/// session) and `key` (a line as in a file `.pub`), with the credentials of the gomote interface.
/// The answer is JSON: `Certificate`, `HostKey` (lines as in files `.pub`), `Port`.
#[derive(Clone, Debug)]
pub struct Tickets {
    gomote: Gomote,
    gateway: Gateway,
    port: u16,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Ticket<'a> {
    certificate: &'a str,
    host_key: &'a str,
    port: u16,
}

impl Tickets {
    /// Of a gateway that listens on `port`, for whom `gomote` lets in.
    pub fn new(gomote: Gomote, gateway: Gateway, port: u16) -> Self {
        Self {
            gomote,
            gateway,
            port,
        }
    }

    async fn answer(&self, mut request: Exchange<'_, Stream>, peer: Peer) {
        let answered = match self.ticket(&mut request, peer).await {
            Ok(text) => {
                let head = ResponseHead::new(200)
                    .with("Content-Type", header::JSON_TYPE)
                    .with("Connection", "close");
                request.respond(head, text.as_bytes()).await
            }
            Err((status, text)) => request.refuse(status, &text).await,
        };
        if let Err(error) = answered {
            tracing::debug!(%error, "whoever asked for a certificate is gone");
        }
    }

    async fn ticket(
        &self,
        request: &mut Exchange<'_, Stream>,
        peer: Peer,
    ) -> Result<String, (u16, String)> {
        if request.head().method() != "POST" {
            return Err((400, "POST required".into()));
        }
        let caller = self.gomote.shown(request.head(), peer).await?;
        let body = request.read_all(MAX_FORM_BYTES).await;
        let body = body.map_err(|error| (400, format!("bad form: {error}")))?;
        let form = Form::parse(&body).map_err(|error| (400, error.to_string()))?;
        let field = |name| form.get(name).unwrap_or_default();
        let (gateway, ip) = (self.gateway.clone(), peer.address.ip());
        let certificate = gateway.certify(&caller, field("name"), field("key"), ip);
        let certificate = certificate.map_err(|error| {
            let status = match error.kind() {
                ErrorKind::NotFound | ErrorKind::Denied => 403,
                ErrorKind::Invalid => 400,
                _ => 500,
            };
            (status, error.chain())
        })?;
        let ticket = Ticket {
            certificate: &certificate,
            host_key: self.gateway.host_key(),
            port: self.port,
        };
        serde_json::to_string(&ticket).map_err(|error| (500, error.to_string()))
    }
}

#[async_trait]
impl Dialect for Tickets {
    fn takes(&self, head: &RequestHead) -> bool {
        head.path() == PATH && !head.headers().contains(header::BUILDLET_PROXY)
    }

    async fn serve(&self, stream: Stream, peer: Peer) {
        let mut server = Server::new(stream, Limits::default()).with_clock(Arc::new(SystemClock));
        let serving = async {
            if let Ok(Some(request)) = server.next().await {
                self.answer(request, peer).await;
            }
        };
        if timeout(LIMIT, serving).await.is_ok() {
            // The client has its answer, or is gone.
            let _ = timeout(LAST_TIME, server.close(LAST_BYTES)).await;
        }
    }
}
