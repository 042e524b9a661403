//! The run of an unpacking: nothing outside the directory, bounded cost, a clear message.
//!
//! Protocol facts: docs/protocol/buildlet.md, `/writetgz`. Entries before an error stay on disk.

use std::ffi::OsStr;
use std::io::{self, BufRead, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::UNIX_EPOCH;

use super::frame::{Entries, FrameError};
use super::header::{EntryHeader, EntryKind, Modified};
use super::links::{Deferred, Link};
use super::names::{cleaned, climbs_only_first, target_stays_inside};
use super::policy::Links;
use super::stop::Account;
use super::untar::{Unpacked, Untar};
use super::untar_error::{Bound, UntarError};
use crate::tree::set_modified;

/// Bytes after the archive's end mark that are still read so that checksums are verified; GNU tar
/// pads to 10 KiB.
const TRAILER: u64 = 1 << 20;

pub(super) struct Unpacking<'a> {
    job: Untar<'a>,
    done: Unpacked,
    account: Account,
    links: Deferred,
    /// No file gets a later time than this.
    latest: Modified,
}

impl<'a> Unpacking<'a> {
    /// `compressed` counts the bytes that the archive is made from.
    pub(super) fn new(job: Untar<'a>, compressed: Option<Arc<AtomicU64>>) -> Self {
        let since = job.start.duration_since(UNIX_EPOCH).unwrap_or_default();
        let latest = Modified {
            seconds: since.as_secs().cast_signed(),
            nanos: since.subsec_nanos(),
        };
        let account = Account::new(job.policy.limits.clone(), compressed);
        Self {
            job,
            done: Unpacked::default(),
            account,
            links: Deferred::default(),
            latest,
        }
    }

    pub(super) fn archive(mut self, source: impl BufRead) -> Result<Unpacked, UntarError> {
        let mut entries = Entries::new(source);
        loop {
            self.check(&entries)?;
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

    fn entry<R: BufRead>(
        &mut self,
        header: &EntryHeader,
        entries: &mut Entries<R>,
    ) -> Result<(), UntarError> {
        self.account.entry()?;
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
        let made = self.job.dir.create_dir_all(path).map(drop);
        made.map_err(|error| self.failed(path, error))?;
        self.done.dirs += 1;
        Ok(())
    }

    fn file<R: BufRead>(
        &mut self,
        path: &[u8],
        header: &EntryHeader,
        entries: &mut Entries<R>,
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
        if set_modified(&file, header.modified.min(self.latest)).is_err() {
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
            Links::Inside | Links::Anywhere => {}
        }
        if let Link::Symbolic(target) = &link
            && !self.may_point_to(&path, target)
        {
            return Err(self.outside(header));
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

    fn may_point_to(&self, path: &[u8], target: &[u8]) -> bool {
        if self.job.policy.links == Links::Anywhere {
            return !target.is_empty() && !target.contains(&0);
        }
        let is_decided = self.job.dir.kernel_resolves() || climbs_only_first(target);
        is_decided && target_stays_inside(path, target)
    }

    /// Links come last and in order. Those that then lead out and may not are taken away again, also
    /// when not all could be made.
    fn write_links(&mut self) -> Result<(), UntarError> {
        let links = std::mem::take(&mut self.links).into_ordered();
        let made = self.make_links(&links);
        if self.job.policy.links == Links::Anywhere {
            return made;
        }
        let mut outside = None;
        for (path, link) in links.iter().take(self.done.links as usize) {
            let Some(target) = self.symbolic_target(path, link) else {
                continue;
            };
            if !target_stays_inside(path, &target) || self.job.dir.leads_out(path, &target) {
                self.job
                    .dir
                    .remove(path)
                    .map_err(|error| self.failed(path, error))?;
                outside = Some(UntarError::Outside {
                    name: shown(path),
                    target: shown(&target),
                });
            }
        }
        outside.map_or(made, Err)
    }

    /// Where the link made at `path` points. A hard link may be to a symbolic one, which points
    /// somewhere else from its new place.
    fn symbolic_target(&mut self, path: &[u8], link: &Link) -> Option<Vec<u8>> {
        match link {
            Link::Symbolic(target) => Some(target.clone()),
            Link::Hard(_) => self.job.dir.link_target(path),
        }
    }

    fn make_links(&mut self, links: &[(Vec<u8>, Link)]) -> Result<(), UntarError> {
        for (path, link) in links {
            self.job.stop.now()?;
            let made = match link {
                Link::Symbolic(target) => self.job.dir.symlink(path, target),
                Link::Hard(target) => self.job.dir.hard_link(path, target),
            };
            made.map_err(|error| self.failed(path, error))?;
            self.done.links += 1;
        }
        Ok(())
    }

    /// Whether the run may go on; called before each entry and each piece of content.
    fn check<R: BufRead>(&mut self, entries: &Entries<R>) -> Result<(), UntarError> {
        let taken = entries.offset();
        self.job.stop.now()?;
        self.account.bytes(taken, entries.left())?;
        self.account
            .disk(self.job.stop.disk_floor, self.job.dir.root(), taken)
    }

    /// Skips what is left of an entry, under the same bounds as content that is written.
    fn discard<R: BufRead>(&mut self, entries: &mut Entries<R>) -> Result<(), UntarError> {
        while entries.left() > 0 {
            self.check(entries)?;
            let n = entries.content().map_err(bad_archive)?.len();
            entries.consume(n);
        }
        Ok(())
    }

    /// Reads on after the end mark, so that the last checksum is verified.
    fn verify_rest(&self, source: &mut impl BufRead) -> Result<(), UntarError> {
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
        self.job.base.join(OsStr::from_bytes(path))
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
