//! What requests do with files; may block.

use std::fs::{self, File, FileTimes, OpenOptions, ReadDir};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use build_core::buildlet::clean;
use russh_sftp::protocol::{File as Entry, FileAttributes, OpenFlags};

use crate::buildlet::paths::Places;

/// Most bytes of one answer.
const MOST_READ: usize = 128 << 10;
/// Names of one answer.
const MOST_NAMES: usize = 128;
/// Of a new file, before the umask.
const NEW_FILE: u32 = 0o666;
const NEW_DIR: u32 = 0o777;

/// What a handle stands for.
#[derive(Clone)]
pub(super) enum Opened {
    File(Arc<File>),
    Dir(Arc<Mutex<Listing>>),
}

/// A directory that is being listed.
pub(super) struct Listing {
    entries: ReadDir,
    /// Those that no listing of the system has.
    before: Vec<&'static str>,
}

fn outside() -> io::Error {
    let text = "the path leads out of the work directory";
    io::Error::new(io::ErrorKind::PermissionDenied, text)
}

/// Where paths of clients lead.
pub(super) struct Root<'a> {
    pub(super) work_dir: &'a Path,
    pub(super) places: Places<'a>,
    pub(super) links_may_leave: bool,
}

impl Root<'_> {
    /// A path by its text: absolute below the work directory, or relative to it.
    fn relative<'p>(&self, path: &'p str) -> io::Result<std::borrow::Cow<'p, str>> {
        if !path.starts_with('/') {
            return Ok(path.into());
        }
        let cleaned = clean(path);
        let below = Path::new(&cleaned).strip_prefix(self.work_dir);
        let below = below.map_err(|_| outside())?;
        let text = below.to_str().ok_or_else(outside)?;
        Ok(text.to_owned().into())
    }

    /// What a path names; its last part may be a link, which is not followed.
    pub(super) fn named(&self, path: &str) -> io::Result<PathBuf> {
        let relative = self.relative(path)?;
        let place = match relative.is_empty() {
            true => self.places.dir(""),
            false => self.places.entry(&relative),
        };
        place.map(|place| place.path()).map_err(|_| outside())
    }

    /// What a path leads to: a link at its end must not lead out either.
    pub(super) fn followed(&self, path: &str) -> io::Result<PathBuf> {
        let named = self.named(path)?;
        if !fs::symlink_metadata(&named).is_ok_and(|file| file.is_symlink()) {
            return Ok(named);
        }
        let real = fs::canonicalize(&named)?;
        match self.links_may_leave || real.starts_with(self.work_dir) {
            true => Ok(real),
            false => Err(outside()),
        }
    }

    /// As [`Root::named`], of what may be removed or moved.
    pub(super) fn below(&self, path: &str) -> io::Result<PathBuf> {
        let named = self.named(path)?;
        match named == self.work_dir {
            true => Err(outside()),
            false => Ok(named),
        }
    }

    /// The absolute path of what need not be there.
    pub(super) fn real(&self, path: &str) -> io::Result<String> {
        let followed = self.followed(path).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => self.named(path),
            _ => Err(error),
        })?;
        Ok(text(&followed))
    }

    pub(super) fn open(
        &self,
        path: &str,
        flags: OpenFlags,
        wanted: &FileAttributes,
    ) -> io::Result<Opened> {
        let target = self.followed(path)?;
        let mut options = OpenOptions::from(flags);
        options.mode(wanted.permissions.unwrap_or(NEW_FILE) & 0o7777);
        // A pipe or a device would keep whoever opens it.
        options.custom_flags(
            (rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY)
                .bits()
                .cast_signed(),
        );
        let file = options.open(target)?;
        match file.metadata()?.is_file() {
            true => Ok(Opened::File(Arc::new(file))),
            false => Err(io::Error::other("it is not a regular file")),
        }
    }

    pub(super) fn open_dir(&self, path: &str) -> io::Result<Opened> {
        let listing = Listing {
            entries: fs::read_dir(self.followed(path)?)?,
            before: vec!["..", "."],
        };
        Ok(Opened::Dir(Arc::new(Mutex::new(listing))))
    }

    pub(super) fn attributes(&self, path: &str, follow: bool) -> io::Result<FileAttributes> {
        let about = match follow {
            true => fs::metadata(self.followed(path)?)?,
            false => fs::symlink_metadata(self.named(path)?)?,
        };
        Ok(attributes(&about))
    }

    pub(super) fn set(&self, path: &str, wanted: &FileAttributes) -> io::Result<()> {
        let target = self.followed(path)?;
        if let Some(size) = wanted.size {
            OpenOptions::new()
                .write(true)
                .open(&target)?
                .set_len(size)?;
        }
        set(&target, &File::open(&target)?, wanted)
    }

    pub(super) fn make_dir(&self, path: &str, wanted: &FileAttributes) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt as _;
        let mode = wanted.permissions.unwrap_or(NEW_DIR) & 0o7777;
        fs::DirBuilder::new().mode(mode).create(self.below(path)?)
    }

    /// Moves a file. What is there already stays, unless `over` it is wanted.
    pub(super) fn rename(&self, from: &str, to: &str, over: bool) -> io::Result<()> {
        let (from, to) = (self.below(from)?, self.below(to)?);
        if over {
            return fs::rename(from, to);
        }
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::{CWD, RenameFlags, renameat_with};
            Ok(renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
        }
        #[cfg(not(target_os = "linux"))]
        {
            match fs::symlink_metadata(&to) {
                Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
                Err(_) => fs::rename(from, to),
            }
        }
    }
}

pub(super) fn set_opened(opened: &Opened, wanted: &FileAttributes) -> io::Result<()> {
    let file = file(opened)?;
    if let Some(size) = wanted.size {
        file.set_len(size)?;
    }
    if let Some(mode) = wanted.permissions {
        file.set_permissions(fs::Permissions::from_mode(mode & 0o7777))?;
    }
    if let (Some(uid), Some(gid)) = (wanted.uid, wanted.gid) {
        std::os::unix::fs::fchown(&*file, Some(uid), Some(gid))?;
    }
    times(&file, wanted)
}

fn set(path: &Path, file: &File, wanted: &FileAttributes) -> io::Result<()> {
    if let (Some(uid), Some(gid)) = (wanted.uid, wanted.gid) {
        std::os::unix::fs::chown(path, Some(uid), Some(gid))?;
    }
    if let Some(mode) = wanted.permissions {
        fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o7777))?;
    }
    times(file, wanted)
}

fn times(file: &File, wanted: &FileAttributes) -> io::Result<()> {
    let at = |seconds: u32| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.into());
    match (wanted.atime, wanted.mtime) {
        (Some(accessed), Some(modified)) => {
            let times = FileTimes::new().set_accessed(at(accessed));
            file.set_times(times.set_modified(at(modified)))
        }
        _ => Ok(()),
    }
}

fn file(opened: &Opened) -> io::Result<Arc<File>> {
    match opened {
        Opened::File(file) => Ok(file.clone()),
        Opened::Dir(_) => Err(io::ErrorKind::IsADirectory.into()),
    }
}

/// At least one byte from there on, or nothing at the end.
pub(super) fn read(opened: &Opened, offset: u64, length: u32) -> io::Result<Vec<u8>> {
    let file = file(opened)?;
    let mut bytes = vec![0; MOST_READ.min(length as usize)];
    let mut count = 0;
    while count < bytes.len() {
        match file.read_at(&mut bytes[count..], offset.saturating_add(count as u64)) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(count);
    Ok(bytes)
}

pub(super) fn write(opened: &Opened, offset: u64, bytes: &[u8]) -> io::Result<()> {
    file(opened)?.write_all_at(bytes, offset)
}

pub(super) fn sync(opened: &Opened) -> io::Result<()> {
    file(opened)?.sync_all()
}

pub(super) fn attributes_opened(opened: &Opened) -> io::Result<FileAttributes> {
    Ok(attributes(&file(opened)?.metadata()?))
}

fn attributes(about: &fs::Metadata) -> FileAttributes {
    // The protocol's times end in 2106.
    let small = |seconds: i64| u32::try_from(seconds.max(0)).unwrap_or(u32::MAX);
    FileAttributes {
        size: Some(about.len()),
        uid: Some(about.uid()),
        gid: Some(about.gid()),
        permissions: Some(about.mode()),
        atime: Some(small(about.atime())),
        mtime: Some(small(about.mtime())),
        ..FileAttributes::default()
    }
}

/// Some more entries; none at the end.
pub(super) fn list(opened: &Opened) -> io::Result<Vec<Entry>> {
    let Opened::Dir(listing) = opened else {
        return Err(io::ErrorKind::NotADirectory.into());
    };
    let mut listing = listing.lock().unwrap_or_else(PoisonError::into_inner);
    let mut entries = Vec::new();
    while let Some(name) = listing.before.pop() {
        let attributes = FileAttributes {
            permissions: Some(0o40_755),
            ..FileAttributes::default()
        };
        entries.push(Entry::new(name, attributes));
    }
    while entries.len() < MOST_NAMES {
        let Some(entry) = listing.entries.next().transpose()? else {
            break;
        };
        // Whoever was removed meanwhile is not there.
        if let Ok(about) = entry.metadata() {
            let name = entry.file_name();
            let mut listed =
                Entry::new(String::from_utf8_lossy(name.as_bytes()), attributes(&about));
            if about.is_symlink() {
                listed.longname.replace_range(..1, "l");
            }
            entries.push(listed);
        }
    }
    Ok(entries)
}

/// The text of a path; what is no text is shown so.
pub(super) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_links_do_not_lead_out() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let work_dir = root.join("w");
        fs::create_dir_all(work_dir.join("in")).unwrap();
        fs::write(root.join("secret"), "x").unwrap();
        fs::write(work_dir.join("in/f"), "y").unwrap();
        for (target, name) in [
            ("..", "up"),
            ("../secret", "s"),
            ("in/f", "l"),
            ("nowhere", "n"),
        ] {
            std::os::unix::fs::symlink(target, work_dir.join(name)).unwrap();
        }
        let root = Root {
            work_dir: &work_dir,
            places: Places::new(&work_dir, false),
            links_may_leave: false,
        };
        let denied = |result: io::Result<PathBuf>| {
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        };
        for path in [
            "..",
            "../secret",
            "in/../../secret",
            "/etc/passwd",
            "/",
            "up/secret",
            "a\0b",
        ] {
            denied(root.followed(path));
            denied(root.named(path));
        }
        denied(root.followed("s"));
        denied(root.followed("up"));
        denied(root.below("."));
        denied(root.below("in/.."));
        let absolute = format!("{}/in/../in/f", work_dir.display());
        for path in ["in/f", "l", "./in//f", &absolute] {
            assert_eq!(
                root.followed(path).unwrap(),
                work_dir.join("in/f"),
                "{path}"
            );
        }
        assert_eq!(root.real(".").unwrap(), text(&work_dir));
        assert_eq!(root.real("new").unwrap(), text(&work_dir.join("new")));
        assert_eq!(root.named("s").unwrap(), work_dir.join("s"));
    }
}
