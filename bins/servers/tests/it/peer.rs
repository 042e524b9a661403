//! A server that runs, and requests to it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::program;

/// Nothing in these tests takes this long.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A program of the group that serves; it is ended with the test.
pub(crate) struct Peer {
    child: Child,
    /// Where it listens, each address in the order in which it told them.
    pub(crate) addresses: Vec<String>,
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1);
        let mut pairs = lines.filter_map(|line| line.split_once(": "));
        pairs
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

impl Peer {
    /// Starts a program that tells `listeners` addresses.
    pub(crate) fn start(
        name: &str,
        listeners: usize,
        configure: impl FnOnce(&mut Command),
    ) -> Self {
        let mut command = program(name);
        configure(&mut command);
        command.stderr(Stdio::piped()).stdin(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut addresses = Vec::new();
        let mut told = String::new();
        while addresses.len() < listeners {
            let Some(line) = lines.next() else {
                panic!("{name} has ended: {told}");
            };
            let line = line.unwrap();
            addresses.extend(
                line.split_once("://")
                    .map(|(_, address)| address.trim().to_owned()),
            );
            told.push_str(&line);
        }
        // What it says later must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, addresses }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addresses[0])
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "", b"")
    }

    /// Sends a request with more lines of its head.
    pub(crate) fn ask(&self, method: &str, path: &str, more: &str, body: &[u8]) -> Answer {
        ask(&self.addresses[0], method, path, more, body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// Asks until `good` says so.
    pub(crate) fn wait_for(&self, path: &str, good: impl Fn(&Answer) -> bool) -> Answer {
        let until = Instant::now() + LIMIT;
        loop {
            let answer = self.get(path);
            if good(&answer) {
                return answer;
            }
            assert!(
                Instant::now() < until,
                "{path} still answers {}: {}",
                answer.status,
                answer.text()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([name, &id])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Asks it to end, and answers its exit status.
    pub(crate) fn end(&mut self) -> Option<i32> {
        self.signal("-TERM");
        let until = Instant::now() + LIMIT;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("it does not end");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One request on a connection of its own.
pub(crate) fn ask(
    address: &str,
    method: &str,
    path: &str,
    more: &str,
    body: &[u8],
) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(LIMIT))?;
    let host = if more.to_ascii_lowercase().contains("host: ") {
        String::new()
    } else {
        format!("Host: {address}\r\n")
    };
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\n{host}Connection: close\r\nContent-Length: {}\r\n{more}\r\n",
        body.len()
    )?;
    stream.write_all(body)?;
    let mut all = Vec::new();
    stream.read_to_end(&mut all)?;
    let broken =
        || std::io::Error::other(format!("no answer: {:?}", String::from_utf8_lossy(&all)));
    let split = all
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .ok_or_else(broken)?;
    let head = String::from_utf8_lossy(&all[..split]).into_owned();
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|s| s.parse().ok())
        .ok_or_else(broken)?;
    let mut body = all[split + 4..].to_vec();
    if head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked")
    {
        body = unchunked(&body).ok_or_else(broken)?;
    }
    Ok(Answer { status, head, body })
}

/// The body without its framing; nothing when it was cut off.
fn unchunked(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let end = body.windows(2).position(|w| w == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&body[..end]).ok()?, 16).ok()?;
        if size == 0 {
            return Some(whole);
        }
        whole.extend_from_slice(body.get(end + 2..end + 2 + size)?);
        body = body.get(end + 2 + size + 2..)?;
    }
}

/// Runs git with an author, a time, and no settings of the user.
pub(crate) fn git(dir: &Path, args: &[&str]) -> String {
    let done = Command::new("git")
        .args([
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b",
            "-c",
            "init.defaultBranch=master",
        ])
        .args(args)
        .current_dir(dir)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "git {args:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

/// Whether a program is there; loud when it is not, and a failure on CI.
pub(crate) fn has(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is = std::env::split_paths(&path).any(|dir| dir.join(tool).is_file());
    if !is {
        eprintln!("SKIPPED: {tool} is not installed");
        assert_ne!(
            std::env::var("CI").as_deref(),
            Ok("true"),
            "{tool} must be there on CI"
        );
    }
    is
}
