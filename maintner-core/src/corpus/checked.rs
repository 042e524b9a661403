//! Segments that were compared with the hashes in their names, so that the next load need not do
//! it again.
//!
//! A file beside the log says of each what the file system said of it when it was compared: size,
//! times of change, number and device. The time of the last change of a file's data or attributes
//! (`ctime`) cannot be set by anybody, so a file that was written to since is another one. As in
//! git's index, a file that was changed shortly before it was compared is not remembered: where
//! clocks are coarse, a later change could have the same time. What the disk itself spoils is not
//! seen by this; `maintq verify` and [`Segment::verify`](crate::log::Segment::verify) always read.

use std::collections::HashSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// In the folder of the log.
const FILE_NAME: &str = "corpus.checked";
/// Its first line.
const HEAD: &str = "checked segments 1";
/// A change less than this before a comparison may share its time with one after it.
const RACY: Duration = Duration::from_secs(2);
/// Less than this is compared in no time.
const WORTH: u64 = 4 << 20;

/// What was compared before, and what is compared now.
#[derive(Debug)]
pub(super) struct Checked {
    /// Nothing is remembered without it.
    file: Option<PathBuf>,
    /// Lines as they were read.
    known: HashSet<String>,
    /// Of this load: lines of what is compared, and its bytes.
    seen: Vec<String>,
    fresh: u64,
    started: SystemTime,
}

impl Checked {
    /// What is remembered beside `segment`; nothing when it is not `wanted`.
    pub(super) fn beside(segment: &Path, wanted: bool) -> Self {
        // What has no folder is no file: a segment in memory.
        let is_file = |folder: &&Path| !folder.as_os_str().is_empty();
        let folder = segment.parent().filter(is_file);
        let folder = folder.filter(|_| wanted && can_tell());
        let file = folder.map(|folder| folder.join(FILE_NAME));
        let text = file.as_ref().and_then(|file| fs::read_to_string(file).ok());
        let known = text.as_deref().map(read).unwrap_or_default();
        Self {
            file,
            known,
            seen: Vec::new(),
            fresh: 0,
            started: SystemTime::now(),
        }
    }

    /// Whether the file is as it was when it was compared. Otherwise it is to be compared now.
    pub(super) fn knows(&mut self, path: &Path) -> bool {
        let Some((line, len, changed)) = self.file.as_ref().and_then(|_| stamp(path)) else {
            return false;
        };
        let known = self.known.contains(&line);
        let settled = self
            .started
            .duration_since(changed)
            .is_ok_and(|age| age > RACY);
        if !known && settled {
            self.fresh += len;
            self.seen.push(line);
        }
        known
    }

    /// Remembers what was compared, once all of it was found to be right: each file must be what
    /// it was before.
    pub(super) fn keep(self) {
        let Some(file) = self.file.filter(|_| self.fresh >= WORTH) else {
            return;
        };
        let unchanged = |line: &String| {
            let name = line.rsplit_once('/').map_or("", |(_, name)| name);
            let now = file.parent().and_then(|folder| stamp(&folder.join(name)));
            now.is_some_and(|(now, _, _)| now == *line)
        };
        let all = self.known.iter().chain(&self.seen);
        let mut lines: Vec<&String> = all.filter(|line| unchanged(line)).collect();
        lines.sort();
        // A folder that cannot be written to only makes the next load slower.
        let _ = write(&file, &lines);
    }
}

/// The lines of a file that is whole; one that was cut short says nothing.
fn read(text: &str) -> HashSet<String> {
    let mut lines = text.lines();
    let whole = lines.next() == Some(HEAD) && lines.next_back() == Some("end");
    let lines = lines.map(str::to_owned).filter(|_| whole);
    lines.collect()
}

fn write(file: &Path, lines: &[&String]) -> std::io::Result<()> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let temporary = file.with_extension(format!("tmp-{}-{number}", std::process::id()));
    let mut text = format!("{HEAD}\n");
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
    text.push_str("end\n");
    let written = fs::File::create_new(&temporary)
        .and_then(|mut out| out.write_all(text.as_bytes()))
        .and_then(|()| fs::rename(&temporary, file));
    if written.is_err() {
        // The error that matters is the one of writing.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Whether the system says of a file all that is needed.
fn can_tell() -> bool {
    cfg!(unix)
}

/// What the system says of a file, its name last; its length; and when it was changed last.
#[cfg(unix)]
fn stamp(path: &Path) -> Option<(String, u64, SystemTime)> {
    use std::os::unix::fs::MetadataExt as _;
    let meta = fs::metadata(path).ok()?;
    let seconds = u64::try_from(meta.ctime()).ok()?;
    let nanos = u32::try_from(meta.ctime_nsec()).ok()?;
    let changed = SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))?;
    let line = format!(
        "{} {}.{:09} {seconds}.{nanos:09} {} {} /{}",
        meta.len(),
        meta.mtime(),
        meta.mtime_nsec(),
        meta.dev(),
        meta.ino(),
        path.file_name()?.to_str()?
    );
    Some((line, meta.len(), changed))
}

#[cfg(not(unix))]
fn stamp(_: &Path) -> Option<(String, u64, SystemTime)> {
    None
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    /// A log of one segment that was written long ago, as far as anybody can tell.
    fn segment(dir: &Path) -> PathBuf {
        let path = dir.join("segment");
        fs::write(&path, vec![b'x'; WORTH as usize]).unwrap();
        path
    }

    fn load(path: &Path, later: Duration) -> bool {
        let mut checked = Checked::beside(path, true);
        checked.started += later;
        let known = checked.knows(path);
        checked.keep();
        known
    }

    #[test]
    fn a_file_is_known_until_it_is_touched() {
        let dir = tempfile::tempdir().unwrap();
        let path = segment(dir.path());
        let hour = Duration::from_secs(3600);
        assert!(!load(&path, hour), "never compared");
        assert!(load(&path, hour), "compared, and not changed");
        assert!(load(&path, hour), "still");
        // The same bytes and the same time of the data, but somebody wrote to it.
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        std::thread::sleep(Duration::from_millis(20));
        fs::write(&path, vec![b'x'; WORTH as usize]).unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(modified).unwrap();
        assert!(!load(&path, hour), "written to");
        assert!(load(&path, hour));
        let other = dir.path().join("other");
        fs::copy(&path, &other).unwrap();
        fs::rename(&other, &path).unwrap();
        assert!(!load(&path, hour), "another file of that name");
    }

    #[test]
    fn what_has_just_changed_is_not_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let path = segment(dir.path());
        assert!(!load(&path, Duration::ZERO));
        assert!(
            !load(&path, Duration::ZERO),
            "its time may be that of a later change"
        );
        assert!(
            !Checked::beside(&path, false).knows(&path),
            "nobody wants it"
        );
    }

    #[test]
    fn a_torn_memory_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = segment(dir.path());
        let hour = Duration::from_secs(3600);
        load(&path, hour);
        let file = dir.path().join(FILE_NAME);
        let whole = fs::read_to_string(&file).unwrap();
        for torn in [
            "",
            "garbage",
            &whole[..whole.len() - 2],
            &whole[..whole.len() / 2],
        ] {
            fs::write(&file, torn).unwrap();
            assert!(!Checked::beside(&path, true).knows(&path), "{torn:?}");
        }
        fs::write(&file, &whole).unwrap();
        assert!(Checked::beside(&path, true).knows(&path));
    }
}
