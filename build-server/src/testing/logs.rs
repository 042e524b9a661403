//! What every store of logs promises.

use std::collections::BTreeSet;

use build_core::Result;
use build_core::ids::{BuildId, ExecId};
use build_core::livelog::{LiveLog, Position};

use crate::store::{LogHash, LogSum, Logs};

/// More than is kept in memory.
const LINES: usize = 60_000;

fn text(log: &LiveLog) -> Result<Vec<u8>> {
    let mut reader = log.reader(Position::Start)?.until_now();
    let (mut all, mut piece) = (Vec::new(), vec![0; 64 << 10]);
    while let Some(read) = reader.try_read(&mut piece)?.filter(|read| *read > 0) {
        all.extend_from_slice(&piece[..read]);
    }
    Ok(all)
}

fn sum(text: &[u8]) -> LogSum {
    let mut hash = LogHash::default();
    hash.feed(text);
    hash.finish()
}

async fn kept(logs: &dyn Logs, build: &BuildId, exec: &ExecId) -> Result<Option<Vec<u8>>> {
    let log = logs.open(build, exec).await?;
    log.map(|log| text(&log)).transpose()
}

/// Checks what every [`Logs`] promises, on one that is empty.
///
/// # Errors
/// When the store fails.
///
/// # Panics
/// When it breaks a promise: the text says which.
pub async fn logs(logs: &dyn Logs) -> Result<()> {
    let (build, other) = (BuildId::from_bits(1), BuildId::from_bits(2));
    let (first, second) = (ExecId::new("e1")?, ExecId::new("e2")?);
    assert_eq!(logs.builds().await?, [], "an empty store has no builds");
    assert_eq!(logs.attempts(&build).await?, [], "and no attempts");
    assert_eq!(kept(logs, &build, &first).await?, None, "and no logs");
    assert_eq!(logs.sum(&build, &first).await?, None, "and no sums");
    logs.remove(&build).await?;

    let mut all: Vec<u8> = Vec::new();
    let mut writer = logs.writer(&build, &first).await?;
    for line in 0..LINES {
        let line = format!("line {line}\n");
        writer.append(line.as_bytes())?;
        all.extend_from_slice(line.as_bytes());
    }
    assert!(
        text(&writer.log())? == all,
        "readers of the writer see it at once"
    );
    // As after a crash: it was not sealed.
    drop(writer);
    let mut writer = logs.writer(&build, &first).await?;
    assert_eq!(
        writer.log().len(),
        all.len() as u64,
        "a writer goes on where the log ends"
    );
    writer.append(b"more")?;
    all.extend_from_slice(b"more");
    for _twice in 0..2 {
        logs.seal(&build, &first, &writer.log(), &sum(&all)).await?;
    }
    writer.finish()?;
    assert!(
        kept(logs, &build, &first).await? == Some(all.clone()),
        "what was sealed is kept"
    );
    assert_eq!(
        logs.sum(&build, &first).await?,
        Some(sum(&all)),
        "with its sum"
    );
    let log = logs.open(&build, &first).await?;
    let line = log.map(|log| log.offset_of_line(1)).transpose()?;
    assert_eq!(line, Some(Some(7)), "lines are found in it");

    for (build, exec) in [(&build, &second), (&other, &first)] {
        let mut writer = logs.writer(build, exec).await?;
        writer.append(b"x")?;
        logs.seal(build, exec, &writer.log(), &sum(b"x")).await?;
    }
    let attempts: BTreeSet<_> = logs.attempts(&build).await?.into_iter().collect();
    assert_eq!(
        attempts,
        BTreeSet::from([first.clone(), second]),
        "attempts are listed"
    );
    let builds: BTreeSet<_> = logs.builds().await?.into_iter().collect();
    assert_eq!(
        builds,
        BTreeSet::from([build.clone(), other.clone()]),
        "builds are listed"
    );
    logs.remove(&build).await?;
    logs.remove(&build).await?;
    assert_eq!(
        logs.builds().await?,
        std::slice::from_ref(&other),
        "a build is removed alone"
    );
    assert_eq!(kept(logs, &build, &first).await?, None, "with all its logs");
    let left = kept(logs, &other, &first).await?;
    assert_eq!(left.as_deref(), Some(&b"x"[..]), "others stay");
    Ok(())
}
