//! Both ends of revdial against the Go library.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use build_client::transport::TokioTimer;
use build_core::h1::io::{Duplex, Rewind, Server};
use build_core::h1::{Limits, RequestHead, ResponseHead};
use build_core::revdial::io::{DialServer, Dialer, Listener, Registry, take_over};
use build_core::revdial::{ConnPath, DialerId, Error, VERSION, VERSION_HEADER};
use build_server::https::{Tls, TlsStream, development};
use build_server::supervise::Supervisor;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{compat, peers};

const DIALS: usize = 1000;
const LARGE: usize = 10 << 20;
/// For everything that takes no time; a peer that hangs ends the test.
const LIMIT: Duration = Duration::from_secs(20);

type Stream = Rewind<TlsStream<TcpStream>>;

/// A server that registers machines and hands their connections over.
struct Hall {
    address: String,
    registry: Registry<Stream>,
    machines: mpsc::Receiver<Dialer<Stream>>,
    /// Targets of refused pick-ups.
    refused: mpsc::UnboundedReceiver<String>,
    tasks: Supervisor,
}

/// What the server does wrong on purpose.
#[derive(Clone, Copy, PartialEq)]
enum Quirk {
    None,
    /// The 101 and what follows it in one write.
    OneRecord,
}

impl Hall {
    async fn start(quirk: Quirk) -> Self {
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

    async fn end(self) {
        self.tasks.token().cancel();
        // The accepting task has no end of its own.
        let _ = self.tasks.drain(Duration::ZERO).await;
    }
}

async fn dial(dialer: &Dialer<Stream>) -> Stream {
    timeout(LIMIT, dialer.dial())
        .await
        .expect("dialed in time")
        .unwrap()
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

fn go(programs: &Path, args: &[&str]) -> Child {
    Command::new(programs.join("revdialpeer"))
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn our_dialer_reaches_go_machines() {
    let Some(programs) = peers::go2020() else {
        return;
    };
    let mut hall = Hall::start(Quirk::None).await;
    let mut machine = go(programs, &["-listen", &hall.address]);
    let dialer = timeout(LIMIT, hall.machines.recv()).await.unwrap().unwrap();

    // The first words go out at once: nothing of them may be lost behind the 101.
    for i in 0..DIALS {
        let mut stream = dial(&dialer).await;
        let word = format!("dial {i}");
        stream
            .write_all(format!("e{word}").as_bytes())
            .await
            .unwrap();
        stream.flush().await.unwrap();
        let mut got = vec![0; word.len()];
        timeout(LIMIT, stream.read_exact(&mut got))
            .await
            .expect("not lost")
            .unwrap();
        assert_eq!(got, word.as_bytes());
    }

    let mut stream = dial(&dialer).await;
    stream.write_all(b"s").await.unwrap();
    stream
        .write_all(&(LARGE as u64).to_be_bytes())
        .await
        .unwrap();
    stream.flush().await.unwrap();
    let mut got = Vec::new();
    timeout(LIMIT, stream.read_to_end(&mut got))
        .await
        .unwrap()
        .unwrap();
    let want = pattern(LARGE);
    assert!(got == want, "{} bytes", got.len());

    // The sending half alone is closed: the answer still comes.
    let mut stream = dial(&dialer).await;
    stream.write_all(b"r").await.unwrap();
    stream.write_all(&want).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut said = String::new();
    timeout(LIMIT, stream.read_to_string(&mut said))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        said,
        format!("{LARGE} {} true", hex::encode(Sha256::digest(&want)))
    );

    let mut stream = dial(&dialer).await;
    stream.write_all(b"x").await.unwrap();
    stream.flush().await.unwrap();
    let mut said = Vec::new();
    let cut = timeout(LIMIT, stream.read_to_end(&mut said)).await.unwrap();
    cut.expect_err("a cut connection does not end in order");

    // Dials that are given up: their connections come, and serve nobody.
    for _ in 0..20 {
        let wanted = dialer.dial();
        tokio::pin!(wanted);
        tokio::select! {
            biased;
            _ = &mut wanted => panic!("the machine has not even been told"),
            () = std::future::ready(()) => {}
        }
    }
    for i in 0..20 {
        let mut stream = dial(&dialer).await;
        stream
            .write_all(format!("e{i:02}").as_bytes())
            .await
            .unwrap();
        stream.flush().await.unwrap();
        let mut got = [0; 2];
        timeout(LIMIT, stream.read_exact(&mut got))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(got, format!("{i:02}").as_bytes());
    }
    let mut stale = 0;
    while stale < 20 {
        timeout(LIMIT, hall.refused.recv())
            .await
            .expect("late connections are refused")
            .unwrap();
        stale += 1;
    }
    assert_eq!(
        dialer.ended(),
        None,
        "the control connection has survived it all"
    );

    machine.kill().await.unwrap();
    let error = timeout(LIMIT, dialer.dial())
        .await
        .unwrap()
        .map(|_| ())
        .unwrap_err();
    assert!(matches!(error, Error::Closed | Error::Lost(_)), "{error}");
    assert!(hall.registry.is_empty());
    hall.end().await;
    let one_record = a_go_machine_loses_what_shares_a_record_with_the_101(programs).await;
    compat::record(
        &programs.join("revdialpeer"),
        &[
            compat::Row {
                direction: "our dialer, Go listener",
                case: "1,000 dials with immediate first writes",
                seen: "every first word comes back",
                control: one_record,
            },
            compat::Row {
                direction: "our dialer, Go listener",
                case: "10 MiB each way, half-closed",
                seen: "equal, and the answer comes after the half-close",
                control: "cut instead of closed: an error, not an end",
            },
            compat::Row {
                direction: "our dialer, Go listener",
                case: "20 dials given up before their connections come",
                seen: "each late connection is answered 400, the next 20 dials get their own",
                control: "a path without the number of its dial, as the Go dialer writes it: nobody's",
            },
        ],
    );
}

/// Trap T2: the Go listener throws away what it has buffered.
async fn a_go_machine_loses_what_shares_a_record_with_the_101(programs: &Path) -> &'static str {
    let mut hall = Hall::start(Quirk::OneRecord).await;
    let mut machine = go(programs, &["-listen", &hall.address]);
    let mut lines = BufReader::new(machine.stdout.take().unwrap()).lines();
    let said = timeout(LIMIT, lines.next_line()).await.unwrap().unwrap();
    assert_eq!(said.as_deref(), Some("ok registered"));
    // It would fetch the connection at once, and be refused: nobody waits for it.
    let fetched = timeout(Duration::from_millis(500), hall.refused.recv()).await;
    assert!(fetched.is_err(), "the line was read after all");
    machine.kill().await.unwrap();
    hall.end().await;
    "101 and the first line in one TLS record: the line is lost"
}

#[tokio::test]
async fn go_servers_reach_our_machines() {
    let Some(programs) = peers::go2020() else {
        return;
    };
    let mut server = go(
        programs,
        &["-dial", "-count", "1000", "-size", &LARGE.to_string()],
    );
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let first = timeout(LIMIT, lines.next_line())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let address = first
        .strip_prefix("listening ")
        .expect("an address")
        .to_owned();
    let tasks = Supervisor::new("machine");
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
    let serving = tasks.spawn("serve", async move {
        loop {
            match listener.accept().await {
                Ok(stream) => drop(group.spawn("connection", serve(stream))),
                Err(error) => return error,
            }
        }
    });
    let mut said = Vec::new();
    while let Some(line) = timeout(3 * LIMIT, lines.next_line())
        .await
        .unwrap()
        .unwrap()
    {
        said.push(line);
    }
    assert!(server.wait().await.unwrap().success(), "{said:?}");
    assert_eq!(
        said,
        [
            "ok dials 1000",
            "ok large from the machine 10485760",
            "ok large to the machine, half closed",
            "ok cut",
            "ok done",
        ]
    );
    assert!(matches!(
        serving.await.unwrap(),
        Error::Closed | Error::Lost(_)
    ));
    // Take-over of an answer with the version HTTP/0.0, by a reader that knows HTTP only.
    let strict = {
        let mut fields = [httparse::EMPTY_HEADER; 4];
        let mut response = httparse::Response::new(&mut fields);
        response.parse(b"HTTP/0.0 101 Switching Protocols\r\n\r\n")
    };
    assert_eq!(strict, Err(httparse::Error::Version));
    compat::record(
        &programs.join("revdialpeer"),
        &[
            compat::Row {
                direction: "Go dialer, our listener",
                case: "registration answered HTTP/0.0 101, then 1,000 dials with immediate first writes",
                seen: "every first word comes back",
                control: "a strict reader of the same answer: not HTTP",
            },
            compat::Row {
                direction: "Go dialer, our listener",
                case: "10 MiB each way, half-closed",
                seen: "equal, and the answer comes after the half-close",
                control: "cut after half a word: the half, and nothing else",
            },
        ],
    );
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
            stream
                .write_all(&pattern(usize::try_from(len).unwrap()))
                .await
                .unwrap();
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
async fn connect(address: &str) -> std::io::Result<Box<dyn Duplex>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let stream = super::trusting::connector()
        .connect(super::trusting::name(), stream)
        .await?;
    Ok(Box::new(stream))
}
