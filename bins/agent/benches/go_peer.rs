//! The buildlet against the Go project's, both with their own client, over TCP on this machine.
//!
//! `cargo bench -p farmer-agent --bench go_peer [-- exec|output|push]` prints the seconds of
//! every sample, in turns of one side and the other, then rows of Markdown. Needs a Go toolchain; the
//! peer is the module in `build-server/tests/go`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a measurement may panic"
)]

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use build_client::HttpBuildlet;
use build_client::transport::UnixDial;
use build_core::buildlet::{Buildlet, ByteStream, Exec, ExecEvent};
use bytes::Bytes;
use futures::StreamExt;
use tokio::io::AsyncReadExt;

const OUTPUT_BYTES: u64 = 1 << 30;
/// Turns of each measurement, and samples of each side in a turn.
const EXEC: (usize, usize) = (5, 200);
const OUTPUT: (usize, usize) = (5, 1);
const PUSH: (usize, usize) = (5, 1);

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with('-'))
        .collect();
    let wants = |name: &str| wanted.is_empty() || wanted.iter().any(|arg| arg == name);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let bench = Bench::start().await;
        for (name, turns) in [("exec", EXEC), ("output", OUTPUT), ("push", PUSH)] {
            if wants(name) {
                bench.measure(name, turns).await;
            }
        }
    });
}

/// Both buildlets, running.
struct Bench {
    _dir: tempfile::TempDir,
    driver: PathBuf,
    archive: PathBuf,
    ours: HttpBuildlet,
    ours_by_socket: HttpBuildlet,
    go_address: String,
    go: HttpBuildlet,
    _processes: Vec<Running>,
}

/// A process that is ended with this.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Bench {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        build_go_programs(dir.path());
        let archive = pack_go_sources(dir.path());
        let (address, go_address) = (free_address(), free_address());
        let socket = dir.path().join("s");
        let ours = env!("CARGO_BIN_EXE_buildlet");
        let processes = vec![
            buildlet(Path::new(ours), &dir.path().join("ours"), &address),
            buildlet(
                Path::new(ours),
                &dir.path().join("socket"),
                &format!("unix:{}", socket.display()),
            ),
            buildlet(
                &dir.path().join("buildlet"),
                &dir.path().join("go"),
                &go_address,
            ),
        ];
        let bench = Self {
            driver: dir.path().join("drivebuildlet"),
            ours: HttpBuildlet::direct(address),
            go: HttpBuildlet::direct(&go_address),
            ours_by_socket: until_there(&socket),
            _dir: dir,
            archive,
            go_address,
            _processes: processes,
        };
        for client in [&bench.ours, &bench.ours_by_socket, &bench.go] {
            until_ready(client).await;
        }
        bench
    }

    /// Takes turns, so that what else the machine does falls on all sides alike.
    async fn measure(&self, name: &str, (turns, samples): (usize, usize)) {
        let mut all: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for _ in 0..turns {
            if name == "exec" {
                all.entry("0 bare spawn")
                    .or_default()
                    .extend(bare_spawns(samples));
                let by_socket = self.ours_samples(&self.ours_by_socket, name, samples).await;
                all.entry("2 ours, unix socket")
                    .or_default()
                    .extend(by_socket);
            }
            let ours = self.ours_samples(&self.ours, name, samples).await;
            all.entry("1 ours").or_default().extend(ours);
            let go = self.go_samples(name, samples).await;
            all.entry("3 go").or_default().extend(go);
        }
        for (side, seconds) in &all {
            println!("{name}: {}: samples {seconds:.6?}", &side[2..]);
        }
        print_rows(name, &all);
    }

    async fn ours_samples(&self, client: &HttpBuildlet, name: &str, samples: usize) -> Vec<f64> {
        let mut seconds = Vec::new();
        for _ in 0..samples {
            if name == "push" {
                client.remove_all(&["pushed".to_owned()]).await.unwrap();
            }
            let begin = Instant::now();
            match name {
                "exec" => assert!(
                    client
                        .exec(Exec::new("/bin/true"))
                        .await
                        .unwrap()
                        .outcome()
                        .is_ok()
                ),
                "output" => assert_eq!(count_output(client).await, OUTPUT_BYTES),
                _ => client
                    .put_tar(pieces(&self.archive).await, "pushed")
                    .await
                    .unwrap(),
            }
            seconds.push(begin.elapsed().as_secs_f64());
        }
        seconds
    }

    async fn go_samples(&self, name: &str, samples: usize) -> Vec<f64> {
        if name == "push" {
            self.go.remove_all(&["pushed".to_owned()]).await.unwrap();
        }
        let output = Command::new(&self.driver)
            .args([
                "-addr",
                &self.go_address,
                "-bench",
                name,
                "-samples",
                &samples.to_string(),
            ])
            .arg("-archive")
            .arg(&self.archive)
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| line.parse().unwrap()).collect()
    }
}

fn build_go_programs(dir: &Path) {
    let built = Command::new("go")
        .args(["build", "-o"])
        .arg(format!("{}/", dir.display()))
        .args(["./drivebuildlet", "golang.org/x/build/cmd/buildlet"])
        .current_dir(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../build-server/tests/go"
        ))
        .status();
    assert!(built.expect("a Go toolchain").success());
}

/// The sources of the Go toolchain, as everybody with Go has them.
fn pack_go_sources(dir: &Path) -> PathBuf {
    let root = Command::new("go")
        .args(["env", "GOROOT"])
        .output()
        .unwrap()
        .stdout;
    let archive = dir.join("go-src.tar.gz");
    let packed = Command::new("tar")
        .arg("-C")
        .arg(String::from_utf8(root).unwrap().trim())
        .arg("-czf")
        .arg(&archive)
        .arg("src")
        .status();
    assert!(packed.unwrap().success());
    println!(
        "archive of GOROOT/src: {} bytes",
        archive.metadata().unwrap().len()
    );
    archive
}

fn buildlet(program: &Path, work_dir: &Path, listen: &str) -> Running {
    std::fs::create_dir(work_dir).unwrap();
    let mut command = Command::new(program);
    command
        .arg(format!("--workdir={}", work_dir.display()))
        .arg(format!("--listen={listen}"))
        .arg("--halt=false")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if program.parent() != work_dir.parent() {
        command.arg(format!("--state-dir={}.state", work_dir.display()));
    }
    Running(command.spawn().unwrap())
}

fn free_address() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().to_string()
}

/// A client of a socket is given up for good when nobody listens: waits until somebody does.
fn until_there(socket: &Path) -> HttpBuildlet {
    while std::os::unix::net::UnixStream::connect(socket).is_err() {
        std::thread::sleep(Duration::from_millis(5));
    }
    HttpBuildlet::builder(UnixDial::new(socket)).build()
}

async fn until_ready(client: &HttpBuildlet) {
    while client.status().await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn bare_spawns(samples: usize) -> Vec<f64> {
    let spawn = || {
        let begin = Instant::now();
        let output = Command::new("/bin/true")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success());
        begin.elapsed().as_secs_f64()
    };
    (0..samples).map(|_| spawn()).collect()
}

async fn count_output(client: &HttpBuildlet) -> u64 {
    let exec = Exec::new("/usr/bin/head")
        .arg("-c")
        .arg(OUTPUT_BYTES.to_string())
        .arg("/dev/zero");
    let mut stream = client.stream(exec).await.unwrap();
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

/// One row of Markdown for each side: the smallest, the median and the 90 % sample in
/// milliseconds, and how many times faster than the Go side its median is.
fn print_rows(name: &str, all: &BTreeMap<&str, Vec<f64>>) {
    let go = all
        .get("3 go")
        .map_or(f64::NAN, |seconds| share(seconds, 0.5));
    println!("| measured | side | smallest, ms | median, ms | 90 %, ms | times Go |");
    println!("|---|---|---|---|---|---|");
    for (side, seconds) in all {
        let [smallest, median, most] = [0.0, 0.5, 0.9].map(|part| share(seconds, part));
        println!(
            "| {name} | {} | {:.3} | {:.3} | {:.3} | {:.2} |",
            &side[2..],
            smallest * 1e3,
            median * 1e3,
            most * 1e3,
            go / median
        );
    }
}

/// The sample below which this share of them lies.
fn share(seconds: &[f64], part: f64) -> f64 {
    let mut seconds = seconds.to_vec();
    seconds.sort_by(f64::total_cmp);
    seconds[((seconds.len() - 1) as f64 * part).round() as usize]
}
