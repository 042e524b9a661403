//! Events on the disk.

use std::path::Path;
use std::time::Instant;

use build_core::clock::Timestamp;
use build_core::event::{Batch, BuildEvent, NewEvent, Principal, StreamId, Version};
use build_core::ids::BuildId;
use build_server::store::{EventLog, SqliteOptions, SqliteStore};
use farmer_cli::Failure;

use super::figure::{Figure, REPEATS};
use crate::output::failure;

pub(super) async fn events(data: &Path) -> Result<Figure, Failure> {
    const APPENDS: u64 = 2_000;
    const AT_ONCE: usize = 64;
    std::fs::create_dir_all(data)?;
    let dir = tempfile::tempdir_in(data)?;
    let mut samples = Vec::new();
    for repeat in 0..REPEATS {
        let path = dir.path().join(format!("{repeat}.db"));
        let store = SqliteStore::open(&path, SqliteOptions::default())
            .await
            .map_err(|e| failure(&e))?;
        let begin = Instant::now();
        append_all(&store, APPENDS, AT_ONCE).await?;
        samples.push(APPENDS as f64 / begin.elapsed().as_secs_f64());
    }
    let what =
        format!("durable events, {AT_ONCE} in a batch, each batch on the disk before the next");
    Ok(Figure::new("events", what, "1/s", samples))
}

async fn append_all(store: &SqliteStore, count: u64, batch: usize) -> Result<(), Failure> {
    let term = store.begin_term().await.map_err(|e| failure(&e))?;
    let at = Timestamp::from_seconds(1);
    let by = Principal::farm();
    let event = BuildEvent::CancelRequested { by: by.clone() };
    let mut written = 0;
    while written < count {
        let builds = (0..batch as u64).map(|n| StreamId::from(BuildId::from_bits(written + n)));
        let mut append = Batch::default();
        for build in builds {
            let new = NewEvent::new(build.clone(), at, by.clone(), &event);
            append.events.push(new.map_err(|e| failure(&e))?);
            append.expects.push((build, Version(0)));
        }
        written += batch as u64;
        for answer in store.append(term, vec![append]).await {
            answer.map_err(|e| failure(&e))?;
        }
    }
    Ok(())
}
