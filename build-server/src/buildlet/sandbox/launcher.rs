//! The starting of a command behind a fence, as its buildlet sees it.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
#[cfg(target_os = "linux")]
use std::process::Stdio;

use build_core::name::Name;
use serde::{Deserialize, Serialize};

use super::fence::Fence;
use super::launch::LAUNCH;
use crate::buildlet::processes::Command;

/// How a launcher ends that could not start its command; what is in the report counts.
pub(super) const FAILED: i32 = 125;
/// Added to the number of a signal in an exit code.
#[cfg(target_os = "linux")]
pub(super) const SIGNALED: i32 = 128;
/// Longest report that is read.
const MAX_REPORT_BYTES: u64 = 64 << 10;

/// The program that starts commands behind fences: [`launch`](super::launch) is what it does when
/// its first argument is [`LAUNCH`].
#[derive(Clone, Debug)]
pub struct Launcher {
    program: PathBuf,
    name: String,
    arguments: Vec<String>,
}

impl Launcher {
    /// The running program, once more, as `name` (its `argv[0]`) and with these arguments before
    /// the launcher's own. That it is replaced or removed does not matter.
    pub fn this_program(name: impl Into<String>, arguments: &[&str]) -> Self {
        Self {
            program: "/proc/self/exe".into(),
            name: name.into(),
            arguments: arguments.iter().map(|&a| a.to_owned()).collect(),
        }
    }

    /// Another program, by its own name.
    pub fn program(program: impl Into<PathBuf>, arguments: &[&str]) -> Self {
        let program: PathBuf = program.into();
        let name = program.file_name().unwrap_or_default();
        Self {
            name: name.to_string_lossy().into_owned(),
            program,
            arguments: arguments.iter().map(|&a| a.to_owned()).collect(),
        }
    }

    /// The command that starts `command` behind `fence`, without its environment, and what will be
    /// read of it.
    pub(crate) fn launch(
        &self,
        command: &Command,
        fence: Fence,
        reads: Reads,
    ) -> io::Result<(std::process::Command, Launched)> {
        let order = Order {
            fence,
            on_terminal: matches!(reads, Reads::Terminal),
            program: command.program.clone(),
            args: command.args.clone(),
            env: command.env.clone(),
            env_bytes: command.env_bytes.clone(),
            dir: command.dir.clone(),
        };
        let mut text = serde_json::to_vec(&order)?;
        text.push(b'\n');
        let mut file = nameless()?;
        file.write_all(&text)?;
        file.seek(SeekFrom::Start(0))?;
        let mut std = std::process::Command::new(&self.program);
        std.arg0(&self.name)
            .args(&self.arguments)
            .arg(LAUNCH)
            .env_clear()
            .current_dir("/");
        match reads {
            Reads::Nothing | Reads::Terminal => std.stdin(file.try_clone()?),
            Reads::Pipe(pipe) => std.stdin(hand(&file, pipe)?),
        };
        let begin = text.len() as u64;
        Ok((std, Launched { file, begin }))
    }
}

/// What a command reads.
#[derive(Debug)]
pub(crate) enum Reads {
    Nothing,
    Pipe(OwnedFd),
    /// The terminal that it writes to.
    Terminal,
}

#[cfg(target_os = "linux")]
fn hand(file: &File, pipe: OwnedFd) -> io::Result<OwnedFd> {
    super::handed::hand(file, &pipe)
}

#[cfg(not(target_os = "linux"))]
fn hand(_: &File, _: OwnedFd) -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}

/// A file that has no name; only who is handed it can read it.
#[cfg(target_os = "linux")]
fn nameless() -> io::Result<File> {
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    Ok(rustix::fs::memfd_create(c"sandbox", flags)?.into())
}

#[cfg(not(target_os = "linux"))]
fn nameless() -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

/// What a launcher is told.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) fence: Fence,
    /// Whether it reads from the terminal that it writes to.
    #[serde(default)]
    pub(super) on_terminal: bool,
    pub(super) program: PathBuf,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<String>,
    #[serde(default)]
    pub(super) env_bytes: Vec<Name>,
    pub(super) dir: PathBuf,
}

/// What it tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Report {
    /// The command could not be started.
    Failed(String),
    /// It was ended by a signal.
    Signal {
        /// The signal.
        number: i32,
        /// Whether its memory was dumped.
        core: bool,
    },
}

/// A started launcher.
#[derive(Debug)]
pub(crate) struct Launched {
    file: File,
    begin: u64,
}

impl Launched {
    /// The launcher's standard input, for whoever sets another one.
    pub(crate) fn order(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// What it has told before it ended with `code`; `None`: the code is that of the command.
    pub(crate) fn report(&mut self, code: i32) -> Option<Report> {
        if code < FAILED {
            return None;
        }
        let mut text = Vec::new();
        self.file.seek(SeekFrom::Start(self.begin)).ok()?;
        let file = &mut self.file;
        file.take(MAX_REPORT_BYTES).read_to_end(&mut text).ok()?;
        let first = text.split(|&b| b == b'\n').next()?;
        if first.is_empty() {
            return None;
        }
        let report = serde_json::from_slice(first);
        Some(report.unwrap_or_else(|_| Report::Failed("the launcher's report is damaged".into())))
    }
}

/// The launcher's side of the file: its standard input; or what comes over it, with what the
/// command is to read.
#[cfg(target_os = "linux")]
pub(super) struct Told {
    file: File,
    pipe: Option<OwnedFd>,
}

#[cfg(target_os = "linux")]
impl Told {
    pub(super) fn stdin() -> io::Result<Self> {
        use std::os::fd::AsFd as _;
        let stdin = io::stdin();
        Ok(match super::handed::take(&stdin)? {
            Some((file, pipe)) => Self {
                file,
                pipe: Some(pipe),
            },
            None => Self {
                file: stdin.as_fd().try_clone_to_owned()?.into(),
                pipe: None,
            },
        })
    }

    /// Standard input for the launcher's own first process.
    pub(super) fn hand_on(&mut self) -> io::Result<Stdio> {
        Ok(match self.pipe.take() {
            Some(pipe) => super::handed::hand(&self.file, &pipe)?.into(),
            None => Stdio::inherit(),
        })
    }

    /// Standard input for the command.
    pub(super) fn input(&mut self, order: &Order) -> io::Result<Stdio> {
        use std::os::fd::AsFd as _;
        Ok(match self.pipe.take() {
            Some(pipe) => pipe.into(),
            None if order.on_terminal => io::stdout().as_fd().try_clone_to_owned()?.into(),
            None => Stdio::null(),
        })
    }

    pub(super) fn order(&mut self) -> io::Result<Order> {
        let mut text = Vec::new();
        self.file.seek(SeekFrom::Start(0))?;
        self.file.read_to_end(&mut text)?;
        let first = text.split(|&b| b == b'\n').next().unwrap_or_default();
        Ok(serde_json::from_slice(first)?)
    }

    pub(super) fn has_report(&mut self) -> bool {
        let mut text = Vec::new();
        let read =
            self.file.seek(SeekFrom::Start(0)).is_ok() && self.file.read_to_end(&mut text).is_ok();
        read && text
            .split(|&b| b == b'\n')
            .nth(1)
            .is_some_and(|line| !line.is_empty())
    }

    pub(super) fn report(&mut self, report: &Report) {
        let Ok(mut text) = serde_json::to_vec(report) else {
            return;
        };
        text.push(b'\n');
        // Whoever reads it finds nothing then, and takes the code for that of the command.
        let _ = self
            .file
            .seek(SeekFrom::End(0))
            .and_then(|_| self.file.write_all(&text));
    }
}
