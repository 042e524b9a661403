//! The log: numbered and packed by the code of every log, kept in memory.
//!
//! Events are kept as they were read once. A pack is unfolded when it is made and must say what was
//! written; so the events of packs are not unfolded again at each start.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use build_core::clock::Timestamp;
use build_core::event::{
    Batch, Memo, MemoKey, Numbering, PACK_EVENTS, Packer, Recorded, Seq, StreamHead, StreamId,
};
use build_core::plant::Plant;

use super::world::Held;

pub(super) struct SimLog {
    heads: HashMap<StreamId, StreamHead>,
    memos: BTreeMap<MemoKey, Memo>,
    /// Everything that was ever written, in order.
    written: Vec<Recorded>,
    /// Where the events of each stream stand in it.
    streams: HashMap<StreamId, Vec<usize>>,
    open: BTreeSet<StreamId>,
    packed: usize,
    packer: Packer,
    plant: Option<Plant>,
}

impl SimLog {
    pub(super) fn new(plant: Option<Plant>) -> Self {
        let mut packer = Packer::default();
        packer.plant(plant);
        Self {
            heads: HashMap::new(),
            memos: BTreeMap::new(),
            written: Vec::new(),
            streams: HashMap::new(),
            open: BTreeSet::new(),
            packed: 0,
            packer,
            plant,
        }
    }

    /// Writes a batch, or says why it may not be written.
    pub(super) fn append(&mut self, batch: Batch) -> build_core::Result<Vec<Recorded>> {
        let head = Seq(self.written.len() as u64);
        let mut numbering = Numbering::new(head, std::mem::take(&mut self.heads));
        numbering.plant(self.plant);
        let admitted = numbering.admit(batch);
        self.heads = numbering.into_heads();
        let admitted = admitted?;
        for memo in admitted.memos {
            match memo.value {
                Some(_) => drop(self.memos.insert(memo.key.clone(), memo)),
                None => drop(self.memos.remove(&memo.key)),
            }
        }
        for event in &admitted.events {
            let stream = &event.stream;
            match self.head(stream).is_open {
                true => drop(self.open.insert(stream.clone())),
                false => drop(self.open.remove(stream)),
            }
            let places = self.streams.entry(stream.clone()).or_default();
            places.push(self.written.len());
            self.written.push(event.clone());
        }
        Ok(admitted.events)
    }

    pub(super) fn head(&self, stream: &StreamId) -> StreamHead {
        self.heads.get(stream).copied().unwrap_or_default()
    }

    pub(super) fn memos(&self) -> Vec<Memo> {
        self.memos.values().cloned().collect()
    }

    /// Everything that was ever written.
    pub(super) fn written(&self) -> &[Recorded] {
        &self.written
    }

    pub(super) fn into_written(self) -> Vec<Recorded> {
        self.written
    }

    /// The events of one stream.
    pub(super) fn of_stream(&self, stream: &StreamId) -> Vec<Recorded> {
        let places = self.streams.get(stream).into_iter().flatten();
        places.map(|place| self.written[*place].clone()).collect()
    }

    /// The events of open builds, sessions and wishes, as a start reads them.
    pub(super) fn read_open(&self) -> Vec<Recorded> {
        let is_own = |stream: &&StreamId| {
            matches!(
                stream,
                StreamId::Build(_) | StreamId::Session(_) | StreamId::Wish(_)
            )
        };
        let streams = self.open.iter().filter(is_own);
        let places = streams.filter_map(|stream| self.streams.get(stream));
        let mut places: Vec<usize> = places.flatten().copied().collect();
        places.sort_unstable();
        let events = places.into_iter();
        events.map(|place| self.written[place].clone()).collect()
    }

    /// At most `limit` events behind `after`, packed or not.
    pub(super) fn read(&self, after: Seq, limit: usize) -> Vec<Recorded> {
        let after = usize::try_from(after.0).unwrap_or(usize::MAX);
        let behind = self.written.iter().skip(after);
        behind.take(limit).cloned().collect()
    }

    /// Packs what is older than `before`: the pack must say what was written.
    pub(super) fn pack(&mut self, before: Timestamp) -> Held {
        let rest = &self.written[self.packed..];
        let rest = &rest[..rest.len().min(PACK_EVENTS)];
        let count = self.packer.count(rest, before);
        if count == 0 {
            return Ok(());
        }
        let pack = self.packer.squeeze(&rest[..count]);
        let pack = pack.map_err(|error| error.to_string())?;
        let unfolded = self.packer.unfold(&pack);
        let unfolded = unfolded.map_err(|error| format!("a pack is damaged: {error}"))?;
        if unfolded != rest[..count] {
            return Err("an event was lost by packing".into());
        }
        self.packed += count;
        Ok(())
    }
}
