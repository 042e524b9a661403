//! Connections that machines fetch: ours at both ends, beside Go's at both ends, in turns.
//!
//! `FARMER_ROUNDS` (default 7) times: 300 dials in a row, each with a word back and forth, 64 more
//! that were made ahead, and 256 MiB from the machine over one connection; and the same bytes over a
//! bare connection of TLS.
//! Machines are processes of their own: this program again, and Go's `revdialpeer`. Needs Go.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a measurement may panic"
)]

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use build_core::revdial::io::{Dialer, Ready};
use build_server::https::{Tls, development};
use build_server::supervise::Supervisor;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

#[path = "../tests/it/interop/hall.rs"]
#[allow(dead_code, reason = "the tests have more use for it")]
mod hall;
#[path = "../tests/it/interop/machine.rs"]
mod machine;
#[path = "../tests/it/interop/peers.rs"]
mod peers;
#[path = "../tests/it/interop/trusting.rs"]
mod trusting;

use hall::{Hall, LIMIT, Quirk, Stream, dial};

const DIALS: u32 = 300;
/// Connections made ahead.
const READY: usize = 64;
const BYTES: u64 = 256 << 20;
/// For a turn of one side.
const TURN: Duration = Duration::from_secs(300);
const PIECE: usize = 64 * 1024;

/// What one turn took.
#[derive(Clone, Copy)]
struct Turn {
    dials: Duration,
    /// Of those made ahead; none by Go.
    ready: Duration,
    stream: Duration,
}

/// Go at both ends.
struct Go {
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    _processes: [Child; 2],
}

impl Go {
    async fn start(programs: &Path) -> Self {
        let start = |args: &[&str]| {
            let mut command = Command::new(programs.join("revdialpeer"));
            command.args(args).stdin(Stdio::piped());
            command.stdout(Stdio::piped()).kill_on_drop(true);
            command.spawn().unwrap()
        };
        let (dials, bytes) = (DIALS.to_string(), BYTES.to_string());
        let mut server = start(&["-dial", "-bench", "-count", &dials, "-size", &bytes]);
        let mut output = BufReader::new(server.stdout.take().unwrap()).lines();
        let first = timeout(LIMIT, output.next_line()).await.unwrap().unwrap();
        let first = first.unwrap();
        let machine = start(&["-listen", first.strip_prefix("listening ").unwrap()]);
        Self {
            input: server.stdin.take().unwrap(),
            output,
            _processes: [server, machine],
        }
    }

    async fn turn(&mut self) -> Turn {
        self.input.write_all(b"\n").await.unwrap();
        let line = timeout(TURN, self.output.next_line()).await.unwrap();
        let line = line.unwrap().expect("the Go programs are there");
        let mut seconds = line.split(' ').map(|text| text.parse().unwrap());
        let mut next = || Duration::from_secs_f64(seconds.next().unwrap());
        Turn {
            dials: next(),
            ready: Duration::MAX,
            stream: next(),
        }
    }
}

/// Reads to the end; how long that took.
async fn all_of(mut stream: impl tokio::io::AsyncRead + Unpin, begin: Instant) -> Duration {
    let (mut piece, mut all) = (vec![0; PIECE], 0);
    loop {
        match timeout(TURN, stream.read(&mut piece)).await.unwrap() {
            Ok(0) => break,
            Ok(count) => all += count as u64,
            Err(error) => panic!("after {all} bytes: {error}"),
        }
    }
    assert_eq!(all, BYTES);
    begin.elapsed()
}

/// A word to the machine and back.
async fn word(mut stream: Stream) {
    stream.write_all(b"eword").await.unwrap();
    stream.flush().await.unwrap();
    let mut got = [0; 4];
    stream.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"word");
}

/// So many dials, once as many connections wait.
async fn from_ready(ready: &Ready<Stream>) -> Duration {
    for _ in 0..2 {
        word(timeout(LIMIT, ready.dial()).await.unwrap().unwrap()).await;
    }
    while ready.waiting() < READY {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let begin = Instant::now();
    for _ in 0..READY {
        word(timeout(LIMIT, ready.dial()).await.unwrap().unwrap()).await;
    }
    begin.elapsed()
}

async fn ours(dialer: &Dialer<Stream>) -> Turn {
    let begin = Instant::now();
    for _ in 0..DIALS {
        word(dial(dialer).await).await;
    }
    let dials = begin.elapsed();
    let tasks = Supervisor::new("ready");
    let (ready, refill) = Ready::new(dialer.clone(), READY, LIMIT);
    tasks.spawn("refill", refill.run());
    let made_ahead = timeout(TURN, from_ready(&ready)).await.unwrap();
    tasks.token().cancel();
    let _ = tasks.drain(Duration::ZERO).await;
    drop(ready);
    let begin = Instant::now();
    let mut stream = dial(dialer).await;
    stream.write_all(b"s").await.unwrap();
    stream.write_all(&BYTES.to_be_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    Turn {
        dials,
        ready: made_ahead,
        stream: all_of(stream, begin).await,
    }
}

/// The same bytes from another process over TLS, with nothing else.
async fn bare() -> Duration {
    let dir = tempfile::tempdir().unwrap();
    let tls = Tls::new(development(dir.path(), &[]).unwrap().certificate().clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut sender = again("send", &address);
    let (tcp, _) = timeout(LIMIT, listener.accept()).await.unwrap().unwrap();
    tcp.set_nodelay(true).unwrap();
    let stream = tls.accept(tcp).await.unwrap();
    let begin = Instant::now();
    let took = all_of(stream, begin).await;
    assert!(sender.wait().await.unwrap().success());
    took
}

/// This program as another process.
fn again(what: &str, address: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(ROLE, what).env(ADDRESS, address);
    command.kill_on_drop(true).spawn().unwrap()
}

const ROLE: &str = "FARMER_BENCH_ROLE";
const ADDRESS: &str = "FARMER_BENCH_ADDRESS";

/// What such a process does.
async fn play(role: &str) {
    let address = std::env::var(ADDRESS).unwrap();
    if role == "machine" {
        let tasks = Supervisor::new("machine");
        machine::register(address, &tasks).await.await.unwrap();
        return;
    }
    let mut stream = machine::connect(&address).await.unwrap();
    machine::send(&mut stream, BYTES).await.unwrap();
    stream.shutdown().await.unwrap();
    // Whoever closes before all is read, tickets of TLS too, cuts off what is on its way.
    let _end = timeout(TURN, stream.read_to_end(&mut Vec::new())).await;
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    match std::env::var(ROLE) {
        Ok(role) => runtime.block_on(play(&role)),
        Err(_) => runtime.block_on(bench()),
    }
}

async fn bench() {
    let rounds = std::env::var("FARMER_ROUNDS").map_or(7, |text| text.parse().unwrap());
    let Some(programs) = peers::go2020() else {
        return;
    };
    let mut go = Go::start(programs).await;
    let mut hall = Hall::start(Quirk::None).await;
    let _machine = again("machine", &hall.address);
    let dialer = timeout(LIMIT, hall.machines.recv()).await.unwrap().unwrap();
    let mut turns = Vec::new();
    // The first of each is not counted: everything is cold.
    for round in 0..=rounds {
        let turn = (ours(&dialer).await, go.turn().await, bare().await);
        if round > 0 {
            turns.push(turn);
        }
    }
    let mib = |took: Duration| (BYTES >> 20) as f64 / took.as_secs_f64();
    let dials = |took: Duration| f64::from(DIALS) / took.as_secs_f64();
    for (ours, go, bare) in &turns {
        println!(
            "dials a second: ours {:.0}, {:.0} made ahead, Go {:.0}; MiB a second: ours {:.0}, Go {:.0}, bare TLS {:.0}",
            dials(ours.dials),
            READY as f64 / ours.ready.as_secs_f64(),
            dials(go.dials),
            mib(ours.stream),
            mib(go.stream),
            mib(*bare)
        );
    }
    let of =
        |ratio: &dyn Fn(&(Turn, Turn, Duration)) -> f64| median(turns.iter().map(ratio).collect());
    let dials = of(&|(ours, go, _)| go.dials.as_secs_f64() / ours.dials.as_secs_f64());
    let part = READY as f64 / f64::from(DIALS);
    let ready = of(&|(ours, go, _)| part * go.dials.as_secs_f64() / ours.ready.as_secs_f64());
    let stream = of(&|(ours, _, bare)| bare.as_secs_f64() / ours.stream.as_secs_f64());
    let beside = of(&|(ours, go, _)| go.stream.as_secs_f64() / ours.stream.as_secs_f64());
    println!(
        "revdial: {dials:.2} of Go's dials, {ready:.1} made ahead, {beside:.2} of Go's stream, {stream:.2} of bare TLS"
    );
    hall.end().await;
}
