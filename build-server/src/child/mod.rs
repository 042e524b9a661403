//! Child processes with bounds: on time, on output, and on what they leave behind.
//!
//! Every child leads a process group of its own. The group is killed when the child has ended,
//! when its time is over, and when whoever waits for it goes away: no grandchild stays, and
//! none can hold up a wait by keeping a pipe open.

mod git;
mod running;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use build_core::{Error, ErrorKind, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

pub use git::{Git, Rev, is_safe_ref};
pub use running::{Pipes, Running};

/// Complaints that are kept, and shown.
const MAX_COMPLAINT: u64 = 64 << 10;
/// For what is still in a pipe when the child has ended.
const LAST_OUTPUT: Duration = Duration::from_secs(2);

/// A command to be run, and its bounds.
#[derive(Clone, Debug)]
pub struct Command {
    program: OsString,
    args: Vec<OsString>,
    dir: Option<PathBuf>,
    env: Vec<(OsString, Option<OsString>)>,
    clear: bool,
    limit: Duration,
    max_output: u64,
    input: Vec<u8>,
}

/// How a command ended, and what it printed.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// Standard output.
    pub output: Vec<u8>,
    /// Standard error, its first 64 KiB.
    pub complaint: String,
    shown: String,
}

impl Command {
    /// `program` with nothing else: it may run for five minutes and print 64 MiB.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            dir: None,
            env: Vec::new(),
            clear: false,
            limit: Duration::from_secs(300),
            max_output: 64 << 20,
            input: Vec::new(),
        }
    }

    /// A command of words; `None` when there is not even a program.
    pub fn of_words<S: AsRef<OsStr>>(words: &[S]) -> Option<Self> {
        let (program, args) = words.split_first()?;
        Some(Self::new(program.as_ref()).args(args))
    }

    /// With one more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// With more arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        let args = args.into_iter().map(|arg| arg.as_ref().to_owned());
        self.args.extend(args);
        self
    }

    /// In this directory.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// With this variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), Some(value.into())));
        self
    }

    /// With these variables.
    #[must_use]
    pub fn envs<K: Into<OsString>, V: Into<OsString>>(
        self,
        vars: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        vars.into_iter().fold(self, |all, (k, v)| all.env(k, v))
    }

    /// Without this variable of this process.
    #[must_use]
    pub fn without_env(mut self, name: impl Into<OsString>) -> Self {
        self.env.push((name.into(), None));
        self
    }

    /// With none of this process's variables.
    #[must_use]
    pub fn clear_env(mut self) -> Self {
        self.clear = true;
        self
    }

    /// For at most `limit`.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Printing at most `bytes`.
    #[must_use]
    pub fn max_output(mut self, bytes: u64) -> Self {
        self.max_output = bytes;
        self
    }

    /// Reading `input`.
    #[must_use]
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// The command's first words, for people; words with an `@` or a `=` may hold secrets.
    pub fn shown(&self) -> String {
        let program = Path::new(&self.program).file_name().unwrap_or_default();
        let words = self.args.iter().map(|a| a.to_string_lossy());
        let words = words.filter(|w| !w.contains(['@', '=']) && !w.starts_with('-'));
        let mut shown = program.to_string_lossy().into_owned();
        for word in words.take(3) {
            shown.push(' ');
            shown.push_str(&word);
        }
        shown
    }

    /// Runs it to its end.
    ///
    /// Cancel safe: when the answer is dropped, the whole group is killed.
    ///
    /// # Errors
    /// When it cannot be started, runs too long, or prints too much. What its exit status
    /// says is no error: see [`Ended::passed`].
    pub async fn run(self) -> Result<Ended> {
        let (shown, limit, max_output) = (self.shown(), self.limit, self.max_output);
        let (mut running, pipes) = self.start_piped()?;
        let talked = tokio::time::timeout(limit, talk(&mut running, pipes, self.input, max_output));
        match talked.await {
            Ok(Ok((status, output, complaint))) => Ok(Ended {
                status,
                output,
                complaint,
                shown,
            }),
            Ok(Err(error)) => Err(error.while_doing(shown)),
            Err(_) => {
                running.stop(Duration::from_secs(1)).await;
                let text = format!("{shown} did not end within {} s", limit.as_secs_f64());
                Err(Error::new(ErrorKind::TimedOut, text))
            }
        }
    }

    fn build(&self) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.program);
        command.args(&self.args).process_group(0);
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        if self.clear {
            command.env_clear();
        }
        for (name, value) in &self.env {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }

    /// Starts it with its streams in pipes.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_piped(&self) -> Result<(Running, Pipes)> {
        let mut command = self.build();
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Running::with_pipes(command).map_err(|e| self.absent(e))
    }

    /// Starts it without input; what it prints goes into `log`, without one nowhere.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self, log: Option<std::fs::File>) -> Result<Running> {
        let mut command = self.build();
        command.stdin(Stdio::null());
        match log {
            Some(log) => {
                command.stderr(log.try_clone()?).stdout(log);
            }
            None => {
                command.stdout(Stdio::null()).stderr(Stdio::null());
            }
        }
        Running::new(command).map_err(|e| self.absent(e))
    }

    fn absent(&self, error: std::io::Error) -> Error {
        let program = self.program.to_string_lossy();
        if let Some(dir) = self.dir.as_ref().filter(|dir| !dir.is_dir()) {
            let text = format!("{} is not a directory", dir.display());
            return Error::new(ErrorKind::NotFound, text);
        }
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            _ => ErrorKind::Unavailable,
        };
        Error::caused_by(kind, format!("start {program}"), error)
            .with_hint(format!("install {program}, and see that it is on PATH"))
    }
}

impl Ended {
    /// What it printed, when its exit status is 0.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] with what it complained of, when it is not.
    pub fn passed(self) -> Result<Vec<u8>> {
        if self.status.success() {
            return Ok(self.output);
        }
        let complaint = without_passwords(self.complaint.trim());
        let last: Vec<_> = complaint.lines().rev().take(20).collect();
        let said = last.into_iter().rev().collect::<Vec<_>>().join("\n");
        let status = self.status;
        let text = match said.is_empty() {
            true => format!("{}: {status}", self.shown),
            false => format!("{}: {status}: {said}", self.shown),
        };
        Err(Error::new(ErrorKind::Unavailable, text))
    }

    /// Standard output as text, without the line's end.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).trim_end().to_owned()
    }
}

async fn talk(
    running: &mut Running,
    pipes: Pipes,
    input: Vec<u8>,
    max_output: u64,
) -> Result<(ExitStatus, Vec<u8>, String)> {
    let Pipes {
        mut stdin,
        mut stdout,
        mut stderr,
    } = pipes;
    let ended = Notify::new();
    let write = async move {
        // A program that ends without reading its input tells why by its exit status.
        let _ = stdin.write_all(&input).await;
    };
    let wait = async {
        let status = running.wait().await;
        ended.notify_waiters();
        ended.notify_one();
        status
    };
    let (status, (), (output, whole), (complaint, _)) = tokio::join!(
        wait,
        async {
            tokio::select! {
                () = write => {}
                () = after(&ended) => {}
            }
        },
        read_up_to(&mut stdout, max_output, &ended),
        read_up_to(&mut stderr, MAX_COMPLAINT, &ended),
    );
    let status = status?;
    if !whole {
        let text = format!("it printed more than {max_output} bytes");
        return Err(Error::new(ErrorKind::Limit, text));
    }
    Ok((
        status,
        output,
        String::from_utf8_lossy(&complaint).into_owned(),
    ))
}

/// Ends a little after the child has: a grandchild in a group of its own may keep the pipe.
async fn after(ended: &Notify) {
    ended.notified().await;
    // Whoever else waits is told too.
    ended.notify_one();
    tokio::time::sleep(LAST_OUTPUT).await;
}

/// At most `limit` bytes, and whether that was all; the rest is read and thrown away.
async fn read_up_to(
    from: &mut (impl AsyncRead + Unpin),
    limit: u64,
    ended: &Notify,
) -> (Vec<u8>, bool) {
    let mut kept = Vec::new();
    let mut whole = true;
    let read = async {
        // What cannot be read was not printed.
        let _ = (&mut *from).take(limit).read_to_end(&mut kept).await;
        let rest = tokio::io::copy(from, &mut tokio::io::sink()).await;
        whole = rest.unwrap_or(0) == 0;
    };
    tokio::select! {
        () = read => {}
        () = after(ended) => {}
    }
    (kept, whole)
}

/// Replaces `user:password@` in every URL of a text.
pub fn without_passwords(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        clean.push_str(before);
        let end = after
            .find(['/', ' ', '\'', '"', '\n'])
            .unwrap_or(after.len());
        let host = after[..end].rfind('@').map_or(0, |at| at + 1);
        rest = &after[host..];
    }
    clean.push_str(rest);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        Command::new("sh").arg("-c").arg(script)
    }

    #[tokio::test]
    async fn what_it_printed_and_how_it_ended_are_told() {
        let ended = sh("cat; echo no >&2; exit 3")
            .input(*b"in")
            .run()
            .await
            .unwrap();
        assert_eq!(
            (ended.output.as_slice(), ended.status.code()),
            (&b"in"[..], Some(3))
        );
        let error = ended.passed().unwrap_err().to_string();
        assert!(error.ends_with("exit status: 3: no"), "{error}");
    }

    #[tokio::test]
    async fn time_and_output_are_bounded() {
        let late = sh("sleep 100").limit(Duration::from_millis(50));
        assert_eq!(late.run().await.unwrap_err().kind(), ErrorKind::TimedOut);
        let much = sh("head -c 1000 /dev/zero").max_output(999).run().await;
        assert_eq!(much.unwrap_err().kind(), ErrorKind::Limit);
    }

    #[tokio::test]
    async fn grandchildren_end_with_the_child() {
        let dir = tempfile::tempdir().unwrap();
        // The grandchild holds the pipe and would hold up the wait for it.
        let ended = sh("sleep 1000 & echo $! >pid").dir(dir.path()).run().await;
        assert!(ended.unwrap().status.success());
        let pid = std::fs::read_to_string(dir.path().join("pid")).unwrap();
        let stat = format!("/proc/{}/stat", pid.trim());
        for _ in 0..200 {
            match std::fs::read_to_string(&stat) {
                Ok(stat) if !stat.contains(") Z ") => {}
                _ => return,
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the grandchild {pid} lives");
    }

    #[tokio::test]
    async fn an_absent_program_is_named() {
        let error = Command::new("no-such-program").run().await.unwrap_err();
        assert_eq!(error.to_string(), "start no-such-program");
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}
