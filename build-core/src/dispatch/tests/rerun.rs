//! A build that failed by tests is run once more, whatever happens meanwhile.

use super::*;

/// A farm in which the tests of the first build fail, and those of the second once or not.
fn farm(fails_again: bool) -> Farm {
    let mut farm = Farm::new(2, vec![step("build", &[]), step("test", &["build"])]);
    let exit = || UnitEnd::Exited(ExecOutcome::Exit(1));
    let ends = std::iter::repeat_with(exit).take(1 + usize::from(fails_again));
    farm.ends.insert("test".into(), ends.collect());
    farm.failures = vec!["t".into()];
    farm
}

/// The builds that run another one again, with what they do.
fn reruns(log: &[Logged]) -> Vec<(HolderId, WorkItem)> {
    let queued = log.iter().filter_map(|r| match &r.event {
        BuildEvent::Queued { item, .. } if item.rerun_of.is_some() => {
            Some((r.build.clone(), item.clone()))
        }
        _ => None,
    });
    queued.collect()
}

fn outcomes(log: &[Logged]) -> Vec<bool> {
    let ends = log.iter().filter_map(|r| match &r.event {
        BuildEvent::Finished { outcome } => Some(outcome.is_passed()),
        _ => None,
    });
    ends.collect()
}

#[test]
fn a_build_that_failed_by_tests_is_run_again_once_behind_everything_else() {
    for fails_again in [false, true] {
        let mut farm = farm(fails_again);
        farm.submit();
        farm.run();
        let reruns = reruns(&farm.log);
        assert_eq!(reruns.len(), 1);
        let (id, item) = &reruns[0];
        assert_eq!(item.rerun_of, Some(build()));
        assert_eq!(item.class, Class::Backfill);
        assert!(item.labels.contains("rerun"));
        assert_eq!(outcomes(&farm.log), [false, !fails_again]);
        let last = farm.log.iter().rev().find(|r| r.build == *id);
        assert!(last.is_some());
        assert_eq!(farm.judged, 1, "a rerun is not judged");
    }
}

#[test]
fn what_tests_do_not_explain_is_not_run_again() {
    let exit = UnitEnd::Exited(ExecOutcome::Exit(1));
    type Case = (&'static str, fn(&mut Farm), UnitEnd, u64);
    let cases: [Case; 6] = [
        ("no test failed", |f| f.failures.clear(), exit.clone(), 0),
        ("known to be broken", |f| f.worth = false, exit.clone(), 1),
        (
            "turned off",
            |f| f.plan.limits.rerun = false,
            exit.clone(),
            0,
        ),
        (
            "a crash",
            |_| (),
            UnitEnd::Exited(ExecOutcome::Signal("x".into())),
            0,
        ),
        (
            "too long",
            |_| (),
            UnitEnd::TimedOut(Duration::from_secs(1)),
            0,
        ),
        ("disk", |_| (), UnitEnd::DiskQuota, 0),
    ];
    for (case, change, end, judged) in cases {
        let mut farm = farm(false);
        change(&mut farm);
        farm.ends.insert("test".into(), [end].into());
        farm.submit();
        farm.run();
        assert_eq!(outcomes(&farm.log), [false], "{case}");
        assert_eq!(
            (reruns(&farm.log).len(), farm.judged),
            (0, judged),
            "{case}"
        );
    }
}

#[test]
fn a_test_that_fails_beside_a_compile_error_is_not_run_again() {
    let mut farm = farm(false);
    farm.plan = Plan::new(vec![step("test", &[]), step("lint", &[])], "test").unwrap();
    farm.ends.insert(
        "lint".into(),
        [UnitEnd::TimedOut(Duration::from_secs(1))].into(),
    );
    farm.submit();
    farm.run();
    assert_eq!(outcomes(&farm.log), [false]);
}

#[test]
fn a_crash_at_any_append_leaves_exactly_one_rerun() {
    let mut whole = farm(false);
    whole.submit();
    whole.run();
    assert!(whole.appends.len() > 10);
    for length in &whole.appends {
        let mut again = farm(false);
        again.take_log(&whole, *length);
        // What ended before the crash has ended.
        let is_test = |r: &Logged| match &r.event {
            BuildEvent::Ended { unit, .. } => unit.to_string() == "test",
            _ => false,
        };
        if again.log.iter().any(is_test) {
            again.ends.clear();
        }
        again.judged = 50;
        again.crash();
        again.run();
        assert_eq!(reruns(&again.log).len(), 1, "crash after {length} events");
        assert_eq!(outcomes(&again.log), [false, true]);
    }
}

#[test]
fn a_build_that_is_canceled_while_it_is_judged_is_not_run_again() {
    let mut farm = farm(false);
    farm.submit();
    while !matches!(farm.todo.front(), Some(Command::Judge { .. })) {
        // The machine is given back before the past is looked up.
        if let Some(at) = farm
            .todo
            .iter()
            .position(|c| matches!(c, Command::Judge { .. }))
        {
            farm.todo.rotate_left(at);
        } else {
            assert!(farm.step());
        }
    }
    let by = Principal::person("somebody");
    farm.tell(Input::Cancel {
        build: build().into(),
        by,
    });
    farm.run();
    assert_eq!(reruns(&farm.log), []);
}
