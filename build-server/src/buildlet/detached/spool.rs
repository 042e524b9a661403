//! The output of a detached command on disk, and what is known of the command.
//!
//! Two files per command, named after its id: `ID.out`, the output as attached clients see it,
//! and `ID.json`, its status, replaced as a whole and synced when the command has ended.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use build_core::buildlet::{ExecOutcome, ExecReport, ExecState};
use build_core::clock::Timestamp;
use build_core::ids::ExecId;

/// How much of the end of a capped output is kept: failures are told there.
pub(crate) const TAIL_BYTES: usize = 64 << 10;

/// The directory of all commands of one buildlet.
#[derive(Clone, Debug)]
pub(crate) struct Spool(PathBuf);

impl Spool {
    /// # Errors
    /// When the directory cannot be made.
    pub(crate) fn open(dir: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&dir)?;
        Ok(Self(dir))
    }

    /// Creates the output file, empty.
    pub(crate) fn create_output(&self, id: &ExecId) -> io::Result<File> {
        File::create(self.output_path(id))
    }

    pub(crate) fn open_output(&self, id: &ExecId) -> io::Result<File> {
        File::open(self.output_path(id))
    }

    /// Puts the status of a command in place. With `sync` it has reached the disk on return.
    pub(crate) fn write_report(&self, report: &ExecReport, sync: bool) -> io::Result<()> {
        let target = self.report_path(&report.id);
        let new = target.with_extension("json.new");
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec(report)?)?;
        if sync {
            file.sync_all()?;
        }
        fs::rename(&new, &target)?;
        if sync {
            File::open(&self.0)?.sync_all()
        } else {
            Ok(())
        }
    }

    /// The commands of an earlier process of the buildlet. Those that had not ended are lost:
    /// how they ended is unknown, and stays so.
    pub(crate) fn recover(&self, now: Timestamp) -> io::Result<Vec<ExecReport>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let path = entry?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "json")
            {
                match self.recover_one(&path, now) {
                    Ok(report) => found.push(report),
                    Err(error) => {
                        tracing::warn!(path = %path.display(), %error, "unreadable status");
                    }
                }
            }
        }
        Ok(found)
    }

    fn recover_one(&self, path: &Path, now: Timestamp) -> io::Result<ExecReport> {
        let mut report: ExecReport = serde_json::from_slice(&fs::read(path)?)?;
        if report.state == ExecState::Running {
            report = report.ended(&ExecOutcome::Lost, now);
            report.output_bytes =
                fs::metadata(self.output_path(&report.id)).map_or(0, |file| file.len());
            self.write_report(&report, true)?;
        }
        Ok(report)
    }

    /// Removes what is kept of a command.
    pub(crate) fn remove(&self, id: &ExecId) {
        for path in [self.output_path(id), self.report_path(id)] {
            // What stays takes room and is removed with the directory.
            let _ = fs::remove_file(path);
        }
    }

    fn output_path(&self, id: &ExecId) -> PathBuf {
        self.0.join(format!("{id}.out"))
    }

    fn report_path(&self, id: &ExecId) -> PathBuf {
        self.0.join(format!("{id}.json"))
    }
}

/// Writes output to its file. Capped, it keeps the head, and the tail until the end; what is in
/// the file never changes, so readers can follow it by offset.
pub(crate) struct Writer {
    file: File,
    written: u64,
    /// Bytes of head that may still be written; `None` without a cap.
    head_left: Option<u64>,
    tail_bytes: usize,
    tail: Vec<u8>,
    left_out: u64,
}

impl Writer {
    pub(crate) fn new(file: File, cap: Option<u64>) -> Self {
        let tail_bytes = cap.map_or(0, |cap| {
            usize::try_from(cap / 2)
                .unwrap_or(TAIL_BYTES)
                .min(TAIL_BYTES)
        });
        Self {
            file,
            written: 0,
            head_left: cap.map(|cap| cap - tail_bytes as u64),
            tail_bytes,
            tail: Vec::new(),
            left_out: 0,
        }
    }

    /// Whether a part was left out.
    pub(crate) fn left_out(&self) -> bool {
        self.left_out > 0
    }

    /// Bytes in the file.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(left) = self.head_left else {
            return self.append(bytes);
        };
        let (head, rest) =
            bytes.split_at(usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len()));
        self.append(head)?;
        self.head_left = Some(left - head.len() as u64);
        self.keep_tail(rest);
        Ok(())
    }

    /// Adds the tail behind a mark, and sees to it that all of it is on the disk.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.trim_tail(self.tail_bytes);
        if self.left_out > 0 {
            let mark = format!("\n\n[{} bytes of output left out]\n\n", self.left_out);
            self.append(mark.as_bytes())?;
        }
        let tail = std::mem::take(&mut self.tail);
        self.append(&tail)?;
        self.file.sync_data()
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn keep_tail(&mut self, bytes: &[u8]) {
        let skipped = bytes.len().saturating_sub(self.tail_bytes);
        if skipped > 0 {
            self.trim_tail(0);
        }
        self.left_out += skipped as u64;
        self.tail.extend_from_slice(&bytes[skipped..]);
        // Trimmed at twice the size, so that each byte is moved once at most.
        if self.tail.len() >= 2 * self.tail_bytes {
            self.trim_tail(self.tail_bytes);
        }
    }

    fn trim_tail(&mut self, keep: usize) {
        let excess = self.tail.len().saturating_sub(keep);
        self.tail.drain(..excess);
        self.left_out += excess as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn capped(pieces: &[Vec<u8>], cap: Option<u64>) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path().to_owned()).unwrap();
        let id = ExecId::new("x1").unwrap();
        let mut writer = Writer::new(spool.create_output(&id).unwrap(), cap);
        for piece in pieces {
            writer.write(piece).unwrap();
        }
        writer.finish().unwrap();
        let file = fs::read(dir.path().join("x1.out")).unwrap();
        assert_eq!(file.len() as u64, writer.written());
        file
    }

    #[test]
    fn a_capped_output_keeps_head_and_tail_with_a_mark() {
        let all: Vec<u8> = (0..100u8).collect();
        let file = capped(std::slice::from_ref(&all), Some(20));
        let mark = b"\n\n[80 bytes of output left out]\n\n";
        assert_eq!(file, [&all[..10], mark, &all[90..]].concat());
        assert_eq!(capped(&[all[..20].to_vec()], Some(20)), &all[..20]);
        assert_eq!(capped(std::slice::from_ref(&all), None), all);
    }

    proptest! {
        #[test]
        fn however_it_is_cut_the_cap_gives_the_same(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..12),
            cap in prop::option::of(0u64..80),
        ) {
            let whole = pieces.concat();
            prop_assert_eq!(capped(&pieces, cap), capped(&[whole], cap));
        }
    }

    #[test]
    fn commands_that_had_not_ended_are_lost_and_stay_so() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path().join("spool")).unwrap();
        let now = Timestamp::from_seconds(1);
        let started = |id: &str| ExecReport::started(ExecId::new(id).unwrap(), Some(7), now);
        let ended = started("ended").ended(&ExecOutcome::Exit(3), now);
        spool.write_report(&ended, true).unwrap();
        spool.write_report(&started("open"), false).unwrap();
        let id = ExecId::new("open").unwrap();
        spool
            .create_output(&id)
            .unwrap()
            .write_all(b"half")
            .unwrap();
        fs::write(dir.path().join("spool/torn.json"), b"{").unwrap();

        let later = Timestamp::from_seconds(2);
        let mut found = spool.recover(later).unwrap();
        found.sort_by(|a, b| a.id.cmp(&b.id));
        let lost = ExecReport {
            output_bytes: 4,
            ..started("open").ended(&ExecOutcome::Lost, later)
        };
        assert_eq!(found, [ended, lost.clone()]);
        let again = spool.recover(Timestamp::from_seconds(3)).unwrap();
        assert!(again.contains(&lost), "{again:?}");
    }
}
