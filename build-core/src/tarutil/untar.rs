//! Unpacking a hostile archive: nothing outside the directory, bounded cost, a clear message.
//!
//! Protocol facts: docs/protocol/buildlet.md, `/writetgz`. Entries before an error stay on disk.

use std::collections::HashMap;
use std::io::{self, BufRead, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::beneath::{Beneath, free_bytes, set_modified};
use super::frame::{Entries, FrameError};
use super::gunzip::{Inflated, inflate_beside};
use super::header::{EntryHeader, EntryKind, Modified};
use super::names::{cleaned, climbs_only_first, target_stays_inside};
use super::policy::{Links, Policy};
use super::untar_error::{Bound, UntarError};

/// How often, in entries and in bytes, the disk is asked for its free space.
const FLOOR_ENTRIES: u64 = 256;
const FLOOR_BYTES: u64 = 16 << 20;

/// Bytes after the archive's end mark that are still read so that checksums are verified; GNU tar
/// pads to 10 KiB.
const TRAILER: u64 = 1 << 20;

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
    /// Symbolic links left out by [`Links::Skip`].
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
    dir: Beneath,
    base: PathBuf,
    policy: Policy,
    start: SystemTime,
    deadline: Option<Instant>,
    floor: u64,
    cancelled: Box<dyn Fn() -> bool + Send + 'a>,
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
        self.dir.walk_by_hand();
        self
    }

    fn with_dir(dir: Beneath, base: &Path) -> Self {
        Self {
            dir,
            base: base.to_owned(),
            policy: Policy::default(),
            start: SystemTime::now(),
            deadline: None,
            floor: 0,
            cancelled: Box::new(|| false),
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
    pub fn deadline(self, deadline: Instant) -> Self {
        Self {
            deadline: Some(deadline),
            ..self
        }
    }

    /// Ends with an error when fewer bytes than these are free on the directory's file system.
    #[must_use]
    pub fn disk_floor(self, bytes: u64) -> Self {
        Self {
            floor: bytes,
            ..self
        }
    }

    /// Ends with an error soon after `cancelled` says so; it is asked often and must be cheap.
    #[must_use]
    pub fn cancel_when(self, cancelled: impl Fn() -> bool + Send + 'a) -> Self {
        Self {
            cancelled: Box::new(cancelled),
            ..self
        }
    }

    /// Unpacks a gzip-compressed archive of any number of members. Decompression runs on this thread,
    /// writing on another one; the archive is never held in memory.
    ///
    /// # Errors
    /// See [`UntarError`]; what was written before the error stays.
    pub fn unpack(self, archive: impl Read) -> Result<Unpacked, UntarError> {
        inflate_beside(archive, move |inflated| {
            let first = inflated.fill_buf().map_err(UntarError::NotGzip)?;
            if first.is_empty() && Inflated::compressed(inflated) == 0 {
                return Err(UntarError::NotGzip(io::ErrorKind::UnexpectedEof.into()));
            }
            Run::new(self).archive(inflated)
        })
        .map_err(UntarError::Thread)?
    }

    /// Unpacks an archive that is not compressed.
    ///
    /// # Errors
    /// See [`UntarError`]; what was written before the error stays.
    pub fn unpack_tar(self, archive: impl BufRead) -> Result<Unpacked, UntarError> {
        Run::new(self).archive(Plain(archive))
    }
}

/// An uncompressed stream that says how many compressed bytes it came from.
trait Source: BufRead {
    fn compressed(&self) -> Option<u64>;
}

impl Source for &mut Inflated {
    fn compressed(&self) -> Option<u64> {
        Some(Inflated::compressed(self))
    }
}

struct Plain<R>(R);

impl<R: BufRead> Read for Plain<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl<R: BufRead> BufRead for Plain<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.0.fill_buf()
    }
    fn consume(&mut self, n: usize) {
        self.0.consume(n);
    }
}

impl<R: BufRead> Source for Plain<R> {
    fn compressed(&self) -> Option<u64> {
        None
    }
}

struct Run<'a> {
    job: Untar<'a>,
    done: Unpacked,
    entries: u64,
    links: Deferred,
    clamp: Modified,
    /// At how many entries and archive bytes the disk is asked next.
    floor_entries: u64,
    floor_bytes: u64,
}

impl<'a> Run<'a> {
    fn new(job: Untar<'a>) -> Self {
        let since = job.start.duration_since(UNIX_EPOCH).unwrap_or_default();
        let clamp = Modified {
            seconds: since.as_secs().cast_signed(),
            nanos: since.subsec_nanos(),
        };
        Self {
            job,
            done: Unpacked::default(),
            entries: 0,
            links: Deferred::default(),
            clamp,
            floor_entries: 0,
            floor_bytes: 0,
        }
    }

    fn archive(mut self, source: impl Source) -> Result<Unpacked, UntarError> {
        let mut entries = Entries::new(source);
        loop {
            self.check(&mut entries)?;
            let Some(header) = entries.next_entry().map_err(bad_archive)? else {
                break;
            };
            self.entry(&header, &mut entries)?;
            self.discard(&mut entries)?;
        }
        self.verify_rest(entries.input_mut())?;
        self.write_links()?;
        Ok(self.done)
    }

    fn entry<S: Source>(
        &mut self,
        header: &EntryHeader,
        entries: &mut Entries<S>,
    ) -> Result<(), UntarError> {
        self.count()?;
        if header.kind == EntryKind::Global {
            let allowed = self.job.policy.global_headers;
            return if allowed {
                Ok(())
            } else {
                Err(self.unsupported(header))
            };
        }
        let name_error = || UntarError::Name {
            name: shown(&header.path),
        };
        let path = cleaned(&header.path, &self.job.policy).ok_or_else(name_error)?;
        match &header.kind {
            EntryKind::Dir => self.dir(&path),
            _ if path.is_empty() => Err(name_error()),
            EntryKind::File => self.file(&path, header, entries),
            EntryKind::Symlink(target) => self.link(path, header, Link::Symbolic(target.clone())),
            EntryKind::HardLink(target) => self.hard_link(path, header, target),
            _ => Err(self.unsupported(header)),
        }
    }

    fn dir(&mut self, path: &[u8]) -> Result<(), UntarError> {
        self.links.forget(path);
        self.job
            .dir
            .create_dir_all(path)
            .map_err(|error| self.failed(path, error))?;
        self.done.dirs += 1;
        Ok(())
    }

    fn file<S: Source>(
        &mut self,
        path: &[u8],
        header: &EntryHeader,
        entries: &mut Entries<S>,
    ) -> Result<(), UntarError> {
        if header.size > self.job.policy.limits.file_bytes {
            let max = self.job.policy.limits.file_bytes;
            return Err(UntarError::Bound {
                name: shown(path),
                bound: Bound::FileBytes,
                max,
            });
        }
        self.links.forget(path);
        let created = self.job.dir.create_file(path, header.mode);
        let mut file = created.map_err(|error| self.failed(path, error))?;
        while entries.left() > 0 {
            self.check(entries)?;
            let content = entries.content().map_err(|error| self.short(path, error))?;
            let n = content.len();
            file.write_all(content)
                .map_err(|error| self.failed(path, error))?;
            entries.consume(n);
        }
        if set_modified(&file, header.modified.min(self.clamp)).is_err() {
            self.done.times_not_set += 1;
        }
        self.done.files += 1;
        self.done.bytes += header.size;
        Ok(())
    }

    fn hard_link(
        &mut self,
        path: Vec<u8>,
        header: &EntryHeader,
        target: &[u8],
    ) -> Result<(), UntarError> {
        if self.job.policy.links == Links::Skip {
            self.links.forget(&path);
            self.job
                .dir
                .create_file(&path, header.mode)
                .map_err(|error| self.failed(&path, error))?;
            self.done.files += 1;
            return Ok(());
        }
        let target = cleaned(target, &self.job.policy).filter(|target| !target.is_empty());
        let target = target.ok_or_else(|| self.outside(header))?;
        self.link(path, header, Link::Hard(target))
    }

    fn link(&mut self, path: Vec<u8>, header: &EntryHeader, link: Link) -> Result<(), UntarError> {
        match self.job.policy.links {
            Links::Skip => {
                self.done.skipped_links += 1;
                return Ok(());
            }
            Links::Refuse => return Err(self.unsupported(header)),
            Links::Inside => {}
        }
        if let Link::Symbolic(target) = &link {
            let decided = self.job.dir.kernel_resolves() || climbs_only_first(target);
            if !decided || !target_stays_inside(&path, target) {
                return Err(self.outside(header));
            }
        }
        let max = self.job.policy.limits.link_bytes;
        let name = shown(&path);
        if self.links.add(path, link) > max {
            return Err(UntarError::Bound {
                name,
                bound: Bound::LinkBytes,
                max: max as u64,
            });
        }
        Ok(())
    }

    /// Links come last and in order; what then leads out after all is taken away again.
    fn write_links(&mut self) -> Result<(), UntarError> {
        let links = std::mem::take(&mut self.links).into_ordered();
        for (path, link) in &links {
            self.stop()?;
            let made = match link {
                Link::Symbolic(target) => self.job.dir.symlink(path, target),
                Link::Hard(target) => self.job.dir.hard_link(path, target),
            };
            made.map_err(|error| self.failed(path, error))?;
            self.done.links += 1;
        }
        for (path, link) in &links {
            if matches!(link, Link::Symbolic(_)) && self.job.dir.leads_out(path) {
                self.job
                    .dir
                    .remove(path)
                    .map_err(|error| self.failed(path, error))?;
                return Err(UntarError::Outside {
                    name: shown(path),
                    target: shown(link.target()),
                });
            }
        }
        Ok(())
    }

    fn count(&mut self) -> Result<(), UntarError> {
        self.entries += 1;
        let max = self.job.policy.limits.entries;
        if self.entries > max {
            return Err(UntarError::Bound {
                name: String::new(),
                bound: Bound::Entries,
                max,
            });
        }
        Ok(())
    }

    /// Whether the run may go on; called before each entry and each piece of content.
    fn check<S: Source>(&mut self, entries: &mut Entries<S>) -> Result<(), UntarError> {
        self.stop()?;
        let limits = &self.job.policy.limits;
        let out = entries.offset();
        let bound = |bound, max| {
            Err(UntarError::Bound {
                name: String::new(),
                bound,
                max,
            })
        };
        if out.saturating_add(entries.left()) > limits.total_bytes {
            return bound(Bound::TotalBytes, limits.total_bytes);
        }
        let compressed = entries.input_mut().compressed();
        if out > limits.ratio_from
            && compressed.is_some_and(|taken| out / taken.max(1) > limits.ratio)
        {
            return bound(Bound::Ratio, limits.ratio);
        }
        self.check_floor(out)
    }

    fn stop(&self) -> Result<(), UntarError> {
        if (self.job.cancelled)() {
            return Err(UntarError::Cancelled);
        }
        if self
            .job
            .deadline
            .is_some_and(|deadline| Instant::now() >= deadline)
        {
            return Err(UntarError::Deadline);
        }
        Ok(())
    }

    fn check_floor(&mut self, out: u64) -> Result<(), UntarError> {
        let due = self.entries >= self.floor_entries || out >= self.floor_bytes;
        if self.job.floor == 0 || !due {
            return Ok(());
        }
        self.floor_entries = self.entries + FLOOR_ENTRIES;
        self.floor_bytes = out + FLOOR_BYTES;
        let free = free_bytes(self.job.dir.root()).map_err(|error| self.failed(b"", error))?;
        if free < self.job.floor {
            return Err(UntarError::DiskFloor {
                free,
                floor: self.job.floor,
            });
        }
        Ok(())
    }

    /// Skips what is left of an entry, under the same bounds as content that is written.
    fn discard<S: Source>(&mut self, entries: &mut Entries<S>) -> Result<(), UntarError> {
        while entries.left() > 0 {
            self.check(entries)?;
            let n = entries.content().map_err(bad_archive)?.len();
            entries.consume(n);
        }
        Ok(())
    }

    /// Reads on after the end mark, so that the last checksum is verified.
    fn verify_rest(&mut self, source: &mut impl Source) -> Result<(), UntarError> {
        match io::copy(&mut source.take(TRAILER), &mut io::sink()) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(bad_archive(FrameError::Truncated))
            }
            Err(error) => Err(bad_archive(FrameError::Read(error))),
        }
    }

    fn unsupported(&self, header: &EntryHeader) -> UntarError {
        UntarError::Kind {
            name: shown(&header.path),
            mode: mode_text(header),
        }
    }

    fn outside(&self, header: &EntryHeader) -> UntarError {
        let target = match &header.kind {
            EntryKind::Symlink(target) | EntryKind::HardLink(target) => target.as_slice(),
            _ => b"",
        };
        UntarError::Outside {
            name: shown(&header.path),
            target: shown(target),
        }
    }

    fn failed(&self, path: &[u8], source: io::Error) -> UntarError {
        if source.raw_os_error() == Some(rustix::io::Errno::XDEV.raw_os_error()) {
            return UntarError::Through { name: shown(path) };
        }
        UntarError::Write {
            path: self.absolute(path),
            source,
        }
    }

    fn short(&self, path: &[u8], error: FrameError) -> UntarError {
        match error {
            FrameError::Truncated => UntarError::Short {
                path: self.absolute(path),
            },
            other => bad_archive(other),
        }
    }

    fn absolute(&self, path: &[u8]) -> PathBuf {
        use std::os::unix::ffi::OsStrExt as _;
        self.job.base.join(std::ffi::OsStr::from_bytes(path))
    }
}

fn bad_archive(error: FrameError) -> UntarError {
    UntarError::BadTar(error)
}

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

/// The type and permission text of Unix, as in `prw-r--r--`.
fn mode_text(header: &EntryHeader) -> String {
    let kind = match header.kind {
        EntryKind::Dir => 'd',
        EntryKind::Symlink(_) => 'L',
        EntryKind::Fifo => 'p',
        EntryKind::CharDevice(..) | EntryKind::BlockDevice(..) => 'D',
        EntryKind::File | EntryKind::HardLink(_) => '-',
        EntryKind::Sparse => return "sparse file".into(),
        EntryKind::Global => return "global header".into(),
        EntryKind::Other(flag) => return format!("{:?}", char::from(flag)),
    };
    let bit = |shift: u32, letter: char| {
        if header.mode >> shift & 1 == 1 {
            letter
        } else {
            '-'
        }
    };
    let letters = (0..9)
        .rev()
        .map(|shift| bit(shift, ['x', 'w', 'r'][shift as usize % 3]));
    std::iter::once(kind).chain(letters).collect()
}

#[derive(Debug)]
enum Link {
    Symbolic(Vec<u8>),
    Hard(Vec<u8>),
}

impl Link {
    fn target(&self) -> &[u8] {
        match self {
            Self::Symbolic(target) | Self::Hard(target) => target,
        }
    }
}

/// Links to be made after all files, in the archive's order; the last entry of a name wins.
#[derive(Debug, Default)]
struct Deferred {
    links: HashMap<Vec<u8>, (u64, Link)>,
    next: u64,
    bytes: usize,
}

impl Deferred {
    /// Returns the bytes held after the addition.
    fn add(&mut self, path: Vec<u8>, link: Link) -> usize {
        self.bytes += path.len() + link.target().len();
        self.next += 1;
        self.links.insert(path, (self.next, link));
        self.bytes
    }

    /// A later file or directory of the same name replaces the link.
    fn forget(&mut self, path: &[u8]) {
        if !self.links.is_empty() {
            self.links.remove(path);
        }
    }

    fn into_ordered(self) -> Vec<(Vec<u8>, Link)> {
        let mut links: Vec<_> = self.links.into_iter().collect();
        links.sort_unstable_by_key(|(_, (order, _))| *order);
        links
            .into_iter()
            .map(|(path, (_, link))| (path, link))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use super::super::{FileList, GzipOptions, Pack};
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
