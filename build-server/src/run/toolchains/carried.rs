//! Toolchains on their way to machines with files of their own: packed once for each kind of machine,
//! kept there under the hash of the archive; for machines that keep nothing, put into the work
//! directory of the build.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use build_client::{collect, once};
use build_core::buildlet::{ByteStream, Exec};
use build_core::tarutil::{GzipOptions, Pack};
use build_core::{Error, ErrorKind, Result};
use futures::TryStreamExt as _;
use tokio::time::Instant;

use super::super::Inner;
use super::super::leases::Held;
use super::Preamble;
use crate::source::stream_of;
use crate::store::{BlobKey, BlobKind};
use crate::toolchains::Portable;

/// Where toolchains are in the work directory of a machine that keeps nothing beside it.
const IN_WORK_DIR: &str = ".farmer-toolchains";
/// Threads that compress: each holds a few megabytes.
const PACKERS: usize = 2;
/// How often an archive that turns out to be damaged is made again.
const TRIES: usize = 2;

/// An archive in the store.
struct Stored {
    key: BlobKey,
    sha256: String,
    bytes: u64,
}

impl Inner {
    /// The path of a toolchain on a machine, which has it from now on.
    pub(super) async fn carried(
        &self,
        held: &Held,
        portable: &Portable,
        platform: &str,
        preamble: &mut Preamble<'_>,
    ) -> Result<String> {
        let mut tried = 1;
        loop {
            let stored = self.stored(portable, platform).await?;
            match self.carry_stored(held, portable, &stored, preamble).await {
                Err(error) if error.kind() == ErrorKind::Corrupt && tried < TRIES => {
                    let error = error.chain();
                    tracing::warn!(toolchain = portable.name, error, "it is packed again");
                    tried += 1;
                }
                done => return done,
            }
        }
    }

    async fn carry_stored(
        &self,
        held: &Held,
        portable: &Portable,
        stored: &Stored,
        preamble: &mut Preamble<'_>,
    ) -> Result<String> {
        let (name, buildlet) = (&portable.name, held.buildlet());
        match buildlet.kept_tree(&stored.sha256).await {
            Ok(Some(root)) => {
                let line = format!("{name}: found on this machine, kept from an earlier build");
                preamble.say(&line).await?;
                return Ok(root);
            }
            Ok(None) => {}
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                return self.lend(held, portable, stored, preamble).await;
            }
            Err(error) => return Err(error),
        }
        let size = megabytes(stored.bytes);
        preamble
            .say(&format!("{name}: sending it to this machine, {size}"))
            .await?;
        let begun = Instant::now();
        let root = self.send(held, stored).await?;
        let took = begun.elapsed().as_secs_f64();
        let line = format!("{name}: sent in {took:.1} s; the machine keeps it for later builds");
        preamble.say(&line).await?;
        Ok(root)
    }

    /// Lets the machine fetch an archive and keep its tree, or sends it.
    async fn send(&self, held: &Held, stored: &Stored) -> Result<String> {
        let (blobs, buildlet, key) = (self.store.blobs(), held.buildlet(), &stored.key);
        if let Some(url) = blobs.url(key).await? {
            let fetched = buildlet.keep_tree_from(&stored.sha256, url.as_str()).await;
            match fetched {
                Ok(root) => return Ok(root),
                Err(error) => {
                    let error = error.chain();
                    tracing::debug!(%key, error, "a machine cannot fetch it, it is sent");
                }
            }
        }
        let Some(contents) = blobs.get(key).await? else {
            let text = format!("{key} is gone just after it was stored");
            return Err(Error::new(ErrorKind::Corrupt, text));
        };
        let Err(error) = buildlet.keep_tree(&stored.sha256, contents).await else {
            let there = buildlet.kept_tree(&stored.sha256).await?;
            return there.ok_or_else(|| {
                let text = "the machine has thrown away the toolchain that it was sent";
                Error::new(ErrorKind::Unavailable, text)
            });
        };
        // Whatever the machine made of it: an archive that is damaged is nobody else's fault.
        if blobs.check(key).await? != Some(false) {
            return Err(error);
        }
        blobs.remove(key).await?;
        let text = format!("{key} is damaged and was removed");
        Err(Error::caused_by(ErrorKind::Corrupt, text, error))
    }

    /// Puts a toolchain into the work directory, which a machine of 2020 empties after the build.
    async fn lend(
        &self,
        held: &Held,
        portable: &Portable,
        stored: &Stored,
        preamble: &mut Preamble<'_>,
    ) -> Result<String> {
        let name = &portable.name;
        let dir = format!("{IN_WORK_DIR}/{name}");
        // Nothing panics while it holds this lock.
        let lent = || held.lent.lock().unwrap_or_else(PoisonError::into_inner);
        if lent().contains(&dir) {
            let line = format!("{name}: in the work directory, from an earlier step");
            preamble.say(&line).await?;
        } else {
            let size = megabytes(stored.bytes);
            let line = format!(
                "{name}: sending it, {size}, for this build alone: this machine's buildlet keeps \
                 nothing between builds"
            );
            preamble.say(&line).await?;
            if !self.put_blob(held, &stored.key, &dir, None).await? {
                let text = format!("{} is gone just after it was stored", stored.key);
                return Err(Error::new(ErrorKind::Corrupt, text));
            }
            make_links(held, &portable.root, &dir).await?;
            lent().insert(dir.clone());
        }
        let work_dir = held.buildlet().work_dir().await?;
        Ok(match work_dir.contains('\\') {
            true => format!("{work_dir}\\{}", dir.replace('/', "\\")),
            false => format!("{work_dir}/{dir}"),
        })
    }

    /// The packed toolchain, made once; a note beside it says which contents are its.
    async fn stored(&self, portable: &Portable, platform: &str) -> Result<Stored> {
        let plain =
            |text: &str| text.replace(|c: char| !c.is_ascii_alphanumeric() && c != '.', "-");
        let name = [&portable.name, platform, &portable.stamp]
            .map(plain)
            .join("_");
        let note = BlobKey::new(BlobKind::Source, format!("toolchain_{name}.txt"))?;
        let gate = self.packing.gate(note.name());
        let _one_at_a_time = gate.lock().await;
        if let Some(stored) = self.noted(&note).await? {
            return Ok(stored);
        }
        let blobs = self.store.blobs();
        let packed = packed(portable.root.clone());
        let (key, info) = blobs.put_by_hash(BlobKind::Source, packed).await?;
        let text = format!("{} {}", info.sha256, info.size);
        blobs.put(&note, once(text)).await?;
        Ok(Stored {
            key,
            sha256: info.sha256,
            bytes: info.size,
        })
    }

    /// What a note says, while that is there.
    async fn noted(&self, note: &BlobKey) -> Result<Option<Stored>> {
        let blobs = self.store.blobs();
        let Some(text) = blobs.get(note).await? else {
            return Ok(None);
        };
        let text = match collect(text).await {
            Err(error) if error.kind() == ErrorKind::Corrupt => return Ok(None),
            text => text?,
        };
        let text = String::from_utf8_lossy(&text);
        let Some((sha256, bytes)) = text.split_once(' ') else {
            return Ok(None);
        };
        let key = BlobKey::new(BlobKind::Source, sha256)?;
        let size = blobs.size(&key).await?;
        let stored = size.filter(|size| size.to_string() == bytes);
        Ok(stored.map(|bytes| Stored {
            sha256: sha256.to_owned(),
            key,
            bytes,
        }))
    }
}

fn packed(root: PathBuf) -> ByteStream {
    let stream = stream_of(move |out| {
        let options = GzipOptions::default().threads(PACKERS);
        let packed = Pack::open(&root)?.write_gz(out, &options);
        packed
            .map(drop)
            .map_err(|e| Error::caused_by(ErrorKind::Unavailable, "pack a toolchain", e))
    });
    Box::pin(stream.map_err(|e| e.while_doing("carry a toolchain to a machine")))
}

/// Makes the links of a toolchain, which a buildlet of 2020 leaves out of what it unpacks.
async fn make_links(held: &Held, root: &Path, dir: &str) -> Result<()> {
    let root = root.to_owned();
    let found = tokio::task::spawn_blocking(move || links(&root)).await;
    let found = found.map_err(|e| Error::caused_by(ErrorKind::Bug, "look for links", e))??;
    if found.is_empty() {
        return Ok(());
    }
    let quoted =
        |text: &[u8]| format!("'{}'", String::from_utf8_lossy(text).replace('\'', r"'\''"));
    let lines = found
        .iter()
        .map(|(path, target)| format!("ln -sfn {} {} || exit 1\n", quoted(target), quoted(path)));
    let (file, buildlet) = (format!("{dir}.links"), held.buildlet());
    buildlet
        .put(&file, 0o600, once(lines.collect::<String>()))
        .await?;
    let run = Exec::shell(format!("(. \"$WORKDIR/{file}\")")).dir(dir);
    let output = buildlet.exec(run).await?;
    if output.outcome().is_ok() {
        return Ok(());
    }
    let text = format!("its links cannot be made: {}", output.text());
    Err(Error::new(ErrorKind::Unavailable, text))
}

/// Path and target of each symbolic link below `root`.
fn links(root: &Path) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let (mut found, mut dirs) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(root.join(&dir))? {
            let entry = entry?;
            let (path, kind) = (dir.join(entry.file_name()), entry.file_type()?);
            if kind.is_dir() {
                dirs.push(path);
            } else if kind.is_symlink() {
                let target = fs::read_link(entry.path())?;
                let [path, target] = [path, target].map(|p| p.as_os_str().as_bytes().to_vec());
                found.push((path, target));
            }
        }
    }
    found.sort();
    Ok(found)
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
