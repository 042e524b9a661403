//! Connections to a session's machine that are taken over.

use std::sync::Mutex;
use std::time::Duration;

use build_core::buildlet::{
    ATTACHED_PROTOCOL, Buildlet as _, Exec, Form, Route, TerminalModes, Window, exec_form, header,
    param,
};
use build_core::h1::io::{Body as _, Client, Duplex, Rewind};
use build_core::h1::{Limits, RequestHead, ResponseHead};
use tokio::time::timeout;

use crate::gomote::Use;

/// A connection on which the machine has agreed.
pub(super) type Stream = Rewind<Box<dyn Duplex>>;

/// For the machine to answer.
const CONNECT: Duration = Duration::from_secs(30);
/// Longest text of a refusal.
const MAX_TEXT: u64 = 4096;

/// Why a machine does not do it.
#[derive(Debug)]
pub(super) enum Refused {
    /// Its buildlet does not know how: it is of Go, or older.
    Unknown,
    /// For this reason.
    Because(String),
}

/// The terminal that a client has, and a command is to have.
#[derive(Debug)]
pub(super) struct Terminal {
    pub(super) name: String,
    pub(super) window: Window,
    pub(super) modes: TerminalModes,
}

/// Starts a command that reads; with such a terminal if wanted.
pub(super) async fn attach(
    session: &Use,
    exec: &Exec,
    terminal: Option<&Terminal>,
) -> Result<Stream, Refused> {
    let mut form: Form = exec_form(exec);
    if let Some(terminal) = terminal {
        form = form
            .with(param::TERMINAL, &terminal.name)
            .with(param::WINDOW, terminal.window.to_string())
            .with(param::MODES, terminal.modes.to_string());
    }
    let head = RequestHead::new("POST", &Route::ExecAttached.to_string())
        .with("Content-Type", header::FORM_TYPE)
        .with("Upgrade", ATTACHED_PROTOCOL);
    upgrade(session, head, form.encode().as_bytes()).await
}

/// A connection to a port of the machine.
pub(super) async fn port(session: &Use, port: u16) -> Result<Stream, Refused> {
    let head = RequestHead::new("POST", &Route::TcpProxy.to_string())
        .with(header::TARGET_PORT, port.to_string());
    upgrade(session, head, b"").await
}

/// A socket on the machine for the agent of whoever is here. It is there as long as the stream.
pub(super) struct AgentSocket {
    pub(super) path: String,
    id: String,
    /// Never read; a lock, so that several tasks may know of it.
    _held: Mutex<Stream>,
}

/// Makes such a socket.
pub(super) async fn agent(session: &Use) -> Result<AgentSocket, Refused> {
    let head = RequestHead::new("POST", &Route::Agent.to_string());
    let (answer, held) = timely(take_over(session, head, b"")).await?;
    let said = |name| answer.headers().get_str(name).map(str::to_owned);
    match (said(header::AGENT_SOCKET), said(header::AGENT)) {
        (Some(path), Some(id)) => Ok(AgentSocket {
            path,
            id,
            _held: Mutex::new(held),
        }),
        _ => Err(Refused::Unknown),
    }
}

impl AgentSocket {
    /// Waits for a connection to it, as long as that takes.
    pub(super) async fn accept(&self, session: &Use) -> Result<Stream, Refused> {
        let head =
            RequestHead::new("POST", &Route::AgentAccept.to_string()).with(header::AGENT, &self.id);
        take_over(session, head, b"")
            .await
            .map(|(_, stream)| stream)
    }
}

/// Its files, by the sftp protocol.
pub(super) async fn files(session: &Use) -> Result<Stream, Refused> {
    let head = RequestHead::new("POST", &Route::Sftp.to_string());
    upgrade(session, head, b"").await
}

async fn upgrade(session: &Use, head: RequestHead, body: &[u8]) -> Result<Stream, Refused> {
    let taken = timely(take_over(session, head, body)).await;
    taken.map(|(_, stream)| stream)
}

/// What the machine has to answer soon.
async fn timely<T>(answer: impl Future<Output = Result<T, Refused>>) -> Result<T, Refused> {
    let silent = || Refused::Because("the machine did not answer in time".into());
    timeout(CONNECT, answer)
        .await
        .unwrap_or_else(|_| Err(silent()))
}

async fn take_over(
    session: &Use,
    head: RequestHead,
    body: &[u8],
) -> Result<(ResponseHead, Stream), Refused> {
    let wire = session.session().connect().await;
    let wire = wire.map_err(|error| Refused::Because(error.chain()))?;
    let head = wire.address(head.with("Connection", "Upgrade"));
    let mut client = Client::new(wire.into_io(), Limits::default());
    let answer = client.send(&head, Some(body)).await;
    let answer = answer.map_err(|error| Refused::Because(error.to_string()))?;
    let answer = answer.head().clone();
    match answer.status() {
        101 => Ok((answer, client.into_stream())),
        404 | 405 => Err(Refused::Unknown),
        _ => {
            let text = client.read_all(MAX_TEXT).await.unwrap_or_default();
            let text = String::from_utf8_lossy(&text).trim().to_owned();
            Err(Refused::Because(text))
        }
    }
}
