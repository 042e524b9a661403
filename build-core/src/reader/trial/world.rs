//! Time, the feed, the store, the process, and what goes wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use super::facts::{Fact, SETTLE, effects_of};
use super::receiver::Receivers;
use super::rng::Rng;
use super::{Point, Report, Trial};
use crate::clock::Timestamp;
use crate::event::{Memo, MemoKey};
use crate::ids::ReaderName;
use crate::reader::{
    Answer, Call, CallKind, Cursor, Effect, Input, Machine, OnPoison, PageEnds, Step, TakeFailure,
    Taken,
};

const DAY: i64 = 24 * 3600 * 1_000_000;

/// Something that happens at a time.
enum Happening {
    Fact,
    Restart,
    Tick {
        epoch: u64,
        nth: u64,
    },
    Fetch {
        epoch: u64,
        after: Cursor,
    },
    Take {
        epoch: u64,
        from: usize,
        to: usize,
    },
    Commit {
        epoch: u64,
        batch: u64,
        memos: Vec<Memo>,
    },
    Call {
        epoch: u64,
        call: Box<Call>,
    },
    Land(Effect),
    Answer {
        epoch: u64,
        call: u64,
        kind: CallKind,
        answer: Answer,
    },
}

pub(super) struct World {
    trial: Trial,
    rng: Rng,
    time: i64,
    agenda: BTreeMap<(i64, u64), Happening>,
    planned: u64,
    pub(super) facts: Vec<Fact>,
    /// The identity of the feed; another one once it was rewritten.
    feed: u32,
    pub(super) memos: BTreeMap<MemoKey, Memo>,
    process: Option<Process>,
    epoch: u64,
    pub(super) receivers: Receivers,
    report: Report,
    quiet_at: i64,
}

struct Process {
    machine: Machine,
    page: Vec<Fact>,
    wake: u64,
}

impl World {
    pub(super) fn new(trial: Trial) -> Self {
        let time = 1_600_000_000_000_000;
        let mut world = Self {
            trial,
            rng: Rng::new(trial.seed),
            time,
            agenda: BTreeMap::new(),
            planned: 0,
            facts: Vec::new(),
            feed: 1,
            memos: BTreeMap::new(),
            process: None,
            epoch: 0,
            receivers: Receivers::default(),
            report: Report::default(),
            quiet_at: 0,
        };
        let mut last = 0;
        for _ in 0..trial.facts {
            last += world.rng.below(40_000);
            world.plan(last, Happening::Fact);
        }
        world.quiet_at = time + (last as i64 + 60_000) * 1000;
        world
    }

    pub(super) fn run(mut self) -> Result<Report, String> {
        self.start()?;
        let end = self.quiet_at + 3 * DAY;
        while let Some(((at, _), happening)) = self.agenda.pop_first() {
            self.time = at;
            if at > end {
                return Err(format!(
                    "the reader did not come to rest: {:?}",
                    self.place()
                ));
            }
            self.happen(happening)?;
            if self.is_over() {
                break;
            }
        }
        if !self.is_over() {
            return Err("nothing is left to happen, and the reader is not at the end".into());
        }
        self.check_end()?;
        self.report.landed = self.receivers.record().to_vec();
        Ok(self.report)
    }

    fn place(&self) -> Option<&crate::reader::Place> {
        self.process.as_ref().map(|process| process.machine.place())
    }

    fn is_over(&self) -> bool {
        let at_rest = |process: &Process| process.machine.is_caught_up();
        self.facts.len() as u64 == self.trial.facts && self.process.as_ref().is_some_and(at_rest)
    }

    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.time)
    }

    fn plan(&mut self, after_ms: u64, happening: Happening) {
        self.planned += 1;
        let at = self.time + after_ms as i64 * 1000;
        self.agenda.insert((at, self.planned), happening);
    }

    fn fault(&mut self, parts: u64) -> bool {
        self.trial.faults && self.time < self.quiet_at && self.rng.chance(parts)
    }

    /// Whether the process dies here.
    fn dies(&mut self, point: Point) -> bool {
        self.report.instants += 1;
        let dies = match self.trial.crash_at {
            Some(nth) => self.report.instants == nth,
            None => self.fault(20),
        };
        if dies {
            *self.report.crashes.entry(point).or_default() += 1;
            self.process = None;
            let after = self.rng.below(20_000);
            self.plan(after, Happening::Restart);
        }
        dies
    }

    fn start(&mut self) -> Result<(), String> {
        self.epoch += 1;
        let name = ReaderName::new("trial").expect("plain");
        let memos: Vec<Memo> = self.memos.values().cloned().collect();
        let machine = Machine::restore(name, OnPoison::SetAside, &memos, self.now());
        let mut machine = machine.map_err(|e| e.to_string())?;
        self.check_state(&machine)?;
        machine.plant(self.trial.plant);
        self.process = Some(Process {
            machine,
            page: Vec::new(),
            wake: 0,
        });
        self.tell(Input::Changed);
        Ok(())
    }

    fn tell(&mut self, input: Input) {
        let now = self.now();
        let Some(process) = &mut self.process else {
            return;
        };
        let mut steps = process.machine.handle(input, now);
        let epoch = self.epoch;
        while !steps.is_empty() {
            let nth = self.rng.below(steps.len() as u64) as usize;
            let after = self.rng.below(50);
            match steps.swap_remove(nth) {
                Step::Fetch { after: cursor } => {
                    let fetch = Happening::Fetch {
                        epoch,
                        after: cursor,
                    };
                    self.plan(after, fetch);
                }
                Step::Take { from, to } => self.plan(after, Happening::Take { epoch, from, to }),
                Step::Commit { batch, memos } => {
                    let commit = Happening::Commit {
                        epoch,
                        batch,
                        memos,
                    };
                    self.plan(after, commit);
                }
                Step::Call(call) => self.plan(after, Happening::Call { epoch, call }),
                Step::WakeAt(at) => {
                    let process = self.process.as_mut().expect("it has just spoken");
                    process.wake += 1;
                    let nth = process.wake;
                    let after = at.since(now).as_millis() as u64 + 1;
                    self.plan(after, Happening::Tick { epoch, nth });
                }
                Step::Tell(_) => {}
            }
        }
    }

    fn is_alive(&self, epoch: u64) -> bool {
        self.process.is_some() && self.epoch == epoch
    }

    fn happen(&mut self, happening: Happening) -> Result<(), String> {
        match happening {
            Happening::Fact => {
                let at = self.facts.len() as u64 + 1;
                let fact = Fact::draw(at, self.now(), &mut self.rng);
                self.facts.push(fact);
                if self.trial.seed.is_multiple_of(4) && self.fault(10) {
                    self.feed += 1;
                }
                self.tell(Input::Changed);
            }
            Happening::Restart => self.start()?,
            Happening::Tick { epoch, nth } => {
                let newest = self.process.as_ref().is_some_and(|p| p.wake == nth);
                if newest && self.is_alive(epoch) {
                    self.tell(Input::Tick);
                }
            }
            Happening::Fetch { epoch, after } if self.is_alive(epoch) => self.fetch(&after),
            Happening::Take { epoch, from, to } if self.is_alive(epoch) => self.take(from, to),
            Happening::Commit {
                epoch,
                batch,
                memos,
            } if self.is_alive(epoch) => self.commit(batch, memos),
            Happening::Call { epoch, call } if self.is_alive(epoch) => self.call(epoch, *call),
            Happening::Land(effect) => {
                let now = self.now();
                self.receivers.land(&effect, now);
            }
            Happening::Answer {
                epoch,
                call,
                kind,
                answer,
            } if self.is_alive(epoch) => {
                let made = kind == CallKind::Make && answer == Answer::Made;
                if made && self.dies(Point::Made) {
                    return Ok(());
                }
                self.tell(Input::Answered {
                    call,
                    answer: answer.clone(),
                });
                if made {
                    self.dies(Point::Settled);
                }
                if self.fault(50) {
                    self.tell(Input::Answered { call, answer });
                }
            }
            // Of a process that is no more.
            _ => {}
        }
        Ok(())
    }

    fn fetch(&mut self, after: &Cursor) {
        if self.fault(30) {
            self.tell(Input::FetchFailed("the feed is away".into()));
            return;
        }
        let feed = self.feed.to_string();
        let is_known = after.feed == feed;
        let from = if is_known { after.at } else { 0 };
        let limit = 1 + self.rng.below(8) as usize;
        let new = self.facts.iter().skip(from as usize).take(limit);
        let page: Vec<Fact> = new.cloned().collect();
        let end = from + page.len() as u64;
        let ends = PageEnds {
            ends: page
                .iter()
                .map(|f| Cursor::of(feed.clone(), f.at))
                .collect(),
            next: Cursor::of(feed, end),
            is_last: end == self.facts.len() as u64,
            // All that had been read before it was rewritten may have had its effects.
            is_reset: self.feed > 1,
        };
        if let Some(process) = &mut self.process {
            process.page = page;
        }
        self.tell(Input::Fetched(ends));
        self.dies(Point::Fetched);
    }

    fn take(&mut self, from: usize, to: usize) {
        let Some(process) = &self.process else {
            return;
        };
        let facts = process.page[from..to].to_vec();
        let failure = if facts.iter().any(|fact| fact.is_poison) {
            Some(match self.rng.below(2) {
                0 => TakeFailure::Panicked("odd".into()),
                _ => TakeFailure::Failed("odd".into()),
            })
        } else if self.fault(20) {
            Some(TakeFailure::NotNow("the store is away".into()))
        } else {
            None
        };
        if let Some(failure) = failure {
            self.tell(Input::TakeFailed(failure));
            return;
        }
        let effects = facts.iter().flat_map(effects_of).collect();
        // What it has seen, which must be as old as the cursor whenever the process dies.
        let state = facts.last().map(|fact| fact.at.to_string().into());
        self.tell(Input::Taken(Taken { effects, state }));
        self.dies(Point::Taken);
    }

    fn commit(&mut self, batch: u64, memos: Vec<Memo>) {
        if self.fault(20) {
            let text = "the disk is full".into();
            self.tell(Input::CommitFailed { batch, text });
            return;
        }
        let tries = memos.iter().any(|memo| {
            let value = memo.value.as_deref().unwrap_or_default();
            String::from_utf8_lossy(value).contains("\"trying\"")
        });
        self.report.commits += 1;
        for memo in memos {
            match memo.value {
                Some(_) => self.memos.insert(memo.key.clone(), memo),
                None => self.memos.remove(&memo.key),
            };
        }
        let point = if tries {
            Point::Trying
        } else {
            Point::Committed
        };
        if self.dies(point) {
            return;
        }
        if self.fault(10) {
            let text = "no answer came".into();
            self.tell(Input::CommitFailed { batch, text });
            return;
        }
        self.tell(Input::Committed { batch });
    }

    fn call(&mut self, epoch: u64, call: Call) {
        let (number, kind) = (call.number, call.kind);
        let fact = (call.effect.body.get().parse::<usize>()).map(|at| &self.facts[at - 1]);
        let is_refused = fact.is_ok_and(Fact::is_refused);
        let settle = SETTLE.as_millis() as u64;
        let after = self.rng.below(1_000);
        let failed = |in_doubt, pause| Answer::Failed {
            text: "the receiver is away".into(),
            in_doubt,
            pause,
        };
        let answer = match kind {
            CallKind::Ask if self.fault(100) => failed(false, None),
            CallKind::Ask if self.receivers.shows(&call.effect.key) => Answer::Made,
            CallKind::Ask => Answer::NotMade,
            CallKind::Make if is_refused => Answer::Refused("no such thing".into()),
            CallKind::Make if self.fault(150) => failed(false, Some(Duration::from_secs(20))),
            CallKind::Make if self.fault(150) => {
                // No answer comes. One that can be asked may act later, as long as it may.
                if self.rng.chance(500) {
                    let is_slow = call.effect.how.is_probe();
                    let late = if is_slow {
                        self.rng.below(settle - 1_000)
                    } else {
                        0
                    };
                    self.plan(late, Happening::Land(call.effect));
                }
                failed(true, None)
            }
            CallKind::Make => {
                let at = self.now();
                self.receivers.land(&call.effect, at);
                Answer::Made
            }
        };
        self.plan(
            after,
            Happening::Answer {
                epoch,
                call: number,
                kind,
                answer,
            },
        );
    }

    /// Whether the feed began anew: what was replaced before then has its turn once more.
    pub(super) fn was_rewritten(&self) -> bool {
        self.feed > 1
    }

    pub(super) fn report(&mut self) -> &mut Report {
        &mut self.report
    }
}
