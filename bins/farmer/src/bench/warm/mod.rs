//! How long a farm takes to verify a change of one file, beside the author's own checkout.
//!
//! The same change is built by the same command in a checkout that was built before, and by a farm of
//! one machine that has built the commits before. Both have the caches of the user; what is told is the
//! farm's time, from the wish for the build to its end, in per cent of the author's.

mod projects;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use build_core::event::{BuildEvent, Recorded, Seq};
use build_core::recipe::Detect;
use build_core::report::BuildStatus;
use build_server::coordinator::{Coordinator, Handle};
use build_server::pool::LocalPool;
use build_server::source::GitCheckouts;
use build_server::store::Store;
use build_server::supervise::Supervisor;
use farmer_cli::{Exit, Failure};
use futures::StreamExt as _;

use self::projects::{PROJECTS, Project};
use super::figure::{Figure, REPEATS};
use crate::output::failure;

/// Builds before the first one that is measured: each place in which the machine can be has been used.
const BEFORE: usize = 3;
/// Longest build.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// A figure for each kind of project whose tools are here; the others are named.
pub(super) async fn warm(data: &Path) -> Result<Vec<Figure>, Failure> {
    let mut figures = Vec::new();
    for project in PROJECTS {
        let missing = project.tools.iter().find(|tool| !is_there(tool));
        match missing {
            Some(tool) => farmer_cli::say!("SKIPPED: {}: no {tool} here", project.name),
            None => figures.push(measure(project, data).await?),
        }
    }
    Ok(figures)
}

fn is_there(tool: &str) -> bool {
    let mut asked = Command::new(tool);
    let asked = asked.arg(if tool == "go" { "version" } else { "--version" });
    let asked = asked.stdout(Stdio::null()).stderr(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
}

async fn measure(project: &Project, data: &Path) -> Result<Figure, Failure> {
    std::fs::create_dir_all(data)?;
    let dir = tempfile::tempdir_in(data)?;
    let here = dir.path().join("project");
    for (path, text) in (project.files)() {
        write(&here, &path, &text)?;
    }
    write(&here, ".gitignore", "/target\n/build\n")?;
    write(&here, ".farmer.toml", &project.config())?;
    git(&here, &["init", "--quiet", "--initial-branch=main"])?;
    author(project, &here)?;
    let farm = Farm::start(&dir.path().join("farm"))?;
    farm.build(&here).await?;
    let (mut own, mut ours) = (Vec::new(), Vec::new());
    for round in 0..BEFORE + REPEATS {
        let (path, text) = (project.edit)(round);
        write(&here, &path, &text)?;
        let by_author = author(project, &here)?;
        let by_farm = farm.build(&here).await?;
        if round >= BEFORE {
            own.push(by_author.as_secs_f64());
            ours.push(by_farm.as_secs_f64());
        }
    }
    farm.stop().await?;
    let usual = super::machine::median(own);
    let samples = ours.iter().map(|took| took / usual * 100.0).collect();
    let what = format!(
        "of the {usual:.2} s that its author's {} takes, a change of one file of {}",
        project.command, project.about
    );
    Ok(Figure::new(project.name, what, "%", samples))
}

fn write(dir: &Path, path: &str, text: &str) -> Result<(), Failure> {
    let path = dir.join(path);
    std::fs::create_dir_all(path.parent().unwrap_or(dir))?;
    Ok(std::fs::write(path, text)?)
}

fn git(dir: &Path, args: &[&str]) -> Result<(), Failure> {
    let who = ["-c", "user.name=Bench", "-c", "user.email=bench@localhost"];
    run(Command::new("git").args(who).args(args), dir)
}

/// Builds as its author does, where it was built before.
fn author(project: &Project, dir: &Path) -> Result<Duration, Failure> {
    let begin = Instant::now();
    run(Command::new("sh").args(["-c", project.command]), dir)?;
    Ok(begin.elapsed())
}

fn run(command: &mut Command, dir: &Path) -> Result<(), Failure> {
    let done = command.current_dir(dir).output()?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    let text = format!("{command:?} failed: {said}");
    Err(trouble(text))
}

fn trouble(text: String) -> Failure {
    Failure::because(Exit::Infrastructure, &std::io::Error::other(text), None)
}

/// A farm of one machine, in this process.
struct Farm {
    handle: Handle,
    checkouts: GitCheckouts,
    pool: LocalPool,
    all: Supervisor,
}

impl Farm {
    fn start(dir: &Path) -> Result<Self, Failure> {
        let pool = LocalPool::builder(std::env::current_exe()?, 1).data_dir(dir);
        let pool = pool.build().map_err(|e| failure(&e))?;
        let checkouts = GitCheckouts::new(dir.join("git"));
        let coordinator = Coordinator::builder()
            .pool(pool.clone())
            .recipe(Detect)
            .checkouts(checkouts.clone())
            .store(Store::memory())
            .build()
            .map_err(|e| failure(&e))?;
        let handle = coordinator.handle();
        let all = Supervisor::new("bench");
        let running = coordinator.run(all.token().clone());
        all.spawn("coordinator", running);
        Ok(Self {
            handle,
            checkouts,
            pool,
            all,
        })
    }

    /// Commits what lies there and builds it: from the wish to the end.
    async fn build(&self, dir: &Path) -> Result<Duration, Failure> {
        git(dir, &["add", "--all"])?;
        git(dir, &["commit", "--quiet", "--message", "a change"])?;
        let origin = dir.to_string_lossy();
        let item = self.checkouts.resolve(&origin, None).await;
        let item = item.map_err(|e| failure(&e))?;
        let begin = Instant::now();
        let builder = self.handle.builders()[0].clone();
        let id = self.handle.submit(item, &builder).await;
        let id = id.map_err(|e| failure(&e))?;
        let events = self.handle.events(&id, Seq(0));
        let mut events = Box::pin(events.take_until(tokio::time::sleep(PATIENCE)));
        while let Some(event) = events.next().await {
            let event: Recorded = event.map_err(|e| failure(&e))?;
            if let Some(BuildEvent::Finished { outcome }) = event.read() {
                let took = begin.elapsed();
                return match BuildStatus::from(&outcome) {
                    BuildStatus::Passed => Ok(took),
                    _ => Err(trouble(format!("build {id}: {outcome:?}"))),
                };
            }
        }
        Err(trouble(format!("build {id} does not end")))
    }

    async fn stop(self) -> Result<(), Failure> {
        self.all.token().cancel();
        let drained = self.all.drain(Duration::from_secs(30)).await;
        drained.map_err(|e| Failure::because(Exit::Infrastructure, &e, None))?;
        self.pool.close().await.map_err(|e| failure(&e))
    }
}
