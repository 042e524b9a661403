//! OpenSSH's own programs against the gateway.

mod agent;
mod attacks;
mod files;
mod of_go;

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use build_core::event::Principal;
use build_server::gomote::Ports;
use build_server::ssh::{Authority, Gateway};
use build_server::who::{Act, Directory, Role};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::*;

/// Whether a program is there. With `CI` set it must be.
pub(super) fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap();
    let found = std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    if !found {
        eprintln!("SKIPPED: there is no {program}");
        assert!(std::env::var_os("CI").is_none(), "there is no {program}");
    }
    found
}

/// How a program ended, and what it said.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    out: Vec<u8>,
    err: String,
}

impl Ran {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).replace("\r\n", "\n")
    }
}

/// A hall with a gateway, and people with keys.
struct Gate {
    hall: Hall,
    pool: ServedPool,
    gateway: Gateway,
    directory: Directory,
    port: u16,
    dir: tempfile::TempDir,
}

impl Gate {
    async fn open(machines: usize) -> Self {
        Self::with(ServedPool::new(machines), machines, false).await
    }

    async fn with(pool: ServedPool, machines: usize, agent: bool) -> Self {
        Self::by_clock(pool, machines, agent, None).await
    }

    async fn by_clock(
        pool: ServedPool,
        machines: usize,
        agent: bool,
        clock: Option<ManualClock>,
    ) -> Self {
        let settings = Settings {
            per_user: machines,
            ports: Ports::only([1024..=u16::MAX]),
            ..Settings::default()
        };
        let doors = Doors {
            clock,
            ..Doors::default()
        };
        let (hall, _) = Hall::open(&pool, Store::memory(), settings, None, doors).await;
        let (dir, directory) = (tempfile::tempdir().unwrap(), Directory::memory());
        let owner = Principal::person("owner");
        for name in ["ann", "bob", "root"] {
            let role = if name == "root" {
                Role::Admin
            } else {
                Role::User
            };
            directory.add_user(&owner, name, role, &[]).unwrap();
        }
        let sessions = hall.gomote.sessions().clone();
        let settings = build_server::ssh::Settings {
            rejection: Duration::from_millis(1),
            strangers: 100,
            agent,
            ..Default::default()
        };
        let gateway = Gateway::open(
            &dir.path().join("ssh"),
            sessions,
            directory.clone(),
            settings,
        );
        let gateway = gateway.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let known = format!("[127.0.0.1]:{port} {}\n", gateway.host_key());
        std::fs::write(dir.path().join("known_hosts"), known).unwrap();
        let serving =
            gateway
                .clone()
                .run(vec![listener], hall.tasks.group("ssh"), hall.stop.clone());
        hall.tasks.spawn("ssh", serving);
        let gate = Self {
            hall,
            pool,
            gateway,
            directory,
            port,
            dir,
        };
        for name in ["ann", "bob", "root", "eve"] {
            gate.keygen(name).await;
            if name != "eve" {
                let key = std::fs::read_to_string(gate.key(name).with_extension("pub")).unwrap();
                gate.directory
                    .add_ssh_key(&owner, name, &key.parse().unwrap())
                    .unwrap();
            }
        }
        gate
    }

    async fn keygen(&self, name: &str) {
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]);
        let made = command.arg(self.key(name)).status().await.unwrap();
        assert!(made.success());
    }

    fn key(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// One of OpenSSH's programs, with the key of somebody and nothing of whoever runs the test.
    fn program(&self, program: &str, user: &str) -> Command {
        let mut command = Command::new(program);
        let known = self.dir.path().join("known_hosts");
        command
            .args(["-F", "/dev/null", "-o", "BatchMode=yes"])
            .args(["-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"])
            .args([
                "-o",
                "StrictHostKeyChecking=yes",
                "-o",
                "GlobalKnownHostsFile=/dev/null",
            ])
            .arg("-o")
            .arg(format!("UserKnownHostsFile={}", known.display()))
            .arg("-i")
            .arg(self.key(user))
            .env_remove("SSH_AUTH_SOCK")
            .kill_on_drop(true);
        command
    }

    fn ssh(&self, user: &str, session: &str, args: &[&str]) -> Command {
        let mut command = self.program("ssh", user);
        command
            .args(["-p", &self.port.to_string()])
            .args(args.iter().take_while(|arg| arg.starts_with('-')))
            .arg(format!("{session}@127.0.0.1"))
            .args(args.iter().skip_while(|arg| arg.starts_with('-')));
        command
    }
}

async fn ran(mut command: Command, input: &[u8]) -> Ran {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
    let feeding = tokio::spawn(async move {
        // A program that does not read it has its reasons.
        let _ = stdin.write_all(&input).await;
    });
    let ended = tokio::time::timeout(SOON, child.wait_with_output()).await;
    let ended = ended.expect("it ends soon").unwrap();
    feeding.abort();
    Ran {
        code: ended.status.code(),
        out: ended.stdout,
        err: String::from_utf8_lossy(&ended.stderr).into_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ssh_runs_commands_and_shells_on_the_machine_of_the_session() {
    if !has("ssh") {
        return;
    }
    let gate = Gate::open(1).await;
    let name = gate.hall.create("ann").await;
    let run = async |args: &[&str], input: &[u8]| ran(gate.ssh("ann", &name, args), input).await;

    let fine = run(&["echo out; echo err >&2; pwd"], b"").await;
    assert_eq!(fine.code, Some(0), "{fine:?}");
    assert!(
        fine.text().starts_with("out\n/") && fine.err == "err\n",
        "{fine:?}"
    );
    assert_eq!(run(&["exit 7"], b"").await.code, Some(7));
    let killed = run(&["kill -TERM $$"], b"").await;
    assert_eq!(killed.code, Some(255), "{killed:?}");
    let unknown = run(&["/nosuch"], b"").await;
    assert_eq!(unknown.code, Some(127), "{unknown:?}");
    let set = run(&["-oSetEnv=LC_X=yes", "echo $LC_X"], b"").await;
    assert_eq!(set.text(), "yes\n", "{set:?}");

    // More than every buffer on the way holds, both ways at once.
    let much: Vec<u8> = (0..24_000_000_u32).map(|n| (n % 251) as u8).collect();
    let back = run(&["cat"], &much).await;
    assert_eq!(
        (back.code, back.out == much),
        (Some(0), true),
        "{}",
        back.err
    );
    // A command that does not read ends all the same.
    let deaf = run(&["exec <&-; echo deaf; exit 3"], &much[..1 << 20]).await;
    assert_eq!(
        (deaf.code, deaf.text().as_str()),
        (Some(3), "deaf\n"),
        "{}",
        deaf.err
    );

    // A shell on a terminal; without one a shell that reads.
    let typed = b"stty size; tty >/dev/null && echo a t\"\"ty; echo $TERM; exit 5\n";
    let mut shell = gate.ssh("ann", &name, &["-tt"]);
    shell.env("TERM", "xterm-farm").env("PS1", "");
    let shell = ran(shell, typed).await;
    assert_eq!(shell.code, Some(5), "{shell:?}");
    let said = shell.text();
    for part in [
        "a tty\n",
        "xterm-farm\n",
        &format!("This is {name}, a machine"),
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let read = run(&[], b"echo $((6*7)); exit 2\n").await;
    assert_eq!(
        (read.code, read.text().as_str()),
        (Some(2), "42\n"),
        "{read:?}"
    );

    // The name as 2020 wants it for a machine that others use afterwards; an admin comes too.
    let mutable = ran(gate.ssh("ann", &format!("mutable-{name}"), &["true"]), b"").await;
    assert_eq!(mutable.code, Some(0), "{mutable:?}");
    assert_eq!(
        ran(gate.ssh("root", &name, &["true"]), b"").await.code,
        Some(0)
    );
    let (events, _) = gate.directory.audit(100).unwrap();
    let came = events.iter().find(|e| e.act == Act::SshConnected).unwrap();
    assert_eq!(came.by, Principal::person("root"));
    assert_eq!(came.object, format!("session {name}"));
    assert!(
        came.text.starts_with("key SHA256:") && came.from.is_some(),
        "{came:?}"
    );
    assert!(events.iter().any(|e| e.act == Act::SshLeft));

    // A key of which a code host says that it is ann's; not one of bob's session.
    let eves = std::fs::read_to_string(gate.key("eve").with_extension("pub")).unwrap();
    let pages = axum::Router::new().route("/ann.keys", axum::routing::get(|| async { eves }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/ann.keys", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, pages).await });
    let denied = ran(gate.ssh("eve", &name, &["true"]), b"").await;
    assert_eq!(denied.code, Some(255), "{denied:?}");
    let owner = Principal::person("owner");
    let added = gate.directory.add_ssh_source(&owner, "ann", &address);
    added.unwrap();
    let hosted = ran(gate.ssh("eve", &name, &["echo hosted"]), b"").await;
    assert_eq!(
        (hosted.code, hosted.text().as_str()),
        (Some(0), "hosted\n"),
        "{hosted:?}"
    );
    gate.directory.remove_ssh_source(&owner, &address).unwrap();
    let denied = ran(gate.ssh("eve", &name, &["true"]), b"").await;
    assert_eq!(denied.code, Some(255), "{denied:?}");

    // When the session ends, whoever is there is told, and cannot come again.
    let mut there = gate.ssh("ann", &name, &["echo ready; exec sleep 1000"]);
    let mut there = there
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = [0; 6];
    let ready = tokio::io::AsyncReadExt::read_exact(there.stdout.as_mut().unwrap(), &mut line);
    tokio::time::timeout(SOON, ready).await.unwrap().unwrap();
    let gone = gate
        .hall
        .ask(to("ann", &name, "POST", "/halt"), Some(b""))
        .await;
    assert_eq!(gone.status, 200);
    let ended = tokio::time::timeout(SOON, there.wait_with_output())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(ended.status.code(), Some(255));
    assert_eq!(run(&["true"], b"").await.code, Some(255));
    assert_eq!(gate.pool.held(), 0);
    gate.hall.stop().await;
}

const AT_ONCE: usize = 50;

#[tokio::test(flavor = "multi_thread")]
async fn many_are_there_at_once() {
    if !has("ssh") {
        return;
    }
    let gate = Gate::open(1).await;
    let name = gate.hall.create("ann").await;
    // Each waits until all are there: a file for each.
    let line = format!(
        "touch here.$$; while [ $(ls here.* | wc -l) -lt {AT_ONCE} ]; do sleep 0.2; done; cat; exit 4"
    );
    let all = (0..AT_ONCE).map(|n| {
        let command = gate.ssh("ann", &name, &[&line]);
        async move { (n, ran(command, n.to_string().as_bytes()).await) }
    });
    for (n, one) in futures::future::join_all(all).await {
        assert_eq!(
            (one.code, one.text()),
            (Some(4), n.to_string()),
            "{}",
            one.err
        );
    }
    gate.hall.stop().await;
}
