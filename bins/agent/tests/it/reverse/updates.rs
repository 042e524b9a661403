//! A machine that keeps its program equal to the one that its coordinator has.

use axum::Router;
use build_server::programs::{Programs, file_name};
use sha2::{Digest as _, Sha256};

use super::*;

/// A door with programs behind it.
async fn open(pool: ReversePool, programs: Router, certificates: &Path) -> Door {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let made = development(certificates, &[]).unwrap();
    let services = Services::new()
        .with_dialect(pool.dialect())
        .with_pages(programs);
    let front = Front::new(services).with_tls(Tls::new(made.certificate().clone()));
    let (stop, tasks) = (CancellationToken::new(), Supervisor::new("door"));
    tasks.spawn("front", front.run(listener, stop.clone()));
    Door {
        address,
        pool,
        stop,
        tasks,
    }
}

/// A machine with a program of its own, which may be replaced.
fn start(own: &Path, door: &Door, certificates: &Path) -> Agent {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let usual = Agent::command(dir.path(), "box1", door.address, certificates);
    let mut command = Command::new(own);
    command
        .args(usual.get_args())
        .args(["--self-update=buildlet", "--log=warn"])
        .env_remove("HTTPS_PROXY")
        .env_remove("https_proxy")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let child = loop {
        match command.spawn() {
            // Another test has started a process while the program was written.
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(Duration::from_millis(5));
            }
            spawned => break spawned.unwrap(),
        }
    };
    Agent { child, dir }
}

fn sum_of(path: &Path) -> Vec<u8> {
    Sha256::digest(std::fs::read(path).unwrap()).to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_updates_itself_and_goes_back_when_the_new_program_is_not_good() {
    let (certificates, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let own = dir.path().join("buildlet");
    let offers = dir.path().join("offers");
    std::fs::create_dir(&offers).unwrap();
    // Without its symbols: it is sent through TLS that is not optimised.
    let stripped = Command::new("strip")
        .arg("-o")
        .args([own.as_os_str(), env!("CARGO_BIN_EXE_buildlet").as_ref()])
        .status()
        .unwrap();
    assert!(stripped.success());
    let first = sum_of(&own);
    // The same program, which looks different: nothing reads what is behind its end.
    let offered = offers.join(file_name("buildlet"));
    let mut newer = std::fs::read(&own).unwrap();
    newer.extend_from_slice(b"newer");
    std::fs::write(&offered, &newer).unwrap();
    let programs = Programs::new(Some(offers.clone())).router();
    let pool = || ReversePool::builder(master()).timing(quick()).build();

    let door = open(pool(), programs, certificates.path()).await;
    let agent = start(&own, &door, certificates.path());
    wait_for("it is there", || door.pool.connected() == 1).await;
    assert_eq!(sum_of(&own), sum_of(&offered), "it is the offered one now");
    assert_eq!(sum_of(&dir.path().join("buildlet.old")), first);
    let running = format!("/proc/{}/exe", agent.child.id());
    assert_eq!(sum_of(Path::new(&running)), sum_of(&offered), "and it runs");
    let lease = door.pool.acquire(&request(1, "box1")).await.unwrap();
    let out = lease.buildlet().exec(Exec::new("echo").arg("hi")).await;
    assert_eq!(out.unwrap().text(), "hi\n");

    // One that does not register is not taken, and is not tried again. Between two uses.
    std::fs::remove_file(&offered).unwrap();
    std::fs::write(&offered, "#!/bin/sh\nexit 3\n").unwrap();
    let (good, bad) = (sum_of(&own), hex::encode(sum_of(&offered)));
    lease.release().await.unwrap();
    let refused = dir.path().join("buildlet.refused");
    wait_for("it was tried", || refused.exists()).await;
    wait_for("it is back", || door.pool.connected() == 1).await;
    assert_eq!(std::fs::read_to_string(&refused).unwrap().trim(), bad);
    assert_eq!(sum_of(&own), good, "it goes on as it was");
    assert!(!dir.path().join("buildlet.new").exists());
    drop(agent);
    door.close().await;

    // One that is not what was promised is not even started.
    let list = serde_json::json!({"programs": [{
        "file": file_name("buildlet"), "bytes": 1000, "sha256": "0".repeat(64),
    }]});
    let witness = dir.path().join("witness");
    let script = format!("#!/bin/sh\ntouch {}\n", witness.display());
    let lying = Router::new()
        .route(
            "/programs",
            axum::routing::get(move || async move { list.to_string() }),
        )
        .fallback(move || async move { script });
    let door = open(pool(), lying, certificates.path()).await;
    let agent = start(&own, &door, certificates.path());
    wait_for("it is there", || door.pool.connected() == 1).await;
    assert_eq!(sum_of(&own), good);
    assert!(!witness.exists() && !dir.path().join("buildlet.new").exists());
    drop(agent);
    door.close().await;
}
