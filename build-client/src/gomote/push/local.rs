//! The tree on this machine.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use sha1::{Digest as _, Sha1};

use super::cache::{DigestCache, Known, Stamp};
use super::ignored::Ignored;
use super::plan::Profile;
use crate::{Error, ErrorKind, Result};

/// Bytes read at a time.
const BLOCK: usize = 64 << 10;

/// A file of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalFile {
    digest: Option<String>,
}

impl LocalFile {
    /// The SHA-1 of a regular file; `None` for a link.
    #[must_use]
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }
}

/// The tree: directories, and files with their digests, relative with forward slashes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Local {
    /// `None` for a directory.
    entries: BTreeMap<String, Option<LocalFile>>,
}

impl Local {
    /// Reads the tree at `root`, without what editors leave behind, what `profile` leaves out and
    /// what `ignored` names. Blocks; the digests are computed on as many threads as there are
    /// processors.
    ///
    /// # Errors
    /// When something cannot be read, or a name is not UTF-8.
    pub fn read(root: &Path, profile: &Profile, ignored: &Ignored) -> Result<Self> {
        Self::read_with(root, profile, ignored, None)
    }

    /// The same with digests that are known from the last time, in the folder `cache`. One that
    /// cannot be read or written is passed over: it only saves time.
    ///
    /// # Errors
    /// As [`Local::read`].
    pub fn read_with(
        root: &Path,
        profile: &Profile,
        ignored: &Ignored,
        cache: Option<&Path>,
    ) -> Result<Self> {
        // A root that is a link is walked all the same.
        let root = fs::canonicalize(root).map_err(|e| failed(root, e))?;
        let mut walk = Walk {
            root: &root,
            profile,
            ignored,
            entries: BTreeMap::new(),
            files: Vec::new(),
        };
        walk.dir("")?;
        let Walk {
            mut entries, files, ..
        } = walk;
        let cache = cache.map(|dir| DigestCache::of(dir, &root));
        let known = cache.as_ref().map(DigestCache::load).unwrap_or_default();
        let mut next = Known::default();
        for found in digests(&root, files, &known)? {
            if let (Some(stamp), true) = (found.stamp, cache.is_some()) {
                next.add(found.name.clone(), stamp, found.digest.clone());
            }
            let digest = Some(found.digest);
            entries.insert(found.name, Some(LocalFile { digest }));
        }
        if let Some(Err(error)) = cache.map(|cache| cache.save(&next)) {
            tracing::info!(%error, "digests are not kept");
        }
        Ok(Self { entries })
    }

    /// Whether there is something of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// Whether it is a directory.
    #[must_use]
    pub fn is_dir(&self, name: &str) -> bool {
        matches!(self.entries.get(name), Some(None))
    }

    /// The files, by name.
    pub fn files(&self) -> impl Iterator<Item = (&str, &LocalFile)> {
        let files = self.entries.iter();
        files.filter_map(|(name, file)| Some((name.as_str(), file.as_ref()?)))
    }

    #[cfg(test)]
    pub(super) fn of(dirs: &[&str], files: &[(&str, &str)]) -> Self {
        let dirs = dirs.iter().map(|dir| ((*dir).to_owned(), None));
        let files = files.iter().map(|(name, digest)| {
            let digest = Some((*digest).to_owned());
            ((*name).to_owned(), Some(LocalFile { digest }))
        });
        Self {
            entries: dirs.chain(files).collect(),
        }
    }
}

struct Walk<'a> {
    root: &'a Path,
    profile: &'a Profile,
    ignored: &'a Ignored,
    entries: BTreeMap<String, Option<LocalFile>>,
    files: Vec<String>,
}

impl Walk<'_> {
    fn dir(&mut self, dir: &str) -> Result<()> {
        let path = self.root.join(dir);
        let entries = fs::read_dir(&path).map_err(|e| failed(&path, e))?;
        for entry in entries {
            let entry = entry.map_err(|e| failed(&path, e))?;
            let base = entry.file_name().into_string().map_err(|base| {
                let text = format!("the name {base:?} in {} is not UTF-8", path.display());
                Error::new(ErrorKind::Invalid, text)
            })?;
            let kind = entry.file_type().map_err(|e| failed(&entry.path(), e))?;
            let name = match dir {
                "" => base.clone(),
                dir => format!("{dir}/{base}"),
            };
            let is_left_out = match dir {
                "" => base == ".git" || (kind.is_dir() && self.profile.skip_local.contains(&base)),
                _ => false,
            };
            if is_left_out || is_editors(&base) || self.ignored.names(&name) {
                continue;
            }
            if kind.is_dir() {
                self.entries.insert(name.clone(), None);
                self.dir(&name)?;
            } else if kind.is_symlink() {
                self.entries.insert(name, Some(LocalFile { digest: None }));
            } else if kind.is_file() {
                self.files.push(name);
            }
        }
        Ok(())
    }
}

/// Whether an editor keeps it for itself.
fn is_editors(base: &str) -> bool {
    let swap = base.starts_with('.') && base.ends_with(".swp");
    swap || base.ends_with(['~', '#']) || base.starts_with('#') || base.starts_with(".#")
}

/// A file and its digest.
struct Found {
    name: String,
    digest: String,
    /// What it looked like, when the digest may be believed as long as it looks so.
    stamp: Option<Stamp>,
}

fn digests(root: &Path, files: Vec<String>, known: &Known) -> Result<Vec<Found>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, done) = (
        AtomicUsize::new(0),
        Mutex::new(Vec::with_capacity(files.len())),
    );
    let work = || -> Result<()> {
        let mut own = Vec::new();
        let mut block = vec![0; BLOCK];
        while let Some(name) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let path = root.join(name);
            let (digest, stamp) =
                digest(&path, name, known, &mut block).map_err(|e| failed(&path, e))?;
            own.push(Found {
                name: name.clone(),
                digest,
                stamp,
            });
        }
        done.lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .append(&mut own);
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| {
            worker
                .join()
                .unwrap_or_else(|_| Err(Error::new(ErrorKind::Bug, "a thread has panicked")))
        })
    })?;
    Ok(done
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner))
}

/// The digest of a file, and whether it may be believed the next time.
fn digest(
    path: &Path,
    name: &str,
    known: &Known,
    block: &mut [u8],
) -> io::Result<(String, Option<Stamp>)> {
    let stamp = Stamp::of(&fs::symlink_metadata(path)?);
    if let Some(stamp) = stamp
        && let Some(digest) = known.digest(name, &stamp)
    {
        return Ok((digest.to_owned(), Some(stamp)));
    }
    let begun = SystemTime::now();
    let mut file = fs::File::open(path)?;
    let mut hash = Sha1::new();
    loop {
        match file.read(block)? {
            0 => break,
            count => hash.update(&block[..count]),
        }
    }
    let digest = hex::encode(hash.finalize());
    // It must have been the same file all the time, and not a fresh one.
    let after = Stamp::of(&file.metadata()?);
    let stamp = stamp.filter(|stamp| after == Some(*stamp) && stamp.is_settled(begun));
    Ok((digest, stamp))
}

fn failed(path: &Path, error: io::Error) -> Error {
    let path: PathBuf = path.to_owned();
    Error::from(error).while_doing(format!("read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_read_without_what_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        for name in [
            "src/a.go",
            "src/pkg/b.go",
            "pkg/x",
            "bin/go",
            "src/.a.go.swp",
            "src/a~",
            "src/.#a",
            "out/o",
        ] {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        fs::write(root.join(".git"), "gitdir: elsewhere").unwrap();
        std::os::unix::fs::symlink("a.go", root.join("src/link")).unwrap();
        std::os::unix::fs::symlink("root", dir.path().join("alias")).unwrap();
        let ignored = Ignored::of(["out/"]);
        let local = Local::read(&dir.path().join("alias"), &Profile::go(), &ignored).unwrap();
        let names: Vec<_> = local.files().map(|(name, _)| name).collect();
        assert_eq!(names, ["src/a.go", "src/link", "src/pkg/b.go"]);
        assert!(local.is_dir("src/pkg") && !local.has("pkg") && !local.has("out"));
        let (_, first) = local.files().next().unwrap();
        assert_eq!(
            first.digest(),
            Some(hex::encode(Sha1::digest("src/a.go")).as_str())
        );
    }

    #[test]
    #[cfg(unix)]
    fn digests_are_kept_for_files_that_look_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let (root, cache) = (dir.path().join("root"), dir.path().join("cache"));
        fs::create_dir(&root).unwrap();
        let long_ago = SystemTime::now() - std::time::Duration::from_secs(3600);
        let write = |name: &str, text: &str| {
            fs::write(root.join(name), text).unwrap();
            let file = fs::File::options().write(true).open(root.join(name));
            file.unwrap().set_modified(long_ago).unwrap();
        };
        write("a", "one");
        let read = || {
            let ignored = Ignored::default();
            let local = Local::read_with(&root, &Profile::default(), &ignored, Some(&cache));
            let local = local.unwrap();
            let (_, file) = local.files().next().unwrap();
            file.digest().unwrap().to_owned()
        };
        let of = |text: &str| hex::encode(Sha1::digest(text));
        assert_eq!(read(), of("one"));
        // The time that the system sets is of this moment, so nothing is kept yet.
        let real = fs::canonicalize(&root).unwrap();
        let kept = DigestCache::of(&cache, &real);
        let looks = Stamp::of(&fs::symlink_metadata(root.join("a")).unwrap()).unwrap();
        assert_eq!(kept.load().digest("a", &looks), None);
        // Had it been kept, it would be believed: nobody reads the file then.
        let mut known = Known::default();
        known.add("a".into(), looks, of("as it was kept"));
        kept.save(&known).unwrap();
        assert_eq!(read(), of("as it was kept"));
        assert_eq!(read(), of("as it was kept"), "and is kept on");
        // The same size and the same time of change, but another file.
        write("b", "two");
        fs::rename(root.join("b"), root.join("a")).unwrap();
        assert_eq!(read(), of("two"));
        // Where nothing can be kept, nothing is wrong.
        fs::remove_dir_all(&cache).unwrap();
        fs::write(&cache, "no folder").unwrap();
        assert_eq!(read(), of("two"));
    }
}
