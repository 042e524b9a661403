//! Trees beside the work directory, for builds to come: toolchains of machines that see no other
//! machine's files.
//!
//! A tree is called by the SHA-256 of the archive that it came in. It is unpacked aside and put into
//! its place by one rename, with a note of what it looked like then: a machine that dies meanwhile
//! has nothing, and a tree that a build has changed is not found any more. Several buildlets may
//! share one directory. Decision: docs/decisions/0024-toolchains-elsewhere.md.

mod print;
mod tidy;

use std::fs::{self, DirBuilder, File};
use std::io::{self, BufRead, Read, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use build_core::buildlet::{KeptTree, param};
use build_core::tarutil::{Policy, Untar};
use build_core::tree::remove_tree;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use self::print::Print;
use super::answer::{Lost, Refusal, chain};
use super::bridge::{BodyReader, consume};
use super::fetch;
use super::routes::{Reply, Request, read_params, reply};
use super::server::App;

/// Free space that unpacking leaves.
const FLOOR: u64 = 256 << 20;
/// Longest step of the times of files.
const TICK: Duration = Duration::from_millis(20);
/// The tree itself, below its name.
const TREE: &str = "tree";
/// What it looked like when it was whole; its time is that of the last use.
const NOTE: &str = "whole.json";
/// Held shared by who looks or unpacks, alone by who removes.
const LOCK: &str = "lock";
/// Begins of names that are no trees: what is being unpacked, and what is being removed.
const UNFINISHED: [&str; 2] = [".new-", ".gone-"];

/// A directory of trees.
#[derive(Clone, Debug)]
pub(crate) struct Trees {
    dir: PathBuf,
    /// What they may take of the disk, except for those of the last day.
    most_bytes: u64,
}

/// What is known of a whole tree.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    /// What it takes of the disk.
    bytes: u64,
    /// Of names, sizes and times.
    print: String,
}

impl Note {
    fn read(home: &Path) -> Option<Self> {
        // Whatever is wrong with it: then there is no tree.
        serde_json::from_slice(&fs::read(home.join(NOTE)).ok()?).ok()
    }
}

impl Trees {
    /// The trees in `dir`, which is made when the first one comes.
    pub(crate) fn new(dir: PathBuf, most_bytes: u64) -> Self {
        Self { dir, most_bytes }
    }

    /// The tree of an archive, if it is here and as it was; it counts as used now.
    pub(crate) fn find(&self, sha256: &str) -> io::Result<Option<PathBuf>> {
        if !self.dir.is_dir() {
            return Ok(None);
        }
        let lock = self.open()?;
        lock.lock_shared()?;
        let found = self.look(sha256);
        lock.unlock()?;
        found
    }

    /// Unpacks an archive, unless its tree is here; what is in the way of others goes.
    pub(crate) fn keep(
        &self,
        sha256: &str,
        archive: impl Read,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<PathBuf, Refusal> {
        let lock = self.open()?;
        self.tidy(&lock, SystemTime::now())?;
        lock.lock_shared()?;
        let kept = match self.look(sha256) {
            Ok(Some(there)) => Ok(there),
            Ok(None) => self.unpack(sha256, archive, cancelled),
            Err(error) => Err(error.into()),
        };
        lock.unlock()?;
        // The next one does what this one could not.
        if let Err(error) = self.tidy(&lock, SystemTime::now()) {
            tracing::warn!(%error, "old trees stay");
        }
        kept
    }

    /// Makes the directory, for its owner alone, and opens its lock.
    fn open(&self) -> io::Result<File> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)?;
        if fs::metadata(&self.dir)?.uid() != rustix::process::geteuid().as_raw() {
            let text = format!("{} belongs to another user", self.dir.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        let options = &mut File::options();
        let options = options.create(true).truncate(false).write(true);
        options.open(self.dir.join(LOCK))
    }

    fn look(&self, sha256: &str) -> io::Result<Option<PathBuf>> {
        let home = self.dir.join(sha256);
        let Some(note) = Note::read(&home) else {
            return Ok(None);
        };
        let tree = home.join(TREE);
        if Print::of(&tree).is_ok_and(|print| print.text == note.print) {
            let now = SystemTime::now();
            File::options()
                .write(true)
                .open(home.join(NOTE))?
                .set_modified(now)?;
            return Ok(Some(tree.canonicalize()?));
        }
        tracing::warn!(sha256, "a kept tree has changed since, it is thrown away");
        self.discard(&home)?;
        Ok(None)
    }

    fn unpack(
        &self,
        sha256: &str,
        archive: impl Read,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<PathBuf, Refusal> {
        let new = self.aside(UNFINISHED[0])?;
        let whole = self
            .fill(&new, sha256, archive, cancelled)
            .and_then(|()| Ok(self.place(&new, sha256)?));
        if whole.is_err()
            && let Err(error) = remove_tree(&new)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "half a tree stays until the next one comes");
        }
        whole
    }

    /// Unpacks and checks.
    fn fill(
        &self,
        new: &Path,
        sha256: &str,
        archive: impl Read,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), Refusal> {
        let tree = new.join(TREE);
        DirBuilder::new().recursive(true).create(&tree)?;
        let mut archive = Hashing::new(archive);
        Untar::open(&tree)?
            .policy(Policy::default())
            .disk_floor(FLOOR)
            .cancel_when(cancelled)
            .unpack(&mut archive)
            .map_err(|error| Refusal::new(error.status(), error.wire_text()))?;
        // What follows the end of a tar archive belongs to the file.
        io::copy(&mut archive, &mut io::sink())?;
        let is = hex::encode(archive.hash.finalize());
        if is != sha256 {
            let text = format!("it is not the archive {sha256}: its SHA-256 is {is}");
            return Err(Refusal::bad(text));
        }
        Ok(describe(new, &tree)?)
    }

    /// Puts a whole tree into its place. Somebody else may have been faster with the same one.
    fn place(&self, new: &Path, sha256: &str) -> io::Result<PathBuf> {
        let home = self.dir.join(sha256);
        if let Err(error) = fs::rename(new, &home) {
            if Note::read(&home).is_none() {
                return Err(error);
            }
            remove_tree(new)?;
        }
        File::open(&self.dir)?.sync_all()?;
        home.join(TREE).canonicalize()
    }

    /// A path for work in the same directory that nobody else has.
    fn aside(&self, begin: &str) -> io::Result<PathBuf> {
        let random = getrandom::u64().map_err(io::Error::other)?;
        Ok(self.dir.join(format!("{begin}{random:016x}")))
    }

    /// Removes a tree: nobody finds it from the first moment on.
    fn discard(&self, home: &Path) -> io::Result<()> {
        let gone = self.aside(UNFINISHED[1])?;
        match fs::rename(home, &gone) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => remove_tree(&gone),
        }
    }
}

/// Writes down what a whole tree looks like, once all of it is on the disk.
fn describe(new: &Path, tree: &Path) -> io::Result<()> {
    let dir = File::open(tree)?;
    #[cfg(target_os = "linux")]
    rustix::fs::syncfs(&dir)?;
    dir.sync_all()?;
    // Times of files move in steps: what somebody changes from now on has another time.
    std::thread::sleep(TICK);
    let print = Print::of(tree)?;
    let note = Note {
        bytes: print.bytes,
        print: print.text,
    };
    let mut file = File::create_new(new.join(NOTE))?;
    file.write_all(&serde_json::to_vec(&note)?)?;
    file.sync_all()?;
    File::open(new)?.sync_all()
}

/// Takes the SHA-256 of what is read.
struct Hashing<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Hashing<R> {
    fn new(inner: R) -> Self {
        let hash = Sha256::new();
        Self { inner, hash }
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buf)?;
        self.hash.update(&buf[..count]);
        Ok(count)
    }
}

/// `/trees/SHA256`: whether it is here (GET), takes it (PUT), or fetches it (POST).
pub(crate) async fn answer(
    app: &Arc<App>,
    mut request: Request<'_>,
    sha256: &str,
) -> Result<(), Lost> {
    let result = match request.head().method() {
        "GET" => find(app, sha256).await,
        "PUT" => {
            let work = job(app, sha256);
            consume(&app.supervisor, "keep a tree", &mut request, work).await?
        }
        _ => match url(&mut request).await {
            Ok(url) => fetch::fetch(app, &url, job(app, sha256)).await?,
            Err(refusal) => Err(refusal),
        },
    };
    reply(request, result).await
}

async fn find(app: &App, sha256: &str) -> Result<Reply, Refusal> {
    let (trees, sha256) = (app.trees.clone(), sha256.to_owned());
    let found = app
        .supervisor
        .spawn_blocking("look for a tree", move || trees.find(&sha256));
    let found = found
        .await
        .map_err(|error| Refusal::failed(chain(&error)))??;
    tell(found)
}

async fn url(request: &mut Request<'_>) -> Result<String, Refusal> {
    let params = read_params(request).await?;
    match params.get(param::URL) {
        Some(url) if !url.is_empty() => Ok(url.to_owned()),
        _ => Err(Refusal::bad("missing url POST param")),
    }
}

/// Unpacks a body on its thread.
fn job(
    app: &Arc<App>,
    sha256: &str,
) -> impl FnOnce(BodyReader) -> Result<Reply, Refusal> + Send + use<> {
    let (app, sha256) = (app.clone(), sha256.to_owned());
    move |mut body| {
        let stop = app.supervisor.token().clone();
        let kept = app
            .trees
            .keep(&sha256, &mut body, &|| stop.is_cancelled())?;
        // One that is here already is not read; the client need not know.
        while !body.fill_buf()?.is_empty() {
            let count = body.fill_buf()?.len();
            body.consume(count);
        }
        tell(Some(kept))
    }
}

fn tell(tree: Option<PathBuf>) -> Result<Reply, Refusal> {
    let path = tree.map(|tree| {
        let text = tree.into_os_string().into_string();
        text.map_err(|path| Refusal::failed(format!("{} is not UTF-8", path.display())))
    });
    Reply::json(&KeptTree::new(path.transpose()?))
}

#[cfg(test)]
mod tests;
