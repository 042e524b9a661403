//! The buildlet in the process of the test, driven request by request; and by our client.
//!
//! What needs a process of its own (orphans, signals, memory) is tested with the program.

mod archives;
mod commands;
mod detached;
mod files;
mod links;
mod machine;

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use build_client::HttpBuildlet;
use build_client::transport::UnixDial;
use build_core::h1::io::{Body as _, Client, Response};
use build_core::h1::{Headers, Limits, RequestHead};
use build_core::ids::Nonce;
use build_server::buildlet::{Address, BuildletServer, Config, Ended, Error, Listener};
use build_server::supervise::{Supervisor, Task};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

/// Nothing in these tests takes this long.
const LIMIT: Duration = Duration::from_secs(60);

/// A running buildlet and its directories.
struct Peer {
    dir: tempfile::TempDir,
    stop: CancellationToken,
    running: Task<Result<Ended, Error>>,
}

/// An answer, read to its end.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: Headers,
    body: Vec<u8>,
    trailers: Headers,
}

impl Answer {
    async fn read(mut response: Response<'_, UnixStream>) -> Self {
        let body = response.read_all(1 << 30).await.unwrap().to_vec();
        Self {
            status: response.status(),
            headers: response.head().headers().clone(),
            body,
            trailers: response.trailers().clone(),
        }
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn refusal(&self) -> (u16, &str) {
        assert_eq!(
            self.headers.get_str("Content-Type"),
            Some("text/plain; charset=utf-8")
        );
        assert_eq!(
            self.headers.get_str("X-Content-Type-Options"),
            Some("nosniff")
        );
        (self.status, self.text().strip_suffix('\n').unwrap())
    }

    fn state(&self) -> &str {
        self.trailers.get_str("Process-State").unwrap()
    }

    fn json(&self) -> serde_json::Value {
        assert_eq!(self.status, 200, "{}", self.text());
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl Peer {
    async fn start() -> Self {
        Self::with(|config| config).await
    }

    async fn with(change: impl FnOnce(Config) -> Config) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("w")).unwrap();
        Self::resume(dir, change).await
    }

    /// A buildlet in the directories of an earlier one.
    async fn resume(dir: tempfile::TempDir, change: impl FnOnce(Config) -> Config) -> Self {
        let path = std::env::var("PATH").unwrap();
        let config = Config::new(dir.path().join("w"), dir.path().join("state"))
            .env([format!("PATH={path}"), "API_TOKEN=hidden".into()]);
        let server = BuildletServer::open(change(config)).unwrap();
        let address: Address = format!("unix:{}", socket(dir.path()).display())
            .parse()
            .unwrap();
        let listener = Listener::bind(&address).await.unwrap();
        let stop = CancellationToken::new();
        let running =
            Supervisor::new("test").spawn("buildlet", server.run(vec![listener], stop.clone()));
        Self { dir, stop, running }
    }

    fn work_dir(&self) -> PathBuf {
        self.dir.path().join("w").canonicalize().unwrap()
    }

    fn client(&self) -> HttpBuildlet {
        HttpBuildlet::builder(UnixDial::new(socket(self.dir.path()))).build()
    }

    /// Sends a request on a connection of its own and reads the answer.
    async fn ask(&self, head: RequestHead, body: &[u8]) -> Answer {
        let io = UnixStream::connect(socket(self.dir.path())).await.unwrap();
        tokio::time::timeout(LIMIT, ask(io, head, body))
            .await
            .unwrap()
    }

    async fn get(&self, target: &str) -> Answer {
        self.ask(RequestHead::new("GET", target), b"").await
    }

    async fn put(&self, target: &str, body: &[u8]) -> Answer {
        self.ask(RequestHead::new("PUT", target), body).await
    }

    async fn post(&self, target: &str, form: &str) -> Answer {
        let kind = "application/x-www-form-urlencoded";
        self.ask(
            RequestHead::new("POST", target).with("Content-Type", kind),
            form.as_bytes(),
        )
        .await
    }

    /// Runs a line of shell by `/exec`.
    async fn shell(&self, line: &str) -> Answer {
        self.post("/exec", &shell_form(line)).await
    }

    async fn end(self) -> (Ended, tempfile::TempDir) {
        self.stop.cancel();
        (self.running.await.unwrap().unwrap(), self.dir)
    }
}

fn socket(dir: &Path) -> PathBuf {
    dir.join("s")
}

async fn ask(io: UnixStream, head: RequestHead, body: &[u8]) -> Answer {
    let mut client = Client::new(io, Limits::default());
    Answer::read(client.send(&head, Some(body)).await.unwrap()).await
}

fn shell_form(line: &str) -> String {
    let form = build_core::buildlet::Form::new();
    let form = form
        .with("cmd", "/bin/sh")
        .with("mode", "sys")
        .with("cmdArg", "-c")
        .with("cmdArg", line);
    form.encode()
}

/// Waits for something that happens without anybody telling.
async fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !happened() {
        assert!(begin.elapsed() < LIMIT, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
    stat.is_ok_and(|stat| !stat.rsplit(')').next().unwrap().starts_with(" Z"))
}
