//! A server with nothing but machines of revdial.

use std::sync::Arc;
use std::time::Duration;

use build_client::transport::TokioTimer;
use build_core::h1::io::{Rewind, Server};
use build_core::h1::{Limits, ResponseHead};
use build_core::revdial::io::{Dialer, Registry};
use build_core::revdial::{ConnPath, DialerId, VERSION, VERSION_HEADER};
use build_server::https::{Tls, TlsStream, development};
use build_server::supervise::Supervisor;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// For everything that takes no time; a peer that hangs ends the test.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

pub(crate) type Stream = Rewind<TlsStream<TcpStream>>;

/// A server that registers machines and hands their connections over.
pub(crate) struct Hall {
    pub(crate) address: String,
    pub(crate) registry: Registry<Stream>,
    pub(crate) machines: mpsc::Receiver<Dialer<Stream>>,
    /// Targets of refused pick-ups.
    pub(crate) refused: mpsc::UnboundedReceiver<String>,
    tasks: Supervisor,
}

/// What the server does wrong on purpose.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Quirk {
    None,
    /// The 101 and what follows it in one write.
    OneRecord,
}

impl Hall {
    pub(crate) async fn start(quirk: Quirk) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tls = Tls::new(development(dir.path(), &[]).unwrap().certificate().clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let registry = Registry::default();
        let (send, machines) = mpsc::channel(1);
        let (refuse, refused) = mpsc::unbounded_channel();
        let tasks = Supervisor::new("hall");
        let (group, into) = (tasks.clone(), registry.clone());
        tasks.spawn("accept", async move {
            let next = Arc::new(std::sync::atomic::AtomicU8::new(1));
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let (tls, registry, send, refuse) = (tls.clone(), into.clone(), send.clone(), refuse.clone());
                let (next, tasks) = (Arc::clone(&next), group.clone());
                group.spawn("connection", async move {
                    let Ok(stream) = tls.accept(stream).await else { return };
                    let mut server = Server::new(stream, Limits::default());
                    let Ok(Some(exchange)) = server.next().await else { return };
                    let head = ResponseHead::new(101);
                    if exchange.head().path() == "/revdial" {
                        match registry.pick_up(exchange.head(), true) {
                            Ok(reserved) => {
                                let _ = exchange.switch_protocols(&head).await.unwrap();
                                let _ = reserved.deliver(server.into_stream());
                            }
                            Err(refusal) => {
                                refuse.send(exchange.head().target().to_owned()).unwrap();
                                exchange.refuse(refusal.status(), refusal.text()).await.unwrap();
                            }
                        }
                        return;
                    }
                    assert_eq!(exchange.head().headers().get_str(VERSION_HEADER), Some(VERSION));
                    let id = DialerId::from_entropy([next.fetch_add(1, std::sync::atomic::Ordering::Relaxed); 16]);
                    if quirk == Quirk::OneRecord {
                        // What a careless server does: one buffer for the answer and what follows.
                        let _ = exchange;
                        let (_, mut stream) = server.into_stream().into_parts();
                        let path = ConnPath { dialer: id, conn: None }.text("/revdial");
                        let words = format!("HTTP/1.1 101 Switching Protocols\r\n\r\n{{\"command\":\"conn-ready\",\"connPath\":\"{path}\"}}\n");
                        stream.write_all(words.as_bytes()).await.unwrap();
                        stream.flush().await.unwrap();
                        let mut end = Vec::new();
                        let _ = stream.read_to_end(&mut end).await;
                        return;
                    }
                    let _ = exchange.switch_protocols(&head).await.unwrap();
                    let (dialer, control) =
                        registry.dialer(server.into_stream(), id, "/revdial", Arc::new(TokioTimer));
                    tasks.spawn("control", control.run());
                    send.send(dialer).await.unwrap();
                });
            }
        });
        Self {
            address,
            registry,
            machines,
            refused,
            tasks,
        }
    }

    pub(crate) async fn end(self) {
        self.tasks.token().cancel();
        // The accepting task has no end of its own.
        let _ = self.tasks.drain(Duration::ZERO).await;
    }
}

pub(crate) async fn dial(dialer: &Dialer<Stream>) -> Stream {
    timeout(LIMIT, dialer.dial())
        .await
        .expect("dialed in time")
        .unwrap()
}
