//! Streams of somebody else's kind, folded into rows by whoever brings the kind.
//!
//! A [`Kind`] is registered with [`crate::coordinator::CoordinatorBuilder::kind`]. Its fold is
//! pure: from the row of a stream and the next event follows the next row. The farm follows the
//! log, keeps the rows beside it, in one commit with how far the log was folded, and folds
//! everything anew when the fold has another version.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use build_core::event::{Batch, KindSet, Memo, MemoKey, Recorded, Seq, StreamId, StreamKind};
use build_core::{Error, ErrorKind, Result};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::store::{EventLog, Ledger};

/// Events of a page.
const PAGE: usize = 256;
/// After an error.
const PAUSE: Duration = Duration::from_secs(10);
/// Positions without an event of the kind after which it is written down how far was looked.
const FAR: u64 = 10_000;
/// What the keys of rows begin with.
const ROWS: &str = "row/";

/// The kinds that the farm folds itself.
const OWN: [StreamKind; 4] = [
    StreamKind::BUILD,
    StreamKind::SESSION,
    StreamKind::WISH,
    StreamKind::REPO,
];

/// A kind of streams that somebody brings, with its fold.
pub trait Kind: Send + Sync + 'static {
    /// Which; a word that nobody else uses.
    fn kind(&self) -> StreamKind;

    /// Counts the changes of the fold: rows of another version are folded anew from the log.
    fn version(&self) -> u32 {
        1
    }

    /// The row of a stream after its next event, in whatever form; `None` when it has none (any
    /// more). Says the same whenever it is asked; what it does not understand changes nothing.
    ///
    /// # Errors
    /// When the row or the event makes no sense. That is told, and the row stays as it was.
    fn fold(&self, row: Option<Bytes>, event: &Recorded) -> Result<Option<Bytes>>;
}

/// How far a kind was folded, and by which version of its fold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    version: u32,
    at: Seq,
}

/// Every kind that was registered.
#[derive(Clone, Default)]
pub(crate) struct Kinds(BTreeMap<StreamKind, Registered>);

#[derive(Clone)]
struct Registered {
    kind: Arc<dyn Kind>,
    folded: watch::Sender<Seq>,
}

impl Kinds {
    /// The kinds, each of which is nobody else's.
    pub(crate) fn new(all: Vec<Arc<dyn Kind>>) -> Result<Self> {
        let mut kinds = BTreeMap::new();
        for kind in all {
            let name = kind.kind();
            let folded = watch::channel(Seq(0)).0;
            let registered = Registered { kind, folded };
            if OWN.contains(&name) || kinds.insert(name.clone(), registered).is_some() {
                let text = format!("streams of kind {name} are somebody else's");
                let error = Error::new(ErrorKind::Invalid, text);
                return Err(error.with_hint("give each kind of streams a word of its own"));
            }
        }
        Ok(Self(kinds))
    }

    /// What folds each of them, for ever.
    pub(crate) fn folding(&self, ledger: &Ledger) -> Vec<impl Future<Output = ()> + use<>> {
        let fold = |registered: &Registered| {
            let fold = Fold {
                kind: registered.kind.clone(),
                ledger: ledger.client(),
                folded: registered.folded.clone(),
            };
            fold.run()
        };
        self.0.values().map(fold).collect()
    }

    /// Returns once everything up to `at` is in the rows of a kind.
    pub(crate) async fn folded(&self, kind: &StreamKind, at: Seq) -> Result<()> {
        let Some(registered) = self.0.get(kind) else {
            let text = format!("nobody has registered streams of kind {kind}");
            return Err(Error::new(ErrorKind::NotFound, text));
        };
        let mut folded = registered.folded.subscribe();
        // Its other end lives in this registry.
        let _folded = folded.wait_for(|folded| *folded >= at).await;
        Ok(())
    }
}

/// The row of a stream, as its kind has folded it.
pub(crate) async fn row(events: &dyn EventLog, stream: &StreamId) -> Result<Option<Bytes>> {
    memo(events, &row_key(stream)?).await
}

/// The rows of all streams of a kind, in order of their names.
pub(crate) async fn rows(
    events: &dyn EventLog,
    kind: &StreamKind,
) -> Result<Vec<(StreamId, Bytes)>> {
    let memos = events.memos(&rows_key(kind)?).await?;
    let mut rows = Vec::with_capacity(memos.len());
    for memo in memos {
        let stream = memo.key.as_str().strip_prefix(ROWS).unwrap_or_default();
        if let Some(row) = memo.value {
            rows.push((stream.parse()?, row));
        }
    }
    Ok(rows)
}

fn rows_key(kind: &StreamKind) -> Result<MemoKey> {
    MemoKey::new(format!("{ROWS}{kind}/"))
}

fn row_key(stream: &StreamId) -> Result<MemoKey> {
    MemoKey::new(format!("{ROWS}{stream}"))
}

fn place_key(kind: &StreamKind) -> Result<MemoKey> {
    MemoKey::new(format!("kind/{kind}"))
}

async fn memo(events: &dyn EventLog, key: &MemoKey) -> Result<Option<Bytes>> {
    let memos = events.memos(key).await?;
    let memo = memos.into_iter().find(|memo| memo.key == *key);
    Ok(memo.and_then(|memo| memo.value))
}

struct Fold {
    kind: Arc<dyn Kind>,
    ledger: Ledger,
    folded: watch::Sender<Seq>,
}

impl Fold {
    async fn run(self) {
        let name = self.kind.kind();
        loop {
            let Err(error) = self.follow().await;
            let error = error.chain();
            tracing::warn!(kind = %name, error, "cannot fold");
            sleep(PAUSE).await;
        }
    }

    async fn follow(&self) -> Result<Infallible> {
        let kinds = KindSet::of([self.kind.kind()]);
        let events = self.ledger.events().clone();
        let mut written = self.begin().await?;
        let mut at = written;
        loop {
            let page = events.read(&kinds, at, PAGE).await?;
            let is_last = page.upto == at;
            at = page.upto;
            if !page.items.is_empty() || at.0 - written.0 >= FAR {
                let memos = self.rows(&page.items).await?;
                self.write(memos, at).await?;
                written = at;
            }
            self.folded.send_replace(at);
            if is_last {
                events.longer(at).await?;
            }
        }
    }

    /// Where to go on; rows of another version are thrown away.
    async fn begin(&self) -> Result<Seq> {
        let name = self.kind.kind();
        let events = self.ledger.events();
        let place = memo(&**events, &place_key(&name)?).await?;
        let read = |place: Bytes| {
            serde_json::from_slice::<Place>(&place).map_err(|e| {
                let text = format!("read how far {name} was folded");
                Error::caused_by(ErrorKind::Corrupt, text, e)
            })
        };
        let place = place.map(read).transpose()?;
        if let Some(place) = place.filter(|place| place.version == self.kind.version()) {
            return Ok(place.at);
        }
        let old = events.memos(&rows_key(&name)?).await?;
        let old = old.into_iter().map(|memo| Memo::removed(memo.key));
        self.write(old.collect(), Seq(0)).await?;
        Ok(Seq(0))
    }

    /// The rows that these events change.
    async fn rows(&self, items: &[Recorded]) -> Result<Vec<Memo>> {
        let events = self.ledger.events();
        let mut rows: BTreeMap<&StreamId, Option<Bytes>> = BTreeMap::new();
        for event in items {
            let before = match rows.get(&event.stream) {
                Some(row) => row.clone(),
                None => row(&**events, &event.stream).await?,
            };
            let after = self
                .kind
                .fold(before.clone(), event)
                .unwrap_or_else(|error| {
                    let (seq, error) = (event.seq.0, error.chain());
                    tracing::warn!(stream = %event.stream, seq, error, "an event is left out");
                    before
                });
            rows.insert(&event.stream, after);
        }
        let memo = |(stream, value)| {
            let key = row_key(stream)?;
            Ok(Memo { key, value })
        };
        rows.into_iter().map(memo).collect()
    }

    async fn write(&self, mut memos: Vec<Memo>, at: Seq) -> Result<()> {
        let place = Place {
            version: self.kind.version(),
            at,
        };
        let place = serde_json::to_vec(&place)
            .map_err(|e| Error::caused_by(ErrorKind::Bug, "write how far was folded", e))?;
        memos.push(Memo::set(place_key(&self.kind.kind())?, place));
        let batch = Batch {
            memos,
            ..Batch::default()
        };
        self.ledger.append(batch).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use build_core::clock::Timestamp;
    use build_core::event::{Encoded, EventKind, NewEvent, Principal, Version};

    use super::*;
    use crate::store::Store;

    /// Adds up what it hears.
    struct Tide(u32);

    impl Kind for Tide {
        fn kind(&self) -> StreamKind {
            StreamKind::known("tide")
        }

        fn version(&self) -> u32 {
            self.0
        }

        fn fold(&self, row: Option<Bytes>, event: &Recorded) -> Result<Option<Bytes>> {
            let number = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<u64>().ok();
            let before = row.as_deref().and_then(number).unwrap_or_default();
            match number(event.body.get().as_bytes()) {
                Some(0) => Ok(None),
                Some(rise) => {
                    let level = before + rise * u64::from(self.0);
                    Ok(Some(level.to_string().into()))
                }
                None => Err(Error::new(ErrorKind::Invalid, "no number")),
            }
        }
    }

    async fn rise(ledger: &Ledger, name: &str, before: u64, by: &impl Serialize) -> Seq {
        let stream: StreamId = format!("tide/{name}").parse().unwrap();
        let event = Encoded::new(EventKind::known("rose"), 1, false, by).unwrap();
        let (at, who) = (Timestamp::default(), Principal::farm());
        let event = NewEvent::encoded(stream.clone(), at, who, event);
        let batch = Batch {
            expects: vec![(stream, Version(before))],
            events: vec![event],
            ..Batch::default()
        };
        ledger.append(batch).await.unwrap()
    }

    async fn levels(ledger: &Ledger, version: u32, at: Seq) -> Vec<String> {
        let kinds = Kinds::new(vec![Arc::new(Tide(version))]).unwrap();
        let folding = futures::future::join_all(kinds.folding(ledger));
        let name = StreamKind::known("tide");
        tokio::select! {
            _ = folding => unreachable!("it follows for ever"),
            folded = kinds.folded(&name, at) => folded.unwrap(),
        }
        let rows = rows(&**ledger.events(), &name).await.unwrap();
        let shown = |(stream, row): &(StreamId, Bytes)| {
            format!("{stream} {}", String::from_utf8_lossy(row))
        };
        rows.iter().map(shown).collect()
    }

    #[tokio::test]
    async fn a_registered_fold_makes_rows_once_and_anew_when_it_has_changed() {
        let store = Store::memory();
        let ledger = store.ledger();
        rise(&ledger, "harbour", 0, &2).await;
        let at = rise(&ledger, "creek", 0, &5).await;
        let both = ["tide/creek 5", "tide/harbour 2"];
        assert_eq!(levels(&ledger, 1, at).await, both);
        // What makes no sense is left out; a row may end.
        rise(&ledger, "harbour", 1, &"high").await;
        rise(&ledger, "creek", 1, &0).await;
        let at = rise(&ledger, "harbour", 2, &3).await;
        assert_eq!(levels(&ledger, 1, at).await, ["tide/harbour 5"]);
        let again = levels(&ledger, 1, at).await;
        assert_eq!(again, ["tide/harbour 5"], "nothing is folded twice");
        assert_eq!(levels(&ledger, 10, at).await, ["tide/harbour 50"]);
        let harbour = "tide/harbour".parse().unwrap();
        let level = row(&**ledger.events(), &harbour).await.unwrap();
        assert_eq!(level.as_deref(), Some(&b"50"[..]));
    }

    #[test]
    fn a_kind_has_one_owner() {
        struct Builds;
        impl Kind for Builds {
            fn kind(&self) -> StreamKind {
                StreamKind::BUILD
            }
            fn fold(&self, row: Option<Bytes>, _: &Recorded) -> Result<Option<Bytes>> {
                Ok(row)
            }
        }
        assert!(Kinds::new(vec![Arc::new(Builds)]).is_err());
        assert!(Kinds::new(vec![Arc::new(Tide(1)), Arc::new(Tide(2))]).is_err());
    }
}
