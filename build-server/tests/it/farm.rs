//! A small farm for tests: the fake one of the library, with repositories of git.

use std::ops::Deref;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use build_core::Result;
use build_core::buildlet::ByteStream;
use build_core::event::{BuildEvent, Recorded};
use build_core::ids::{BuildId, HostType, StepName};
use build_core::plan::{Part, Step, Unit};
use build_core::recipe::Recipe;
use build_server::coordinator::{Coordinator, CoordinatorBuilder, Handle};
use build_server::source::GitCheckouts;
use build_server::store::Store;
use build_server::testing::FakeFarm;
pub use build_server::testing::{Built, FakePool, SOON, Steps, next_second};
use futures::TryStreamExt;

/// A git repository of its own.
pub struct Repository {
    pub dir: tempfile::TempDir,
}

impl Repository {
    pub fn new() -> Self {
        let repository = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        repository.git(&["init", "--quiet", "--initial-branch=main"]);
        repository
    }

    /// One with a commit that has one file.
    pub fn with_file(name: &str, text: &str) -> Self {
        let repository = Self::new();
        repository.write(name, text);
        repository.commit("first");
        repository
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn origin(&self) -> String {
        self.path().to_str().unwrap().to_owned()
    }

    pub fn git(&self, args: &[&str]) -> String {
        git_in(self.path(), args)
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub fn commit(&self, message: &str) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", message]);
        self.git(&["rev-parse", "HEAD"])
    }
}

/// A minute later each time: `git describe` counts wrongly among commits of one second.
fn date() -> String {
    static MINUTES: AtomicU64 = AtomicU64::new(0);
    let minutes = MINUTES.fetch_add(1, Ordering::Relaxed);
    format!("@{} +0000", 1_600_000_000 + 60 * minutes)
}

pub fn git_in(dir: &Path, args: &[&str]) -> String {
    let date = date();
    let output = Command::new("git")
        .args([
            "-c",
            "protocol.file.allow=always",
            "-c",
            "commit.gpgSign=false",
        ])
        .args(args)
        .current_dir(dir)
        .env_remove("GIT_DIR")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_AUTHOR_NAME", "A")
        .env("GIT_AUTHOR_EMAIL", "a@example.org")
        .env("GIT_COMMITTER_NAME", "A")
        .env("GIT_AUTHOR_DATE", &date)
        .env("GIT_COMMITTER_DATE", &date)
        .env("GIT_COMMITTER_EMAIL", "a@example.org")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "git {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

pub fn local() -> HostType {
    FakePool::host_type()
}

pub fn name(text: &str) -> StepName {
    StepName::new(text).unwrap()
}

pub fn step(text: &str, run: &str) -> Step {
    Step::new(name(text), run)
}

pub fn whole(step: &str) -> Unit {
    part(step, Part::Whole)
}

pub fn part(step: &str, part: Part) -> Unit {
    Unit {
        step: name(step),
        part,
    }
}

/// A farm whose commits are those of git.
pub struct Farm {
    pub handle: Handle,
    pub checkouts: GitCheckouts,
    farm: FakeFarm,
    _dir: tempfile::TempDir,
}

impl Deref for Farm {
    type Target = FakeFarm;

    fn deref(&self) -> &FakeFarm {
        &self.farm
    }
}

impl Farm {
    pub fn start(pool: &FakePool, store: Store, recipe: impl Recipe + 'static) -> Self {
        Self::start_with(pool, store, recipe, |builder| builder)
    }

    pub fn start_with(
        pool: &FakePool,
        store: Store,
        recipe: impl Recipe + 'static,
        more: impl FnOnce(CoordinatorBuilder) -> CoordinatorBuilder,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let checkouts = GitCheckouts::new(dir.path());
        let builder = Coordinator::builder()
            .pool(pool.clone())
            .recipe(recipe)
            .checkouts(checkouts.clone())
            .wind_down(SOON)
            .store(store);
        let farm = FakeFarm::start(more(builder)).unwrap();
        Self {
            handle: farm.handle().clone(),
            checkouts,
            farm,
            _dir: dir,
        }
    }

    /// Submits what is checked out in a repository.
    pub async fn submit(&self, repository: &Repository) -> BuildId {
        let item = self.checkouts.resolve(&repository.origin(), None).await;
        let id = self.handle.submit(item.unwrap(), &self.builder()).await;
        id.unwrap()
    }

    /// All events of a build, once nothing more happens to it.
    pub async fn events(&self, build: &BuildId) -> Vec<Recorded> {
        self.built(build).await.events
    }

    /// Builds what is checked out in a repository.
    pub async fn build(&self, repository: &Repository) -> Built {
        let id = self.submit(repository).await;
        self.built(&id).await
    }

    /// Waits for the end of the coordinator, whatever it is.
    pub async fn ended(self) -> Result<()> {
        self.farm.ended().await
    }

    /// The first Ctrl-C, and what follows.
    pub async fn stop(self) {
        self.farm.stop().await;
    }

    /// `kill -9`, as far as this process can do it to a part of itself.
    pub async fn kill(self) {
        self.farm.kill().await;
    }
}

pub async fn text(stream: ByteStream) -> String {
    let pieces: Vec<_> = stream.try_collect().await.unwrap();
    String::from_utf8(pieces.concat()).unwrap()
}

/// What an event of a build tells, or of a session after its beginning.
pub fn told(recorded: &Recorded) -> BuildEvent {
    build_server::testing::told(recorded).expect("an event that is known")
}
