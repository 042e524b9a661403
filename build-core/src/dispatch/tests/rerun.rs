//! A build that failed by tests is run once more, whatever happens meanwhile.

use super::*;
use crate::rerun::rerun_of;

/// The second run.
const AGAIN: u64 = 77;

/// A farm in which the tests of the first build fail, and those of the second once or not.
fn farm(fails_again: bool) -> Farm {
    let mut farm = Farm::new(2, vec![step("build", &[]), step("test", &["build"])]);
    let exit = || UnitEnd::Exited(ExecOutcome::Exit(1));
    let ends = std::iter::repeat_with(exit).take(1 + usize::from(fails_again));
    farm.ends.insert("test".into(), ends.collect());
    farm.failures = vec!["t".into()];
    farm
}

impl Farm {
    /// The wish that follows from the events of a build.
    fn rerun_of(&self, build: &BuildId) -> Option<Wish> {
        let stream = StreamId::from(build);
        let own = self.stored.iter().filter(|event| event.stream == stream);
        rerun_of(&own.cloned().collect::<Vec<_>>()).unwrap()
    }

    fn ends(&self) -> Vec<bool> {
        let ends = self.log.iter().filter_map(|r| match &r.event {
            BuildEvent::Finished { outcome } => Some(outcome.is_passed()),
            _ => None,
        });
        ends.collect()
    }
}

#[test]
fn a_build_that_failed_by_tests_is_run_again_once_behind_everything_else() {
    for fails_again in [false, true] {
        let mut farm = farm(fails_again);
        farm.submit();
        farm.run();
        let wish = farm.rerun_of(&build()).unwrap();
        assert_eq!(wish.item.rerun_of, Some(build()));
        assert_eq!(wish.item.class, Class::Backfill);
        assert!(wish.item.labels.contains("rerun"));
        // Whoever reads the log may ask twice, also after it was built.
        farm.ask_new(wish.clone(), AGAIN);
        farm.ask_new(wish.clone(), AGAIN + 1);
        farm.run();
        farm.ask_new(wish, AGAIN + 2);
        farm.run();
        assert_eq!(farm.ends(), [false, !fails_again]);
        let again = farm.rerun_of(&BuildId::from_bits(AGAIN));
        assert_eq!(again, None, "a second run is not run again");
    }
}

#[test]
fn the_second_run_is_not_shared_with_what_others_want() {
    let mut farm = farm(false);
    farm.submit();
    farm.run();
    let wish = farm.rerun_of(&build()).unwrap();
    let item = wish.item.asked_again();
    let by = Principal::person("ann");
    let other = Wish::new(WishKey::from_bits(5), item, wish.builders.clone(), by);
    farm.ask(other, 5);
    farm.ask(wish, AGAIN);
    farm.run();
    assert_eq!(farm.ends(), [false, true, true]);
}

#[test]
fn what_tests_do_not_explain_is_not_run_again() {
    let exit = UnitEnd::Exited(ExecOutcome::Exit(1));
    let signal = UnitEnd::Exited(ExecOutcome::Signal("x".into()));
    let too_long = UnitEnd::TimedOut(Duration::from_secs(1));
    type Case = (&'static str, fn(&mut Farm), UnitEnd);
    let cases: [Case; 5] = [
        ("no test failed", |f| f.failures.clear(), exit.clone()),
        ("turned off", |f| f.plan.limits.rerun = false, exit),
        ("a crash", |_| (), signal),
        ("too long", |_| (), too_long),
        ("disk", |_| (), UnitEnd::DiskQuota),
    ];
    for (case, change, end) in cases {
        let mut farm = farm(false);
        change(&mut farm);
        farm.ends.insert("test".into(), [end].into());
        farm.submit();
        farm.run();
        assert_eq!(farm.ends(), [false], "{case}");
        assert_eq!(farm.rerun_of(&build()), None, "{case}");
    }
}

#[test]
fn a_test_that_fails_beside_a_step_that_takes_too_long_is_not_run_again() {
    let mut farm = farm(false);
    farm.plan = Plan::new(vec![step("test", &[]), step("lint", &[])], "test").unwrap();
    let end = UnitEnd::TimedOut(Duration::from_secs(1));
    farm.ends.insert("lint".into(), [end].into());
    farm.submit();
    farm.run();
    assert_eq!(farm.ends(), [false]);
    assert_eq!(farm.rerun_of(&build()), None);
}

#[test]
fn what_was_canceled_or_is_not_over_is_not_run_again() {
    let mut farm = farm(false);
    farm.submit();
    assert_eq!(farm.rerun_of(&build()), None);
    let by = Principal::person("somebody");
    farm.tell(Input::Cancel {
        build: build().into(),
        by,
    });
    farm.run();
    assert_eq!(farm.rerun_of(&build()), None);
    assert_eq!(rerun_of(&[]).unwrap(), None);
}
