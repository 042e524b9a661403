//! A reader of the log: how each build ended is told once, whatever happens to the process, and
//! whoever is told keeps a record of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use build_core::clock::Timestamp;
use build_core::event::{Batch, BuildEvent, Memo, Recorded, Seq, StreamId};
use build_core::ids::{BuildId, EffectKey, ReaderName, SinkName, Topic};
use build_core::reader::{
    Answer, Call, CallKind, Cursor, Effect, How, Input, Machine, OnPoison, PageEnds, Step, Taken,
};
use build_core::rerun::rerun_of;
use build_core::wish::Wish;
use serde_json::value::{RawValue, to_raw_value};

use super::faults::Faults;
use super::happenings::Happening;
use super::rng::Rng;
use super::workload;
use super::world::{Held, World};

/// Items of a page: few, so that there are many.
const PAGE: usize = 16;
/// Nothing is given up in a simulation.
const PATIENCE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Where the effects go that run builds again.
const AGAIN: &str = "again";

/// What a reader does, in the process that does it.
pub(super) enum Reading {
    Changed,
    Fetch(Cursor),
    Take { from: usize, to: usize },
    Commit { batch: u64, memos: Vec<Memo> },
    Call(Box<Call>),
    Look { call: u64, stream: StreamId },
    Answer { call: u64, answer: Answer },
    Tick { nth: u64 },
}

/// Whoever is told.
pub(super) struct Hearer {
    rng: Rng,
    /// Effects as they came, with the positions of the events that they tell.
    record: Vec<(EffectKey, Seq)>,
    tokens: BTreeSet<EffectKey>,
}

/// The reader of one process.
pub(super) struct Reader {
    pub(super) machine: Machine,
    page: Vec<Recorded>,
    wake: u64,
}

impl Hearer {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            // Numbers of its own: without a reader the story of a seed is the same.
            rng: Rng::new(!seed),
            record: Vec::new(),
            tokens: BTreeSet::new(),
        }
    }

    fn land(&mut self, effect: &Effect) {
        if effect.how == How::Token && !self.tokens.insert(effect.key.clone()) {
            return;
        }
        let at = effect.body.get().parse().unwrap_or_default();
        self.record.push((effect.key.clone(), Seq(at)));
    }

    fn shows(&self, key: &EffectKey) -> bool {
        self.record.iter().any(|(told, _)| told == key)
    }
}

/// What follows from an event.
fn effect(event: &Recorded) -> Option<Effect> {
    let Some(BuildEvent::Finished { .. }) = event.read() else {
        return None;
    };
    let build = event.stream.build()?;
    let sum: u32 = build.as_str().bytes().map(u32::from).sum();
    Some(Effect {
        key: EffectKey::new(build.as_str()).ok()?,
        topic: Topic::new(format!("t{}", sum % 5)).ok()?,
        how: match sum % 3 {
            0 => How::probe(Duration::ZERO),
            1 => How::Token,
            _ => How::AtLeastOnce,
        },
        to: SinkName::new("told").ok()?,
        body: RawValue::from_string(event.seq.0.to_string()).ok()?,
        until: event.at + PATIENCE,
        replaces: false,
    })
}

/// Another run of a build.
fn again_effect(build: &BuildId) -> Option<Effect> {
    let key = format!("again {build}");
    Some(Effect {
        topic: Topic::new(&key).ok()?,
        key: EffectKey::new(key).ok()?,
        how: How::Token,
        to: SinkName::new(AGAIN).ok()?,
        body: to_raw_value(build).ok()?,
        until: Timestamp::from_micros(i64::MAX),
        replaces: false,
    })
}

impl World {
    /// The reader of a process that begins, with what it kept.
    pub(super) fn new_reader(&self) -> Held<Reader> {
        let name = ReaderName::new("told").expect("a plain word");
        let memos = self.log.memos();
        let machine = Machine::restore(name, OnPoison::Stop, &memos, self.now());
        let mut machine = machine.map_err(|error| error.to_string())?;
        machine.plant(self.plant);
        Ok(Reader {
            machine,
            page: Vec::new(),
            wake: 0,
        })
    }

    /// The log has grown.
    pub(super) fn wake_reader(&mut self) {
        let after = self.told.rng.below(0..500);
        self.plan_reading(after, Reading::Changed);
    }

    fn plan_reading(&mut self, after_ms: u64, reading: Reading) {
        let epoch = self.epoch;
        let after = Duration::from_millis(after_ms);
        self.plan(after, Happening::Reading { epoch, reading });
    }

    /// The process dies here, now and then.
    fn reader_dies(&mut self) -> bool {
        let dies = self.faults.contains(Faults::CRASH) && self.told.rng.chance(4);
        if dies && self.coordinator.is_some() {
            self.crash();
        }
        dies
    }

    fn tell_reader(&mut self, input: Input) {
        let now = self.now();
        let Some(coordinator) = &mut self.coordinator else {
            return;
        };
        let steps = coordinator.reader.machine.handle(input, now);
        for step in steps {
            let after = self.told.rng.below(0..50);
            match step {
                Step::Fetch { after: at } => self.plan_reading(after, Reading::Fetch(at)),
                Step::Take { from, to } => self.plan_reading(after, Reading::Take { from, to }),
                Step::Commit { batch, memos } => {
                    self.plan_reading(after, Reading::Commit { batch, memos });
                }
                Step::Call(call) => self.plan_reading(after, Reading::Call(call)),
                Step::WakeAt(at) => {
                    let wait = at.since(now).as_millis() as u64 + 1;
                    if let Some(coordinator) = &mut self.coordinator {
                        coordinator.reader.wake += 1;
                        let nth = coordinator.reader.wake;
                        self.plan_reading(wait, Reading::Tick { nth });
                    }
                }
                _ => {}
            }
        }
    }

    /// One step of the reader; before and after it the process may die.
    pub(super) fn read(&mut self, reading: Reading) -> Held {
        if self.coordinator.is_none() || self.reader_dies() {
            return Ok(());
        }
        match reading {
            Reading::Changed => self.tell_reader(Input::Changed),
            Reading::Fetch(at) => self.fetch(&at)?,
            Reading::Take { from, to } => self.take(from, to),
            Reading::Commit { batch, memos } => self.commit_memos(batch, memos)?,
            Reading::Call(call) if call.effect.to.as_str() == AGAIN => self.call_again(&call)?,
            Reading::Call(call) => self.call_told(&call),
            Reading::Look { call, stream } => self.look(call, &stream),
            Reading::Answer { call, answer } => self.tell_reader(Input::Answered { call, answer }),
            Reading::Tick { nth } => {
                let wake = self.coordinator.as_ref().map(|c| c.reader.wake);
                if wake == Some(nth) {
                    self.tell_reader(Input::Tick);
                }
            }
        }
        self.reader_dies();
        Ok(())
    }

    fn fetch(&mut self, at: &Cursor) -> Held {
        let page = self.log.read(Seq(at.at), PAGE);
        let end = page.last().map_or(at.at, |event| event.seq.0);
        let ends = PageEnds {
            ends: page.iter().map(|event| Cursor::at(event.seq.0)).collect(),
            next: Cursor::at(end),
            is_last: end == self.log.written().len() as u64,
            is_reset: false,
        };
        if let Some(coordinator) = &mut self.coordinator {
            coordinator.reader.page = page;
        }
        self.tell_reader(Input::Fetched(ends));
        Ok(())
    }

    fn take(&mut self, from: usize, to: usize) {
        let Some(coordinator) = &self.coordinator else {
            return;
        };
        let items = coordinator.reader.page.get(from..to).unwrap_or_default();
        let mut effects: Vec<Effect> = items.iter().filter_map(effect).collect();
        let ended = items.iter().filter(|event| effect(event).is_some());
        let builds = ended.filter_map(|event| event.stream.build());
        let again = builds.filter(|build| self.rerun_of(build).is_some());
        effects.extend(again.filter_map(again_effect));
        self.tell_reader(Input::Taken(Taken::from(effects)));
    }

    /// The wish to run a build again, if its tests failed and it is worth it.
    pub(super) fn rerun_of(&self, build: &BuildId) -> Option<Wish> {
        let wish = rerun_of(&self.log.of_stream(&build.into())).ok()??;
        workload::is_worth_a_rerun(self.seed, &build.into()).then_some(wish)
    }

    /// Asks for another run, as whoever knows the key of the wish does.
    fn call_again(&mut self, call: &Call) -> Held {
        let build: BuildId = serde_json::from_str(call.effect.body.get())
            .map_err(|error| format!("an effect was damaged: {error}"))?;
        let Some(wish) = self.rerun_of(&build) else {
            return Err(format!("{build} is run again, and is not worth it"));
        };
        let stream = StreamId::from(wish.key);
        if self.log.head(&stream).version.0 == 0 {
            let drawn = vec![BuildId::from_bits(self.told.rng.bits())];
            let wish = Box::new(wish);
            self.tell(build_core::dispatch::Input::Ask { wish, drawn })?;
        }
        let after = self.told.rng.below(1..2_000);
        let call = call.number;
        self.plan_reading(after, Reading::Look { call, stream });
        Ok(())
    }

    /// Whether what was asked for is in the log by now.
    fn look(&mut self, call: u64, stream: &StreamId) {
        let answer = match self.log.head(stream).version.0 {
            0 => Answer::Failed {
                text: "it is not recorded yet".into(),
                in_doubt: true,
                pause: None,
            },
            _ => Answer::Made,
        };
        self.tell_reader(Input::Answered { call, answer });
    }

    fn commit_memos(&mut self, batch: u64, memos: Vec<Memo>) -> Held {
        let fails = self.faults.contains(Faults::APPEND) && self.told.rng.chance(10);
        if fails || self.disk_full_until > self.time {
            let text = "no space left on device".into();
            self.tell_reader(Input::CommitFailed { batch, text });
            return Ok(());
        }
        let written = self.log.append(Batch {
            memos,
            ..Batch::default()
        });
        written.map_err(|error| error.to_string())?;
        if !self.reader_dies() {
            self.tell_reader(Input::Committed { batch });
        }
        Ok(())
    }

    fn call_told(&mut self, call: &Call) {
        let failed = |in_doubt| Answer::Failed {
            text: "the line is busy".into(),
            in_doubt,
            pause: None,
        };
        let is_made = self.told.shows(&call.effect.key);
        let is_lost = self.faults.contains(Faults::LOST_REPLY);
        let answer = match call.kind {
            CallKind::Ask if is_made => Answer::Made,
            CallKind::Ask => Answer::NotMade,
            CallKind::Make if is_lost && self.told.rng.chance(30) => failed(false),
            CallKind::Make => {
                self.told.land(&call.effect);
                match is_lost && self.told.rng.chance(30) {
                    true => failed(true),
                    false => Answer::Made,
                }
            }
        };
        let after = self.told.rng.below(1..2_000);
        let call = call.number;
        self.plan_reading(after, Reading::Answer { call, answer });
    }

    /// Whether the reader of the process has come to the end of the log.
    pub(super) fn is_read(&self) -> bool {
        let end = self.log.written().len() as u64;
        let place = self.coordinator.as_ref().map(|c| c.reader.machine.place());
        place.is_some_and(|place| place.cursor.at == end)
    }

    /// Whoever is told has heard of each end once, in order.
    pub(super) fn check_told(&self) -> Held {
        let mut counts: BTreeMap<&EffectKey, usize> = BTreeMap::new();
        for (key, _) in &self.told.record {
            *counts.entry(key).or_default() += 1;
        }
        let mut topics: BTreeMap<EffectKey, Topic> = BTreeMap::new();
        for event in self.log.written() {
            let Some(effect) = effect(event) else {
                continue;
            };
            let count = counts.get(&effect.key).copied().unwrap_or_default();
            let is_right = match effect.how {
                How::AtLeastOnce => count > 0,
                _ => count == 1,
            };
            if !is_right {
                let key = &effect.key;
                return Err(format!("the end of {key} was told {count} times"));
            }
            topics.insert(effect.key, effect.topic);
        }
        let mut last: BTreeMap<&Topic, Seq> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for (key, at) in &self.told.record {
            let topic = topics
                .get(key)
                .ok_or(format!("{key} was told and did not end"))?;
            if !seen.insert(key) {
                continue;
            }
            if last.insert(topic, *at).is_some_and(|before| before > *at) {
                return Err(format!("the end of {key} was overtaken"));
            }
        }
        Ok(())
    }
}
