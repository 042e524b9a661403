//! A command that is run for each effect.

use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use build_core::reader::Call;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use crate::readers::sink::{Made, Sink};

/// What of the command's errors is shown.
const SHOWN: u64 = 400;
/// Exit status by which a command says that it did nothing and wants to be asked again.
const TRY_AGAIN: i32 = 75;
/// Exit status by which a command says that it will never accept this.
const NEVER: i32 = 65;

/// Runs a program with the effect's body, JSON, on its standard input.
///
/// The variables `FARMER_EFFECT` (its key) and `FARMER_ATTEMPT` (from 1) tell it more. Exit
/// status 0: made. 65: never to be asked again. 75: not made, worth another try. Any other, an
/// end by a signal or no end in time: it may have been made, and is run again. A command that
/// must not act twice keeps the keys it has seen.
#[derive(Clone, Debug)]
pub struct CommandSink {
    program: String,
    args: Vec<String>,
    deadline: Duration,
}

impl CommandSink {
    /// A program with its arguments. It is found as the system finds programs; there is no shell.
    pub fn new(
        program: impl Into<String>,
        args: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        Self {
            program: program.into(),
            args: args.into_iter().map(Into::into).collect(),
            deadline: Duration::from_secs(60),
        }
    }

    /// Sets how long it may run; then it is killed.
    #[must_use]
    pub fn within(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    fn start(&self, call: &Call) -> std::io::Result<Child> {
        Command::new(&self.program)
            .args(&self.args)
            .env("FARMER_EFFECT", call.effect.key.as_str())
            .env("FARMER_ATTEMPT", call.attempt.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
    }
}

#[async_trait]
impl Sink for CommandSink {
    fn deadline(&self) -> Duration {
        self.deadline
    }

    async fn make(&self, call: &Call) -> Made {
        let mut child = match self.start(call) {
            Ok(child) => child,
            Err(e) => return Made::No(format!("cannot run {}: {e}", self.program).into()),
        };
        let input = child.stdin.take();
        let body = format!("{}\n", call.effect.body.get());
        let write = async {
            if let Some(mut input) = input {
                // One that does not want to know more is free to close its input.
                let _closed = input.write_all(body.as_bytes()).await;
            }
        };
        let errors = child.stderr.take();
        let read = async {
            let mut text = Vec::new();
            if let Some(mut errors) = errors {
                // Read to its end, so that the command is never held up; the beginning is shown.
                let _cut = (&mut errors).take(SHOWN).read_to_end(&mut text).await;
                let _rest = tokio::io::copy(&mut errors, &mut tokio::io::sink()).await;
            }
            String::from_utf8_lossy(&text).trim().to_owned()
        };
        let ((), said, ended) = tokio::join!(write, read, child.wait());
        let said = match said.is_empty() {
            true => String::new(),
            false => format!(": {said}"),
        };
        match ended.map(|status| (status.code(), status)) {
            Ok((Some(0), _)) => Made::Yes,
            Ok((Some(NEVER), _)) => Made::Never(format!("{} refuses it{said}", self.program)),
            Ok((Some(TRY_AGAIN), _)) => {
                Made::No(format!("{} wants to be asked again{said}", self.program).into())
            }
            Ok((_, status)) => Made::Perhaps(format!("{}: {status}{said}", self.program).into()),
            Err(e) => Made::Perhaps(format!("cannot wait for {}: {e}", self.program).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use build_core::reader::CallKind;

    use super::*;

    fn call() -> Call {
        Call {
            number: 1,
            kind: CallKind::Make,
            attempt: 2,
            effect: crate::readers::effect("k", "t", "run", &"hello").unwrap(),
        }
    }

    async fn made(script: &str) -> Made {
        let sink = CommandSink::new("/bin/sh", ["-c", script]);
        sink.make(&call()).await
    }

    #[tokio::test]
    async fn the_command_learns_everything_and_its_status_is_the_answer() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let script = format!(
            r#"echo "$FARMER_EFFECT $FARMER_ATTEMPT $(cat)" > {}"#,
            out.display()
        );
        assert_eq!(made(&script).await, Made::Yes);
        assert_eq!(std::fs::read_to_string(out).unwrap(), "k 2 \"hello\"\n");
        assert!(
            matches!(made("echo no >&2; exit 65").await, Made::Never(t) if t.ends_with(": no"))
        );
        assert!(matches!(made("exit 75").await, Made::No(_)));
        assert!(matches!(made("exit 1").await, Made::Perhaps(_)));
        assert!(matches!(made("kill -9 $$").await, Made::Perhaps(_)));
        let absent = CommandSink::new("/no/such/program", [""; 0]);
        assert!(matches!(absent.make(&call()).await, Made::No(_)));
    }

    #[tokio::test]
    async fn much_output_holds_nobody_up() {
        let script = "head -c 1000000 /dev/zero >&2; head -c 1000000 /dev/zero";
        assert_eq!(made(script).await, Made::Yes);
    }
}
