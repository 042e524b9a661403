//! A whole coordinator, with machines that registered by themselves.

use std::collections::BTreeSet;

use async_trait::async_trait;
use build_core::event::{BuildEvent, Outcome, Recorded, Seq};
use build_core::ids::{BuildId, StepName};
use build_core::plan::{Part, Plan, Step, Unit};
use build_core::recipe::{Recipe, Tree};
use build_core::work::{Builder, WorkItem};
use build_server::coordinator::{Coordinator, CoordinatorBuilder, Handle};
use build_server::source::GitCheckouts;
use build_server::store::Store;
use build_server::testing::told;
use futures::TryStreamExt;
use tokio::task::JoinHandle;

use super::*;

/// Steps by hand.
#[derive(Clone)]
struct Steps(Vec<Step>);

#[async_trait]
impl Recipe for Steps {
    async fn plan(&self, _: &WorkItem, _: &Builder, tree: &dyn Tree) -> build_core::Result<Plan> {
        tree.list("").await?;
        Plan::new(self.0.clone(), "by hand")
    }
}

pub(super) fn name(text: &str) -> StepName {
    StepName::new(text).unwrap()
}

pub(super) fn repository() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "contents\n").unwrap();
    for args in [
        &["init", "--quiet", "--initial-branch=main"][..],
        &["add", "--all"],
        &["commit", "--quiet", "-m", "first"],
    ] {
        let git = Command::new("git")
            .args(args)
            .current_dir(dir.path())
            .env_remove("GIT_DIR")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_AUTHOR_NAME", "A")
            .env("GIT_AUTHOR_EMAIL", "a@example.org")
            .env("GIT_COMMITTER_NAME", "A")
            .env("GIT_COMMITTER_EMAIL", "a@example.org")
            .output()
            .unwrap();
        assert!(git.status.success(), "{git:?}");
    }
    dir
}

pub(super) struct Farm {
    handle: Handle,
    checkouts: GitCheckouts,
    running: JoinHandle<build_core::Result<()>>,
}

impl Farm {
    fn start(pool: &ReversePool, store: Store, dir: &Path, steps: Vec<Step>) -> Self {
        Self::start_with(pool, store, dir, steps, |builder| builder)
    }

    pub(super) fn start_with(
        pool: &ReversePool,
        store: Store,
        dir: &Path,
        steps: Vec<Step>,
        more: impl FnOnce(CoordinatorBuilder) -> CoordinatorBuilder,
    ) -> Self {
        let checkouts = GitCheckouts::new(dir.join("git"));
        let builder = Builder::new(
            BuilderName::new("linux").unwrap(),
            HostType::new(KIND).unwrap(),
        );
        let coordinator = Coordinator::builder()
            .pool(pool.clone())
            .build_on(builder)
            .recipe(Steps(steps))
            .checkouts(checkouts.clone())
            .store(store);
        let coordinator = more(coordinator).build().unwrap();
        let handle = coordinator.handle();
        #[expect(clippy::disallowed_methods, reason = "killed without a goodbye")]
        let running = tokio::spawn(coordinator.run(CancellationToken::new()));
        Self {
            handle,
            checkouts,
            running,
        }
    }

    pub(super) async fn submit(&self, repository: &Path) -> BuildId {
        let origin = repository.to_str().unwrap();
        let item = self.checkouts.resolve(origin, None).await.unwrap();
        let builder = self.handle.builders()[0].clone();
        self.handle.submit(item, &builder).await.unwrap()
    }

    pub(super) async fn events(&self, build: &BuildId) -> Vec<BuildEvent> {
        let mut events = self.handle.events(build, Seq(0));
        let mut all: Vec<Recorded> = Vec::new();
        let reading = async {
            while let Some(event) = events.try_next().await.unwrap() {
                all.push(event);
            }
        };
        let ended = tokio::time::timeout(PATIENCE, reading).await;
        ended.unwrap_or_else(|_| panic!("the build has not ended: {all:#?}"));
        all.iter().filter_map(told).collect()
    }

    pub(super) async fn log(&self, build: &BuildId, step: &str) -> String {
        let unit = Unit {
            step: name(step),
            part: Part::Whole,
        };
        let log = self.handle.log(build, &unit, None, 0, true).await.unwrap();
        let pieces: Vec<_> = log.try_collect().await.unwrap();
        String::from_utf8(pieces.concat()).unwrap()
    }

    /// Waits until a step has said so.
    async fn until_logged(&self, build: &BuildId, step: &str, text: &str) {
        let unit = Unit {
            step: name(step),
            part: Part::Whole,
        };
        let search = async {
            let mut log = self.handle.log(build, &unit, None, 0, true).await.unwrap();
            let mut said = Vec::new();
            while !String::from_utf8_lossy(&said).contains(text) {
                let piece = log.try_next().await.unwrap();
                said.extend(piece.expect("the log ends without it"));
            }
        };
        let found = tokio::time::timeout(PATIENCE, search).await;
        found.expect("the step says it soon");
    }

    /// As `kill -9` does it.
    pub(super) async fn kill(self) {
        self.running.abort();
        let _ = self.running.await;
    }
}

pub(super) fn outcome(events: &[BuildEvent]) -> &Outcome {
    let ended = events.iter().rev().find_map(|event| match event {
        BuildEvent::Finished { outcome } => Some(outcome),
        _ => None,
    });
    ended.expect("a build that has ended")
}

fn attempts(events: &[BuildEvent]) -> usize {
    let started = |event: &&BuildEvent| matches!(event, BuildEvent::Started { .. });
    events.iter().filter(started).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_was_killed_goes_on_with_the_build_on_the_machine() {
    let (certificates, data, repository) = (
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
        repository(),
    );
    let line = "for i in $(seq 40); do echo line $i; sleep 0.05; done; cat file";
    let steps = vec![Step::new(name("test"), line)];
    let door = Door::open(certificates.path(), None, quick()).await;
    let address = door.address;
    let _agent = Agent::start("box1", address, certificates.path());
    wait_for("it is there", || door.pool.connected() == 1).await;
    let store = Store::open(data.path()).await.unwrap();
    let farm = Farm::start(&door.pool, store, data.path(), steps.clone());
    let build = farm.submit(repository.path()).await;
    let mut events = farm.handle.events(&build, Seq(0));
    while let Some(event) = events.next().await {
        if matches!(told(&event.unwrap()), Some(BuildEvent::Started { .. })) {
            break;
        }
    }
    farm.until_logged(&build, "test", "line 3\n").await;
    drop(events);
    farm.kill().await;
    door.close().await;

    let door = Door::open(certificates.path(), Some(address), quick()).await;
    let begin = std::time::Instant::now();
    let store = loop {
        match Store::open(data.path()).await {
            Ok(store) => break store,
            Err(error) => assert!(begin.elapsed() < PATIENCE, "{}", error.chain()),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let farm = Farm::start(&door.pool, store, data.path(), steps);
    let events = farm.events(&build).await;
    assert!(outcome(&events).is_passed(), "{events:?}");
    assert_eq!(attempts(&events), 1, "it was adopted: {events:?}");
    assert_eq!(
        farm.log(&build, "test").await,
        format!("{}contents\n", counted())
    );
    farm.kill().await;
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_whose_agent_was_killed_runs_again_and_says_why() {
    let (certificates, data, repository) = (
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
        repository(),
    );
    let witness = data.path().join("witness");
    let line = format!(
        "echo ran >>{0}; if [ $(wc -l <{0}) = 1 ]; then sleep 600; fi; echo done",
        witness.display()
    );
    let steps = vec![Step::new(name("test"), line)];
    let door = Door::open(certificates.path(), None, quick()).await;
    let mut agent = Agent::start("box1", door.address, certificates.path());
    wait_for("it is there", || door.pool.connected() == 1).await;
    let farm = Farm::start(&door.pool, Store::memory(), data.path(), steps);
    let build = farm.submit(repository.path()).await;
    wait_for("it runs", || witness.exists()).await;
    agent.kill();
    let dir = Arc::clone(&agent.dir);
    let _again = Agent::start_in(dir, "box1", door.address, certificates.path());
    let events = farm.events(&build).await;
    assert!(outcome(&events).is_passed(), "{events:?}");
    assert_eq!(attempts(&events), 2, "{events:?}");
    // What is noticed first: the new process, or the end of the old one within a request.
    let said = format!("{events:?}");
    let reasons = ["was started again", "the control connection failed"];
    assert!(reasons.iter().any(|why| said.contains(why)), "{said}");
    farm.kill().await;
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tests_are_split_over_two_machines() {
    let (certificates, data, repository) = (
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
        repository(),
    );
    let seen = data.path().join("seen");
    // Each shard waits for the other: one machine alone would never end.
    let line = format!(
        "mkdir -p {0}; for t in {{tests}}; do touch {0}/$t; done; pwd; \
         for i in $(seq 600); do [ $(ls {0} | wc -l) = 4 ] && exit 0; sleep 0.05; done; exit 1",
        seen.display()
    );
    let mut step = Step::new(name("test"), line);
    step.tests = Some("printf 'a\\nb\\nc\\nd\\n'".into());
    step.shards = 2;
    let door = Door::open(certificates.path(), None, quick()).await;
    let _one = Agent::start("box1", door.address, certificates.path());
    let _two = Agent::start("box2", door.address, certificates.path());
    wait_for("both are there", || door.pool.connected() == 2).await;
    let farm = Farm::start(&door.pool, Store::memory(), data.path(), vec![step]);
    let build = farm.submit(repository.path()).await;
    let events = farm.events(&build).await;
    assert!(outcome(&events).is_passed(), "{events:?}");
    let machines: BTreeSet<String> = events
        .iter()
        .filter_map(|event| match event {
            BuildEvent::Leased { machine, .. } => Some(machine.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(machines.len(), 2, "{machines:?}");
    farm.kill().await;
    door.close().await;
}
