use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use build_core::h1::io::{Duplex, Rewind};
use build_core::h1::{RequestHead, ResponseHead};
#[cfg(feature = "sim")]
use build_core::plant::{self, ProcessPlant};
use build_core::spanlog::SpanLog as _;
use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::judged::{self, Fault};
use super::{Dialect, Inner, Peer, Plain, Stream, pages};
use crate::https::Tls;
use crate::spanlog::Steps;

/// The first byte of TLS: a handshake record.
const TLS_HANDSHAKE: u8 = 22;
/// What every connection of HTTP/2 begins with.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Read at a time while it is not known what a connection is: a greeting of TLS, or a head.
const FIRST_BYTES: usize = 2048;
/// What a peer may still send when it was refused, so that it reads the answer.
const LAST_BYTES: usize = 64 * 1024;
const LAST_TIME: Duration = Duration::from_secs(1);

/// How a connection is refused.
struct Refusal {
    status: u16,
    text: String,
    location: Option<String>,
}

impl Refusal {
    fn new(status: u16, text: impl Into<String>) -> Self {
        Self {
            status,
            text: text.into(),
            location: None,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let location = match &self.location {
            Some(location) => format!("Location: {location}\r\n"),
            None => String::new(),
        };
        format!(
            "HTTP/1.1 {} {}\r\n{location}Content-Type: text/plain; charset=utf-8\r\n\
             X-Content-Type-Options: nosniff\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{}\n",
            self.status,
            ResponseHead::new(self.status).reason(),
            self.text.len() + 1,
            self.text
        )
        .into_bytes()
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::new(fault.status, fault.text)
    }
}

/// Where a connection goes.
enum Way {
    Dialect(Arc<dyn Dialect>),
    Pages,
    Http2,
    Refused(Refusal),
    /// The peer went away, or took too long to say anything.
    Nowhere,
}

/// Of a front with a planted bug.
#[cfg(feature = "sim")]
const FOREVER: Duration = Duration::from_secs(24 * 3600);

/// Who has connected, before anything was said.
pub(super) fn peer(door: &Inner, tcp: &TcpStream, address: SocketAddr) -> Peer {
    let own = || tcp.local_addr().map(|own| own.ip().to_canonical());
    let ip = address.ip().to_canonical();
    let local = match door.quirks.far_loopback {
        true => ip == Ipv4Addr::LOCALHOST,
        false => ip.is_loopback() || own().is_ok_and(|own| own == ip),
    };
    Peer {
        address,
        encrypted: false,
        local,
    }
}

/// Serves one connection to its end.
pub(super) async fn serve(
    door: &Arc<Inner>,
    mut tcp: TcpStream,
    peer: Peer,
    crowded: bool,
    stop: CancellationToken,
) {
    // Small answers must not wait for each other; without it they are only slower.
    let _ = tcp.set_nodelay(true);
    let address = peer.address;
    let limits = &door.limits;
    let patience = match crowded {
        true => limits.first_byte_when_crowded,
        false => limits.first_byte,
    };
    #[cfg(feature = "sim")]
    let patience = match plant::grows(ProcessPlant::PatientFront) {
        true => FOREVER,
        false => patience,
    };
    let mut received = BytesMut::new();
    let first = async {
        // Who says nothing gets no buffer.
        tcp.readable().await?;
        received.reserve(FIRST_BYTES);
        tcp.read_buf(&mut received).await
    };
    let first = timeout(patience, first);
    match stop.run_until_cancelled(first).await {
        Some(Ok(Ok(count))) if count > 0 => {}
        _ => return,
    }
    if received[0] != TLS_HANDSHAKE {
        return Box::pin(opened(door, Box::new(tcp), received, peer, None, stop)).await;
    }
    let Some(tls) = &door.tls else {
        tracing::debug!(%address, "TLS at a door without it");
        return;
    };
    let span = Steps.create_span("tls_handshake", &address.to_string());
    let greeting = tls.accept_from(Rewind::new(received.freeze(), tcp), address);
    // What each connection waits for lies on the heap, so that those that wait for less are small.
    let greeting = Box::pin(async { span.done(greeting.await) });
    let greeted = stop.run_until_cancelled(timeout(limits.handshake, greeting));
    // Whatever else came of it, the log of steps has it.
    if let Some(Ok(Ok(stream))) = greeted.await {
        let peer = Peer {
            encrypted: true,
            ..peer
        };
        let protocol = Tls::protocol(&stream).map(<[u8]>::to_vec);
        let received = BytesMut::new();
        Box::pin(opened(
            door,
            Box::new(stream),
            received,
            peer,
            protocol,
            stop,
        ))
        .await;
    }
}

async fn opened(
    door: &Arc<Inner>,
    mut io: Box<dyn Duplex>,
    mut received: BytesMut,
    peer: Peer,
    protocol: Option<Vec<u8>>,
    stop: CancellationToken,
) {
    let way = match protocol.as_deref() {
        Some(b"h2") => {
            let begun = begins_http2(door, &mut io, &mut received);
            match stop.run_until_cancelled(begun).await {
                Some(true) => Way::Http2,
                _ => Way::Nowhere,
            }
        }
        _ => {
            let choice = choose(door, &mut io, &mut received, peer);
            stop.run_until_cancelled(choice)
                .await
                .unwrap_or(Way::Nowhere)
        }
    };
    let stream: Stream = Rewind::new(received.freeze(), io);
    match way {
        Way::Dialect(dialect) => {
            stop.run_until_cancelled(dialect.serve(stream, peer)).await;
        }
        Way::Pages => Box::pin(pages::http1(door, stream, peer, stop)).await,
        Way::Http2 => Box::pin(pages::http2(door, stream, peer, stop)).await,
        Way::Refused(refusal) => {
            // Who does not take it will not miss it.
            let _ = timeout(LAST_TIME, refuse(stream, &refusal)).await;
        }
        Way::Nowhere => {}
    }
}

/// Reads what a connection of HTTP/2 begins with; false when it does not come.
async fn begins_http2(door: &Inner, io: &mut Box<dyn Duplex>, received: &mut BytesMut) -> bool {
    let deadline = Instant::now() + door.limits.head;
    while received.len() < HTTP2.len() {
        match timeout_at(deadline, io.read_buf(received)).await {
            Ok(Ok(count)) if count > 0 => {}
            _ => return false,
        }
    }
    // Whether it is right is for the server of HTTP/2 to say, in its own way.
    true
}

/// Reads the first head and decides.
async fn choose(
    door: &Inner,
    io: &mut Box<dyn Duplex>,
    received: &mut BytesMut,
    peer: Peer,
) -> Way {
    let limits = &door.limits;
    let patience = match received.is_empty() {
        true => limits.first_byte,
        false => limits.head,
    };
    #[cfg(feature = "sim")]
    let patience = match plant::grows(ProcessPlant::PatientFront) {
        true => FOREVER,
        false => patience,
    };
    let mut deadline = Instant::now() + patience;
    let mut judged = 0;
    loop {
        // Only the end of a line can be the end of a head: who sends byte by byte costs little.
        let news = &received[judged..];
        if news.contains(&b'\n') || news.len() > door.limits.line_bytes {
            if let Some(way) = judge(door, received, peer) {
                return way;
            }
            judged = received.len();
        }
        let was_empty = received.is_empty();
        received.reserve(FIRST_BYTES);
        match timeout_at(deadline, io.read_buf(received)).await {
            Ok(Ok(count)) if count > 0 => {}
            Ok(_) => return Way::Nowhere,
            Err(_) if was_empty => return Way::Nowhere,
            Err(_) => {
                let text = "the head of the request did not arrive";
                return Way::Refused(Refusal::new(408, text));
            }
        }
        if was_empty {
            deadline = Instant::now() + limits.head;
        }
    }
}

/// What the bytes so far say; `None` when they are too few.
fn judge(door: &Inner, received: &[u8], peer: Peer) -> Option<Way> {
    if received.is_empty() {
        return None;
    }
    let needs_tls = !peer.encrypted
        && match door.plain {
            Plain::Serve => false,
            Plain::Local => !peer.local,
            Plain::Redirect => true,
        };
    if received.starts_with(&HTTP2[..16]) {
        if needs_tls {
            let text = "HTTP/2 needs TLS here";
            return Some(Way::Refused(Refusal::new(505, text)));
        }
        return (received.len() >= HTTP2.len()).then_some(Way::Http2);
    }
    let head = match judged::judge(received, &door.limits) {
        Ok(head) => head?.0,
        Err(fault) => return Some(Way::Refused(fault.into())),
    };
    let host = head.headers().get_str("Host");
    if door.quirks.named_hosts && host.is_none_or(str::is_empty) {
        let text = "missing required Host header";
        return Some(Way::Refused(Refusal::new(400, text)));
    }
    if !door.quirks.pages_only
        && let Some(dialect) = door.services.dialect_of(&head)
    {
        return Some(Way::Dialect(dialect));
    }
    if needs_tls {
        return Some(Way::Refused(redirect(&head)));
    }
    Some(Way::Pages)
}

/// To the same place with `https`.
fn redirect(head: &RequestHead) -> Refusal {
    let host = head.headers().get_str("Host").unwrap_or_default();
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    let is_name = rustls_pki_types::ServerName::try_from(name).is_ok();
    if !is_name || !head.target().starts_with('/') {
        return Refusal::new(404, "404 page not found");
    }
    let mut refusal = Refusal::new(302, "Found");
    refusal.location = Some(format!("https://{host}{}", head.target()));
    refusal
}

/// Answers, and ends the connection so that the answer is read.
async fn refuse(mut stream: Stream, refusal: &Refusal) -> std::io::Result<()> {
    stream.write_all(&refusal.bytes()).await?;
    stream.flush().await?;
    stream.shutdown().await?;
    let mut dropped = 0;
    let mut space = [0; 4096];
    while dropped < LAST_BYTES {
        match stream.read(&mut space).await? {
            0 => break,
            count => dropped += count,
        }
    }
    Ok(())
}
