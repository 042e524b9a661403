//! Old events made small: a range of the log, compressed, with bodies as they were written.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;

use super::recorded::Recorded;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};

/// Events in one pack: the more, the smaller each gets and the longer one takes to read.
pub const PACK_EVENTS: usize = 4096;
/// Bytes of bodies from which on a pack is full: reading one stays a matter of milliseconds.
const PACK_BYTES: usize = 1 << 20;

/// Packs events, and says which.
#[derive(Clone, Copy, Debug, Default)]
pub struct Packer {
    #[cfg(any(test, feature = "testing"))]
    plant: Option<crate::plant::Plant>,
}

impl Packer {
    /// How many of `events`, the oldest of a log in order, make the next pack: those up to the
    /// last one of before `before`, as far as one pack takes them. A clock that was set leaves
    /// nothing behind: what stands before an old event is old too.
    pub fn count(&self, events: &[Recorded], before: Timestamp) -> usize {
        let old = events.iter().rposition(|event| event.at < before);
        let old = old.map_or(0, |last| last + 1).min(PACK_EVENTS);
        let mut bytes = 0;
        let full = events[..old].iter().position(|event| {
            bytes += event.body.get().len();
            bytes >= PACK_BYTES
        });
        full.map_or(old, |last| last + 1)
    }

    /// Makes events small.
    ///
    /// # Errors
    /// [`ErrorKind::Bug`] when an event has no form in JSON.
    pub fn squeeze(&self, events: &[Recorded]) -> Result<Vec<u8>> {
        let mut packer = ZlibEncoder::new(Vec::new(), Compression::default());
        for event in &events[..self.kept(events.len())] {
            let line = serde_json::to_string(event)
                .map_err(|e| Error::caused_by(ErrorKind::Bug, "pack an event", e))?;
            packer.write_all(line.as_bytes())?;
            packer.write_all(b"\n")?;
        }
        Ok(packer.finish()?)
    }

    /// The events of a pack, as they were.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when it is damaged.
    pub fn unfold(&self, pack: &[u8]) -> Result<Vec<Recorded>> {
        let mut text = String::new();
        let read = ZlibDecoder::new(pack).read_to_string(&mut text);
        read.map_err(|e| Error::caused_by(ErrorKind::Corrupt, "read packed events", e))?;
        // Not by lines: a body may have been written with line ends in it.
        let events = serde_json::Deserializer::from_str(&text).into_iter();
        let damaged = |e| Error::caused_by(ErrorKind::Corrupt, "read packed events", e);
        events.map(|event| event.map_err(damaged)).collect()
    }

    /// Plants a bug, so that a test can show that it is found.
    #[cfg(any(test, feature = "testing"))]
    pub fn plant(&mut self, plant: Option<crate::plant::Plant>) {
        self.plant = plant;
    }

    #[cfg(any(test, feature = "testing"))]
    fn kept(&self, count: usize) -> usize {
        match self.plant {
            Some(crate::plant::Plant::LossyPack) => count.saturating_sub(1),
            _ => count,
        }
    }

    #[cfg(not(any(test, feature = "testing")))]
    #[expect(clippy::unused_self, reason = "a bug can be planted in tests only")]
    fn kept(&self, count: usize) -> usize {
        count
    }
}

/// Entry point of the fuzz target: any bytes as a pack, and as the events of one.
#[cfg(any(test, feature = "testing"))]
pub fn fuzz_pack(data: &[u8]) {
    let packer = Packer::default();
    let _read_or_refused = packer.unfold(data);
    let events: Vec<Recorded> = serde_json::Deserializer::from_slice(data)
        .into_iter()
        .map_while(std::result::Result::ok)
        .collect();
    for event in &events {
        let _known_or_foreign = (
            event.read::<super::BuildEvent>(),
            event.read::<super::SessionEvent>(),
            event.read::<super::WishEvent>(),
        );
    }
    let pack = packer.squeeze(&events).expect("what was read is written");
    let again = packer.unfold(&pack).expect("a pack that was made is read");
    assert_eq!(again.len(), events.len());
    for (again, event) in again.iter().zip(&events) {
        assert_eq!(again.body.get(), event.body.get());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;
    use crate::event::{EventKind, Principal, Seq, Version};

    fn event(seq: u64, second: i64, body: &str) -> Recorded {
        Recorded {
            seq: Seq(seq),
            stream: "build/B000000001".parse().unwrap(),
            version: Version(seq),
            at: Timestamp::from_seconds(second),
            by: Principal::farm(),
            kind: EventKind::new("finished").unwrap(),
            v: 7,
            must: true,
            body: RawValue::from_string(body.to_owned()).unwrap(),
        }
    }

    #[test]
    fn packing_keeps_fields_kinds_and_layout_that_nobody_here_knows() {
        let odd = [
            event(
                1,
                1,
                r#"{"outcome":"passed","certified":{"by":[1.50,1e400]}}"#,
            ),
            event(2, 1, "{ \"spaced\" :\n 1 }"),
            event(3, 1, r#"{"twice":1,"twice":2}"#),
        ];
        let packer = Packer::default();
        let pack = packer.squeeze(&odd).unwrap();
        assert_eq!(packer.unfold(&pack).unwrap(), odd);
        assert!(packer.unfold(&pack[..pack.len() / 2]).is_err());
    }

    #[test]
    fn what_stands_before_an_old_event_is_packed_with_it() {
        let second = [1, 900, 2, 901].map(|second| event(1, second, "{}"));
        let before = Timestamp::from_seconds(500);
        assert_eq!(Packer::default().count(&second, before), 3);
        assert_eq!(Packer::default().count(&second[3..], before), 0);
        let large = format!("{:?}", "x".repeat(PACK_BYTES / 2));
        let large = [1, 1, 1].map(|second| event(1, second, &large));
        assert_eq!(Packer::default().count(&large, before), 2);
    }

    #[test]
    fn whatever_was_committed_as_an_input_of_the_fuzz_target_is_read() {
        fuzz_pack(include_bytes!("../../fuzz/corpus/pack/event"));
        fuzz_pack(b"");
        fuzz_pack(b"{");
    }
}
