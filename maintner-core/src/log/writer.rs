//! Appends records to a log folder, durably.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha224};

use super::recover::{recover, repair, sync_folder};
use super::{
    DEFAULT_MAX_PAYLOAD, LogFolder, LogLock, LogPosition, Recovery, Segment, SegmentName,
    Sha224Hex, encode_record,
};
use crate::{Error, Result};

/// How a log folder is cut into files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// One file a day, by UTC date at write time, as the Go daemon's disk log.
    Days,
    /// Numbered segments that are frozen under their hash before they would
    /// exceed `target` bytes, as in an object store.
    Segments {
        /// Bytes of payload after which a segment is frozen.
        target: u64,
    },
}

impl Layout {
    /// Segments of 16 MiB.
    pub const SEGMENTS: Self = Self::Segments { target: 16 << 20 };
}

/// How a log is written; see [`LogWriter::open_with`].
#[derive(Debug, Clone, Copy)]
pub struct WriterOptions {
    layout: Layout,
    max_payload: u64,
    durable: bool,
    clock: fn() -> SystemTime,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self {
            layout: Layout::Days,
            max_payload: DEFAULT_MAX_PAYLOAD,
            durable: true,
            clock: SystemTime::now,
        }
    }
}

impl WriterOptions {
    /// How the files are cut. Default: days. A folder that already holds a log
    /// keeps the kind of files it has.
    #[must_use]
    pub fn layout(mut self, layout: Layout) -> Self {
        self.layout = layout;
        self
    }

    /// Refuses payloads of more than `bytes` bytes. Default: 256 MiB.
    #[must_use]
    pub fn max_payload(mut self, bytes: u64) -> Self {
        self.max_payload = bytes;
        self
    }

    /// Whether each batch is on disk before `append` returns. Default: yes.
    /// For logs that can be made again.
    #[must_use]
    pub fn durable(mut self, durable: bool) -> Self {
        self.durable = durable;
        self
    }

    /// Where the date of day files comes from. Default: the system's clock.
    #[must_use]
    pub fn clock(mut self, clock: fn() -> SystemTime) -> Self {
        self.clock = clock;
        self
    }
}

/// The one writer of a log folder.
///
/// Holds an advisory lock, so that a second writer is refused. Opening cuts a
/// torn tail that a crash left (the bytes are kept, see
/// [`recovered`](Self::recovered)); any other damage is an error.
#[derive(Debug)]
pub struct LogWriter {
    folder: PathBuf,
    options: WriterOptions,
    active: Option<Active>,
    next_number: u32,
    base: LogPosition,
    recovered: Option<Recovery>,
    poisoned: bool,
    buffer: Vec<u8>,
    _lock: LogLock,
}

/// The file that is appended to.
#[derive(Debug)]
struct Active {
    name: SegmentName,
    path: PathBuf,
    file: File,
    len: u64,
    hash: Sha224,
}

impl LogWriter {
    /// Opens the log in `folder` for appending; creates both when needed.
    ///
    /// # Errors
    /// When another writer has it, when its end is damaged other than by an
    /// interrupted write, or when the file system refuses.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(folder, WriterOptions::default())
    }

    /// [`open`](Self::open) with options.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(folder: impl AsRef<Path>, mut options: WriterOptions) -> Result<Self> {
        let folder = folder.as_ref().to_owned();
        fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        let lock = LogLock::take(&folder)?;
        let listing = LogFolder::open(&folder)?;
        let last = listing.segments().last();
        options.layout = match (last.map(Segment::name), options.layout) {
            (Some(SegmentName::Day(_)), _) => Layout::Days,
            (Some(_), Layout::Days) => Layout::SEGMENTS,
            (_, layout) => layout,
        };
        let mut writer = Self {
            folder,
            options,
            active: None,
            next_number: last.and_then(|s| s.name().number()).map_or(0, |n| n + 1),
            base: listing.end(),
            recovered: None,
            poisoned: false,
            buffer: Vec::new(),
            _lock: lock,
        };
        if let Some(last) = last.filter(|s| s.name().sha224().is_none()) {
            writer.base = last.base();
            writer.resume(last.name().clone())?;
        }
        Ok(writer)
    }

    /// The end of the log: everything before it is on disk.
    pub fn end(&self) -> LogPosition {
        self.base.after(self.active.as_ref().map_or(0, |a| a.len))
    }

    /// The log folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What opening had to cut off, if anything.
    pub fn recovered(&self) -> Option<&Recovery> {
        self.recovered.as_ref()
    }

    /// Appends one record for each payload, as they are, and returns the new
    /// end of the log once they are on disk.
    ///
    /// # Errors
    /// When a payload is too large (nothing is written), or when the disk
    /// refuses: the records before [`end`](Self::end) are then in the log, the
    /// others are not, and the call may be repeated with those. Only when the
    /// failed write cannot be undone does every later call fail, with
    /// [`Error::Poisoned`].
    pub fn append(&mut self, payloads: &[&[u8]]) -> Result<LogPosition> {
        if self.poisoned {
            return Err(Error::Poisoned {
                path: self.folder.clone(),
            });
        }
        let limit = self.options.max_payload;
        if let Some(big) = payloads.iter().find(|p| p.len() as u64 > limit) {
            return Err(Error::TooLarge {
                len: big.len() as u64,
                limit,
            });
        }
        let mut rest = payloads;
        while !rest.is_empty() {
            self.roll(rest[0].len() as u64)?;
            let taken = self.fill_buffer(rest);
            self.write_buffer()?;
            rest = &rest[taken..];
        }
        Ok(self.end())
    }

    /// Freezes the growing segment under its hash, as happens by itself when it
    /// is full. Day files and empty segments are left alone.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn freeze(&mut self) -> Result<()> {
        let Some(active) = self
            .active
            .take_if(|a| a.len > 0 && a.name.number().is_some())
        else {
            return Ok(());
        };
        let number = active.name.number().expect("checked when it was taken");
        let sha224 = Sha224Hex::finish(active.hash.clone());
        let frozen = self
            .folder
            .join(SegmentName::Frozen { number, sha224 }.to_string());
        if let Err(error) = fs::rename(&active.path, &frozen) {
            let error = Error::io("freeze", &active.path)(error);
            self.active = Some(active);
            return Err(error);
        }
        self.base = self.base.after(active.len);
        self.next_number = number + 1;
        self.sync_folder()
    }

    /// Continues the last file of the log.
    fn resume(&mut self, name: SegmentName) -> Result<()> {
        let path = self.folder.join(name.to_string());
        let found = recover(&path)?;
        if let Some(tail) = found.tail() {
            if !tail.is_torn() {
                return Err(Error::Damaged {
                    path,
                    offset: found.valid(),
                    bytes: tail.bytes(),
                    source: tail.reason().clone(),
                });
            }
            self.recovered = Some(repair(&path)?);
        }
        self.active = Some(Active::open(name, path, false)?);
        Ok(())
    }

    /// Makes the file into which the next record belongs the active one.
    fn roll(&mut self, payload_len: u64) -> Result<()> {
        match self.options.layout {
            Layout::Days => self.roll_day(),
            Layout::Segments { target } => {
                let len = self.active.as_ref().map_or(0, |a| a.len);
                if len > 0 && len + payload_len > target {
                    self.freeze()?;
                }
                match self.active {
                    Some(_) => Ok(()),
                    None => self.start(SegmentName::Growing {
                        number: self.next_number,
                    }),
                }
            }
        }
    }

    /// A clock that was set back must not make the order of the names lie, so
    /// the day only moves on.
    fn roll_day(&mut self) -> Result<()> {
        let today = SegmentName::Day(utc_date((self.options.clock)()));
        if self.active.as_ref().is_some_and(|a| a.name >= today) {
            return Ok(());
        }
        self.base = self.end();
        self.active = None;
        self.start(today)
    }

    fn start(&mut self, name: SegmentName) -> Result<()> {
        let path = self.folder.join(name.to_string());
        self.active = Some(Active::open(name, path, true)?);
        self.sync_folder()
    }

    /// Encodes as many payloads as go into the active file; returns how many.
    fn fill_buffer(&mut self, payloads: &[&[u8]]) -> usize {
        self.buffer.clear();
        let start = self.active.as_ref().map_or(0, |a| a.len);
        let mut taken = 0;
        for payload in payloads {
            let offset = start + self.buffer.len() as u64;
            if let Layout::Segments { target } = self.options.layout
                && offset > 0
                && offset + payload.len() as u64 > target
            {
                break;
            }
            encode_record(&mut self.buffer, offset, payload);
            taken += 1;
        }
        taken
    }

    /// Writes the buffer in one go; undoes a partial write.
    fn write_buffer(&mut self) -> Result<()> {
        let active = self.active.as_mut().expect("roll() made a file active");
        if let Err(error) = active.file.write_all(&self.buffer) {
            self.poisoned = active.file.set_len(active.len).is_err();
            return Err(Error::io("append to", &active.path)(error));
        }
        if self.options.durable
            && let Err(error) = active.file.sync_data()
        {
            // After a failed sync nobody knows what is on disk.
            self.poisoned = true;
            return Err(Error::io("sync", &active.path)(error));
        }
        active.len += self.buffer.len() as u64;
        active.hash.update(&self.buffer);
        Ok(())
    }

    fn sync_folder(&self) -> Result<()> {
        if self.options.durable {
            sync_folder(&self.folder)
        } else {
            Ok(())
        }
    }
}

impl Active {
    fn open(name: SegmentName, path: PathBuf, create: bool) -> Result<Self> {
        let mut options = OpenOptions::new();
        options.append(true).read(true).create_new(create);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&path).map_err(Error::io("open", &path))?;
        let mut hash = Sha224::new();
        if name.number().is_some() {
            std::io::copy(&mut file, &mut hash_writer(&mut hash))
                .map_err(Error::io("read", &path))?;
        }
        let len = file
            .seek(SeekFrom::End(0))
            .map_err(Error::io("seek in", &path))?;
        Ok(Self {
            name,
            path,
            file,
            len,
            hash,
        })
    }
}

/// A `Write` that hashes.
fn hash_writer(hash: &mut Sha224) -> impl Write + '_ {
    struct Hashing<'a>(&'a mut Sha224);
    impl Write for Hashing<'_> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.update(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    Hashing(hash)
}

/// `YYYY-MM-DD` of an instant in UTC.
fn utc_date(at: SystemTime) -> String {
    let seconds = match at.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => after.as_secs().cast_signed(),
        Err(before) => -before.duration().as_secs().cast_signed() - 1,
    };
    let (year, month, day) = civil_date(seconds.div_euclid(86_400));
    format!("{year:04}-{month:02}-{day:02}")
}

/// Days since 1970-01-01 into year, month, day of the Gregorian calendar, by
/// counting 400-year eras that begin on the first of March.
fn civil_date(days: i64) -> (i64, i64, i64) {
    let since_year_0 = days + 719_468;
    let era = since_year_0.div_euclid(146_097);
    let day_of_era = since_year_0.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::log::LogReader;

    fn payloads(folder: &Path) -> Vec<Vec<u8>> {
        let log = LogFolder::open(folder).unwrap();
        let mut reader = LogReader::new(log.segments().to_vec(), LogPosition::START).unwrap();
        let mut all = Vec::new();
        while let Some((_, payload)) = reader.next_record().unwrap() {
            all.push(payload.to_vec());
        }
        all
    }

    fn files(folder: &Path) -> Vec<(String, u64)> {
        let log = LogFolder::open(folder).unwrap();
        log.segments()
            .iter()
            .map(|s| (s.name().to_string(), s.len()))
            .collect()
    }

    fn dec_23() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_608_767_999)
    }

    fn dec_24() -> SystemTime {
        dec_23() + Duration::from_secs(1)
    }

    #[test]
    fn dates_are_utc() {
        assert_eq!(utc_date(dec_23()), "2020-12-23");
        assert_eq!(utc_date(dec_24()), "2020-12-24");
        assert_eq!(utc_date(SystemTime::UNIX_EPOCH), "1970-01-01");
        assert_eq!(
            utc_date(SystemTime::UNIX_EPOCH + Duration::from_secs(951_782_400)),
            "2000-02-29"
        );
        assert_eq!(
            utc_date(SystemTime::UNIX_EPOCH - Duration::from_secs(1)),
            "1969-12-31"
        );
    }

    #[test]
    fn days_only_move_on() {
        let dir = tempfile::tempdir().unwrap();
        let options = WriterOptions::default();
        let mut writer = LogWriter::open_with(dir.path(), options.clock(dec_24)).unwrap();
        writer.append(&[b"a"]).unwrap();
        writer.options.clock = dec_23;
        writer.append(&[b"b"]).unwrap();
        assert_eq!(
            files(dir.path()),
            [("maintner-2020-12-24.mutlog".to_owned(), 18)]
        );
        drop(writer);
        let mut writer = LogWriter::open_with(dir.path(), options.clock(dec_24)).unwrap();
        assert_eq!(writer.append(&[b"c"]).unwrap().bytes(), 28);
        assert_eq!(payloads(dir.path()), [b"a", b"b", b"c"]);
    }

    #[test]
    fn each_day_file_counts_from_zero() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer =
            LogWriter::open_with(dir.path(), WriterOptions::default().clock(dec_23)).unwrap();
        writer.append(&[b"a"]).unwrap();
        writer.options.clock = dec_24;
        assert_eq!(writer.append(&[b"b"]).unwrap().bytes(), 18);
        assert_eq!(files(dir.path()).len(), 2);
        assert_eq!(payloads(dir.path()), [b"a", b"b"]);
    }

    #[test]
    fn segments_freeze_before_they_exceed_the_target() {
        let dir = tempfile::tempdir().unwrap();
        let options = WriterOptions::default().layout(Layout::Segments { target: 30 });
        let mut writer = LogWriter::open_with(dir.path(), options).unwrap();
        // Header of 8 or 9 bytes: 18 + 19 would exceed with the second payload.
        writer
            .append(&[&[1; 10], &[2; 10], &[3; 10], &[4; 100], b""])
            .unwrap();
        let names = files(dir.path());
        assert_eq!(
            names.iter().map(|f| f.1).collect::<Vec<_>>(),
            [18 + 19, 18, 109, 8]
        );
        assert!(names[..3].iter().all(|f| !f.0.contains("growing")));
        for segment in LogFolder::open(dir.path()).unwrap().segments() {
            segment.verify().unwrap();
        }
        drop(writer);
        let mut writer = LogWriter::open_with(dir.path(), options).unwrap();
        writer.append(&[&[5; 9]]).unwrap();
        writer.freeze().unwrap();
        writer.append(&[b"end"]).unwrap();
        assert_eq!(payloads(dir.path()).len(), 7);
        let log = LogFolder::open(dir.path()).unwrap();
        log.segments().iter().for_each(|s| s.verify().unwrap());
        assert_eq!(writer.end(), log.end());
    }

    #[test]
    fn a_second_writer_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let _first = LogWriter::open(dir.path()).unwrap();
        assert!(matches!(
            LogWriter::open(dir.path()),
            Err(Error::Locked { .. })
        ));
    }

    #[test]
    fn a_torn_tail_is_cut_kept_and_reported() {
        let dir = tempfile::tempdir().unwrap();
        let options = WriterOptions::default().clock(dec_23);
        let mut writer = LogWriter::open_with(dir.path(), options).unwrap();
        writer.append(&[b"whole", b"torn"]).unwrap();
        drop(writer);
        let path = dir.path().join("maintner-2020-12-23.mutlog");
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        let mut writer = LogWriter::open_with(dir.path(), options).unwrap();
        let kept = writer
            .recovered()
            .unwrap()
            .tail()
            .unwrap()
            .kept_in()
            .unwrap()
            .to_owned();
        assert_eq!(fs::read(kept).unwrap(), b"REC@d+4=tor");
        writer.append(&[b"next"]).unwrap();
        assert_eq!(payloads(dir.path()), [b"whole".to_vec(), b"next".to_vec()]);
    }

    #[test]
    fn other_damage_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let options = WriterOptions::default().clock(dec_23);
        LogWriter::open_with(dir.path(), options)
            .unwrap()
            .append(&[b"a", b"b", b"c"])
            .unwrap();
        let path = dir.path().join("maintner-2020-12-23.mutlog");
        let mut bytes = fs::read(&path).unwrap();
        bytes[9] = b'?';
        fs::write(&path, &bytes).unwrap();
        let error = LogWriter::open_with(dir.path(), options).unwrap_err();
        assert!(
            matches!(
                error,
                Error::Damaged {
                    offset: 9,
                    bytes: 19,
                    ..
                }
            ),
            "{error}"
        );
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }

    #[test]
    fn an_oversized_batch_writes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer =
            LogWriter::open_with(dir.path(), WriterOptions::default().max_payload(3)).unwrap();
        assert!(matches!(
            writer.append(&[b"abc", b"abcd"]),
            Err(Error::TooLarge { len: 4, .. })
        ));
        assert_eq!(writer.end(), LogPosition::START);
    }
}
