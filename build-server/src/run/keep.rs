//! Keeps files of a step that has passed.

use std::path::{Path, PathBuf};

use build_client::once;
use build_core::buildlet::{Buildlet, ByteStream, Exec, ListDir};
use build_core::dispatch::Reply;
use build_core::engine::CHECKOUT_DIR;
use build_core::event::Artifact;
use build_core::ids::LeaseId;
use build_core::tarutil::{Glob, Untar};
use build_core::{Error, ErrorKind, Result};
use futures::{StreamExt, TryStreamExt};
use tokio_util::io::{ReaderStream, StreamReader, SyncIoBridge};

use super::Inner;
use crate::store::BlobKind;

/// The list of files to keep, and links to them, beside the checkout.
const LIST: &str = ".farmer-keep";
const KEPT_DIR: &str = ".farmer-kept";
/// Links every listed file into [`KEPT_DIR`], so that nothing else is fetched.
const LINK: &str = "mkdir -p ../.farmer-kept && xargs -0 sh -c 'for file do \
    to=../.farmer-kept/$file; mkdir -p \"${to%/*}\" && ln -f \"$file\" \"$to\" || exit 1; \
    done' link < ../.farmer-keep";

impl Inner {
    pub(super) async fn keep(&self, lease: &LeaseId, globs: &[String]) -> Result<Reply> {
        let held = self.leases.find(lease)?;
        let keep = self.keep_matching(held.buildlet(), globs);
        Ok(Reply::Kept(held.unless_over(keep).await?))
    }

    async fn keep_matching(
        &self,
        buildlet: &dyn Buildlet,
        globs: &[String],
    ) -> Result<Vec<Artifact>> {
        let mut paths = matching(buildlet, globs).await?;
        if paths.is_empty() {
            return Ok(Vec::new());
        }
        paths.sort();
        let unpacked = self.fetch(buildlet, &paths).await?;
        let mut kept = Vec::new();
        for path in paths {
            kept.push(self.keep_file(unpacked.path(), path).await?);
        }
        Ok(kept)
    }

    /// The files in a directory of this machine, which goes with the answer.
    pub(super) async fn fetch(
        &self,
        buildlet: &dyn Buildlet,
        paths: &[String],
    ) -> Result<tempfile::TempDir> {
        let beside = [LIST.to_owned(), KEPT_DIR.to_owned()];
        buildlet.remove_all(&beside).await?;
        let list: String = paths.iter().map(|path| format!("./{path}\0")).collect();
        buildlet.put(LIST, 0o600, once(list)).await?;
        let linked = buildlet.exec(Exec::shell(LINK).dir(CHECKOUT_DIR)).await?;
        if !linked.outcome().is_ok() {
            let (outcome, output) = (linked.outcome(), linked.text());
            let text = format!("link artifacts: {outcome}: {}", output.trim());
            return Err(Error::new(ErrorKind::Unavailable, text));
        }
        let unpacked = self.unpack(buildlet.get_tar(KEPT_DIR).await?).await?;
        buildlet.remove_all(&beside).await?;
        Ok(unpacked)
    }

    async fn unpack(&self, packed: ByteStream) -> Result<tempfile::TempDir> {
        let place = self.store.dir()?.join("unpacked");
        let reader = StreamReader::new(packed.map_err(std::io::Error::other));
        let reader = SyncIoBridge::new(reader);
        let unpack = move || {
            std::fs::create_dir_all(&place)?;
            let dir = tempfile::tempdir_in(&place)?;
            let unpacked = Untar::open(dir.path())?.unpack(reader);
            unpacked
                .map_err(|e| Error::caused_by(ErrorKind::Unavailable, "unpack artifacts", e))?;
            Ok(dir)
        };
        let done = tokio::task::spawn_blocking(unpack).await;
        done.map_err(|e| Error::caused_by(ErrorKind::Bug, "unpack artifacts", e))?
    }

    async fn keep_file(&self, unpacked: &Path, path: String) -> Result<Artifact> {
        let at: PathBuf = unpacked.join(&path);
        let opened = tokio::fs::File::open(&at).await;
        let opened = opened.map_err(|e| Error::from(e).while_doing(format!("keep {path}")))?;
        let contents = ReaderStream::new(opened).map_err(Error::from).boxed();
        let blobs = self.store.blobs();
        let (_, info) = blobs.put_by_hash(BlobKind::Artifact, contents).await?;
        Ok(Artifact {
            path: path.into(),
            size: info.size,
            sha256: info.sha256,
        })
    }
}

/// Regular files of the checkout that one of `globs` matches. Links are not kept.
async fn matching(buildlet: &dyn Buildlet, globs: &[String]) -> Result<Vec<String>> {
    let patterns: Vec<Glob> = globs.iter().map(|glob| Glob::new(glob)).collect();
    let all = ListDir {
        dir: CHECKOUT_DIR.to_owned(),
        recursive: true,
        skip: vec![".git".to_owned()],
        ..ListDir::default()
    };
    let entries = buildlet.list_dir(&all).await?;
    let files = entries
        .into_iter()
        .filter(|entry| entry.mode.starts_with('-'));
    let wanted = |path: &String| patterns.iter().any(|glob| glob.matches(path.as_bytes()));
    Ok(files.map(|entry| entry.name).filter(wanted).collect())
}
