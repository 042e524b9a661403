//! The files of a fake buildlet.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use build_core::buildlet::{ByteStream, DirEntry, FileMode, ListDir};
use build_core::clock::Timestamp;
use build_core::tarutil::{GzipOptions, Pack, Policy, Untar};
use bytes::Bytes;
use sha1::{Digest, Sha1};

use super::io_error;
use crate::{Error, ErrorKind, Result};

/// `path` below `root`, if it cannot lead out of it.
pub(super) fn beneath(root: &Path, path: &str) -> Result<PathBuf> {
    let inside = Path::new(path)
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if inside {
        Ok(root.join(path))
    } else {
        Err(Error::new(ErrorKind::Invalid, format!("bad path {path:?}")))
    }
}

pub(super) fn write(path: &Path, mode: u32, bytes: &[u8]) -> Result<()> {
    let written = || {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, bytes)?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
    };
    written().map_err(|e| io_error(path, e))
}

pub(super) fn unpack(dir: &Path, tgz: &[u8]) -> Result<()> {
    fs::create_dir_all(dir).map_err(|e| io_error(dir, e))?;
    let unpacked = Untar::open(dir)?.policy(Policy::trees()).unpack(tgz);
    unpacked
        .map(drop)
        .map_err(|e| Error::caused_by(ErrorKind::Invalid, "unpack archive", e))
}

pub(super) fn pack(dir: &Path) -> Result<Vec<u8>> {
    let mut packed = Vec::new();
    let pack = Pack::open(dir).map_err(|e| io_error(dir, e))?;
    pack.write_gz(&mut packed, &GzipOptions::default())
        .map_err(|e| Error::caused_by(ErrorKind::Unavailable, "pack directory", e))?;
    Ok(packed)
}

/// The bytes in a few pieces, the last one an error when they are cut.
pub(super) fn pieces(bytes: Vec<u8>, cut: Option<u64>) -> ByteStream {
    let bytes = Bytes::from(bytes);
    let kept = cut.map_or(bytes.len(), |cut| {
        bytes.len().min(usize::try_from(cut).unwrap_or(usize::MAX))
    });
    let whole: Vec<_> = (0..kept)
        .step_by(64 << 10)
        .map(|at| Ok(bytes.slice(at..kept.min(at + (64 << 10)))))
        .collect();
    let end = cut.map(|_| Err(cut_off()));
    Box::pin(futures::stream::iter(whole.into_iter().chain(end)))
}

pub(super) fn cut_off() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "connection cut by an injected fault",
    )
}

pub(super) fn remove(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => build_core::tree::remove_tree(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(|e| io_error(path, e)),
    }
}

/// Lists `dir`, whose entries are called `prefix` and their name.
pub(super) fn list(
    dir: &Path,
    prefix: &[u8],
    what: &ListDir,
    out: &mut Vec<DirEntry>,
) -> Result<()> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(|e| io_error(dir, e))? {
        names.push(entry.map_err(|e| io_error(dir, e))?.file_name());
    }
    names.sort();
    for name in names {
        let path = dir.join(&name);
        let relative = [prefix, name.as_bytes()].concat();
        let is_skipped = |skip: &String| skip.as_bytes() == relative;
        if what.skip.iter().any(is_skipped) && path.is_dir() {
            continue;
        }
        let entry = entry(&path, &relative, what.digest).map_err(|e| io_error(&path, e))?;
        let below = (entry.is_dir() && what.recursive).then(|| entry.name.clone());
        out.push(entry);
        if let Some(prefix) = below {
            list(&path, prefix.as_bytes(), what, out)?;
        }
    }
    Ok(())
}

fn entry(path: &Path, relative: &[u8], digest: bool) -> std::io::Result<DirEntry> {
    let found = fs::symlink_metadata(path)?;
    let kind = found.file_type();
    let regular = kind.is_file();
    Ok(DirEntry {
        mode: FileMode::from_unix(found.permissions().mode()).to_string(),
        name: match kind.is_dir() {
            true => [relative, b"/"].concat().into(),
            false => relative.into(),
        },
        size: regular.then_some(found.len()),
        modified: if regular {
            Some(text_of(found.modified()?))
        } else {
            None
        },
        digest: if regular && digest {
            Some(hex::encode(Sha1::digest(fs::read(path)?)))
        } else {
            None
        },
    })
}

fn text_of(time: SystemTime) -> String {
    Timestamp::from(time).to_string()
}
