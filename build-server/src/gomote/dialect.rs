//! A connection whose first request is ours: request after request, by their fields.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use build_core::buildlet::header;
use build_core::clock::SystemClock;
use build_core::h1::io::{Exchange, Server};
use build_core::h1::{Headers, Limits, RequestHead, ResponseHead};
use tokio::time::timeout;

use super::sessions::Sessions;
use super::user::User;
use super::{create, proxy, repro};
use crate::front::{Dialect, Peer, Stream};
use crate::who::{self, Caller, Credential, Directory, Right};

/// How long a connection may rest between requests: Go clients keep theirs for a minute or so.
const IDLE: Duration = Duration::from_secs(600);
/// From the first byte of a request to the end of its head.
const HEAD: Duration = Duration::from_secs(30);
/// What a client may still send when its connection ends, so that it reads the answer.
const LAST_BYTES: u64 = 1 << 20;
const LAST_TIME: Duration = Duration::from_secs(2);

const CREATE: &str = "/buildlet/create";
const LIST: &str = "/buildlet/list";
const REPRO: &str = "/buildlet/repro";

/// One request and the duty to answer it.
pub(super) type Request<'c> = Exchange<'c, Stream>;

/// The connection is gone, or must end.
#[derive(Debug)]
pub(super) struct Lost;

/// A refusal: its status and a line of text.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) text: String,
}

impl Refusal {
    pub(super) fn new(status: u16, text: impl Into<String>) -> Self {
        Self {
            status,
            text: text.into(),
        }
    }

    pub(super) fn bad(text: impl Into<String>) -> Self {
        Self::new(400, text)
    }
}

pub(super) async fn refuse(request: Request<'_>, refusal: Refusal) -> Result<(), Lost> {
    tracing::debug!(
        path = request.head().path(),
        refusal.status,
        refusal.text,
        "refused"
    );
    let refused = request.refuse(refusal.status, &refusal.text).await;
    refused.map_err(|_| Lost)
}

pub(super) async fn respond(
    request: Request<'_>,
    head: ResponseHead,
    body: &str,
) -> Result<(), Lost> {
    let sent = request.respond(head, body.as_bytes()).await;
    sent.map_err(|_| Lost)
}

/// The gomote part of a coordinator's front door. Clones are the same.
#[derive(Clone)]
pub struct Gomote {
    sessions: Sessions,
    directory: Directory,
}

impl fmt::Debug for Gomote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gomote")
            .field("sessions", &self.sessions)
            .finish_non_exhaustive()
    }
}

impl Gomote {
    /// Serves `sessions` to whom `directory` knows and lets have some.
    pub fn new(sessions: Sessions, directory: Directory) -> Self {
        Self {
            sessions,
            directory,
        }
    }

    /// The sessions there are.
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    async fn answer(&self, request: Request<'_>, peer: Peer) -> Result<(), Lost> {
        let caller = match self.admit(request.head(), peer).await {
            Ok(caller) => caller,
            Err(refusal) => return refuse(request, refusal).await,
        };
        // The name of a session decides before any path does.
        if request.head().headers().contains(header::BUILDLET_PROXY) {
            return proxy::answer(self, request, &caller).await;
        }
        match request.head().path() {
            CREATE => create::create(self, request, &caller).await,
            LIST => create::list(self, request, &caller).await,
            REPRO => repro::repro(self, request, &caller).await,
            _ => refuse(request, Refusal::new(404, "404 page not found")).await,
        }
    }

    /// Whose request it is.
    async fn admit(&self, head: &RequestHead, peer: Peer) -> Result<User, Refusal> {
        let caller = self.show(head, peer).await?;
        let name = caller.principal().name();
        User::new(name).map_err(|error| Refusal::new(403, error.to_string()))
    }

    /// Whose request it is, for parts beside this one: somebody who may have sessions.
    ///
    /// # Errors
    /// The status and the text of the answer.
    #[cfg(feature = "ssh")]
    pub(crate) async fn shown(
        &self,
        head: &RequestHead,
        peer: Peer,
    ) -> Result<Caller, (u16, String)> {
        let shown = self.show(head, peer).await;
        shown.map_err(|refusal| (refusal.status, refusal.text))
    }

    async fn show(&self, head: &RequestHead, peer: Peer) -> Result<Caller, Refusal> {
        if !self.is_private(peer) {
            return Err(Refusal::bad("https required"));
        }
        refuse_browsers(head.headers())?;
        let mut shown = head.headers().get_all("Authorization");
        let missing = || Refusal::bad("missing required authentication");
        let (Some(value), None) = (shown.next(), shown.next()) else {
            return Err(missing());
        };
        let value = std::str::from_utf8(value).map_err(|_| missing())?;
        let credential = Credential::of_authorization(value).ok_or_else(missing)?;
        let caller = self.caller(&credential, peer).await;
        caller.map_err(|refused| refusal(&refused))
    }

    /// Who shows this, and may have sessions.
    pub(super) async fn caller(
        &self,
        credential: &Credential<'_>,
        peer: Peer,
    ) -> Result<Caller, who::Refusal> {
        let address = Some(peer.address.ip());
        let caller = self.directory.caller(credential, address).await?;
        caller.require(Right::Sessions).map(|()| caller)
    }

    /// Whether nobody else reads what passes.
    pub(super) fn is_private(&self, peer: Peer) -> bool {
        peer.encrypted || (self.sessions.settings().plain_from_here && peer.local)
    }
}

/// In the words of 2020 where it had any.
fn refusal(refused: &who::Refusal) -> Refusal {
    match refused {
        who::Refusal::Unknown => Refusal::new(401, "bad username or password"),
        who::Refusal::Throttled(_) => Refusal::new(429, refused.to_string()),
        who::Refusal::Unavailable(_) => Refusal::new(503, refused.to_string()),
        _ => Refusal::new(403, refused.to_string()),
    }
}

/// Browsers send what they have stored for this site along with requests that a page of another
/// one makes; programs say nothing of a page.
fn refuse_browsers(headers: &Headers) -> Result<(), Refusal> {
    match headers.contains("Origin") || headers.contains("Sec-Fetch-Site") {
        true => Err(Refusal::new(403, "this is for programs, not for web pages")),
        false => Ok(()),
    }
}

#[async_trait]
impl Dialect for Gomote {
    fn takes(&self, head: &RequestHead) -> bool {
        head.headers().contains(header::BUILDLET_PROXY)
            || [CREATE, LIST, REPRO].contains(&head.path())
    }

    async fn serve(&self, stream: Stream, peer: Peer) {
        let mut server = Server::new(stream, Limits::default()).with_clock(Arc::new(SystemClock));
        while matches!(timeout(IDLE, server.ready()).await, Ok(Ok(true))) {
            match timeout(HEAD, server.next()).await {
                Ok(Ok(Some(request))) => {
                    // What was lost is the client's loss, and it knows.
                    if self.answer(request, peer).await.is_err() {
                        return;
                    }
                }
                _ => break,
            }
        }
        if !server.is_switched() {
            // The client has its answer, or is gone.
            let _ = timeout(LAST_TIME, server.close(LAST_BYTES)).await;
        }
    }
}
