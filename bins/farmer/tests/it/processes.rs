//! The processes that belong to a test, found by the directory they work in.

use std::path::Path;
use std::time::{Duration, Instant};

/// A process whose command line or working directory is below a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub pid: u32,
    pub command: String,
}

/// All of them. Zombies are left out: they run nothing and wait for their parent.
pub(crate) fn below(dir: &Path) -> Vec<Process> {
    let dir = dir.to_str().unwrap();
    let pids = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| {
        let command = String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/cmdline")).ok()?)
            .replace('\0', " ");
        let works_there =
            std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(dir));
        let ours = works_there || command.contains(dir);
        (ours && !command.is_empty()).then_some(Process { pid, command })
    })
    .collect()
}

/// The buildlets among them.
pub(crate) fn buildlets(dir: &Path) -> Vec<Process> {
    below(dir)
        .into_iter()
        .filter(|p| p.command.contains(" buildlet "))
        .collect()
}

pub(crate) fn kill(pid: u32, signal: &str) {
    // The process may have ended by itself meanwhile.
    let _gone = std::process::Command::new("kill")
        .args([&format!("-{signal}"), &pid.to_string()])
        .output()
        .unwrap();
}

/// Waits until `condition` holds; fails, naming it, when it does not within `limit`.
#[track_caller]
pub(crate) fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < limit, "waited {limit:?} for: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
