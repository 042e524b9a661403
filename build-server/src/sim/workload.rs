//! Commits, plans and fates, all from the seed.

use std::collections::BTreeSet;
use std::time::Duration;

use build_core::buildlet::ExecOutcome;
use build_core::clock::Timestamp;
use build_core::ids::{CommitHash, ExecId, HolderId, RepoName, StepName};
use build_core::plan::{Part, Plan, Step};
use build_core::test_lines::TestCounts;
use build_core::work::{Class, WorkItem};

use super::rng::Rng;

const CLASSES: [Class; 7] = [
    Class::Urgent,
    Class::Interactive,
    Class::Try,
    Class::Try,
    Class::DefaultTip,
    Class::BranchTip,
    Class::Backfill,
];

pub(super) fn item(rng: &mut Rng, now: Timestamp) -> WorkItem {
    let hash = format!(
        "{:016x}{:016x}{:08x}",
        rng.bits(),
        rng.bits(),
        rng.bits() as u32
    );
    let labels = if rng.chance(50) {
        BTreeSet::from(["hotfix".to_owned()])
    } else {
        BTreeSet::new()
    };
    WorkItem {
        repo: RepoName::new(["project", "other"][usize::from(hash.as_bytes()[0] % 2)])
            .expect("printable"),
        origin: "/project".into(),
        commit: CommitHash::new(hash).expect("forty hex digits"),
        commit_time: now,
        subject: String::new(),
        branch: None,
        tag: None,
        order: None,
        change: None,
        author: Some(format!("author{}", rng.below(0..5))),
        class: *rng.pick(&CLASSES),
        labels,
        worktree: false,
        rerun_of: None,
        repo_id: None,
        host: None,
        patch_set: None,
        trust: Default::default(),
        rest: Default::default(),
    }
}

/// The plan of a build, the same whenever its recipe is asked.
pub(super) fn plan(seed: u64, build: &HolderId) -> Plan {
    let mut rng = Rng::new(seed ^ hash(build.as_str()));
    let name = |n: u64| StepName::new(format!("s{n}")).expect("a plain word");
    let count = rng.below(1..6);
    let steps = (0..count).map(|n| {
        let mut step = Step::new(name(n), format!("run {n}"));
        step.needs = (0..n).filter(|_| rng.chance(350)).map(name).collect();
        step.timeout = Duration::from_secs(rng.below(600..2400));
        step.quiet = Duration::from_secs(rng.below(300..600));
        if rng.chance(250) {
            step.tests = Some("list".into());
            step.shards = rng.below(1..5) as u32;
        }
        if rng.chance(300) {
            step.artifacts.push("out/**".into());
        }
        if rng.chance(200) {
            step.cache.push(format!("cache{n}"));
        }
        step
    });
    Plan::new(steps.collect(), "simulation").expect("steps need earlier ones only")
}

/// What a listing prints.
pub(super) fn listing(seed: u64, build: &HolderId) -> String {
    let count = Rng::new(seed ^ hash(build.as_str())).bits() % 12;
    (0..count).map(|n| format!("test{n}\n")).collect()
}

/// What a command prints of tests: some of the failing ones name one.
pub(super) fn tests(exec: &ExecId, outcome: &ExecOutcome) -> TestCounts {
    let mut tests = TestCounts::default();
    if *outcome == ExecOutcome::Exit(1) && !hash(exec.as_str()).is_multiple_of(4) {
        tests.failed = 1;
        tests.failures.push("test".into());
    }
    tests
}

/// Whether the tests that failed in a build were not broken before.
pub(super) fn is_worth_a_rerun(seed: u64, build: &HolderId) -> bool {
    !(seed ^ hash(build.as_str())).is_multiple_of(3)
}

/// How a command ends, how much it prints, and how long it takes.
pub(super) fn fate(
    seed: u64,
    exec: &ExecId,
    part: Part,
    may_hang: bool,
) -> (ExecOutcome, u64, Duration) {
    let mut rng = Rng::new(seed ^ hash(exec.as_str()));
    let took = Duration::from_secs(if part == Part::List {
        rng.below(1..10)
    } else {
        rng.below(1..900)
    });
    let outcome = match rng.below(0..100) {
        0..5 => ExecOutcome::Exit(1),
        5..6 => ExecOutcome::DiskQuota,
        6..7 => ExecOutcome::Signal("segmentation fault".into()),
        7..9 if may_hang => ExecOutcome::Silent,
        9..10 if may_hang => ExecOutcome::TimedOut,
        _ => ExecOutcome::Ok,
    };
    (outcome, rng.below(0..1 << 30), took)
}

/// FNV-1a.
pub(super) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
