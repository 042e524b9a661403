//! Commands whose output survives lost connections.

use build_core::buildlet::{Buildlet, Exec, ExecStatus, ExecStream};
use build_core::ids::ExecId;
use tokio::time::{Duration, sleep};

use crate::Result;

/// The first pause before a start is tried again; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// So often is a start tried: a coordinator that starts anew is back within some seconds.
const TRIES: u32 = 8;

/// A command that runs.
pub struct Running {
    /// Its output, then how it ended.
    pub output: ExecStream,
    /// Its id, when it goes on without a connection: it is then ended by [`Buildlet::kill`].
    pub detached: Option<ExecId>,
}

/// Runs a command. On machines that can, it goes on when a connection is lost, and its output
/// is taken up again at the byte where it was cut; on others it belongs to its connection.
///
/// `id` names the command, and is never used again.
///
/// # Errors
/// When it cannot be started.
pub async fn run(machine: &dyn Buildlet, exec: Exec, id: ExecId) -> Result<Running> {
    if !machine.status().await?.detached {
        let output = machine.stream(exec).await?;
        return Ok(Running {
            output,
            detached: None,
        });
    }
    let exec = exec.id(id.clone());
    start(machine, exec).await?;
    Ok(Running {
        output: machine.attach(&id, 0).await?,
        detached: Some(id),
    })
}

/// Starting twice starts once, by the id.
async fn start(machine: &dyn Buildlet, exec: Exec) -> Result<ExecStatus> {
    let mut pause = FIRST_PAUSE;
    for _ in 1..TRIES {
        match machine.start(exec.clone()).await {
            Err(error) if error.kind().is_retryable() => {
                tracing::info!(error = error.chain(), "starting the command again");
                sleep(pause).await;
                pause *= 2;
            }
            started => return started,
        }
    }
    machine.start(exec).await
}
