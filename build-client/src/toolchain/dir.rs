//! Toolchains side by side in one directory, such as `~/sdk`.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use super::rows::{Row, Rows};
use super::spec::Spec;
use crate::httpdl::lock;
use crate::httpdl::part::failed;
use crate::{Error, ErrorKind, Result};

/// The mark of a whole toolchain, empty, as the Go programs write it.
const MARK: &str = ".unpacked-success";
/// Where archives, locks and what is being unpacked are.
const WORK: &str = ".farmer";

/// Toolchains side by side: `~/sdk` as the Go programs have it, or a cache of one's own.
///
/// Any number of programs may use it at once, the Go ones among them.
#[derive(Clone, Debug)]
pub struct ToolchainDir(PathBuf);

/// A directory of a toolchain.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Installed {
    /// The name of its program, as in `go1.9` or `gotip`.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Whether it is whole; else its download has to be run again.
    pub ready: bool,
}

/// A toolchain that can be run.
#[derive(Clone, Debug)]
pub struct Ready {
    root: PathBuf,
    bin: PathBuf,
    program: String,
    home: Option<String>,
}

impl ToolchainDir {
    /// The toolchains below `path`, which need not exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Where the toolchain of this name is or will be.
    pub fn path(&self, name: &impl ToString) -> PathBuf {
        self.0.join(name.to_string())
    }

    /// A toolchain, to be run.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] with what to do when it is not downloaded.
    pub fn ready(&self, spec: &Spec, rows: &Rows) -> Result<Ready> {
        let row = rows.row(spec.toolchain())?;
        let root = self.path(spec);
        match is_marked(&root) {
            true => Ok(Ready::new(root, row)),
            false => Err(not_downloaded(spec, &root)),
        }
    }

    /// `gotip`, to be run.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when it is not built.
    pub fn ready_tip(&self, rows: &Rows) -> Result<Ready> {
        let root = self.path(&super::gotip::NAME);
        let ready = Ready::new(root, rows.row("go")?);
        match ready.program_path().is_file() {
            true => Ok(ready),
            false => Err(not_downloaded(&super::gotip::NAME, &ready.root)),
        }
    }

    /// What is there, by name; directories that are no toolchains are left out.
    ///
    /// # Errors
    /// When the directory cannot be read; one that is not there is empty.
    pub fn list(&self, rows: &Rows) -> Result<Vec<Installed>> {
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|error| failed("read", &self.0, error))?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry
                .map_err(|error| failed("read", &self.0, error))?
                .path();
            let Some(name) = path.file_name().and_then(OsStr::to_str) else {
                continue;
            };
            let ready = match name {
                super::gotip::NAME => self.ready_tip(rows).is_ok(),
                _ if Spec::parse(name, rows).is_ok() => is_marked(&path),
                _ => continue,
            };
            found.push(Installed {
                name: name.to_owned(),
                ready,
                path,
            });
        }
        found.sort_by(|a, b| {
            let spec = |of: &Installed| Spec::parse(&of.name, rows).ok();
            match (spec(a), spec(b)) {
                (Some(a), Some(b)) => a.toolchain().cmp(b.toolchain()).then(a.cmp_version(&b)),
                (a, b) => a.is_none().cmp(&b.is_none()),
            }
        });
        Ok(found)
    }

    /// Removes a toolchain, whole or not.
    ///
    /// Cancel safety: a dropped call may leave its files in a place where nothing finds them; the
    /// next removal or download of it takes them away.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when it is not there; [`ErrorKind::Conflict`] when the directory is
    /// not one that a download has made.
    pub async fn remove(&self, name: &str, archive: Option<&str>) -> Result<()> {
        let path = self.path(&name);
        if !path.is_dir() {
            let what = format!("{name} is not there: {}", path.display());
            return Err(Error::new(ErrorKind::NotFound, what));
        }
        let tip = name == super::gotip::NAME;
        if !is_marked(&path) && !tip {
            self.is_ours(&path, archive)?;
        }
        let held = self.hold(name, &|| ()).await?;
        let gone = self.work(&format!("{name}.gone"))?;
        blocking(move || {
            let _held = held;
            clear(&gone)?;
            fs::rename(&path, &gone).map_err(|error| failed("remove", &path, error))?;
            clear(&gone)
        })
        .await
    }

    /// A path for work on a toolchain, on the same file system.
    pub(super) fn work(&self, name: &str) -> Result<PathBuf> {
        let dir = self.0.join(WORK);
        fs::create_dir_all(&dir).map_err(|error| failed("make", &dir, error))?;
        Ok(dir.join(name))
    }

    /// Waits until no other process works on the toolchain of this name.
    pub(super) async fn hold(&self, name: &str, waiting: &(dyn Fn() + Sync)) -> Result<Held> {
        let path = self.work(&format!("{name}.lock"))?;
        loop {
            if let Some(file) = lock::hold(&path, waiting).await? {
                return Ok(Held { _file: file, path });
            }
        }
    }

    /// Whether a directory without a mark may be replaced: it is not there, empty, or holds what a
    /// Go program began to download.
    pub(super) fn is_ours(&self, path: &Path, archive: Option<&str>) -> Result<()> {
        let entries = match fs::read_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(|error| failed("read", path, error))?,
        };
        let archive = archive.and_then(|archive| archive.rsplit('/').next());
        let begun = archive.is_some_and(|archive| path.join(archive).is_file());
        if begun || entries.count() == 0 {
            return Ok(());
        }
        let what = format!("{} is there and was not downloaded", path.display());
        let error = Error::new(ErrorKind::Conflict, what);
        Err(error.with_hint("move it away; nothing of it has been changed"))
    }

    /// Puts the directory `new` in the place of a toolchain; what was there goes.
    pub(super) fn place(&self, name: &str, new: &Path) -> Result<()> {
        let (path, old) = (self.path(&name), self.work(&format!("{name}.old"))?);
        clear(&old)?;
        match fs::rename(&path, &old) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("replace", &path, error));
            }
            _ => {}
        }
        fs::rename(new, &path).map_err(|error| failed("put into place", &path, error))?;
        clear(&old)
    }
}

/// A toolchain's lock; other processes wait while it lives.
#[derive(Debug)]
pub(super) struct Held {
    _file: File,
    path: PathBuf,
}

impl Drop for Held {
    fn drop(&mut self) {
        // While it is still held: who waits for it finds that it is gone, and makes a new one.
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(%error, path = %self.path.display(), "a lock stays");
        }
    }
}

impl Ready {
    fn new(root: PathBuf, row: &Row) -> Self {
        let ext = std::env::consts::EXE_SUFFIX;
        Self {
            bin: programs(&root, row),
            program: format!("{}{ext}", row.program),
            home: row.home.clone(),
            root,
        }
    }

    /// Its directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where its programs are, below its directory; empty for itself.
    pub fn programs_below(&self) -> &Path {
        self.bin.strip_prefix(&self.root).unwrap_or(Path::new(""))
    }

    /// The variable that names its directory, where its kind has one.
    pub fn home_variable(&self) -> Option<&str> {
        self.home.as_deref()
    }

    /// When it was unpacked; tells it from another one in the same place.
    ///
    /// # Errors
    /// When it is gone.
    pub fn unpacked_at(&self) -> Result<SystemTime> {
        let mark = self.root.join(MARK);
        let modified = fs::metadata(&mark).and_then(|mark| mark.modified());
        modified.map_err(|error| failed("look at", &mark, error))
    }

    /// The program that its name stands for.
    pub fn program_path(&self) -> PathBuf {
        self.bin.join(&self.program)
    }

    /// Its program with these arguments, as the Go programs start it: its directory in `GOROOT`
    /// (where the row names such a variable) and its programs first in `PATH`, after which comes
    /// `path`, the caller's own.
    pub fn command(&self, path: Option<&OsStr>) -> Command {
        let mut command = Command::new(self.program_path());
        command.envs(self.environment(path));
        command
    }

    /// The variables of [`Ready::command`], for another program.
    pub fn environment(&self, path: Option<&OsStr>) -> Vec<(OsString, OsString)> {
        let mut first = self.bin.clone().into_os_string();
        if let Some(path) = path.filter(|path| !path.is_empty()) {
            first.push(if cfg!(windows) { ";" } else { ":" });
            first.push(path);
        }
        let home = self.home.iter();
        let home = home.map(|name| (name.into(), self.root.clone().into_os_string()));
        home.chain([("PATH".into(), first)]).collect()
    }
}

/// Where the programs of an unpacked toolchain are: archives for Windows may have them at the top.
pub(super) fn programs(root: &Path, row: &Row) -> PathBuf {
    let below = root.join(&row.bin);
    let at_top = root.join(format!("{}.exe", row.program));
    match !below.is_dir() && at_top.is_file() {
        true => root.to_owned(),
        false => below,
    }
}

fn not_downloaded(name: &impl std::fmt::Display, root: &Path) -> Error {
    // Word for word what the Go programs say.
    let root = root.display();
    let what = format!("not downloaded. Run '{name} download' to install to {root}");
    Error::new(ErrorKind::NotFound, what)
}

pub(super) fn is_marked(root: &Path) -> bool {
    root.join(MARK).is_file()
}

/// Marks a whole toolchain, after everything of it is on the disk.
pub(super) fn mark(root: &Path) -> Result<()> {
    let sync = |root: &Path| {
        let dir = File::open(root)?;
        #[cfg(target_os = "linux")]
        rustix::fs::syncfs(&dir)?;
        dir.sync_all()
    };
    sync(root).map_err(|error| failed("write", root, error))?;
    let mark = root.join(MARK);
    fs::write(&mark, b"").map_err(|error| failed("write", &mark, error))
}

/// Removes a directory that may not be there.
pub(super) fn clear(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path, error)),
        _ => Ok(()),
    }
}

/// Runs work on the disk on a thread that may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::caused_by(ErrorKind::Bug, "work on a toolchain", error))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_where_the_archive_of_a_system_has_them() {
        let (rows, dir) = (Rows::default(), tempfile::tempdir().unwrap());
        let (root, node) = (dir.path(), rows.row("node").unwrap());
        assert_eq!(programs(root, node), root.join("bin"));
        fs::write(root.join("node.exe"), "x").unwrap();
        assert_eq!(programs(root, node), root);
        let ready = Ready::new(root.to_owned(), node);
        assert_eq!(ready.programs_below(), Path::new(""));
        fs::create_dir(root.join("bin")).unwrap();
        let ready = Ready::new(root.to_owned(), node);
        assert_eq!(ready.programs_below(), Path::new("bin"));
        assert_eq!(ready.home_variable(), None);
    }
}
