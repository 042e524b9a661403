//! Connections that a client wants made to ports of the machine.

use std::sync::Arc;

use bytes::BytesMut;
use russh::server::{ChannelOpenHandle, Msg};
use russh::{Channel, ChannelMsg, ChannelOpenFailure, ChannelReadHalf, ChannelWriteHalf};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};

use super::inlet::{Inlet, Outlet, Piece, way};
use super::machine::{self, Refused, Stream};
use super::visitor::Visit;

/// What is read of a machine at once.
const PIECE_BYTES: usize = 32 << 10;
/// Numbers of RFC 4254 5.1.
const PROHIBITED: u32 = 1;
const CONNECT_FAILED: u32 = 2;

/// The port of the machine that is asked for.
///
/// # Errors
/// Why it is refused.
pub(super) fn target(visit: &Visit, host: &str, port: u32) -> Result<u16, ChannelOpenFailure> {
    let refused = |reason: String| ChannelOpenFailure::Other {
        code: PROHIBITED,
        reason,
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let is_machine = ["localhost", "127.0.0.1", "::1", "0.0.0.0", "::", ""].contains(&host)
        || visit.session().is_some_and(|s| s.instance().name == host);
    if !is_machine {
        return Err(refused(format!(
            "{host:?} is not the machine of this session: forward to localhost"
        )));
    }
    let number = u16::try_from(port).ok();
    match number.filter(|port| visit.ports().allow(*port)) {
        Some(port) => Ok(port),
        None => Err(refused(format!("port {port} is not allowed here"))),
    }
}

/// Connects the channel with a port of the machine.
pub(super) async fn serve(
    visit: Arc<Visit>,
    channel: Channel<Msg>,
    reply: ChannelOpenHandle,
    port: u16,
) {
    let Some(session) = visit.session() else {
        return;
    };
    let stream = match machine::port(session, port).await {
        Ok(stream) => stream,
        Err(refused) => {
            let reason = match refused {
                Refused::Unknown => "the buildlet of this machine is too old for that".into(),
                Refused::Because(text) => text,
            };
            let code = CONNECT_FAILED;
            reply
                .reject(ChannelOpenFailure::Other { code, reason })
                .await;
            return;
        }
    };
    reply.accept().await;
    let (mut read, write) = channel.split();
    carry(stream, &mut read, &write).await;
    // Whoever has closed it already needs no answer.
    let _ = write.close().await;
}

/// Carries bytes both ways until both sides have said that they are at their end, or the client
/// has closed the channel.
pub(super) async fn carry(
    stream: Stream,
    read: &mut ChannelReadHalf,
    write: &ChannelWriteHalf<Msg>,
) {
    let (from, to) = tokio::io::split(stream);
    let (inlet, outlet) = way();
    tokio::select! {
        () = hear_client(read, inlet) => {}
        _ = async { tokio::join!(feed(outlet, to), tell(from, write)) } => {}
    }
}

async fn hear_client(read: &mut ChannelReadHalf, inlet: Inlet) {
    loop {
        match read.wait().await {
            None | Some(ChannelMsg::Close) => return,
            Some(ChannelMsg::Data { data }) => {
                if inlet.push(data).await.is_err() {
                    return;
                }
            }
            Some(ChannelMsg::Eof) => inlet.end(),
            Some(_) => {}
        }
    }
}

async fn feed(mut outlet: Outlet, mut to: WriteHalf<Stream>) {
    while let Some(Piece::Bytes(bytes)) = outlet.next().await {
        if to.write_all(&bytes).await.is_err() || to.flush().await.is_err() {
            return;
        }
    }
    // A machine that is gone has been told.
    let _ = to.shutdown().await;
}

async fn tell(mut from: ReadHalf<Stream>, write: &ChannelWriteHalf<Msg>) {
    loop {
        let mut piece = BytesMut::with_capacity(PIECE_BYTES);
        match from.read_buf(&mut piece).await {
            Ok(1..) => {
                if write.data_bytes(piece.freeze()).await.is_err() {
                    return;
                }
            }
            Ok(0) | Err(_) => break,
        }
    }
    let _ = write.eof().await;
}
