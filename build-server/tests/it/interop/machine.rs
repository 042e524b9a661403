//! The end of revdial that a machine has.

use std::io;
use std::sync::{Arc, LazyLock};

use build_client::transport::TokioTimer;
use build_core::h1::RequestHead;
use build_core::h1::io::{Duplex, Rewind};
use build_core::revdial::io::{DialServer, Listener, take_over};
use build_core::revdial::{Error, VERSION, VERSION_HEADER};
use build_server::supervise::{Supervisor, Task};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::trusting;

/// With a period that no buffer divides.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

/// Writes so many bytes of it.
pub(crate) async fn send(mut to: impl AsyncWrite + Unpin, bytes: u64) -> io::Result<()> {
    // Whole periods, so that pieces follow each other.
    let piece = pattern(251 * 256);
    let mut left = bytes;
    while left > 0 {
        let now = left.min(piece.len() as u64);
        to.write_all(&piece[..usize::try_from(now).unwrap()])
            .await?;
        left -= now;
    }
    to.flush().await
}

/// Registers at a server and serves what it asks for, until the server has gone.
pub(crate) async fn register(address: String, tasks: &Supervisor) -> Task<Error> {
    let head = RequestHead::new("GET", "/reverse").with(VERSION_HEADER, VERSION);
    let control = take_over(connect(&address).await.unwrap(), head)
        .await
        .unwrap();
    let dial: DialServer<Box<dyn Duplex>> = Box::new(move || {
        let address = address.clone();
        Box::pin(async move { connect(&address).await })
    });
    let mut listener = Listener::new(control, dial, Arc::new(TokioTimer));
    let group = tasks.clone();
    tasks.spawn("serve", async move {
        loop {
            match listener.accept().await {
                Ok(stream) => drop(group.spawn("connection", serve(stream))),
                Err(error) => return error,
            }
        }
    })
}

/// Does on a connection what its first byte says, as the Go machine does.
async fn serve(mut stream: Rewind<Box<dyn Duplex>>) {
    match stream.read_u8().await {
        Ok(b'e') => {
            let (mut read, mut write) = tokio::io::split(stream);
            let _ = tokio::io::copy(&mut read, &mut write).await;
        }
        Ok(b's') => {
            let len = stream.read_u64().await.unwrap();
            send(&mut stream, len).await.unwrap();
            stream.shutdown().await.unwrap();
        }
        Ok(b'r') => {
            let mut got = Vec::new();
            let ok = stream.read_to_end(&mut got).await.is_ok();
            let said = format!("{} {} {ok}", got.len(), hex::encode(Sha256::digest(&got)));
            stream.write_all(said.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
        Ok(b'x') => {
            stream.write_all(b"hal").await.unwrap();
            stream.flush().await.unwrap();
        }
        _ => {}
    }
}

/// Connects with TLS to a server whose key nobody has told us.
pub(crate) async fn connect(address: &str) -> io::Result<Box<dyn Duplex>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    // One for all connections, as a machine has it: it remembers the server.
    static CONNECTOR: LazyLock<TlsConnector> = LazyLock::new(trusting::connector);
    Ok(Box::new(CONNECTOR.connect(trusting::name(), stream).await?))
}
