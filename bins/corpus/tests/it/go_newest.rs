//! The Go project's newest `maintnerd` as a peer, which keeps its log in Google Cloud Storage alone
//! where it shows it: our follower, our `maintq` and our daemon at it. `.ci/stores.py go` builds it,
//! starts a server that stands for Google's, and runs this.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use crate::go_peers::made_git::{self, isolate};
use crate::go_peers::{PATIENCE, flag, home_with_project, maintq};
use crate::maintnerd::Served;

const WATCH: &str = "-watch-gerrit=go.googlesource.com/build";

/// The server that stands for Google's, the Go program, a bucket of this run's, and a home.
struct World {
    server: String,
    program: String,
    bucket: String,
    home: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let named = |name: &str| {
            std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: .ci/stores.py go"))
        };
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let bucket = format!("go-{}", since.unwrap().as_nanos());
        let server = named("MAINTNER_TEST_GCS");
        let made = Command::new("curl")
            .args(["--silent", "--show-error", "--fail", "-H"])
            .args(["content-type: application/json", "--data"])
            .arg(format!("{{\"name\":\"{bucket}\"}}"))
            .arg(format!("{server}/storage/v1/b?project=p"))
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        let home = tempfile::tempdir().unwrap();
        let credentials = "{\"type\":\"authorized_user\",\"client_id\":\"x\",\"client_secret\":\"y\",\"refresh_token\":\"z\"}";
        std::fs::write(home.path().join("adc.json"), credentials).unwrap();
        Self {
            server,
            program: named("MAINTNER_TEST_GO_MAINTNERD"),
            bucket,
            home,
        }
    }

    fn host(&self) -> &str {
        self.server.strip_prefix("http://").unwrap()
    }

    /// The Go program with its data in the folder of this name.
    fn go(&self, data: &str, args: &[&str]) -> Command {
        let data = self.home.path().join(data);
        std::fs::create_dir_all(&data).unwrap();
        let mut command = Command::new(&self.program);
        command.args(args).arg(flag("data-dir", &data));
        isolate(&mut command, self.home.path());
        command.env("STORAGE_EMULATOR_HOST", self.host()).env(
            "GOOGLE_APPLICATION_CREDENTIALS",
            self.home.path().join("adc.json"),
        );
        command
    }

    fn dump(&self, of: &Path) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_farmer-corpus"));
        command.args(["maintq", "dump"]).arg(of);
        // What is followed is kept there.
        command.env("XDG_CACHE_HOME", self.home.path().join("cache"));
        made_git::run(&mut command)
    }
}

/// A daemon of Go's that answers; ended with the test.
struct Daemon {
    child: std::process::Child,
    logs: String,
    grpc: String,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("localhost:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Until the text at a URL has this in it.
fn until(url: &str, wanted: &str) {
    let begun = std::time::Instant::now();
    loop {
        let got = Command::new("curl")
            .args(["--silent", url])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&got.stdout).into_owned();
        if text.contains(wanted) {
            return;
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "{url} has no {wanted:?}: {text}"
        );
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

impl World {
    fn daemon(&self) -> Daemon {
        let (port, tls) = (free_port(), free_port());
        let bucket = format!("-bucket={}", self.bucket);
        let listen = format!("-listen-http=localhost:{port}");
        let encrypted = format!("-listen-https-selfsigned=localhost:{tls}");
        let mut command = self.go("daemon", &[&bucket, &listen, &encrypted, WATCH, "-verbose"]);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let logs = format!("http://localhost:{port}/logs");
        let daemon = Daemon {
            child,
            logs,
            grpc: format!("-server=localhost:{tls}"),
        };
        until(&daemon.logs, "\"sha224\"");
        daemon
    }

    /// Ours, which shows what somebody else writes into the bucket.
    fn reader(&self) -> Served {
        let bucket = format!("-bucket={}", self.bucket);
        let data = flag("data-dir", &self.home.path().join("reader"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_farmer-corpus"));
        command.env("STORAGE_EMULATOR_HOST", self.host());
        Served::start(command, &[&data, &bucket, "-generate-mutations=false"])
    }
}

#[test]
#[ignore = "needs servers: python3 .ci/stores.py go"]
fn our_follower_our_maintq_and_our_daemon_read_what_the_newest_go_daemon_writes() {
    let world = World::new();
    let home = world.home.path();
    let git = home_with_project(home);
    made_git::run(&mut world.go("by-go", &["-sync-and-quit", WATCH]));
    let bucket = format!("-bucket={}", world.bucket);
    made_git::run(&mut world.go("by-go", &["-migrate-disk-to-gcs", &bucket]));
    let written = world.dump(&home.join("by-go"));
    assert!(written.contains("refs/tags/v1.0.0"), "{written}");

    // From the bucket, where Go's program has put it.
    let reader = world.reader();
    reader.until("/logs", "\"sha224\"");
    assert_eq!(world.dump(&home.join("reader")), written);
    // From the daemon, over HTTP, and what is asked of it.
    let daemon = world.daemon();
    let logs = Path::new(&daemon.logs);
    assert_eq!(world.dump(logs), written);
    let ours = Path::new(env!("CARGO_BIN_EXE_farmer-corpus"));
    let head = git.run(&["rev-parse", "HEAD"]);
    let root = git.run(&["rev-list", "--max-parents=0", "HEAD"]);
    let ask = |args: &[&str]| maintq(ours, &["maintq", &daemon.grpc], args);
    assert_eq!(
        ask(&["get-ref", "build", "refs/heads/master"]),
        (true, head.clone())
    );
    let (good, said) = ask(&["has-ancestor", &head, &root]);
    assert!(good && said.contains("has_ancestor:true"), "{said}");
    let (good, _) = ask(&["get-ref", "none", "HEAD"]);
    assert!(!good);
    drop(daemon);

    // What it adds to its log is seen too; the bucket gets it after some minutes only.
    git.commit("README", b"hello again\n", "later\n");
    let daemon = world.daemon();
    let begun = std::time::Instant::now();
    let later = loop {
        let dump = world.dump(Path::new(&daemon.logs));
        if dump != written {
            break dump;
        }
        assert!(begun.elapsed() < PATIENCE, "the commit is not seen");
        std::thread::sleep(std::time::Duration::from_millis(100));
    };
    let head = git.run(&["rev-parse", "HEAD"]);
    assert!(later.contains(&head), "{later}");
}
