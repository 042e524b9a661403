//! Digests that are known from the last time.
//!
//! A file that has the size, the times and the inode that it had when its digest was computed is
//! not read again. Times are only so fine: a file that was changed in the moment before it was read
//! may be changed once more without another time, so such a digest is not kept (as Git does not
//! believe its index then).

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest as _, Sha256};

/// The first line; another one is another form.
const FORM: &str = "farmer push digests 1";
/// A change that is younger when the file is read may not be the last one of its moment.
const MOMENT: Duration = Duration::from_secs(2);
/// What nobody has written for so long is removed.
const OLD: Duration = Duration::from_secs(60 * 24 * 60 * 60);
const END: &str = ".digests";
/// More than the digests of a million files.
const MAX_BYTES: u64 = 256 << 20;

/// Where the digests of a tree are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DigestCache {
    dir: PathBuf,
    file: PathBuf,
}

/// What a file looked like when its digest was computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    size: u64,
    device: u64,
    inode: u64,
    modified_ns: i128,
    changed_ns: i128,
}

/// The digests that are known, by the names of the files.
#[derive(Debug, Default)]
pub(super) struct Known(HashMap<String, (Stamp, String)>);

impl DigestCache {
    /// In the folder `dir`, which may hold those of other trees, for the tree at `root`, by the
    /// name that it really has.
    #[must_use]
    pub fn of(dir: &Path, root: &Path) -> Self {
        let name = Sha256::digest(root.as_os_str().as_encoded_bytes());
        Self {
            file: dir.join(format!("{}{END}", hex::encode(&name[..12]))),
            dir: dir.to_owned(),
        }
    }

    /// What is kept; nothing when it cannot be read, or is damaged: it is computed then.
    pub(super) fn load(&self) -> Known {
        let is_short = fs::metadata(&self.file).is_ok_and(|meta| meta.len() <= MAX_BYTES);
        let bytes = match is_short {
            true => fs::read(&self.file).unwrap_or_default(),
            false => Vec::new(),
        };
        Known::parse(&bytes).unwrap_or_default()
    }

    /// Keeps these in the place of what there was.
    ///
    /// # Errors
    /// The system's. What was kept before is whole then.
    pub(super) fn save(&self, known: &Known) -> io::Result<()> {
        fs::create_dir_all(&self.dir)?;
        let mut draft = tempfile::NamedTempFile::new_in(&self.dir)?;
        draft.write_all(&known.to_bytes())?;
        draft.persist(&self.file).map_err(|error| error.error)?;
        self.forget_old(SystemTime::now());
        Ok(())
    }

    /// Removes what trees have left that are pushed no more. What cannot be removed stays.
    fn forget_old(&self, now: SystemTime) {
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let is_ours = entry.file_name().to_string_lossy().ends_with(END);
            let written = entry.metadata().and_then(|meta| meta.modified());
            let age = written.map(|written| now.duration_since(written).unwrap_or_default());
            if is_ours && age.is_ok_and(|age| age > OLD) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

impl Stamp {
    #[cfg(unix)]
    pub(super) fn of(meta: &Metadata) -> Option<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let ns = |seconds: i64, ns: i64| i128::from(seconds) * 1_000_000_000 + i128::from(ns);
        Some(Self {
            size: meta.size(),
            device: meta.dev(),
            inode: meta.ino(),
            modified_ns: ns(meta.mtime(), meta.mtime_nsec()),
            changed_ns: ns(meta.ctime(), meta.ctime_nsec()),
        })
    }

    /// Elsewhere nothing shows that a file was changed and given its old time.
    #[cfg(not(unix))]
    pub(super) fn of(_: &Metadata) -> Option<Self> {
        None
    }

    /// Whether a change after `read`, when the reading began, would show.
    pub(super) fn is_settled(&self, read: SystemTime) -> bool {
        let read = read.duration_since(UNIX_EPOCH).unwrap_or_default();
        let last = self.modified_ns.max(self.changed_ns);
        i128::try_from(read.as_nanos()).is_ok_and(|read| last + MOMENT.as_nanos() as i128 <= read)
    }
}

impl Known {
    /// The digest of a file that looks so, when it is known.
    pub(super) fn digest(&self, name: &str, stamp: &Stamp) -> Option<&str> {
        let (known, digest) = self.0.get(name)?;
        (known == stamp).then_some(digest)
    }

    pub(super) fn add(&mut self, name: String, stamp: Stamp, digest: String) {
        self.0.insert(name, (stamp, digest));
    }

    /// The form, one line of NUL-terminated fields a file, and a sum over all of it.
    fn to_bytes(&self) -> Vec<u8> {
        let mut names: Vec<_> = self.0.iter().collect();
        names.sort_by(|a, b| a.0.cmp(b.0));
        let mut text = format!("{FORM}\n");
        for (name, (stamp, digest)) in names {
            let Stamp {
                size,
                device,
                inode,
                modified_ns,
                changed_ns,
            } = stamp;
            text +=
                &format!("{size} {device} {inode} {modified_ns} {changed_ns} {digest} {name}\0");
        }
        let sum = hex::encode(Sha256::digest(&text));
        text += &sum;
        text.into_bytes()
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (text, sum) = bytes.split_at_checked(bytes.len().checked_sub(64)?)?;
        if hex::encode(Sha256::digest(text)).as_bytes() != sum {
            return None;
        }
        let text = std::str::from_utf8(text).ok()?;
        let lines = text.strip_prefix(FORM)?.strip_prefix('\n')?;
        let mut known = Self::default();
        for line in lines.split_terminator('\0') {
            let mut fields = line.splitn(7, ' ');
            let stamp = Stamp {
                size: fields.next()?.parse().ok()?,
                device: fields.next()?.parse().ok()?,
                inode: fields.next()?.parse().ok()?,
                modified_ns: fields.next()?.parse().ok()?,
                changed_ns: fields.next()?.parse().ok()?,
            };
            let digest = fields.next()?.to_owned();
            known.add(fields.next()?.to_owned(), stamp, digest);
        }
        Some(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(path: &Path) -> Stamp {
        Stamp::of(&fs::symlink_metadata(path).unwrap()).unwrap()
    }

    #[test]
    fn what_is_kept_comes_back_and_what_is_damaged_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let cache = DigestCache::of(&dir.path().join("made"), Path::new("/a/tree"));
        assert_ne!(
            cache,
            DigestCache::of(&dir.path().join("made"), Path::new("/a/tre"))
        );
        let file = dir.path().join("f");
        fs::write(&file, "x").unwrap();
        let mut known = Known::default();
        known.add("a b\nc".into(), stamp(&file), "d1".into());
        known.add("other".into(), stamp(&file), "d2".into());
        cache.save(&known).unwrap();
        let again = cache.load();
        assert_eq!(again.digest("a b\nc", &stamp(&file)), Some("d1"));
        assert_eq!(again.digest("nothing", &stamp(&file)), None);
        let whole = fs::read(&cache.file).unwrap();
        for cut in [0, 1, 60, 64, whole.len() / 2, whole.len() - 1] {
            fs::write(&cache.file, &whole[..cut]).unwrap();
            assert!(cache.load().0.is_empty(), "{cut}");
        }
        let mut turned = whole.clone();
        turned[40] ^= 1;
        fs::write(&cache.file, &turned).unwrap();
        assert!(cache.load().0.is_empty());
        // A tree that nobody pushes any more leaves nothing for ever.
        let later = SystemTime::now() + OLD + Duration::from_secs(60);
        cache.forget_old(later);
        assert!(!cache.file.exists());
    }

    #[test]
    fn a_change_that_keeps_size_and_time_shows_and_a_fresh_one_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        fs::write(&file, "one").unwrap();
        let before = stamp(&file);
        let mut known = Known::default();
        known.add("f".into(), before, "digest of one".into());
        assert!(known.digest("f", &stamp(&file)).is_some());
        // It was written this moment: it may be written again without a trace.
        let now = SystemTime::now();
        assert!(!before.is_settled(now) && before.is_settled(now + MOMENT * 2));
        assert!(
            !before.is_settled(now - Duration::from_secs(3600)),
            "a clock that jumped"
        );
        // The same name, size and time of change, but another file.
        let time = fs::metadata(&file).unwrap().modified().unwrap();
        let other = dir.path().join("other");
        fs::write(&other, "two").unwrap();
        let opened = fs::File::options().write(true).open(&other).unwrap();
        opened.set_modified(time).unwrap();
        fs::rename(&other, &file).unwrap();
        let after = stamp(&file);
        assert_eq!(
            (after.size, after.modified_ns),
            (before.size, before.modified_ns)
        );
        assert_eq!(known.digest("f", &after), None);
    }
}
