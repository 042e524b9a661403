//! `POST /tcpproxy`: the connection becomes one to a port of this machine.
//!
//! Whoever may ask for it may run commands here too, and reach every port by them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use build_core::buildlet::header;
use build_core::h1::{Headers, ResponseHead};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::answer::{Lost, Refusal};
use super::routes::{Request, refuse};
use super::server::App;

const DIAL: Duration = Duration::from_secs(5);

/// Connects the client with a port.
pub(crate) async fn connect(app: &Arc<App>, request: Request<'_>) -> Result<(), Lost> {
    let port = match port(request.head().headers()) {
        Ok(port) => port,
        Err(refusal) => return refuse(request, refusal).await,
    };
    let mut server = match dial(port).await {
        Ok(server) => server,
        Err(error) => return refuse(request, Refusal::new(502, error.to_string())).await,
    };
    let head = ResponseHead::new(101)
        .with("Upgrade", "tcpproxy")
        .with("Connection", "upgrade");
    let switched = request.switch_protocols(&head).await.map_err(|_| Lost)?;
    let mut client = switched.into_stream();
    let stop = app.supervisor.token();
    tokio::select! {
        // Either side may end it at any time; both know how to tell.
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => Ok(()),
        () = stop.cancelled() => Ok(()),
    }
}

fn port(headers: &Headers) -> Result<u16, Refusal> {
    let text = headers.get_str(header::TARGET_PORT).unwrap_or_default();
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let port = text.parse::<u16>().ok().filter(|port| digits && *port != 0);
    port.ok_or_else(|| Refusal::bad(format!("invalid or missing {}", header::TARGET_PORT)))
}

/// A server may listen on either address of the loopback.
async fn dial(port: u16) -> io::Result<TcpStream> {
    let addresses: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let mut first = None;
    for address in addresses {
        let dialed = timeout(DIAL, TcpStream::connect((address, port))).await;
        match dialed.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => first = first.or(Some(error)),
        }
    }
    Err(first.unwrap_or_else(|| io::ErrorKind::NotConnected.into()))
}
