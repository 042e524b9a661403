//! What other users of the machine see: nothing, whatever the umask; and no password anywhere.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::processes::{below, wait_until};
use crate::repo::{Repo, Run, git_in};
use crate::up::SOON;

/// A password that must be nowhere.
const SECRET: &str = "hunter2secret";

/// Files and directories below one.
fn all_below(dir: &Path) -> Vec<PathBuf> {
    let (mut found, mut dirs) = (vec![dir.to_owned()], vec![dir.to_owned()]);
    while let Some(dir) = dirs.pop() {
        for entry in dir.read_dir().into_iter().flatten().flatten() {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                dirs.push(entry.path());
            }
            if kind.is_dir() || kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    found
}

/// Whether a file of the data directory is one of git or of a machine's own work, where the umask counts
/// (docs/gaps.md); nobody else gets there.
fn has_own_umask(data: &Path, path: &Path) -> bool {
    let below = path.strip_prefix(data).unwrap();
    let first = below.iter().next();
    first.is_some_and(|top| {
        ["git", "machines", "tool-caches"]
            .iter()
            .any(|name| top == *name)
    })
}

#[test]
fn files_are_their_owners_alone_whatever_the_umask() {
    let repo = Repo::new();
    let config = "[[step]]\nname = \"x\"\ncache = [\"c\"]\nartifacts = [\"out\"]\n\
                  run = \"mkdir -p c; echo 1 >c/kept; echo 2 >out; echo said\"\n";
    repo.write(".farmer.toml", config).commit("first");
    let script = "umask 000; exec \"$0\" build";
    let mut command = Command::new("sh");
    let farmer = repo.farmer();
    let set = farmer
        .get_envs()
        .filter_map(|(name, value)| Some((name, value?)));
    command
        .envs(set)
        .current_dir(repo.path())
        .stdin(Stdio::null());
    command
        .args(["-c", script])
        .arg(env!("CARGO_BIN_EXE_farmer"));
    Run::of(command.output().unwrap()).exits(0);
    let all = all_below(&repo.data());
    assert!(all.len() > 20, "{all:?}");
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    for dir in ["", "blobs", "blobs/cache", "blobs/artifact", "logs"] {
        let dir = repo.data().join(dir);
        assert_eq!(mode(&dir), 0o700, "{}", dir.display());
    }
    let files = all.iter().filter(|path| path.is_file());
    for path in files.filter(|path| !has_own_umask(&repo.data(), path)) {
        assert_eq!(mode(path), 0o600, "{}", path.display());
    }
}

/// A repository at a URL that asks for a password: git's own files, as it fetches them without a
/// program at the other end.
struct Served {
    address: String,
    stop: Arc<AtomicBool>,
}

impl Served {
    fn new(dir: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                answer(&stream, &dir);
            }
        });
        Self { address, stop }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes it up.
        let _ = TcpStream::connect(&self.address);
    }
}

fn answer(mut stream: &TcpStream, dir: &Path) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let Some(first) = lines.next() else {
        return;
    };
    let mut is_known = false;
    for line in lines.take_while(|line| !line.is_empty()) {
        is_known |= line
            .to_ascii_lowercase()
            .starts_with("authorization: basic ");
    }
    let path = first.split(' ').nth(1).unwrap_or_default();
    let path = path.split('?').next().unwrap_or_default();
    let found = std::fs::read(dir.join(path.trim_start_matches('/')));
    let (status, body) = match (is_known, found) {
        (false, _) => (
            "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"",
            Vec::new(),
        ),
        (true, Ok(body)) => ("200 OK", body),
        (true, Err(_)) => ("404 Not Found", Vec::new()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    // A client that has gone needs no answer.
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(&body));
}

#[test]
fn the_password_of_a_remote_is_in_no_file_event_or_argument() {
    let repo = Repo::new();
    let seen = repo.home().join("seen");
    // The step looks at the arguments of every process while it runs.
    let config = format!(
        "[[step]]\nname = \"look\"\nrun = \"cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\\\0' ' ' >{}; git remote -v\"\n",
        seen.display()
    );
    repo.write(".farmer.toml", &config).commit("first");
    git_in(
        repo.home(),
        &["clone", "-q", "--bare", "project", "served/r.git"],
    );
    git_in(&repo.home().join("served/r.git"), &["update-server-info"]);
    let served = Served::new(repo.home().join("served"));
    let url = format!("http://u:{SECRET}@{}/r.git", served.address);
    let run = repo.run(&["build", &url]).exits(0);
    let said = format!("{}{}", run.out(), run.err());
    assert!(!said.contains(SECRET), "{said}");
    let status = repo.run(&["status", "--json"]).exits(0).out();
    let events = repo.run(&["log", "--events", "--json"]).exits(0).out();
    assert!(!status.contains(SECRET), "{status}");
    assert!(!events.contains(SECRET), "{events}");
    let arguments = std::fs::read_to_string(&seen).unwrap();
    let own = format!("build {url}");
    let others = arguments.replace(&own, "");
    assert!(!others.contains(SECRET), "{others}");
    for path in all_below(&repo.data()) {
        let Ok(bytes) = std::fs::read(&path) else {
            continue;
        };
        let is_in = bytes
            .windows(SECRET.len())
            .any(|part| part == SECRET.as_bytes());
        assert!(!is_in, "{}", path.display());
    }
    wait_until("no process is left", SOON, || {
        below(&repo.data()).is_empty()
    });
}
