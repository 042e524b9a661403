//! What a tree looks like from outside: cheaper than its contents, and no build changes it unseen.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// Of all names, modes, sizes and times below a directory.
pub(super) struct Print {
    /// Its SHA-256 in hex.
    pub(super) text: String,
    /// What the files take of the disk.
    pub(super) bytes: u64,
}

impl Print {
    /// Of the directory `root`. The time of the last change of each file's state counts: who writes
    /// may set the other times, not that one.
    pub(super) fn of(root: &Path) -> io::Result<Self> {
        let (mut hash, mut bytes) = (Sha256::new(), 0);
        let mut dirs = vec![PathBuf::new()];
        while let Some(dir) = dirs.pop() {
            let names = fs::read_dir(root.join(&dir))?.map(|entry| Ok(entry?.file_name()));
            let mut names: Vec<_> = names.collect::<io::Result<_>>()?;
            names.sort();
            for name in names {
                let path = dir.join(name);
                let found = fs::symlink_metadata(root.join(&path))?;
                let whole = path.as_os_str().as_bytes();
                hash.update(u64::try_from(whole.len()).unwrap_or(u64::MAX).to_le_bytes());
                hash.update(whole);
                for number in [
                    found.mtime(),
                    found.mtime_nsec(),
                    found.ctime(),
                    found.ctime_nsec(),
                ] {
                    hash.update(number.to_le_bytes());
                }
                hash.update(found.mode().to_le_bytes());
                if found.is_dir() {
                    dirs.push(path);
                } else {
                    hash.update(found.size().to_le_bytes());
                }
                bytes += found.blocks() * 512;
            }
        }
        let text = hex::encode(hash.finalize());
        Ok(Self { text, bytes })
    }
}
