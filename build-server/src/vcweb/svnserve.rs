//! Subversion under its own protocol: one `svnserve` for each connection.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use build_core::Result;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::child::Command;
use crate::supervise::Supervisor;

/// Connections at a time.
const CONNECTIONS: usize = 32;
/// For one connection.
const LIMIT: Duration = Duration::from_secs(600);

/// Serves the repositories below `root`, for reading, until `token` is canceled.
pub(super) async fn serve(
    listener: TcpListener,
    root: PathBuf,
    env: BTreeMap<String, String>,
    token: CancellationToken,
) -> Result<()> {
    let tasks = Supervisor::with_token("svn", token.child_token());
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = async {
            let slot = slots.clone().acquire_owned().await;
            (slot, listener.accept().await)
        };
        let Some((slot, accepted)) = token.run_until_cancelled(accepted).await else {
            break;
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let command = Command::new("svnserve")
            .args(["--read-only", "--inetd", "--root"])
            .arg(root.as_os_str())
            .clear_env()
            .envs(env.clone());
        let ends = tasks.token().clone();
        tasks.group("connection").spawn("serve", async move {
            let _slot = slot;
            let done = tokio::time::timeout(LIMIT, one(stream, command));
            if let Some(Ok(Err(error))) = ends.run_until_cancelled(done).await {
                tracing::debug!(%error, "a connection to svnserve has ended");
            }
        });
    }
    if let Err(error) = tasks.drain(Duration::from_secs(2)).await {
        tracing::debug!(%error, "svn has ended");
    }
    Ok(())
}

async fn one(mut stream: TcpStream, command: Command) -> Result<()> {
    let (mut running, mut pipes) = command.start_piped()?;
    let (mut read, mut write) = stream.split();
    let inwards = async {
        let copied = tokio::io::copy(&mut read, &mut pipes.stdin).await;
        // The program learns that nothing more comes.
        drop(pipes.stdin);
        copied
    };
    let outwards = tokio::io::copy(&mut pipes.stdout, &mut write);
    tokio::select! {
        copied = outwards => copied.map(drop)?,
        status = async { let _ = inwards.await; running.wait().await } => drop(status?),
    }
    Ok(())
}
