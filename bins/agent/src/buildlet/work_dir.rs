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
        None => temporary(options).map_err(|error| format!("temporary work directory: {error}"))?,
    };
    if !chosen.is_dir() {
        return Err(format!(
            "work directory {}: not a directory",
            chosen.display()
        ));
    }
    // Before anything is emptied.
    refuse_home(&chosen, &homes())?;
    for name in ["tmp", "gocache"] {
        renew(&chosen.join(name))
            .map_err(|error| format!("work directory {}: {name}: {error}", chosen.display()))?;
    }
    Ok(chosen)
}

/// The user's home, and the root of everything.
fn homes() -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let home = home.and_then(|home| home.canonicalize().ok());
    home.into_iter().chain([PathBuf::from("/")]).collect()
}

/// Parts of a work directory are emptied, and all of it between two uses: it must not be a
/// directory that people or the system live in.
fn refuse_home(work_dir: &Path, homes: &[PathBuf]) -> Result<(), String> {
    match homes.iter().find(|home| home.starts_with(work_dir)) {
        None => Ok(()),
        Some(home) => Err(format!(
            "work directory {} is emptied, and {} is in it\n  hint: name a directory that is for \
             builds alone by --workdir",
            work_dir.display(),
            home.display()
        )),
    }
}

/// A directory in the temporary one for this user alone, empty.
fn temporary(options: &Options) -> io::Result<PathBuf> {
    let name = match &options.reverse {
        Some(reverse) => format!("workdir-{}", reverse.host_type),
        None => "workdir".to_owned(),
    };
    let dir = std::env::temp_dir().join(name);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes_and_the_root_are_no_work_directories() {
        let homes = [PathBuf::from("/home/ann"), PathBuf::from("/")];
        for bad in ["/", "/home", "/home/ann"] {
            assert!(refuse_home(Path::new(bad), &homes).is_err(), "{bad}");
        }
        for good in ["/home/ann/work", "/home/annex", "/workdir"] {
            refuse_home(Path::new(good), &homes).unwrap();
        }
    }
}
