//! A build farm inside a program of one's own: it watches a repository, builds its newest commit
//! on buildlets of this machine, and prints what the steps print.
//!
//! Started as `ten_minutes buildlet …` the program is its own buildlet, as `farmer` is.

use std::ffi::OsString;
use std::process::ExitCode;

use build_core::event::{BuildEvent, Seq};
use build_core::recipe::Detect;
use build_server::coordinator::{Coordinator, Handle};
use build_server::pool::LocalPool;
use build_server::source::GitSource;
use build_server::store::Store;
use futures::StreamExt;
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let Some(("buildlet", flags)) = args
        .split_first()
        .map(|(a, b)| (a.to_str().unwrap_or(""), b))
    {
        return farmer_agent::buildlet::main(flags.to_vec());
    }
    match farm() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ten_minutes: {error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn farm() -> Result<(), Box<dyn std::error::Error>> {
    let repository = farmer_examples::repository("all:\n\t@echo built\ntest:\n\t@echo tested\n")?;
    let coordinator = Coordinator::builder()
        .source(GitSource::watch(repository.path().to_string_lossy()))
        .recipe(Detect)
        .pool(LocalPool::new(std::env::current_exe()?, 2))
        .store(Store::memory())
        .build()?;
    let handle = coordinator.handle();
    let token = CancellationToken::new();
    let stop = token.clone();
    let watch = async move {
        let seen = watch(&handle).await;
        stop.cancel();
        seen
    };
    let (ended, seen) = tokio::join!(coordinator.run(token), watch);
    ended?;
    Ok(seen?)
}

/// Prints what happens until the first build has ended.
async fn watch(handle: &Handle) -> build_core::Result<()> {
    let mut events = handle.all_events(Seq(0));
    while let Some(recorded) = events.next().await {
        let recorded = recorded?;
        match recorded.read() {
            Some(BuildEvent::Ended { unit, attempt, .. }) => {
                let Some(build) = recorded.stream.build() else {
                    continue;
                };
                let mut log = handle.log(build, &unit, Some(attempt), 0, false).await?;
                while let Some(bytes) = log.next().await {
                    print!("{unit}: {}", String::from_utf8_lossy(&bytes?));
                }
            }
            Some(BuildEvent::Finished { outcome }) => {
                println!("{outcome:?}");
                return Ok(());
            }
            _ => {}
        }
    }
    Ok(())
}
