//! The Go project's own programs as judges: its buildlet program is driven by our client, its
//! client library drives our server.
//!
//! Without a Go toolchain the tests say that they were skipped; with `CI=true` that is a
//! failure.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use build_client::testing::contract;
use build_client::{HttpBuildlet, KeyPair, collect};
use build_core::buildlet::{Buildlet, Exec, ExecOutcome};
use build_core::{ErrorKind, Result};
#[cfg(feature = "buildlet-tls")]
use build_server::buildlet::ServerTls;
use build_server::buildlet::{BuildletServer, Config, Ended, Listener};
use tokio_util::sync::CancellationToken;

/// How long a program may take to answer for the first time.
const START_LIMIT: Duration = Duration::from_secs(90);

/// How long the Go client may take for all its calls: a few seconds, and one for each try of ssh.
const DRIVE_LIMIT: Duration = Duration::from_secs(120);

/// The directory of the Go programs, built once; `None` without Go.
fn go_programs() -> Option<&'static Path> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    BUILT.get_or_init(build_go_programs).as_deref()
}

fn build_go_programs() -> Option<PathBuf> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-interop");
    let built = Command::new("go")
        .arg("build")
        .arg("-o")
        .arg(format!("{}/", dir.display()))
        .args(["./drivebuildlet", "golang.org/x/build/cmd/buildlet"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/go"))
        .env("GOFLAGS", "-mod=readonly")
        .stdin(Stdio::null())
        .output();
    let trouble = match built {
        Ok(output) if output.status.success() => return Some(dir),
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => format!("go: {error}"),
    };
    let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(!in_ci, "the Go peers cannot be built: {trouble}");
    eprintln!("SKIPPED: no test against the Go peers, they cannot be built: {trouble}");
    None
}

/// A Go buildlet, ended when dropped.
struct GoBuildlet {
    child: Child,
    address: String,
    dir: tempfile::TempDir,
}

impl GoBuildlet {
    fn start(programs: &Path, pair: Option<&Path>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let address = free_address();
        let mut command = Command::new(programs.join("buildlet"));
        command
            .arg(format!("--workdir={}", dir.path().display()))
            .arg(format!("--listen={address}"))
            .arg("--halt=false")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some(pair) = pair {
            for (key, file) in [
                ("password", "password"),
                ("tls_cert", "cert.pem"),
                ("tls_key", "key.pem"),
            ] {
                command.env(
                    format!("META_{key}"),
                    format!("@{}", pair.join(file).display()),
                );
            }
        }
        let child = command.spawn().unwrap();
        Self {
            child,
            address,
            dir,
        }
    }

    /// Waits until it answers.
    async fn ready(&self, client: &HttpBuildlet) {
        let begin = Instant::now();
        while let Err(error) = client.status().await {
            assert!(
                begin.elapsed() < START_LIMIT,
                "no answer: {}",
                error.chain()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for GoBuildlet {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address that nobody listens on. The Go program cannot tell which port it was given.
fn free_address() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().to_string()
}

/// A key pair made by the Go library.
fn go_key_pair(programs: &Path) -> (tempfile::TempDir, KeyPair) {
    let dir = tempfile::tempdir().unwrap();
    let made = Command::new(programs.join("drivebuildlet"))
        .arg("-new-key-pair")
        .arg(dir.path())
        .status();
    assert!(made.unwrap().success());
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    let pair = KeyPair::from_pem(read("cert.pem"), read("key.pem")).unwrap();
    assert_eq!(
        pair.password(),
        read("password"),
        "both sides make the same password"
    );
    (dir, pair)
}

#[tokio::test]
async fn our_client_drives_the_go_buildlet() {
    let Some(programs) = go_programs() else {
        return;
    };
    let peer = GoBuildlet::start(programs, None);
    let client = HttpBuildlet::direct(&peer.address);
    peer.ready(&client).await;
    contract(&client).await;
    assert_eq!(
        client.work_dir().await.unwrap(),
        peer.dir.path().to_str().unwrap()
    );
    what_old_servers_cannot_do(&client).await.unwrap();
    client.close().await.unwrap();
    record(
        &programs.join("buildlet"),
        "our client, Go buildlet",
        "the contract of a buildlet: files, archives, listings, commands and their ends",
        "all of it",
        "what it cannot do (detached commands) is refused as unsupported",
    );
}

/// Writes a row of docs/compatibility.md down.
fn record(program: &Path, direction: &str, case: &str, seen: &str, control: &str) {
    #[cfg(feature = "https")]
    crate::interop::compat::record(
        program,
        &[crate::interop::compat::Row {
            direction,
            case,
            seen,
            control,
        }],
    );
    #[cfg(not(feature = "https"))]
    let _ = (program, direction, case, seen, control);
}

/// A missing directory cuts the connection; commands cannot be detached.
async fn what_old_servers_cannot_do(client: &HttpBuildlet) -> Result<()> {
    let missing = match client.get_tar("missing").await {
        Ok(stream) => collect(stream).await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(
        missing.kind(),
        ErrorKind::Unavailable,
        "{}",
        missing.chain()
    );
    let detached = Exec::shell("true").id(build_core::ids::ExecId::new("e1")?);
    assert_eq!(
        client.start(detached).await.unwrap_err().kind(),
        ErrorKind::Unsupported
    );
    let done = client.exec(Exec::shell("exit 3")).await?;
    assert_eq!(
        done.outcome(),
        &ExecOutcome::Exit(3),
        "the client still works"
    );
    Ok(())
}

#[tokio::test]
async fn our_client_drives_the_go_buildlet_over_tls() {
    let Some(programs) = go_programs() else {
        return;
    };
    let (dir, pair) = go_key_pair(programs);
    let peer = GoBuildlet::start(programs, Some(dir.path()));
    let client = HttpBuildlet::with_key_pair(&peer.address, &pair).unwrap();
    peer.ready(&client).await;
    contract(&client).await;

    // The right certificate with another password, and the right password for another key.
    let (_, other) = go_key_pair(programs);
    let dial = build_client::transport::TlsDial::new(
        build_client::transport::TcpDial::new(&peer.address),
        pair.pinned_key().unwrap(),
    );
    let stranger = HttpBuildlet::builder(dial)
        .password(other.password())
        .build();
    assert_eq!(
        stranger.status().await.unwrap_err().kind(),
        ErrorKind::Denied
    );
    let deceived = HttpBuildlet::with_key_pair(&peer.address, &other).unwrap();
    let error = deceived.status().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.chain());
    record(
        &programs.join("buildlet"),
        "our client, Go buildlet over TLS with a password",
        "the same contract, with a key pair that the Go library made",
        "all of it",
        "another password is denied, another key is not spoken to",
    );
}

/// What the Go driver must have checked, so that none is lost unnoticed.
const CHECKS: usize = 32;

/// Serves a buildlet of ours in this process and lets the Go client drive it to its end.
async fn drive(programs: &Path, pair: Option<(&Path, &KeyPair)>) {
    let dir = tempfile::tempdir().unwrap();
    let work_dir = dir.path().join("work");
    std::fs::create_dir(&work_dir).unwrap();
    let path = format!("PATH={}", std::env::var("PATH").unwrap());
    let config = Config::new(&work_dir, dir.path().join("state"))
        .env([path])
        .password(pair.map(|(_, pair)| pair.password()));
    let mut listener = Listener::bind(&"127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let address = listener.address();
    let mut command = tokio::process::Command::new(programs.join("drivebuildlet"));
    command
        .arg("-addr")
        .arg(address)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    if let Some((pair_dir, pair)) = pair {
        listener = encrypted(listener, pair);
        command.arg("-key-pair").arg(pair_dir);
    }
    let stop = CancellationToken::new();
    let server = BuildletServer::open(config)
        .unwrap()
        .run(vec![listener], stop.clone());
    let driver = async {
        let driven = command.output().await;
        // A driver that has failed has not ended the server.
        if !driven.as_ref().is_ok_and(|driven| driven.status.success()) {
            stop.cancel();
        }
        driven
    };
    let (ended, driven) = tokio::join!(
        tokio::time::timeout(DRIVE_LIMIT, server),
        tokio::time::timeout(DRIVE_LIMIT, driver),
    );
    let driven = driven.expect("the driver ends in time").unwrap();
    let said = String::from_utf8_lossy(&driven.stdout).into_owned();
    let trouble = String::from_utf8_lossy(&driven.stderr);
    assert!(driven.status.success(), "{said}{trouble}");
    assert_eq!(
        said.lines().filter(|line| line.starts_with("ok ")).count(),
        CHECKS,
        "{said}"
    );
    assert_eq!(
        ended.expect("the last call ends the server").unwrap(),
        Ended::Halted
    );
}

#[cfg(feature = "buildlet-tls")]
fn encrypted(listener: Listener, pair: &KeyPair) -> Listener {
    listener.with_tls(ServerTls::from_pem(pair.cert_pem(), pair.key_pem()).unwrap())
}

#[cfg(not(feature = "buildlet-tls"))]
fn encrypted(_: Listener, _: &KeyPair) -> Listener {
    unreachable!("only asked for with TLS")
}

#[tokio::test]
async fn the_go_client_drives_our_buildlet() {
    let Some(programs) = go_programs() else {
        return;
    };
    drive(programs, None).await;
    record(
        &programs.join("drivebuildlet"),
        "Go client, our buildlet",
        "every call of the client library, 32 checks",
        "all succeed",
        "commands that fail and paths that leave the work directory are errors to it",
    );
}

#[cfg(feature = "buildlet-tls")]
#[tokio::test]
async fn the_go_client_drives_our_buildlet_over_tls() {
    let Some(programs) = go_programs() else {
        return;
    };
    let (dir, pair) = go_key_pair(programs);
    drive(programs, Some((dir.path(), &pair))).await;
    record(
        &programs.join("drivebuildlet"),
        "Go client, our buildlet over TLS with a password",
        "every call of the client library, 32 checks",
        "all succeed",
        "commands that fail and paths that leave the work directory are errors to it",
    );
}
