//! The lines before the output of a command that tell what became of its toolchains.
//!
//! They end with [`END`], so that whoever goes on with the log after a restart knows how much of it
//! the machine has printed. What was begun and not ended is written again.

use std::io;

use build_core::livelog::Position;
use build_core::{Error, Result};

use super::super::logs::OpenLog;
use super::super::units::append;

/// The last line of a preamble; what the machine prints follows it.
const END: &str = "farmer: toolchains are ready\n";
/// Begins each line.
const BEGIN: &str = "farmer: ";
/// Longest preamble that is looked for: a few lines for each toolchain.
const LONGEST: usize = 64 << 10;

/// Writes the preamble of a log.
pub(crate) struct Preamble<'a> {
    log: &'a mut OpenLog,
    elsewhere: bool,
    /// The output is read by a program: it begins with the first byte.
    is_list: bool,
}

impl<'a> Preamble<'a> {
    pub(super) fn new(log: &'a mut OpenLog, elsewhere: bool, is_list: bool) -> Self {
        Self {
            log,
            elsewhere,
            is_list,
        }
    }

    /// Whether the machine has files of its own, so that there is something to tell.
    pub(super) fn is_wanted(&self) -> bool {
        self.elsewhere
    }

    /// A line for people.
    pub(super) async fn say(&mut self, line: &str) -> Result<()> {
        match self.elsewhere && !self.is_list {
            true => append(self.log, format!("{BEGIN}{line}\n").as_bytes()).await,
            false => Ok(()),
        }
    }

    /// The last line of a step that cannot begin.
    pub(super) async fn complain(&mut self, line: &str) -> Result<()> {
        append(self.log, format!("{BEGIN}{line}\n").as_bytes()).await
    }

    /// The command begins.
    pub(super) async fn end(&mut self) -> Result<()> {
        let is_there = self.elsewhere && !self.is_list && self.length()?.is_none();
        match is_there {
            true => append(self.log, END.as_bytes()).await,
            false => Ok(()),
        }
    }

    /// How much of the log was written before the command began. A command runs: a preamble that is
    /// not whole was cut off with the disk of this machine, and is ended now.
    pub(crate) async fn before_output(&mut self) -> Result<u64> {
        if !self.elsewhere || self.is_list {
            return Ok(0);
        }
        if let Some(length) = self.length()? {
            return Ok(length);
        }
        if !is_ours(&self.head(BEGIN.len())?) {
            // Of a farm that wrote none.
            return Ok(0);
        }
        let line = match self.log.len() {
            0 => END.to_owned(),
            _ => format!("\n{END}"),
        };
        append(self.log, line.as_bytes()).await?;
        Ok(self.log.len())
    }

    /// The bytes of a whole preamble; `None` when there is none, or half of one.
    fn length(&self) -> Result<Option<u64>> {
        let head = self.head(LONGEST)?;
        let mut at = 0;
        for line in head.split_inclusive(|b| *b == b'\n') {
            at += line.len() as u64;
            if line == END.as_bytes() {
                return Ok(Some(at));
            }
            if !is_ours(line) {
                return Ok(None);
            }
        }
        Ok(None)
    }

    fn head(&self, bytes: usize) -> Result<Vec<u8>> {
        let read = || -> io::Result<Vec<u8>> {
            let mut reader = self.log.log().reader(Position::Start)?.until_now();
            let mut head = vec![0; bytes];
            let mut have = 0;
            while have < bytes
                && let Some(read) = reader.try_read(&mut head[have..])?.filter(|read| *read > 0)
            {
                have += read;
            }
            head.truncate(have);
            Ok(head)
        };
        read().map_err(|e| Error::from(e).while_doing("read the begin of a log"))
    }
}

/// Whether a line may be one of a preamble; one that was torn may have less than its begin.
fn is_ours(line: &[u8]) -> bool {
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    text.starts_with(BEGIN.as_bytes()) || BEGIN.as_bytes().starts_with(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::logs::LiveLogs;
    use crate::store::MemoryLogs;
    use build_core::ids::{BuildId, ExecId};

    async fn log(text: &str) -> OpenLog {
        let logs = LiveLogs::new(std::sync::Arc::new(MemoryLogs::default()));
        let (build, exec) = (BuildId::from_bits(1), ExecId::new("e").unwrap());
        let mut log = logs.append(&build, &exec).await.unwrap();
        log.append(text.as_bytes()).unwrap();
        log
    }

    async fn before(text: &str) -> (u64, u64) {
        let mut log = log(text).await;
        let before = Preamble::new(&mut log, true, false).before_output().await;
        (before.unwrap(), log.len())
    }

    #[tokio::test]
    async fn what_the_machine_printed_begins_behind_the_preamble() {
        let mut log = log("").await;
        let mut preamble = Preamble::new(&mut log, true, false);
        preamble.say("go 1.9: sent").await.unwrap();
        preamble.end().await.unwrap();
        // A farm that was killed before the command began goes on with what is there.
        preamble.end().await.unwrap();
        let length = preamble.before_output().await.unwrap();
        assert_eq!(
            length,
            "farmer: go 1.9: sent\n".len() as u64 + END.len() as u64
        );
        log.append(format!("output\n{END}").as_bytes()).unwrap();
        let mut preamble = Preamble::new(&mut log, true, false);
        assert_eq!(preamble.before_output().await.unwrap(), length);
    }

    #[tokio::test]
    async fn half_a_preamble_is_ended_and_none_is_made_up() {
        let end = END.len() as u64;
        assert_eq!(before("").await, (end, end));
        assert_eq!(before("farm").await, (5 + end, 5 + end));
        assert_eq!(before("farmer: go").await, (11 + end, 11 + end));
        assert_eq!(before("output").await, (0, 6));
        // Torn, and then ended.
        for torn in ["farm", "farmer: go 1.9: one", "farmer: go 1.9: one\n"] {
            let text = format!("{torn}\n{END}output");
            let length = (text.len() - 6) as u64;
            assert_eq!(before(&text).await, (length, text.len() as u64));
        }
    }

    #[tokio::test]
    async fn lists_and_machines_that_see_our_files_have_none() {
        for (elsewhere, is_list) in [(false, false), (true, true)] {
            let mut log = log("").await;
            let mut preamble = Preamble::new(&mut log, elsewhere, is_list);
            preamble.say("go 1.9: sent").await.unwrap();
            preamble.end().await.unwrap();
            assert_eq!(preamble.before_output().await.unwrap(), 0);
            preamble.complain("go 1.9: nobody has it").await.unwrap();
            assert_eq!(log.len(), 30);
        }
    }
}
