//! Where commands run, and where the buildlet keeps its own files.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::Options;

/// The directory that images of build machines mount for builds.
const MOUNTED: &str = "/workdir";

/// The work directory: the one asked for, else a mounted one, else an empty temporary one.
///
/// # Errors
/// It cannot be used; the text names it.
pub(super) fn choose(options: &Options) -> Result<PathBuf, String> {
    let chosen = match &options.work_dir {
        Some(dir) => dir
            .canonicalize()
            .map_err(|error| format!("work directory {}: {error}", dir.display()))?,
        None if is_tmpfs(Path::new(MOUNTED)) => PathBuf::from(MOUNTED),
        None => temporary().map_err(|error| format!("temporary work directory: {error}"))?,
    };
    if !chosen.is_dir() {
        return Err(format!(
            "work directory {}: not a directory",
            chosen.display()
        ));
    }
    for name in ["tmp", "gocache"] {
        renew(&chosen.join(name))
            .map_err(|error| format!("work directory {}: {name}: {error}", chosen.display()))?;
    }
    Ok(chosen)
}

/// A directory in the temporary one for this user alone, empty.
fn temporary() -> io::Result<PathBuf> {
    let dir = std::env::temp_dir().join("workdir");
    renew(&dir)?;
    dir.canonicalize()
}

/// Makes a directory empty.
fn renew(dir: &Path) -> io::Result<()> {
    match build_core::tree::remove_tree(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => fs::create_dir_all(dir),
    }
}

#[cfg(target_os = "linux")]
fn is_tmpfs(dir: &Path) -> bool {
    const TMPFS_MAGIC: rustix::fs::FsWord = 0x0102_1994;
    rustix::fs::statfs(dir).is_ok_and(|disk| disk.f_type == TMPFS_MAGIC)
}

/// Other systems name their file systems in ways of their own: nothing is known of them.
#[cfg(not(target_os = "linux"))]
fn is_tmpfs(_: &Path) -> bool {
    false
}

/// Beside others of this kind in the temporary directory, named after the work directory: two
/// buildlets of one work directory meet at its lock.
pub(super) fn default_state_dir(work_dir: &Path) -> PathBuf {
    let name = hex::encode(&Sha256::digest(work_dir.as_os_str().as_bytes())[..8]);
    std::env::temp_dir().join(format!("farmer-buildlet-{name}"))
}
