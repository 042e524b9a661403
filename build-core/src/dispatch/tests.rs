//! Stories: a dispatcher, a log in memory, and machines that do as they are told.

mod aside;
mod failures;
mod random;
mod rerun;
mod streams;
mod wishes;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use super::*;
use crate::buildlet::ExecOutcome;
use crate::engine::Command;
use crate::error::{Error, ErrorKind};
use crate::event::{
    Base, Batch, LeaseEnd, MemoKey, Numbering, Outcome, Recorded, Seq, StreamHead, StreamId,
    UnitEnd,
};
use crate::ids::{BuildId, CommitHash, HostType, RepoName, SessionId, StepName, WishKey};
use crate::machine::Aside;
use crate::name::Name;
use crate::plan::{Part, Plan, Step, Unit};
use crate::retry::CREATION_ATTEMPTS;
use crate::schedule::{DefaultPolicy, Labels, Machine};
use crate::test_lines::TestCounts;
use crate::wish::Wish;
use crate::work::{Class, WorkItem};

/// What the log says, read; but not that a session begins.
#[derive(Clone)]
struct Logged {
    build: HolderId,
    event: BuildEvent,
}

/// A farm in which everything works at once unless a test says otherwise.
struct Farm {
    dispatcher: Dispatcher,
    log: Vec<Logged>,
    /// The log as it is stored, with the memos.
    stored: Vec<Recorded>,
    memos: BTreeMap<MemoKey, Memo>,
    heads: HashMap<StreamId, StreamHead>,
    now: Timestamp,
    plan: Plan,
    todo: VecDeque<Command>,
    limits: BTreeMap<CommandKey, Duration>,
    done: Vec<String>,
    /// What the units answer, by their names; they pass otherwise.
    ends: BTreeMap<String, VecDeque<UnitEnd>>,
    listing: String,
    /// What units print of failed tests, when they fail.
    failures: Vec<Name>,
    /// How many events were stored after each append.
    appends: Vec<usize>,
}

fn name(name: &str) -> StepName {
    StepName::new(name).unwrap()
}

fn step(step: &str, needs: &[&str]) -> Step {
    let mut step = Step::new(name(step), format!("run {step}"));
    step.needs = needs.iter().map(|n| name(n)).collect();
    step
}

pub(super) fn machines(count: usize) -> Vec<Machine> {
    let machine = |n| {
        Machine::new(
            MachineId::new(format!("m{n}")).unwrap(),
            HostType::new("local").unwrap(),
            Labels::default(),
        )
    };
    (0..count).map(machine).collect()
}

pub(super) fn build() -> BuildId {
    BuildId::from_bits(1)
}

fn new_dispatcher(key: u8) -> Dispatcher {
    let builder = Builder {
        name: BuilderName::new("local").unwrap(),
        host_type: HostType::new("local").unwrap(),
        labels: BTreeSet::new(),
        env: BTreeMap::new(),
    };
    Dispatcher::new(DefaultPolicy, [builder], [key; 32])
}

/// A build that is nobody else's.
fn by_itself(build: BuildId, item: WorkItem, builder: BuilderName) -> Input {
    let key = WishKey::of(&[build.as_str().as_bytes()]);
    let mut wish = Wish::new(key, item, vec![builder], Principal::farm());
    wish.alone = true;
    Input::Ask {
        wish: Box::new(wish),
        drawn: vec![build],
    }
}

impl Farm {
    fn new(count: usize, steps: Vec<Step>) -> Self {
        let mut farm = Self {
            dispatcher: new_dispatcher(1),
            log: Vec::new(),
            stored: Vec::new(),
            memos: BTreeMap::new(),
            heads: HashMap::new(),
            now: Timestamp::from_seconds(1_000),
            plan: Plan::new(steps, "test").unwrap(),
            todo: VecDeque::new(),
            limits: BTreeMap::new(),
            done: Vec::new(),
            ends: BTreeMap::new(),
            listing: String::new(),
            failures: Vec::new(),
            appends: Vec::new(),
        };
        farm.tell(Input::Machines(machines(count)));
        farm
    }

    fn submit(&mut self) {
        self.submit_as(build(), Class::DefaultTip);
    }

    fn submit_as(&mut self, build: BuildId, class: Class) {
        let item = WorkItem {
            repo: RepoName::new("r").unwrap(),
            origin: "/r".into(),
            commit: CommitHash::new("0".repeat(40)).unwrap(),
            commit_time: Timestamp::default(),
            subject: String::new(),
            branch: None,
            tag: None,
            order: None,
            change: None,
            author: None,
            class,
            labels: BTreeSet::new(),
            worktree: false,
            rerun_of: None,
            repo_id: None,
            host: None,
            patch_set: None,
            trust: Default::default(),
            rest: Default::default(),
        };
        let builder = BuilderName::new("local").unwrap();
        self.tell(by_itself(build, item, builder));
    }

    fn tell(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            for effect in self.dispatcher.handle(input, self.now) {
                inputs.extend(self.effect(effect));
            }
        }
    }

    /// Carries out effects that no input has brought about.
    fn act(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            let recorded = self.effect(effect);
            recorded.into_iter().for_each(|input| self.tell(input));
        }
    }

    fn effect(&mut self, effect: Effect) -> Option<Input> {
        match effect {
            Effect::Append { batch, append } => {
                self.write(append);
                self.appends.push(self.stored.len());
                Some(Input::Recorded { batch })
            }
            Effect::Do(command, limit) => {
                self.limits.insert(command.key(), limit);
                self.todo.push_back(*command);
                None
            }
            Effect::WakeAt(_) => None,
        }
    }

    /// Has the beginning of the log of another farm.
    fn take_log(&mut self, other: &Self, length: usize) {
        for event in &other.stored[..length] {
            let head = self.heads.entry(event.stream.clone()).or_default();
            head.version = event.version;
            self.note(event.clone());
        }
    }

    fn note(&mut self, event: Recorded) {
        let read = match event.stream {
            StreamId::Session(_) => event.read().and_then(SessionEvent::into_build),
            _ => event.read(),
        };
        if let (Some(build), Some(event)) = (event.stream.holder(), read) {
            self.log.push(Logged { build, event });
        }
        self.stored.push(event);
    }

    fn write(&mut self, batch: Batch) {
        let head = Seq(self.stored.len() as u64);
        let mut numbering = Numbering::new(head, std::mem::take(&mut self.heads));
        let written = numbering.admit(batch).unwrap();
        self.heads = numbering.into_heads();
        written
            .events
            .into_iter()
            .for_each(|event| self.note(event));
        for memo in written.memos {
            match memo.value {
                Some(_) => drop(self.memos.insert(memo.key.clone(), memo)),
                None => drop(self.memos.remove(&memo.key)),
            }
        }
    }

    /// Carries out the next command.
    fn step(&mut self) -> bool {
        let Some(command) = self.todo.pop_front() else {
            return false;
        };
        let key = command.key();
        let reply = match command {
            Command::Plan { .. } => Reply::Planned(self.plan.clone()),
            Command::Acquire { request, .. } => Reply::Ready {
                place: request.machine.to_string(),
            },
            Command::Adopt { record, .. } => Reply::Ready {
                place: record.place,
            },
            Command::Prepare { base, .. } => {
                let from = if base == Base::Source {
                    "source"
                } else {
                    "copy"
                };
                self.done.push(format!("prepare {from}"));
                Reply::Prepared {
                    base,
                    cache_hits: Vec::new(),
                    start: None,
                    tool_caches: Vec::new(),
                }
            }
            Command::Run { unit, exec, .. } => {
                self.done.push(unit.to_string());
                let ends = self.ends.get_mut(&unit.to_string());
                let end = ends
                    .and_then(VecDeque::pop_front)
                    .unwrap_or(UnitEnd::Exited(ExecOutcome::Ok));
                assert!(exec.id.is_some());
                let listing = Listing {
                    text: self.listing.clone().into_bytes(),
                    ..Listing::default()
                };
                let failures = match end {
                    UnitEnd::Exited(ExecOutcome::Ok) => Vec::new(),
                    _ => self.failures.clone(),
                };
                Reply::Ran {
                    salvaged: Vec::new(),
                    results: None,
                    end,
                    output_bytes: 3,
                    took: None,
                    tests: TestCounts {
                        failed: failures.len() as u64,
                        failures,
                        ..TestCounts::default()
                    },
                    listing: Some(listing),
                }
            }
            Command::Kill { .. } => Reply::Killed,
            Command::Keep { step, .. } => {
                self.done.push(format!("keep {step}"));
                Reply::Kept {
                    artifacts: Vec::new(),
                    snapshot: None,
                }
            }
            Command::Release { .. } => Reply::Released,
        };
        self.tell(Input::Done(key, reply));
        true
    }

    fn run(&mut self) {
        while self.step() {}
    }

    /// Stops as a crash would and begins anew with the log.
    fn crash(&mut self) {
        self.todo.clear();
        self.dispatcher = new_dispatcher(self.log.len() as u8 + 2);
        let restored =
            self.dispatcher
                .restore(self.stored.clone(), self.memos.values().cloned(), self.now);
        assert!(restored.damaged.is_empty());
        for effect in restored.effects {
            if let Some(input) = self.effect(effect) {
                self.tell(input);
            }
        }
        self.tell(Input::Machines(machines(3)));
    }

    fn outcome(&self) -> Option<&Outcome> {
        self.log.iter().find_map(|r| match &r.event {
            BuildEvent::Finished { outcome } => Some(outcome),
            _ => None,
        })
    }

    fn count(&self, matches: fn(&BuildEvent) -> bool) -> usize {
        self.log.iter().filter(|r| matches(&r.event)).count()
    }
}

fn is_leased(event: &BuildEvent) -> bool {
    matches!(event, BuildEvent::Leased { .. })
}

fn failed(step: &str, text: &str) -> Outcome {
    Outcome::Failed {
        step: name(step),
        text: text.into(),
    }
}

#[test]
fn steps_in_a_row_use_one_machine_and_one_directory() {
    let mut farm = Farm::new(3, vec![step("build", &[]), step("test", &["build"])]);
    farm.submit();
    farm.run();
    assert_eq!(farm.done, ["prepare source", "build", "test"]);
    assert_eq!(farm.outcome(), Some(&Outcome::Passed));
    assert_eq!(farm.count(is_leased), 1);
    assert!(farm.dispatcher.is_idle());
}

#[test]
fn independent_steps_run_on_machines_of_their_own() {
    let mut farm = Farm::new(3, vec![step("lint", &[]), step("test", &[])]);
    farm.submit();
    farm.run();
    assert_eq!(
        farm.done,
        ["prepare source", "prepare source", "lint", "test"]
    );
    assert_eq!(farm.count(is_leased), 2);
}

#[test]
fn with_one_machine_they_run_one_after_the_other() {
    let steps = || {
        vec![
            step("a", &[]),
            step("b", &[]),
            step("c", &["a", "b"]),
            step("d", &["b"]),
        ]
    };
    let mut farm = Farm::new(1, steps());
    farm.submit();
    farm.run();
    assert_eq!(farm.done, ["prepare source", "a", "b", "c", "d"]);
    assert_eq!(farm.outcome(), Some(&Outcome::Passed));
}

#[test]
fn a_directory_is_copied_for_the_second_step_that_needs_it() {
    let steps = vec![
        step("build", &[]),
        step("test", &["build"]),
        step("doc", &["build"]),
    ];
    let mut farm = Farm::new(3, steps);
    farm.submit();
    farm.run();
    farm.done[3..].sort();
    assert_eq!(
        farm.done,
        ["prepare source", "build", "prepare copy", "doc", "test"]
    );
    assert_eq!(farm.outcome(), Some(&Outcome::Passed));
}

#[test]
fn shards_run_the_listed_tests_once_each() {
    let mut test = step("test", &["build"]);
    test.run = "run {tests}".into();
    test.tests = Some("list".into());
    test.shards = 3;
    let mut farm = Farm::new(3, vec![step("build", &[]), test]);
    farm.listing = "a b c d e f g".into();
    farm.submit();
    farm.run();
    let mut tests: Vec<_> = farm
        .log
        .iter()
        .filter_map(|r| match &r.event {
            BuildEvent::Started {
                unit:
                    Unit {
                        part: Part::Shard(_),
                        ..
                    },
                tests,
                ..
            } => Some(tests.clone()),
            _ => None,
        })
        .flatten()
        .collect();
    tests.sort();
    let tests: Vec<_> = tests.iter().filter_map(Name::as_str).collect();
    assert_eq!(tests.join(" "), farm.listing);
    assert_eq!(farm.count(is_leased), 3);
    assert_eq!(farm.outcome(), Some(&Outcome::Passed));
}

#[test]
fn a_failure_skips_what_needs_it_and_nothing_else() {
    let steps = vec![step("a", &[]), step("b", &["a"]), step("c", &[])];
    let mut farm = Farm::new(1, steps);
    farm.ends
        .insert("a".into(), [UnitEnd::Exited(ExecOutcome::Exit(2))].into());
    farm.submit();
    farm.run();
    assert_eq!(farm.done, ["prepare source", "a", "c"]);
    assert_eq!(farm.outcome(), Some(&failed("a", "exit status 2")));
}

#[test]
fn lost_machines_are_replaced_once_and_the_lost_directory_is_made_again() {
    let mut farm = Farm::new(3, vec![step("build", &[]), step("test", &["build"])]);
    let lost = || UnitEnd::Lost("connection reset".into());
    farm.ends.insert("test".into(), [lost()].into());
    farm.submit();
    farm.run();
    assert_eq!(
        farm.done,
        [
            "prepare source",
            "build",
            "test",
            "prepare source",
            "build",
            "test"
        ]
    );
    assert_eq!(farm.outcome(), Some(&Outcome::Passed));

    let mut farm = Farm::new(3, vec![step("build", &[])]);
    farm.ends
        .insert("build".into(), [lost(), lost(), lost()].into());
    farm.submit();
    farm.run();
    let text = "step \"build\": connection reset".to_owned();
    assert_eq!(farm.outcome(), Some(&Outcome::Infrastructure { text }));
    assert_eq!(farm.done.len(), 4);
}

#[test]
fn a_missing_tool_is_a_fault_of_the_configuration() {
    let mut farm = Farm::new(1, vec![step("build", &[])]);
    farm.ends.insert(
        "build".into(),
        [UnitEnd::MissingTool("cargo".into())].into(),
    );
    farm.submit();
    farm.run();
    assert!(
        matches!(farm.outcome(), Some(Outcome::Misconfigured { text, .. }) if text.starts_with("cargo:"))
    );
}

#[test]
fn a_checkout_that_cannot_be_made_anywhere_is_tried_once() {
    let mut farm = Farm::new(2, vec![step("build", &[]), step("test", &["build"])]);
    farm.submit();
    while !matches!(farm.todo.front(), Some(Command::Prepare { .. })) {
        assert!(farm.step());
    }
    let key = farm.todo.pop_front().unwrap().key();
    let failure = Failure {
        kind: ErrorKind::Invalid,
        text: "no git-lfs".into(),
        hint: Some("install git-lfs".into()),
        output_bytes: 0,
    };
    farm.tell(Input::Failed(key, failure));
    farm.run();
    let expected = Outcome::Misconfigured {
        text: "no git-lfs".into(),
        hint: "install git-lfs".into(),
    };
    assert_eq!(farm.outcome(), Some(&expected));
    assert_eq!(farm.count(|e| matches!(e, BuildEvent::Leased { .. })), 1);
}

#[test]
fn a_command_that_cannot_be_right_is_told_after_one_machine() {
    let mut farm = Farm::new(2, vec![step("build", &[])]);
    farm.submit();
    while !matches!(farm.todo.front(), Some(Command::Run { .. })) {
        assert!(farm.step());
    }
    let key = farm.todo.pop_front().unwrap().key();
    let refused = Error::new(ErrorKind::Invalid, "too many names").with_hint("print fewer");
    farm.tell(Input::Failed(key, Failure::from(&refused)));
    farm.run();
    let expected = Outcome::Misconfigured {
        text: "too many names".into(),
        hint: "print fewer".into(),
    };
    assert_eq!(farm.outcome(), Some(&expected));
    assert_eq!(farm.count(|e| matches!(e, BuildEvent::Leased { .. })), 1);
}

#[test]
fn what_an_earlier_process_began_took_no_longer_than_it_may() {
    for jump in [24, 0] {
        let mut farm = Farm::new(1, vec![step("build", &[])]);
        farm.submit();
        while !matches!(farm.todo.front(), Some(Command::Run { .. })) {
            assert!(farm.step());
        }
        // No duration comes with the end: its beginning was seen by another process.
        farm.now = farm.now + Duration::from_secs(jump * 60 * 60);
        farm.run();
        let long = |e: &BuildEvent| matches!(e, BuildEvent::Ended { took, .. } if *took > step("build", &[]).timeout);
        assert_eq!(farm.count(long), 0);
        assert_eq!(farm.outcome(), Some(&Outcome::Passed));
    }
}

#[test]
fn a_sandbox_that_no_machine_has_is_a_fault_of_the_configuration() {
    let mut farm = Farm::new(2, vec![step("build", &[])]);
    farm.submit();
    while !matches!(farm.todo.front(), Some(Command::Acquire { .. })) {
        assert!(farm.step());
    }
    let key = farm.todo.pop_front().unwrap().key();
    let refused = Error::new(ErrorKind::Unsupported, "no namespaces").with_hint("see the page");
    farm.tell(Input::Failed(key, Failure::from(&refused)));
    farm.run();
    let expected = Outcome::Misconfigured {
        text: "no namespaces".into(),
        hint: "see the page".into(),
    };
    assert_eq!(farm.outcome(), Some(&expected));
    assert_eq!(farm.count(|e| matches!(e, BuildEvent::Leased { .. })), 1);
    // The machine serves the next build.
    assert!(farm.dispatcher.is_durable());
}

#[test]
fn a_recipe_that_fails_is_asked_again_unless_it_is_wrong() {
    let mut farm = Farm::new(1, vec![step("build", &[])]);
    farm.submit();
    let failure = Failure {
        kind: ErrorKind::Unavailable,
        text: "git".into(),
        hint: None,
        output_bytes: 0,
    };
    let key = farm.todo.pop_front().unwrap().key();
    farm.tell(Input::Failed(key, failure.clone()));
    assert!(farm.todo.is_empty());
    farm.now = farm.now + Duration::from_secs(1);
    farm.tell(Input::Tick);
    let key = farm.todo.pop_front().unwrap().key();
    farm.tell(Input::Failed(
        key,
        Failure {
            kind: ErrorKind::Invalid,
            ..failure
        },
    ));
    assert!(matches!(
        farm.outcome(),
        Some(Outcome::Misconfigured { .. })
    ));
}

#[test]
fn canceling_ends_what_runs_and_gives_machines_back() {
    let mut farm = Farm::new(1, vec![step("build", &[])]);
    farm.submit();
    for _ in 0..3 {
        farm.step();
    }
    farm.tell(Input::Cancel {
        build: build().into(),
        by: "me".into(),
    });
    let kinds: Vec<_> = farm.todo.iter().map(Command::key).collect();
    assert!(
        matches!(kinds[..], [CommandKey::Run(..), CommandKey::Kill(..)]),
        "{kinds:?}"
    );
    farm.ends.insert(
        "build".into(),
        [UnitEnd::Exited(ExecOutcome::Killed)].into(),
    );
    farm.run();
    assert_eq!(farm.outcome(), Some(&Outcome::Canceled { by: "me".into() }));
    assert!(farm.log.iter().any(|r| matches!(
        r.event,
        BuildEvent::Ended {
            end: UnitEnd::Canceled,
            ..
        }
    )));
    assert!(farm.dispatcher.is_idle());
}

#[test]
fn stopping_interrupts_and_the_next_process_goes_on() {
    let mut farm = Farm::new(1, vec![step("build", &[]), step("test", &["build"])]);
    farm.ends
        .insert("test".into(), [UnitEnd::Exited(ExecOutcome::Killed)].into());
    farm.submit();
    for _ in 0..4 {
        farm.step();
    }
    farm.tell(Input::Stop);
    farm.run();
    assert!(farm.dispatcher.is_idle());
    assert_eq!(farm.outcome(), None);
    farm.crash();
    farm.run();
    assert_eq!(farm.done[3..], ["prepare source", "build", "test"]);
    assert_eq!(farm.outcome(), Some(&Outcome::Passed));
}

#[test]
fn a_crash_after_any_number_of_commands_loses_nothing() {
    for crash_after in 0..9 {
        let mut farm = Farm::new(3, vec![step("build", &[]), step("test", &["build"])]);
        farm.submit();
        for _ in 0..crash_after {
            farm.step();
        }
        farm.crash();
        farm.run();
        assert_eq!(
            farm.outcome(),
            Some(&Outcome::Passed),
            "crash after {crash_after}"
        );
        assert_eq!(farm.count(is_leased), 1);
        assert_eq!(farm.count(|e| matches!(e, BuildEvent::Started { .. })), 2);
        assert_eq!(
            farm.count(|e| matches!(
                e,
                BuildEvent::LeaseEnded {
                    reason: LeaseEnd::Released,
                    ..
                }
            )),
            1
        );
    }
}

#[test]
fn no_effect_comes_before_its_event_is_durable() {
    let mut dispatcher = new_dispatcher(1);
    dispatcher.handle(Input::Machines(machines(1)), Timestamp::default());
    let mut farm = Farm::new(1, vec![step("build", &[])]);
    farm.submit();
    let item = farm
        .dispatcher
        .build(&build().into())
        .unwrap()
        .item()
        .unwrap()
        .clone();
    let builder = BuilderName::new("local").unwrap();
    let now = Timestamp::default();
    let effects = dispatcher.handle(by_itself(build(), item, builder), now);
    assert!(
        matches!(
            effects[..],
            [Effect::Append { batch: 1, .. }, Effect::WakeAt(_)]
        ),
        "{effects:?}"
    );
    assert!(
        dispatcher
            .handle(Input::Recorded { batch: 7 }, now)
            .is_empty()
    );
    let failed = Input::AppendFailed {
        batch: 1,
        text: "disk full".into(),
    };
    let effects = dispatcher.handle(failed, now);
    assert!(matches!(effects[..], [Effect::WakeAt(_)]), "{effects:?}");
    assert_eq!(dispatcher.stalled(), Some("disk full"));
    let now = now + Duration::from_secs(1);
    let effects = dispatcher.handle(Input::Tick, now);
    assert!(
        matches!(effects[0], Effect::Append { batch: 2, .. }),
        "{effects:?}"
    );
    let effects = dispatcher.handle(Input::Recorded { batch: 2 }, now);
    assert!(
        matches!(&effects[0], Effect::Do(command, _) if matches!(**command, Command::Plan { .. })),
        "{effects:?}"
    );
}

fn session() -> SessionId {
    SessionId::from_bits(1)
}

impl Farm {
    fn open_session(&mut self) {
        self.tell(Input::OpenSession {
            name: None,
            session: session(),
            builder: BuilderName::new("local").unwrap(),
            by: "me".into(),
        });
    }

    fn wait(&mut self, time: Duration) {
        self.now = self.now + time;
        self.tell(Input::Tick);
        self.run();
    }
}

#[test]
fn a_session_holds_one_machine_until_it_is_closed() {
    let mut farm = Farm::new(1, vec![step("test", &[])]);
    farm.open_session();
    assert_eq!(farm.dispatcher.session_machine(&session()), None);
    farm.run();
    assert!(farm.dispatcher.session_machine(&session()).is_some());
    farm.submit();
    farm.run();
    assert!(farm.done.is_empty(), "the build has to wait");
    farm.tell(Input::CloseSession { session: session() });
    assert_eq!(farm.outcome(), Some(&Outcome::Closed(SessionEnd::Returned)));
    farm.run();
    assert_eq!(farm.done, ["prepare source", "test"]);
    assert!(farm.dispatcher.is_idle());
}

#[test]
fn a_session_waits_before_builds_that_nobody_waits_for() {
    let mut farm = Farm::new(0, vec![step("test", &[])]);
    farm.submit();
    farm.run();
    farm.open_session();
    let why = farm.dispatcher.explain(&session().into(), farm.now);
    assert_eq!(why.len(), 1);
    farm.tell(Input::Machines(machines(1)));
    farm.run();
    assert!(farm.dispatcher.session_machine(&session()).is_some());
    assert!(farm.done.is_empty());
}

#[test]
fn a_session_that_nobody_renews_ends() {
    let mut farm = Farm::new(1, vec![]);
    farm.open_session();
    farm.run();
    farm.wait(SESSION_TTL / 2);
    farm.tell(Input::RenewSession { session: session() });
    farm.wait(SESSION_TTL / 2);
    assert_eq!(farm.outcome(), None);
    farm.wait(SESSION_TTL / 2);
    assert_eq!(
        farm.outcome(),
        Some(&Outcome::Closed(SessionEnd::Abandoned))
    );
    assert!(farm.dispatcher.is_idle());
}

#[test]
fn a_session_survives_a_crash_after_any_event() {
    for crash_after in 1..=3 {
        let mut farm = Farm::new(1, vec![]);
        farm.open_session();
        while farm.log.len() < crash_after && farm.step() {}
        farm.crash();
        assert_eq!(farm.dispatcher.session_machine(&session()), None);
        farm.run();
        assert!(farm.dispatcher.session_machine(&session()).is_some());
        assert!(farm.todo.is_empty(), "nothing is asked for twice");
        assert_eq!(farm.count(is_leased), 1);
        farm.tell(Input::CloseSession { session: session() });
        farm.run();
        assert!(farm.dispatcher.is_idle());
    }
}

#[test]
fn a_session_ends_with_its_machine_and_says_so() {
    let mut farm = Farm::new(2, vec![]);
    farm.open_session();
    farm.run();
    let lease = farm.dispatcher.session_machine(&session()).unwrap().clone();
    farm.tell(Input::LeaseLost {
        lease,
        text: "connection reset".into(),
        output_bytes: 0,
    });
    farm.run();
    let text = farm.outcome().unwrap().to_string();
    assert!(text.ends_with("the machine of the session is gone: connection reset"));
}

#[test]
fn a_machine_that_does_not_start_is_replaced_and_then_given_up() {
    let mut farm = Farm::new(9, vec![]);
    farm.open_session();
    for _ in 0..CREATION_ATTEMPTS {
        let command = farm.todo.pop_front().unwrap();
        let failure = Failure::from(&Error::new(ErrorKind::Unavailable, "no room"));
        farm.tell(Input::Failed(command.key(), failure));
    }
    assert!(farm.outcome().unwrap().to_string().ends_with("no room"));
    assert!(farm.dispatcher.session_machine(&session()).is_none());
}

#[test]
fn a_stop_leaves_sessions_that_have_their_machine_and_a_person_can_cancel_them() {
    let mut farm = Farm::new(1, vec![]);
    farm.open_session();
    farm.run();
    let lease = farm.dispatcher.session_machine(&session()).unwrap().clone();
    farm.tell(Input::Stop);
    farm.run();
    assert_eq!(farm.outcome(), None);
    assert!(farm.dispatcher.is_idle(), "it does not hold up a stop");
    assert_eq!(farm.dispatcher.kept(), [lease.clone()].into());
    farm.crash();
    farm.run();
    assert_eq!(farm.dispatcher.session_machine(&session()), Some(&lease));

    // One that waits for its machine ends: nobody could be told of it.
    let mut farm = Farm::new(1, vec![]);
    farm.open_session();
    farm.tell(Input::Stop);
    farm.run();
    assert_eq!(farm.outcome(), Some(&Outcome::Closed(SessionEnd::Stopped)));
    assert!(farm.dispatcher.is_idle() && farm.dispatcher.kept().is_empty());

    let mut farm = Farm::new(1, vec![]);
    farm.open_session();
    farm.run();
    let (build, by) = (session().into(), Principal::person("her"));
    farm.tell(Input::Cancel { build, by });
    farm.run();
    assert_eq!(
        farm.outcome(),
        Some(&Outcome::Canceled { by: "her".into() })
    );
}

#[test]
fn a_command_that_is_given_again_is_taken_back_when_its_first_answer_comes() {
    let mut farm = Farm::new(1, vec![step("test", &[])]);
    farm.submit();
    farm.step();
    farm.step();
    // Its answer is overdue while events cannot be written: it is given again, and held back.
    let prepare = farm.todo.pop_front().unwrap().key();
    let kept = BuildEvent::Tested {
        unit: Unit {
            step: name("test"),
            part: Part::Whole,
        },
        attempt: 1,
        tests: TestCounts::default(),
        results: None,
    };
    let id = build().into();
    assert!(farm.dispatcher.record(&id, kept, farm.now));
    farm.now = farm.now + Duration::from_secs(2 * 60 * 60);
    let effects = farm.dispatcher.handle(Input::Tick, farm.now);
    let given = |effects: &[Effect]| {
        let of_key = |e: &&Effect| matches!(e, Effect::Do(c, _) if c.key() == prepare);
        effects.iter().filter(of_key).count()
    };
    assert_eq!(given(&effects), 0);
    let reply = Reply::Prepared {
        base: Base::Source,
        cache_hits: Vec::new(),
        start: None,
        tool_caches: Vec::new(),
    };
    farm.dispatcher
        .handle(Input::Done(prepare.clone(), reply), farm.now);
    let mut after = Vec::new();
    for effect in effects {
        if let Some(recorded) = farm.effect(effect) {
            after.extend(farm.dispatcher.handle(recorded, farm.now));
        }
    }
    assert_eq!(given(&after), 0, "the directory is in use by now");
}

#[test]
fn nothing_begins_on_a_machine_that_is_being_given_back() {
    let mut tests = step("tests", &[]);
    tests.tests = Some("list".into());
    tests.shards = 2;
    let mut farm = Farm::new(2, vec![tests, step("alone", &[])]);
    farm.listing = "one\ntwo\n".into();
    farm.submit();
    let is = |command: &Command, name: &str| match command {
        Command::Run { unit, .. } => unit.to_string().starts_with(name),
        _ => false,
    };
    // The listing takes long; the machine of the other step has nothing left to do meanwhile.
    let mut leaving = None;
    while leaving.is_none() {
        let at = farm.todo.iter().position(|c| !is(c, "tests"));
        let command = farm
            .todo
            .remove(at.expect("the other step goes on"))
            .unwrap();
        if let Command::Release { lease, .. } = &command {
            leaving = Some(lease.clone());
            farm.todo.push_back(command);
        } else {
            farm.todo.push_front(command);
            assert!(farm.step());
        }
    }
    let before = farm.log.len();
    farm.run();
    let on_leaving = farm.log[before..].iter().filter(|r| match &r.event {
        BuildEvent::Started { lease, .. } => Some(lease) == leaving.as_ref(),
        _ => false,
    });
    assert_eq!(on_leaving.count(), 0);
    assert_eq!(farm.outcome(), Some(&Outcome::Passed));
}
