//! The gomote program of September 2026 against our coordinator, by gRPC. It logs in by the
//! metadata of a cloud machine, for which a server of the test stands.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;

use axum::Router;
use axum::http::header::HeaderName;
use axum::routing::get;
use build_server::ssh::Gateway;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use super::go::{Ran, built, git_tree};
use super::served::ServedPool;
use super::ssh::has;
use super::{BUILDER, Hall, SOON, jwt};
use crate::interop::compat;

/// The program, built once; `None` without Go.
fn program() -> Option<&'static Path> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    BUILT.get_or_init(|| built("gomotenewest")).as_deref()
}

/// What a machine of the Go project's cloud tells its programs: the project, and who they are.
async fn metadata(token: String) -> SocketAddr {
    let told = |text: String| {
        let flavor = HeaderName::from_static("metadata-flavor");
        get(move || async move { ([(flavor, "Google")], text) })
    };
    let accounts = "/computeMetadata/v1/instance/service-accounts/default";
    let pages = Router::new()
        .route(
            "/computeMetadata/v1/project/project-id",
            told("symbolic-datum-552".into()),
        )
        .route(&format!("{accounts}/identity"), told(token));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, pages).await.unwrap() });
    address
}

/// Somebody with Go's program.
struct User {
    home: tempfile::TempDir,
    program: &'static Path,
    server: String,
    metadata: SocketAddr,
    /// What is looked into for programs first.
    shims: PathBuf,
}

impl User {
    async fn new(program: &'static Path, hall: &Hall, token: String) -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("here")).unwrap();
        let shims = home.path().join("shims");
        std::fs::create_dir(&shims).unwrap();
        Self {
            home,
            shims,
            program,
            server: format!("localhost:{}", hall.address.port()),
            metadata: metadata(token).await,
        }
    }

    fn goroot(&self) -> PathBuf {
        self.home.path().join("goroot")
    }

    async fn gomote(&self, args: &[&str]) -> Ran {
        self.gomote_with(args, b"").await
    }

    async fn gomote_with(&self, args: &[&str], input: &[u8]) -> Ran {
        let path = std::env::var_os("PATH").unwrap();
        let path = std::iter::once(self.shims.clone()).chain(std::env::split_paths(&path));
        let path = std::env::join_paths(path).unwrap();
        let mut child = tokio::process::Command::new(self.program)
            .args(["-server", &self.server])
            .args(args)
            .current_dir(self.home.path().join("here"))
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.home.path())
            .env("TMPDIR", self.home.path())
            .env("GOROOT", self.goroot())
            .env("GCE_METADATA_HOST", self.metadata.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).await.unwrap();
        let output = tokio::time::timeout(SOON, child.wait_with_output());
        Ran::of(output.await.expect("it ends soon").unwrap())
    }

    /// The program knows one host for ssh: `ssh` and `scp` go to ours in its place. And it makes
    /// its key with questions to a person: the key is there already.
    fn knows_gateway(&self, gateway: &Gateway, port: u16) {
        let known = self.home.path().join("known_hosts");
        let line = format!("[127.0.0.1]:{port} {}\n", gateway.host_key());
        std::fs::write(&known, line).unwrap();
        for program in ["ssh", "scp"] {
            let script = format!(
                r#"#!/bin/sh
for arg; do
    shift
    case "$arg" in
    2222) arg={port} ;;
    *@gomotessh.golang.org*) arg="${{arg%%@*}}@127.0.0.1${{arg#*golang.org}}" ;;
    esac
    set -- "$@" "$arg"
done
PATH="${{PATH#*:}}"
exec {program} -F /dev/null -o BatchMode=yes -o IdentitiesOnly=yes -o IdentityAgent=none \
    -o UserKnownHostsFile={known} -o GlobalKnownHostsFile=/dev/null "$@"
"#,
                known = known.display()
            );
            let path = self.shims.join(program);
            std::fs::write(&path, script).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(path, mode).unwrap();
        }
        let keys = self.home.path().join(".config/gomote/.ssh");
        std::fs::create_dir_all(&keys).unwrap();
        let mut keygen = std::process::Command::new("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]);
        assert!(
            keygen
                .arg(keys.join("id_ed25519"))
                .status()
                .unwrap()
                .success()
        );
    }

    async fn fine(&self, args: &[&str]) -> Ran {
        let ran = self.gomote(args).await;
        assert_eq!(ran.code, Some(0), "{args:?}: {}", ran.err);
        ran
    }
}

#[tokio::test]
async fn the_newest_program_uses_our_machines() {
    let Some(program) = program() else {
        return;
    };
    let pool = ServedPool::new(1);
    let (hall, gateway, port) = Hall::start_with_ssh(&pool).await;
    let user = User::new(program, &hall, jwt("tester@example.org")).await;
    git_tree(&user.goroot());
    let version = user.goroot().join("src/internal/goversion/goversion.go");
    std::fs::create_dir_all(version.parent().unwrap()).unwrap();
    std::fs::write(version, "package goversion\n\nconst Version = 27\n").unwrap();

    assert_eq!(
        user.fine(&["create", "-list"]).await.text(),
        format!("{BUILDER}\n")
    );
    let created = user.fine(&["create", BUILDER]).await;
    let id = "tester-linux-amd64-localdev-0";
    assert_eq!(created.text(), format!("{id}\n"));
    let unknown = user.gomote(&["create", "nosuch"]).await;
    assert_eq!(unknown.code, Some(1));
    assert!(
        unknown.err.contains("unknown builder type"),
        "{}",
        unknown.err
    );
    let listed = user.fine(&["list"]).await;
    let line = format!("{id}\t{BUILDER}\thost-linux-amd64-localdev\texpires in ");
    assert!(listed.text().starts_with(&line), "{}", listed.text());
    let ping = user.fine(&["ping", id]).await;
    assert!(ping.err.contains(&format!("{id}: alive")), "{}", ping.err);

    let pushed = user.fine(&["push", id]).await;
    assert!(
        pushed.err.contains("Uploading 5 new/changed files"),
        "{}",
        pushed.err
    );
    let again = user.fine(&["push", id]).await;
    assert!(!again.err.contains("Uploading"), "{}", again.err);
    let ls = user.fine(&["ls", "-R", id, "go"]).await;
    assert!(
        ls.text().contains("src/a.go") && !ls.text().contains("x.o"),
        "{}",
        ls.text()
    );
    let made = user.fine(&["run", id, "/bin/cat", "go/VERSION"]).await;
    assert_eq!(made.text(), "go1.27-devel_gomote");

    let script = "echo $A; exit 0";
    let fine = user
        .fine(&["run", "-e", "A=b c", id, "/bin/sh", "-c", script])
        .await;
    assert_eq!(fine.text(), "b c\n");
    let seven = user
        .gomote(&["run", id, "/bin/sh", "-c", "echo out; exit 7"])
        .await;
    assert_eq!((seven.code, seven.text()), (Some(1), "out\n"));
    let said = "command execution failed: exit status 7";
    assert!(seven.err.contains(said), "{}", seven.err);

    let tool = b"#!/bin/sh\necho tool\n";
    let put = user
        .gomote_with(&["put", "-mode=0755", id, "-", "dir/tool"], tool)
        .await;
    assert_eq!(put.code, Some(0), "{}", put.err);
    assert_eq!(user.fine(&["run", id, "dir/tool"]).await.text(), "tool\n");
    user.fine(&["gettar", "-dir=dir", id]).await;
    user.fine(&["puttar", "-dir=copy", id, &format!("{id}.tar.gz")])
        .await;
    assert_eq!(user.fine(&["run", id, "copy/tool"]).await.text(), "tool\n");
    user.fine(&["rm", id, "dir", "copy"]).await;
    assert_eq!(user.gomote(&["ls", id, "copy"]).await.code, Some(1));

    let ssh = ["ssh", "scp", "ssh-keygen"].into_iter().all(has);
    if ssh {
        user.knows_gateway(&gateway, port);
        let echoed = user.fine(&["ssh", id, "echo over ssh; pwd"]).await;
        assert!(echoed.text().contains("\nover ssh\n/"), "{}", echoed.text());
        let seven = user.gomote(&["ssh", id, "exit 7"]).await;
        assert_eq!(seven.code, Some(1));
        assert!(seven.err.contains("exit status 7"), "{}", seven.err);
        std::fs::write(user.home.path().join("here/sent"), "by scp\n").unwrap();
        user.fine(&["scp", "sent", &format!("{id}:sent")]).await;
        assert_eq!(
            user.fine(&["run", id, "/bin/cat", "sent"]).await.text(),
            "by scp\n"
        );
        // Somebody else's session: no certificate, and theirs opens no other door.
        let other = User::new(program, &hall, jwt("other@example.org")).await;
        other.knows_gateway(&gateway, port);
        let refused = other.gomote(&["ssh", id, "true"]).await;
        assert!(
            refused.err.contains("code = PermissionDenied"),
            "{}",
            refused.err
        );
    }

    // With a signature that is not the provider's: the control.
    let forged = jwt("tester@example.org") + "0";
    let stranger = User::new(program, &hall, forged).await;
    let refused = stranger.gomote(&["list"]).await;
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.err.contains("code = Unauthenticated"),
        "{}",
        refused.err
    );

    user.fine(&["destroy", id]).await;
    assert_eq!(user.fine(&["list"]).await.text(), "");
    let dead = user.fine(&["ping", id]).await;
    assert!(dead.err.contains("code = NotFound"), "{}", dead.err);
    compat::record(
        program,
        &[
            compat::Row {
                direction: "Go's gomote of 2026 with OpenSSH, our gateway, our buildlet",
                case: "ssh (0 and 7) and scp, by a certificate of SignSSHKey; ssh and scp rewrite the program's fixed host",
                seen: "the command's output and status; the file arrives",
                control: "somebody else's session: PermissionDenied, no certificate",
            },
            compat::Row {
                direction: "Go's gomote of 2026 by gRPC, our coordinator, our buildlet",
                case: "create (and its list), list, ping, push twice, ls, run (0 and 7), put, gettar, puttar, rm, destroy; login by metadata",
                seen: "every command did what it is documented to do; files went by addresses of ours",
                control: "a forged token: Unauthenticated; an unknown builder: InvalidArgument; a destroyed instance: NotFound",
            },
        ],
    );
    hall.stop().await;
}
