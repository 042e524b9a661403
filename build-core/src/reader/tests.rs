use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::value::RawValue;

use super::trial::{Point, Trial};
use super::*;
use bytes::Bytes;

use crate::clock::Timestamp;
use crate::event::{Memo, MemoKey};
use crate::ids::{EffectKey, ReaderName, SinkName, Topic};
use crate::plant::Plant;

const NOW: Timestamp = Timestamp::from_seconds(1_600_000_000);

fn later(seconds: u64) -> Timestamp {
    NOW + Duration::from_secs(seconds)
}

fn effect(key: &str, topic: &str, how: How) -> Effect {
    Effect {
        key: EffectKey::new(key).unwrap(),
        topic: Topic::new(topic).unwrap(),
        how,
        to: SinkName::new("there").unwrap(),
        body: RawValue::from_string(r#"{"a":1}"#.into()).unwrap(),
        until: later(3600),
        replaces: false,
    }
}

fn replacing(key: &str, topic: &str, how: How) -> Effect {
    Effect {
        replaces: true,
        ..effect(key, topic, how)
    }
}

/// A reader with a store; commits succeed at once unless told otherwise.
struct Bench {
    machine: Machine,
    store: BTreeMap<MemoKey, Memo>,
    calls: Vec<Call>,
    takes: Vec<(usize, usize)>,
    fetches: Vec<Cursor>,
    notices: Vec<Notice>,
    wake: Option<Timestamp>,
    commits: usize,
    full: bool,
}

impl Bench {
    fn new() -> Self {
        Self::with(BTreeMap::new(), OnPoison::SetAside, NOW)
    }

    fn with(store: BTreeMap<MemoKey, Memo>, on_poison: OnPoison, now: Timestamp) -> Self {
        let memos: Vec<_> = store.values().cloned().collect();
        let name = ReaderName::new("r").unwrap();
        Self {
            machine: Machine::restore(name, on_poison, &memos, now).unwrap(),
            store,
            calls: Vec::new(),
            takes: Vec::new(),
            fetches: Vec::new(),
            notices: Vec::new(),
            wake: None,
            commits: 0,
            full: false,
        }
    }

    fn tell(&mut self, input: Input, now: Timestamp) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            for step in self.machine.handle(input, now) {
                match step {
                    Step::Fetch { after } => self.fetches.push(after),
                    Step::Take { from, to } => self.takes.push((from, to)),
                    Step::Commit { batch, .. } if self.full => {
                        let text = "disk full".into();
                        inputs.push(Input::CommitFailed { batch, text });
                    }
                    Step::Commit { batch, memos } => {
                        self.commits += 1;
                        for memo in memos {
                            match memo.value {
                                Some(_) => self.store.insert(memo.key.clone(), memo),
                                None => self.store.remove(&memo.key),
                            };
                        }
                        inputs.push(Input::Committed { batch });
                    }
                    Step::Call(call) => self.calls.push(*call),
                    Step::WakeAt(at) => self.wake = Some(at),
                    Step::Tell(notice) => self.notices.push(notice),
                }
            }
        }
    }

    /// A page of `items` after which these effects follow.
    fn page(&mut self, items: usize, effects: Vec<Effect>, now: Timestamp) {
        self.fetch(items, now);
        self.tell(Input::Taken(effects.into()), now);
    }

    fn fetch(&mut self, items: usize, now: Timestamp) {
        self.tell(Input::Changed, now);
        let after = self.fetches.pop().expect("a page is wanted").at;
        let ends: Vec<_> = (1..=items as u64).map(|n| Cursor::at(after + n)).collect();
        let page = PageEnds {
            next: ends.last().cloned().unwrap_or(Cursor::at(after)),
            ends,
            is_last: true,
            is_reset: false,
        };
        self.tell(Input::Fetched(page), now);
    }

    fn answer(&mut self, answer: Answer, now: Timestamp) -> Call {
        let call = self.calls.remove(0);
        let number = call.number;
        self.tell(
            Input::Answered {
                call: number,
                answer,
            },
            now,
        );
        call
    }

    fn again(self, now: Timestamp) -> Self {
        Self::with(self.store, OnPoison::SetAside, now)
    }

    fn keys(&self) -> Vec<&str> {
        self.store.keys().map(MemoKey::as_str).collect()
    }

    fn states(&self) -> Vec<String> {
        let entries = self.machine.entries();
        let text = |e: &Entry| format!("{} {}", e.effect.key, e.state.as_str());
        entries.map(text).collect()
    }
}

fn memo(key: &str, value: impl Into<Bytes>) -> Memo {
    Memo::set(MemoKey::new(key).unwrap(), value)
}

fn failed(in_doubt: bool) -> Answer {
    Answer::Failed {
        text: "no route".into(),
        in_doubt,
        pause: None,
    }
}

#[test]
fn cursor_and_entries_are_one_commit_and_the_call_comes_after_it() {
    let mut bench = Bench::new();
    bench.full = true;
    bench.page(3, vec![effect("a", "t", How::Token)], NOW);
    assert!(bench.calls.is_empty(), "nothing is durable");
    assert!(bench.store.is_empty());
    bench.full = false;
    bench.tell(Input::Tick, later(1));
    assert_eq!(bench.commits, 1);
    assert_eq!(bench.keys(), ["cursor/r", "outbox/r/a"]);
    assert_eq!(bench.calls.len(), 1);
    bench.answer(Answer::Made, later(2));
    assert_eq!(bench.keys(), ["cursor/r"]);
    assert!(bench.machine.is_caught_up());
}

#[test]
fn a_topic_is_made_in_order_and_others_beside_it() {
    let mut bench = Bench::new();
    let effects = vec![
        effect("a1", "a", How::Token),
        effect("a2", "a", How::Token),
        effect("b1", "b", How::Token),
    ];
    bench.page(1, effects, NOW);
    let keys: Vec<_> = bench
        .calls
        .iter()
        .map(|c| c.effect.key.to_string())
        .collect();
    assert_eq!(keys, ["a1", "b1"]);
    bench.answer(failed(false), NOW);
    bench.answer(Answer::Made, NOW);
    assert!(bench.calls.is_empty(), "a1 rests, and a2 waits for it");
    assert_eq!(bench.states(), ["a1 resting", "a2 due"]);
    bench.tell(Input::Tick, later(1));
    assert_eq!(bench.answer(Answer::Made, later(1)).attempt, 2);
    assert_eq!(
        bench.answer(Answer::Made, later(1)).effect.key.as_str(),
        "a2"
    );
}

#[test]
fn a_newer_entry_replaces_what_was_not_begun() {
    let mut bench = Bench::new();
    bench.page(
        1,
        vec![effect("1", "t", How::Token), effect("2", "t", How::Token)],
        NOW,
    );
    bench.page(1, vec![replacing("3", "t", How::Token)], NOW);
    assert_eq!(
        bench.states(),
        ["1 trying", "3 due"],
        "1 may have been made"
    );
    bench.answer(failed(true), NOW);
    assert_eq!(bench.states(), ["1 resting", "3 due"]);
    bench.tell(Input::Tick, later(1));
    assert_eq!(
        bench.states(),
        ["3 trying"],
        "it is not made again for nothing"
    );
}

#[test]
fn in_doubt_the_receiver_is_asked_first_once_it_must_have_ended() {
    let mut bench = Bench::new();
    let how = How::probe(Duration::from_secs(10));
    bench.page(1, vec![effect("a", "t", how)], NOW);
    assert_eq!(
        bench.calls[0].kind,
        CallKind::Make,
        "nobody asks the first time"
    );
    let mut bench = bench.again(later(3));
    bench.tell(Input::Changed, later(3));
    assert!(bench.calls.is_empty());
    bench.tell(Input::Tick, later(10));
    assert_eq!(bench.answer(Answer::NotMade, later(10)).kind, CallKind::Ask);
    assert_eq!(bench.answer(failed(true), later(11)).kind, CallKind::Make);
    bench.tell(Input::Tick, later(20));
    assert!(
        bench.calls.is_empty(),
        "the receiver may still be working on it"
    );
    bench.tell(Input::Tick, later(21));
    assert_eq!(bench.answer(failed(false), later(21)).kind, CallKind::Ask);
    bench.tell(Input::Tick, later(60));
    assert_eq!(bench.answer(Answer::Made, later(60)).kind, CallKind::Ask);
    assert!(bench.machine.entries().next().is_none());
}

#[test]
fn without_doubt_nobody_asks() {
    let mut bench = Bench::new();
    let how = How::probe(Duration::from_secs(10));
    bench.page(1, vec![effect("a", "t", how)], NOW);
    bench.answer(failed(false), NOW);
    bench.tell(Input::Tick, later(1));
    assert_eq!(bench.answer(Answer::Made, later(1)).kind, CallKind::Make);
}

#[test]
fn pauses_grow_and_a_receiver_may_ask_for_longer_ones() {
    let mut bench = Bench::new();
    bench.page(1, vec![effect("a", "t", How::Token)], NOW);
    let mut at = NOW;
    for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
        bench.answer(failed(false), at);
        at = at + Duration::from_secs(pause);
        assert_eq!(bench.wake, Some(at));
        bench.tell(Input::Tick, at);
    }
    let pause = Some(Duration::from_secs(1000));
    let text = "slow down".into();
    let answer = Answer::Failed {
        text,
        in_doubt: false,
        pause,
    };
    bench.answer(answer, at);
    assert_eq!(bench.wake, Some(at + Duration::from_secs(1000)));
}

#[test]
fn what_is_late_is_given_up_told_and_can_be_tried_again() {
    let mut bench = Bench::new();
    bench.page(
        1,
        vec![effect("a", "t", How::Token), effect("b", "t", How::Token)],
        NOW,
    );
    bench.answer(failed(false), NOW);
    bench.tell(Input::Tick, later(3600));
    assert_eq!(bench.states(), ["a given up", "b given up"]);
    let text = bench.notices[0].to_string();
    assert!(
        text.contains("gave up a: not made by 2020-09-13T13:26:40Z: no route"),
        "{text}"
    );
    let mut bench = bench.again(later(4000));
    let key = Some(EffectKey::new("a").unwrap());
    let until = later(9000);
    bench.tell(Input::Retry { key, until }, later(4000));
    assert_eq!(
        bench.answer(Answer::Made, later(4000)).effect.key.as_str(),
        "a"
    );
    bench.tell(
        Input::Forget {
            key: EffectKey::new("b").unwrap(),
        },
        later(4000),
    );
    assert_eq!(bench.keys(), ["cursor/r"]);
}

#[test]
fn what_is_refused_is_given_up_and_the_next_has_its_turn() {
    let mut bench = Bench::new();
    bench.page(
        1,
        vec![effect("a", "t", How::Token), effect("b", "t", How::Token)],
        NOW,
    );
    bench.answer(Answer::Refused("410 Gone".into()), NOW);
    assert_eq!(bench.states(), ["b trying", "a given up"]);
}

#[test]
fn the_same_key_is_the_same_effect() {
    let mut bench = Bench::new();
    bench.page(1, vec![effect("a", "t", How::Token)], NOW);
    bench.page(1, vec![effect("a", "t", How::Token)], NOW);
    assert_eq!(bench.states(), ["a trying"]);
    bench.answer(Answer::Made, NOW);
    assert_eq!(bench.states(), Vec::<String>::new());
}

#[test]
fn no_page_is_read_while_much_is_to_be_done() {
    let mut bench = Bench::new();
    let many = |n| effect(&format!("{n}"), "t", How::Token);
    bench.page(1, (0..OPEN_ENTRIES).map(many).collect(), NOW);
    bench.tell(Input::Changed, NOW);
    assert!(bench.fetches.is_empty());
    bench.answer(Answer::Made, NOW);
    assert_eq!(bench.fetches.len(), 1);
}

#[test]
fn calls_are_bounded() {
    let mut bench = Bench::new();
    let many = |n| effect(&format!("{n}"), &format!("t{n}"), How::Token);
    bench.page(1, (0..40).map(many).collect(), NOW);
    assert_eq!(bench.calls.len(), CALLS);
    bench.answer(Answer::Made, NOW);
    assert_eq!(bench.calls.len(), CALLS);
}

fn poison(bench: &mut Bench, item: usize, failure: &TakeFailure, at: &mut Timestamp) {
    while let Some((from, to)) = bench.takes.pop() {
        let input = match (from..to).contains(&item) {
            true => Input::TakeFailed(failure.clone()),
            false => Input::Taken(vec![effect(&format!("{from}"), "t", How::Token)].into()),
        };
        bench.tell(input, *at);
        *at = *at + Duration::from_secs(60);
        bench.tell(Input::Tick, *at);
    }
}

#[test]
fn halving_finds_the_item_and_sets_it_aside() {
    for failure in [
        TakeFailure::Failed("odd".into()),
        TakeFailure::Panicked("odd".into()),
    ] {
        let mut bench = Bench::new();
        bench.fetch(100, NOW);
        let mut at = NOW;
        poison(&mut bench, 37, &failure, &mut at);
        let Notice::SetAside { behind, text } = &bench.notices[0] else {
            panic!("{:?}", bench.notices)
        };
        assert_eq!(behind.at, 38);
        assert!(text.ends_with("odd"));
        assert_eq!(bench.machine.place().cursor.at, 100);
        assert!(bench.keys().contains(&"aside/r/1"));
    }
}

#[test]
fn a_reader_that_may_not_skip_stops_there_until_somebody_decides() {
    let mut bench = Bench::with(BTreeMap::new(), OnPoison::Stop, NOW);
    bench.fetch(10, NOW);
    let mut at = NOW;
    poison(&mut bench, 6, &TakeFailure::Failed("odd".into()), &mut at);
    assert!(matches!(&bench.notices[..], [Notice::Stopped { .. }]));
    assert_eq!(bench.machine.place().cursor.at, 6);
    let mut bench = Bench::with(bench.store, OnPoison::Stop, at);
    bench.tell(Input::Changed, at);
    assert!(bench.fetches.is_empty());
    bench.tell(
        Input::Retry {
            key: None,
            until: at,
        },
        at,
    );
    assert_eq!(bench.fetches, [Cursor::at(6)]);
}

#[test]
fn what_is_not_there_at_present_is_nobodys_poison() {
    let mut bench = Bench::new();
    bench.fetch(10, NOW);
    let mut at = NOW;
    for _ in 0..20 {
        assert_eq!(bench.takes.pop(), Some((0, 10)));
        bench.tell(Input::TakeFailed(TakeFailure::NotNow("away".into())), at);
        at = at + Duration::from_secs(60);
        bench.tell(Input::Tick, at);
    }
    assert_eq!(bench.notices.len(), 1);
}

#[test]
fn a_cursor_without_effects_is_written_now_and_then() {
    let mut bench = Bench::new();
    for n in 0..50 {
        bench.page(256, Vec::new(), later(n));
    }
    assert_eq!(bench.commits, 0, "a wake-up costs no commit");
    assert_eq!(bench.wake, Some(later(60)));
    bench.tell(Input::Tick, later(60));
    assert_eq!(bench.commits, 1);
    assert!(bench.machine.is_caught_up());
    bench.page(1, Vec::new(), later(61));
    bench.tell(Input::Stop, later(62));
    assert_eq!(bench.commits, 2, "and at the end");
    assert!(bench.machine.is_idle());
}

#[test]
fn cursors_that_stand_for_a_month_are_parked_once() {
    let mut place = Place::new(NOW);
    let month = NOW + PARK_AFTER;
    assert!(!place.park(0, month), "there is nothing to read");
    assert!(!place.park(7, month - Duration::from_secs(1)));
    assert!(place.park(7, month));
    assert!(!place.park(7, month));
    let memo = memo("cursor/r", Kept::Place(place).encode());
    let mut bench = Bench::with(
        BTreeMap::from([(memo.key.clone(), memo)]),
        OnPoison::Stop,
        month,
    );
    bench.tell(Input::Changed, month);
    assert!(!bench.machine.place().parked, "it reads on");
}

#[test]
fn memos_of_another_version_are_left_alone() {
    let name = ReaderName::new("r").unwrap();
    let restore = |value: &[u8]| {
        let memos = [memo("cursor/r", value.to_vec())];
        Machine::restore(name.clone(), OnPoison::Stop, &memos, NOW)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        restore(br#"{"v":2,"is":{}}"#),
        "the memo cursor/r has format 2, not 1"
    );
    assert_eq!(restore(b"{"), "read the memo cursor/r");
}

/// The memos of version 1, as they must stay readable.
#[test]
fn golden_memos() {
    let place =
        br#"{"v":1,"is":{"cursor":{"at":7},"next":3,"moved":1600000000000000,"set_aside":0}}"#;
    let entry = br#"{"v":1,"is":{"nth":2,"state":{"trying":{"since":1600000000000000}},"attempts":1,"effect":{"key":"a/b","topic":"t","how":{"probe":{"settle_us":5000000}},"to":"mail","body":{"x": 1},"until":1600003600000000}}}"#;
    let aside =
        br#"{"v":1,"is":{"behind":{"feed":"f","at":9},"at":1600000000000000,"text":"odd"}}"#;
    for (key, value) in [
        ("cursor/r", &place[..]),
        ("outbox/r/a/b", entry),
        ("aside/r/1", aside),
    ] {
        let memo = Kept::decode(&memo(key, value.to_vec())).unwrap().unwrap();
        assert_eq!(
            String::from_utf8_lossy(&memo.encode()),
            String::from_utf8_lossy(value)
        );
    }
}

#[test]
fn everything_holds_wherever_the_process_dies() {
    for seed in [1, 2, 3] {
        let trial = Trial::seed(seed).facts(25);
        let instants = trial.crash_at(0).check().unwrap().instants;
        assert!(instants > 50);
        for nth in 1..=instants {
            trial.crash_at(nth).check().unwrap();
        }
    }
}

/// How many seeds are tried: `FARMER_SEEDS`, else some that take seconds.
fn seeds() -> u64 {
    let wanted = std::env::var("FARMER_SEEDS").ok();
    wanted.and_then(|n| n.parse().ok()).unwrap_or(400)
}

#[test]
fn everything_holds_under_many_seeds() {
    let mut crashes: BTreeMap<Point, u32> = BTreeMap::new();
    // The first is one in which a feed that began anew made an effect superfluous that was not.
    for seed in std::iter::once(804).chain(0..seeds()) {
        let report = Trial::seed(seed).check().unwrap();
        for (point, count) in report.crashes {
            *crashes.entry(point).or_default() += count;
        }
    }
    for point in Point::ALL {
        assert!(
            crashes.contains_key(&point),
            "never died after {point:?}: {crashes:?}"
        );
    }
}

#[test]
fn a_seed_tells_the_same_story_twice() {
    let story = || Trial::seed(7).check().unwrap().to_string();
    assert_eq!(story(), story());
}

fn found(plant: Plant) -> String {
    let violation = (0..1_000).find_map(|seed| Trial::seed(seed).plant(plant).check().err());
    violation
        .expect("found within a thousand seeds")
        .to_string()
}

#[test]
fn a_cursor_that_is_saved_before_the_effect_is_found() {
    let text = found(Plant::CursorFirst);
    assert!(text.ends_with("was lost"), "{text}");
}

#[test]
fn an_effect_before_its_event_is_found() {
    let text = found(Plant::EffectFirst);
    assert!(
        text.contains(" was made ") && text.ends_with(" times"),
        "{text}"
    );
}

#[test]
fn a_reader_that_never_asks_is_found() {
    let text = found(Plant::NeverAsks);
    assert!(
        text.contains(" was made ") && text.ends_with(" times"),
        "{text}"
    );
}
