//! Puts the inputs of a plan on a machine: checkouts, archives, snapshots of earlier builds.

use std::path::{Path, PathBuf};

use build_core::engine::CHECKOUT_DIR;
use build_core::plan::{Input, InputFrom};
use build_core::tarutil::{GzipOptions, Pack};
use build_core::{Error, ErrorKind, Result};
use sha2::{Digest, Sha256};

use super::Inner;
use super::leases::Held;
use super::prepare::Work;
use super::snapshots::snapshot_key;
use crate::archives::Archive;
use crate::source::stream_of;
use crate::store::{BlobKey, BlobKind};

/// Of each byte that an archive may have, so many may come out of it.
const UNPACKED: u64 = 20;
/// But these at least.
const UNPACKED_AT_LEAST: u64 = 64 << 20;
/// Fast rather than small: it is read more often than written, by machines nearby.
const GZIP_LEVEL: u32 = 1;

impl Inner {
    pub(super) async fn put_inputs(&self, held: &Held, work: &Work<'_>) -> Result<()> {
        for input in work.inputs {
            let put = self.put_input(held, work, input).await;
            put.map_err(|e| {
                let hint = e.hint().map(str::to_owned);
                let error = e.while_doing(format!("input {input}"));
                match hint {
                    Some(hint) => error.with_hint(hint),
                    None => error,
                }
            })?;
        }
        Ok(())
    }

    async fn put_input(&self, held: &Held, work: &Work<'_>, input: &Input) -> Result<()> {
        let mut dir = format!("{CHECKOUT_DIR}/{}", input.dir);
        let key = match &input.from {
            InputFrom::Checkout {
                item: Some(item), ..
            } => {
                let work = Work {
                    item,
                    inputs: &[],
                    warm: false,
                    ..*work
                };
                self.packed(&work).await?
            }
            InputFrom::Archive {
                url,
                sha256,
                max_bytes,
                unpack,
                strip,
            } => {
                let archive = Archive {
                    url,
                    sha256,
                    max_bytes: *max_bytes,
                };
                let form = match (unpack, input.dir.rsplit_once('/')) {
                    (true, _) => Form::Tree { strip: *strip },
                    (false, Some((_, name))) => Form::File { name },
                    (false, None) => Form::File { name: &input.dir },
                };
                if let Form::File { name } = form {
                    dir.truncate(dir.len() - name.len() - 1);
                }
                self.archive(&archive, form).await?
            }
            InputFrom::Snapshot {
                step,
                found: Some(found),
                ..
            } => {
                let key = snapshot_key(&found.build, step)?;
                if !self.put_blob(held, &key, &dir, None).await? {
                    let text = format!("build {} does not keep it any more", found.build);
                    return Err(Error::new(ErrorKind::Invalid, text)
                        .with_hint("start this build again: another one is looked for then"));
                }
                return Ok(());
            }
            InputFrom::Snapshot { optional: true, .. } => return Ok(()),
            _ => {
                let text = "nobody has found out what it stands for";
                return Err(Error::new(ErrorKind::Bug, text));
            }
        };
        if self.put_blob(held, &key, &dir, None).await? {
            return Ok(());
        }
        let text = format!("{key} is gone just after it was stored");
        Err(Error::new(ErrorKind::Unavailable, text))
    }

    /// An archive packed for machines; fetched and looked through once.
    async fn archive(&self, archive: &Archive<'_>, form: Form<'_>) -> Result<BlobKey> {
        let Some(archives) = &self.archives else {
            let text = "this farm fetches no archives";
            return Err(Error::new(ErrorKind::Invalid, text)
                .with_hint("its program must be told how: CoordinatorBuilder::archives"));
        };
        let name = format!("archive-{}-{}.tgz", archive.sha256, form.key());
        let key = BlobKey::new(BlobKind::Source, name)?;
        let blobs = self.store.blobs();
        let gate = self.packing.gate(key.name());
        let _one_at_a_time = gate.lock().await;
        if blobs.size(&key).await?.is_some() {
            return Ok(key);
        }
        let dir = self.new_dir().await?;
        let file = dir.path().join("archive");
        archives.fetch(archive, &file).await?;
        let tree = dir.path().join("tree");
        tokio::fs::create_dir(&tree).await?;
        let tree = match form {
            Form::Tree { strip } => {
                let total = archive.max_bytes.saturating_mul(UNPACKED);
                let total = total.max(UNPACKED_AT_LEAST);
                archives.unpack(&file, &tree, total).await?;
                stripped(tree, strip).await?
            }
            Form::File { name } => {
                tokio::fs::rename(&file, tree.join(name)).await?;
                tree
            }
        };
        let packed = stream_of(move |out| {
            let _until_then = &dir;
            let options = GzipOptions::default().level(GZIP_LEVEL);
            let packed = Pack::open(&tree)
                .map_err(Error::from)?
                .write_gz(out, &options);
            packed.map_err(|e| Error::caused_by(ErrorKind::Unavailable, "pack an archive", e))?;
            Ok(())
        });
        blobs.put(&key, packed).await?;
        Ok(key)
    }

    /// A directory of this machine that goes with the answer.
    pub(super) async fn new_dir(&self) -> Result<tempfile::TempDir> {
        let place = self.store.dir()?.join("unpacked");
        let made = tokio::task::spawn_blocking(move || {
            std::fs::create_dir_all(&place)?;
            tempfile::tempdir_in(&place)
        });
        let made = made
            .await
            .map_err(|e| Error::caused_by(ErrorKind::Bug, "make a directory", e))?;
        Ok(made?)
    }
}

/// What an archive is on a machine.
#[derive(Clone, Copy)]
enum Form<'a> {
    /// What is in it, without so many folders.
    Tree { strip: u32 },
    /// The file itself.
    File { name: &'a str },
}

impl Form<'_> {
    /// Part of the name under which it is kept.
    fn key(self) -> String {
        match self {
            Self::Tree { strip } => strip.to_string(),
            Self::File { name } => format!("f{}", hex::encode(&Sha256::digest(name)[..8])),
        }
    }
}

/// The directory below `tree` that is left when `strip` folders are left out: each the only one at
/// its place. Files beside it are left out as well.
async fn stripped(mut tree: PathBuf, strip: u32) -> Result<PathBuf> {
    for _ in 0..strip {
        tree = only_folder(&tree).await?;
    }
    Ok(tree)
}

async fn only_folder(dir: &Path) -> Result<PathBuf> {
    let mut entries = tokio::fs::read_dir(dir).await?;
    let mut found: Vec<PathBuf> = Vec::new();
    while let Some(entry) = entries.next_entry().await? {
        if entry.file_type().await?.is_dir() {
            found.push(entry.path());
        }
    }
    found.sort();
    let names = found.iter().filter_map(|path| path.file_name());
    let names: Vec<_> = names.map(|name| name.display().to_string()).collect();
    let text = match names.as_slice() {
        [_] => return Ok(found.remove(0)),
        [] => "it has no folder to leave out".to_owned(),
        [first, second, ..] => {
            format!("it has several folders where one is left out: {first}, {second}")
        }
    };
    Err(Error::new(ErrorKind::Invalid, text).with_hint("make `strip` smaller"))
}
