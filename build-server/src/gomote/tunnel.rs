//! Connections that are taken over: to a port of a machine, and to its ssh server.

use std::time::Duration;

use build_core::buildlet::{Buildlet as _, header};
use build_core::h1::io::{Body as _, Client, Duplex, Rewind};
use build_core::h1::{Framing, Limits, RequestHead, ResponseHead};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::time::timeout;

use super::dialect::{Gomote, Lost, Refusal, Request, refuse};
use super::proxy::for_machine;
use super::sessions::Use;

/// For the machine to connect: its ssh server may have to be started first.
const CONNECT: Duration = Duration::from_secs(30);
/// Go clients drop what comes together with the answer: the machine's first bytes wait for the
/// client's, but not for ever.
const HOLD_BACK: Duration = Duration::from_millis(500);
/// Longest text of a refusal.
const MAX_TEXT: u64 = 4096;

/// `/tcpproxy`: the connection becomes one to a port of the machine.
pub(super) async fn tcp(gomote: &Gomote, request: Request<'_>, session: Use) -> Result<(), Lost> {
    let port = match port(gomote, request.head()) {
        Ok(port) => port,
        Err(refusal) => return refuse(request, refusal).await,
    };
    let machine = match reach(request.head(), &session, &[header::TARGET_PORT]).await {
        Ok(machine) => machine,
        Err(text) => {
            let text = format!("failed to connect to port {port}: {text}");
            return refuse(request, Refusal::new(500, text)).await;
        }
    };
    let head = ResponseHead::new(101)
        .with("Upgrade", "tcpproxy")
        .with("Connection", "upgrade");
    take_over(request, session, &head, machine).await
}

/// `/connect-ssh`: the connection becomes one to the machine's ssh server.
pub(super) async fn ssh(request: Request<'_>, session: Use) -> Result<(), Lost> {
    if let Err(refusal) = bare(request.head()) {
        return refuse(request, refusal).await;
    }
    let more = [header::AUTHORIZED_KEY, header::SSH_USER];
    let machine = match reach(request.head(), &session, &more).await {
        Ok(machine) => machine,
        Err(text) => return refuse(request, Refusal::new(502, text)).await,
    };
    let head = ResponseHead::new(101)
        .with("Upgrade", "ssh")
        .with("Connection", "Upgrade");
    take_over(request, session, &head, machine).await
}

fn bare(head: &RequestHead) -> Result<(), Refusal> {
    if head.method() != "POST" {
        return Err(Refusal::bad("requires POST method"));
    }
    match Framing::of_request(head) {
        Ok(Framing::Length(0)) => Ok(()),
        _ => Err(Refusal::bad("requires zero Content-Length")),
    }
}

fn port(gomote: &Gomote, head: &RequestHead) -> Result<u16, Refusal> {
    bare(head)?;
    let mut ports = head.headers().get_all(header::TARGET_PORT);
    let one = ports.next().filter(|_| ports.next().is_none());
    let text = one.and_then(|port| std::str::from_utf8(port).ok());
    let digits = text.filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    let port = digits.and_then(|text| text.parse::<u16>().ok());
    let bad = || Refusal::bad(format!("invalid or missing {}", header::TARGET_PORT));
    let port = port.filter(|port| *port != 0).ok_or_else(bad)?;
    match gomote.sessions().settings().ports.allow(port) {
        true => Ok(port),
        false => Err(Refusal::new(
            403,
            format!("port {port} is not allowed here"),
        )),
    }
}

/// The machine's end of the connection, once it has agreed.
async fn reach(
    head: &RequestHead,
    session: &Use,
    more: &[&str],
) -> Result<Rewind<Box<dyn Duplex>>, String> {
    let reached = async {
        let wire = session.session().connect().await.map_err(|e| e.chain())?;
        let asked = for_machine(head, &wire, more).with("Connection", "Upgrade");
        let mut client = Client::new(wire.into_io(), Limits::default());
        let answer = client
            .send(&asked, Some(b""))
            .await
            .map_err(|e| e.to_string())?;
        if answer.status() != 101 {
            let status = answer.status();
            drop(answer);
            let text = client.read_all(MAX_TEXT).await.unwrap_or_default();
            let text = String::from_utf8_lossy(&text).trim().to_owned();
            return Err(match status {
                404 => "the buildlet of this machine is too old for that".to_owned(),
                _ => text,
            });
        }
        drop(answer);
        Ok(client.into_stream())
    };
    timeout(CONNECT, reached)
        .await
        .unwrap_or_else(|_| Err("the machine did not answer in time".into()))
}

async fn take_over(
    request: Request<'_>,
    session: Use,
    head: &ResponseHead,
    mut machine: Rewind<Box<dyn Duplex>>,
) -> Result<(), Lost> {
    let switched = request.switch_protocols(head).await.map_err(|_| Lost)?;
    let mut client = switched.into_stream();
    let mut first = [0; 4096];
    if let Ok(count) = timeout(HOLD_BACK, client.read(&mut first)).await {
        let count = count.map_err(|_| Lost)?;
        machine.write_all(&first[..count]).await.map_err(|_| Lost)?;
    }
    // Either side may end it at any time; both know how to tell.
    let _ = copy_bidirectional(&mut client, &mut machine).await;
    drop(session);
    Ok(())
}
