//! The gomote program of September 2026 against our coordinator, by gRPC. It logs in by the
//! metadata of a cloud machine, for which a server of the test stands.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use axum::Router;
use axum::http::header::HeaderName;
use axum::routing::get;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use super::go::{Ran, git_tree, skipped};
use super::served::ServedPool;
use super::{BUILDER, Hall, SOON, jwt};
use crate::interop::compat;

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gomotenewest");

/// The program, built once; `None` without Go.
fn program() -> Option<&'static Path> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    BUILT.get_or_init(build).as_deref()
}

fn build() -> Option<PathBuf> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gomotenewest");
    let built = Command::new("go")
        .arg("build")
        .arg("-o")
        .arg(format!("{}/", dir.display()))
        .arg("golang.org/x/build/cmd/gomote")
        .current_dir(SOURCES)
        .env("GOFLAGS", "-mod=readonly")
        .stdin(Stdio::null())
        .output();
    match built {
        Ok(output) if output.status.success() => Some(dir.join("gomote")),
        Ok(output) => skipped(&String::from_utf8_lossy(&output.stderr)),
        Err(error) => skipped(&format!("go: {error}")),
    }
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
}

impl User {
    async fn new(program: &'static Path, hall: &Hall, token: String) -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("here")).unwrap();
        Self {
            home,
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
        let mut child = tokio::process::Command::new(self.program)
            .args(["-server", &self.server])
            .args(args)
            .current_dir(self.home.path().join("here"))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
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
    let hall = Hall::start(&pool).await;
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
        &[compat::Row {
            direction: "Go's gomote of 2026 by gRPC, our coordinator, our buildlet",
            case: "create (and its list), list, ping, push twice, ls, run (0 and 7), put, gettar, puttar, rm, destroy; login by metadata",
            seen: "every command did what it is documented to do; files went by addresses of ours",
            control: "a forged token: Unauthenticated; an unknown builder: InvalidArgument; a destroyed instance: NotFound",
        }],
    );
    hall.stop().await;
}
