//! Who owns a data directory.

use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use build_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::private;
use crate::file_lock::FileLock;

/// The process that owns a data directory, as it wrote itself into the lock file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Its process id.
    pub pid: u32,
    /// Its command line, arguments separated by spaces, without passwords.
    pub command: String,
    /// Where it answers, such as `http://localhost:8119`; `None` when it does not.
    #[serde(default)]
    pub address: Option<String>,
    /// Where people and other machines find it, such as `https://farm.example:8119`.
    #[serde(default)]
    pub public: Option<String>,
    /// What its callers show. The file is readable by its owner alone.
    #[serde(default)]
    pub token: Option<String>,
    /// It ends by itself once its builds have ended, and this is how it builds: whoever wants it
    /// so may have it built there, everybody else may wait for the end.
    #[serde(default)]
    pub passing: Option<String>,
}

impl Owner {
    fn of_this_process() -> Self {
        let args = std::env::args_os();
        let words: Vec<_> = args.map(|a| a.to_string_lossy().into_owned()).collect();
        Self {
            pid: std::process::id(),
            command: crate::source::without_passwords(&words.join(" ")),
            address: None,
            public: None,
            token: None,
            passing: None,
        }
    }
}

impl fmt::Display for Owner {
    /// `farmer build . (pid 4711)`, the program without its directory.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (program, args) = self.command.split_once(' ').unwrap_or((&self.command, ""));
        let name = program.rsplit('/').next().unwrap_or(program);
        let words = [name, args].into_iter().filter(|w| !w.is_empty());
        let command = words.collect::<Vec<_>>().join(" ");
        write!(f, "{command} (pid {})", self.pid)
    }
}

/// The lock of a data directory; ends with the process, however it ends.
#[derive(Debug)]
pub struct DataLock {
    path: PathBuf,
    file: Mutex<FileLock>,
    passing: OnceLock<String>,
}

impl DataLock {
    /// Makes `dir` when it is missing, and locks it.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] naming the owner when another process has it; otherwise when
    /// the lock file cannot be made.
    pub fn acquire(dir: &Path) -> Result<Self> {
        let failed = |error: std::io::Error| {
            Error::from(error)
                .while_doing(format!("lock data directory {}", dir.display()))
                .with_hint("name one that you can write with --data")
        };
        private::create_dir_all(dir).map_err(failed)?;
        let path = dir.join("lock");
        let mut file = private::open(&path).map_err(failed)?;
        let copy = file.try_clone().map_err(failed)?;
        let Some(file) = FileLock::take(copy, ASKING).map_err(failed)? else {
            return Err(taken(dir, &read_owner(&mut file)));
        };
        let lock = Self {
            path,
            file: Mutex::new(file),
            passing: OnceLock::new(),
        };
        lock.publish(None, None, None)?;
        Ok(lock)
    }

    /// Tells other processes where this one answers, where others find it, and with which token.
    ///
    /// # Errors
    /// When the lock file cannot be written.
    pub fn publish(
        &self,
        address: Option<String>,
        public: Option<String>,
        token: Option<String>,
    ) -> Result<()> {
        let owner = Owner {
            address,
            public,
            token,
            passing: self.passing.get().cloned(),
            ..Owner::of_this_process()
        };
        let text = serde_json::to_vec(&owner).expect("strings and a number always serialise");
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(&text));
        written.map_err(|e| Error::from(e).while_doing(format!("write {}", self.path.display())))
    }

    /// Tells other processes that this one ends by itself, once its builds have ended, and how it
    /// builds, in any words; the first ones count.
    ///
    /// # Errors
    /// When the lock file cannot be written.
    pub fn say_passing(&self, how: impl Into<String>) -> Result<()> {
        self.passing.get_or_init(|| how.into());
        self.publish(None, None, None)
    }

    /// Whether the directory, or the lock in it, was removed or replaced: what this process writes
    /// there is lost then, and another one may have begun in its place.
    pub fn is_lost(&self) -> bool {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(ours) = file.metadata() else {
            return false;
        };
        match std::fs::metadata(&self.path) {
            Ok(there) => (there.dev(), there.ino()) != (ours.dev(), ours.ino()),
            // A disk that does not answer for a while has lost nothing.
            Err(error) => matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            ),
        }
    }

    /// The process that owns `dir` now, if any.
    ///
    /// # Errors
    /// When the lock file cannot be read.
    pub fn owner(dir: &Path) -> Result<Option<Owner>> {
        let path = dir.join("lock");
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(Error::from(error).while_doing(format!("read {}", path.display())));
            }
        };
        match file.try_lock_shared() {
            // Nobody has it. A child that is being started must not keep it.
            Ok(()) => file.unlock().map(|()| None).map_err(Error::from),
            Err(_) => Ok(Some(read_owner(&mut file).unwrap_or_default())),
        }
    }
}

/// How long a lock may be held by somebody who only asks for the owner ([`DataLock::owner`]).
const ASKING: Duration = Duration::from_millis(250);

/// `None` while the owner is about to write itself.
fn read_owner(file: &mut File) -> Option<Owner> {
    let mut text = String::new();
    file.take(64 << 10).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

fn taken(dir: &Path, owner: &Option<Owner>) -> Error {
    let by = match owner {
        Some(owner) => format!("process {} ({})", owner.pid, owner.command),
        None => "another process".to_owned(),
    };
    Error::new(
        ErrorKind::Conflict,
        format!("data directory {} is in use by {by}", dir.display()),
    )
    .with_hint("stop that process, or use another directory with --data")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_owner_is_told_who_the_first_is() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(DataLock::owner(dir.path()).unwrap(), None);
        let lock = DataLock::acquire(dir.path()).unwrap();
        lock.publish(Some("http://localhost:1".into()), None, None)
            .unwrap();
        let error = DataLock::acquire(dir.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        let pid = format!("process {}", std::process::id());
        assert!(error.to_string().contains(&pid), "{error}");
        let owner = DataLock::owner(dir.path()).unwrap().unwrap();
        assert_eq!(owner.address.as_deref(), Some("http://localhost:1"));
        drop(lock);
        assert_eq!(DataLock::owner(dir.path()).unwrap(), None);
        DataLock::acquire(dir.path()).unwrap();
    }
    #[test]
    fn a_directory_that_is_removed_or_replaced_is_noticed() {
        let top = tempfile::tempdir().unwrap();
        let dir = top.path().join("data");
        let lock = DataLock::acquire(&dir).unwrap();
        lock.say_passing("alone").unwrap();
        let owner = DataLock::owner(&dir).unwrap().unwrap();
        assert_eq!(owner.passing.as_deref(), Some("alone"));
        assert!(!lock.is_lost());
        std::fs::rename(&dir, top.path().join("elsewhere")).unwrap();
        assert!(lock.is_lost());
        let second = DataLock::acquire(&dir).unwrap();
        assert!(lock.is_lost() && !second.is_lost());
        std::fs::remove_dir_all(&dir).unwrap();
        std::fs::write(&dir, "").unwrap();
        assert!(second.is_lost());
    }
}
