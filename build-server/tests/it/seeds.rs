//! The simulated farm under many seeds.

use std::num::NonZeroU32;
use std::time::Duration;

use build_core::clock::Timestamp;
use build_core::event::{BuildEvent, LeaseEnd, Outcome, SessionEnd, SessionEvent, UnitEnd};
use build_core::plant::Plant;
use build_core::pool::LEASE_TTL;
use build_core::schedule::{Machine, Policy, Quotas, Rank, Reason, Waiter};
use build_server::sim::{Faults, HOUR, Report, Sim, Violation};

/// Seeds that once failed, or whose story is worth keeping.
const COMMITTED: &[u64] = &[0, 1, 2, 3, 7, 42];

/// How many more seeds are run: `FARMER_SEEDS`, else some that take seconds.
fn count() -> u64 {
    std::env::var("FARMER_SEEDS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(60)
}

fn small(seed: u64) -> Sim {
    let machines = 1 + (seed % 6) as u32;
    Sim::seed(seed)
        .machines(machines)
        .faults(Faults::ALL)
        .run_for(4 * HOUR)
}

fn checked(sim: Sim) -> Report {
    sim.check()
        .unwrap_or_else(|violation| panic!("{violation}"))
}

#[test]
fn committed_seeds_hold_and_repeat_themselves() {
    for seed in COMMITTED {
        let first = checked(small(*seed)).to_string();
        let second = checked(small(*seed)).to_string();
        assert!(!first.is_empty());
        assert!(first == second, "seed {seed} gave two different logs");
    }
}

#[test]
fn sessions_end_in_every_way() {
    let mut ways = [0; 4];
    for seed in 0..60 {
        let report = checked(small(seed));
        for recorded in report.log() {
            let Some(SessionEvent::Finished { outcome }) = recorded.read() else {
                continue;
            };
            ways[match outcome {
                Outcome::Closed(SessionEnd::Returned) => 0,
                Outcome::Closed(SessionEnd::Abandoned) => 1,
                Outcome::Infrastructure { .. } => 2,
                Outcome::Canceled { .. } => 3,
                _ => continue,
            }] += 1;
        }
        if !ways.contains(&0) {
            return;
        }
    }
    panic!("returned, abandoned, lost, canceled: {ways:?}");
}

#[test]
fn many_seeds_hold() {
    for seed in 1_000..1_000 + count() {
        checked(small(seed));
    }
}

#[test]
fn without_faults_nothing_is_lost_and_nothing_is_tried_twice() {
    let report = checked(Sim::seed(1).machines(20).run_for(12 * HOUR));
    assert!(report.builds() > 100);
    assert_eq!(report.crashes(), 0);
    let lost = |event: &BuildEvent| {
        matches!(
            event,
            BuildEvent::Ended {
                end: UnitEnd::Lost(_) | UnitEnd::Interrupted,
                ..
            } | BuildEvent::LeaseEnded {
                reason: LeaseEnd::Lost(_),
                ..
            } | BuildEvent::Finished {
                outcome: Outcome::Infrastructure { .. }
            }
        )
    };
    assert_eq!(report.count(lost), 0);
}

/// Commands run for much longer than a lease lasts, and none is taken for abandoned.
#[test]
fn a_lease_is_renewed_for_as_long_as_its_command_runs() {
    let report = checked(Sim::seed(3).machines(8).run_for(6 * HOUR));
    let took = report.log().iter().filter_map(|r| match r.read() {
        Some(BuildEvent::Ended { end, took, .. }) => {
            assert!(!matches!(end, UnitEnd::Lost(_)), "{r:?}");
            Some(took)
        }
        _ => None,
    });
    assert!(took.max() > Some(8 * LEASE_TTL));
}

/// Starts read what is open, however much there was before.
#[test]
fn a_day_with_every_fault_holds() {
    let day = Sim::seed(11).machines(5).faults(Faults::ALL);
    let report = checked(day.run_for(24 * HOUR));
    assert!(report.builds() > 100 && report.crashes() > 10);
}

#[test]
fn every_fault_alone_is_survived() {
    for bit in 0..12u64 {
        let all = [
            Faults::CRASH,
            Faults::APPEND,
            Faults::DISK_FULL,
            Faults::MACHINE_DEATH,
            Faults::START,
            Faults::SLOW_MACHINE,
            Faults::LOST_REPLY,
            Faults::DUPLICATE_REPLY,
            Faults::REORDER,
            Faults::LEASE_EXPIRY,
            Faults::CLOCK_JUMP,
            Faults::STUCK_EXEC,
        ];
        let sim = Sim::seed(bit).machines(4).faults(all[bit as usize]);
        checked(sim.run_for(3 * HOUR));
    }
}

/// One to three machines for each author, and as many or more for each repository.
fn with_quotas(seed: u64) -> Sim {
    let quota = |machines| NonZeroU32::new(machines as u32);
    small(seed).quotas(Quotas {
        author: quota(1 + seed % 3),
        repo: quota(1 + seed % 3 + seed % 2),
    })
}

/// Over crashes and lost machines nobody holds more than a quota, and whatever waits for one
/// is built.
#[test]
fn quotas_hold_and_nobody_waits_for_ever() {
    for seed in 5_000..5_000 + count() / 2 {
        checked(with_quotas(seed));
    }
}

#[test]
fn a_quota_that_is_never_given_back_is_found() {
    let violation = found_in(with_quotas, Plant::KeptQuota).to_string();
    assert!(violation.contains("did not end in time"), "{violation}");
    assert!(violation.contains("quota: "), "{violation}");
}

/// The first of a thousand seeds that finds a planted bug.
fn found(plant: Plant) -> Violation {
    found_in(small, plant)
}

fn found_in(sim: impl Fn(u64) -> Sim, plant: Plant) -> Violation {
    let violation = (0..1_000).find_map(|seed| sim(seed).plant(plant).check().err());
    let violation =
        violation.unwrap_or_else(|| panic!("{plant:?} was not found in a thousand seeds"));
    assert!(
        violation
            .to_string()
            .starts_with(&format!("seed {}: ", violation.seed()))
    );
    violation
}

#[test]
fn a_double_grant_is_found() {
    let violation = found(Plant::DoubleGrant).to_string();
    assert!(violation.contains(" is given to "), "{violation}");
}

#[test]
fn a_lost_wake_up_is_found() {
    let violation = found(Plant::LostWakeUp).to_string();
    assert!(violation.contains("did not end in time"), "{violation}");
}

#[test]
fn a_dropped_event_is_found() {
    let violation = found(Plant::DroppedEvent).to_string();
    let ways = [
        "is at version",
        "before its events are durable",
        // What the machine answered follows from an event that is not there.
        "the log contradicts what the process knows",
        // Of the wishes for a build the log does not know one.
        "every wish for it was withdrawn",
    ];
    assert!(
        ways.iter().any(|way| violation.contains(way)),
        "{violation}"
    );
}

#[test]
fn a_stream_whose_version_is_not_checked_is_found() {
    let violation = found(Plant::UncheckedVersion).to_string();
    assert!(violation.contains("who count wrote"), "{violation}");
}

#[test]
fn a_withdrawn_wish_that_is_built_is_found() {
    let violation = found(Plant::WithdrawnWishBuilt).to_string();
    assert!(violation.contains("was withdrawn"), "{violation}");
}

#[test]
fn an_event_that_packing_loses_is_found() {
    let violation = found(Plant::LossyPack).to_string();
    assert!(violation.contains("lost by packing"), "{violation}");
}

#[test]
fn a_cursor_that_is_saved_before_the_effect_is_found() {
    let violation = found(Plant::CursorFirst).to_string();
    assert!(violation.contains("was told 0 times"), "{violation}");
}

#[test]
fn an_effect_before_its_event_is_found() {
    let violation = found(Plant::EffectFirst).to_string();
    assert!(violation.contains("was told "), "{violation}");
}

#[test]
fn a_reader_that_never_asks_is_found() {
    let violation = found(Plant::NeverAsks).to_string();
    assert!(violation.contains("was told "), "{violation}");
}

#[test]
fn a_violation_names_its_seed() {
    let sim = Sim::seed(99)
        .machines(1)
        .faults(Faults::ALL)
        .run_for(Duration::from_secs(3600));
    let again = sim.plant(Plant::LostWakeUp).check();
    if let Err(violation) = again {
        assert_eq!(violation.seed(), 99);
    }
}

/// Everything labelled `hotfix` first; any machine with the labels will do.
struct Hotfix;

impl Policy for Hotfix {
    fn rank(&self, item: &Waiter, _now: Timestamp) -> Rank {
        if item.has_label("hotfix") {
            Rank::FIRST
        } else {
            Rank::fifo(item)
        }
    }

    fn fits(&self, item: &Waiter, machine: &Machine) -> Result<(), Reason> {
        machine.labels().require(item.labels())
    }
}

#[test]
fn fifty_machines_under_a_policy_of_ones_own() {
    let sim = Sim::seed(7).policy(Hotfix).machines(50);
    let report = checked(sim.faults(Faults::ALL).run_for(4 * HOUR));
    assert!(report.builds() > 150);
    assert!(report.crashes() > 2);
}

/// Eight cores for three kinds of machines, with more work than they do.
fn sharing(seed: u64) -> Sim {
    Sim::seed(seed)
        .machines(12)
        .sharing(8)
        .faults(Faults::ALL)
        .run_for(HOUR)
}

/// Over crashes and lost machines nobody takes more of an account than there is, and whatever waits
/// is built: also what needs all of it.
#[test]
fn a_shared_account_holds_and_nobody_waits_for_ever() {
    for seed in 9_000..9_000 + count() / 15 {
        checked(sharing(seed));
    }
}

/// Small builds that come all the time do not keep out the one that needs all of the account; they
/// would, if nothing were kept for it.
#[test]
fn small_builds_do_not_starve_a_big_one() {
    let longest = |plant: Option<Plant>| {
        let sim = Sim::seed(1).machines(12).sharing(8).run_for(3 * HOUR);
        let report = checked(plant.into_iter().fold(sim, Sim::plant));
        (report.longest_wait(8), report.longest_wait(1))
    };
    let (big, small) = longest(None);
    assert!(big <= small * 6 / 5, "{big:?} {small:?}");
    let (big, small) = longest(Some(Plant::NothingKept));
    assert!(big >= small * 4 / 3, "{big:?} {small:?}");
}
