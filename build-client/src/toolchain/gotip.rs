//! `gotip`: Go's newest commit, or another one, built here.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::dir::{ToolchainDir, clear, is_marked, mark};
use crate::httpdl::part::failed;
use crate::httpdl::shown;
use crate::{Error, ErrorKind, Result};

/// The name of the program and of its directory.
pub(super) const NAME: &str = "gotip";
/// The longest time for everything.
const DEADLINE: Duration = Duration::from_secs(3 * 3600);
/// Where the commit is in the repository that is kept for the next time.
const KEPT: &str = "refs/farmer/tip";

/// Which commit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TipRef {
    /// The newest of `master`.
    Master,
    /// The newest of a branch.
    Branch(String),
    /// The newest patch set of a Gerrit change.
    Change(u64),
    /// This one, by all 40 digits of its hash.
    Commit(String),
}

impl TipRef {
    /// From what stands after `gotip download`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when it cannot be the name of a branch.
    pub fn parse(text: &str) -> Result<Self> {
        let hex = text.bytes().all(|b| b.is_ascii_hexdigit());
        if let Ok(change) = text.parse::<u64>()
            && text.len() < 12
        {
            return Ok(Self::Change(change));
        }
        if hex && text.len() == 40 {
            return Ok(Self::Commit(text.to_ascii_lowercase()));
        }
        let plain = text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b));
        let whole = !text.is_empty() && !text.starts_with(['-', '/', '.']) && !text.contains("..");
        if plain && whole && !text.ends_with(['/', '.']) {
            return Ok(Self::Branch(text.to_owned()));
        }
        let error = Error::new(ErrorKind::Invalid, format!("{text:?} is no branch"));
        Err(error.with_hint("gotip download [CL number | branch | commit]"))
    }
}

impl fmt::Display for TipRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Master => f.write_str("master"),
            Self::Branch(name) => f.write_str(name),
            Self::Change(number) => write!(f, "{number}"),
            Self::Commit(hash) => f.write_str(hash),
        }
    }
}

/// Builds of Go from a git repository.
#[derive(Clone, Debug)]
pub struct Gotip {
    dir: ToolchainDir,
    remote: String,
    bootstrap: Option<PathBuf>,
    deadline: Duration,
}

impl Gotip {
    /// Builds into `gotip` of `dir` what the git repository `remote` has.
    pub fn new(dir: ToolchainDir, remote: impl Into<String>) -> Self {
        Self {
            dir,
            remote: remote.into(),
            bootstrap: None,
            deadline: DEADLINE,
        }
    }

    /// Builds with the Go of this directory; without, the build looks for one itself.
    #[must_use]
    pub fn bootstrap(mut self, root: Option<PathBuf>) -> Self {
        self.bootstrap = root;
        self
    }

    /// The longest time for everything. Default three hours.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// What the last build was of; [`TipRef::Master`] when nothing is known.
    pub fn last(&self) -> TipRef {
        let kept = self.dir.path(&NAME).join(".git/farmer-ref");
        let kept = std::fs::read_to_string(kept).ok();
        let known = kept.and_then(|text| TipRef::parse(text.trim()).ok());
        known.unwrap_or(TipRef::Master)
    }

    /// Fetches a commit and builds it aside; only a build whose `go version` works takes the place
    /// of the one before. What git and the build print goes to standard error.
    ///
    /// Cancel safety: a dropped call ends what it started and changes nothing.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such branch, change or commit;
    /// [`ErrorKind::Conflict`] when files of the `gotip` before were changed by hand;
    /// [`ErrorKind::Unavailable`] when git or the build fails; [`ErrorKind::TimedOut`].
    pub async fn download(&self, tip: &TipRef, waiting: &(dyn Fn() + Sync)) -> Result<PathBuf> {
        let work = self.build(tip, waiting);
        timeout(self.deadline, work).await.map_err(|_| {
            let what = format!("gotip took longer than {:?}", self.deadline);
            Error::new(ErrorKind::TimedOut, what)
        })?
    }

    async fn build(&self, tip: &TipRef, waiting: &(dyn Fn() + Sync)) -> Result<PathBuf> {
        let root = self.dir.path(&NAME);
        let _held = self.dir.hold(NAME, waiting).await?;
        self.is_replaceable(&root).await?;
        let wanted = self.find(tip).await?;
        let kept = self.fetch(&wanted).await?;
        let new = self.dir.work("gotip.new")?;
        let built = self.build_in(&new, &kept, tip).await;
        if let Err(error) = built {
            clear(&new)?;
            return Err(error);
        }
        self.dir.place(NAME, &new)?;
        Ok(root)
    }

    /// What is at the place of `gotip` must be a build of it, without changes by hand.
    async fn is_replaceable(&self, root: &Path) -> Result<()> {
        if !root.join(".git").exists() {
            if is_marked(root) {
                return Ok(());
            }
            return self.dir.is_ours(root, None);
        }
        let args = ["status", "--porcelain", "--untracked-files=no"];
        let changed = self.git(root, &args).await?;
        if changed.trim().is_empty() {
            return Ok(());
        }
        let what = format!(
            "files in {} were changed:\n{}",
            root.display(),
            changed.trim_end()
        );
        let error = Error::new(ErrorKind::Conflict, what);
        Err(error.with_hint("commit or undo the changes, or move the directory away"))
    }

    /// The full name of a ref, or a hash.
    async fn find(&self, tip: &TipRef) -> Result<String> {
        let absent = || {
            let what = format!(
                "{} has no {}",
                shown(&self.remote),
                match tip {
                    TipRef::Change(number) => format!("change {number}"),
                    other => format!("branch {other}"),
                }
            );
            Error::new(ErrorKind::NotFound, what)
        };
        let pattern = match tip {
            TipRef::Commit(hash) => return Ok(hash.clone()),
            TipRef::Master => "refs/heads/master".to_owned(),
            TipRef::Branch(name) => format!("refs/heads/{name}"),
            TipRef::Change(number) => format!("refs/changes/{:02}/{number}/*", number % 100),
        };
        let listed = self
            .git(Path::new("."), &["ls-remote", &self.remote, &pattern])
            .await?;
        let names = listed.lines().filter_map(|line| line.split_once('\t'));
        let names = names.map(|(_, name)| name);
        let found = match tip {
            TipRef::Change(_) => names
                .filter_map(|name| Some((name.rsplit('/').next()?.parse::<u64>().ok()?, name)))
                .max()
                .map(|(_, name)| name),
            _ => names.into_iter().find(|name| *name == pattern),
        };
        found.map(str::to_owned).ok_or_else(absent)
    }

    /// Brings one commit into the repository that is kept, so that the next one is small.
    async fn fetch(&self, wanted: &str) -> Result<PathBuf> {
        let kept = self.dir.work("gotip.git")?;
        if !kept.join("HEAD").exists() {
            clear(&kept)?;
            let path = kept.to_string_lossy().into_owned();
            self.git(Path::new("."), &["init", "--quiet", "--bare", &path])
                .await?;
        }
        let refspec = format!("+{wanted}:{KEPT}");
        let args = [
            "fetch",
            "--depth=1",
            "--no-tags",
            "--force",
            &self.remote,
            &refspec,
        ];
        let fetched = self.git(&kept, &args).await;
        fetched.map_err(|error| {
            error.while_doing(format!("fetch {wanted} from {}", shown(&self.remote)))
        })?;
        Ok(kept)
    }

    async fn build_in(&self, new: &Path, kept: &Path, tip: &TipRef) -> Result<()> {
        clear(new)?;
        let path = new.to_string_lossy().into_owned();
        let kept = kept.to_string_lossy().into_owned();
        self.git(Path::new("."), &["init", "--quiet", &path])
            .await?;
        self.git(new, &["remote", "add", "origin", &self.remote])
            .await?;
        self.git(
            new,
            &[
                "fetch",
                "--quiet",
                "--depth=1",
                &format!("file://{kept}"),
                KEPT,
            ],
        )
        .await?;
        self.git(
            new,
            &[
                "-c",
                "advice.detachedHead=false",
                "checkout",
                "--quiet",
                "--detach",
                "FETCH_HEAD",
            ],
        )
        .await?;
        let reference = new.join(".git/farmer-ref");
        std::fs::write(&reference, tip.to_string())
            .map_err(|error| failed("write", &reference, error))?;
        let source = new.join("src");
        let script = if cfg!(windows) {
            "make.bat"
        } else {
            "make.bash"
        };
        let mut make = Command::new(source.join(script));
        make.current_dir(&source)
            .env_remove("GOROOT")
            .env_remove("GOBIN");
        if let Some(bootstrap) = &self.bootstrap {
            make.env("GOROOT_BOOTSTRAP", bootstrap);
        }
        run(make, "src/make.bash").await?;
        let mut version = Command::new(
            new.join("bin")
                .join(format!("go{}", std::env::consts::EXE_SUFFIX)),
        );
        version
            .arg("version")
            .env("GOROOT", new)
            .env("GOTOOLCHAIN", "local");
        run(version, "the go command that was built").await?;
        mark(new)
    }

    /// Runs git and gives what it prints.
    async fn git(&self, dir: &Path, args: &[&str]) -> Result<String> {
        let mut git = Command::new("git");
        git.arg("-C").arg(dir).args(args);
        // A repository around the caller is not meant, and nobody is there to be asked.
        for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
            git.env_remove(name);
        }
        git.env("GIT_TERMINAL_PROMPT", "0").stdin(Stdio::null());
        git.stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true);
        let verb = args.iter().find(|arg| !arg.starts_with('-')).unwrap_or(&"");
        let done = git.spawn().map_err(|error| {
            let error = Error::from(error).while_doing("start git");
            error.with_hint("install git")
        })?;
        let done = done.wait_with_output().await.map_err(Error::from)?;
        match done.status.success() {
            true => Ok(String::from_utf8_lossy(&done.stdout).into_owned()),
            false => {
                let what = format!("git {verb} failed: {}", done.status);
                Err(Error::new(ErrorKind::Unavailable, what))
            }
        }
    }
}

/// Runs a program whose output is for people, in a group of its own that ends with the wait for it.
async fn run(mut command: Command, what: &str) -> Result<()> {
    command.stdin(Stdio::null()).stdout(std::io::stderr());
    #[cfg(unix)]
    command.process_group(0);
    let started = command.kill_on_drop(true).spawn();
    let mut started =
        started.map_err(|error| Error::from(error).while_doing(format!("start {what}")))?;
    let group = Group::of(&started);
    let status = started.wait().await.map_err(Error::from)?;
    group.ended();
    match status.success() {
        true => Ok(()),
        false => {
            let what = format!("{what} failed: {status}");
            Err(Error::new(ErrorKind::Unavailable, what))
        }
    }
}

/// The processes of a build, killed when nobody waits for them any more.
struct Group(Option<u32>);

impl Group {
    fn of(started: &tokio::process::Child) -> Self {
        Self(started.id())
    }

    /// Its leader has ended; the number may soon be another's.
    fn ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(leader) = self.0
            && let Some(leader) = rustix::process::Pid::from_raw(leader.cast_signed())
            && let Err(error) =
                rustix::process::kill_process_group(leader, rustix::process::Signal::KILL)
        {
            tracing::debug!(%error, "a build that is no longer waited for");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_after_download_is_a_change_a_commit_or_a_branch() {
        let hash = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(TipRef::parse("227037").unwrap(), TipRef::Change(227_037));
        assert_eq!(
            TipRef::parse(hash).unwrap(),
            TipRef::Commit(hash.to_owned())
        );
        let branch = "release-branch.go1.22";
        assert_eq!(
            TipRef::parse(branch).unwrap(),
            TipRef::Branch(branch.to_owned())
        );
        assert_eq!(
            TipRef::parse("dev.fuzz/x").unwrap(),
            TipRef::Branch("dev.fuzz/x".to_owned())
        );
        for wrong in ["", "-x", "a b", "../x", "x..y", "/x", "x:y", "+x", "x/"] {
            assert!(TipRef::parse(wrong).is_err(), "{wrong}");
        }
    }
}
