//! The pool of local machines with the real buildlet program.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use build_client::testing::{contract, detached_contract};
use build_core::ErrorKind;
use build_core::buildlet::{Buildlet, Exec, ExecEvent, ExecOutcome};
use build_core::ids::{BuilderName, ExecId, HostType, LeaseId, MachineId, Nonce};
use build_core::plan::{Network, Sandbox};
use build_core::pool::{Adoption, LeaseRequest, Pool};
use build_server::buildlet::sandbox::Level;
use build_server::pool::{LocalPool, LocalPoolBuilder};
use build_server::testing;
use futures::StreamExt;

const TTL: Duration = Duration::from_secs(60);
/// Longest wait for something that must happen.
const PATIENCE: Duration = Duration::from_secs(90);

fn builder(data: &Path, slots: usize) -> LocalPoolBuilder {
    LocalPool::builder(env!("CARGO_BIN_EXE_buildlet"), slots)
        .arguments([] as [&str; 0])
        .data_dir(data)
}

fn pool(data: &Path, slots: usize) -> LocalPool {
    builder(data, slots).build().unwrap()
}

fn request(number: u64) -> LeaseRequest {
    LeaseRequest {
        lease: LeaseId::from_bits(number),
        nonce: Nonce::new(format!("nonce-{number}")).unwrap(),
        machine: MachineId::new(format!("local-{number}")).unwrap(),
        host_type: HostType::new("local").unwrap(),
        builder: BuilderName::new("local").unwrap(),
        sandbox: Default::default(),
        network: Default::default(),
        image: None,
        ttl: TTL,
    }
}

/// Waits until a condition holds, which something else brings about.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "waited too long until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn machine_dirs(data: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(data.join("machines/local")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Processes whose command line has this text in it.
fn processes_with(text: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").unwrap();
    let lines = entries.filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(text)).collect()
}

async fn whole(buildlet: &dyn Buildlet, id: &ExecId, offset: u64) -> (String, ExecOutcome) {
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

#[tokio::test]
async fn a_pool_keeps_its_contract_and_leaves_nothing_behind() {
    let data = tempfile::tempdir().unwrap();
    let first = builder(data.path(), 1).spares(1).build().unwrap();
    testing::pool(&first).await.unwrap();
    let second = pool(data.path(), 1);
    testing::pool_after_restart(&first, &second).await.unwrap();
    first.close().await.unwrap();
    second.close().await.unwrap();
    let left = machine_dirs(data.path());
    assert!(
        left.is_empty(),
        "machines, spares and trash are gone: {left:?}"
    );
}

#[tokio::test]
async fn a_lease_is_a_buildlet_of_its_own_until_it_is_released() {
    let data = tempfile::tempdir().unwrap();
    let pool = builder(data.path(), 2).spares(0).build().unwrap();
    let (one, two) = (
        pool.acquire(&request(1)).await.unwrap(),
        pool.acquire(&request(2)).await.unwrap(),
    );
    contract(one.buildlet()).await;
    detached_contract(two.buildlet()).await;
    let dirs = (
        one.buildlet().work_dir().await.unwrap(),
        two.buildlet().work_dir().await.unwrap(),
    );
    assert_ne!(dirs.0, dirs.1);
    one.renew(TTL).await.unwrap();

    for lease in [one, two] {
        lease.release().await.unwrap();
        lease.release().await.unwrap();
        assert_eq!(
            lease.buildlet().status().await.unwrap_err().kind(),
            ErrorKind::Unavailable
        );
    }
    assert!(!Path::new(&dirs.0).exists() && !Path::new(&dirs.1).exists());
    until("the directories are deleted", || {
        machine_dirs(data.path()).is_empty()
    })
    .await;
    assert_eq!(processes_with(data.path().to_str().unwrap()), [""; 0]);
    pool.close().await.unwrap();
}

#[tokio::test]
async fn acquiring_again_gives_the_same_machine() {
    let data = tempfile::tempdir().unwrap();
    let pool = pool(data.path(), 2);
    let request_one = request(1);
    let (first, second) = tokio::join!(pool.acquire(&request_one), pool.acquire(&request_one));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(first.record(), second.record());

    let same_slot = LeaseRequest {
        machine: request_one.machine.clone(),
        ..request(2)
    };
    let conflict = pool.acquire(&same_slot).await.err().unwrap();
    assert_eq!(conflict.kind(), ErrorKind::Conflict);
    let unknown = pool.acquire(&request(9)).await.err().unwrap();
    assert_eq!(unknown.kind(), ErrorKind::NotFound);

    let held: HashMap<_, _> = pool
        .status()
        .into_iter()
        .map(|status| (status.machine, status.lease))
        .collect();
    assert_eq!(
        held[&request_one.machine].as_ref(),
        Some(&request_one.lease)
    );
    first.release().await.unwrap();
    assert!(pool.status().iter().all(|status| status.lease.is_none()));
    pool.close().await.unwrap();
}

#[tokio::test]
async fn a_command_goes_on_over_the_end_of_its_farm() {
    let data = tempfile::tempdir().unwrap();
    let id = ExecId::new("b1.test.1").unwrap();
    let line = "echo one; while [ ! -e go-on ]; do sleep 0.01; done; echo two; exit 3";
    let exec = Exec::shell(line).id(id.clone());

    let farm = pool(data.path(), 1);
    let lease = farm.acquire(&request(1)).await.unwrap();
    let record = lease.record().clone();
    let started = lease.buildlet().start(exec.clone()).await.unwrap();
    let mut stream = lease.buildlet().attach(&id, 0).await.unwrap();
    assert_eq!(
        stream.next().await.unwrap().unwrap(),
        ExecEvent::Output("one\n".into())
    );
    // As when the process is killed: nothing is released, nothing renewed.
    drop((stream, lease, farm));

    let farm = pool(data.path(), 1);
    let Adoption::Adopted(lease) = farm.adopt(&record).await.unwrap() else {
        panic!("the machine is gone");
    };
    let again = lease.buildlet().start(exec).await.unwrap();
    assert_eq!(
        (again.pid, again.outcome),
        (started.pid, None),
        "the same process goes on"
    );
    lease
        .buildlet()
        .put("go-on", 0o644, build_client::once(""))
        .await
        .unwrap();
    assert_eq!(
        whole(lease.buildlet(), &id, 0).await,
        ("one\ntwo\n".into(), ExecOutcome::Exit(3))
    );
    assert_eq!(
        whole(lease.buildlet(), &id, 4).await,
        ("two\n".into(), ExecOutcome::Exit(3))
    );

    let Adoption::Adopted(same) = farm.adopt(&record).await.unwrap() else {
        panic!("it was just there")
    };
    assert!(Arc::ptr_eq(&lease, &same));
    lease.release().await.unwrap();
    assert!(matches!(farm.adopt(&record).await.unwrap(), Adoption::Gone));
    farm.close().await.unwrap();
}

#[tokio::test]
async fn a_lease_that_was_never_ready_is_found_by_its_name_and_nonce() {
    let data = tempfile::tempdir().unwrap();
    let farm = pool(data.path(), 1);
    let lease = farm.acquire(&request(1)).await.unwrap();
    let mut record = lease.record().clone();
    drop((lease, farm));

    let farm = pool(data.path(), 1);
    record.place = String::new();
    let nonce = std::mem::replace(&mut record.nonce, Nonce::new("another").unwrap());
    assert!(
        matches!(farm.adopt(&record).await.unwrap(), Adoption::Gone),
        "another nonce is another lease"
    );
    record.nonce = nonce;
    let Adoption::Adopted(lease) = farm.adopt(&record).await.unwrap() else {
        panic!("it is gone")
    };
    lease.release().await.unwrap();
    farm.close().await.unwrap();
}

#[tokio::test]
async fn a_dead_machine_is_gone_with_everything_it_had_started() {
    let data = tempfile::tempdir().unwrap();
    // The number finds the daemon in the list of all processes.
    let daemon = format!("sleep 7{}", std::process::id());
    let farm = pool(data.path(), 1);
    let lease = farm.acquire(&request(1)).await.unwrap();
    let record = lease.record().clone();
    let line = format!("setsid sh -c 'exec {daemon}' & echo started; wait");
    lease
        .buildlet()
        .start(Exec::shell(line).id(ExecId::new("e1").unwrap()))
        .await
        .unwrap();
    until("the daemon runs", || {
        processes_with(&daemon)
            .iter()
            .any(|line| line.starts_with("sleep"))
    })
    .await;
    let pid = lease.buildlet().status().await.unwrap().pid.unwrap();
    drop((lease, farm));

    let killed = std::process::Command::new("kill")
        .arg("-9")
        .arg(pid.to_string())
        .status()
        .unwrap();
    assert!(killed.success());
    let farm = pool(data.path(), 1);
    assert!(matches!(farm.adopt(&record).await.unwrap(), Adoption::Gone));
    assert_eq!(
        processes_with(&daemon),
        [""; 0],
        "the daemon was ended before"
    );
    farm.close().await.unwrap();
}

#[tokio::test]
async fn pools_of_several_kinds_share_a_directory() {
    let data = tempfile::tempdir().unwrap();
    let local = pool(data.path(), 1);
    let other = builder(data.path(), 1)
        .host_type(HostType::new("other").unwrap())
        .build()
        .unwrap();
    let lease = local.acquire(&request(1)).await.unwrap();
    let of_other = LeaseRequest {
        machine: MachineId::new("other-1").unwrap(),
        ..request(2)
    };
    // Each has swept its place, and has a spare ready, when it has one more machine than leases.
    for (pool, name) in [(&local, "local"), (&other, "other")] {
        pool.machines();
        let place = data.path().join("machines").join(name);
        let place = place.to_str().unwrap().to_owned();
        let wanted = usize::from(name == "local") + 1;
        until("a spare is ready", || {
            processes_with(&place).len() == wanted
        })
        .await;
    }
    let second = other.acquire(&of_other).await.unwrap();
    for lease in [lease, second] {
        lease.buildlet().status().await.unwrap();
        lease.release().await.unwrap();
    }
    local.close().await.unwrap();
    other.close().await.unwrap();
}

#[tokio::test]
async fn what_nobody_renews_or_keeps_ends_by_itself() {
    let data = tempfile::tempdir().unwrap();
    let place = data.path().to_str().unwrap().to_owned();
    let farm = pool(data.path(), 2);
    let short = LeaseRequest {
        ttl: Duration::from_secs(1),
        ..request(1)
    };
    let lease = farm.acquire(&short).await.unwrap();
    until("a spare is ready", || processes_with(&place).len() > 1).await;
    drop((lease, farm));
    until("spares and the lease have ended", || {
        processes_with(&place).is_empty()
    })
    .await;

    let farm = pool(data.path(), 2);
    farm.machines();
    let unbound = |dir: &PathBuf| !dir.join("lease.json").exists();
    until("what was left is swept away", || {
        machine_dirs(data.path()).iter().all(unbound)
    })
    .await;
    farm.close().await.unwrap();
}

#[tokio::test]
async fn builds_see_tools_and_no_credentials() {
    let data = tempfile::tempdir().unwrap();
    let user = tempfile::tempdir().unwrap();
    for file in [
        ".ssh/id_ed25519",
        ".cargo/credentials.toml",
        ".cargo/registry/cached",
        ".netrc",
    ] {
        let path = user.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
    }
    let vars = [
        ("PATH", "/usr/bin:/bin"),
        ("HOME", user.path().to_str().unwrap()),
        ("SSH_AUTH_SOCK", "/tmp/agent"),
        ("GITHUB_TOKEN", "secret"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
    ];
    let vars = vars.map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let pool = builder(data.path(), 1).env(vars).build().unwrap();
    let lease = pool.acquire(&request(1)).await.unwrap();
    let seen = lease
        .buildlet()
        .exec(Exec::new("/usr/bin/env"))
        .await
        .unwrap()
        .text();
    for secret in ["SSH_AUTH_SOCK", "GITHUB_TOKEN", "AWS_", "secret", "nonce"] {
        assert!(!seen.contains(secret), "{secret} in {seen}");
    }
    assert!(seen.contains("PATH=/usr/bin:/bin"), "{seen}");
    let line =
        "cd; ls .cargo/registry; ls -A; test -e .ssh -o -e .netrc -o -e .cargo/credentials.toml";
    let home = lease.buildlet().exec(Exec::shell(line)).await.unwrap();
    assert_eq!(
        (home.outcome(), home.text().lines().next()),
        (&ExecOutcome::Exit(1), Some("cached")),
        "{}",
        home.text()
    );
    lease.release().await.unwrap();
    pool.close().await.unwrap();
}

#[tokio::test]
async fn a_program_that_is_no_buildlet_is_an_error_with_its_last_words() {
    let data = tempfile::tempdir().unwrap();
    let pool = LocalPool::builder("/bin/ls", 1)
        .spares(0)
        .data_dir(data.path())
        .build()
        .unwrap();
    let error = pool.acquire(&request(1)).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.chain().contains("buildlet"), "{}", error.chain());
    assert!(pool.status()[0].trouble.is_some());
    let missing = LocalPool::builder("/no/such/program", 1)
        .spares(0)
        .data_dir(data.path())
        .build()
        .unwrap();
    let error = missing.acquire(&request(1)).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{}", error.chain());
}

/// A step that asks for something this machine has, or else is refused.
fn asking(number: u64, sandbox: Sandbox, network: Network) -> LeaseRequest {
    LeaseRequest {
        sandbox,
        network,
        ..request(number)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_machine_does_not_have_is_refused_with_a_sentence() {
    let data = tempfile::tempdir().unwrap();
    // A program that is no launcher: no level but none is there.
    let wrapper = data.path().join("wrapper");
    let script = format!(
        "#!/bin/sh\ncase $1 in sandbox-*) exit 1;; esac\nexec {} \"$@\"\n",
        env!("CARGO_BIN_EXE_buildlet")
    );
    std::fs::write(&wrapper, script).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&wrapper, mode).unwrap();
    let pool = LocalPool::builder(&wrapper, 1)
        .arguments([] as [&str; 0])
        .data_dir(data.path().join("d"))
        .sandbox(Sandbox::Auto)
        .build()
        .unwrap();
    for refused in [
        asking(1, Sandbox::Namespaces, Network::Open),
        asking(1, Sandbox::Auto, Network::Closed),
        asking(1, Sandbox::None, Network::Loopback),
    ] {
        let error = pool.acquire(&refused).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let text = error.to_string();
        assert!(text.contains("needs sandbox level"), "{text}");
        assert!(text.contains("this machine is \"none\""), "{text}");
    }
    let lease = pool.acquire(&asking(1, Sandbox::Auto, Network::Open)).await;
    let lease = lease.unwrap();
    let ran = lease
        .buildlet()
        .exec(Exec::shell("echo runs"))
        .await
        .unwrap();
    assert_eq!(ran.text(), "runs\n");
    assert_eq!(pool.status()[0].sandbox.as_deref(), Some("none"));
    lease.release().await.unwrap();
    pool.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_end_behind_a_fence_as_they_do_without_one() {
    let data = tempfile::tempdir().unwrap();
    let pool = builder(data.path(), 1)
        .sandbox(Sandbox::Auto)
        .build()
        .unwrap();
    let highest = pool.sandboxes();
    for (sandbox, level) in [
        (Sandbox::User, Level::User),
        (Sandbox::Namespaces, Level::Namespaces),
    ] {
        if highest.level < level {
            let why = highest.why_not_higher.as_deref().unwrap_or_default();
            eprintln!("SKIPPED: level {level} is not on this machine: {why}");
            continue;
        }
        let lease = pool
            .acquire(&asking(1, sandbox, Network::Open))
            .await
            .unwrap();
        let run = async |exec: Exec| lease.buildlet().exec(exec).await.unwrap();
        for (line, outcome) in [
            ("true", ExecOutcome::Ok),
            ("exit 7", ExecOutcome::Exit(7)),
            ("exit 125", ExecOutcome::Exit(125)),
            ("exit 200", ExecOutcome::Exit(200)),
            ("kill -KILL $$", ExecOutcome::Signal("killed".into())),
            (
                "echo >>/dev/null; echo x >work; cat work >/dev/null",
                ExecOutcome::Ok,
            ),
            (
                "test \"$X\" = \"a b\" && test \"$PWD\" = \"$HERE\"",
                ExecOutcome::Ok,
            ),
        ] {
            let work = data
                .path()
                .join("machines/local")
                .join(&lease.record().place)
                .join("work");
            let exec = Exec::shell(line)
                .env("X", "a b")
                .env("HERE", work.to_str().unwrap());
            assert_eq!(run(exec).await.outcome(), &outcome, "{line} at {level}");
        }
        let missing = run(Exec::new("/no/such/program")).await;
        let words = "fork/exec /no/such/program: no such file or directory";
        assert_eq!(
            missing.outcome(),
            &ExecOutcome::NotStarted(words.into()),
            "{level}"
        );
        // What a build sets reaches the command and not what starts it.
        let preload = Exec::shell("echo $LD_PRELOAD").env("LD_PRELOAD", "/no/such.so");
        assert!(run(preload).await.text().ends_with("/no/such.so\n"));
        lease.release().await.unwrap();
    }
    pool.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_of_ones_own_has_loopback_or_nothing() {
    let data = tempfile::tempdir().unwrap();
    let pool = builder(data.path(), 1)
        .sandbox(Sandbox::Auto)
        .build()
        .unwrap();
    if pool.sandboxes().level < Level::Namespaces {
        eprintln!(
            "SKIPPED: no namespaces on this machine: {:?}",
            pool.sandboxes()
        );
        return;
    }
    let own = "import socket; s = socket.create_server(('127.0.0.1', 0)); socket.create_connection(s.getsockname(), 5)";
    if std::process::Command::new("python3")
        .args(["-c", own])
        .status()
        .is_err()
    {
        eprintln!("SKIPPED: python3 is not on PATH");
        return;
    }
    for (network, answers) in [(Network::Loopback, true), (Network::Closed, false)] {
        let lease = pool
            .acquire(&asking(1, Sandbox::Auto, network))
            .await
            .unwrap();
        let exec = Exec::shell(format!("python3 -c \"{own}\""));
        let ran = lease.buildlet().exec(exec).await.unwrap();
        assert_eq!(
            ran.outcome().is_ok(),
            answers,
            "{network:?}: {}",
            ran.text()
        );
        lease.release().await.unwrap();
    }
    // A later step on the same machine asks for more than the first.
    let lease = pool.acquire(&asking(1, Sandbox::None, Network::Open)).await;
    let lease = lease.unwrap();
    for (network, answers) in [(Network::Open, true), (Network::Closed, false)] {
        let mut exec = Exec::shell(format!("python3 -c \"{own}\""));
        exec.network = network;
        let ran = lease.buildlet().exec(exec).await.unwrap();
        assert_eq!(
            ran.outcome().is_ok(),
            answers,
            "{network:?}: {}",
            ran.text()
        );
    }
    lease.release().await.unwrap();
    pool.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_that_a_tree_shares_counts_once() {
    let data = tempfile::tempdir().unwrap();
    let pool = builder(data.path(), 1)
        .sandbox(Sandbox::Auto)
        .build()
        .unwrap();
    let lease = pool.acquire(&asking(1, Sandbox::None, Network::Open)).await;
    let lease = lease.unwrap();
    let limit = ExecOutcome::Limit("memory of 40000000 bytes".into());
    // Two processes with the same 18 MB are below a limit of 40 MB, one with 60 MB is not.
    let shared = |megabytes: u32| {
        format!(
            "python3 -c \"
import mmap, os, time
m = mmap.mmap(-1, {megabytes} << 20)
for _ in range({megabytes}): m.write(b'x' * (1 << 20))
if os.fork() == 0: m.seek(0); all(m.read(1 << 20) for _ in range({megabytes}))
time.sleep(1.2)\""
        )
    };
    let run = async |id: &str, line: &str, sandbox| {
        let id = ExecId::new(id).unwrap();
        let mut exec = Exec::shell(line).id(id.clone());
        exec.memory_bytes = Some(40_000_000);
        exec.sandbox = sandbox;
        lease.buildlet().start(exec).await.unwrap();
        whole(lease.buildlet(), &id, 0).await.1
    };
    if std::process::Command::new("python3")
        .arg("--version")
        .output()
        .is_ok()
    {
        assert_eq!(run("a", &shared(18), Sandbox::None).await, ExecOutcome::Ok);
        assert_eq!(run("b", &shared(60), Sandbox::None).await, limit);
    } else {
        eprintln!("SKIPPED: python3 is not on PATH");
        assert!(std::env::var_os("CI").is_none(), "python3 is not on PATH");
    }
    if pool.sandboxes().level >= Level::Namespaces {
        let files = "head -c 60000000 /dev/zero >/dev/shm/x && sleep 10";
        assert_eq!(run("c", files, Sandbox::Namespaces).await, limit);
    } else {
        eprintln!(
            "SKIPPED: no namespaces on this machine: {:?}",
            pool.sandboxes()
        );
    }
    lease.release().await.unwrap();
    pool.close().await.unwrap();
}
