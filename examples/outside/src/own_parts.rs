//! Parts of one's own, each checked by its contract, then all together in a farm.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use build_core::event::{KindSet, StreamId};
use build_server::coordinator::Coordinator;
use build_server::pool::LocalPool;
use build_server::readers::LogFeed;
use build_server::record::BuildRow;
use build_server::source::GitSource;
use build_server::store::{BlobKey, BlobKind, Blobs, FileLogs, Ledger, MemoryRecords, Store};
use build_server::testing;
use tokio_util::sync::CancellationToken;

use crate::Result;
use crate::line_log::LineLog;
use crate::shelf::Shelf;
use crate::tide::{self, TIDE, Tower};

/// Longest wait for something that must happen.
const SOON: Duration = Duration::from_secs(60);

/// Every part by itself: what our own parts promise, these promise too.
pub async fn keep_their_contracts(dir: &Path) -> Result<()> {
    testing::event_log(&LineLog::open(&dir.join("log"))?).await?;
    // What was written is there after a restart, and goes on.
    let reopened = Arc::new(LineLog::open(&dir.join("log"))?);
    testing::feed(&LogFeed::new(reopened, KindSet::all())).await?;

    let events = Arc::new(LineLog::open(&dir.join("rows"))?);
    let records = Arc::new(MemoryRecords::of(events.clone()).await?);
    testing::records(events.clone(), records.clone()).await?;
    testing::memos(&build_server::readers::LedgerMemos::new(&Ledger::new(events, records))).await?;

    let shelf = Shelf::new(&dir.join("shelf"))?;
    testing::blobs(&shelf).await?;
    let key = BlobKey::new(BlobKind::Cache, "damaged")?;
    shelf.put(&key, Box::pin(futures::stream::iter([Ok("some text".into())]))).await?;
    let mut bytes = std::fs::read(shelf.path(&key))?;
    bytes[66] ^= 1;
    std::fs::write(shelf.path(&key), bytes)?;
    testing::damaged_blob(&shelf, &key).await?;
    Ok(())
}

/// A farm whose events lie in a text file, with a kind of streams that it knows nothing of.
pub async fn make_a_farm(program: &str, repo: &Path, dir: &Path) -> Result<BuildRow> {
    let events = Arc::new(LineLog::open(&dir.join("farm"))?);
    let records = Arc::new(MemoryRecords::of(events.clone()).await?);
    let blobs = Arc::new(Shelf::new(&dir.join("contents"))?);
    let logs = Arc::new(FileLogs::new(dir.join("logs")));
    let store = Store::from_parts(events.clone(), records, blobs.clone(), logs, dir.join("files"));
    let coordinator = Coordinator::builder()
        .pool(LocalPool::new(program, 1))
        .source(GitSource::watch(repo.to_string_lossy()))
        .recipe(build_core::recipe::Detect)
        .store(store)
        .build()?;
    let handle = coordinator.handle();
    let token = CancellationToken::new();
    let run = coordinator.run(token.clone());
    tokio::pin!(run);

    let ledger = handle.ledger().client();
    let tower = Tower::default();
    let bell = tide::bell(&ledger, tower.clone())?;
    let outbox = bell.outbox();
    let ringing = bell.run(token.clone());
    tokio::pin!(ringing);
    let harbour: StreamId = format!("{TIDE}/hamburg").parse()?;
    let work = async {
        for (version, cm) in [(0, 310), (1, 355)] {
            tide::high_water(&ledger, &harbour, version, cm).await?;
        }
        let built = async {
            loop {
                let page = handle.records().builds(&Default::default(), None, 1).await?;
                if let Some(row) = page.builds.into_iter().find(|row| !row.is_open()) {
                    return Ok::<_, build_core::Error>(row);
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let row = tokio::time::timeout(SOON, built).await??;
        outbox.caught_up(SOON).await?;
        Ok::<_, Box<dyn std::error::Error>>(row)
    };
    let row = tokio::select! {
        ended = &mut run => return Err(format!("the farm ended by itself: {ended:?}").into()),
        ended = &mut ringing => return Err(format!("the reader ended by itself: {ended:?}").into()),
        row = work => row?,
    };
    token.cancel();
    tokio::try_join!(run, ringing)?;
    assert_eq!(tower.rung(), ["tide-hamburg-1", "tide-hamburg-2"], "each once");
    let sources = blobs.keys(BlobKind::Source).await?;
    assert_eq!(sources.len(), 1, "the packed commit lies on the shelf");
    Ok(row)
}
