//! What a build tries against its farm, and what each sandbox level stops of it.
//!
//! `tries.txt` has the tries, `expected.txt` what becomes of each at each level:
//!
//! - `S`: stopped,
//! - `N`: not stopped,
//! - `D`: it changed a private copy that is discarded,
//! - `-`: a program that it needs is not on this machine,
//! - `?`: depends on the machine,
//! - `S6`: stopped where Landlock has scopes, from Linux 6.12 on.
//!
//! With `ESCAPE_TABLE=FILE` in the environment what was seen is written there as a new table.

mod scene;

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use build_core::buildlet::{Exec, ExecEvent, ExecOutcome};
use build_core::plan::{Network, Sandbox};
use build_core::pool::Lease;
use build_server::buildlet::sandbox::Level;
use futures::StreamExt as _;

use scene::{Scene, Try};

/// The columns of the table.
const COLUMNS: [(&str, Sandbox, Network, Level); 4] = [
    ("none", Sandbox::None, Network::Open, Level::None),
    ("user", Sandbox::User, Network::Open, Level::User),
    (
        "namespaces",
        Sandbox::Namespaces,
        Network::Open,
        Level::Namespaces,
    ),
    (
        "offline",
        Sandbox::Namespaces,
        Network::Loopback,
        Level::Namespaces,
    ),
];
/// Without a sandbox at least so many tries succeed, or they are no tries.
const MUST_SUCCEED: usize = 50;
/// No try takes as long.
const PATIENCE: Duration = Duration::from_secs(60);
/// In this directory the test runs again, as an ordinary user.
const AGAIN: &str = "ESCAPE_DIR";
/// Makes a network with the address at which clouds tell machines their secrets, and goes on there.
const OWN_NETWORK: &str = "\
    ip link set lo up && ip addr add 169.254.169.254/32 dev lo && exec \"$0\" \"$@\"";
/// `nobody`, on most machines; any number but root's will do.
const ORDINARY: u32 = 65534;
const NAME: &str = "escape::each_level_stops_what_the_table_says";

#[test]
fn each_level_stops_what_the_table_says() {
    if let Some(dir) = std::env::var_os(AGAIN) {
        let buildlet = Path::new(&dir).join("buildlet");
        return runtime().block_on(check(Path::new(&dir), &buildlet));
    }
    let dir = tempfile::tempdir().unwrap();
    if !rustix::process::geteuid().is_root() {
        let buildlet = Path::new(env!("CARGO_BIN_EXE_buildlet"));
        return runtime().block_on(check(dir.path(), buildlet));
    }
    // Root can do everything: an ordinary user tries.
    let this = std::env::current_exe().unwrap();
    for (from, name) in [
        (Path::new(env!("CARGO_BIN_EXE_buildlet")), "buildlet"),
        (&this, "test"),
    ] {
        std::fs::copy(from, dir.path().join(name)).unwrap();
    }
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    chown(dir.path(), Some(ORDINARY), Some(ORDINARY)).unwrap();
    let tools = dir.path().join(scene::SETUID);
    std::fs::create_dir(tools.parent().unwrap()).unwrap();
    std::fs::copy("/usr/bin/id", &tools).unwrap();
    std::fs::set_permissions(&tools, PermissionsExt::from_mode(0o4755)).unwrap();
    let mut again = as_somebody(&dir.path().join("test"));
    again
        .args(["--exact", NAME, "--nocapture"])
        .env(AGAIN, dir.path());
    again.env("TMPDIR", dir.path()).current_dir(dir.path());
    let ran = again.output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    println!("{said}{}", String::from_utf8_lossy(&ran.stdout));
    assert!(ran.status.success(), "as user {ORDINARY}: {said}");
}

/// A program as an ordinary user, in a network of its own where the address of a cloud's metadata can
/// be given away; without the tools for that in the network of the machine.
fn as_somebody(program: &Path) -> Command {
    let user = [format!("--reuid={ORDINARY}"), format!("--regid={ORDINARY}")];
    let lets = Command::new("unshare")
        .args(["--net", "sh", "-c", OWN_NETWORK, "setpriv"])
        .args(&user)
        .args(["--clear-groups", "true"])
        .status();
    if lets.is_ok_and(|status| status.success()) {
        let mut apart = Command::new("unshare");
        apart.args(["--net", "sh", "-c", OWN_NETWORK, "setpriv"]);
        apart.args(&user).arg("--clear-groups").arg(program);
        return apart;
    }
    eprintln!("SKIPPED: the metadata address needs unshare, ip and setpriv");
    let mut plain = Command::new(program);
    // The standard library drops the groups of root together with its number.
    plain.uid(ORDINARY).gid(ORDINARY);
    plain
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

async fn check(dir: &Path, buildlet: &Path) {
    let tries = Try::all(include_str!("tries.txt"));
    let expected = table(include_str!("expected.txt"));
    let mut seen: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (column, (name, sandbox, network, needed)) in COLUMNS.iter().enumerate() {
        let scene = Scene::set(&dir.join(name), buildlet);
        let available = scene.pool.sandboxes();
        if available.level < *needed {
            eprintln!(
                "SKIPPED: nothing is tried at level {name}: this machine has only {} ({})",
                available.level,
                available.why_not_higher.unwrap_or_default()
            );
            tries
                .iter()
                .for_each(|t| seen.entry(t.name).or_default().push("?".into()));
            continue;
        }
        let other = scene.lease(2, Sandbox::None, Network::Open).await;
        let lease = scene.lease(1, *sandbox, *network).await;
        scene.furnish(&*lease, &*other);
        let mut succeeded = 0;
        for attempt in &tries {
            let outcome = become_of(&scene, &*lease, attempt).await;
            succeeded += usize::from(outcome == "N");
            let wanted = expected
                .get(attempt.name)
                .map_or("missing", |row| row[column]);
            let as_expected = match wanted {
                "?" => true,
                "S6" => outcome == "S" || outcome == "N" && !has_scopes(),
                wanted => wanted == outcome || outcome == "-",
            };
            if !as_expected {
                wrong.push(format!(
                    "{} at {name}: {outcome}, the table says {wanted}",
                    attempt.name
                ));
            }
            seen.entry(attempt.name)
                .or_default()
                .push(outcome.to_owned());
        }
        for held in [lease, other] {
            held.release().await.unwrap();
        }
        scene.pool.close().await.unwrap();
        if *needed == Level::None {
            assert!(
                succeeded >= MUST_SUCCEED,
                "only {succeeded} of {} tries succeed without a sandbox: {seen:?}",
                tries.len()
            );
        }
    }
    if let Some(file) = std::env::var_os("ESCAPE_TABLE") {
        let head = COLUMNS.map(|(name, ..)| name).join(" ");
        let rows = tries
            .iter()
            .map(|t| format!("{} {}\n", t.name, seen[t.name].join(" ")));
        std::fs::write(file, format!("# {head}\n{}", rows.collect::<String>())).unwrap();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn table(text: &'static str) -> BTreeMap<&'static str, Vec<&'static str>> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let rows = lines.filter_map(|line| {
        let mut words = line.split_whitespace();
        Some((words.next()?, words.collect()))
    });
    rows.collect()
}

/// Whether Landlock keeps signals and abstract sockets apart here.
fn has_scopes() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(str::parse::<u32>);
    let mut next = || numbers.next().and_then(Result::ok).unwrap_or_default();
    (next(), next()) >= (6, 12)
}

async fn become_of(scene: &Scene, lease: &dyn Lease, attempt: &Try) -> &'static str {
    if scene.lacks(attempt) {
        eprintln!("SKIPPED: {} needs {}", attempt.name, attempt.tool);
        return "-";
    }
    scene.reset(attempt);
    let variables = scene.variables().into_iter();
    let exec = Exec::new("/bin/sh").arg("-c").arg(&attempt.script);
    let exec = variables.fold(exec, |exec, (name, value)| exec.env(name, &value));
    if attempt.is_bomb() {
        let ran = tokio::time::timeout(PATIENCE, detached(lease, exec.id(scene.next_id())));
        return match ran.await.expect("an end in time") {
            ExecOutcome::Ok => "N",
            // What the kernel gives no more of makes programs fail by themselves.
            ExecOutcome::Limit(_) | ExecOutcome::Exit(_) => "S",
            other => panic!("{}: {other:?}", attempt.name),
        };
    }
    let ran = tokio::time::timeout(PATIENCE, lease.buildlet().exec(exec)).await;
    let ran = ran.expect("an end in time").unwrap();
    match (ran.outcome(), scene.shows(attempt)) {
        (ExecOutcome::Ok, Some(false)) => "D",
        (ExecOutcome::Ok, _) => "N",
        (ExecOutcome::Exit(_) | ExecOutcome::Signal(_), _) => "S",
        (other, _) => panic!("{}: {other:?}: {}", attempt.name, ran.text()),
    }
}

/// Runs a command as the farm runs steps: within limits.
async fn detached(lease: &dyn Lease, exec: Exec) -> ExecOutcome {
    let id = exec.id.clone().unwrap();
    lease.buildlet().start(exec).await.unwrap();
    let mut stream = lease.buildlet().attach(&id, 0).await.unwrap();
    while let Some(event) = stream.next().await {
        if let ExecEvent::Ended(outcome) = event.unwrap() {
            return outcome;
        }
    }
    panic!("the output of {id} ended before it did")
}
