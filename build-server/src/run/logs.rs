//! The output of units: one file for each attempt, `logs/BUILD/EXEC.log`, read while it is written.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use build_core::buildlet::ByteStream;
use build_core::ids::{BuildId, ExecId};
use build_core::livelog::{LiveLog, LogReader, LogWriter, Options, Position};
use build_core::test_lines::{TestCounts, TestLines};
use build_core::{Error, Result};
use futures::{StreamExt, TryStreamExt};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::io::ReaderStream;

/// How long the begin of a log is waited for before somebody looks whether it has ended instead.
const LOG_BEGINS: Duration = Duration::from_secs(1);
/// Bytes handed to a reader at a time.
const PIECE_BYTES: usize = 64 << 10;

/// The logs below one directory. Clones share what is being written.
#[derive(Clone)]
pub struct Logs {
    dir: Arc<Path>,
    live: Arc<Mutex<HashMap<ExecId, LiveLog>>>,
    /// Told when a log begins to be written.
    begun: Arc<Notify>,
}

/// A log that is being written; readers see its end when this is dropped.
pub(crate) struct OpenLog {
    writer: LogWriter,
    tests: TestLines,
    path: PathBuf,
    exec: ExecId,
    logs: Logs,
}

impl Logs {
    /// The logs below `dir`, which is made when the first one is written.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into().into(),
            live: Arc::default(),
            begun: Arc::default(),
        }
    }

    fn live(&self) -> MutexGuard<'_, HashMap<ExecId, LiveLog>> {
        // Nothing panics while it holds this lock.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, build: &BuildId, exec: &ExecId) -> PathBuf {
        self.dir.join(build.as_str()).join(format!("{exec}.log"))
    }

    /// Bytes in the log of an attempt; 0 when there is none.
    pub(crate) fn len(&self, build: &BuildId, exec: &ExecId) -> u64 {
        if let Some(log) = self.live().get(exec) {
            return log.len();
        }
        std::fs::metadata(self.path(build, exec)).map_or(0, |about| about.len())
    }

    /// The output of an attempt from byte `offset` on. With `follow` it ends when the attempt
    /// does, if that is being written by this process.
    ///
    /// # Errors
    /// When there is no such log, or it cannot be read.
    pub fn read(
        &self,
        build: &BuildId,
        exec: &ExecId,
        offset: u64,
        follow: bool,
    ) -> Result<ByteStream> {
        let path = self.path(build, exec);
        let failed = |error| Error::from(error).while_doing(format!("read {}", path.display()));
        let live = self.live().get(exec).cloned();
        let log = match live {
            Some(log) => log,
            None => LiveLog::open(&path).map_err(failed)?,
        };
        let reader = log.reader(Position::Offset(offset)).map_err(failed)?;
        let reader = if follow { reader } else { reader.until_now() };
        Ok(stream(reader, path.clone()))
    }

    /// The log of an attempt: the one that is being written, or as it lies on the disk.
    ///
    /// # Errors
    /// When there is no such log, or it cannot be read.
    #[cfg(feature = "web")]
    pub(crate) fn open(&self, build: &BuildId, exec: &ExecId) -> Result<LiveLog> {
        if let Some(log) = self.live().get(exec) {
            return Ok(log.clone());
        }
        let path = self.path(build, exec);
        LiveLog::open(&path)
            .map_err(|e| Error::from(e).while_doing(format!("read {}", path.display())))
    }

    /// The file of the output of an attempt, as far as it is written.
    pub(crate) fn file(&self, build: &BuildId, exec: &ExecId) -> Result<std::fs::File> {
        let path = self.path(build, exec);
        std::fs::File::open(&path)
            .map_err(|e| Error::from(e).while_doing(format!("read {}", path.display())))
    }

    /// Waits until the log of an attempt is being written, [`LOG_BEGINS`] at most; says whether it is.
    pub(crate) async fn begins(&self, exec: &ExecId) -> bool {
        let waiting = async {
            loop {
                // Listening first: what begins while we look wakes us.
                let begun = self.begun.notified();
                if self.live().contains_key(exec) {
                    return;
                }
                begun.await;
            }
        };
        timeout(LOG_BEGINS, waiting).await.is_ok()
    }

    /// Where the last `lines` lines of the output of an attempt begin, as a byte offset.
    ///
    /// # Errors
    /// When there is no such log, or it cannot be read.
    pub fn tail(&self, build: &BuildId, exec: &ExecId, lines: u64) -> Result<u64> {
        let path = self.path(build, exec);
        let failed = |error| Error::from(error).while_doing(format!("read {}", path.display()));
        let log = LiveLog::open(&path).map_err(failed)?;
        let reader = log.reader(Position::Last(lines)).map_err(failed)?;
        Ok(reader.offset())
    }

    /// Opens the log of an attempt to go on where it ends.
    pub(crate) fn append(&self, build: &BuildId, exec: &ExecId) -> Result<OpenLog> {
        let path = self.path(build, exec);
        let failed = |error| Error::from(error).while_doing(format!("write {}", path.display()));
        let dir = path.parent().expect("a log is below its build's directory");
        std::fs::create_dir_all(dir).map_err(failed)?;
        let options = Options::default();
        let writer = match LogWriter::reopen(&path, &options) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                LogWriter::create(&path, &options)
            }
            opened => opened,
        };
        let writer = writer.map_err(failed)?;
        let tests = tests_so_far(&path, writer.log().len()).map_err(failed)?;
        self.live().insert(exec.clone(), writer.log());
        self.begun.notify_waiters();
        Ok(OpenLog {
            writer,
            tests,
            path: path.clone(),
            exec: exec.clone(),
            logs: self.clone(),
        })
    }
}

/// What was printed of tests before this process went on with the log.
fn tests_so_far(path: &Path, len: u64) -> std::io::Result<TestLines> {
    let mut tests = TestLines::default();
    if len == 0 {
        return Ok(tests);
    }
    let mut file = std::fs::File::open(path)?.take(len);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(tests),
            read => tests.feed(&piece[..read]),
        }
    }
}

fn stream(reader: LogReader, path: PathBuf) -> ByteStream {
    let pieces = ReaderStream::with_capacity(reader, PIECE_BYTES);
    let named = move |e| Error::from(e).while_doing(format!("read {}", path.display()));
    pieces.map_err(named).boxed()
}

impl OpenLog {
    /// Bytes in it.
    pub(crate) fn len(&self) -> u64 {
        self.writer.log().len()
    }

    /// Adds output; readers see it at once.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer.append(bytes).map_err(|e| self.failed(e))?;
        self.tests.feed(bytes);
        Ok(())
    }

    /// Forces it to the disk: before the end of the attempt is recorded.
    pub(crate) fn sync(&self) -> Result<()> {
        self.writer.sync().map_err(|e| self.failed(e))
    }

    /// The attempt has ended: what it printed of tests.
    pub(crate) fn finish(mut self) -> TestCounts {
        std::mem::take(&mut self.tests).finish()
    }

    fn failed(&self, error: std::io::Error) -> Error {
        Error::from(error).while_doing(format!("write {}", self.path.display()))
    }
}

impl Drop for OpenLog {
    fn drop(&mut self) {
        self.logs.live().remove(&self.exec);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn text(stream: ByteStream) -> String {
        let pieces: Vec<_> = stream.try_collect().await.unwrap();
        String::from_utf8(pieces.concat()).unwrap()
    }

    #[tokio::test]
    async fn a_log_is_read_while_it_is_written_and_goes_on_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let (build, exec) = (BuildId::from_bits(1), ExecId::new("e").unwrap());
        let logs = Logs::new(dir.path());
        assert_eq!(logs.len(&build, &exec), 0);
        assert!(logs.read(&build, &exec, 0, false).is_err());
        let mut open = logs.append(&build, &exec).unwrap();
        open.append(b"one ").unwrap();
        let so_far = logs.read(&build, &exec, 0, false).unwrap();
        assert_eq!(text(so_far).await, "one ");
        let following = logs.read(&build, &exec, 1, true).unwrap();
        open.append(b"two ").unwrap();
        open.sync().unwrap();
        drop(open);
        assert_eq!(text(following).await, "ne two ");

        let logs = Logs::new(dir.path());
        let mut open = logs.append(&build, &exec).unwrap();
        assert_eq!(open.len(), 8);
        open.append(b"three").unwrap();
        drop(open);
        let all = logs.read(&build, &exec, 0, true).unwrap();
        assert_eq!(text(all).await, "one two three");
    }
}
