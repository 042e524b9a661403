//! One command: its first process, and the end of its tree.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Stdio;

use build_core::buildlet::{ExecOutcome, TerminalModes, Window};
use build_core::name::Name;
use build_core::plan::{Network, Sandbox};
use rustix::process::{Pid, Signal as Kill, WaitId, WaitIdOptions};

use super::end_watch::EndWatch;
use super::modes;
use super::tree::Whose;
use crate::buildlet::groups::Group;
use crate::buildlet::sandbox::{Bounds, Fence, Launched, Level, Reads, Report};

use super::{EndReport, Grace, Known, MARK, Processes};

/// Room of a wide pipe: with it a command that prints much runs on while its output is sent.
#[cfg(target_os = "linux")]
const PIPE_BYTES: usize = 1 << 20;

/// Makes room in the output pipe of a command that prints much, where the system lets us.
#[cfg_attr(
    not(target_os = "linux"),
    expect(unused_variables, reason = "pipes grow by themselves")
)]
pub(crate) fn widen(output: &impl AsFd) {
    #[cfg(target_os = "linux")]
    // A smaller pipe works as well; unprivileged users have a quota.
    let _ = rustix::pipe::fcntl_setpipe_size(output, PIPE_BYTES);
}

/// The reading and the writing end of a new pipe; no command inherits them.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (output, input) = io::pipe()?;
    Ok((output.into(), input.into()))
}

/// The variable that `NAME=value` assigns, and its value.
pub(crate) fn assigned(pair: &Name) -> Option<(&OsStr, &OsStr)> {
    let pair = pair.as_bytes();
    let at = pair.iter().position(|byte| *byte == b'=')?;
    Some((
        OsStr::from_bytes(&pair[..at]),
        OsStr::from_bytes(&pair[at + 1..]),
    ))
}

/// What to start.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    /// Absolute.
    pub(crate) program: PathBuf,
    /// After the program's name.
    pub(crate) args: Vec<String>,
    /// The whole environment, `NAME=value`.
    pub(crate) env: Vec<String>,
    /// The same of what is no text.
    pub(crate) env_bytes: Vec<Name>,
    pub(crate) dir: PathBuf,
    /// At least so far apart, with at most this network.
    pub(crate) sandbox: Sandbox,
    pub(crate) network: Network,
    /// At most so much; its machine may say less.
    pub(crate) bounds: Bounds,
}

impl Command {
    /// Why it was not started, in the protocol's words.
    pub(crate) fn spawn_failure(&self, error: &io::Error) -> String {
        let words = os_words(error);
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory if !self.dir.is_dir() => {
                format!("chdir {}: {words}", self.dir.display())
            }
            _ => format!("fork/exec {}: {words}", self.program.display()),
        }
    }
}

/// An error of the system in the protocol's words: `no such file or directory`.
pub(crate) fn os_words(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| {
        first.to_ascii_lowercase().to_string() + letters.as_str()
    })
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It never ran, for this reason.
    NotStarted(String),
    Code(i32),
    Signal {
        number: i32,
        core: bool,
    },
    /// The kernel gave it no more of this.
    Bounded(String),
    /// Somebody else has asked the system before.
    Unknown,
}

/// The other ends of what an attached command reads and writes.
pub(crate) enum Ends {
    Pipes {
        input: OwnedFd,
        output: OwnedFd,
        errors: OwnedFd,
    },
    Terminal(OwnedFd),
}

/// A started command. Ends its process group when it is dropped before its tree has ended.
pub(crate) struct Child {
    processes: Processes,
    pid: Pid,
    ended: EndWatch,
    exit: Option<Exit>,
    begun: Begun,
}

/// What stands around a command that was started.
#[derive(Debug, Default)]
pub(super) struct Begun {
    /// Who started it behind a fence.
    launched: Option<Launched>,
    /// Where the kernel counts what it takes.
    group: Option<Group>,
    /// What it may take.
    bounds: Bounds,
}

impl Processes {
    /// Starts a command in a process group of its own, without input; both its outputs are the
    /// pipe that is returned.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn spawn(&self, id: &str, command: &Command) -> io::Result<(Child, OwnedFd)> {
        let (output, input) = pipe()?;
        let (mut std, begun) = self.command(&self.mark(id), command, Reads::Nothing)?;
        std.stdout(input.try_clone()?)
            .stderr(input)
            // No function before exec: the standard library can then use posix_spawn.
            .process_group(0);
        let child = self.start(id, begun, || std.spawn())?;
        Ok((child, output))
    }

    /// Starts a command in a process group of its own that reads what its client sends; with a
    /// window it gets a terminal of that size and with these modes, which then is its controlling
    /// one.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn spawn_attached(
        &self,
        id: &str,
        command: &Command,
        terminal: Option<&(Window, TerminalModes)>,
    ) -> io::Result<(Child, Ends)> {
        let mark = self.mark(id);
        let Some((window, modes)) = terminal else {
            let ((theirs, input), (output, their_output)) = (pipe()?, pipe()?);
            let (errors, their_errors) = pipe()?;
            let (mut std, begun) = self.command(&mark, command, Reads::Pipe(theirs))?;
            std.stdout(their_output)
                .stderr(their_errors)
                .process_group(0);
            let child = self.start(id, begun, || std.spawn())?;
            let ends = Ends::Pipes {
                input,
                output,
                errors,
            };
            return Ok((child, ends));
        };
        let (pty, its) = pty_process::blocking::open().map_err(io::Error::other)?;
        resize(&pty, *window)?;
        modes::set(&pty, modes)?;
        let (std, begun) = self.command(&mark, command, Reads::Terminal)?;
        let order = begun.launched.as_ref().map(Launched::order).transpose()?;
        // It makes a session, and so a process group, of its own.
        let mut std = pty_process::blocking::Command::from(std);
        if let Some(order) = order {
            std = std.stdin(order);
        }
        let child = self.start(id, begun, || {
            std.spawn(its).map_err(|error| match error {
                pty_process::Error::Io(error) => error,
                error => io::Error::other(error),
            })
        })?;
        Ok((child, Ends::Terminal(pty.into())))
    }

    fn start(
        &self,
        id: &str,
        begun: Begun,
        spawn: impl FnOnce() -> io::Result<std::process::Child>,
    ) -> io::Result<Child> {
        // The lock is held so that nobody takes the new child for an orphan.
        let mut known = self.known();
        let pid = Pid::from_child(&spawn()?);
        known.insert(
            pid.as_raw_nonzero().get(),
            Known {
                id: id.to_owned(),
                reaped: false,
            },
        );
        drop(known);
        let ended = EndWatch::new(pid).inspect_err(|_| abandon(self, pid))?;
        Ok(Child {
            processes: self.clone(),
            pid,
            ended,
            exit: None,
            begun,
        })
    }
}

/// Tells a terminal its size, and so whoever runs there.
pub(crate) fn resize(terminal: &impl AsFd, window: Window) -> io::Result<()> {
    let size = rustix::termios::Winsize {
        ws_row: window.rows,
        ws_col: window.columns,
        ws_xpixel: window.width,
        ws_ypixel: window.height,
    };
    Ok(rustix::termios::tcsetwinsize(terminal, size)?)
}

impl Processes {
    /// What is started for a command: itself, or what starts it behind a fence.
    fn command(
        &self,
        mark: &str,
        command: &Command,
        input: Reads,
    ) -> io::Result<(std::process::Command, Begun)> {
        let mut begun = Begun {
            bounds: command.bounds,
            ..Begun::default()
        };
        if let Some((launcher, dir)) = &self.0.fenced {
            let mut fence = Fence::read(dir)?.tightened(command.sandbox, command.network);
            begun.bounds = begun.bounds.and(fence.bounds);
            fence.bounds = begun.bounds;
            begun.group = group(&fence)?;
            fence.group = begun.group.as_ref().map(|group| group.dir().to_owned());
            if fence.level > Level::None || fence.group.is_some() {
                let mut marked = command.clone();
                marked.env.push(format!("{MARK}={mark}"));
                let (mut std, launched) = launcher.launch(&marked, fence, input)?;
                std.env(MARK, mark);
                begun.launched = Some(launched);
                return Ok((std, begun));
            }
        }
        if self.0.fenced.is_none()
            && (command.sandbox > Sandbox::None || command.network != Network::Open)
        {
            let text = "this machine has no sandbox, and the command asks for one";
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        let mut std = std::process::Command::new(&command.program);
        std.args(&command.args)
            .env_clear()
            .envs(command.env_bytes.iter().filter_map(assigned))
            .envs(command.env.iter().filter_map(|pair| pair.split_once('=')))
            .env(MARK, mark)
            .current_dir(&command.dir);
        match input {
            Reads::Nothing => std.stdin(Stdio::null()),
            Reads::Pipe(pipe) => std.stdin(pipe),
            Reads::Terminal => &mut std,
        };
        Ok((std, begun))
    }
}

/// The control group of a command behind a fence, where there are any.
fn group(fence: &Fence) -> io::Result<Option<Group>> {
    let Some(machine) = &fence.groups else {
        return Ok(None);
    };
    let of_machine = Bounds {
        processes: fence.processes,
        ..Bounds::default()
    };
    let made = Group::make(machine, fence.bounds.and(of_machine));
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("make a control group: {error}"));
    made.map(Some).map_err(named)
}

impl Child {
    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// Waits for the end of the first process. Cancel safe; answers again once it has ended.
    pub(crate) async fn wait(&mut self) -> Exit {
        loop {
            if let Some(exit) = &self.exit {
                return exit.clone();
            }
            match self.try_wait() {
                Ok(None) => self.ended.changed().await,
                Ok(Some(exit)) => self.exit = Some(self.told(exit)),
                Err(error) => {
                    // Only when somebody else in this process has waited for it.
                    tracing::error!(%error, pid = self.pid(), "cannot learn how a command ended");
                    self.exit = Some(Exit::Unknown);
                }
            }
        }
    }

    /// How the command ended, when it was its launcher that did; one that failed when the kernel
    /// gave it no more ended for that.
    fn told(&mut self, exit: Exit) -> Exit {
        let exit = self.reported(exit);
        let failed = matches!(exit, Exit::Code(1..) | Exit::Signal { .. });
        let group = self.begun.group.as_ref().filter(|_| failed);
        group.and_then(Group::met).map_or(exit, Exit::Bounded)
    }

    fn reported(&mut self, exit: Exit) -> Exit {
        let (Some(launched), Exit::Code(code)) = (&mut self.begun.launched, &exit) else {
            return exit;
        };
        match launched.report(*code) {
            Some(Report::Failed(text)) => Exit::NotStarted(text),
            Some(Report::Signal { number, core }) => Exit::Signal { number, core },
            None => exit,
        }
    }

    /// What it may take, and whether the kernel sees to memory and processes.
    pub(crate) fn bounds(&self) -> (Bounds, bool) {
        (self.begun.bounds, self.begun.group.is_some())
    }

    fn try_wait(&self) -> io::Result<Option<Exit>> {
        // The lock keeps the table's readers from taking a reused number for this process.
        let mut known = self.processes.known();
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let Some(status) = rustix::process::waitid(WaitId::Pid(self.pid), options)? else {
            return Ok(None);
        };
        if let Some(known) = known.get_mut(&self.pid.as_raw_nonzero().get()) {
            known.reaped = true;
        }
        let signal = status.terminating_signal();
        Ok(Some(match signal {
            Some(number) => Exit::Signal {
                number,
                core: status.dumped(),
            },
            None => Exit::Code(status.exit_status().unwrap_or_default()),
        }))
    }

    /// Ends every process of the command that still runs.
    pub(crate) async fn end_tree(&mut self, grace: Grace) -> EndReport {
        let root = self.pid.as_raw_nonzero().get();
        let report = self.processes.end(Whose::Command(root), grace).await;
        if let Some(group) = &self.begun.group {
            group.end().await;
        }
        report
    }

    /// What measures the command's tree, for a thread that may block.
    pub(crate) fn meter(
        &self,
    ) -> impl Fn() -> io::Result<(usize, u64)> + Clone + Send + 'static + use<> {
        let (processes, root) = (self.processes.clone(), self.pid.as_raw_nonzero().get());
        move || processes.measure(root)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.exit.is_some() {
            self.processes
                .known()
                .remove(&self.pid.as_raw_nonzero().get());
        } else {
            abandon(&self.processes, self.pid);
        }
        if let Some(group) = &self.begun.group {
            // What still runs there ends later; the pool removes it with its machine's.
            let _in_use = group.remove();
        }
    }
}

/// The crash path: kills the process group; whatever else there is becomes a stray.
fn abandon(processes: &Processes, pid: Pid) {
    // It may have ended by itself.
    let _ = rustix::process::kill_process_group(pid, Kill::KILL);
    if !processes.0.adopts {
        // SIGKILL has been sent: this ends soon, and nobody else takes the zombie off.
        let _ = rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED);
    }
    processes.known().remove(&pid.as_raw_nonzero().get());
}

impl Exit {
    /// The end of a command that was not brought about.
    pub(crate) fn outcome(self) -> ExecOutcome {
        match self {
            Self::NotStarted(text) => ExecOutcome::NotStarted(text),
            Self::Code(code) => ExecOutcome::of_exit(code),
            Self::Signal { number, core } => ExecOutcome::of_signal(number, core),
            Self::Bounded(what) => ExecOutcome::Limit(what),
            Self::Unknown => ExecOutcome::Lost,
        }
    }
}
