//! Machines that register: Go's at our coordinator, ours at Go's.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use build_client::reverse::{CoordinatorDial, Registration, Reverse};
use build_client::transport::Trust;
use build_core::buildlet::{Buildlet, Exec};
use build_core::ids::{BuilderName, HostType};
use build_core::key::{GO_DEVELOPMENT_MASTER, MasterKey};
use build_core::work::Builder;
use build_server::buildlet::{BuildletServer, Config, Ended, Listener};
use build_server::front::{Front, Services};
use build_server::https::{Tls, development};
use build_server::pool::ReversePool;
use build_server::store::Store;
use build_server::supervise::Supervisor;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
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

/// Says to the child in which directory it works, and where the programs are.
const INSIDE: &str = "FARMER_TEST_GO_COORDINATOR";

#[test]
fn our_machines_register_at_the_go_coordinator() {
    let Some(programs) = peers::go2020() else {
        return;
    };
    // Its port is fixed: in a network of its own nobody else has it.
    let output = Command::new("unshare")
        .arg("--net")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "interop::reverse::inside", "--nocapture"])
        .env(INSIDE, programs)
        .output();
    let trouble = match output {
        Ok(output) if output.status.success() => {
            compat::record(
                &programs.join("coordinator"),
                &[compat::Row {
                    direction: "our buildlet, Go coordinator",
                    case: "registers in development mode; a session by Go's gomote: create, put, run, destroy",
                    seen: "the program's output",
                    control: "with a key of another kind: 412 invalid build key",
                }],
            );
            return;
        }
        Ok(output) => format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(error) => format!("unshare: {error}"),
    };
    let is_refused = trouble.contains("unshare: ") || trouble.contains("Operation not permitted");
    let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(is_refused && !in_ci, "{trouble}");
    eprintln!("SKIPPED: no test at the Go coordinator, it needs a network of its own: {trouble}");
}

/// The child, in a network with nothing but loopback.
#[tokio::test(flavor = "multi_thread")]
async fn inside() {
    let Some(programs) = std::env::var_os(INSIDE).map(PathBuf::from) else {
        return;
    };
    let up = Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .status()
        .unwrap();
    assert!(up.success());
    let dir = tempfile::tempdir().unwrap();
    let sources = Command::new("go")
        .args(["list", "-m", "-f", "{{.Dir}}", "golang.org/x/build"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/go2020"))
        .output()
        .unwrap();
    let sources = PathBuf::from(String::from_utf8(sources.stdout).unwrap().trim());
    let mut coordinator = tokio::process::Command::new(programs.join("coordinator"))
        .arg("-mode=dev")
        .current_dir(sources.join("cmd/coordinator"))
        .env("HOME", dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(dir.path().join("log")).unwrap())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    wait_for("it listens", || {
        std::net::TcpStream::connect("127.0.0.1:8119").is_ok()
    })
    .await;

    let dial = Arc::new(CoordinatorDial::new("localhost:8119", &Trust::Anyone).unwrap());
    let wrong = Registration::new(KIND, "bl1", &key().key_of("host-other")).unwrap();
    let (streams, _none) = mpsc::channel(1);
    let refused = Reverse::new(Arc::clone(&dial), wrong)
        .run(streams, |_| {})
        .await;
    let text = refused.chain();
    assert!(
        text.contains("412") && text.contains("invalid build key"),
        "{text}"
    );

    let work = dir.path().join("w");
    std::fs::create_dir(&work).unwrap();
    let config = Config::new(&work, dir.path().join("state"))
        .env([format!("PATH={}", std::env::var("PATH").unwrap())])
        .leasable();
    let server = BuildletServer::open(config).unwrap();
    let (streams, incoming) = mpsc::channel(16);
    let listener = Listener::incoming("localhost:8119", incoming);
    let right = Registration::new(KIND, "bl1", &key().key_of(KIND)).unwrap();
    let machine = Reverse::new(dial, right.with_instance("ab"));
    let gomote = |args: &[&str]| {
        let mut command = tokio::process::Command::new(programs.join("gomote"));
        command
            .arg("-localdev")
            .args(args)
            .env("USER", "tester")
            .env("HOME", dir.path())
            .env("GOROOT", dir.path())
            .kill_on_drop(true);
        async move {
            let output = tokio::time::timeout(PATIENCE, command.output())
                .await
                .unwrap()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            (output.status.success(), text, errors)
        }
    };
    let config = dir.path().join(".config/gomote");
    std::fs::create_dir_all(&config).unwrap();
    std::fs::write(config.join("user-tester.token"), "x").unwrap();
    std::fs::write(dir.path().join("hello"), "#!/bin/sh\necho hello from $0\n").unwrap();
    let session = async {
        let (ok, name, errors) = gomote(&["create", "linux-amd64-localdev"]).await;
        assert!(ok, "{errors}");
        let name = name.trim().to_owned();
        assert_eq!(name, "user-tester-linux-amd64-localdev-0");
        let file = dir.path().join("hello").display().to_string();
        let (ok, _, errors) = gomote(&["put", "-mode=0755", &name, &file, "bin/hello"]).await;
        assert!(ok, "{errors}");
        // The Go coordinator loses the end of short runs now and then: known of it, not of ours.
        let mut last = String::new();
        for _ in 0..5 {
            let (ok, text, errors) = gomote(&["run", &name, "bin/hello"]).await;
            last = format!("{text}{errors}");
            if ok && text.contains("hello from ") {
                break;
            }
        }
        assert!(last.contains("hello from "), "{last}");
        let (ok, _, errors) = gomote(&["destroy", &name]).await;
        assert!(ok, "{errors}");
    };
    tokio::select! {
        // A coordinator may end its machine with the session, before gomote has its answer.
        ended = server.run(vec![listener], CancellationToken::new()) => assert_eq!(ended.unwrap(), Ended::Halted),
        error = machine.run(streams, |_| {}) => panic!("{}", error.chain()),
        ended = tokio::time::timeout(Duration::from_secs(120), session) => ended.expect("the session ends"),
    }
    coordinator.kill().await.unwrap();
}
