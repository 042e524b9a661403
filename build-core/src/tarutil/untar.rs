//! Unpacking an archive of unknown origin below a directory: what a caller sets and gets.

use std::io::{self, BufRead, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime};

use super::inflate_beside::inflate_beside;
use super::policy::Policy;
use super::stop::Stop;
use super::unpacking::Unpacking;
use super::untar_error::UntarError;
use crate::tree::Beneath;

/// What an archive left in the directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unpacked {
    /// Files written, their bytes, directories and links made.
    pub files: u64,
    /// Bytes of file content.
    pub bytes: u64,
    /// Directory entries.
    pub dirs: u64,
    /// Symbolic and hard links made.
    pub links: u64,
    /// Symbolic links left out by [`Links::Skip`](super::Links::Skip).
    pub skipped_links: u64,
    /// Files whose modification time could not be set.
    pub times_not_set: u64,
}

/// An unpacking, ready to run.
///
/// ```
/// use build_core::tarutil::{EntryHeader, FileList, Untar};
/// let dir = tempfile::tempdir()?;
/// let mut list = FileList::new();
/// list.add_bytes(EntryHeader::file("src/main.c", 0), "int main() {}\n");
/// let done = Untar::open(dir.path())?.unpack(list.open_gz())?;
/// assert_eq!(done.files, 1);
/// assert_eq!(std::fs::read(dir.path().join("src/main.c"))?, b"int main() {}\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Untar<'a> {
    pub(super) dir: Beneath,
    pub(super) base: PathBuf,
    pub(super) policy: Policy,
    pub(super) start: SystemTime,
    pub(super) stop: Stop<'a>,
}

impl std::fmt::Debug for Untar<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Untar")
            .field("base", &self.base)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

impl<'a> Untar<'a> {
    /// Into the directory at `path`, which must exist.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        Ok(Self::with_dir(Beneath::open(path)?, path))
    }

    /// Into an open directory; `shown` names it in messages.
    pub fn beneath(dir: OwnedFd, shown: impl AsRef<Path>) -> Self {
        Self::with_dir(Beneath::new(dir), shown.as_ref())
    }

    /// As on a system without `openat2`.
    #[cfg(test)]
    pub(super) fn without_kernel_help(mut self) -> Self {
        self.dir = self.dir.without_links();
        self
    }

    fn with_dir(dir: Beneath, base: &Path) -> Self {
        Self {
            dir,
            base: base.to_owned(),
            policy: Policy::default(),
            start: SystemTime::now(),
            stop: Stop::default(),
        }
    }

    /// With this policy instead of the default one.
    #[must_use]
    pub fn policy(self, policy: Policy) -> Self {
        Self { policy, ..self }
    }

    /// With this as "now": later modification times are clamped to it. Default: when this value was
    /// made.
    #[must_use]
    pub fn start(self, start: SystemTime) -> Self {
        Self { start, ..self }
    }

    /// Ends with an error once this moment has passed. A reader that blocks must end by itself.
    #[must_use]
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.stop.deadline = Some(deadline);
        self
    }

    /// Ends with an error when fewer bytes than these are free on the directory's file system.
    #[must_use]
    pub fn disk_floor(mut self, bytes: u64) -> Self {
        self.stop.disk_floor = bytes;
        self
    }

    /// Ends with an error soon after `cancelled` says so; it is asked often and must be cheap.
    #[must_use]
    pub fn cancel_when(mut self, cancelled: impl Fn() -> bool + Send + 'a) -> Self {
        self.stop.cancelled = Box::new(cancelled);
        self
    }

    /// Unpacks a gzip-compressed archive of any number of members. Decompression runs on this thread,
    /// writing on another one; the archive is never held in memory.
    ///
    /// # Errors
    /// See [`UntarError`]; what was written before the error stays.
    pub fn unpack(self, archive: impl Read) -> Result<Unpacked, UntarError> {
        inflate_beside(archive, move |inflated| {
            let first = inflated.fill_buf().map_err(UntarError::NotGzip)?;
            if first.is_empty() && inflated.compressed().load(Ordering::Relaxed) == 0 {
                return Err(UntarError::NotGzip(io::ErrorKind::UnexpectedEof.into()));
            }
            let compressed = inflated.compressed();
            Unpacking::new(self, Some(compressed)).archive(inflated)
        })
        .map_err(UntarError::Thread)?
    }

    /// Unpacks an archive that is not compressed.
    ///
    /// # Errors
    /// See [`UntarError`]; what was written before the error stays.
    pub fn unpack_tar(self, archive: impl BufRead) -> Result<Unpacked, UntarError> {
        Unpacking::new(self, None).archive(archive)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use std::time::UNIX_EPOCH;

    use super::super::{EntryHeader, EntryKind, FileList, GzipOptions, Modified, Pack};
    use super::*;

    fn hard_link(path: &str, target: &str) -> EntryHeader {
        EntryHeader::new(path, EntryKind::HardLink(target.into()))
    }

    /// The archive of the protocol's vector.
    fn vector() -> FileList {
        let mut list = FileList::new();
        let future = Modified {
            seconds: 4_000_000_000,
            nanos: 0,
        };
        list.add(EntryHeader::new("pax", EntryKind::Global))
            .add_bytes(
                EntryHeader::file("./a/b", 0).modified(Modified {
                    seconds: 1_000_000_000,
                    nanos: 0,
                }),
                "bee",
            )
            .add_bytes(EntryHeader::file("c", 0).mode(0o4755), "cee")
            .add(EntryHeader::symlink("sym", "a/b"))
            .add(hard_link("hard", "c"))
            .add_bytes(EntryHeader::file("fut", 0).modified(future), "")
            .add(EntryHeader::dir("d").mode(0o700));
        list
    }

    #[test]
    fn links_are_made_inside() {
        let dir = tempfile::tempdir().unwrap();
        let done = Untar::open(dir.path())
            .unwrap()
            .unpack(vector().open_gz())
            .unwrap();
        assert_eq!((done.files, done.dirs, done.links), (3, 1, 2));
        let path = |name: &str| dir.path().join(name);
        assert_eq!(std::fs::read_link(path("sym")).unwrap(), Path::new("a/b"));
        assert_eq!(
            std::fs::metadata(path("hard")).unwrap().ino(),
            std::fs::metadata(path("c")).unwrap().ino()
        );
        assert_eq!(
            std::fs::metadata(path("c")).unwrap().permissions().mode() & 0o7777,
            0o755
        );
        assert_eq!(
            std::fs::metadata(path("a/b")).unwrap().mtime(),
            1_000_000_000
        );
    }

    #[test]
    fn as_in_2020_links_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let start = UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000);
        let untar = Untar::open(dir.path())
            .unwrap()
            .policy(Policy::go2020())
            .start(start);
        let done = untar.unpack(vector().open_gz()).unwrap();
        assert_eq!((done.files, done.links, done.skipped_links), (4, 0, 1));
        let path = |name: &str| dir.path().join(name);
        assert!(path("sym").symlink_metadata().is_err());
        assert_eq!(path("hard").metadata().unwrap().len(), 0);
        assert_eq!(path("fut").metadata().unwrap().mtime(), 1_600_000_000);
        assert_eq!(
            path("d").metadata().unwrap().permissions().mode() & 0o777,
            0o755
        );
    }

    #[test]
    fn what_was_there_is_replaced_not_written_through() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(outside.path(), "secret").unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("link")).unwrap();
        std::fs::hard_link(outside.path(), dir.path().join("hard")).unwrap();
        let mut list = FileList::new();
        list.add_bytes(EntryHeader::file("link", 0), "new")
            .add_bytes(EntryHeader::file("hard", 0), "new");
        Untar::open(dir.path())
            .unwrap()
            .unpack(list.open_gz())
            .unwrap();
        assert_eq!(std::fs::read(outside.path()).unwrap(), b"secret");
        assert_eq!(std::fs::read(dir.path().join("link")).unwrap(), b"new");
    }

    #[test]
    fn a_packed_tree_comes_back() {
        let (from, to, again) = (
            tempfile::tempdir().unwrap(),
            tempfile::tempdir().unwrap(),
            tempfile::tempdir().unwrap(),
        );
        Untar::open(from.path())
            .unwrap()
            .unpack(vector().open_gz())
            .unwrap();
        let long = "directory/".repeat(20) + "wörld";
        std::fs::create_dir_all(from.path().join(&long).parent().unwrap()).unwrap();
        std::fs::write(from.path().join(&long), vec![7; 100_000]).unwrap();
        let pack = |dir: &Path| {
            let mut archive = Vec::new();
            Pack::open(dir)
                .unwrap()
                .write_gz(&mut archive, &GzipOptions::default().chunk(5000))
                .unwrap();
            archive
        };
        let archive = pack(from.path());
        Untar::open(to.path())
            .unwrap()
            .unpack(archive.as_slice())
            .unwrap();
        assert_eq!(
            std::fs::read(to.path().join(&long)).unwrap(),
            vec![7; 100_000]
        );
        Untar::open(again.path())
            .unwrap()
            .unpack(pack(to.path()).as_slice())
            .unwrap();
        let times_aside = |dir: &Path| {
            let mut archive = Vec::new();
            Pack::open(dir)
                .unwrap()
                .deterministic()
                .write_tar(&mut archive)
                .unwrap();
            archive
        };
        assert_eq!(times_aside(to.path()), times_aside(again.path()));
    }

    #[test]
    fn cancel_deadline_and_floor_stop_it() {
        let dir = tempfile::tempdir().unwrap();
        let untar = || Untar::open(dir.path()).unwrap();
        let run = |untar: Untar<'_>| untar.unpack(vector().open_gz()).unwrap_err();
        assert!(matches!(
            run(untar().cancel_when(|| true)),
            UntarError::Cancelled
        ));
        assert!(matches!(
            run(untar().deadline(Instant::now())),
            UntarError::Deadline
        ));
        assert!(matches!(
            run(untar().disk_floor(u64::MAX)),
            UntarError::DiskFloor { .. }
        ));
    }
}
