//! The `git` program, with bounds.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use build_core::{Error, ErrorKind, Result};

use super::{Command, Ended};

/// Settings of every call: nothing of the user's hooks and filters.
const SETTINGS: [&str; 6] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.quotePath=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "protocol.ext.allow=never",
];
/// Variables by which an outer git tells an inner one where it is. Ours is never an inner one.
const FOREIGN: [&str; 10] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_CONFIG_PARAMETERS",
    "SSH_ASKPASS",
];

/// A repository, or a place for one, and how git is called there.
#[derive(Clone, Debug)]
pub struct Git {
    dir: PathBuf,
    limit: Duration,
    ssh: Option<String>,
}

/// What a caller names a revision by: a hash, a branch, a tag; nothing that git takes for a flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rev(String);

impl Rev {
    /// A revision that begins with a letter or digit and holds only `[0-9A-Za-z._/+-]`, no `..`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for anything else.
    pub fn new(text: &str) -> Result<Self> {
        if is_safe_ref(text) {
            return Ok(Self(text.to_owned()));
        }
        let text: String = text.chars().take(80).collect();
        let error = Error::new(ErrorKind::Invalid, format!("{text:?} names no revision"));
        Err(error.with_hint("give a commit's hash, a branch or a tag"))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether `text` can be given to git as the name of a revision.
pub fn is_safe_ref(text: &str) -> bool {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b"._/+-".contains(&b);
    text.len() <= 200
        && text.bytes().all(fine)
        && text
            .as_bytes()
            .first()
            .is_some_and(u8::is_ascii_alphanumeric)
        && !text.contains("..")
}

impl Git {
    /// Git in `dir`; a command may run for five minutes.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            limit: Duration::from_secs(300),
            ssh: None,
        }
    }

    /// The same with another limit.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The same with this command for SSH.
    #[must_use]
    pub fn ssh(mut self, command: impl Into<String>) -> Self {
        self.ssh = Some(command.into());
        self
    }

    /// Where it is called.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A call of git, to be run or started.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new("git").dir(&self.dir).limit(self.limit);
        for setting in SETTINGS {
            command = command.arg("-c").arg(setting);
        }
        for name in FOREIGN {
            command = command.without_env(name);
        }
        if let Some(ssh) = &self.ssh {
            command = command.env("GIT_SSH_COMMAND", ssh);
        }
        command
            .args(args)
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("LC_ALL", "C")
    }

    /// Runs a command and answers what it printed.
    ///
    /// # Errors
    /// When it cannot be run or says no by its exit status.
    pub async fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<String> {
        let output = self.command(args).run().await?.passed()?;
        Ok(String::from_utf8_lossy(&output).trim_end().to_owned())
    }

    /// Runs a command whose exit status is an answer.
    ///
    /// # Errors
    /// When it cannot be run.
    pub async fn ask<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<Ended> {
        self.command(args).run().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_revision_is_a_flag() {
        for fine in [
            "main",
            "v1.2.3",
            "0123abcd",
            "release-branch.go1.15",
            "refs/heads/a+b",
        ] {
            assert!(Rev::new(fine).is_ok(), "{fine}");
        }
        for wrong in [
            "",
            "-x",
            "--output=x",
            "a..b",
            "a b",
            "a:b",
            "a~1",
            "a\n",
            "@{1}",
            ".a",
            "ä",
        ] {
            assert!(Rev::new(wrong).is_err(), "{wrong:?}");
        }
    }
}
