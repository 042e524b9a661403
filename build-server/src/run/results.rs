//! Keeps the result of each test that a unit printed.

use std::fs::File;
use std::io::Seek;

use build_core::event::BlobRef;
use build_core::ids::{BuildId, ExecId};
use build_core::livelog::{LogReader, Position};
use build_core::test_lines::{ResultsWriter, TestLines};
use build_core::{Error, ErrorKind, Result};
use tokio::io::AsyncSeekExt as _;

use super::Inner;

/// Bytes of output read at a time.
const PIECE_BYTES: usize = 64 << 10;

impl Inner {
    /// Keeps the results that are in the log of an attempt, which has ended. They are worth less
    /// than the end of the unit: when they cannot be kept, that is told and it goes on.
    pub(super) async fn keep_results(&self, build: &BuildId, exec: &ExecId) -> Option<BlobRef> {
        match self.try_keep_results(build, exec).await {
            Ok(kept) => Some(kept),
            Err(error) => {
                let error = error.chain();
                tracing::warn!(%build, %exec, error, "cannot keep the results of tests");
                None
            }
        }
    }

    async fn try_keep_results(&self, build: &BuildId, exec: &ExecId) -> Result<BlobRef> {
        let place = self.store.dir()?.join("unpacked");
        let log = self.logs.open(build, exec).await?;
        let log = log.reader(Position::Start)?.until_now();
        let collect = move || {
            std::fs::create_dir_all(&place)?;
            collect(log, tempfile::tempfile_in(&place)?)
        };
        let collected = tokio::task::spawn_blocking(collect).await;
        let collected =
            collected.map_err(|e| Error::caused_by(ErrorKind::Bug, "collect results", e))??;
        self.store_file(&collected).await
    }

    /// Keeps what a file without a name holds.
    pub(super) async fn store_file(&self, file: &File) -> Result<BlobRef> {
        let open = move || async move {
            let mut file = tokio::fs::File::from_std(file.try_clone()?);
            file.rewind().await?;
            Ok(file)
        };
        self.store_artifact(open).await
    }
}

/// Reads the results of tests in a log into `to`, which is then read from its beginning.
fn collect(mut log: LogReader, to: File) -> Result<File> {
    let mut tests = TestLines::with_results();
    let mut writer = ResultsWriter::new(std::io::BufWriter::new(to))?;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        // What is not there now will not come: the attempt has ended.
        let read = log.try_read(&mut piece)?.unwrap_or(0);
        match read {
            0 => tests.end(),
            read => tests.feed(&piece[..read]),
        }
        for result in tests.take_results() {
            writer.write(&result)?;
        }
        if read == 0 {
            break;
        }
    }
    let mut file = writer
        .finish()?
        .into_inner()
        .map_err(|e| Error::from(e.into_error()))?;
    file.rewind()?;
    Ok(file)
}
