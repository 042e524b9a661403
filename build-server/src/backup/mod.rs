//! A farm in one file, taken while it runs, and put back.
//!
//! [`back_up`] takes what cannot be made again: the events with their rows, the logs, the kept
//! files, who is there, keys and settings. Caches, packed sources and copies of repositories are
//! made again by the next builds.
//!
//! The database is taken first, in one transaction (`VACUUM INTO`, SQLite's own way to copy a
//! database that is being written), then the files. What events tell of is written before they
//! are, so everything that the copy tells of is in the files behind it, unless it was deleted
//! in between because it was too old; logs may be a little longer than the events say.
//!
//! [`restore`] reads the whole file before anything of it counts. See [`manifest`](self) for the
//! format: a tar archive, compressed by gzip, that begins with a head and ends with the list of
//! its files, each with its SHA-256; what has no such end is torn.
//!
//! ```no_run
//! # async fn example() -> build_core::Result<()> {
//! use std::path::Path;
//!
//! let made = build_server::backup::back_up(Path::new("/farm"), Path::new("farm.backup"), |_| {}).await?;
//! println!("{} files, {} bytes", made.files, made.bytes);
//! build_server::backup::restore(Path::new("farm.backup"), Path::new("/another"), |_| {}).await?;
//! # Ok(()) }
//! ```

mod manifest;
mod pack;
mod unpack;

use std::path::Path;

use build_core::clock::{Clock, SystemClock};
use build_core::report::rfc3339;
use build_core::{Error, ErrorKind, Result};
use serde::Serialize;

use self::manifest::{Head, VERSION};
use crate::store::{DataLock, EventLog as _, SqliteStore, private};

/// The file of a data directory that holds events and rows.
const DATABASE: &str = "farmer.db";
/// Whole directories that are taken.
const DIRS: [&str; 7] = [
    "blobs/artifact",
    "logs",
    "who",
    "tls",
    "acme",
    "reverse",
    "ssh",
];
/// Files that are taken.
const FILES: [&str; 2] = ["token", "farmer.toml"];

/// What was backed up or restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Backup {
    /// When the backup was made, by RFC 3339.
    pub made: String,
    /// The last event in it.
    pub head: u64,
    /// How many files.
    pub files: usize,
    /// How many bytes they have.
    pub bytes: u64,
}

/// Writes the farm of a data directory into a new file, which only its owner may read: keys and
/// tokens are in it. The farm may run. `tell` hears what is being done.
///
/// Cancel safe: when the future is dropped there is no file.
///
/// # Errors
/// [`ErrorKind::NotFound`] when nothing was ever recorded in the directory,
/// [`ErrorKind::Conflict`] when the file is there already, [`ErrorKind::Limit`] when the disk is
/// full, [`ErrorKind::Corrupt`] when what is kept is damaged.
pub async fn back_up(
    dir: &Path,
    file: &Path,
    tell: impl Fn(&str) + Send + 'static,
) -> Result<Backup> {
    if file.exists() {
        return Err(is_there(file));
    }
    if !dir.join(DATABASE).exists() {
        let text = format!("{} holds no builds", dir.display());
        return Err(Error::new(ErrorKind::NotFound, text)
            .with_hint("name the data directory of a farm with --data"));
    }
    let beside = directory_of(file);
    let named = |e: std::io::Error| Error::from(e).while_doing(format!("write {}", file.display()));
    let scratch = tempfile::Builder::new()
        .prefix(".farmer-backup-")
        .tempdir_in(beside);
    let scratch = scratch.map_err(named)?;
    tell("events");
    let database = SqliteStore::open_to_read(&dir.join(DATABASE)).await?;
    let copy = scratch.path().join(DATABASE);
    let copied = database.copy_to(&copy).await;
    database.close().await?;
    copied?;
    let copied = SqliteStore::open_to_read(&copy).await?;
    let head = copied.head().await;
    copied.close().await?;
    let head = Head {
        format: manifest::FORMAT.to_owned(),
        v: VERSION,
        made: rfc3339::text(SystemClock.now()),
        head: head?.0,
    };
    let (dir, file) = (dir.to_owned(), file.to_owned());
    off_thread(move || {
        let packed = pack::pack(&dir, &copy, scratch.path(), head, &tell);
        let (written, made) =
            packed.map_err(|e| e.while_doing(format!("write {}", file.display())))?;
        let kept = written.persist_noclobber(&file).map_err(|e| e.error);
        kept.map_err(|e| match e.kind() {
            std::io::ErrorKind::AlreadyExists => is_there(&file),
            _ => Error::from(e).while_doing(format!("write {}", file.display())),
        })?;
        sync(directory_of(&file))?;
        Ok(made)
    })
    .await
}

/// Makes a data directory of a backup. Nothing of it is there before the whole file has been read
/// and found to be what was written.
///
/// Not cancel safe: it goes on to its end by itself.
///
/// # Errors
/// [`ErrorKind::NotFound`] when there is no such file, [`ErrorKind::Corrupt`] when it is no backup,
/// torn or damaged, [`ErrorKind::Unsupported`] when a newer version has written it,
/// [`ErrorKind::Conflict`] when the directory is in use or not empty.
pub async fn restore(
    file: &Path,
    dir: &Path,
    tell: impl Fn(&str) + Send + 'static,
) -> Result<Backup> {
    let (file, dir) = (file.to_owned(), dir.to_owned());
    off_thread(move || {
        let opened = std::fs::File::open(&file);
        let opened =
            opened.map_err(|e| Error::from(e).while_doing(format!("read {}", file.display())))?;
        let lock = DataLock::acquire(&dir)?;
        unpack::check_empty(&dir)?;
        let named = |e: Error| e.while_doing(format!("restore {}", file.display()));
        let restored = unpack::unpack(opened, &dir, &tell).map_err(named)?;
        drop(lock);
        Ok(restored)
    })
    .await
}

async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| Error::caused_by(ErrorKind::Bug, "the work has panicked", e))?
}

fn is_there(file: &Path) -> Error {
    let text = format!("{} is there already", file.display());
    Error::new(ErrorKind::Conflict, text).with_hint("name a new file, or remove that one")
}

fn directory_of(file: &Path) -> &Path {
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty());
    dir.unwrap_or(Path::new("."))
}

fn sync(dir: &Path) -> Result<()> {
    std::fs::File::open(dir)?.sync_all()?;
    Ok(())
}

/// Makes a directory for nobody else.
fn make_dir(dir: &Path) -> Result<()> {
    private::create_dir_all(dir)
        .map_err(|e| Error::from(e).while_doing(format!("make {}", dir.display())))
}
