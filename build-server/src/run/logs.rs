//! The output of units: written to the store of logs, and read while it is written.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use build_core::buildlet::ByteStream;
use build_core::ids::{BuildId, ExecId};
use build_core::livelog::{LiveLog, LogReader, LogWriter, Position};
use build_core::test_lines::{TestCounts, TestLines};
use build_core::{Error, ErrorKind, Result};
use futures::{StreamExt, TryStreamExt};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::io::ReaderStream;

use crate::store::{LogHash, LogSum, Logs};

/// How long the begin of a log is waited for before somebody looks whether it has ended instead.
const LOG_BEGINS: Duration = Duration::from_secs(1);
/// Bytes handed to a reader at a time.
const PIECE_BYTES: usize = 64 << 10;

/// The logs of a store, and those that this process writes. Clones share what is being written.
#[derive(Clone)]
pub struct LiveLogs {
    kept: Arc<dyn Logs>,
    live: Arc<Mutex<HashMap<ExecId, LiveLog>>>,
    /// Told when a log begins to be written.
    begun: Arc<Notify>,
}

/// A log that is being written; readers see its end when this is dropped.
pub(crate) struct OpenLog {
    writer: LogWriter,
    tests: TestLines,
    hash: LogHash,
    build: BuildId,
    exec: ExecId,
    logs: LiveLogs,
}

impl LiveLogs {
    /// The logs of a store, none of which this process writes yet.
    pub fn new(kept: Arc<dyn Logs>) -> Self {
        Self {
            kept,
            live: Arc::default(),
            begun: Arc::default(),
        }
    }

    fn live(&self) -> MutexGuard<'_, HashMap<ExecId, LiveLog>> {
        // Nothing panics while it holds this lock.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes in the log of an attempt; 0 when there is none, or nobody can tell.
    pub(crate) async fn len(&self, build: &BuildId, exec: &ExecId) -> u64 {
        if let Some(log) = self.living(exec) {
            return log.len();
        }
        match self.kept.open(build, exec).await {
            Ok(log) => log.map_or(0, |log| log.len()),
            Err(error) => {
                tracing::warn!(%build, error = error.chain(), "cannot tell how long a log is");
                0
            }
        }
    }

    fn living(&self, exec: &ExecId) -> Option<LiveLog> {
        self.live().get(exec).cloned()
    }

    /// The output of an attempt from byte `offset` on. With `follow` it ends when the attempt
    /// does, if that is being written by this process. A log that is read from its begin is
    /// checked on the way: a damaged one ends with an error that says so.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such log, [`ErrorKind::Corrupt`] when it is not as
    /// long as it was; otherwise when it cannot be read.
    pub async fn read(
        &self,
        build: &BuildId,
        exec: &ExecId,
        offset: u64,
        follow: bool,
    ) -> Result<ByteStream> {
        let name = format!("read the log {exec} of {build}");
        let failed = |error| Error::from(error).while_doing(name.clone());
        let (log, sum) = self.find(build, exec).await?;
        let reader = log.reader(Position::Offset(offset)).map_err(failed)?;
        let reader = if follow { reader } else { reader.until_now() };
        let pieces = stream(reader, name.clone());
        Ok(match sum.filter(|_| offset == 0) {
            Some(sum) => checked(pieces, sum, name),
            None => pieces,
        })
    }

    /// The log of an attempt: the one that is being written, or as it was kept.
    ///
    /// # Errors
    /// As [`LiveLogs::read`].
    pub async fn open(&self, build: &BuildId, exec: &ExecId) -> Result<LiveLog> {
        Ok(self.find(build, exec).await?.0)
    }

    async fn find(&self, build: &BuildId, exec: &ExecId) -> Result<(LiveLog, Option<LogSum>)> {
        if let Some(log) = self.living(exec) {
            return Ok((log, None));
        }
        let Some(log) = self.kept.open(build, exec).await? else {
            let text = format!("there is no log {exec} of {build}");
            return Err(Error::new(ErrorKind::NotFound, text));
        };
        let sum = self.kept.sum(build, exec).await?;
        match sum.as_ref().map(|sum| sum.bytes) {
            Some(bytes) if bytes != log.len() => {
                let what = format!("it has {} bytes, and was written with {bytes}", log.len());
                Err(damaged(&format!("read the log {exec} of {build}"), &what))
            }
            _ => Ok((log, sum)),
        }
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
    /// As [`LiveLogs::read`].
    pub async fn tail(&self, build: &BuildId, exec: &ExecId, lines: u64) -> Result<u64> {
        let log = self.open(build, exec).await?;
        let reader = log.reader(Position::Last(lines)).map_err(Error::from);
        let named = |e: Error| e.while_doing(format!("read the log {exec} of {build}"));
        Ok(reader.map_err(named)?.offset())
    }

    /// Opens the log of an attempt to go on where it ends.
    pub(crate) async fn append(&self, build: &BuildId, exec: &ExecId) -> Result<OpenLog> {
        let writer = self.kept.writer(build, exec).await?;
        let mut open = OpenLog {
            writer,
            tests: TestLines::default(),
            hash: LogHash::default(),
            build: build.clone(),
            exec: exec.clone(),
            logs: self.clone(),
        };
        open.catch_up()?;
        self.live().insert(exec.clone(), open.writer.log());
        self.begun.notify_waiters();
        Ok(open)
    }
}

/// The pieces of a log; one that is not what was written ends with an error.
fn checked(pieces: ByteStream, sum: LogSum, name: String) -> ByteStream {
    let state = (pieces, LogHash::default());
    let checked = futures::stream::try_unfold(Some(state), move |state| {
        let (sum, name) = (sum.clone(), name.clone());
        async move {
            let Some((mut pieces, mut hash)) = state else {
                return Ok(None);
            };
            if let Some(piece) = pieces.try_next().await? {
                hash.feed(&piece);
                return Ok(Some((piece, Some((pieces, hash)))));
            }
            if hash.finish() == sum {
                return Ok(None);
            }
            Err(damaged(&name, "its text is not what was written"))
        }
    });
    checked.boxed()
}

fn damaged(doing: &str, what: &str) -> Error {
    let text = format!("the log is damaged: {what}");
    Error::new(ErrorKind::Corrupt, text)
        .while_doing(doing)
        .with_hint("it is an original and cannot be made again; its build can: farmer rerun")
}

fn stream(reader: LogReader, name: String) -> ByteStream {
    let pieces = ReaderStream::with_capacity(reader, PIECE_BYTES);
    let named = move |e| Error::from(e).while_doing(name.clone());
    pieces.map_err(named).boxed()
}

impl OpenLog {
    /// What was printed before this process went on with the log.
    fn catch_up(&mut self) -> Result<()> {
        let log = self.writer.log();
        let read = |tests: &mut TestLines, hash: &mut LogHash| {
            let mut reader = log.reader(Position::Start)?.until_now();
            let mut piece = vec![0; PIECE_BYTES];
            while let Some(read) = reader.try_read(&mut piece)?.filter(|read| *read > 0) {
                tests.feed(&piece[..read]);
                hash.feed(&piece[..read]);
            }
            Ok(())
        };
        let read: std::io::Result<()> = read(&mut self.tests, &mut self.hash);
        read.map_err(|e| self.failed(e))
    }

    /// As others read it.
    pub(crate) fn log(&self) -> LiveLog {
        self.writer.log()
    }

    /// Bytes in it.
    pub(crate) fn len(&self) -> u64 {
        self.writer.log().len()
    }

    /// Adds output; readers see it at once.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer.append(bytes).map_err(|e| self.failed(e))?;
        self.tests.feed(bytes);
        self.hash.feed(bytes);
        Ok(())
    }

    /// The attempt has ended: keeps the log durably, before the end is recorded.
    pub(crate) async fn seal(&self) -> Result<()> {
        let (log, sum) = (self.writer.log(), self.hash.clone().finish());
        self.logs
            .kept
            .seal(&self.build, &self.exec, &log, &sum)
            .await
    }

    /// What the attempt printed of tests.
    pub(crate) fn finish(mut self) -> TestCounts {
        std::mem::take(&mut self.tests).finish()
    }

    fn failed(&self, error: std::io::Error) -> Error {
        let (build, exec) = (&self.build, &self.exec);
        Error::from(error).while_doing(format!("write the log {exec} of {build}"))
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
    use crate::store::{FileLogs, MemoryLogs};

    async fn text(stream: ByteStream) -> Result<String> {
        let pieces: Vec<_> = stream.try_collect().await?;
        Ok(String::from_utf8(pieces.concat()).unwrap())
    }

    #[tokio::test]
    async fn a_log_is_read_while_it_is_written_and_goes_on_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let kept: [Arc<dyn Logs>; 2] = [
            Arc::new(FileLogs::new(dir.path())),
            Arc::new(MemoryLogs::default()),
        ];
        let (build, exec) = (BuildId::from_bits(1), ExecId::new("e").unwrap());
        for kept in kept {
            let logs = LiveLogs::new(kept.clone());
            assert_eq!(logs.len(&build, &exec).await, 0);
            assert!(logs.read(&build, &exec, 0, false).await.is_err());
            let mut open = logs.append(&build, &exec).await.unwrap();
            open.append(b"one ").unwrap();
            let so_far = logs.read(&build, &exec, 0, false).await.unwrap();
            assert_eq!(text(so_far).await.unwrap(), "one ");
            let following = logs.read(&build, &exec, 1, true).await.unwrap();
            open.append(b"two ").unwrap();
            open.seal().await.unwrap();
            drop(open);
            assert_eq!(text(following).await.unwrap(), "ne two ");

            let logs = LiveLogs::new(kept);
            let mut open = logs.append(&build, &exec).await.unwrap();
            assert_eq!(open.len(), 8);
            open.append(b"three").unwrap();
            open.seal().await.unwrap();
            drop(open);
            let all = logs.read(&build, &exec, 0, true).await.unwrap();
            assert_eq!(text(all).await.unwrap(), "one two three");
        }
    }

    #[tokio::test]
    async fn a_damaged_log_is_said_as_such() {
        let dir = tempfile::tempdir().unwrap();
        let logs = LiveLogs::new(Arc::new(FileLogs::new(dir.path())));
        let (build, exec) = (BuildId::from_bits(1), ExecId::new("e").unwrap());
        let mut open = logs.append(&build, &exec).await.unwrap();
        open.append(b"one two three").unwrap();
        open.seal().await.unwrap();
        drop(open);
        let path = dir.path().join(build.as_str()).join("e.log");
        for damage in ["one twO three", "one two"] {
            std::fs::write(&path, damage).unwrap();
            let read = async { text(logs.read(&build, &exec, 0, false).await?).await };
            let error = read.await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            assert!(error.chain().contains("damaged"), "{error:?}");
        }
    }
}
