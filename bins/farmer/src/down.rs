//! `farmer down`: ends the farm of a data directory, and forgets it when asked to.

use std::io::ErrorKind as Io;
use std::path::Path;
use std::time::{Duration, Instant};

use build_server::pool::LocalPool;
use build_server::store::{DataLock, Store};
use farmer_cli::{Exit, Failure};
use rustix::process::{Pid, Signal, kill_process};

use crate::cli::Down;
use crate::output::failure;
use crate::records::Recorded;
use crate::sessions::staying;

/// How long a farm may take to end: it lets process trees end by themselves.
const PATIENCE: Duration = Duration::from_secs(90);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// Everything that a farm keeps in its data directory, the lock last.
const KEPT: [&str; 18] = [
    "farmer.db",
    "farmer.db-wal",
    "farmer.db-shm",
    "farmer.db-head",
    "blobs",
    "logs",
    "machines",
    "git",
    "gomote",
    "query",
    "reverse",
    "tool-caches",
    "toolchains",
    "who",
    "tls",
    "acme",
    "token",
    "lock",
];

/// Ends the farm as the first Ctrl-C does.
pub(crate) async fn down(args: Down, data: &Path) -> Result<(), Failure> {
    match DataLock::owner(data).map_err(|e| failure(&e))? {
        Some(owner) => {
            let pid = i32::try_from(owner.pid).ok().and_then(Pid::from_raw);
            let Some(pid) = pid else {
                return Err(Failure::usage(
                    format!(
                        "{} is owned by {owner}, which cannot be told to end",
                        data.display()
                    ),
                    "end that program",
                ));
            };
            farmer_cli::say!("farmer: ending {owner}");
            kill_process(pid, Signal::TERM).map_err(std::io::Error::from)?;
            wait_for_end(data).await?;
            if !args.purge && !args.sessions {
                tell_of_sessions(data).await?;
            }
        }
        None if args.purge || args.sessions => {}
        None => farmer_cli::say!("farmer: no farm runs on {}", data.display()),
    }
    if args.purge || args.sessions {
        end_machines(data).await?;
    }
    if args.purge {
        purge(data)?;
    }
    Ok(())
}

/// Ends the machines that the farm has left for its next start.
async fn end_machines(data: &Path) -> Result<(), Failure> {
    if !data.exists() {
        return Ok(());
    }
    // No farm begins while they are ended.
    let lock = DataLock::acquire(data).map_err(|e| failure(&e))?;
    match LocalPool::end_left(data).await.map_err(|e| failure(&e))? {
        0 => {}
        1 => farmer_cli::say!("farmer: 1 machine has ended"),
        n => farmer_cli::say!("farmer: {n} machines have ended"),
    }
    drop(lock);
    Ok(())
}

/// Says which sessions stay with their machines.
async fn tell_of_sessions(data: &Path) -> Result<(), Failure> {
    if !Store::is_in(data) {
        return Ok(());
    }
    let recorded = Recorded::open(data).await?;
    let open = recorded.store.records().open_sessions().await;
    if let Some(text) = staying(&open.map_err(|e| failure(&e))?) {
        farmer_cli::say!("farmer: {text}");
    }
    Ok(())
}

async fn wait_for_end(data: &Path) -> Result<(), Failure> {
    let begin = Instant::now();
    while let Some(owner) = DataLock::owner(data).map_err(|e| failure(&e))? {
        if begin.elapsed() > PATIENCE {
            let text = format!("{owner} did not end within {} s", PATIENCE.as_secs());
            let error = std::io::Error::new(Io::TimedOut, text);
            return Err(Failure::because(Exit::Infrastructure, &error, None));
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// Removes what farms keep there, and the directory when nothing else is in it.
fn purge(data: &Path) -> Result<(), Failure> {
    if !data.exists() {
        return Ok(());
    }
    // Nobody else begins while it is removed.
    let lock = DataLock::acquire(data).map_err(|e| failure(&e))?;
    for name in KEPT {
        let path = data.join(name);
        if let Err(error) = build_core::tree::remove_tree(&path).or_else(absent_is_fine) {
            let hint = format!("remove {} by hand", path.display());
            return Err(Failure::because(Exit::Infrastructure, &error, Some(&hint)));
        }
    }
    drop(lock);
    match std::fs::remove_dir(data) {
        Err(error) if error.kind() == Io::DirectoryNotEmpty => {
            farmer_cli::say!(
                "farmer: {} holds files that are not Farmer's",
                data.display()
            );
        }
        removed => removed.or_else(absent_is_fine)?,
    }
    farmer_cli::say!("farmer: {} is forgotten", data.display());
    Ok(())
}

fn absent_is_fine(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == Io::NotFound {
        Ok(())
    } else {
        Err(error)
    }
}
