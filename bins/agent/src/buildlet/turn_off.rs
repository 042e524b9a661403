//! What becomes of the machine after `/halt`.

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use super::Options;

/// How long the command may take before this process ends by itself.
const PATIENCE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(50);

/// Turns the machine off, or restarts it, as it was asked for at the start; otherwise only this
/// process ends.
pub(super) fn after_halt(options: &Options) -> ExitCode {
    let command: &[&str] = match (options.reboot, options.halt) {
        (true, _) => &["reboot"],
        (false, true) => &["/bin/halt", "-n", "-f", "-p"],
        (false, false) => &[],
    };
    if let Some((program, args)) = command.split_first() {
        tracing::info!(program, "turning the machine off");
        let mut command = Command::new(program);
        if let Err(error) = run_for_a_while(command.args(args)) {
            return super::fail(1, &format!("cannot run {program}: {error}"));
        }
    }
    ExitCode::SUCCESS
}

fn run_for_a_while(command: &mut Command) -> std::io::Result<()> {
    let mut child = command.spawn()?;
    let end = Instant::now() + PATIENCE;
    while child.try_wait()?.is_none() && Instant::now() < end {
        std::thread::sleep(POLL);
    }
    Ok(())
}
