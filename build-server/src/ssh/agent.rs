//! The agent of whoever is here, for commands of their session's machine, where the farm lets it.

use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};
use russh::server::Handle;
use tokio::time::{sleep, timeout};

use super::forward::carry;
use super::machine::{self, AgentSocket, Refused, Stream};
use super::visitor::Visit;
use crate::gomote::Use;
use crate::who::Act;

/// The variable by which programs find an agent.
pub(super) const SOCKET: &str = "SSH_AUTH_SOCK";
/// Connections to one agent at a time.
const MOST: usize = 16;
/// For the client to take a connection.
const OPEN: Duration = Duration::from_secs(30);
/// After the machine has failed to give the next connection.
const PAUSE: Duration = Duration::from_secs(1);

/// What is said to those whose farm does not forward agents.
pub(super) const IS_OFF: &str =
    "the agent is not forwarded: this farm does not let it (it would by: farmer up --ssh-agent)";

/// Makes a socket on the machine that leads to the client's agent; `Err` is why there is none.
pub(super) async fn open(visit: &Visit) -> Result<AgentSocket, String> {
    if !visit.gateway.settings().agent {
        return Err(IS_OFF.into());
    }
    let Some(admitted) = visit.admitted() else {
        return Err("nobody is here".into());
    };
    let socket = machine::agent(&admitted.session).await;
    let socket = socket.map_err(|refused| match refused {
        Refused::Unknown => {
            "the agent is not forwarded: the buildlet of this machine is too old for that".into()
        }
        Refused::Because(text) => format!("the agent is not forwarded: {text}"),
    })?;
    let object = format!("session {}", admitted.session.instance().name);
    let (directory, ip) = (visit.gateway.directory(), visit.peer.ip());
    let written = directory.ssh_used(&admitted.who, Act::SshAgent, object, String::new(), ip);
    written.map_err(|error| format!("the agent is not forwarded: {}", error.chain()))?;
    Ok(socket)
}

/// Leads connections to the agent, for ever.
pub(super) async fn serve(socket: &AgentSocket, session: &Use, handle: &Handle) {
    let mut carried = FuturesUnordered::new();
    // Kept while others end: a connection that is being handed over must not get lost.
    let mut next = Box::pin(socket.accept(session));
    loop {
        tokio::select! {
            accepted = &mut next, if carried.len() < MOST => {
                match accepted {
                    Ok(stream) => carried.push(lead(stream, handle)),
                    Err(refused) => {
                        tracing::debug!(?refused, "a machine has no connection for an agent");
                        sleep(PAUSE).await;
                    }
                }
                next = Box::pin(socket.accept(session));
            }
            Some(()) = carried.next(), if !carried.is_empty() => {}
        }
    }
}

async fn lead(stream: Stream, handle: &Handle) {
    // A client that refuses has its reasons; the program on the machine sees an end.
    if let Ok(Ok(channel)) = timeout(OPEN, handle.channel_open_agent()).await {
        let (mut read, write) = channel.split();
        carry(stream, &mut read, &write).await;
        // Whoever has closed it already needs no answer.
        let _ = write.close().await;
    }
}
