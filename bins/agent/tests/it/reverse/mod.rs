//! The real program registers at a coordinator's door, over real TLS.

mod cut;
mod farm;
mod idle;
mod keys;
mod toolchains;
mod updates;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use build_client::testing::{contract, detached_contract};
use build_client::transport::Pin;
use build_core::ErrorKind;
use build_core::buildlet::{Buildlet, Exec, ExecEvent, ExecOutcome};
use build_core::ids::{BuilderName, ExecId, HostType, LeaseId, MachineId, Nonce};
use build_core::key::MasterKey;
use build_core::pool::{Adoption, Lease, LeaseRequest, Pool};
use build_server::front::{Front, Services};
use build_server::https::{Tls, development};
use build_server::pool::{ReversePool, Timing};
use build_server::supervise::Supervisor;
use futures::StreamExt;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::{command, until};

const KIND: &str = "host-linux-test";
const TTL: Duration = Duration::from_secs(60);
/// Longest wait for something that must happen.
const PATIENCE: Duration = Duration::from_secs(60);

fn master() -> MasterKey {
    MasterKey::new("a master key").unwrap()
}

fn quick() -> Timing {
    Timing {
        held: Duration::from_secs(90),
        health: Duration::from_millis(300),
        answer: Duration::from_secs(2),
    }
}

/// A coordinator's door with nothing behind it but machines.
struct Door {
    address: SocketAddr,
    pool: ReversePool,
    stop: CancellationToken,
    tasks: Supervisor,
}

impl Door {
    async fn open(certificates: &Path, address: Option<SocketAddr>, timing: Timing) -> Self {
        let pool = ReversePool::builder(master()).timing(timing).build();
        Self::of(pool, certificates, address).await
    }

    async fn of(pool: ReversePool, certificates: &Path, address: Option<SocketAddr>) -> Self {
        let address = address.unwrap_or(([127, 0, 0, 1], 0).into());
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let made = development(certificates, &[]).unwrap();
        let front = Front::new(Services::new().with_dialect(pool.dialect()));
        let front = front.with_tls(Tls::new(made.certificate().clone()));
        let (stop, tasks) = (CancellationToken::new(), Supervisor::new("door"));
        tasks.spawn("front", front.run(listener, stop.clone()));
        Self {
            address,
            pool,
            stop,
            tasks,
        }
    }

    async fn close(self) {
        self.stop.cancel();
        self.tasks.drain(Duration::from_secs(5)).await.unwrap();
    }
}

async fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = std::time::Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "waited too long until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A machine with the real program; ended when dropped.
struct Agent {
    child: Child,
    dir: Arc<tempfile::TempDir>,
}

impl Agent {
    fn command(dir: &Path, name: &str, coordinator: SocketAddr, certificates: &Path) -> Command {
        std::fs::create_dir_all(dir.join("w")).unwrap();
        let key = dir.join("key");
        std::fs::write(&key, format!("{}\n", master().key_of(KIND))).unwrap();
        let ca = std::fs::read_to_string(certificates.join("ca.pem")).unwrap();
        let mut command = command();
        command
            .args(["-reverse-type", KIND, "-hostname", name, "-halt=false"])
            .arg(format!("-coordinator={coordinator}"))
            .arg(format!("-workdir={}", dir.join("w").display()))
            .arg(format!("--state-dir={}", dir.join("state").display()))
            .arg(format!("--key-file={}", key.display()))
            .arg(format!("--pin={}", Pin::of_pem(&ca).unwrap()))
            .env_remove("HTTPS_PROXY")
            .env_remove("https_proxy");
        command
    }

    fn start_in(
        dir: Arc<tempfile::TempDir>,
        name: &str,
        coordinator: SocketAddr,
        certificates: &Path,
    ) -> Self {
        let mut command = Self::command(dir.path(), name, coordinator, certificates);
        command.arg("--log=warn").stdout(Stdio::null());
        let child = command.stderr(Stdio::inherit()).spawn().unwrap();
        Self { child, dir }
    }

    fn start(name: &str, coordinator: SocketAddr, certificates: &Path) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        Self::start_in(dir, name, coordinator, certificates)
    }

    fn work_file(&self, name: &str) -> PathBuf {
        self.dir.path().join("w").join(name)
    }

    /// No chance to say goodbye.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself. SIGTERM first: so that its commands end too.
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").arg(&pid).status();
        let begin = std::time::Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if begin.elapsed() > Duration::from_secs(10) {
                let _ = self.child.kill();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn request(number: u64, machine: &str) -> LeaseRequest {
    LeaseRequest {
        lease: LeaseId::from_bits(number),
        nonce: Nonce::new(format!("nonce-{number}")).unwrap(),
        machine: MachineId::new(format!("{machine}@{KIND}")).unwrap(),
        host_type: HostType::new(KIND).unwrap(),
        builder: BuilderName::new("linux").unwrap(),
        sandbox: Default::default(),
        network: Default::default(),
        image: None,
        ttl: TTL,
    }
}

async fn follow(buildlet: &dyn Buildlet, id: &ExecId, offset: u64) -> (String, ExecOutcome) {
    let mut stream = buildlet.attach(id, offset).await.unwrap();
    let mut text = Vec::new();
    while let Some(event) = stream.next().await {
        match event.unwrap() {
            ExecEvent::Output(bytes) => text.extend_from_slice(&bytes),
            ExecEvent::Ended(outcome) => return (String::from_utf8(text).unwrap(), outcome),
        }
    }
    panic!("the stream ended before the command did");
}

/// A command that counts to 40 in 2 s.
fn counting(id: &ExecId) -> Exec {
    let line = "for i in $(seq 40); do echo line $i; sleep 0.05; done";
    Exec::shell(line).id(id.clone())
}

fn counted() -> String {
    (1..=40).map(|i| format!("line {i}\n")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_registers_serves_leases_and_comes_back_clean() {
    let certificates = tempfile::tempdir().unwrap();
    let door = Door::open(certificates.path(), None, quick()).await;
    let begin = std::time::Instant::now();
    let agent = Agent::start("box1", door.address, certificates.path());
    wait_for("it is there", || door.pool.connected() == 1).await;
    eprintln!("joined in {:?}", begin.elapsed());
    let machine = &door.pool.machines()[0];
    assert_eq!(machine.id().as_str(), format!("box1@{KIND}"));
    assert!(machine.labels().has("linux"), "its system is a label");
    let lease = door.pool.acquire(&request(1, "box1")).await.unwrap();
    let again = door.pool.acquire(&request(1, "box1")).await.unwrap();
    assert!(Arc::ptr_eq(&lease, &again), "the same lease is the same");
    let other = door.pool.acquire(&request(2, "box1")).await.err().unwrap();
    assert_eq!(other.kind(), ErrorKind::Conflict, "{}", other.chain());
    contract(lease.buildlet()).await;
    detached_contract(lease.buildlet()).await;
    lease.renew(TTL).await.unwrap();
    std::fs::write(agent.work_file("left"), "").unwrap();
    let json = door.pool.reverse_status_json(|_| 3);
    for part in ["\"box1\"", "\"Busy\":", "\"Waiters\":", KIND] {
        assert!(json.contains(part), "{json}");
    }
    let begin = std::time::Instant::now();
    lease.release().await.unwrap();
    lease.release().await.unwrap();
    eprintln!("released in {:?}", begin.elapsed());
    let renewed = lease.renew(TTL).await.unwrap_err();
    assert_eq!(renewed.kind(), ErrorKind::NotFound);
    wait_for("it is back", || door.pool.connected() == 1).await;
    assert!(!agent.work_file("left").exists());
    let second = door.pool.acquire(&request(3, "box1")).await.unwrap();
    let out = second.buildlet().exec(Exec::new("ls")).await.unwrap();
    assert_eq!(out.text(), "gocache\ntmp\n");
    assert_eq!(door.pool.history()[0].registrations, 2);
    drop(agent);
    wait_for("it is gone", || {
        second.buildlet().name().is_empty() || door.pool.connected() == 0
    })
    .await;
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_refused_and_named() {
    let certificates = tempfile::tempdir().unwrap();
    let door = Door::open(certificates.path(), None, quick()).await;
    let first = Agent::start("box1", door.address, certificates.path());
    wait_for("it is there", || door.pool.connected() == 1).await;

    let dir = tempfile::tempdir().unwrap();
    let ended = |change: &dyn Fn(&mut Command)| {
        let mut command = Agent::command(dir.path(), "box2", door.address, certificates.path());
        change(&mut command);
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), text)
    };
    let wrong = dir.path().join("wrong");
    std::fs::write(&wrong, master().key_of("host-other")).unwrap();
    let (code, text) = ended(&|command| {
        command.arg(format!("--key-file={}", wrong.display()));
    });
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("412") && text.contains("invalid build key"),
        "{text}"
    );
    let (code, text) = ended(&|command| {
        command.args(["-hostname=box1", "--reconnect=false"]);
    });
    assert_eq!(code, Some(75), "{text}");
    assert!(
        text.contains("409") && text.contains("from 127.0.0.1"),
        "{text}"
    );
    let (code, text) = ended(&|command| {
        let pin = format!("--pin=sha256:{}", "0".repeat(64));
        command.args([&pin, "--reconnect=false"]);
    });
    assert_eq!(code, Some(75), "{text}");
    assert!(text.contains("UnknownIssuer"), "{text}");

    let refusals = door.pool.refusals();
    assert_eq!(refusals.len(), 2, "{refusals:?}");
    assert_eq!(
        (refusals[0].host.as_str(), refusals[1].host.as_str()),
        ("box2", "box1")
    );
    assert!(
        refusals[1].why.contains("connected already"),
        "{refusals:?}"
    );
    assert!(!format!("{refusals:?}").contains(&master().key_of("host-other")));
    assert_eq!(door.pool.connected(), 1);
    drop(first);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_is_adopted_by_the_next_coordinator_and_no_byte_is_lost() {
    let certificates = tempfile::tempdir().unwrap();
    let door = Door::open(certificates.path(), None, quick()).await;
    let address = door.address;
    let _agent = Agent::start("box1", address, certificates.path());
    wait_for("it is there", || door.pool.connected() == 1).await;
    let lease = door.pool.acquire(&request(1, "box1")).await.unwrap();
    let id = ExecId::new("e1").unwrap();
    lease.buildlet().start(counting(&id)).await.unwrap();
    let mut stream = lease.buildlet().attach(&id, 0).await.unwrap();
    let Some(Ok(ExecEvent::Output(first))) = stream.next().await else {
        panic!("no output")
    };
    let record = lease.record().clone();
    drop((stream, lease));
    door.close().await;

    let door = Door::open(certificates.path(), Some(address), quick()).await;
    let Adoption::Adopted(lease) = door.pool.adopt(&record).await.unwrap() else {
        panic!("gone")
    };
    assert_eq!(door.pool.status()[0].lease.as_ref(), Some(&record.lease));
    let (rest, outcome) = follow(lease.buildlet(), &id, first.len() as u64).await;
    assert_eq!(outcome, ExecOutcome::Ok);
    let all = format!("{}{rest}", String::from_utf8_lossy(&first));
    assert_eq!(all, counted());
    lease.release().await.unwrap();
    // A lease of before, of a life that is over.
    assert!(matches!(
        door.pool.adopt(&record).await.unwrap(),
        Adoption::Gone
    ));
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_was_killed_has_lost_what_it_ran() {
    let certificates = tempfile::tempdir().unwrap();
    let door = Door::open(certificates.path(), None, quick()).await;
    let mut agent = Agent::start("box1", door.address, certificates.path());
    wait_for("it is there", || door.pool.connected() == 1).await;
    let lease = door.pool.acquire(&request(1, "box1")).await.unwrap();
    let id = ExecId::new("e1").unwrap();
    lease.buildlet().start(counting(&id)).await.unwrap();
    agent.kill();
    wait_for("it is missed", || door.pool.connected() == 0).await;
    lease.renew(TTL).await.unwrap();
    let trouble = door.pool.status()[0].trouble.clone();
    assert!(trouble.unwrap().contains("away"));
    let dir = Arc::clone(&agent.dir);
    let _again = Agent::start_in(dir, "box1", door.address, certificates.path());
    wait_for("it is back", || door.pool.connected() == 1).await;
    let error = lease.renew(TTL).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("was started again"), "{error}");
    let attached = lease.buildlet().attach(&id, 0).await.err().unwrap();
    assert!(
        attached.chain().contains("was started again"),
        "{}",
        attached.chain()
    );
    lease.release().await.unwrap();
    door.pool.acquire(&request(2, "box1")).await.unwrap();
    door.close().await;
}

/// A proxy that answers CONNECT, with a password.
async fn proxy(tasks: &Supervisor) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let group = tasks.clone();
    tasks.spawn("proxy", async move {
        loop {
            let (mut near, _) = listener.accept().await.unwrap();
            group.spawn("tunnel", async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(near.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                assert!(
                    head.contains("Proxy-Authorization: Basic dTpwdw=="),
                    "{head}"
                );
                let target = head.split_whitespace().nth(1).unwrap();
                let port = target.rsplit_once(':').unwrap().1;
                let mut far = TcpStream::connect(format!("127.0.0.1:{port}"))
                    .await
                    .unwrap();
                near.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    .await
                    .unwrap();
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_goes_through_a_proxy_where_it_must() {
    let certificates = tempfile::tempdir().unwrap();
    let door = Door::open(certificates.path(), None, quick()).await;
    let tasks = Supervisor::new("proxy");
    let proxy = proxy(&tasks).await;
    let dir = tempfile::tempdir().unwrap();
    // A name that cannot be looked up here.
    let mut command = Agent::command(dir.path(), "box1", door.address, certificates.path());
    command
        .arg(format!("-coordinator=farm.invalid:{}", door.address.port()))
        .env("https_proxy", format!("http://u:pw@{proxy}"))
        .env_remove("no_proxy")
        .env_remove("NO_PROXY")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let child = command.spawn().unwrap();
    let _agent = Agent {
        child,
        dir: Arc::new(dir),
    };
    wait_for("it is there", || door.pool.connected() == 1).await;
    let lease = door.pool.acquire(&request(1, "box1")).await.unwrap();
    let out = lease
        .buildlet()
        .exec(Exec::new("echo").arg("hi"))
        .await
        .unwrap();
    assert_eq!(out.text(), "hi\n");
    let env = lease
        .buildlet()
        .exec(Exec::new("env"))
        .await
        .unwrap()
        .text();
    assert!(!env.contains("GO_BUILD_KEY"), "{env}");
    lease.release().await.unwrap();
    tasks.token().cancel();
    let _ = tasks.drain(Duration::ZERO).await;
    door.close().await;
}

#[test]
fn a_machine_without_a_coordinator_goes_on_trying() {
    let certificates = tempfile::tempdir().unwrap();
    development(certificates.path(), &[]).unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let agent = Agent::start("box1", address, certificates.path());
    let description = agent.dir.path().join("state/buildlet.json");
    until("it runs", || description.exists());
    let text = std::fs::read_to_string(description).unwrap();
    assert!(text.contains(&format!("reverse:{address}")), "{text}");
}

fn lease_of(lease: &Arc<dyn Lease>) -> &LeaseId {
    &lease.record().lease
}
