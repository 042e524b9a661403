//! The gomote program of December 2020 against our coordinator. It knows one development
//! coordinator, `localhost:8119`: it runs in a network of its own in which that address leads
//! to ours.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use tokio::net::{TcpStream, UnixListener};

use super::served::ServedPool;
use super::{BUILDER, Hall, master};
use crate::interop::compat;

/// Leads 127.0.0.1:8119 to a unix socket while a command runs, and ends as that does.
const FORWARD: &str = r#"
import socket, subprocess, sys, threading
server = socket.create_server(("127.0.0.1", 8119))
def pump(a, b):
    try:
        while data := a.recv(65536):
            b.sendall(data)
        b.shutdown(socket.SHUT_WR)
    except OSError:
        pass
def accept():
    while True:
        near, _ = server.accept()
        far = socket.socket(socket.AF_UNIX)
        far.connect(sys.argv[1])
        threading.Thread(target=pump, args=(near, far), daemon=True).start()
        threading.Thread(target=pump, args=(far, near), daemon=True).start()
threading.Thread(target=accept, daemon=True).start()
sys.exit(subprocess.run(sys.argv[2:]).returncode)
"#;

/// The program, built once; `None` without Go.
fn program() -> Option<&'static Path> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    BUILT.get_or_init(|| built("gomote2020")).as_deref()
}

/// Builds the gomote that a module of the tests requires.
pub(super) fn built(module: &str) -> Option<PathBuf> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(module);
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(module);
    let built = Command::new("go")
        .arg("build")
        .arg("-o")
        .arg(format!("{}/", dir.display()))
        .arg("golang.org/x/build/cmd/gomote")
        .current_dir(sources)
        .env("GOFLAGS", "-mod=readonly")
        .stdin(Stdio::null())
        .output();
    match built {
        Ok(output) if output.status.success() => Some(dir.join("gomote")),
        Ok(output) => skipped(&String::from_utf8_lossy(&output.stderr)),
        Err(error) => skipped(&format!("go: {error}")),
    }
}

pub(super) fn skipped<T>(why: &str) -> Option<T> {
    let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(!in_ci, "no test against Go's gomote: {why}");
    eprintln!("SKIPPED: no test against Go's gomote: {why}");
    None
}

/// Whether a network of its own can be had here.
fn has_networks() -> bool {
    let tried = Command::new("unshare")
        .args(["-rn", "sh", "-c", "ip link set lo up && python3 -c ''"])
        .output();
    match tried {
        Ok(output) if output.status.success() => true,
        Ok(output) => skipped::<()>(&String::from_utf8_lossy(&output.stderr)).is_some(),
        Err(error) => skipped::<()>(&format!("unshare: {error}")).is_some(),
    }
}

pub(super) struct Ran {
    pub(super) code: Option<i32>,
    out: Vec<u8>,
    pub(super) err: String,
}

impl Ran {
    pub(super) fn of(output: std::process::Output) -> Self {
        Self {
            code: output.status.code(),
            out: output.stdout,
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.out).unwrap()
    }
}

/// Somebody with Go's program.
struct User {
    home: tempfile::TempDir,
    program: &'static Path,
}

impl User {
    fn new(program: &'static Path, token: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let config = home.path().join(".config/gomote");
        std::fs::create_dir_all(&config).unwrap();
        std::fs::write(config.join("user-tester.token"), format!("{token}\n")).unwrap();
        Self { home, program }
    }

    fn goroot(&self) -> PathBuf {
        self.home.path().join("goroot")
    }

    async fn gomote(&self, args: &[&str]) -> Ran {
        self.gomote_with(args, b"").await
    }

    async fn gomote_with(&self, args: &[&str], input: &[u8]) -> Ran {
        use tokio::io::AsyncWriteExt as _;
        let line = "ip link set lo up && exec python3 -c \"$0\" \"$@\"";
        let mut child = tokio::process::Command::new("unshare")
            .args(["-rn", "sh", "-c", line, FORWARD])
            .arg(self.home.path().join("socket"))
            .arg(self.program)
            .arg("-localdev")
            .args(args)
            .current_dir(self.goroot())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.home.path())
            .env(
                "PYENV_ROOT",
                std::env::var_os("PYENV_ROOT").unwrap_or_default(),
            )
            .env("USER", "tester")
            .env("GOROOT", self.goroot())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).await.unwrap();
        let output = tokio::time::timeout(super::SOON, child.wait_with_output());
        Ran::of(output.await.expect("it ends soon").unwrap())
    }
}

/// Leads connections to the socket on to the coordinator.
async fn lead(socket: PathBuf, to: std::net::SocketAddr) {
    let listener = UnixListener::bind(socket).unwrap();
    loop {
        let (mut near, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let mut far = TcpStream::connect(to).await.unwrap();
            // Either side may end it at any time.
            let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        });
    }
}

pub(super) fn git_tree(root: &Path) {
    for (name, text) in [
        ("src/a.go", "package a\n"),
        ("src/b.go", "package b\n"),
        (".gitignore", "*.o\n"),
        ("src/x.o", "object"),
    ] {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    crate::farm::git_in(root, &["init", "--quiet"]);
}

#[tokio::test]
async fn the_program_of_2020_uses_our_machines() {
    let Some(program) = program().filter(|_| has_networks()) else {
        return;
    };
    let pool = ServedPool::new(2);
    let hall = Hall::start(&pool).await;
    let user = User::new(program, &master().key_of("user-tester"));
    git_tree(&user.goroot());
    let leading = tokio::spawn(lead(user.home.path().join("socket"), hall.address));

    let created = user.gomote(&["create", BUILDER]).await;
    assert_eq!(created.code, Some(0), "{}", created.err);
    let name = "user-tester-linux-amd64-localdev-0";
    assert_eq!(created.text(), format!("{name}\n"));
    let unknown = user.gomote(&["create", "nosuch"]).await;
    assert_eq!(unknown.code, Some(1));
    assert!(
        unknown
            .err
            .contains("unknown builder type in 'builderType' parameter"),
        "{}",
        unknown.err
    );
    let listed = user.gomote(&["list"]).await;
    assert!(
        listed.text().starts_with(&format!(
            "{name}\t{BUILDER}\thost-linux-amd64-localdev\texpires in "
        )),
        "{}",
        listed.text()
    );

    let ping = user.gomote(&["ping", "-status", name]).await;
    assert!(
        ping.code == Some(0) && ping.text().contains("workdir: /"),
        "{}",
        ping.err
    );
    let pushed = user.gomote(&["push", name]).await;
    assert_eq!(pushed.code, Some(0), "{}", pushed.err);
    let again = user.gomote(&["push", name]).await;
    assert!(
        again.code == Some(0) && !again.err.contains("Uploading"),
        "{}",
        again.err
    );
    let ls = user.gomote(&["ls", "-R", name, "go"]).await;
    assert!(
        ls.text().contains("src/a.go") && !ls.text().contains("x.o"),
        "{}",
        ls.text()
    );

    let fine = user
        .gomote(&[
            "run",
            "-e",
            "A=b c",
            name,
            "/bin/sh",
            "-c",
            "echo $A; exit 0",
        ])
        .await;
    assert_eq!((fine.code, fine.text()), (Some(0), "b c\n"), "{}", fine.err);
    let seven = user
        .gomote(&["run", name, "/bin/sh", "-c", "echo out; exit 7"])
        .await;
    assert_eq!((seven.code, seven.text()), (Some(1), "out\n"));
    assert!(seven.err.contains("exit status 7"), "{}", seven.err);
    // The peer's own fault of losing the state of short runs is not ours.
    for n in 0..10 {
        let short = user.gomote(&["run", name, "/bin/true"]).await;
        assert_eq!(short.code, Some(0), "{n}: {}", short.err);
    }

    let put = user
        .gomote_with(
            &["put", "-mode=0755", name, "-", "dir/tool"],
            b"#!/bin/sh\necho tool\n",
        )
        .await;
    assert_eq!(put.code, Some(0), "{}", put.err);
    let tool = user.gomote(&["run", name, "dir/tool"]).await;
    assert_eq!(tool.text(), "tool\n");
    let tgz = user.gomote(&["gettar", "-dir=dir", name]).await;
    assert_eq!(tgz.code, Some(0), "{}", tgz.err);
    let back = user
        .gomote_with(&["puttar", "-dir=copy", name], &tgz.out)
        .await;
    assert_eq!(back.code, Some(0), "{}", back.err);
    let copied = user.gomote(&["run", name, "copy/tool"]).await;
    assert_eq!(copied.text(), "tool\n");
    let rm = user.gomote(&["rm", name, "dir", "copy"]).await;
    assert_eq!(rm.code, Some(0), "{}", rm.err);
    let gone = user.gomote(&["ls", name, "copy"]).await;
    assert_eq!(gone.code, Some(1));

    // Without the token of the user: the control.
    let stranger = User::new(program, "x");
    std::fs::create_dir_all(stranger.goroot()).unwrap();
    let other = tokio::spawn(lead(stranger.home.path().join("socket"), hall.address));
    let refused = stranger.gomote(&["list"]).await;
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.err.contains("bad username or password"),
        "{}",
        refused.err
    );

    let destroyed = user.gomote(&["destroy", name]).await;
    assert_eq!(destroyed.code, Some(0), "{}", destroyed.err);
    assert_eq!(user.gomote(&["list"]).await.text(), "");
    leading.abort();
    other.abort();
    compat::record(
        program,
        &[compat::Row {
            direction: "Go's gomote, our coordinator, our buildlet",
            case: "create, list, ping, push twice, ls, run (0 and 7, ten short ones), put, gettar, puttar, rm, destroy",
            seen: "every command did what it does against Go's coordinator; no state of a run was lost",
            control: "a wrong token: 401; an unknown builder: 400",
        }],
    );
    hall.stop().await;
}
