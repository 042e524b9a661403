//! A child that runs, and its group.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};

/// The streams of a child.
#[derive(Debug)]
pub struct Pipes {
    /// What it reads.
    pub stdin: ChildStdin,
    /// What it prints.
    pub stdout: ChildStdout,
    /// What it complains of.
    pub stderr: ChildStderr,
}

/// A child that runs. Its process group is killed when this is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    group: Option<Pid>,
}

impl Running {
    pub(super) fn new(mut command: tokio::process::Command) -> io::Result<Self> {
        let child = command.spawn()?;
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        let group = id.and_then(Pid::from_raw);
        Ok(Self { child, group })
    }

    pub(super) fn with_pipes(command: tokio::process::Command) -> io::Result<(Self, Pipes)> {
        let mut running = Self::new(command)?;
        let piped = "every stream of the child is piped";
        let pipes = Pipes {
            stdin: running.child.stdin.take().expect(piped),
            stdout: running.child.stdout.take().expect(piped),
            stderr: running.child.stderr.take().expect(piped),
        };
        Ok((running, pipes))
    }

    /// Its process id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until it has ended; what is left of its group is killed then. Cancel safe.
    ///
    /// # Errors
    /// When the system does not tell.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        self.kill_group();
        Ok(status)
    }

    /// Whether it has ended, and how.
    pub fn try_wait(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().ok().flatten()?;
        self.kill_group();
        Some(status)
    }

    /// Asks it to end, gives it `grace`, then kills its group.
    pub async fn stop(&mut self, grace: Duration) {
        if let Some(group) = self.group {
            // It may have ended already.
            let _ = kill_process_group(group, Signal::TERM);
        }
        if tokio::time::timeout(grace, self.wait()).await.is_err() {
            self.signal_kill();
            // A killed process ends; one that the kernel holds does not hold us.
            let _ = tokio::time::timeout(Duration::from_secs(1), self.wait()).await;
        }
    }

    fn signal_kill(&self) {
        if let Some(group) = self.group {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    fn kill_group(&mut self) {
        self.signal_kill();
        self.group = None;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill_group();
    }
}
