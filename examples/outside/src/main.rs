//! The first programs somebody writes with Farmer: questions to a project's history, a scheduling
//! rule, tried under the simulation and then in a farm, a machine that is driven by hand, and parts of a
//! farm of their own: an event log, large contents, a kind of streams with a reader.
//!
//! `outside PROGRAM`: a program that can be `PROGRAM buildlet`, such as `farmer`.

mod drive;
mod history;
mod hotfix;
mod line_log;
mod own_parts;
mod session;
mod shelf;
mod tide;
mod twins;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use build_core::buildlet::ByteStream;
use build_core::ids::{BuilderName, HostType, LeaseId, Nonce};
use build_core::pool::{LEASE_TTL, LeaseRequest, Pool};
use build_core::recipe::Detect;
use build_core::tarutil::{GzipOptions, Pack};
use build_core::report::BuildStatus;
use build_server::coordinator::Coordinator;
use build_server::pool::LocalPool;
use build_server::sim::{Faults, HOUR, Sim};
use build_server::source::GitSource;
use build_server::store::Store;
use futures::stream;
use tokio_util::sync::CancellationToken;

use drive::drive;
use hotfix::Hotfix;
use session::session;

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

#[tokio::main]
async fn main() -> Result<()> {
    let program = std::env::args().nth(1).ok_or("give a program that can be a buildlet, such as farmer")?;
    history().await?;
    simulate()?;
    twins::twins().await?;
    machine(&program).await?;
    session(&program).await?;
    farm(&program).await?;
    parts(&program).await
}

/// An event log, large contents, a kind of streams and a reader of one's own, in one program.
async fn parts(program: &str) -> Result<()> {
    let (repo, dir) = (tempfile::tempdir()?, tempfile::tempdir()?);
    commit(repo.path())?;
    own_parts::keep_their_contracts(dir.path()).await?;
    let row = own_parts::make_a_farm(program, repo.path(), dir.path()).await?;
    println!("own parts keep their contracts, and built {}: {}", row.item.commit.short(), row.state.as_str());
    if row.state == BuildStatus::Passed { Ok(()) } else { Err("it did not pass".into()) }
}

/// The corpus of a repository, and of a log that grows.
async fn history() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let repo = dir.path().join("repo");
    std::fs::create_dir(&repo)?;
    commit(&repo)?;
    git(&repo, &["commit", "-q", "--allow-empty", "-m", "second"])?;
    let (tip, base) = (git(&repo, &["rev-parse", "HEAD"])?, git(&repo, &["rev-parse", "HEAD~"])?);
    history::of_a_repository(&repo, tip.trim().parse()?, base.trim().parse()?)?;
    let log = dir.path().join("log");
    tokio::time::timeout(Duration::from_secs(60), history::of_a_log(&log)).await?
}

/// The rule under a seed: a day of a farm in which everything may fail.
fn simulate() -> Result<()> {
    let report = Sim::seed(7).policy(Hotfix).machines(50).faults(Faults::ALL).run_for(HOUR).check()?;
    println!("simulated an hour: {} builds, {} crashes", report.builds(), report.crashes());
    Ok(())
}

/// One machine of a pool, without any coordinator.
async fn machine(program: &str) -> Result<()> {
    let pool = LocalPool::new(program, 1);
    let request = LeaseRequest {
        lease: LeaseId::from_bits(1),
        nonce: Nonce::new("not-a-secret-here")?,
        machine: pool.machines()[0].id().clone(),
        host_type: HostType::new("local")?,
        builder: BuilderName::new("local")?,
        sandbox: Default::default(),
        network: Default::default(),
        image: None,
        ttl: LEASE_TTL,
    };
    let lease = pool.acquire(&request).await?;
    let bytes = drive(lease.buildlet(), tree()?).await?;
    lease.release().await?;
    println!("drove a machine: {bytes} bytes came back");
    Ok(())
}

/// A tree with a makefile, packed.
fn tree() -> Result<ByteStream> {
    let dir = tempfile::tempdir()?;
    std::fs::write(dir.path().join("Makefile"), "all:\n\tmkdir -p out\n\techo made > out/word\n")?;
    let mut packed = Vec::new();
    Pack::open(dir.path())?.write_gz(&mut packed, &GzipOptions::default())?;
    Ok(Box::pin(stream::iter([Ok(packed.into())])))
}

/// A farm around the rule, until it has built a repository.
async fn farm(program: &str) -> Result<()> {
    let repo = tempfile::tempdir()?;
    commit(repo.path())?;
    let coordinator = Coordinator::builder()
        .policy(Hotfix)
        .pool(LocalPool::new(program, 4))
        .source(GitSource::watch(repo.path().to_string_lossy()))
        .recipe(Detect)
        .store(Store::memory())
        .build()?;
    let handle = coordinator.handle();
    let token = CancellationToken::new();
    let run = coordinator.run(token.clone());
    tokio::pin!(run);
    let built = async {
        loop {
            let page = handle.records().builds(&Default::default(), None, 1).await?;
            if let Some(row) = page.builds.into_iter().find(|row| !row.is_open()) {
                return Ok::<_, build_core::Error>(row);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let row = tokio::select! {
        ended = &mut run => return Err(format!("the farm ended by itself: {ended:?}").into()),
        row = tokio::time::timeout(Duration::from_secs(60), built) => row??,
    };
    token.cancel();
    run.await?;
    println!("built {} {:?}: {}", row.item.commit.short(), row.item.subject, row.state.as_str());
    if row.state == BuildStatus::Passed { Ok(()) } else { Err("it did not pass".into()) }
}

fn commit(dir: &Path) -> Result<()> {
    std::fs::write(dir.join("Makefile"), "all:\n\t@echo built\n")?;
    for args in [&["init", "-q", "-b", "main"][..], &["add", "-A"], &["commit", "-q", "-m", "first"]] {
        git(dir, args)?;
    }
    Ok(())
}

fn git(dir: &Path, args: &[&str]) -> Result<String> {
    let identity = ["-c", "user.name=Outside", "-c", "user.email=outside@localhost"];
    let done = Command::new("git").current_dir(dir).args(identity).args(args).output()?;
    if !done.status.success() {
        return Err(format!("git {args:?}: {}", String::from_utf8_lossy(&done.stderr)).into());
    }
    Ok(String::from_utf8(done.stdout)?)
}
