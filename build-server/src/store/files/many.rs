//! Thousands of small files at a time: the disk is waited for once, not for each of them.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::time::SystemTime;

use build_core::Result;
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use super::{FileBlobs, PIECE_BYTES, Written};
use crate::store::{BlobInfo, BlobKind, Files};

/// From so many on the whole file system is written once; fewer wait for themselves.
const MANY: usize = 16;

impl FileBlobs {
    /// Stores files by their hashes, in order. Blocking.
    pub(super) fn write_files(&self, kind: BlobKind, files: Files) -> Result<Vec<BlobInfo>> {
        self.check_writable()?;
        self.check_artifact_quota(kind)?;
        let dir = self.dir.join(kind.as_str());
        let failed = |error| self.failed("write", kind.as_str(), error);
        let (mut infos, mut new) = (Vec::new(), Vec::new());
        for file in files {
            match self.write_beside(&dir, file?).map_err(failed)? {
                (Some(written), info) => {
                    new.push(written);
                    infos.push(info);
                }
                (None, info) => infos.push(info),
            }
        }
        persist(&dir, new).map_err(failed)?;
        Ok(infos)
    }

    /// Writes one, unless its contents are there.
    fn write_beside(&self, dir: &Path, mut from: File) -> io::Result<(Option<Written>, BlobInfo)> {
        let mut to = NamedTempFile::new_in(self.unfinished())?;
        let (mut hash, mut size) = (Sha256::new(), 0);
        let mut piece = vec![0; PIECE_BYTES.min(most(&from))];
        loop {
            let n = from.read(&mut piece)?;
            if n == 0 {
                break;
            }
            hash.update(&piece[..n]);
            to.write_all(&piece[..n])?;
            size += n as u64;
        }
        let info = BlobInfo {
            size,
            sha256: hex::encode(hash.finalize()),
        };
        let there = File::open(dir.join(&info.sha256));
        // Its last use is now. Where that cannot be noted it is written again.
        let is_there = there.is_ok_and(|there| {
            there.metadata().is_ok_and(|about| about.len() == size)
                && there.set_modified(SystemTime::now()).is_ok()
        });
        let written = (!is_there).then(|| Written {
            file: to.into_temp_path(),
            info: info.clone(),
        });
        Ok((written, info))
    }
}

/// One byte more than the file has, so that its end is seen at once.
fn most(file: &File) -> usize {
    let len = file.metadata().map_or(u64::MAX, |about| about.len());
    usize::try_from(len).map_or(usize::MAX, |len| len.saturating_add(1))
}

/// Gives files their names, once they are on the disk.
fn persist(dir: &Path, new: Vec<Written>) -> io::Result<()> {
    if new.is_empty() {
        return Ok(());
    }
    let top = File::open(dir)?;
    if new.len() < MANY || !sync_all(&top)? {
        for written in &new {
            File::open(&written.file)?.sync_all()?;
        }
    }
    for Written { file, info } in new {
        file.persist(dir.join(&info.sha256)).map_err(|e| e.error)?;
    }
    top.sync_all()
}

/// Writes all of a file system to its disk; false where the system cannot be asked for that.
#[cfg(target_os = "linux")]
fn sync_all(on: &File) -> io::Result<bool> {
    rustix::fs::syncfs(on)?;
    Ok(true)
}

#[cfg(not(target_os = "linux"))]
fn sync_all(_: &File) -> io::Result<bool> {
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{BlobKey, Blobs as _, Quota};
    use futures::TryStreamExt as _;

    #[tokio::test]
    async fn many_files_are_stored_each_once_and_whole() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = FileBlobs::open(dir.path().join("blobs"), Quota::default()).unwrap();
        let file = |n: usize| -> Result<File> {
            let path = dir.path().join(format!("from{n}"));
            std::fs::write(&path, format!("{}", n % 40)).unwrap();
            Ok(File::open(path).unwrap())
        };
        for count in [3, 100, 100] {
            let files: Files = Box::new((0..count).map(file).collect::<Vec<_>>().into_iter());
            let stored = blobs.put_files(BlobKind::Artifact, files).await.unwrap();
            assert_eq!(stored.len(), count);
            for (n, info) in stored.iter().enumerate() {
                let key = BlobKey::of_hash(BlobKind::Artifact, &info.sha256);
                let contents = blobs.get(&key).await.unwrap().unwrap();
                let contents: Vec<_> = contents.try_collect().await.unwrap();
                assert_eq!(contents.concat(), format!("{}", n % 40).as_bytes());
            }
        }
        let held = blobs.keys(BlobKind::Artifact).await.unwrap().len();
        assert_eq!(held, 40);
        let unfinished = dir.path().join("blobs/unfinished").read_dir().unwrap();
        assert_eq!(unfinished.count(), 0);
    }
}
