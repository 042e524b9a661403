//! Keeps files of a step that has passed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use build_core::buildlet::ByteStream;
use build_core::dispatch::Reply;
use build_core::engine::CHECKOUT_DIR;
use build_core::event::Artifact;
use build_core::ids::LeaseId;
use build_core::tarutil::{Glob, Untar};
use build_core::{Error, ErrorKind, Result};
use futures::{StreamExt, TryStreamExt};
use tokio_util::io::{ReaderStream, StreamReader, SyncIoBridge};

use super::Inner;
use super::leases::Held;
use crate::store::BlobKind;

impl Inner {
    pub(super) async fn keep(&self, lease: &LeaseId, globs: &[String]) -> Result<Reply> {
        let held = self.leases.find(lease)?;
        let kept = held.unless_over(self.keep_matching(&held, globs)).await?;
        Ok(Reply::Kept(kept))
    }

    async fn keep_matching(&self, held: &Held, globs: &[String]) -> Result<Vec<Artifact>> {
        let patterns: Vec<Glob> = globs.iter().map(|glob| Glob::new(glob)).collect();
        let mut kept = Vec::new();
        for dir in literal_dirs(globs) {
            let place = format!("{CHECKOUT_DIR}/{dir}");
            let packed = match held.buildlet().get_tar(place.trim_end_matches('/')).await {
                // Nothing was made there: nothing matches.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                packed => packed?,
            };
            let unpacked = self.unpack(packed).await?;
            for file in files_below(unpacked.path(), &dir)? {
                if patterns
                    .iter()
                    .any(|glob| glob.matches(file.path.as_bytes()))
                {
                    kept.push(self.keep_file(file).await?);
                }
            }
        }
        kept.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(kept)
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

    async fn keep_file(&self, file: Found) -> Result<Artifact> {
        let opened = tokio::fs::File::open(&file.at).await?;
        let contents = ReaderStream::new(opened).map_err(Error::from).boxed();
        let blobs = self.store.blobs();
        let (_, info) = blobs.put_by_hash(BlobKind::Artifact, contents).await?;
        Ok(Artifact {
            path: file.path,
            size: info.size,
            sha256: info.sha256,
        })
    }
}

/// The directories to look into: of each glob what comes before its first special part. One
/// inside of another is left out.
fn literal_dirs(globs: &[String]) -> Vec<String> {
    let is_special = |part: &str| part.contains(['*', '?', '[', '{', '\\']);
    let dir_of = |glob: &String| {
        let parts: Vec<&str> = glob
            .split('/')
            .filter(|p| !p.is_empty() && *p != ".")
            .collect();
        let literal = parts.iter().take_while(|part| !is_special(part)).count();
        let dirs = literal.min(parts.len().saturating_sub(1));
        parts[..dirs].join("/")
    };
    let dirs: BTreeSet<String> = globs.iter().map(dir_of).collect();
    let is_inside = |dir: &String| {
        let above = |other: &&String| other.is_empty() || dir.starts_with(&format!("{other}/"));
        dirs.iter()
            .filter(|other| *other != dir)
            .any(|other| above(&other))
    };
    dirs.iter().filter(|dir| !is_inside(dir)).cloned().collect()
}

struct Found {
    /// Below the checkout.
    path: String,
    at: PathBuf,
}

/// Regular files below `root`, which is the directory `dir` of the checkout. Links are not kept.
fn files_below(root: &Path, dir: &str) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    let mut waiting = vec![(root.to_owned(), dir.to_owned())];
    while let Some((place, dir)) = waiting.pop() {
        for entry in place.read_dir()? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let path = if dir.is_empty() {
                name
            } else {
                format!("{dir}/{name}")
            };
            let kind = entry.file_type()?;
            if kind.is_dir() && path != ".git" {
                waiting.push((entry.path(), path));
            } else if kind.is_file() {
                found.push(Found {
                    path,
                    at: entry.path(),
                });
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_directories_that_globs_name_are_fetched() {
        let dirs = |globs: &[&str]| {
            let globs: Vec<_> = globs.iter().map(ToString::to_string).collect();
            literal_dirs(&globs)
        };
        assert_eq!(
            dirs(&["out/**", "out/bin/*", "dist/a.txt"]),
            ["dist", "out"]
        );
        assert_eq!(dirs(&["*.log", "out/**"]), [""]);
        assert_eq!(dirs(&["report.xml"]), [""]);
        assert!(dirs(&[]).is_empty());
    }
}
