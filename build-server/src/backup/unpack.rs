//! Reads a backup.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path};

use build_core::tree::remove_tree;
use build_core::{Error, ErrorKind, Result};
use flate2::read::GzDecoder;

use super::manifest::{HEAD, Head, LIST, List, Listed, MAX_BYTES, Tally, no_backup, torn};
use super::{Backup, DATABASE, DIRS, FILES, make_dir, sync};

/// Where files are until all of them have been read.
const UNPACKED: &str = "restoring";
/// What the lock leaves in a directory.
const LOCK: &str = "lock";

/// Refuses a directory that holds something else than what an earlier try has left.
pub(super) fn check_empty(dir: &Path) -> Result<()> {
    let named = |e: std::io::Error| Error::from(e).while_doing(format!("read {}", dir.display()));
    for entry in std::fs::read_dir(dir).map_err(named)? {
        let name = entry.map_err(named)?.file_name();
        if name != LOCK && name != UNPACKED {
            let (dir, name) = (dir.display(), name.display());
            let text = format!("{dir} is not empty: it holds {name}");
            return Err(Error::new(ErrorKind::Conflict, text)
                .with_hint("name a new directory with --data, or empty it: farmer down --purge"));
        }
    }
    Ok(())
}

/// Everything into `dir`, or nothing.
pub(super) fn unpack(file: File, dir: &Path, tell: &dyn Fn(&str)) -> Result<Backup> {
    let place = dir.join(UNPACKED);
    remove(&place)?;
    make_dir(&place)?;
    let unpacked = read(file, &place, tell).and_then(|made| {
        tell("putting it in place");
        put(&place, dir)?;
        Ok(made)
    });
    remove(&place)?;
    unpacked
}

fn read(file: File, place: &Path, tell: &dyn Fn(&str)) -> Result<Backup> {
    let mut archive = tar::Archive::new(GzDecoder::new(BufReader::new(file)));
    let mut head: Option<Head> = None;
    let mut found = List::default();
    let mut list: Option<List> = None;
    for entry in archive.entries().map_err(|_| no_backup())? {
        let mut entry = entry.map_err(|e| broken(e, head.is_some()))?;
        let name = entry.path().map_err(|_| torn())?;
        let name = name.to_str().ok_or_else(torn)?.to_owned();
        match (&head, name.as_str()) {
            (None, HEAD) => head = Some(Head::read(&small(&mut entry)?)?),
            (None, _) => return Err(no_backup()),
            (Some(_), LIST) => {
                let listed = small(&mut entry)?;
                list = Some(serde_json::from_slice(&listed).map_err(|_| torn())?);
            }
            (Some(_), _) => {
                if !entry.header().entry_type().is_file() || !belongs(&name) || list.is_some() {
                    let text =
                        format!("the backup holds {name:?}, which is none of a farm's files");
                    return Err(Error::new(ErrorKind::Corrupt, text));
                }
                tell(&name);
                found.files.push(write(&mut entry, place, name)?);
            }
        }
    }
    // The archive ends before the checksum of the compression: that is read too.
    let rest = std::io::copy(&mut archive.into_inner(), &mut std::io::sink());
    rest.map_err(|e| broken(e, head.is_some()))?;
    let head = head.ok_or_else(no_backup)?;
    if list.as_ref() != Some(&found) {
        return Err(torn());
    }
    Ok(Backup {
        made: head.made,
        head: head.head,
        files: found.files.len(),
        bytes: found.files.iter().map(|file| file.size).sum(),
    })
}

/// An error of reading: what is no archive at all is no backup.
fn broken(error: std::io::Error, begun: bool) -> Error {
    use std::io::ErrorKind as Io;
    match error.kind() {
        Io::UnexpectedEof | Io::InvalidData | Io::InvalidInput | Io::Other if begun => torn(),
        Io::UnexpectedEof | Io::InvalidData | Io::InvalidInput | Io::Other => no_backup(),
        _ => error.into(),
    }
}

fn small(entry: &mut impl Read) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = entry.take(MAX_BYTES).read_to_end(&mut bytes);
    read.map_err(|e| broken(e, true))?;
    Ok(bytes)
}

/// Whether a farm keeps a file of this name; nothing leads out of the directory.
fn belongs(name: &str) -> bool {
    let path = Path::new(name);
    let plain = path
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    let known = name == DATABASE || FILES.contains(&name);
    plain
        && (known
            || DIRS
                .iter()
                .any(|dir| path.starts_with(dir) && path != Path::new(dir)))
}

fn write(entry: &mut impl Read, place: &Path, name: String) -> Result<Listed> {
    let path = place.join(&name);
    make_dir(super::directory_of(&path))?;
    let named = |e: std::io::Error| Error::from(e).while_doing(format!("write {}", path.display()));
    let file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path);
    let mut to = Tally::new(file.map_err(named)?);
    let mut piece = vec![0; 256 << 10];
    loop {
        let read = entry.read(&mut piece).map_err(|e| broken(e, true))?;
        if read == 0 {
            break;
        }
        to.write_all(&piece[..read]).map_err(named)?;
    }
    let (file, listed) = to.listed(name);
    file.sync_data().map_err(named)?;
    Ok(listed)
}

/// Moves what was unpacked to where a farm looks for it, the database last: without it there is no
/// farm.
fn put(place: &Path, dir: &Path) -> Result<()> {
    let named = |e: std::io::Error| Error::from(e).while_doing(format!("write {}", dir.display()));
    let mut names = Vec::new();
    for entry in std::fs::read_dir(place).map_err(named)? {
        names.push(entry.map_err(named)?.file_name());
    }
    names.sort_by_key(|name| name == DATABASE);
    for name in &names {
        if name == DATABASE {
            sync(dir)?;
        }
        std::fs::rename(place.join(name), dir.join(name)).map_err(named)?;
    }
    sync(dir)
}

fn remove(place: &Path) -> Result<()> {
    match remove_tree(place) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::from(e).while_doing(format!("remove {}", place.display())))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_a_farm_are_unpacked() {
        for name in [
            "farmer.db",
            "token",
            "logs/B000000001/x.log",
            "blobs/artifact/ab",
            "who/users.json",
        ] {
            assert!(belongs(name), "{name}");
        }
        for name in [
            "",
            "/etc/passwd",
            "../x",
            "logs/../../x",
            "logs",
            "blobs",
            "lock",
            "git/x",
            "farmer.db-wal",
            "./token",
        ] {
            assert!(!belongs(name), "{name}");
        }
    }
}
