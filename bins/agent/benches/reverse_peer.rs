//! What goes through reversed connections, beside the Go programs of December 2020: both ends
//! ours, and both ends Go's, over TLS on this machine.
//!
//! `cargo bench -p farmer-agent --bench reverse_peer` takes turns: 256 MiB of output of a command,
//! the sources of the Go toolchain to the machine (`/writetgz`), and back (`/tgz`). `FARMER_ROUNDS`
//! (default 5) says how often. Needs a Go toolchain; the peer is `reversebench` of
//! `build-server/tests/go2020`, with Go's buildlet.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a measurement may panic"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use build_client::transport::Pin;
use build_core::buildlet::{Buildlet, ByteStream, Exec, ExecEvent};
use build_core::ids::{BuilderName, HostType, LeaseId, MachineId, Nonce};
use build_core::key::MasterKey;
use build_core::pool::{Lease, LeaseRequest, Pool};
use build_server::front::{Front, Services};
use build_server::https::{Tls, development};
use build_server::pool::ReversePool;
use build_server::supervise::Supervisor;
use bytes::Bytes;
use futures::StreamExt;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio_util::sync::CancellationToken;

#[path = "../../../build-server/tests/it/interop/peers.rs"]
mod peers;

const KIND: &str = "host-linux-amd64-localdev";
const OUTPUT_BYTES: u64 = 256 << 20;
/// Where archives are unpacked on the machine.
const UNPACKED: &str = "pushed";
/// For a machine to register.
const PATIENCE: Duration = Duration::from_secs(60);
const STEPS: [&str; 4] = ["output", "put", "get", "clear"];

/// Go at both ends.
struct Go {
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    archive: PathBuf,
    _processes: [Child; 2],
}

impl Go {
    async fn start(programs: &Path, dir: &Path, archive: &Path) -> Self {
        let mut command = tokio::process::Command::new(programs.join("reversebench"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut server = command.kill_on_drop(true).spawn().unwrap();
        let mut output = BufReader::new(server.stdout.take().unwrap()).lines();
        let address = output.next_line().await.unwrap().expect("an address");
        let work = dir.join("go");
        std::fs::create_dir(&work).unwrap();
        let mut command = tokio::process::Command::new(programs.join("buildlet"));
        // `localhost` is not asked for a certificate that somebody vouches for.
        let port = address.rsplit(':').next().unwrap();
        command
            .arg(format!("-coordinator=localhost:{port}"))
            .args(["-reverse-type", KIND, "-hostname=go", "-halt=false"])
            .arg(format!("-workdir={}", work.display()))
            .env("HOME", dir)
            .env_remove("GO_BUILD_KEY_PATH")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let machine = command.kill_on_drop(true).spawn().unwrap();
        let ready = tokio::time::timeout(PATIENCE, output.next_line()).await;
        assert_eq!(ready.unwrap().unwrap().as_deref(), Some("ready"));
        Self {
            input: server.stdin.take().unwrap(),
            output,
            archive: archive.to_owned(),
            _processes: [server, machine],
        }
    }

    async fn step(&mut self, what: &str) -> f64 {
        let line = match what {
            "output" => format!("output {OUTPUT_BYTES}\n"),
            "put" => format!("put {}\n", self.archive.display()),
            other => format!("{other}\n"),
        };
        self.input.write_all(line.as_bytes()).await.unwrap();
        let said = self.output.next_line().await.unwrap();
        said.expect("the Go programs are there").parse().unwrap()
    }
}

/// Ours at both ends: a coordinator's door in this process, and the buildlet.
struct Ours {
    lease: Arc<dyn Lease>,
    archive: PathBuf,
    stop: CancellationToken,
    tasks: Supervisor,
    _machine: Child,
}

impl Ours {
    async fn start(dir: &Path, archive: &Path) -> Self {
        let master = MasterKey::new("a master key").unwrap();
        let key = dir.join("key");
        std::fs::write(&key, format!("{}\n", master.key_of(KIND))).unwrap();
        let pool = ReversePool::builder(master).build();
        let certificates = dir.join("tls");
        let made = development(&certificates, &[]).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let front = Front::new(Services::new().with_dialect(pool.dialect()));
        let front = front.with_tls(Tls::new(made.certificate().clone()));
        let (stop, tasks) = (CancellationToken::new(), Supervisor::new("door"));
        tasks.spawn("front", front.run(listener, stop.clone()));
        let work = dir.join("ours");
        std::fs::create_dir(&work).unwrap();
        let ca = std::fs::read_to_string(made.ca_path()).unwrap();
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_buildlet"));
        command
            .args(["-reverse-type", KIND, "-hostname=ours", "-halt=false"])
            .arg(format!("-coordinator={address}"))
            .arg(format!("-workdir={}", work.display()))
            .arg(format!("--state-dir={}", dir.join("state").display()))
            .arg(format!("--key-file={}", key.display()))
            .arg(format!("--pin={}", Pin::of_pem(&ca).unwrap()))
            .env_remove("HTTPS_PROXY")
            .env_remove("https_proxy")
            .stdin(Stdio::null());
        let machine = command.kill_on_drop(true).spawn().unwrap();
        let begin = Instant::now();
        while pool.connected() == 0 {
            assert!(begin.elapsed() < PATIENCE, "our machine has not come");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let lease = pool.acquire(&request()).await.unwrap();
        Self {
            lease,
            archive: archive.to_owned(),
            stop,
            tasks,
            _machine: machine,
        }
    }

    async fn step(&self, what: &str) -> f64 {
        // As long as nothing else renews it.
        self.lease.renew(Duration::from_secs(3600)).await.unwrap();
        let machine = self.lease.buildlet();
        let begin = Instant::now();
        match what {
            "output" => assert_eq!(output(machine).await, OUTPUT_BYTES),
            "put" => {
                let archive = pieces(&self.archive).await;
                machine.put_tar(archive, UNPACKED).await.unwrap();
            }
            "get" => {
                let mut archive = machine.get_tar(UNPACKED).await.unwrap();
                while let Some(piece) = archive.next().await {
                    piece.unwrap();
                }
            }
            _ => machine.remove_all(&[UNPACKED.to_owned()]).await.unwrap(),
        }
        begin.elapsed().as_secs_f64()
    }

    async fn end(self) {
        self.stop.cancel();
        self.tasks.drain(Duration::from_secs(5)).await.unwrap();
    }
}

fn request() -> LeaseRequest {
    LeaseRequest {
        lease: LeaseId::from_bits(1),
        nonce: Nonce::new("nonce-1").unwrap(),
        machine: MachineId::new(format!("ours@{KIND}")).unwrap(),
        host_type: HostType::new(KIND).unwrap(),
        builder: BuilderName::new("linux").unwrap(),
        sandbox: Default::default(),
        network: Default::default(),
        image: None,
        ttl: Duration::from_secs(3600),
    }
}

async fn output(machine: &dyn Buildlet) -> u64 {
    let exec = Exec::new("/usr/bin/head");
    let exec = exec.arg("-c").arg(OUTPUT_BYTES.to_string());
    let mut stream = machine.stream(exec.arg("/dev/zero")).await.unwrap();
    let mut count = 0;
    while let Some(event) = stream.next().await {
        match event.unwrap() {
            ExecEvent::Output(bytes) => count += bytes.len() as u64,
            ExecEvent::Ended(outcome) => assert!(outcome.is_ok()),
        }
    }
    count
}

async fn pieces(path: &Path) -> ByteStream {
    let file = tokio::fs::File::open(path).await.unwrap();
    Box::pin(futures::stream::unfold(file, |mut file| async {
        let mut piece = vec![0; 256 << 10];
        let count = file.read(&mut piece).await.unwrap();
        piece.truncate(count);
        (count > 0).then(|| (Ok(Bytes::from(piece)), file))
    }))
}

/// The sources of the Go toolchain, as everybody with Go has them.
fn pack_go_sources(dir: &Path) -> PathBuf {
    let root = Command::new("go").args(["env", "GOROOT"]).output().unwrap();
    let root = String::from_utf8(root.stdout).unwrap();
    let archive = dir.join("go-src.tar.gz");
    let mut command = Command::new("tar");
    command.arg("-C").arg(root.trim()).arg("-czf").arg(&archive);
    assert!(command.arg("src").status().unwrap().success());
    archive
}

fn median(seconds: &[f64]) -> f64 {
    let mut seconds = seconds.to_vec();
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let rounds = std::env::var("FARMER_ROUNDS").map_or(5, |text| text.parse().unwrap());
        let Some(programs) = peers::go2020() else {
            return;
        };
        let dir = tempfile::tempdir().unwrap();
        let archive = pack_go_sources(dir.path());
        let mut go = Go::start(programs, dir.path(), &archive).await;
        let ours = Ours::start(dir.path(), &archive).await;
        let mut all = [const { (Vec::new(), Vec::new()) }; STEPS.len()];
        for _ in 0..rounds {
            for (what, (of_ours, of_go)) in STEPS.iter().zip(&mut all) {
                of_ours.push(ours.step(what).await);
                of_go.push(go.step(what).await);
            }
        }
        for (what, (of_ours, of_go)) in STEPS.iter().zip(&all) {
            println!("{what}: ours {of_ours:.3?}, Go {of_go:.3?}");
            let (mine, theirs) = (median(of_ours), median(of_go));
            println!(
                "reversed {what}: {mine:.3} s, Go {theirs:.3} s: {:.2} times Go's speed",
                theirs / mine
            );
        }
        ours.end().await;
    });
}
