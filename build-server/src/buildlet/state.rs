//! The directory that makes a buildlet findable and keeps it alone: lock and description.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::processes::Process;
use crate::file_lock::FileLock;

/// Contents of `buildlet.json`: enough to find a running buildlet again, and to tell it from a
/// later process with its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Description {
    /// Its process id.
    pub pid: u32,
    /// When that process started, in clock ticks since the system did (field 22 of its `stat`).
    pub started_ticks: u64,
    /// Where it listens: `unix:/path` or `host:port`.
    pub listens: Vec<String>,
    /// Its work directory.
    pub work_dir: PathBuf,
    /// SHA-256 of the nonce of its lease, lower-case hex; absent without a lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce_sha256: Option<String>,
}

impl Description {
    /// Reads the description in `state_dir`; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be read, or is not one.
    pub fn read(state_dir: &Path) -> io::Result<Option<Self>> {
        match fs::read(state_dir.join(StateDir::DESCRIPTION)) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the process it describes still runs.
    pub fn is_alive(&self) -> bool {
        let process = i32::try_from(self.pid).ok().and_then(Process::of);
        process.is_some_and(|process| process.started == self.started_ticks && !process.zombie)
    }
}

/// A locked state directory.
#[derive(Debug)]
pub(crate) struct StateDir {
    path: PathBuf,
    /// Held open, and with it the lock, for the life of the buildlet.
    _lock: FileLock,
}

/// Why a state directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// Another buildlet has it.
    #[error("{} belongs to another running buildlet{}", path.display(), of_pid(*pid))]
    Taken {
        /// The directory.
        path: PathBuf,
        /// The process that has it, if it has said so.
        pid: Option<u32>,
    },
    /// Somebody else's directory is in its place.
    #[error("{} belongs to another user", .0.display())]
    Foreign(PathBuf),
    /// The system refused.
    #[error("cannot use state directory {}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// The refusal.
        #[source]
        source: io::Error,
    },
}

fn of_pid(pid: Option<u32>) -> String {
    pid.map_or(String::new(), |pid| format!(" (process {pid})"))
}

impl StateDir {
    pub(crate) const DESCRIPTION: &str = "buildlet.json";

    /// Makes the directory, for its owner alone, and locks it.
    pub(crate) fn lock(path: &Path) -> Result<Self, StateError> {
        let failed = |source| StateError::Io {
            path: path.to_owned(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(failed)?;
        let path = path.canonicalize().map_err(failed)?;
        let owner = fs::metadata(&path).map_err(failed)?.uid();
        if owner != rustix::process::geteuid().as_raw() {
            return Err(StateError::Foreign(path));
        }
        let lock = File::create(path.join("lock")).map_err(failed)?;
        match FileLock::take(lock, Duration::ZERO).map_err(failed)? {
            Some(lock) => Ok(Self { path, _lock: lock }),
            None => {
                // The description only makes the message better.
                let pid = Description::read(&path)
                    .ok()
                    .flatten()
                    .map(|other| other.pid);
                Err(StateError::Taken { path, pid })
            }
        }
    }

    /// Names the buildlet over restarts: the same directory, the same name.
    pub(crate) fn instance(&self) -> String {
        instance_of(&self.path)
    }

    pub(crate) fn spool_dir(&self) -> PathBuf {
        self.path.join("spool")
    }

    /// Tells where this process is; readers see the old description or the new one.
    pub(crate) fn describe(&self, description: &Description) -> io::Result<()> {
        let new = self.path.join("buildlet.json.new");
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec_pretty(description)?)?;
        file.sync_all()?;
        fs::rename(new, self.path.join(Self::DESCRIPTION))
    }

    /// Takes the description away, at the end.
    pub(crate) fn forget(&self) {
        // Left behind it does no harm: it says which process wrote it.
        let _ = fs::remove_file(self.path.join(Self::DESCRIPTION));
    }
}

/// The name, over restarts, of the buildlet whose state is in `path`, which is canonical.
pub(crate) fn instance_of(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    hex::encode(&Sha256::digest(path.as_os_str().as_bytes())[..8])
}

/// This process, for [`Description`].
pub(crate) fn own_start_ticks() -> u64 {
    let me = rustix::process::getpid().as_raw_nonzero().get();
    Process::of(me).map_or(0, |process| process.started)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_directory_has_one_owner_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let held = StateDir::lock(&path).unwrap();
        let description = Description {
            pid: std::process::id(),
            started_ticks: own_start_ticks(),
            listens: vec!["unix:/x".into()],
            work_dir: "/w".into(),
            nonce_sha256: None,
        };
        assert_eq!(Description::read(&path).unwrap(), None);
        held.describe(&description).unwrap();
        assert_eq!(Description::read(&path).unwrap(), Some(description.clone()));
        assert!(description.is_alive());
        assert!(
            !Description {
                started_ticks: 1,
                ..description
            }
            .is_alive()
        );

        let refused = StateDir::lock(&path).unwrap_err();
        let text = refused.to_string();
        assert!(
            text.ends_with(&format!("(process {})", std::process::id())),
            "{text}"
        );
        let name = held.instance();
        drop(held);
        assert_eq!(StateDir::lock(&path).unwrap().instance(), name);
    }
}
