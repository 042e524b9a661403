//! Clocks that jump, lists and files that are too large: each says what is wrong, or does no harm.

use std::time::Duration;

use build_core::clock::{Clock as _, ManualClock, SystemClock, Timestamp};
use build_core::event::Outcome;
use build_core::recipe::Detect;
use build_server::store::Store;

use crate::farm::{FakePool, Farm, Repository, Steps, step};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[tokio::test]
async fn recorded_durations_survive_a_clock_that_jumps_by_a_day_either_way() {
    let repository = Repository::with_file("a", "");
    let marks = tempfile::tempdir().unwrap();
    let go = |n: usize| marks.path().join(format!("go{n}"));
    let begun = |n: usize| marks.path().join(format!("begun{n}"));
    let run = format!(
        "n=$(ls {0} | grep -c begun); touch {0}/begun$n; until [ -e {0}/go$n ]; do sleep 0.01; done",
        marks.path().display()
    );
    let steps = Steps(vec![step("waits", &run)]);
    let (pool, store) = (FakePool::new(1), Store::memory());
    let now = SystemClock.now();
    // Whether the farm is killed while the step runs: then only the clock tells how long it took.
    for (n, (ahead, is_killed)) in [(true, false), (false, false), (true, true), (false, true)]
        .into_iter()
        .enumerate()
    {
        let clock = ManualClock::at(now);
        let start = || {
            Farm::start_with(&pool, store.clone(), steps.clone(), |b| {
                b.clock(clock.clone())
            })
        };
        let farm = start();
        repository.commit("next");
        let build = farm.submit(&repository).await;
        while !begun(n).exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let jump = || match ahead {
            true => clock.advance(DAY),
            false => {
                let day = i64::try_from(DAY.as_micros()).unwrap();
                clock.set(Timestamp::from_micros(now.as_micros() - day));
            }
        };
        let farm = match is_killed {
            true => {
                farm.kill().await;
                jump();
                start()
            }
            false => {
                jump();
                farm
            }
        };
        std::fs::write(go(n), "").unwrap();
        let built = farm.built(&build).await;
        assert!(built.passed(), "{:#?}", built.events);
        let records = farm.handle.records();
        let row = records.build(&build).await.unwrap().unwrap();
        let took = row.runs[0].took.unwrap();
        let most = match is_killed {
            // No more than a step may take.
            true => step("waits", "").timeout,
            false => Duration::from_secs(60),
        };
        assert!(took <= most, "{n}: {took:?}");
        let builder = farm.builder();
        let timings = records.timings(&row.item.repo, &builder, &row.runs[0].unit.step, 9);
        let timings = timings.await.unwrap();
        // What was guessed is in no estimate.
        assert_eq!(timings.len(), (n + 1).min(2), "{n}: {timings:?}");
        assert!(
            timings.iter().all(|t| t.took < Duration::from_secs(60)),
            "{timings:?}"
        );
        farm.stop().await;
    }
}

fn misconfigured(outcome: Outcome) -> (String, String) {
    match outcome {
        Outcome::Misconfigured { text, hint } => (text, hint),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_list_or_a_configuration_that_is_too_large_is_said_and_no_machines_fault() {
    let repository = Repository::with_file("a", "");
    let mut listed = step("test", "echo {tests}");
    listed.tests = Some("yes a-name-of-some-length | head -c 17000000".into());
    let pool = FakePool::new(1);
    let farm = Farm::start(&pool, Store::memory(), Steps(vec![listed]));
    let built = farm.build(&repository).await;
    let leases = |built: &crate::farm::Built| {
        let told = built.events.iter().map(crate::farm::told);
        let leased = |event: &_| matches!(event, build_core::event::BuildEvent::Leased { .. });
        told.filter(leased).count()
    };
    assert_eq!(leases(&built), 1);
    let (text, hint) = misconfigured(built.outcome());
    assert!(
        text.contains("more than 16777216 bytes of test names"),
        "{text}"
    );
    assert!(hint.contains("tests"), "{hint}");
    farm.stop().await;

    let large = format!(
        "# {}\n[[step]]\nname = \"x\"\nrun = \"true\"\n",
        "x".repeat(1 << 20)
    );
    let repository = Repository::with_file(".farmer.toml", &large);
    let farm = Farm::start(&pool, Store::memory(), Detect);
    let built = farm.build(&repository).await;
    let (text, hint) = misconfigured(built.outcome());
    assert!(text.contains(".farmer.toml has"), "{text}");
    assert!(hint.contains("smaller than 1 MiB"), "{hint}");
    farm.stop().await;
}
