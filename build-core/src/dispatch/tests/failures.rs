//! What went wrong in farms before this one, and does not here; see `docs/failures.md`.

use super::*;
use crate::pool::Patience;
use crate::schedule::MachineState;

fn unavailable(text: &str) -> Failure {
    Failure::from(&Error::new(ErrorKind::Unavailable, text))
}

fn is_acquire(command: &Command) -> bool {
    matches!(command, Command::Acquire { .. })
}

impl Farm {
    /// The first command that waits and is of a kind.
    fn take(&mut self, is_it: fn(&Command) -> bool) -> Option<Command> {
        let at = self.todo.iter().position(is_it)?;
        self.todo.remove(at)
    }

    /// Carries out everything that is not of a kind.
    fn run_but(&mut self, is_it: fn(&Command) -> bool) {
        while let Some(command) = self.todo.iter().position(|c| !is_it(c)) {
            let command = self.todo.remove(command).expect("it is there");
            self.todo.push_front(command);
            self.step();
        }
    }

    fn outcome_of(&self, id: &BuildId) -> Option<&Outcome> {
        self.log.iter().find_map(|r| match &r.event {
            BuildEvent::Finished { outcome } if r.build.build() == Some(id) => Some(outcome),
            _ => None,
        })
    }
}

#[test]
fn a_build_that_no_machine_serves_ends_and_says_so() {
    let mut farm = Farm::new(0, vec![step("test", &[])]);
    farm.submit();
    farm.run();
    let why = farm.dispatcher.explain(&build().into(), farm.now);
    assert_eq!(
        why[0].1.to_string(),
        "cannot run: there are no machines; 0 ahead"
    );
    farm.wait(Duration::from_secs(8 * 24 * 60 * 60));
    let text = farm.outcome().unwrap().to_string();
    assert!(
        text.ends_with("builder local had no machine for 7 days"),
        "{text}"
    );
    assert!(farm.dispatcher.is_durable() && farm.dispatcher.builds().next().is_none());
}

#[test]
fn a_checkout_that_does_not_arrive_is_sent_to_another_machine() {
    let mut farm = Farm::new(2, vec![step("test", &[])]);
    farm.submit();
    let is_prepare = |c: &Command| matches!(c, Command::Prepare { .. });
    farm.run_but(is_prepare);
    let key = farm.take(is_prepare).unwrap().key();
    farm.tell(Input::Failed(key, unavailable("connection reset")));
    farm.run();
    assert_eq!(farm.outcome(), Some(&Outcome::Passed));
    assert_eq!(farm.count(is_leased), 2);
    let lost = |e: &BuildEvent| match e {
        BuildEvent::LeaseEnded {
            reason: LeaseEnd::Lost(text),
            ..
        } => text == "connection reset",
        _ => false,
    };
    assert_eq!(farm.count(lost), 1);
}

#[test]
fn an_answer_that_never_comes_is_asked_for_again() {
    let mut farm = Farm::new(1, vec![step("test", &[])]);
    farm.submit();
    let is_prepare = |c: &Command| matches!(c, Command::Prepare { .. });
    farm.run_but(is_prepare);
    assert!(farm.take(is_prepare).is_some());
    farm.run();
    assert_eq!(farm.outcome(), None);
    farm.wait(Duration::from_secs(61 * 60));
    assert_eq!(farm.outcome(), Some(&Outcome::Passed));
}

#[test]
fn a_machine_that_always_fails_is_asked_ever_more_rarely_and_its_error_is_told() {
    let mut farm = Farm::new(1, vec![step("test", &[])]);
    let mut starts = 0;
    let mut builds = 0;
    for _ in 0..3_600 {
        if farm.dispatcher.builds().next().is_none() {
            builds += 1;
            farm.submit_as(BuildId::from_bits(builds), Class::DefaultTip);
        }
        farm.run_but(is_acquire);
        while let Some(command) = farm.take(is_acquire) {
            starts += 1;
            farm.tell(Input::Failed(command.key(), unavailable("no quota")));
            farm.run_but(is_acquire);
        }
        farm.now = farm.now + Duration::from_secs(1);
        farm.tell(Input::Tick);
    }
    // 1, 2, 4 … 60 s, then one a minute.
    assert!((60..75).contains(&starts), "{starts} in an hour");
    let first = farm.outcome_of(&BuildId::from_bits(1)).unwrap();
    assert!(first.to_string().ends_with("no quota"), "{first}");
    let why = farm
        .dispatcher
        .builds()
        .flat_map(|b| farm.dispatcher.explain(b.id(), farm.now));
    let why: Vec<String> = why.map(|(_, why)| why.to_string()).collect();
    assert!(
        why[0].starts_with("machines of local failed and rest until"),
        "{why:?}"
    );
}

#[test]
fn a_machine_that_was_started_for_who_has_left_serves_the_next() {
    let mut farm = Farm::new(1, vec![step("test", &[])]);
    farm.submit();
    farm.run_but(is_acquire);
    let next = BuildId::from_bits(2);
    farm.submit_as(next.clone(), Class::DefaultTip);
    farm.run_but(is_acquire);
    let by = Principal::person("me");
    farm.tell(Input::Cancel {
        build: build().into(),
        by,
    });
    farm.run();
    assert_eq!(farm.outcome_of(&next), Some(&Outcome::Passed));
    assert_eq!(farm.count(is_leased), 2);
    let lost = |e: &BuildEvent| {
        matches!(
            e,
            BuildEvent::LeaseEnded {
                reason: LeaseEnd::Lost(_),
                ..
            }
        )
    };
    assert_eq!(farm.count(lost), 0, "it was given back, not thrown away");
}

#[test]
fn a_thousand_failures_leave_no_machine_counted_as_held() {
    let mut farm = Farm::new(3, vec![step("build", &[]), step("test", &["build"])]);
    let mut draw = 7_u64;
    let mut failures = 0;
    for n in 1.. {
        farm.submit_as(BuildId::from_bits(n), Class::DefaultTip);
        while let Some(command) = farm.todo.pop_front() {
            draw = draw
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695);
            if (draw >> 33).is_multiple_of(3) {
                failures += 1;
                farm.tell(Input::Failed(command.key(), unavailable("by chance")));
            } else {
                farm.todo.push_front(command);
                farm.step();
            }
        }
        farm.now = farm.now + Duration::from_secs(61);
        farm.tell(Input::Tick);
        if failures > 1_000 {
            break;
        }
    }
    // What was written off comes back when its lease has run out; pauses end too.
    for _ in 0..100 {
        farm.wait(Duration::from_secs(10 * 60));
    }
    assert_eq!(farm.dispatcher.builds().count(), 0);
    let states: Vec<_> = farm
        .dispatcher
        .scheduler()
        .machines()
        .map(|(_, s)| s)
        .collect();
    assert_eq!(states, [MachineState::Free; 3]);
}

#[test]
fn the_machine_of_a_canceled_build_goes_to_the_person_who_waits() {
    let mut farm = Farm::new(1, vec![step("test", &[])]);
    let is_run = |c: &Command| matches!(c, Command::Run { .. });
    farm.submit();
    farm.run_but(is_run);
    for n in 2..50 {
        farm.submit_as(BuildId::from_bits(n), Class::ReleaseTip);
    }
    farm.run_but(is_run);
    farm.open_session();
    let why = farm.dispatcher.explain(&session().into(), farm.now);
    assert_eq!(why[0].1.ahead, 0);
    farm.tell(Input::Cancel {
        build: build().into(),
        by: "me".into(),
    });
    let run = farm.take(is_run).unwrap();
    let reply = Reply::Ran {
        salvaged: Vec::new(),
        results: None,
        end: UnitEnd::Exited(ExecOutcome::Killed),
        output_bytes: 0,
        took: None,
        tests: TestCounts::default(),
        listing: None,
    };
    farm.tell(Input::Done(run.key(), reply));
    farm.run();
    assert!(farm.dispatcher.session_machine(&session()).is_some());
    assert!(farm.done.iter().all(|done| done == "prepare source"));
}

/// A cloud needs half an hour: both who starts its machine and who waits for that know it.
#[test]
fn a_slow_pool_gets_the_time_that_it_asks_for() {
    let minutes = |n: u64| Duration::from_secs(n * 60);
    let mut farm = Farm::new(0, vec![step("test", &[])]);
    let slow = Patience {
        start: minutes(40),
        ..Patience::default()
    };
    let all = machines(1).into_iter().map(|machine| machine.patient(slow));
    farm.tell(Input::Machines(all.collect()));
    farm.submit();
    farm.run_but(is_acquire);
    let acquire = farm.take(is_acquire).expect("a machine was granted");
    assert_eq!(farm.limits[&acquire.key()], minutes(40));
    // The pool has taken the machine off its list meanwhile: that changes nothing.
    farm.tell(Input::Machines(Vec::new()));
    farm.wait(minutes(41));
    assert_eq!(farm.outcome(), None, "it is on its way");
    farm.wait(minutes(2));
    let again = farm
        .limits
        .keys()
        .filter(|key| matches!(key, CommandKey::Acquire(..)));
    assert_eq!(again.count(), 1);
    assert_eq!(
        farm.outcome(),
        Some(&Outcome::Passed),
        "the lost answer was asked for again"
    );
}
