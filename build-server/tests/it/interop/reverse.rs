//! Machines of the Go project that register at our coordinator.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use build_core::buildlet::{Buildlet, Exec};
use build_core::ids::{BuilderName, HostType};
use build_core::key::{GO_DEVELOPMENT_MASTER, MasterKey};
use build_core::work::Builder;
use build_server::front::{Front, Services};
use build_server::https::{Tls, development};
use build_server::pool::ReversePool;
use build_server::store::Store;
use build_server::supervise::Supervisor;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{compat, peers};
use crate::farm::{FakePool, Farm, Repository, Steps, step, whole};

const KIND: &str = "host-linux-amd64-localdev";
const PATIENCE: Duration = Duration::from_secs(60);

fn key() -> MasterKey {
    MasterKey::new(GO_DEVELOPMENT_MASTER).unwrap()
}

async fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "waited too long until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

struct Door {
    address: SocketAddr,
    stop: CancellationToken,
    tasks: Supervisor,
}

impl Door {
    async fn open(pool: &ReversePool) -> Self {
        let certificates = tempfile::tempdir().unwrap();
        let made = development(certificates.path(), &[]).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let front = Front::new(Services::new().with_dialect(pool.dialect()));
        let front = front.with_tls(Tls::new(made.certificate().clone()));
        let (stop, tasks) = (CancellationToken::new(), Supervisor::new("door"));
        tasks.spawn("front", front.run(listener, stop.clone()));
        Self {
            address,
            stop,
            tasks,
        }
    }

    async fn close(self) {
        self.stop.cancel();
        self.tasks.drain(Duration::from_secs(5)).await.unwrap();
    }
}

/// A Go buildlet with whoever starts it again; ended when dropped.
struct GoMachine {
    child: Child,
    _dir: tempfile::TempDir,
}

impl GoMachine {
    fn start(program: &Path, address: SocketAddr, name: &str, kind: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let work = dir.path().join("w");
        std::fs::create_dir(&work).unwrap();
        // `localhost`, so that the name in the handshake is the odd one that Go sends.
        let line = format!(
            "while :; do {} -coordinator=localhost:{} -reverse-type={kind} -hostname={name} \
             -halt=false -workdir={}; sleep 0.1; done",
            program.display(),
            address.port(),
            work.display()
        );
        let mut command = Command::new("setsid");
        command.args(["sh", "-c", &line]).env("HOME", dir.path());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Self {
            child: command.spawn().unwrap(),
            _dir: dir,
        }
    }
}

impl Drop for GoMachine {
    fn drop(&mut self) {
        // It leads a group of its own.
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill")
            .args(["-s", "KILL", "--", &group])
            .status();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn go_machines_register_and_run_builds_and_sessions() {
    let Some(programs) = peers::go2020() else {
        return;
    };
    let program = programs.join("buildlet");
    let pool = ReversePool::builder(key()).build();
    let door = Door::open(&pool).await;
    let machine = GoMachine::start(&program, door.address, "bl1", KIND);
    wait_for("it has registered", || pool.connected() == 1).await;
    let status = pool.reverse_status(|_| 0);
    assert_eq!(status.host_types[KIND].machines["bl1"].version, "25");

    let line = "echo one; cat file; echo $FARMER_STEP; test -d .";
    let steps = Steps(vec![step("test", line), step("fails", "echo no; exit 3")]);
    let builder = Builder::new(
        BuilderName::new("go").unwrap(),
        HostType::new(KIND).unwrap(),
    );
    let farm = Farm::start_with(&FakePool::new(0), Store::memory(), steps, |parts| {
        parts.pool(pool.clone()).build_on(builder)
    });
    let repository = Repository::with_file("file", "contents\n");
    let built = farm.build(&repository).await;
    let log = farm.log(&built.id, &whole("test")).await;
    assert_eq!(log, "one\ncontents\ntest\n");
    assert_eq!(farm.log(&built.id, &whole("fails")).await, "no\n");
    assert!(!built.passed());
    wait_for("it was started again", || {
        pool.history()[0].registrations > 1 && pool.connected() == 1
    })
    .await;

    let session = farm.handle.create("go").await.unwrap();
    let out = session.exec(Exec::new("echo").arg("hello")).await.unwrap();
    assert_eq!(out.text(), "hello\n");
    session
        .put("a/b", 0o755, build_client::once("#!/bin/sh\necho b\n"))
        .await
        .unwrap();
    let out = session.exec(Exec::in_work_dir("a/b")).await.unwrap();
    assert_eq!(out.text(), "b\n");
    session.close().await.unwrap();
    farm.stop().await;

    // The same program with a key that is not of its kind.
    let stranger = ReversePool::builder(MasterKey::new("another").unwrap()).build();
    let other = Door::open(&stranger).await;
    let _wrong = GoMachine::start(&program, other.address, "bl2", KIND);
    wait_for("it is refused", || !stranger.refusals().is_empty()).await;
    let refused = &stranger.refusals()[0];
    assert_eq!((refused.host.as_str(), stranger.connected()), ("bl2", 0));
    compat::record(
        &program,
        &[
            compat::Row {
                direction: "Go buildlet, our coordinator",
                case: "registers over TLS with the odd server name, and again after each use",
                seen: "version 25 under its host name",
                control: "with a key of another master: 412, named among the refused",
            },
            compat::Row {
                direction: "Go buildlet, our coordinator",
                case: "a build of two steps, and a session",
                seen: "output and exit states as on our own machines",
                control: "the step that exits with 3 fails the build",
            },
        ],
    );
    drop(machine);
    other.close().await;
    door.close().await;
}
