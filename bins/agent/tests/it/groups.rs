//! Control groups of the kernel itself: a farm in a group that was delegated to it.
//!
//! Only a machine with memory and processes in control groups of version 2, and a user who may make
//! groups, has what this needs. Everywhere else it says so: the protocol of the files is tested with
//! directories that stand for groups.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use build_core::buildlet::{Exec, ExecEvent, ExecOutcome};
use build_core::ids::{BuilderName, ExecId, HostType, LeaseId, MachineId, Nonce};
use build_core::pool::{LeaseRequest, Pool as _};
use build_server::buildlet::sandbox::Bounds;
use build_server::pool::{Keeper, LocalPool};
use futures::StreamExt as _;

/// Where systems mount control groups of version 2.
const ROOTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
/// In this group the test runs again.
const AGAIN: &str = "GROUPS_DIR";
const NAME: &str = "groups::the_kernel_bounds_commands_where_groups_are_delegated";
const PATIENCE: Duration = Duration::from_secs(60);

/// A new group that hands nothing on, as a service has it; `Err` says why there is none.
fn delegated() -> Result<PathBuf, String> {
    let has_both = |dir: &&&str| {
        let text = fs::read_to_string(Path::new(dir).join("cgroup.controllers"));
        text.is_ok_and(|text| text.contains("memory") && text.contains("pids"))
    };
    let root = ROOTS.iter().find(has_both);
    let root = Path::new(root.ok_or("the kernel has no such controllers for control groups")?);
    let hand_on = fs::write(root.join("cgroup.subtree_control"), "+memory +pids");
    hand_on.map_err(|error| format!("control groups are not this user's: {error}"))?;
    let dir = root.join(format!("farmer-test-{}", std::process::id()));
    fs::create_dir(&dir).map_err(|error| format!("no control group can be made: {error}"))?;
    Ok(dir)
}

#[test]
fn the_kernel_bounds_commands_where_groups_are_delegated() {
    if std::env::var_os(AGAIN).is_some() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        return runtime.block_on(bounded());
    }
    let dir = match delegated() {
        Ok(dir) => dir,
        Err(why) => return eprintln!("SKIPPED: commands in control groups: {why}"),
    };
    let script = "echo $$ >\"$GROUPS_DIR/cgroup.procs\" && exec \"$0\" \"$@\"";
    let ran = Command::new("sh")
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env(AGAIN, &dir)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    // Everything in it has ended: only empty groups can be removed.
    for group in [dir.join("farm"), dir] {
        let _gone = fs::remove_dir(group);
    }
    assert!(ran.status.success(), "{said}");
}

async fn bounded() {
    let data = tempfile::tempdir().unwrap();
    let bounds = Bounds::default().with_memory(64 << 20).with_processes(40);
    let pool = LocalPool::builder(env!("CARGO_BIN_EXE_buildlet"), 1)
        .arguments([] as [&str; 0])
        .data_dir(data.path())
        .bounds(bounds)
        .spares(0)
        .build()
        .unwrap();
    let request = LeaseRequest {
        lease: LeaseId::from_bits(1),
        nonce: Nonce::new("nonce").unwrap(),
        machine: MachineId::new("local-1").unwrap(),
        host_type: HostType::new("local").unwrap(),
        builder: BuilderName::new("local").unwrap(),
        sandbox: Default::default(),
        network: Default::default(),
        image: None,
        ttl: PATIENCE,
    };
    let lease = pool.acquire(&request).await.unwrap();
    let limits = pool.limits();
    let kept = (limits.memory, limits.processes);
    assert_eq!(kept, (Keeper::Groups, Keeper::Groups), "{limits:?}");
    let run = async |id: &str, line: &str| {
        let id = ExecId::new(id).unwrap();
        let buildlet = lease.buildlet();
        let exec = Exec::shell(line).id(id.clone());
        buildlet.start(exec).await.unwrap();
        let mut stream = buildlet.attach(&id, 0).await.unwrap();
        while let Some(event) = stream.next().await {
            if let ExecEvent::Ended(outcome) = event.unwrap() {
                return outcome;
            }
        }
        panic!("the output of {id} ended before it did")
    };
    assert_eq!(run("small", "echo hello").await, ExecOutcome::Ok);
    let memory = run(
        "memory",
        "head -c 200000000 /dev/zero | tail -c 150000000 | wc -c; exit 1",
    );
    assert_eq!(
        memory.await,
        ExecOutcome::Limit(format!("memory of {} bytes", 64 << 20))
    );
    let forks = "for n in $(seq 200); do sleep 2 & done; wait";
    let forks = run("forks", forks).await;
    assert_eq!(forks, ExecOutcome::Limit("40 processes".into()));
    let machine = Path::new(&std::env::var_os(AGAIN).unwrap()).join(&lease.record().place);
    assert!(machine.is_dir(), "a machine has a group");
    lease.release().await.unwrap();
    assert!(!machine.exists(), "and it goes with it");
    pool.close().await.unwrap();
}
