//! Many machines that have nothing to do.

use super::*;
use build_client::reverse::{CoordinatorDial, Registration, Reverse};
use build_client::transport::Trust;
use build_core::h1::Limits;
use build_core::h1::ResponseHead;
use build_core::h1::io::Server;
use tokio::sync::mpsc;

/// How many, unless the soak wants more.
const MACHINES: usize = 200;
/// Most bytes of memory of the coordinator for each.
const BYTES: usize = if cfg!(debug_assertions) {
    128 << 10
} else {
    64 << 10
};
/// Says to the child which door it shall crowd.
const CROWD: &str = "FARMER_TEST_CROWD";

/// The soak has ten times as many.
fn machines() -> usize {
    let told = std::env::var("FARMER_IDLE_MACHINES").ok();
    told.map_or(MACHINES, |count| count.parse().unwrap())
}

/// As many descriptors as this takes, whatever the shell allows.
fn allow_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let wanted = 2 * machines() as u64 + 500;
    let now = getrlimit(Resource::Nofile);
    if now.current.is_some_and(|current| current < wanted) {
        let more = Rlimit {
            current: Some(now.maximum.map_or(wanted, |most| most.min(wanted))),
            maximum: now.maximum,
        };
        setrlimit(Resource::Nofile, more).unwrap();
    }
}

/// Machines in a process that ends with the test, however that ends.
struct Crowd(Child);

impl Drop for Crowd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn resident_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = text.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// A machine that says that it is there, and nothing else.
async fn idle(dial: Arc<CoordinatorDial>, name: String) {
    let registration = Registration::new(KIND, &name, &master().key_of(KIND)).unwrap();
    let (streams, mut incoming) = mpsc::channel(8);
    let machine = Reverse::new(dial, registration.with_instance(name));
    let answers = async {
        let tasks = Supervisor::new("machine");
        while let Some(stream) = incoming.recv().await {
            tasks.spawn("answer", async move {
                let mut server = Server::new(stream, Limits::default());
                while let Ok(Some(exchange)) = server.next().await {
                    let head = ResponseHead::new(200).with("Content-Type", "application/json");
                    let body = br#"{"Version":25,"Detached":true,"Leasable":true}"#;
                    if exchange.respond(head, body).await.is_err() {
                        return;
                    }
                }
            });
        }
    };
    tokio::join!(machine.run(streams, |_| {}), answers);
}

/// The other process: the machines.
#[test]
fn crowd() {
    let Ok(address) = std::env::var(CROWD) else {
        return;
    };
    allow_descriptors();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let dial = Arc::new(CoordinatorDial::new(&address, &Trust::Anyone).unwrap());
        let tasks = Supervisor::new("crowd");
        for n in 0..machines() {
            tasks.spawn("machine", idle(Arc::clone(&dial), format!("idle{n}")));
        }
        tasks.idle().await;
    });
}

/// Says to a child that it is alone in its process: other tests would be measured with it.
const ALONE: &str = "FARMER_TEST_ALONE";

#[test]
fn many_idle_machines_cost_little_and_come_back() {
    let alone = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "reverse::idle::door_alone", "--nocapture"])
        .env(ALONE, "yes")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&alone.stderr);
    // The soak reads it.
    println!("{said}");
    assert!(alone.status.success(), "{said}");
    assert!(said.contains("all back in"), "{said}");
}

/// The coordinator, in a process of its own.
#[tokio::test(flavor = "multi_thread")]
async fn door_alone() {
    if std::env::var_os(ALONE).is_none() {
        return;
    }
    allow_descriptors();
    let machines = machines();
    let certificates = tempfile::tempdir().unwrap();
    let timing = Timing {
        health: Duration::from_secs(2),
        ..quick()
    };
    let door = Door::open(certificates.path(), None, timing).await;
    let address = door.address;
    let before = resident_bytes();
    let crowd = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "reverse::idle::crowd", "--nocapture"])
        .env(CROWD, address.to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let crowd = Crowd(crowd);
    wait_for("all are there", || door.pool.connected() == machines).await;
    // Each has been asked for a sign of life at least once more.
    tokio::time::sleep(timing.health * 3 / 2).await;
    assert_eq!(door.pool.connected(), machines);
    let each = resident_bytes().saturating_sub(before) / machines;
    eprintln!("{machines} idle machines: {each} bytes each");
    assert!(each <= BYTES, "{each} bytes each");
    door.close().await;
    let begin = std::time::Instant::now();
    let door = Door::open(certificates.path(), Some(address), timing).await;
    wait_for("all are back", || door.pool.connected() == machines).await;
    eprintln!("all back in {:?}", begin.elapsed());
    drop(crowd);
    door.close().await;
}
