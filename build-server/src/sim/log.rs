//! The log: numbered and packed by the code of every log, kept in memory.

use std::collections::{BTreeMap, HashMap};

use build_core::clock::Timestamp;
use build_core::event::{
    Batch, Memo, MemoKey, Numbering, Packer, Recorded, Seq, StreamHead, StreamId, StreamKind,
};
use build_core::plant::Plant;

use super::world::Held;

pub(super) struct SimLog {
    heads: HashMap<StreamId, StreamHead>,
    memos: BTreeMap<MemoKey, Memo>,
    packs: Vec<Vec<u8>>,
    events: Vec<Recorded>,
    /// Everything that was ever written, beside the log: what it must say.
    written: Vec<Recorded>,
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
            packs: Vec::new(),
            events: Vec::new(),
            written: Vec::new(),
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
        self.events.extend(admitted.events.iter().cloned());
        self.written.extend(admitted.events.iter().cloned());
        Ok(admitted.events)
    }

    pub(super) fn head(&self, stream: &StreamId) -> StreamHead {
        self.heads.get(stream).copied().unwrap_or_default()
    }

    pub(super) fn memos(&self) -> Vec<Memo> {
        self.memos.values().cloned().collect()
    }

    /// Everything that was ever written, whatever the log says of it by now.
    pub(super) fn written(&self) -> &[Recorded] {
        &self.written
    }

    pub(super) fn into_written(self) -> Vec<Recorded> {
        self.written
    }

    /// The events of open builds and sessions, as a start reads them.
    pub(super) fn read_open(&self) -> Held<Vec<Recorded>> {
        let kinds = [StreamKind::BUILD, StreamKind::SESSION, StreamKind::WISH];
        let is_open = |event: &Recorded| {
            kinds.contains(&event.stream.kind()) && self.head(&event.stream).is_open
        };
        let mut found = Vec::new();
        for pack in &self.packs {
            found.extend(self.unfold(pack)?);
        }
        found.extend(self.events.iter().cloned());
        found.retain(is_open);
        Ok(found)
    }

    /// At most `limit` events behind `after`, packed or not.
    pub(super) fn read(&self, after: Seq, limit: usize) -> Held<Vec<Recorded>> {
        let packed = self.written.len() - self.events.len();
        let after_packs = usize::try_from(after.0)
            .ok()
            .and_then(|after| after.checked_sub(packed));
        if let Some(from) = after_packs {
            return Ok(self.events.iter().skip(from).take(limit).cloned().collect());
        }
        let mut found = Vec::new();
        for pack in &self.packs {
            found.extend(self.unfold(pack)?);
        }
        found.extend(self.events.iter().cloned());
        found.retain(|event| event.seq > after);
        found.truncate(limit);
        Ok(found)
    }

    fn unfold(&self, pack: &[u8]) -> Held<Vec<Recorded>> {
        let events = self.packer.unfold(pack);
        events.map_err(|error| format!("a pack is damaged: {error}"))
    }

    /// Packs what is older than `before`: the pack must say what was written.
    pub(super) fn pack(&mut self, before: Timestamp) -> Held {
        let begin = self.written.len() - self.events.len();
        let count = self.packer.count(&self.events, before);
        if count == 0 {
            return Ok(());
        }
        let pack = self.packer.squeeze(&self.events[..count]);
        let pack = pack.map_err(|error| error.to_string())?;
        if self.unfold(&pack)? != self.written[begin..begin + count] {
            return Err("an event was lost by packing".into());
        }
        self.events.drain(..count);
        self.packs.push(pack);
        Ok(())
    }
}
