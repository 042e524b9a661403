use std::ffi::OsString;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use crate::{Error, ErrorKind, Result};

/// For every command but those that fetch images.
const LIMIT: Duration = Duration::from_secs(120);
/// For those that do.
const PULL_LIMIT: Duration = Duration::from_secs(30 * 60);
/// How much of a complaint is told.
const COMPLAINT: usize = 2000;

/// The `docker` program, or one that takes the same arguments, as `podman` does.
#[derive(Clone, Debug)]
pub struct Docker {
    program: OsString,
}

/// A container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it does, in Docker's words: `running`, `exited`.
    pub state: String,
}

impl Container {
    /// Whether nothing runs in it any more. One that was just created is on its way.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(self.state.as_str(), "exited" | "dead")
    }
}

impl Docker {
    /// The program of that name or path.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
        }
    }

    /// Every container with a label, running or not.
    ///
    /// # Errors
    /// The program cannot be run, or fails.
    pub async fn list(&self, label: &str) -> Result<Vec<Container>> {
        let filter = format!("label={label}");
        let format = "{{.ID}} {{.Names}} {{.State}}";
        let args = [
            "ps",
            "-a",
            "--no-trunc",
            "--filter",
            &filter,
            "--format",
            format,
        ];
        let text = self.ask(&args, LIMIT).await?;
        let containers = text.lines().filter_map(|line| {
            let mut words = line.split_whitespace().map(str::to_owned);
            Some(Container {
                id: words.next()?,
                name: words.next()?,
                state: words.next()?,
            })
        });
        Ok(containers.collect())
    }

    /// Removes a container, whatever it does.
    ///
    /// # Errors
    /// As [`Docker::list`].
    pub async fn remove(&self, id: &str) -> Result<()> {
        self.ask(&["rm", "-f", id], LIMIT).await.map(drop)
    }

    /// Fetches an image.
    ///
    /// # Errors
    /// As [`Docker::list`].
    pub async fn pull(&self, image: &str) -> Result<()> {
        self.ask(&["pull", image], PULL_LIMIT).await.map(drop)
    }

    /// Starts a container; the arguments begin with `run`.
    ///
    /// # Errors
    /// As [`Docker::list`].
    pub async fn run(&self, args: &[String]) -> Result<()> {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        // The image may have to be fetched first.
        self.ask(&args, PULL_LIMIT).await.map(drop)
    }

    /// Runs the program, and gives what it prints.
    ///
    /// # Errors
    /// It cannot be run, takes too long, or fails; in its own words.
    pub async fn ask(&self, args: &[&str], limit: Duration) -> Result<String> {
        let name = self.program.to_string_lossy().into_owned();
        let what = format!("{name} {}", args.first().unwrap_or(&""));
        let mut command = Command::new(&self.program);
        command.args(args).stdin(Stdio::null()).kill_on_drop(true);
        let output = match timeout(limit, command.output()).await {
            Ok(Ok(output)) => output,
            Ok(Err(error)) => {
                let error = Error::caused_by(ErrorKind::Unavailable, format!("run {what}"), error);
                return Err(error.with_hint("is it installed, and on PATH?"));
            }
            Err(_) => {
                let text = format!("{what}: not done in {} s", limit.as_secs());
                return Err(Error::new(ErrorKind::TimedOut, text));
            }
        };
        if !output.status.success() {
            let complaint = String::from_utf8_lossy(&output.stderr);
            let shown: String = complaint.trim().chars().take(COMPLAINT).collect();
            let text = format!("{what}: {}: {shown}", output.status);
            return Err(Error::new(ErrorKind::Unavailable, text));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
