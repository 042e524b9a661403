//! Archives of each kind, unpacked by the one unpacker that lets nothing out.

use std::fs::File;
use std::io::{self, BufReader, Read as _, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use build_core::tarutil::{
    EntryHeader, EntryKind, Limits, Links, Modified, Policy, Unpacked, Untar, UntarError,
};
use lzma_rust2::XzReader;
use zip::ZipArchive;
use zip::result::ZipError;

use super::rows::LinkRule;
use crate::httpdl::part::failed;
use crate::{Error, ErrorKind, Result};

/// The longest time for one archive.
const DEADLINE: Duration = Duration::from_secs(3600);
/// Free space that unpacking leaves.
const FLOOR: u64 = 64 << 20;
/// Where the judgement by ratio begins: a bomb costs at most that.
const RATIO_FROM: u64 = 64 << 20;
/// Memory for one xz stream, in KiB: `xz -9` needs 65 MiB.
const XZ_MEMORY: u32 = 256 << 10;
/// Longest target of a link in a zip archive.
const TARGET: u64 = 4096;

/// What an archive is packed as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Gzip,
    Xz,
    Tar,
    Zip,
}

impl Form {
    fn by_name(name: &str) -> Option<Self> {
        let ends = |end: &str| name.ends_with(end);
        match () {
            () if ends(".tar.gz") || ends(".tgz") => Some(Self::Gzip),
            () if ends(".tar.xz") => Some(Self::Xz),
            () if ends(".tar") => Some(Self::Tar),
            () if ends(".zip") => Some(Self::Zip),
            () => None,
        }
    }

    /// By how its contents begin, whatever it is called.
    fn by_content(begin: &[u8]) -> Option<Self> {
        match begin {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            [b'P', b'K', 3 | 5, 4 | 6, ..] => Some(Self::Zip),
            _ if begin.get(257..262) == Some(b"ustar") => Some(Self::Tar),
            _ => None,
        }
    }
}

/// What one archive may cost, beside the bounds of [`Limits`].
struct Bounds<'a> {
    links: LinkRule,
    total_bytes: u64,
    cancelled: &'a AtomicBool,
}

/// Unpacks `archive` into the empty directory `dir`, by the end of its name.
pub(super) fn unpack(
    archive: &Path,
    dir: &Path,
    links: LinkRule,
    cancelled: &AtomicBool,
) -> Result<Unpacked> {
    let name = archive
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let form = Form::by_name(name).ok_or_else(|| strange(name))?;
    let bounds = Bounds {
        links,
        total_bytes: u64::MAX,
        cancelled,
    };
    unpack_as(form, archive, dir, &bounds).map_err(|e| e.while_doing(format!("unpack {name}")))
}

/// Unpacks an archive of unknown origin into the empty directory `dir`: a tar archive, packed by gzip
/// or xz or not at all, or a zip archive, told by how it begins. No more than `total_bytes` come
/// out, nothing leaves the directory, and no link points out of it. Blocking; it ends soon after
/// `cancelled` is set.
///
/// # Errors
/// [`ErrorKind::Corrupt`] when it is the archive's fault, [`ErrorKind::Invalid`] when it is none;
/// else those of the disk.
pub fn unpack_archive(
    archive: &Path,
    dir: &Path,
    total_bytes: u64,
    cancelled: &AtomicBool,
) -> Result<Unpacked> {
    let mut begin = Vec::new();
    let read = File::open(archive).and_then(|file| file.take(512).read_to_end(&mut begin));
    read.map_err(|error| failed("read", archive, error))?;
    let form = Form::by_content(&begin).ok_or_else(|| strange("it"))?;
    let bounds = Bounds {
        links: LinkRule::Inside,
        total_bytes,
        cancelled,
    };
    unpack_as(form, archive, dir, &bounds)
}

fn strange(name: &str) -> Error {
    let error = Error::new(
        ErrorKind::Invalid,
        format!("{name} is no archive of a known kind"),
    );
    error.with_hint(".tar.gz, .tar.xz, .tar and .zip are known")
}

fn unpack_as(form: Form, archive: &Path, dir: &Path, bounds: &Bounds<'_>) -> Result<Unpacked> {
    let file = File::open(archive).map_err(|error| failed("read", archive, error))?;
    let length = file
        .metadata()
        .map_err(|error| failed("read", archive, error))?
        .len();
    let mut limits = Limits::default();
    limits.ratio_from = RATIO_FROM;
    limits.total_bytes = limits.total_bytes.min(bounds.total_bytes);
    if form != Form::Gzip {
        // Only gzip is judged while it runs; of the others the whole is bounded before.
        limits.total_bytes = limits
            .total_bytes
            .min(limits.ratio_from.max(length.saturating_mul(limits.ratio)));
    }
    let links = match bounds.links {
        LinkRule::Inside => Links::Inside,
        LinkRule::Refuse => Links::Refuse,
    };
    let untar = Untar::open(dir)
        .map_err(|error| failed("open", dir, error))?
        .policy(Policy::default().links(links).limits(limits))
        .deadline(Instant::now() + DEADLINE)
        .disk_floor(FLOOR)
        .cancel_when(|| bounds.cancelled.load(Ordering::Relaxed));
    let file = BufReader::with_capacity(1 << 16, file);
    match form {
        Form::Gzip => untar.unpack(file).map_err(refused),
        Form::Xz => {
            let xz = XzReader::new_mem_limit(file, true, XZ_MEMORY);
            untar
                .unpack_tar(BufReader::with_capacity(1 << 16, xz))
                .map_err(refused)
        }
        Form::Tar => untar.unpack_tar(file).map_err(refused),
        Form::Zip => unzip(file, untar),
    }
}

/// An archive's fault, or the disk's.
fn refused(error: UntarError) -> Error {
    let kind = match &error {
        UntarError::Write { source, .. } => match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Limit,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                ErrorKind::Denied
            }
            // Its directory was empty: whatever is in the way, the archive has put there.
            io::ErrorKind::IsADirectory
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::DirectoryNotEmpty
            | io::ErrorKind::AlreadyExists
            | io::ErrorKind::NotFound
            | io::ErrorKind::InvalidFilename => ErrorKind::Corrupt,
            _ => ErrorKind::Unavailable,
        },
        UntarError::DiskFloor { .. } => ErrorKind::Limit,
        UntarError::Deadline => ErrorKind::TimedOut,
        UntarError::Cancelled => ErrorKind::Canceled,
        _ => ErrorKind::Corrupt,
    };
    Error::caused_by(kind, "it was refused", error)
}

/// A zip archive, through the same unpacker as a tar archive.
fn unzip(file: BufReader<File>, untar: Untar<'_>) -> Result<Unpacked> {
    let (reader, writer) = io::pipe().map_err(Error::from)?;
    std::thread::scope(|scope| {
        let feeding = scope.spawn(move || {
            let mut out = io::BufWriter::with_capacity(1 << 16, writer);
            feed(file, &mut out).and_then(|()| Ok(out.flush()?))
        });
        // Whichever end fails first closes the pipe for the other.
        let unpacked = untar.unpack_tar(BufReader::with_capacity(1 << 16, reader));
        let fed = feeding
            .join()
            .map_err(|_| Error::new(ErrorKind::Bug, "the reader of a zip archive failed"))?;
        match (unpacked, fed) {
            (Ok(unpacked), Ok(())) => Ok(unpacked),
            (Err(error), Err(ZipError::Io(pipe))) if pipe.kind() == io::ErrorKind::BrokenPipe => {
                Err(refused(error))
            }
            (Err(error), Ok(())) => Err(refused(error)),
            (_, Err(error)) => Err(Error::caused_by(
                ErrorKind::Corrupt,
                "it was refused",
                error,
            )),
        }
    })
}

/// The entries of a zip archive as those of a tar archive.
fn feed(file: BufReader<File>, out: &mut impl io::Write) -> std::result::Result<(), ZipError> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    // Times of a zip archive have no zone; a toolchain needs none of them.
    let now = Modified {
        seconds: now.as_secs().cast_signed(),
        nanos: 0,
    };
    let mut archive = ZipArchive::new(file)?;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index)?;
        let name = entry.name_raw().to_vec();
        let header = if entry.is_dir() {
            EntryHeader::dir(name)
        } else if entry.is_symlink() {
            let mut target = Vec::new();
            (&mut entry).take(TARGET).read_to_end(&mut target)?;
            EntryHeader::symlink(name, target)
        } else {
            let mode = entry.unix_mode().unwrap_or(0o644);
            EntryHeader::file(name, entry.size()).mode(mode & 0o777)
        };
        let content = *header.kind() == EntryKind::File;
        let header = header.modified(now);
        match content {
            true => header.write(&mut entry, out)?,
            false => header.write(io::empty(), out)?,
        }
        // The checksum is compared at the end of the content, which may lie about its length.
        if content && entry.read(&mut [0])? != 0 {
            return Err(ZipError::InvalidArchive(
                "an entry is longer than it says".into(),
            ));
        }
    }
    Ok(out.write_all(&[0; 1024])?)
}
