//! A command on a buildlet, its output and how it ended.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::Stream;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::ids::ExecId;
use crate::name::Name;
use crate::plan::{Network, Sandbox};

/// How the name of the program is looked up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Program {
    /// Below the work directory.
    #[default]
    InWorkDir,
    /// Absolute, or on the machine's `PATH` (the protocol's `mode=sys`).
    OfSystem,
}

/// A command to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exec {
    /// The program: see `lookup`.
    pub cmd: String,
    /// Arguments after the program's name.
    pub args: Vec<String>,
    /// How the program's name is looked up.
    pub lookup: Program,
    /// Where it runs; empty: the work directory for system programs, else the program's directory.
    pub dir: String,
    /// `NAME=value`, added to the machine's environment; the last of a name wins.
    pub env: Vec<String>,
    /// The same of what is no text; what [`Exec::env`] says comes after it. Machines of the Go
    /// project do not know it.
    pub env_bytes: Vec<Name>,
    /// Elements of `PATH`; `$PATH` and `$WORKDIR` are expanded, `$EMPTY` alone removes it. `None`: unchanged.
    pub path: Option<Vec<String>>,
    /// The output begins with a line that tells what is run.
    pub debug: bool,
    /// Names the command, for [`super::Buildlet::start`].
    pub id: Option<ExecId>,
    /// Longest run; the command is then ended (detached commands only).
    pub timeout: Option<Duration>,
    /// Longest silence; the command is then ended (detached commands only).
    pub quiet: Option<Duration>,
    /// The command is ended when less than this is free on its disk (detached commands only).
    pub disk_floor_bytes: Option<u64>,
    /// Output kept: the head and the last 64 KiB (detached commands only).
    pub log_bytes: Option<u64>,
    /// Bytes of memory of its process tree (detached commands only).
    pub memory_bytes: Option<u64>,
    /// Processes of its tree (detached commands only).
    pub processes: Option<u32>,
    /// At least how far it is kept apart from its machine, where that knows levels; a command is
    /// never kept apart less than its machine is set to.
    pub sandbox: Sandbox,
    /// At most which network it sees, where the machine knows how.
    pub network: Network,
}

impl Exec {
    /// A program of the system: absolute, or looked up on the machine's `PATH`.
    pub fn new(cmd: impl Into<String>) -> Self {
        Self {
            cmd: cmd.into(),
            lookup: Program::OfSystem,
            ..Self::default()
        }
    }

    /// A program below the work directory.
    pub fn in_work_dir(cmd: impl Into<String>) -> Self {
        Self {
            cmd: cmd.into(),
            ..Self::default()
        }
    }

    /// A line for `/bin/sh -c`.
    pub fn shell(line: impl Into<String>) -> Self {
        Self::new("/bin/sh").arg("-c").arg(line)
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Sets where it runs.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<String>) -> Self {
        self.dir = dir.into();
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push(format!("{name}={value}"));
        self
    }

    /// Names it.
    #[must_use]
    pub fn id(mut self, id: ExecId) -> Self {
        self.id = Some(id);
        self
    }
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ExecOutcome {
    /// Exit status 0.
    Ok,
    /// Another exit status.
    Exit(i32),
    /// Ended by a signal, in the protocol's words: `killed`, `segmentation fault (core dumped)`.
    Signal(String),
    /// It could not be started, in the system's words.
    NotStarted(String),
    /// Ended for running too long.
    TimedOut,
    /// Ended for being silent too long.
    Silent,
    /// Ended because the disk was nearly full.
    DiskQuota,
    /// Ended because its processes took more than they were given; names the limit.
    Limit(String),
    /// Ended because it was asked to be.
    Killed,
    /// Nobody knows: the buildlet ended while the command ran. It may be run again.
    Lost,
}

impl ExecOutcome {
    /// Whether the command ran and succeeded.
    pub fn is_ok(&self) -> bool {
        *self == Self::Ok
    }
}

impl fmt::Display for ExecOutcome {
    /// The protocol's `Process-State` text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok => f.write_str("ok"),
            Self::Exit(code) => write!(f, "exit status {code}"),
            Self::Signal(name) => write!(f, "signal: {name}"),
            Self::NotStarted(text) => f.write_str(text),
            Self::TimedOut => f.write_str("timed out"),
            Self::Silent => f.write_str("no output for too long"),
            Self::DiskQuota => f.write_str("disk quota"),
            Self::Limit(text) => write!(f, "limit: {text}"),
            Self::Lost => f.write_str("lost"),
            Self::Killed => f.write_str("signal: killed"),
        }
    }
}

/// A piece of what a command does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecEvent {
    /// It wrote this, to either stream.
    Output(Bytes),
    /// It ended; the last event.
    Ended(ExecOutcome),
}

/// The output of a command while it runs, then how it ended.
pub type ExecStream = Pin<Box<dyn Stream<Item = Result<ExecEvent>> + Send>>;

/// A command that has ended, with the end of its output.
#[derive(Clone, Debug, Default)]
pub struct ExecOutput {
    outcome: Option<ExecOutcome>,
    tail: BytesMut,
    dropped: u64,
}

impl ExecOutput {
    /// How much of the output's end is kept.
    pub const KEPT_BYTES: usize = 1 << 20;

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        // Trimmed at twice the size, so that each byte is moved once at most.
        if self.tail.len() > 2 * Self::KEPT_BYTES {
            self.trim();
        }
    }

    fn trim(&mut self) {
        let excess = self.tail.len().saturating_sub(Self::KEPT_BYTES);
        self.dropped += excess as u64;
        self.tail = BytesMut::from(&self.tail[excess..]);
    }

    pub(super) fn ended(mut self, outcome: ExecOutcome) -> Self {
        self.trim();
        self.outcome = Some(outcome);
        self
    }

    /// How it ended.
    pub fn outcome(&self) -> &ExecOutcome {
        self.outcome
            .as_ref()
            .expect("constructed only when the command has ended")
    }

    /// The end of what it wrote.
    pub fn bytes(&self) -> &[u8] {
        &self.tail
    }

    /// The end of what it wrote, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.tail).into_owned()
    }

    /// Bytes before the kept end.
    pub fn dropped_bytes(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_a_long_output_is_kept() {
        let mut output = ExecOutput::default();
        for n in 0..40u8 {
            output.push(&vec![n; 100_000]);
        }
        let output = output.ended(ExecOutcome::Exit(3));
        assert_eq!(output.bytes().len(), ExecOutput::KEPT_BYTES);
        assert_eq!(
            output.dropped_bytes() as usize + output.bytes().len(),
            4_000_000
        );
        assert_eq!(output.bytes().last(), Some(&39));
        assert_eq!(output.outcome().to_string(), "exit status 3");
    }
}
