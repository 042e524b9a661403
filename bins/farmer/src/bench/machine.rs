//! Local machines: how soon one is there, and what it adds to a command.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use build_core::buildlet::{Buildlet, Exec};
use build_core::ids::{BuilderName, HostType, LeaseId, Nonce};
use build_core::pool::{LEASE_TTL, LeaseRequest, Pool};
use build_server::pool::LocalPool;
use farmer_cli::{Exit, Failure};

use super::figure::{Figure, REPEATS};
use crate::output::failure;

const COMMAND: &str = "/bin/true";

/// From the wish for a machine to one that answers, none kept ready.
pub(super) async fn machine(data: &Path) -> Result<Figure, Failure> {
    let dir = own_dir(data)?;
    let pool = pool(dir.path())?;
    let mut samples = Vec::new();
    for n in 0..REPEATS {
        let begin = Instant::now();
        let lease = pool
            .acquire(&request(&pool, n)?)
            .await
            .map_err(|e| failure(&e))?;
        samples.push(begin.elapsed().as_secs_f64() * 1e3);
        lease.release().await.map_err(|e| failure(&e))?;
    }
    pool.close().await.map_err(|e| failure(&e))?;
    let what = "from the wish for a local machine to one that answers";
    Ok(Figure::new("machine", what, "ms", samples))
}

/// A command that does nothing on a local machine, over the same command started from here.
pub(super) async fn exec(data: &Path) -> Result<Figure, Failure> {
    const TURNS: usize = 200;
    let dir = own_dir(data)?;
    let pool = pool(dir.path())?;
    let lease = pool
        .acquire(&request(&pool, 0)?)
        .await
        .map_err(|e| failure(&e))?;
    let mut samples = Vec::new();
    for _ in 0..REPEATS {
        let (mut bare, mut there) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            bare.push(bare_run()?);
            there.push(run_on(lease.buildlet()).await?);
        }
        samples.push(median(there) - median(bare));
    }
    lease.release().await.map_err(|e| failure(&e))?;
    pool.close().await.map_err(|e| failure(&e))?;
    let what = format!("added to {COMMAND} by a local machine, by the medians of {TURNS}");
    Ok(Figure::new("exec", what, "µs", samples))
}

fn own_dir(data: &Path) -> Result<tempfile::TempDir, Failure> {
    std::fs::create_dir_all(data)?;
    Ok(tempfile::tempdir_in(data)?)
}

fn pool(data: &Path) -> Result<LocalPool, Failure> {
    LocalPool::builder(std::env::current_exe()?, 1)
        .data_dir(data)
        .spares(0)
        .build()
        .map_err(|e| failure(&e))
}

fn request(pool: &LocalPool, n: usize) -> Result<LeaseRequest, Failure> {
    let wish = || {
        build_core::error::Result::Ok(LeaseRequest {
            lease: LeaseId::from_bits(n as u64),
            nonce: Nonce::new(format!("nonce-of-the-bench-{n}"))?,
            machine: pool.machines()[0].id().clone(),
            host_type: HostType::new("local")?,
            builder: BuilderName::new("local")?,
            sandbox: Default::default(),
            network: Default::default(),
            image: None,
            ttl: LEASE_TTL,
        })
    };
    wish().map_err(|e| failure(&e))
}

/// Microseconds.
fn bare_run() -> Result<f64, Failure> {
    let begin = Instant::now();
    Command::new(COMMAND).status()?;
    Ok(begin.elapsed().as_secs_f64() * 1e6)
}

/// Microseconds.
async fn run_on(machine: &dyn Buildlet) -> Result<f64, Failure> {
    let begin = Instant::now();
    let output = machine
        .exec(Exec::new(COMMAND))
        .await
        .map_err(|e| failure(&e))?;
    let micros = begin.elapsed().as_secs_f64() * 1e6;
    if output.outcome().is_ok() {
        Ok(micros)
    } else {
        let trouble = std::io::Error::other(format!("{COMMAND} failed on a local machine"));
        Err(Failure::because(Exit::Infrastructure, &trouble, None))
    }
}

pub(super) fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}
