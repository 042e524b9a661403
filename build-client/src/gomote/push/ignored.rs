//! What a repository ignores. Git is asked once for each question, about all names together.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use crate::{Error, ErrorKind, Result};

/// For an answer of Git; a large tree takes a second or two.
const LIMIT: Duration = Duration::from_secs(120);

/// Names that a repository ignores: files, and directories with all that is in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ignored(BTreeSet<String>);

impl Ignored {
    /// Exactly these; a final slash makes no difference.
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let names = names.into_iter().map(|name| name.trim_end_matches('/'));
        Self(
            names
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect(),
        )
    }

    /// What the repository at `root` ignores of what lies there; nothing when it is none.
    ///
    /// # Errors
    /// When Git cannot be run, does not answer in time, or fails.
    pub async fn local(root: &Path) -> Result<Self> {
        if !root.join(".git").exists() {
            return Ok(Self::default());
        }
        let args = [
            "ls-files",
            "--others",
            "--ignored",
            "--exclude-standard",
            "--directory",
            "-z",
        ];
        let out = git(root, &args, b"", &[0]).await?;
        Ok(Self::of(split(&out)?))
    }

    /// Those of `names` that the repository at `root` would ignore; they need not exist.
    ///
    /// # Errors
    /// As [`Ignored::local`].
    pub async fn among(root: &Path, names: &[&str]) -> Result<Self> {
        if names.is_empty() || !root.join(".git").exists() {
            return Ok(Self::default());
        }
        let asked: Vec<u8> = names
            .iter()
            .flat_map(|name| name.bytes().chain([0]))
            .collect();
        // 1: none is ignored.
        let out = git(root, &["check-ignore", "--stdin", "-z"], &asked, &[0, 1]).await?;
        Ok(Self::of(split(&out)?))
    }

    /// Whether it is ignored itself; those in an ignored directory are not named.
    #[must_use]
    pub fn names(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// Whether it or a directory that it is in is ignored.
    #[must_use]
    pub fn covers(&self, name: &str) -> bool {
        let mut path = name;
        loop {
            if self.names(path) {
                return true;
            }
            match path.rsplit_once('/') {
                Some((parent, _)) => path = parent,
                None => return false,
            }
        }
    }
}

fn split(out: &[u8]) -> Result<impl Iterator<Item = &str>> {
    let text = std::str::from_utf8(out).map_err(|e| {
        Error::caused_by(ErrorKind::Invalid, "a name that Git tells is not UTF-8", e)
    })?;
    Ok(text.split('\0').filter(|name| !name.is_empty()))
}

/// Runs Git with `input`, which is written while its answer is read: neither waits for the other.
async fn git(root: &Path, args: &[&str], input: &[u8], fine: &[i32]) -> Result<Vec<u8>> {
    let what = format!("ask git {} in {}", args.join(" "), root.display());
    let asked = async {
        let mut child = Command::new("git")
            .arg("-C")
            .arg(root)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdin = child.stdin.take();
        let writing = async move {
            if let Some(mut stdin) = stdin {
                // Git may have ended by itself; its answer tells why.
                let _ = stdin.write_all(input).await;
            }
        };
        let ((), output) = tokio::join!(writing, child.wait_with_output());
        output
    };
    let output = timeout(LIMIT, asked)
        .await
        .map_err(|_| Error::new(ErrorKind::TimedOut, format!("{what}: no answer")))?
        .map_err(|error| Error::from(error).while_doing(what.clone()))?;
    if output
        .status
        .code()
        .is_some_and(|code| fine.contains(&code))
    {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(
        Error::new(ErrorKind::Unavailable, format!("{what}: {said}"))
            .with_hint("push without its rules: -no-ignore"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git_in(dir: &Path, args: &[&str]) {
        let status = std::process::Command::new("git")
            .arg("-C")
            .arg(dir)
            .args(args)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .status();
        assert!(status.unwrap().success());
    }

    #[tokio::test]
    async fn git_is_asked_once_about_all() {
        let dir = tempfile::tempdir().unwrap();
        git_in(dir.path(), &["init", "--quiet"]);
        std::fs::write(dir.path().join(".gitignore"), "*.o\n/out/\n").unwrap();
        std::fs::create_dir(dir.path().join("out")).unwrap();
        std::fs::write(dir.path().join("out/x"), "").unwrap();
        std::fs::write(dir.path().join("a.o"), "").unwrap();
        std::fs::write(dir.path().join("b.c"), "").unwrap();
        let local = Ignored::local(dir.path()).await.unwrap();
        assert!(local.names("out") && local.names("a.o") && !local.names("b.c"));
        assert!(local.covers("out/x") && !local.covers("b.c"));
        // More than a pipe holds, in both directions.
        let many: Vec<String> = (0..20_000).map(|n| format!("dir/{n}.o")).collect();
        let mut names: Vec<&str> = many.iter().map(String::as_str).collect();
        names.push("remote.c");
        let among = Ignored::among(dir.path(), &names).await.unwrap();
        assert!(among.names("dir/19999.o") && !among.names("remote.c"));
        let none = Ignored::among(dir.path(), &["x.c"]).await.unwrap();
        assert_eq!(none, Ignored::default());
        let plain = tempfile::tempdir().unwrap();
        assert_eq!(
            Ignored::local(plain.path()).await.unwrap(),
            Ignored::default()
        );
    }
}
