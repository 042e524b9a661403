//! The `git` program: how it is called, with bounds on time and output.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use build_core::{Error, ErrorKind, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use super::login::Login;

/// Longest run of a command that touches this machine alone.
pub(super) const LOCAL_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// Longest run of a command that talks to another machine.
const REMOTE_TIMEOUT: Duration = Duration::from_secs(60 * 60);
/// Output that is kept of one command: lists of files and commits, never contents of repositories.
const MAX_OUTPUT: u64 = 256 << 20;
/// Complaints that are kept, and shown.
const MAX_COMPLAINT: u64 = 64 << 10;

/// Variables that are not passed on: those by which an outer git tells an inner one where it is,
/// for ours is never an inner one, and those that change what commands mean or print.
const FOREIGN: [&str; 29] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_SHALLOW_FILE",
    "GIT_GRAFT_FILE",
    "GIT_CONFIG",
    "GIT_CONFIG_PARAMETERS",
    "GIT_CONFIG_COUNT",
    "GIT_REPLACE_REF_BASE",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_QUARANTINE_PATH",
    "GIT_ATTR_SOURCE",
    "GIT_DEFAULT_HASH",
    "GIT_DEFAULT_REF_FORMAT",
    "GIT_LITERAL_PATHSPECS",
    "GIT_GLOB_PATHSPECS",
    "GIT_NOGLOB_PATHSPECS",
    "GIT_ICASE_PATHSPECS",
    "GIT_EXTERNAL_DIFF",
    "GIT_DIFF_OPTS",
    "GIT_INDEX_VERSION",
    "GIT_TEMPLATE_DIR",
    "SSH_ASKPASS",
];

/// Settings of every call: nothing of the user's hooks, filters, line ends, formats or defaults
/// gets into a build. What leads to a repository stays theirs: credentials, `insteadOf`, proxies,
/// certificates, which directories are safe.
const SETTINGS: [&str; 29] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.autocrlf=false",
    "core.eol=lf",
    "core.safecrlf=false",
    "core.attributesFile=/dev/null",
    "core.quotePath=false",
    "core.symlinks=true",
    "core.protectHFS=false",
    "core.protectNTFS=false",
    "core.precomposeUnicode=false",
    "core.untrackedCache=false",
    "core.splitIndex=false",
    "core.sparseCheckout=false",
    "core.logAllRefUpdates=false",
    "color.ui=false",
    "i18n.logOutputEncoding=UTF-8",
    "log.showSignature=false",
    "log.mailmap=false",
    "log.follow=false",
    "diff.ignoreSubmodules=none",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "init.defaultRefFormat=files",
    "gc.auto=0",
    "maintenance.auto=false",
    "protocol.ext.allow=never",
    "protocol.version=2",
    "safe.bareRepository=all",
];

/// The `git` program.
#[derive(Clone, Debug)]
pub(super) struct Git {
    program: PathBuf,
    objects: Option<Objects>,
    login: Option<Login>,
}

/// Stores of objects other than the repository's own.
#[derive(Clone, Debug)]
struct Objects {
    own: PathBuf,
    /// A list of paths, as git reads it.
    from: OsString,
}

/// Has glibc take memory from the system in large pieces and keep it: `git pack-objects` otherwise
/// gives it back after each object that is a file of its own, which takes more time than the rest.
const KEEP_MEMORY: [(&str, &str); 2] = [
    ("MALLOC_TOP_PAD_", "16777216"),
    ("MALLOC_TRIM_THRESHOLD_", "67108864"),
];

/// How far a command reaches.
#[derive(Clone, Copy)]
enum Reach {
    Local,
    Remote,
}

struct Finished {
    status: ExitStatus,
    output: Vec<u8>,
    complaint: String,
}

impl Default for Git {
    fn default() -> Self {
        Self {
            program: "git".into(),
            objects: None,
            login: None,
        }
    }
}

impl Git {
    /// The same program, which keeps what it writes in `own`, a store of objects, and finds what
    /// there is in each of `from` as well. Without it git's temporary files would be in the
    /// repository that is read, which may be on another file system.
    pub(super) fn storing_in(&self, own: &Path, from: &[&Path]) -> Self {
        let from: Vec<_> = from.iter().map(|path| quoted(path)).collect();
        Self {
            program: self.program.clone(),
            objects: Some(Objects {
                own: own.to_owned(),
                from: from.join(OsStr::new(":")),
            }),
            login: None,
        }
    }

    /// The same program, which shows a login where one is asked for.
    pub(super) fn with_login(&self, login: Option<Login>) -> Self {
        Self {
            login,
            ..self.clone()
        }
    }

    /// Starts a command that reads a file, and whose output is read while it runs. It is killed
    /// when the answer is dropped; what it complains of is not kept.
    pub(super) fn start_with(&self, dir: &Path, args: &[&str], input: File) -> Result<Child> {
        let started = self
            .command(dir, &owned(args))
            .stdin(input)
            .stderr(Stdio::null())
            .spawn();
        started.map_err(|e| self.absent(dir, e))
    }

    /// Runs a command in `dir` and answers what it printed.
    pub(super) async fn run<A: AsRef<OsStr>>(&self, dir: &Path, args: &[A]) -> Result<Vec<u8>> {
        let args = owned(args);
        let finished = self.finish(dir, &args, &[], Reach::Local).await?;
        finished.passed(&args, Reach::Local)
    }

    /// Runs a command that reads `input`.
    pub(super) async fn run_with<A: AsRef<OsStr>>(
        &self,
        dir: &Path,
        args: &[A],
        input: &[u8],
    ) -> Result<Vec<u8>> {
        let args = owned(args);
        let finished = self.finish(dir, &args, input, Reach::Local).await?;
        finished.passed(&args, Reach::Local)
    }

    /// Runs a command that may talk to another machine.
    pub(super) async fn run_remote<A: AsRef<OsStr>>(
        &self,
        dir: &Path,
        args: &[A],
    ) -> Result<Vec<u8>> {
        let args = owned(args);
        let finished = self.finish(dir, &args, &[], Reach::Remote).await?;
        finished.passed(&args, Reach::Remote)
    }

    /// Runs a command that prints one line of text; `None` when it says no by its exit status.
    pub(super) async fn ask<A: AsRef<OsStr>>(
        &self,
        dir: &Path,
        args: &[A],
    ) -> Result<Option<String>> {
        let args = owned(args);
        let finished = self.finish(dir, &args, &[], Reach::Local).await?;
        Ok(finished.status.success().then(|| text(&finished.output)))
    }

    /// As [`Git::ask`], of what need not be text.
    pub(super) async fn ask_bytes<A: AsRef<OsStr>>(
        &self,
        dir: &Path,
        args: &[A],
    ) -> Result<Option<Vec<u8>>> {
        let args = owned(args);
        let finished = self.finish(dir, &args, &[], Reach::Local).await?;
        Ok(finished.status.success().then_some(finished.output))
    }

    async fn finish(
        &self,
        dir: &Path,
        args: &[OsString],
        input: &[u8],
        reach: Reach,
    ) -> Result<Finished> {
        let limit = match reach {
            Reach::Local => LOCAL_TIMEOUT,
            Reach::Remote => REMOTE_TIMEOUT,
        };
        let mut child = self
            .command(dir, args)
            .spawn()
            .map_err(|e| self.absent(dir, e))?;
        // A child that is dropped at the deadline is killed.
        match tokio::time::timeout(limit, talk(&mut child, input)).await {
            Ok(finished) => finished.map_err(|e| e.while_doing(shown(args))),
            Err(_) => Err(Error::new(
                ErrorKind::TimedOut,
                format!("{} did not end within {} s", shown(args), limit.as_secs()),
            )),
        }
    }

    fn command(&self, dir: &Path, args: &[OsString]) -> Command {
        let mut command = Command::new(&self.program);
        for setting in SETTINGS {
            command.arg("-c").arg(setting);
        }
        command.args(args).current_dir(dir);
        for name in FOREIGN {
            command.env_remove(name);
        }
        if std::env::var_os("GIT_SSH_COMMAND").is_none() {
            command.env("GIT_SSH_COMMAND", "ssh -o BatchMode=yes");
        }
        if let Some(objects) = &self.objects {
            command.env("GIT_OBJECT_DIRECTORY", &objects.own);
            command.env("GIT_ALTERNATE_OBJECT_DIRECTORIES", &objects.from);
        }
        if let Some(login) = &self.login {
            login.tell(&mut command);
        }
        command
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_LFS_SKIP_SMUDGE", "1")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("LC_ALL", "C")
            .envs(KEEP_MEMORY)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    fn absent(&self, dir: &Path, error: std::io::Error) -> Error {
        if !dir.is_dir() {
            let text = format!("{} is not a directory", dir.display());
            return Error::new(ErrorKind::NotFound, text)
                .with_hint("give the path of a git repository, or its URL");
        }
        Error::caused_by(ErrorKind::NotFound, "start git", error)
            .with_hint("install git, and see that it is on PATH")
    }
}

impl Finished {
    fn passed(self, args: &[OsString], reach: Reach) -> Result<Vec<u8>> {
        if self.status.success() {
            return Ok(self.output);
        }
        let kind = match reach {
            Reach::Local => ErrorKind::Invalid,
            Reach::Remote => ErrorKind::Unavailable,
        };
        let complaint = without_passwords(self.complaint.trim());
        Err(Error::new(kind, format!("{}: {complaint}", shown(args))))
    }
}

/// A path in a list of paths: in quotes, so that colons in it part nothing.
fn quoted(path: &Path) -> OsString {
    let mut quoted = vec![b'"'];
    for byte in path.as_os_str().as_bytes() {
        if matches!(byte, b'"' | b'\\') {
            quoted.push(b'\\');
        }
        quoted.push(*byte);
    }
    quoted.push(b'"');
    OsString::from_vec(quoted)
}

fn owned<A: AsRef<OsStr>>(args: &[A]) -> Vec<OsString> {
    args.iter().map(|a| a.as_ref().to_owned()).collect()
}

/// The first words of a command, for people.
fn shown(args: &[OsString]) -> String {
    let words = args.iter().map(|a| a.to_string_lossy());
    let words: Vec<_> = words.filter(|w| !w.starts_with('-')).take(2).collect();
    without_passwords(&format!("git {}", words.join(" ")))
}

/// What a program printed, without the line's end.
pub(super) fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).trim_end().to_owned()
}

async fn talk(child: &mut Child, input: &[u8]) -> Result<Finished> {
    let piped = "every stream of the child is piped";
    let mut stdin = child.stdin.take().expect(piped);
    let mut stdout = child.stdout.take().expect(piped);
    let mut stderr = child.stderr.take().expect(piped);
    let write = async move {
        // A program that ends without reading its input tells why by its exit status.
        let _ = stdin.write_all(input).await;
    };
    let ((), output, complaint) = tokio::join!(
        write,
        read_up_to(&mut stdout, MAX_OUTPUT),
        read_up_to(&mut stderr, MAX_COMPLAINT)
    );
    let (output, whole) = output?;
    let status = child.wait().await?;
    if !whole {
        return Err(Error::new(ErrorKind::Limit, "it printed too much"));
    }
    let complaint = String::from_utf8_lossy(&complaint?.0).into_owned();
    Ok(Finished {
        status,
        output,
        complaint,
    })
}

/// At most `limit` bytes, and whether that was all; the rest is read and thrown away.
async fn read_up_to(
    from: &mut (impl AsyncRead + Unpin),
    limit: u64,
) -> std::io::Result<(Vec<u8>, bool)> {
    let mut kept = Vec::new();
    from.take(limit).read_to_end(&mut kept).await?;
    let rest = tokio::io::copy(from, &mut tokio::io::sink()).await?;
    Ok((kept, rest == 0))
}

/// Replaces `user:password@` in every URL of a text.
pub(crate) fn without_passwords(text: &str) -> String {
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

    #[test]
    fn passwords_are_not_shown() {
        let text = "fetch https://me:secret@host/a 'ssh://git@host:22/b' http://plain/c@d";
        let clean = "fetch https://host/a 'ssh://host:22/b' http://plain/c@d";
        assert_eq!(without_passwords(text), clean);
    }

    #[tokio::test]
    async fn a_failure_tells_the_command_and_the_complaint() {
        let dir = tempfile::tempdir().unwrap();
        let error = Git::default()
            .run(dir.path(), &["rev-parse", "HEAD"])
            .await
            .unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("git rev-parse HEAD: fatal: not a git"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_missing_directory_is_named() {
        let error = Git::default()
            .run(Path::new("/no/such"), &["status"])
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "/no/such is not a directory");
    }
}
