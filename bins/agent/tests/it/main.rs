//! The real program: what needs a process of its own.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod endings;
#[cfg(target_os = "linux")]
mod escape;
#[cfg(target_os = "linux")]
mod groups;
mod local_pool;
mod memory;
#[cfg(feature = "tls")]
mod reverse;
mod start;
mod trees;

use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use build_client::HttpBuildlet;
use build_client::transport::UnixDial;
use build_core::buildlet::{Buildlet as _, Exec};
use build_core::ids::ExecId;

/// Nothing in these tests takes this long.
const LIMIT: Duration = Duration::from_secs(60);

/// A running buildlet program; killed when dropped.
struct Program {
    dir: tempfile::TempDir,
    child: Child,
}

/// Directories for a buildlet.
fn new_dir() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("w")).unwrap();
    dir
}

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_buildlet"));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

impl Program {
    fn start(more: &[&str]) -> Self {
        Self::resume(new_dir(), more)
    }

    /// A buildlet in the directories of an earlier one, once it listens.
    fn resume(dir: tempfile::TempDir, more: &[&str]) -> Self {
        let mut command = command();
        let path = dir.path().display();
        command
            .arg(format!("-workdir={path}/w"))
            .args(["-listen", &format!("unix:{path}/s"), "--state-dir"])
            .arg(dir.path().join("state"))
            .args(["-halt=false", "--log=warn"])
            .args(more)
            .env("FARMER_LEASE_NONCE", "n1")
            .env("API_TOKEN", "t")
            .stdout(Stdio::null())
            .stderr(Stdio::inherit());
        let child = command.spawn().unwrap();
        let program = Self { dir, child };
        let description = program.path("state/buildlet.json");
        let pid = format!("\"pid\": {},", program.child.id());
        until("it listens", || {
            std::fs::read_to_string(&description).is_ok_and(|text| text.contains(&pid))
        });
        program
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn client(&self) -> HttpBuildlet {
        HttpBuildlet::builder(UnixDial::new(self.path("s"))).build()
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", signal, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Waits for its end.
    fn ended(&mut self) -> ExitStatus {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begin.elapsed() < LIMIT, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts a detached line of shell and waits until it has printed so many words, which it
    /// returns.
    async fn start_and_read(&self, id: &str, line: &str, words: usize) -> Vec<String> {
        let exec = Exec::shell(line).id(ExecId::new(id).unwrap());
        self.client().start(exec).await.unwrap();
        let output = self.path(&format!("state/spool/{id}.out"));
        let mut found = Vec::new();
        until("it has printed", || {
            let text = std::fs::read_to_string(&output).unwrap_or_default();
            found = text.lines().map(str::to_owned).collect();
            text.ends_with('\n') && found.len() >= words
        });
        found
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for something that happens without anybody telling.
fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !happened() {
        assert!(begin.elapsed() < LIMIT, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.rsplit(')').next().unwrap().starts_with(" Z"))
}

fn none_alive(pids: &[String]) -> bool {
    !pids.iter().any(|pid| is_alive(pid))
}
