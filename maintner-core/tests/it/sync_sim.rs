//! A week of simulated life under seeds: hosts that change, connections that break, programs that
//! are killed, clocks that jump, writers that begin with old notes.
//!
//! `MAINTNER_SIM_SEEDS=10000` runs more seeds than CI does; `MAINTNER_SIM_SEED=N` runs one.

use std::collections::{BTreeMap, HashMap, HashSet};

use maintner_core::source::MemoryLog;
use maintner_core::sync::gerrit::Gerrit;
use maintner_core::sync::remote::{GitRemote, RemoteRef};
use maintner_core::sync::{HostReader, Step, SyncError, Writer};
use maintner_core::{Corpus, GitHash, Options, pb};
use serde_json::json;

use crate::fake_github::Fault;
use crate::sync_github::{Life, assert_nothing_twice, lively};

/// A small generator of pseudo-random numbers (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.roll() % end as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    match number("MAINTNER_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("MAINTNER_SIM_SEEDS").unwrap_or(500),
    }
}

/// Runs all seeds on all cores; a seed that fails says which one it is.
fn each_seed(run: impl Fn(u64) + Sync) {
    let next = std::sync::atomic::AtomicU64::new(seeds().start);
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if !seeds().contains(&seed) {
                        return;
                    }
                    struct Name(u64);
                    impl Drop for Name {
                        fn drop(&mut self) {
                            if std::thread::panicking() {
                                eprintln!("again with: MAINTNER_SIM_SEED={}", self.0);
                            }
                        }
                    }
                    let _name = Name(seed);
                    run(seed);
                }
            });
        }
    });
}

/// What is broken on purpose, to see that it would be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Planted {
    Nothing,
    /// A page's mutations are dropped once, and noted as written.
    LostPage,
    /// Some mutations are written twice.
    DoubledEvent,
}

const FAULTS: [Fault; 8] = [
    Fault::Cut,
    Fault::Status502,
    Fault::Truncated,
    Fault::UsedUp,
    Fault::RetryAfter,
    Fault::Secondary,
    Fault::TooMany,
    Fault::Repeated,
];

/// Something happens on GitHub.
fn happen(life: &mut Life, dice: &mut Dice) {
    let server = &mut life.server;
    server.now += 1 + dice.below(600) as i64;
    let numbers: Vec<i32> = server
        .issues
        .iter()
        .filter(|(_, issue)| !issue.deleted && issue.moved.is_none())
        .map(|(&number, _)| number)
        .collect();
    let number = numbers[dice.below(numbers.len())];
    match dice.below(12) {
        0 => {
            server.open(dice.one_in(3));
        }
        1 if numbers.len() > 4 => server.delete(number),
        2 if numbers.len() > 4 => server.transfer(number),
        3 | 4 => {
            server.comment(number, "word");
        }
        5 if !server.comments.is_empty() => {
            let id = server.comments[dice.below(server.comments.len())].id;
            server.edit_comment(id, &format!("edited {}", dice.roll()));
        }
        6 if !server.comments.is_empty() => {
            let id = server.comments[dice.below(server.comments.len())].id;
            server.delete_comment(id);
        }
        7 if server.issues[&number].pull => {
            server.review(number, "APPROVED");
            server.code_comment(number, "hm");
        }
        8 => server
            .labels
            .push((100 + dice.below(1_000_000) as i64, "new".into())),
        _ => {
            server.event(number, "closed", &json!({}));
            let issue = server.issues.get_mut(&number).unwrap();
            issue.json["state"] = if dice.one_in(2) { "closed" } else { "open" }.into();
        }
    }
}

/// A week of a repository; whether what the corpus has at its end is what GitHub has.
fn week(seed: u64, planted: Planted) -> Result<(), String> {
    let mut dice = Dice(seed);
    let mut life = Life::new(lively(12));
    life.planted = match planted {
        Planted::Nothing => None,
        Planted::LostPage => Some(false),
        Planted::DoubledEvent => Some(true),
    };
    for _ in 0..5 {
        life.server.now += dice.below(86_400) as i64;
        life.begin(dice.one_in(4));
        for _ in 0..400 {
            if dice.one_in(12) {
                happen(&mut life, &mut dice);
            }
            let fault = match dice.one_in(10) {
                true => FAULTS[dice.below(FAULTS.len())],
                false => Fault::None,
            };
            match life.step(fault) {
                Ok(true) => {}
                Ok(false) => break,
                Err(_) => life.begin(false),
            }
            if dice.one_in(40) {
                life.restart();
            }
            if dice.one_in(60) {
                // Somebody else takes over with notes from some time ago.
                life.old_notes(dice.one_in(2));
                life.restart();
            }
        }
    }
    // Peace: what came late is read again, and once more all issues are listed.
    for wait in [100, 4000, 8 * 86_400, 4000] {
        life.server.now += wait;
        life.compare();
    }
    let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        life.assert_in_step();
        assert_nothing_twice(life.log());
    }));
    judged.map_err(|_| format!("seed {seed} is out of step"))
}

#[test]
fn a_week_of_github() {
    each_seed(|seed| week(seed, Planted::Nothing).unwrap());
}

#[test]
fn planted_bugs_are_found() {
    for planted in [Planted::LostPage, Planted::DoubledEvent] {
        let found = (0..20).filter(|&seed| week(seed, planted).is_err()).count();
        assert!(found > 0, "{planted:?} was never found");
    }
}

/// A git repository in memory.
#[derive(Debug, Default, Clone)]
struct FakeRemote {
    refs: BTreeMap<String, GitHash>,
    commits: HashMap<GitHash, Vec<GitHash>>,
    /// What was fetched.
    here: HashSet<GitHash>,
    fail: bool,
}

impl FakeRemote {
    fn commit(&mut self, dice: &mut Dice, parents: Vec<GitHash>) -> GitHash {
        let mut bytes = [0; 20];
        bytes.iter_mut().for_each(|byte| *byte = dice.roll() as u8);
        let hash = GitHash::new(bytes);
        self.commits.insert(hash, parents);
        hash
    }

    fn cut(&mut self) -> Result<(), SyncError> {
        match std::mem::take(&mut self.fail) {
            true => Err(SyncError::Git {
                action: "fetch",
                remote: "memory".into(),
                reason: "the remote end hung up".into(),
            }),
            false => Ok(()),
        }
    }

    fn reach(&self, tip: GitHash, found: &mut HashSet<GitHash>) {
        let mut stack = vec![tip];
        while let Some(hash) = stack.pop() {
            if self.commits.contains_key(&hash) && found.insert(hash) {
                stack.extend(&self.commits[&hash]);
            }
        }
    }
}

/// The repository, as its host and its reader see it.
#[derive(Debug, Default, Clone)]
struct Shared(std::sync::Arc<std::sync::Mutex<FakeRemote>>);

impl std::ops::Deref for Shared {
    type Target = std::sync::Mutex<FakeRemote>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl GitRemote for Shared {
    fn url(&self) -> &str {
        "memory"
    }

    fn list(&mut self) -> Result<Vec<RemoteRef>, SyncError> {
        let mut remote = self.lock().unwrap();
        remote.cut()?;
        let refs = remote.refs.iter();
        let refs = refs.map(|(name, &hash)| RemoteRef {
            name: name.clone(),
            hash,
        });
        Ok(refs.collect())
    }

    fn fetch(&mut self, refs: &[RemoteRef]) -> Result<Vec<RemoteRef>, SyncError> {
        let mut remote = self.lock().unwrap();
        remote.cut()?;
        let mut found = HashSet::new();
        refs.iter()
            .for_each(|one| remote.reach(one.hash, &mut found));
        remote.here.extend(found);
        Ok(Vec::new())
    }

    fn forget(&mut self, _names: &[String]) -> Result<(), SyncError> {
        Ok(())
    }

    fn peel(&self, hash: GitHash) -> Result<Option<GitHash>, SyncError> {
        Ok(self.lock().unwrap().here.contains(&hash).then_some(hash))
    }

    fn walk(
        &self,
        tips: &[GitHash],
        is_known: &dyn Fn(GitHash) -> bool,
    ) -> Result<Vec<GitHash>, SyncError> {
        let remote = self.lock().unwrap();
        let (mut order, mut seen) = (Vec::new(), HashSet::new());
        let mut stack: Vec<(GitHash, bool)> = tips.iter().map(|&tip| (tip, false)).collect();
        while let Some((hash, expanded)) = stack.pop() {
            if expanded {
                order.push(hash);
            } else if !is_known(hash) && remote.here.contains(&hash) && seen.insert(hash) {
                stack.push((hash, true));
                stack.extend(remote.commits[&hash].iter().map(|&parent| (parent, false)));
            }
        }
        Ok(order)
    }

    fn read(&self, commits: &[(GitHash, GitHash)]) -> Result<Vec<pb::GitCommit>, SyncError> {
        let remote = self.lock().unwrap();
        let read = |(hash, named): &(GitHash, GitHash)| {
            let parents: String = remote.commits[hash]
                .iter()
                .map(|parent| format!("parent {parent}\n"))
                .collect();
            let who = "A <1@s> 1600000000 +0000";
            let raw = format!(
                "tree {named}\n{parents}author {who}\ncommitter {who}\n\nUpdate patch set 1\n\n\
                 Patch Set 1: ok\n\nPatch-set: 1\nBranch: refs/heads/master\nStatus: new\n"
            );
            pb::GitCommit {
                sha1: named.to_string(),
                raw: raw.into_bytes(),
                diff_tree: Some(pb::GitDiffTree::default()),
            }
        };
        Ok(commits.iter().map(read).collect())
    }
}

/// Something happens in a Gerrit project.
fn push(remote: &mut FakeRemote, dice: &mut Dice) {
    let names: Vec<String> = remote.refs.keys().cloned().collect();
    let some = names[dice.below(names.len())].clone();
    let number = 1 + dice.below(9);
    let change = |leaf: &str| format!("refs/changes/{number:02}/{number}/{leaf}");
    match dice.below(8) {
        0 if names.len() > 3 && some != "refs/heads/master" => {
            remote.refs.remove(&some);
        }
        1 => {
            // A rewind, or a branch from anywhere.
            let target = remote.refs[&some];
            let parent = remote.commits[&target].first().copied().unwrap_or(target);
            remote.refs.insert("refs/heads/master".into(), parent);
        }
        2 => {
            let target = remote.refs[&some];
            remote.refs.insert(format!("refs/heads/b{number}"), target);
        }
        3 | 4 => {
            let parents = remote
                .refs
                .get(&change("meta"))
                .copied()
                .into_iter()
                .collect();
            let meta = remote.commit(dice, parents);
            remote.refs.insert(change("meta"), meta);
            let base = remote.refs["refs/heads/master"];
            let version = 1 + dice.below(3);
            let work = remote.commit(dice, vec![base]);
            remote.refs.insert(change(&version.to_string()), work);
        }
        _ => {
            let tip = remote.refs["refs/heads/master"];
            let other = remote.refs[&some];
            let parents = if dice.one_in(4) {
                vec![tip, other]
            } else {
                vec![tip]
            };
            let commit = remote.commit(dice, parents);
            remote.refs.insert("refs/heads/master".into(), commit);
        }
    }
}

#[test]
fn a_week_of_gerrit() {
    each_seed(|seed| {
        let mut dice = Dice(seed);
        let remote = Shared::default();
        {
            let mut remote = remote.lock().unwrap();
            let root = remote.commit(&mut dice, Vec::new());
            remote.refs.insert("refs/heads/master".into(), root);
        }
        let log = MemoryLog::new();
        let load = || {
            let corpus = Corpus::load(log.clone(), Options::default().workers(1)).unwrap();
            Writer::new(log.clone(), corpus)
        };
        let mut writer = load();
        let mut reader = Gerrit::new("h/p", remote.clone());
        for _ in 0..150 {
            if dice.one_in(3) {
                push(&mut remote.lock().unwrap(), &mut dice);
            }
            remote.lock().unwrap().fail = dice.one_in(9);
            match reader.step(&writer.view()) {
                Ok(Step::Write(mutations)) => writer.write(&mutations).unwrap(),
                Ok(_) => {}
                Err(_) => reader.restart(false),
            }
            if dice.one_in(25) {
                writer = load();
                reader = Gerrit::new("h/p", remote.clone());
            }
        }
        remote.lock().unwrap().fail = false;
        reader.restart(false);
        loop {
            match reader.step(&writer.view()).unwrap() {
                Step::Write(mutations) => writer.write(&mutations).unwrap(),
                Step::Done => break,
                Step::Again | Step::Wait(_) => {}
            }
        }
        let remote = remote.lock().unwrap();
        let view = writer.view();
        let project = view.gerrit().project("h", "p").unwrap();
        let mut wanted = remote.refs.clone();
        let changes = wanted.split_off("refs/changes/");
        let heads = changes
            .iter()
            .filter(|(name, _)| name.starts_with("refs/heads/"));
        wanted.extend(heads.map(|(name, hash)| (name.clone(), *hash)));
        let here: BTreeMap<String, GitHash> = project
            .refs()
            .map(|r| (r.name().to_owned(), r.hash()))
            .collect();
        assert_eq!(here, wanted, "seed {seed}");
        let mut reached = HashSet::new();
        remote
            .refs
            .values()
            .for_each(|&tip| remote.reach(tip, &mut reached));
        for hash in reached {
            assert!(
                view.git().commit(hash).unwrap().is_known(),
                "seed {seed}: {hash}"
            );
        }
        for cl in project.cls() {
            for set in cl.patch_sets() {
                let number = cl.number();
                let name = format!("refs/changes/{number:02}/{number}/{}", set.version());
                assert_eq!(
                    changes.get(&name),
                    Some(&set.commit().hash()),
                    "seed {seed}"
                );
            }
        }
        assert_eq!(view.anomalies().total(), 0, "seed {seed}");
    });
}
