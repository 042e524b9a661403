//! What it costs to wake five readers, however long the log is.
//!
//! `FARMER_EVENTS` (default 200,000) events are written to a database, and on the way, at a
//! hundredth, a tenth and all of them, one event is appended again and again, and it is measured
//! how long it takes until all five readers have seen it. The median must not grow with the log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use build_core::clock::Timestamp;
use build_core::event::{
    Batch, Encoded, EventKind, KindSet, NewEvent, Principal, Recorded, Seq, StreamId, StreamKind,
    Version,
};
use build_core::ids::ReaderName;
use build_core::reader::Taken;
use build_server::readers::{Follower, LedgerMemos, LogFeed, Reader};
use build_server::store::{Ledger, SqliteOptions, SqliteStore};
use build_server::supervise::Supervisor;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const READERS: usize = 5;
/// Appends at each length of the log.
const ROUNDS: u32 = 200;
/// Events of one batch.
const BATCH: u64 = 2_000;
/// Events of one stream, about as many as a build has.
const STREAM: u64 = 20;
const TIDE: StreamKind = StreamKind::known("tide");
const BELL: StreamKind = StreamKind::known("bell");

struct Listens {
    name: ReaderName,
    heard: mpsc::UnboundedSender<Seq>,
}

#[async_trait]
impl Reader for Listens {
    type Feed = LogFeed;

    fn name(&self) -> &ReaderName {
        &self.name
    }

    async fn take(&mut self, events: &[Recorded]) -> build_core::Result<Taken> {
        for event in events.iter().filter(|event| event.stream.kind() == BELL) {
            // The bench has ended when nobody listens.
            let _ = self.heard.send(event.seq);
        }
        Ok(Taken::default())
    }
}

fn event(stream: &StreamId) -> build_core::Result<NewEvent> {
    let body = Encoded::new(EventKind::known("high"), 1, false, &("harbour", 310, "cm"))?;
    let at = Timestamp::from_seconds(1_600_000_000);
    Ok(NewEvent::encoded(
        stream.clone(),
        at,
        Principal::farm(),
        body,
    ))
}

/// Events from number `from` to `to`, each twenty of a stream of their own.
async fn fill(ledger: &Ledger, from: u64, to: u64) -> Result<()> {
    for first in (from..to).step_by(usize::try_from(BATCH)?) {
        let mut batch = Batch::default();
        for n in (first..to.min(first + BATCH)).step_by(usize::try_from(STREAM)?) {
            let stream: StreamId = format!("{TIDE}/s{n}").parse()?;
            batch.expects.push((stream.clone(), Version(0)));
            batch.closes.push(stream.clone());
            for _ in n..to.min(n + STREAM) {
                batch.events.push(event(&stream)?);
            }
        }
        ledger.append(batch).await?;
    }
    Ok(())
}

async fn wake_ups(
    ledger: &Ledger,
    heard: &mut mpsc::UnboundedReceiver<Seq>,
    rung: &mut u64,
) -> Result<Vec<Duration>> {
    let bell: StreamId = format!("{BELL}/tower").parse()?;
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let batch = Batch {
            expects: vec![(bell.clone(), Version(*rung))],
            events: vec![event(&bell)?],
            ..Batch::default()
        };
        let begin = Instant::now();
        let seq = ledger.append(batch).await?;
        let written = Instant::now();
        for _ in 0..READERS {
            let told = tokio::time::timeout(Duration::from_secs(60), heard.recv()).await?;
            ensure!(told == Some(seq), "{told:?} was heard, not {seq:?}");
        }
        // What the commit cost is the disk's business.
        times.push(begin.elapsed().min(written.elapsed()));
        *rung += 1;
    }
    times.sort();
    Ok(times)
}

#[tokio::main]
async fn main() -> Result<()> {
    let events: u64 = match std::env::var("FARMER_EVENTS") {
        Ok(text) => text.parse().context("FARMER_EVENTS is a number")?,
        Err(_) => 200_000,
    };
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("farmer.db");
    let store = Arc::new(SqliteStore::open(&path, SqliteOptions::default()).await?);
    let ledger = Ledger::new(store.clone(), store.clone());
    let (heard, mut listen) = mpsc::unbounded_channel();
    let token = CancellationToken::new();
    let kinds = [
        KindSet::all(),
        KindSet::of([BELL]),
        KindSet::of([BELL, TIDE]),
        KindSet::of([BELL, StreamKind::BUILD]),
        KindSet::of([BELL, StreamKind::SESSION]),
    ];
    let tasks = Supervisor::new("bench");
    let mut readers = Vec::new();
    for (n, kinds) in kinds.into_iter().enumerate() {
        let reader = Listens {
            name: ReaderName::new(format!("reader-{n}"))?,
            heard: heard.clone(),
        };
        let memos = Arc::new(LedgerMemos::new(&ledger));
        let follower = Follower::new(reader, LogFeed::new(store.clone(), kinds), memos);
        let outbox = follower.outbox();
        let running = tasks.spawn("reader", follower.run(token.clone()));
        readers.push((outbox, running));
    }
    let (mut written, mut rung) = (0, 0);
    for upto in [events / 100, events / 10, events] {
        let begin = Instant::now();
        fill(&ledger, written, upto).await?;
        let filled = begin.elapsed();
        for (outbox, _) in &readers {
            outbox.caught_up(Duration::from_secs(3600)).await?;
        }
        let followed = begin.elapsed();
        let times = wake_ups(&ledger, &mut listen, &mut rung).await?;
        let part = |percent: usize| times[(times.len() - 1) * percent / 100];
        println!(
            "wake-up of {READERS} readers behind {upto:>9} events  time: [{:?} {:?} {:?}]  \
             ({} events written in {filled:.1?}, read by all after {followed:.1?})",
            part(5),
            part(50),
            part(95),
            upto - written,
        );
        written = upto;
    }
    token.cancel();
    for (_, running) in readers {
        running.await??;
    }
    Ok(())
}
