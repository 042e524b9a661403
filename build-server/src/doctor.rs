//! What is wrong with a data directory, and what to do about it.
//!
//! Rows follow from events, and caches and packed sources from commits: when they are damaged they
//! are made again. Events, logs and artifacts are originals: of those the doctor says what is lost.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use build_core::event::{KindSet, Seq};
use build_core::ids::{BuildId, ExecId};
use build_core::livelog::Position;
use build_core::tree::remove_tree;
use build_core::{Error, ErrorKind, Result};
use serde::Serialize;

use crate::store::{
    BlobKey, BlobKind, Blobs, BuildFilter, BuildRecords, DataLock, EventLog, FileBlobs, FileLogs,
    LogHash, Logs, Quota, Records, SqliteOptions, SqliteStore,
};

/// Events, builds and bytes looked at in one go.
const PAGE: usize = 10_000;
const PIECE_BYTES: usize = 256 << 10;
/// Less room than this and builds fail soon.
const LITTLE_ROOM: u64 = 1 << 30;

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// One sentence.
    pub what: String,
    /// What to do, or what was done.
    pub remedy: String,
    /// Whether it is well again.
    pub mended: bool,
}

/// What the doctor has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Examined {
    /// Events in the log that can be read.
    pub events: u64,
    /// Large contents that were checked.
    pub blobs: usize,
    /// Logs that were checked.
    pub logs: usize,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

struct Doctor<'a> {
    dir: &'a Path,
    mend: bool,
    /// Whether a farm is at work in the directory.
    is_in_use: bool,
    seen: Examined,
}

/// Looks at everything in a data directory. With `mend` it also makes again what can be: rows from
/// events; damaged caches and packed sources are removed, for the next build makes them.
///
/// Reads everything that is kept, so it takes as long as the disk needs for that. `tell` hears
/// what is being looked at.
///
/// # Errors
/// [`ErrorKind::NotFound`] when nothing was ever recorded there, [`ErrorKind::Conflict`] when it is
/// to be mended and a farm is at work in it; otherwise when it cannot be looked at all.
pub async fn examine(dir: &Path, mend: bool, tell: impl Fn(&str)) -> Result<Examined> {
    let path = dir.join("farmer.db");
    if !path.exists() {
        let text = format!(
            "nothing has been built yet: {} holds no builds",
            dir.display()
        );
        return Err(
            Error::new(ErrorKind::NotFound, text).with_hint("build something with: farmer build")
        );
    }
    let _lock = match mend {
        true => Some(DataLock::acquire(dir)?),
        false => None,
    };
    let mut doctor = Doctor {
        dir,
        mend,
        is_in_use: !mend && DataLock::owner(dir)?.is_some(),
        seen: Examined::default(),
    };
    doctor.surroundings();
    tell("the database");
    if let Some(database) = doctor.database(&path).await? {
        tell("events and rows");
        doctor.events(&database).await;
        doctor.rows(&database).await?;
        tell("caches, packed sources and artifacts");
        doctor.blobs(&database).await?;
        database.close().await?;
    }
    tell("logs");
    doctor.logs().await?;
    doctor.leftovers();
    Ok(doctor.seen)
}

impl Doctor<'_> {
    fn found(&mut self, what: String, remedy: impl Into<String>, mended: bool) {
        let remedy = remedy.into();
        self.seen.findings.push(Finding {
            what,
            remedy,
            mended,
        });
    }

    /// Room on the disk, and who may look into the directory.
    fn surroundings(&mut self) {
        if let Ok(about) = rustix::fs::statvfs(self.dir) {
            let free = about.f_bavail.saturating_mul(about.f_frsize);
            if free < LITTLE_ROOM {
                let text = format!("{} has {} MiB of room", self.dir.display(), free >> 20);
                self.found(
                    text,
                    "free some space: a farm that cannot record waits",
                    false,
                );
            }
        }
        let Ok(about) = self.dir.metadata() else {
            return;
        };
        if about.permissions().mode() & 0o077 != 0 {
            let text = format!("{} is open to other users", self.dir.display());
            let private = std::fs::Permissions::from_mode(0o700);
            let mended = self.mend && std::fs::set_permissions(self.dir, private).is_ok();
            let remedy = format!("chmod 700 {}", self.dir.display());
            self.found(text, remedy, mended);
        }
    }

    async fn database(&mut self, path: &Path) -> Result<Option<Arc<SqliteStore>>> {
        let opened = match self.mend {
            true => {
                let options = SqliteOptions::default().accept_lost_events();
                SqliteStore::open(path, options).await
            }
            false => SqliteStore::open_to_read(path).await,
        };
        let database = match opened {
            Ok(database) => database,
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                let remedy = error.hint().unwrap_or("put back a copy").to_owned();
                self.found(error.chain(), remedy, false);
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if let Some(lost) = database.lost_events().await? {
            let remedy = match self.mend {
                true => "the farm goes on without them; what they told of is built again",
                false => "put farmer.db-wal back, or go on without: farmer doctor --mend",
            };
            self.found(lost, remedy, self.mend);
        }
        for complaint in database.complaints().await? {
            let text = format!("{} is damaged: {complaint}", path.display());
            self.found(
                text,
                "keep it and put back a copy: events are originals",
                false,
            );
        }
        Ok(Some(Arc::new(database)))
    }

    async fn events(&mut self, database: &SqliteStore) {
        let mut after = Seq(0);
        loop {
            match database.read(&KindSet::all(), after, PAGE).await {
                Ok(page) if page.upto == after => return,
                Ok(page) => {
                    self.seen.events += page.items.len() as u64;
                    after = page.upto;
                }
                Err(error) => {
                    let text = format!("events behind {} cannot be read: {error}", after.0);
                    self.found(
                        text,
                        "put back a copy of farmer.db: events are originals",
                        false,
                    );
                    return;
                }
            }
        }
    }

    async fn rows(&mut self, database: &SqliteStore) -> Result<()> {
        let damaged = database.damaged_rows().await?;
        if self.mend {
            database.rebuild().await?;
        }
        for name in damaged {
            let remedy = match self.mend {
                true => "it was folded again from its events",
                false => "stop the farm and fold it again: farmer doctor --mend",
            };
            self.found(format!("the row of {name} is damaged"), remedy, self.mend);
        }
        Ok(())
    }

    async fn blobs(&mut self, database: &SqliteStore) -> Result<()> {
        let place = self.dir.join("blobs");
        let blobs = match self.mend {
            true => FileBlobs::open(place, Quota::default())?,
            false => FileBlobs::open_to_read(place),
        };
        let mut lost = Vec::new();
        for kind in BlobKind::ALL {
            for key in blobs.keys(kind).await? {
                self.seen.blobs += 1;
                if blobs.check(&key).await? != Some(false) {
                    continue;
                }
                if kind == BlobKind::Artifact {
                    lost.push(key);
                    continue;
                }
                if self.mend {
                    blobs.remove(&key).await?;
                }
                let remedy = "it is made again when it is needed";
                self.found(format!("{key} is damaged"), remedy, self.mend);
            }
        }
        if !lost.is_empty() {
            self.artifacts(database, &lost).await?;
        }
        Ok(())
    }

    /// Artifacts that are damaged, with the builds that kept them.
    async fn artifacts(&mut self, database: &SqliteStore, lost: &[BlobKey]) -> Result<()> {
        let mut of_build: BTreeMap<String, (BuildId, String)> = BTreeMap::new();
        let (every, mut before) = (BuildFilter::default(), None);
        loop {
            let page = database.builds(&every, before, PAGE).await?;
            for row in page.builds {
                let row = row.with_all_files(database).await?;
                for file in row.kept.iter().flat_map(|kept| &kept.artifacts) {
                    of_build.insert(
                        file.sha256.clone(),
                        (row.id.clone(), file.path.escaped().into_owned()),
                    );
                }
            }
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        for key in lost {
            let (text, remedy) = match of_build.get(key.name()) {
                Some((build, path)) => (
                    format!("artifact {path} of {build} is damaged"),
                    format!("it is an original; build its commit again: farmer rerun {build}"),
                ),
                None => (
                    format!("{key} is damaged"),
                    "no build has kept it: remove it".to_owned(),
                ),
            };
            self.found(text, remedy, false);
        }
        Ok(())
    }

    async fn logs(&mut self) -> Result<()> {
        let logs = FileLogs::new(self.dir.join("logs"));
        let mut builds = logs.builds().await?;
        builds.sort();
        for build in builds {
            for exec in logs.attempts(&build).await? {
                self.seen.logs += 1;
                if !log_is_whole(&logs, &build, &exec).await? {
                    let text = format!("the log {exec} of {build} is damaged");
                    let remedy = "it is an original; its build can be made again: farmer rerun";
                    self.found(text, format!("{remedy} {build}"), false);
                }
            }
        }
        Ok(())
    }

    /// What a process that was killed has left on its way out; a farm at work deletes it itself.
    fn leftovers(&mut self) {
        if self.is_in_use {
            return;
        }
        let below = |dir: PathBuf| {
            let entries = dir.read_dir().into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).collect::<Vec<_>>()
        };
        let is_trash = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(".trash-")
        };
        let kinds = below(self.dir.join("machines"));
        let trash = kinds.into_iter().flat_map(below).filter(is_trash);
        for dir in trash.collect::<Vec<_>>() {
            let mended = self.mend && remove_tree(&dir).is_ok();
            let text = format!("{} was left by a farm that was killed", dir.display());
            self.found(text, "the next start deletes it", mended);
        }
    }
}

async fn log_is_whole(logs: &FileLogs, build: &BuildId, exec: &ExecId) -> Result<bool> {
    let Some(sum) = logs.sum(build, exec).await? else {
        // It was never sealed: nobody knows what it should be.
        return Ok(true);
    };
    let Some(log) = logs.open(build, exec).await? else {
        return Ok(false);
    };
    let hash = tokio::task::spawn_blocking(move || -> std::io::Result<_> {
        let mut reader = log.reader(Position::Start)?.until_now();
        let (mut hash, mut piece) = (LogHash::default(), vec![0; PIECE_BYTES]);
        while let Some(read) = reader.try_read(&mut piece)?.filter(|read| *read > 0) {
            hash.feed(&piece[..read]);
        }
        Ok(hash.finish())
    });
    let hash = hash.await;
    let hash = hash.map_err(|e| Error::caused_by(ErrorKind::Bug, "read a log", e))??;
    Ok(hash == sum)
}
