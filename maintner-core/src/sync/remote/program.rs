//! Running the git program: bounded, quiet, never asking questions.

use std::io::{Read, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::sync::{Control, SyncError};

/// What the program may print at most: the refs of a very large repository.
const MOST_OUTPUT: u64 = 1 << 30;
/// What is kept of its complaints.
const MOST_COMPLAINT: u64 = 1 << 16;
/// How often the end of the program is looked for.
const POLL: Duration = Duration::from_millis(5);

/// How the program is run for one remote.
#[derive(Debug, Clone)]
pub(super) struct Program {
    pub(super) url: String,
    pub(super) deadline: Duration,
    pub(super) control: Control,
}

impl Program {
    /// Runs `git` in `folder` with `input`; what it printed.
    pub(super) fn run(
        &self,
        action: &'static str,
        folder: &Path,
        args: &[&str],
        input: &[u8],
    ) -> Result<Vec<u8>, SyncError> {
        let missing = |source| SyncError::NoGit {
            remote: self.url.clone(),
            source,
        };
        let mut child = Command::new("git")
            .args(["-c", "protocol.version=2", "-c", "gc.autoDetach=false"])
            .args(["-c", "fetch.negotiationAlgorithm=skipping"])
            .args(args)
            .current_dir(folder)
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("LC_ALL", "C")
            .env_remove("GIT_DIR")
            .env_remove("GIT_WORK_TREE")
            .env_remove("GIT_INDEX_FILE")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(missing)?;
        let (mut stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (status, printed, complaint) = std::thread::scope(|scope| {
            // A program that ends early does not read all; its exit says why.
            scope.spawn(move || stdin.take().map(|mut pipe| pipe.write_all(input)));
            let printed = scope.spawn(|| read(stdout, MOST_OUTPUT));
            let complaint = scope.spawn(|| read(stderr, MOST_COMPLAINT));
            let status = self.wait(&mut child);
            let printed = printed.join().unwrap_or_default();
            (status, printed, complaint.join().unwrap_or_default())
        });
        let failed = |reason: String| SyncError::Git {
            action,
            remote: self.url.clone(),
            reason,
        };
        match status {
            Ok(Some(status)) if status.success() => Ok(printed),
            Ok(Some(status)) => {
                let complaint = String::from_utf8_lossy(&complaint);
                let complaint = complaint.trim().replace('\n', "; ");
                Err(failed(if complaint.is_empty() {
                    status.to_string()
                } else {
                    complaint
                }))
            }
            Ok(None) if self.control.is_stopped() => Err(SyncError::Stopped),
            Ok(None) => Err(failed(format!(
                "no end after {} s",
                self.deadline.as_secs()
            ))),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    /// The program's exit; none when it had to be ended.
    fn wait(&self, child: &mut Child) -> std::io::Result<Option<std::process::ExitStatus>> {
        let deadline = Instant::now() + self.deadline;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status));
            }
            if Instant::now() >= deadline || self.control.is_stopped() {
                child.kill()?;
                child.wait()?;
                return Ok(None);
            }
            std::thread::sleep(POLL);
        }
    }
}

fn read(pipe: Option<impl Read>, most: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        let mut limited = pipe.take(most);
        // What could be read is enough to tell what is wrong.
        let _cut = limited.read_to_end(&mut bytes);
        // The program must not wait for a reader.
        let _rest = std::io::copy(&mut limited.into_inner(), &mut std::io::sink());
    }
    bytes
}
