//! Logs that are forgotten with the process.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use build_core::Result;
use build_core::ids::{BuildId, ExecId};
use build_core::livelog::{LiveLog, LogWriter, Options, Position};

use super::{LogSum, Logs};

/// Bytes copied at a time when a log is gone on with.
const PIECE_BYTES: usize = 64 << 10;

/// Logs in memory; a long one is kept in a nameless file.
#[derive(Default)]
pub struct MemoryLogs {
    logs: Mutex<BTreeMap<BuildId, HashMap<ExecId, Kept>>>,
}

struct Kept {
    log: LiveLog,
    sum: Option<LogSum>,
}

impl MemoryLogs {
    fn logs(&self) -> MutexGuard<'_, BTreeMap<BuildId, HashMap<ExecId, Kept>>> {
        // Nothing panics while it holds this lock.
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log(&self, build: &BuildId, exec: &ExecId) -> Option<LiveLog> {
        Some(self.logs().get(build)?.get(exec)?.log.clone())
    }
}

fn copy(from: &LiveLog, to: &mut LogWriter) -> std::io::Result<()> {
    let mut reader = from.reader(Position::Start)?.until_now();
    let mut piece = vec![0; PIECE_BYTES];
    while let Some(read) = reader.try_read(&mut piece)?.filter(|read| *read > 0) {
        to.append(&piece[..read])?;
    }
    Ok(())
}

#[async_trait]
impl Logs for MemoryLogs {
    async fn writer(&self, build: &BuildId, exec: &ExecId) -> Result<LogWriter> {
        let mut writer = LogWriter::in_memory(Options::default());
        if let Some(before) = self.log(build, exec) {
            copy(&before, &mut writer)?;
        }
        let log = writer.log();
        let of_build = &mut *self.logs();
        let of_build = of_build.entry(build.clone()).or_default();
        of_build.insert(exec.clone(), Kept { log, sum: None });
        Ok(writer)
    }

    async fn seal(
        &self,
        build: &BuildId,
        exec: &ExecId,
        written: &LiveLog,
        sum: &LogSum,
    ) -> Result<()> {
        let kept = Kept {
            log: written.clone(),
            sum: Some(sum.clone()),
        };
        let of_build = &mut *self.logs();
        of_build
            .entry(build.clone())
            .or_default()
            .insert(exec.clone(), kept);
        Ok(())
    }

    async fn open(&self, build: &BuildId, exec: &ExecId) -> Result<Option<LiveLog>> {
        Ok(self.log(build, exec))
    }

    async fn sum(&self, build: &BuildId, exec: &ExecId) -> Result<Option<LogSum>> {
        let logs = self.logs();
        let kept = logs.get(build).and_then(|of_build| of_build.get(exec));
        Ok(kept.and_then(|kept| kept.sum.clone()))
    }

    async fn attempts(&self, build: &BuildId) -> Result<Vec<ExecId>> {
        let logs = self.logs();
        let of_build = logs.get(build).into_iter().flatten();
        Ok(of_build.map(|(exec, _)| exec.clone()).collect())
    }

    async fn builds(&self) -> Result<Vec<BuildId>> {
        Ok(self.logs().keys().cloned().collect())
    }

    async fn remove(&self, build: &BuildId) -> Result<()> {
        self.logs().remove(build);
        Ok(())
    }
}
