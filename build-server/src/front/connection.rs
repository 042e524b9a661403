use std::net::SocketAddr;
use std::time::Duration;

use build_core::foreach;
use build_core::h1::io::{Duplex, Rewind};
use build_core::h1::{Framing, Limits, RequestHead, ResponseHead};
use build_core::spanlog::SpanLog as _;
use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{Inner, Peer, Plain, Stream, pages};
use crate::https::Tls;
use crate::spanlog::Steps;

/// The first byte of TLS: a handshake record.
const TLS_HANDSHAKE: u8 = 22;
/// The first line of HTTP/2 without TLS.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n";
/// Most lines of a head.
const LINES: usize = 128;
/// What a peer may still send when it was refused, so that it reads the answer.
const LAST_BYTES: usize = 64 * 1024;
const LAST_TIME: Duration = Duration::from_secs(1);

/// How a connection is refused.
#[derive(Debug, PartialEq, Eq)]
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

/// Where a connection goes.
#[derive(Debug, PartialEq, Eq)]
enum Way {
    Dialect,
    Pages,
    Http2,
    Refused(Refusal),
    /// The peer went away, or took too long to say anything.
    Nowhere,
}

/// Serves one connection to its end.
pub(super) async fn serve(
    door: &Inner,
    mut tcp: TcpStream,
    address: SocketAddr,
    crowded: bool,
    stop: CancellationToken,
) {
    // Small answers must not wait for each other; without it they are only slower.
    let _ = tcp.set_nodelay(true);
    let limits = &door.limits;
    let patience = match crowded {
        true => limits.first_byte_when_crowded,
        false => limits.first_byte,
    };
    let mut received = BytesMut::new();
    let first = timeout(patience, tcp.read_buf(&mut received));
    match stop.run_until_cancelled(first).await {
        Some(Ok(Ok(count))) if count > 0 => {}
        _ => return,
    }
    if received[0] != TLS_HANDSHAKE {
        let peer = Peer {
            address,
            encrypted: false,
        };
        return opened(door, Box::new(tcp), received, peer, None, stop).await;
    }
    let Some(tls) = &door.tls else {
        tracing::debug!(%address, "TLS at a door without it");
        return;
    };
    let span = Steps.create_span("tls_handshake", &address.to_string());
    let greeting = tls.accept(Rewind::new(received.freeze(), tcp));
    let greeting = async { span.done(greeting.await) };
    let greeted = stop.run_until_cancelled(timeout(limits.handshake, greeting));
    // Whatever else came of it, the log of steps has it.
    if let Some(Ok(Ok(stream))) = greeted.await {
        let peer = Peer {
            address,
            encrypted: true,
        };
        let protocol = Tls::protocol(&stream).map(<[u8]>::to_vec);
        let received = BytesMut::new();
        opened(door, Box::new(stream), received, peer, protocol, stop).await;
    }
}

async fn opened(
    door: &Inner,
    mut io: Box<dyn Duplex>,
    mut received: BytesMut,
    peer: Peer,
    protocol: Option<Vec<u8>>,
    stop: CancellationToken,
) {
    let way = match protocol.as_deref() {
        Some(b"h2") => Way::Http2,
        _ => {
            let choice = choose(door, &mut io, &mut received, peer);
            stop.run_until_cancelled(choice)
                .await
                .unwrap_or(Way::Nowhere)
        }
    };
    let stream: Stream = Rewind::new(received.freeze(), io);
    match way {
        Way::Dialect => {
            stop.run_until_cancelled(door.dialect.serve(stream, peer))
                .await;
        }
        Way::Pages => pages::http1(door, stream, peer, stop).await,
        Way::Http2 => pages::http2(door, stream, peer, stop).await,
        Way::Refused(refusal) => {
            // Who does not take it will not miss it.
            let _ = timeout(LAST_TIME, refuse(stream, &refusal)).await;
        }
        Way::Nowhere => {}
    }
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
    let refused = |status, text: String| Some(Way::Refused(Refusal::new(status, text)));
    let needs_tls = door.plain == Plain::Redirect && !peer.encrypted;
    if received.starts_with(HTTP2) {
        return match needs_tls {
            true => refused(505, "HTTP/2 needs TLS here".into()),
            false => Some(Way::Http2),
        };
    }
    let limits = Limits::default().with_head_bytes(door.limits.head_bytes);
    let head = match RequestHead::peek(received, &limits) {
        Ok(head) => head,
        Err(error) => {
            return refused(error.status(), error.to_string());
        }
    };
    let end = received.windows(4).position(|four| four == b"\r\n\r\n");
    let lines = &received[..end.unwrap_or(received.len())];
    let line_bytes = door.limits.line_bytes;
    let mut count = 0;
    let fits = |line: &[u8]| {
        count += 1;
        (line.len() <= line_bytes && count <= LINES)
            .then_some(())
            .ok_or(())
    };
    if foreach::line(lines, fits).is_err() {
        let text = format!(
            "a line of the head has more than {line_bytes} bytes, or it has more than {LINES} lines"
        );
        return refused(431, text);
    }
    let head = head?;
    if let Err(error) = Framing::of_request(&head) {
        return refused(error.status(), error.to_string());
    }
    let mut hosts = head.headers().get_all("Host");
    let host = hosts.next();
    if hosts.next().is_some() {
        return refused(400, "more than one Host line".into());
    }
    let is_named = host.is_some_and(|host| !host.is_empty());
    if host.is_none() || (door.quirks.named_hosts && !is_named) {
        return refused(400, "missing required Host header".into());
    }
    if !door.quirks.pages_only && door.dialect.takes(&head) {
        return Some(Way::Dialect);
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
