//! Keeps files of a step that has passed.

use std::collections::BTreeSet;
use std::path::PathBuf;

use build_core::buildlet::{Buildlet, ByteStream, ListDir};
use build_core::dispatch::Reply;
use build_core::engine::CHECKOUT_DIR;
use build_core::event::{Artifact, BlobRef};
use build_core::ids::{BuildId, LeaseId, StepName};
use build_core::name::Name;
use build_core::tarutil::{Glob, Policy, Untar};
use build_core::tree::Beneath;
use build_core::{Error, ErrorKind, Result};
use futures::{StreamExt, TryStreamExt};
use tokio_util::io::{ReaderStream, StreamReader, SyncIoBridge};

use super::Inner;
use crate::store::{BlobInfo, BlobKey, BlobKind, Files};

impl Inner {
    pub(super) async fn keep(
        &self,
        lease: &LeaseId,
        (build, step): (&BuildId, &StepName),
        globs: &[String],
        snapshot: Option<&str>,
    ) -> Result<Reply> {
        let held = self.leases.find(lease)?;
        let keep = async {
            let artifacts = match globs.is_empty() {
                true => Vec::new(),
                false => self.keep_matching(held.buildlet(), globs).await?,
            };
            let snapshot = match snapshot {
                Some(dir) => self.keep_snapshot(&held, build, step, dir).await?,
                None => None,
            };
            Ok(Reply::Kept {
                artifacts,
                snapshot,
            })
        };
        held.unless_over(keep).await
    }

    /// Keeps the files that `globs` name.
    pub(super) async fn keep_matching(
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
        let stored = unpacked.all(&paths)?;
        let stored = self
            .store
            .blobs()
            .put_files(BlobKind::Artifact, stored)
            .await?;
        let mut kept = Vec::new();
        for (path, info) in paths.into_iter().zip(stored) {
            kept.push(self.held(&unpacked, path, info).await?);
        }
        Ok(kept)
    }

    /// A file whose contents were stored, and still are.
    async fn held(&self, unpacked: &Fetched, path: Name, info: BlobInfo) -> Result<Artifact> {
        let key = BlobKey::new(BlobKind::Artifact, &info.sha256)?;
        self.store.in_use().stored(&key).await;
        // From here on no sweep removes them; one may have done so a moment ago.
        if self.store.blobs().size(&key).await?.is_none() {
            return self.keep_file(unpacked, path).await;
        }
        let BlobInfo { size, sha256 } = info;
        Ok(Artifact { path, size, sha256 })
    }

    /// The files in a directory of this machine. Of a machine that packs whole directories only,
    /// everything beside the files comes along.
    pub(super) async fn fetch(&self, buildlet: &dyn Buildlet, paths: &[Name]) -> Result<Fetched> {
        let dir = self.new_dir().await?;
        match buildlet.get_files(CHECKOUT_DIR, paths).await {
            Ok(packed) => unpack(packed, dir.path().to_owned()).await?,
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                for above in directories(paths) {
                    let packed = buildlet.get_tar(&format!("{CHECKOUT_DIR}/{above}")).await?;
                    unpack(packed, dir.path().join(above)).await?;
                }
            }
            Err(error) => return Err(error),
        }
        Ok(Fetched(dir))
    }

    async fn keep_file(&self, unpacked: &Fetched, path: Name) -> Result<Artifact> {
        let of = &path;
        let open = move || async move {
            let opened = unpacked.open(of).await;
            opened.map_err(|e| e.while_doing(format!("keep {of}")))
        };
        let BlobRef { sha256, size } = self.store_artifact(open).await?;
        Ok(Artifact { path, size, sha256 })
    }

    /// Stores contents by their hash, so that they are there when an event names them: an earlier
    /// build may have kept the same ones, whose time is over just now.
    pub(super) async fn store_artifact<F>(&self, open: impl Fn() -> F) -> Result<BlobRef>
    where
        F: Future<Output = Result<tokio::fs::File>>,
    {
        let blobs = self.store.blobs();
        loop {
            let contents = ReaderStream::new(open().await?);
            let contents = contents.map_err(Error::from).boxed();
            let (key, info) = blobs.put_by_hash(BlobKind::Artifact, contents).await?;
            self.store.in_use().stored(&key).await;
            // From here on no sweep removes them; one may have done so a moment ago.
            if blobs.size(&key).await?.is_some() {
                return Ok(BlobRef {
                    sha256: info.sha256,
                    size: info.size,
                });
            }
        }
    }
}

/// Files of a machine, in a directory that goes with this. The machine made what is in there, and says
/// itself what it is called: nothing else of this computer is ever read in its place.
pub(super) struct Fetched(tempfile::TempDir);

impl Fetched {
    /// All files, opened one after the other.
    fn all(&self, paths: &[Name]) -> Result<Files> {
        let top = Beneath::open(self.0.path())?.without_links();
        let paths: Vec<Vec<u8>> = paths.iter().map(|path| path.as_bytes().to_vec()).collect();
        let opened = paths.into_iter().map(move |path| {
            let file = top.open_file(&path);
            file.map_err(|e| {
                let name = Name::from(path);
                Error::from(e).while_doing(format!("keep {name}"))
            })
        });
        Ok(Box::new(opened))
    }

    /// One of the files.
    pub(super) async fn open(&self, path: &Name) -> Result<tokio::fs::File> {
        let (dir, path) = (self.0.path().to_owned(), path.as_bytes().to_vec());
        let open = move || Beneath::open(&dir)?.without_links().open_file(&path);
        let opened = tokio::task::spawn_blocking(open).await;
        let opened = opened.map_err(|e| Error::caused_by(ErrorKind::Bug, "open a file", e))?;
        Ok(tokio::fs::File::from_std(opened?))
    }
}

async fn unpack(packed: ByteStream, dir: PathBuf) -> Result<()> {
    let reader = StreamReader::new(packed.map_err(std::io::Error::other));
    let reader = SyncIoBridge::new(reader);
    let unpack = move || {
        std::fs::create_dir_all(&dir)?;
        let untar = Untar::open(&dir)?.policy(Policy::trees());
        let unpacked = untar.unpack(reader);
        unpacked
            .map(drop)
            .map_err(|e| Error::caused_by(ErrorKind::Unavailable, "unpack artifacts", e))
    };
    let done = tokio::task::spawn_blocking(unpack).await;
    done.map_err(|e| Error::caused_by(ErrorKind::Bug, "unpack artifacts", e))?
}

/// The directories of files whose names are text, without those that lie in another one.
fn directories(paths: &[Name]) -> Vec<&str> {
    let all: BTreeSet<&str> = paths.iter().map(above).collect();
    let mut kept: Vec<&str> = Vec::new();
    for dir in all {
        let is_inside = |outer: &&str| {
            let rest = dir.strip_prefix(*outer);
            outer.is_empty() || rest.is_some_and(|rest| rest.starts_with('/'))
        };
        if !kept.iter().any(is_inside) {
            kept.push(dir);
        }
    }
    kept
}

/// The directory of a file, or the first one above it whose name is text.
fn above(path: &Name) -> &str {
    let mut path = path.as_bytes();
    loop {
        let end = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        path = &path[..end];
        if let Ok(text) = std::str::from_utf8(path) {
            return text;
        }
    }
}

/// Regular files of the checkout that one of `globs` matches. Links are not kept.
async fn matching(buildlet: &dyn Buildlet, globs: &[String]) -> Result<Vec<Name>> {
    let patterns: Vec<Glob> = globs.iter().map(|glob| Glob::new(glob)).collect();
    let all = ListDir {
        dir: CHECKOUT_DIR.to_owned(),
        recursive: true,
        skip: vec![".git".to_owned()],
        ..ListDir::default()
    };
    let entries = buildlet.list_dir(&all).await.map_err(too_many)?;
    let files = entries
        .into_iter()
        .filter(|entry| entry.mode.starts_with('-'));
    let wanted = |path: &Name| patterns.iter().any(|glob| glob.matches(path.as_bytes()));
    Ok(files.map(|entry| entry.name).filter(wanted).collect())
}

/// A list that is too long is so on every machine.
fn too_many(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Limit => {
            let text = "there are too many files to find those to keep among them";
            Error::caused_by(ErrorKind::Invalid, text, error)
                .with_hint("let the step pack what is to be kept, or make fewer files")
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_machine_calls_its_file_is_no_other_one() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("secret"), "x").unwrap();
        let fetched = Fetched(tempfile::tempdir_in(dir.path()).unwrap());
        let place = fetched.0.path();
        std::fs::create_dir(place.join("a")).unwrap();
        std::fs::write(place.join("a/b"), "x").unwrap();
        std::os::unix::fs::symlink("..", place.join("up")).unwrap();
        std::os::unix::fs::symlink("../secret", place.join("link")).unwrap();
        assert!(fetched.open(&"a/b".into()).await.is_ok());
        for path in [
            "../secret",
            "up/secret",
            "link",
            "a/../../secret",
            "/etc/passwd",
        ] {
            assert!(fetched.open(&path.into()).await.is_err(), "{path}");
        }
    }

    #[test]
    fn no_directory_is_packed_twice() {
        let paths = ["out/a", "out/bin/b", "outer/c", "x/y/z", "x/y/w"].map(Name::from);
        assert_eq!(directories(&paths), ["out", "outer", "x/y"]);
        let paths = ["out/a", "b"].map(Name::from);
        assert_eq!(directories(&paths), [""]);
        let odd = Name::from(b"out/caf\xe9/more/x".to_vec());
        assert_eq!(directories(&[odd, b"\xff/x"[..].into()]), [""]);
        let odd = Name::from(b"out/caf\xe9/more/x".to_vec());
        assert_eq!(directories(&[odd]), ["out"]);
    }
}
