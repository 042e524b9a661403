//! A kind of streams that is not the coordinator's: several count in one stream, and each writes
//! the number that follows the last one it has seen.

use build_core::event::{Batch, Encoded, EventKind, NewEvent, Principal, StreamId, Version};
use build_core::{Error, ErrorKind};

use super::happenings::Happening;
use super::world::{Held, World};

/// How many streams there are, and how many count in each.
pub(super) const TALLIES: u64 = 2;
pub(super) const COUNTERS: u64 = 3;
/// Longest pause between two numbers of somebody, in milliseconds.
const PAUSE: u64 = 10 * 60 * 1000;

fn stream(tally: u64) -> StreamId {
    let name = format!("tally/t{tally}");
    name.parse().expect("a kind and a plain word")
}

impl World {
    pub(super) fn look_at_tally(&mut self, tally: u64) {
        if !self.is_busy() {
            return;
        }
        let seen = self.log.head(&stream(tally)).version;
        // Long enough for the others to be first now and then.
        let after = self.between(0, 60_000);
        self.plan(after, Happening::WriteTally { tally, seen });
    }

    /// Writes the next number; when somebody was first, it is looked at again.
    pub(super) fn write_tally(&mut self, tally: u64, seen: Version) -> Held {
        let stream = stream(tally);
        let number = seen.next().0;
        let at = self.now();
        let event = Encoded::new(EventKind::known("counted"), 1, false, &number)
            .map(|event| NewEvent::encoded(stream.clone(), at, Principal::person("ann"), event));
        let batch = event.map(|event| Batch {
            expects: vec![(stream, seen)],
            events: vec![event],
            ..Batch::default()
        });
        let written = batch.and_then(|batch| self.log.append(batch));
        let conflict = |error: &Error| error.kind() == ErrorKind::Conflict;
        match written {
            Ok(events) => {
                let all_follow = events.iter().all(|event| event.version.0 == number);
                if !all_follow {
                    return Err(format!("two of those who count wrote {number}"));
                }
                self.wake_reader();
            }
            Err(error) if conflict(&error) => {}
            Err(error) => return Err(error.to_string()),
        }
        let after = self.between(1, PAUSE);
        self.plan(after, Happening::LookAtTally(tally));
        Ok(())
    }
}
