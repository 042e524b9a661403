//! What the one port costs: TLS handshakes and gRPC calls a second at the front, and at a bare
//! server of hyper and tonic, with the same certificate and the same services.
//!
//! Both are asked in turns, `FARMER_ROUNDS` (default 7) times for a second each, by clients of this
//! process. Every handshake is a whole one, with a page behind it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::routing::get;
use build_server::front::{Front, Services};
use build_server::grpc::Methods;
use build_server::https::{Certificate, Tls, development};
use build_server::supervise::Supervisor;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::SendRequest;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::CancellationToken;

#[path = "../tests/it/interop/trusting.rs"]
#[allow(
    dead_code,
    clippy::unwrap_used,
    reason = "the tests have more use for it"
)]
mod trusting;

/// How long each side is asked in a round.
const TURN: Duration = Duration::from_secs(1);
/// Clients that shake hands, and connections of those that call.
const CLIENTS: usize = 4;
/// Calls at a time on each connection.
const CALLS: usize = 8;
const PAGE: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
/// A question of the health service: of the server as a whole, not compressed, no bytes.
const QUESTION: &[u8] = &[0; 5];

/// Where both listen.
struct Doors {
    front: SocketAddr,
    bare: SocketAddr,
}

impl Doors {
    async fn open(tasks: &Supervisor, stop: &CancellationToken) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let certificate = development(dir.path(), &[])?.certificate().clone();
        let methods = Methods::new().into_router().await?;
        let pages = || Router::new().route("/", get(async || "a page"));

        let services = Services::new()
            .with_pages(pages())
            .with_grpc(methods.clone());
        let front = Front::new(services).with_tls(Tls::new(certificate.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let front_at = listener.local_addr()?;
        tasks.spawn("front", front.run(listener, stop.clone()));

        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let bare_at = listener.local_addr()?;
        let all = pages().merge(methods);
        tasks.spawn("bare", bare(listener, certificate, all, stop.clone()));
        Ok(Self {
            front: front_at,
            bare: bare_at,
        })
    }
}

/// Nothing but an acceptor and hyper: by the agreed protocol HTTP/2, otherwise HTTP/1.1.
async fn bare(
    listener: TcpListener,
    certificate: Certificate,
    all: Router,
    stop: CancellationToken,
) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has all versions")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(certificate));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let connections = Supervisor::new("connections");
    while let Some(Ok((tcp, _))) = stop.run_until_cancelled(listener.accept()).await {
        let (acceptor, all) = (acceptor.clone(), all.clone());
        let serving = async move {
            // As the front has it.
            let _ = tcp.set_nodelay(true);
            let Ok(stream) = acceptor.accept(tcp).await else {
                return;
            };
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let (io, service) = (TokioIo::new(stream), TowerToHyperService::new(all));
            // Who goes away in the middle is not counted as served.
            let _ended = match is_http2 {
                true => {
                    let server = http2::Builder::new(TokioExecutor::new());
                    server.serve_connection(io, service).await
                }
                false => http1::Builder::new().serve_connection(io, service).await,
            };
        };
        drop(connections.spawn("connection", serving));
    }
}

fn connector(protocol: &[u8]) -> TlsConnector {
    let connector = trusting::connector_for(&[protocol]);
    let mut config = connector.config().as_ref().clone();
    config.resumption = rustls::client::Resumption::disabled();
    TlsConnector::from(Arc::new(config))
}

async fn connect(to: SocketAddr, connector: &TlsConnector) -> Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(to).await?;
    tcp.set_nodelay(true)?;
    Ok(connector.connect(trusting::name(), tcp).await?)
}

/// One whole handshake, a page, and the end of the connection.
async fn handshake(to: SocketAddr, connector: TlsConnector) -> Result<()> {
    let mut stream = connect(to, &connector).await?;
    stream.write_all(PAGE).await?;
    let mut said = Vec::new();
    stream.read_to_end(&mut said).await?;
    ensure!(said.ends_with(b"a page"), "not the page");
    Ok(())
}

/// Connections of HTTP/2 for calls.
async fn connections(tasks: &Supervisor, to: SocketAddr) -> Result<Vec<SendRequest<Full<Bytes>>>> {
    let connector = connector(b"h2");
    let mut all = Vec::new();
    for _ in 0..CLIENTS {
        let io = TokioIo::new(connect(to, &connector).await?);
        let client = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        let (send, connection) = client.handshake(io).await?;
        drop(tasks.spawn("connection", connection));
        all.push(send);
    }
    Ok(all)
}

/// One call, whose answer says that all is well.
async fn call(mut connection: SendRequest<Full<Bytes>>) -> Result<()> {
    let request = hyper::Request::post("https://localhost/grpc.health.v1.Health/Check")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(Bytes::from_static(QUESTION)))?;
    connection.ready().await?;
    let answer = connection.send_request(request).await?;
    let body = answer.into_body().collect().await?;
    let trailers = body.trailers().context("no trailers")?;
    ensure!(trailers["grpc-status"] == "0", "{trailers:?}");
    ensure!(body.to_bytes().len() > QUESTION.len(), "an empty answer");
    Ok(())
}

/// So many clients do it again and again for one turn; how often a second.
async fn rate<F>(
    clients: usize,
    once: impl Fn(usize) -> F + Clone + Send + Sync + 'static,
) -> Result<f64>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let tasks = Supervisor::new("clients");
    let begin = Instant::now();
    let clients = (0..clients).map(|n| {
        let once = once.clone();
        tasks.spawn("client", async move {
            let mut count = 0_u32;
            while begin.elapsed() < TURN {
                once(n).await?;
                count += 1;
            }
            anyhow::Ok(count)
        })
    });
    let clients: Vec<_> = clients.collect();
    let mut all = 0;
    for client in clients {
        all += client.await??;
    }
    Ok(f64::from(all) / begin.elapsed().as_secs_f64())
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// Prints what both did in each round.
fn tell(what: &str, rounds: &[(f64, f64)]) {
    for (front, bare) in rounds {
        println!("{what}: front {front:.0}, bare {bare:.0} a second");
    }
    let ratios = rounds.iter().map(|(front, bare)| front / bare).collect();
    let (front, bare) = rounds.iter().copied().unzip();
    println!(
        "{what}: {:.0} a second, {:.2} of a bare server's {:.0}",
        median(front),
        median(ratios),
        median(bare)
    );
}

#[tokio::main]
async fn main() -> Result<()> {
    let rounds = std::env::var("FARMER_ROUNDS");
    let rounds: usize = rounds.map_or(Ok(7), |text| text.parse())?;
    ensure!(rounds > 0, "FARMER_ROUNDS: one round at least");
    let (tasks, stop) = (Supervisor::new("bench"), CancellationToken::new());
    let doors = Doors::open(&tasks, &stop).await?;
    let http1 = connector(b"http/1.1");
    let shake = |to| {
        let http1 = http1.clone();
        rate(CLIENTS, move |_| handshake(to, http1.clone()))
    };
    let (ours, theirs) = (
        connections(&tasks, doors.front).await?,
        connections(&tasks, doors.bare).await?,
    );
    let ask = |all: &Vec<SendRequest<Full<Bytes>>>| {
        let all = all.clone();
        rate(CLIENTS * CALLS, move |n| call(all[n % CLIENTS].clone()))
    };
    // The first of each is not counted: everything is cold.
    for to in [doors.front, doors.bare] {
        shake(to).await?;
    }
    let (mut handshakes, mut calls) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        handshakes.push((shake(doors.front).await?, shake(doors.bare).await?));
        calls.push((ask(&ours).await?, ask(&theirs).await?));
    }
    tell("handshakes", &handshakes);
    tell("gRPC calls", &calls);
    stop.cancel();
    drop((ours, theirs));
    tasks.drain(Duration::from_secs(5)).await?;
    Ok(())
}
