use std::io;
use std::path::Path;

use super::processes::{Grace, Processes};
use super::state::instance_of;
use crate::supervise::Supervisor;

/// Ends what the commands of a buildlet have left that was killed, and tells the processes that
/// could not be ended. They are found by their mark, so those that have dropped it and are below
/// none that bears it are not.
///
/// # Errors
/// The system's.
pub(crate) async fn end_leftovers(
    supervisor: &Supervisor,
    state_dir: &Path,
) -> io::Result<Vec<i32>> {
    let instance = instance_of(state_dir);
    let processes = Processes::new(supervisor.clone(), instance, None, false)?;
    Ok(processes.end_earlier(Grace::None).await.left)
}
