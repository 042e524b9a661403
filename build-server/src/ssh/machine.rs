//! Connections to a session's machine that are taken over.

use std::time::Duration;

use build_core::buildlet::{
    ATTACHED_PROTOCOL, Buildlet as _, Exec, Form, Route, Window, exec_form, header, param,
};
use build_core::h1::io::{Body as _, Client, Duplex, Rewind};
use build_core::h1::{Limits, RequestHead};
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

/// Starts a command that reads; with a terminal of this type and size if wanted.
pub(super) async fn attach(
    session: &Use,
    exec: &Exec,
    terminal: Option<&(String, Window)>,
) -> Result<Stream, Refused> {
    let mut form: Form = exec_form(exec);
    if let Some((name, window)) = terminal {
        form = form
            .with(param::TERMINAL, name)
            .with(param::WINDOW, window.to_string());
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

/// Its files, by the sftp protocol.
pub(super) async fn files(session: &Use) -> Result<Stream, Refused> {
    let head = RequestHead::new("POST", &Route::Sftp.to_string());
    upgrade(session, head, b"").await
}

async fn upgrade(session: &Use, head: RequestHead, body: &[u8]) -> Result<Stream, Refused> {
    let reached = async {
        let wire = session.session().connect().await;
        let wire = wire.map_err(|error| Refused::Because(error.chain()))?;
        let head = wire.address(head.with("Connection", "Upgrade"));
        let mut client = Client::new(wire.into_io(), Limits::default());
        let answer = client.send(&head, Some(body)).await;
        let answer = answer.map_err(|error| Refused::Because(error.to_string()))?;
        let status = answer.status();
        drop(answer);
        match status {
            101 => Ok(client.into_stream()),
            404 | 405 => Err(Refused::Unknown),
            _ => {
                let text = client.read_all(MAX_TEXT).await.unwrap_or_default();
                let text = String::from_utf8_lossy(&text).trim().to_owned();
                Err(Refused::Because(text))
            }
        }
    };
    let silent = || Refused::Because("the machine did not answer in time".into());
    timeout(CONNECT, reached)
        .await
        .unwrap_or_else(|_| Err(silent()))
}
