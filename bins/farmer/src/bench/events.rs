//! Events on the disk.

use std::path::Path;
use std::time::Instant;

use build_core::clock::Timestamp;
use build_core::event::{BuildEvent, NewEvent, Seq};
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
    let mut head = Seq(0);
    while head.0 < count {
        let events = (0..batch as u64)
            .map(|n| NewEvent {
                at: Timestamp::from_seconds(1),
                build: BuildId::from_bits(head.0 + n),
                event: BuildEvent::CancelRequested {
                    by: "bench".to_owned(),
                },
            })
            .collect();
        head = store.append(head, events).await.map_err(|e| failure(&e))?;
    }
    Ok(())
}
