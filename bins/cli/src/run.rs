//! The frame of a program: log, runtime, signals, exit code.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::aloud::Aloud;
use crate::failure::{Exit, Failure};
use crate::shown::shown_lines;

/// The environment variable that chooses what is logged, such as `debug` or `build_server=trace`.
const LOG_ENV: &str = "FARMER_LOG";

/// Runs `program` to its end: installs the log on standard error, starts the runtime, and
/// turns SIGINT and SIGTERM into `stop`. The first signal cancels the token; the second ends
/// the process at once. Failures are printed and become the exit code.
pub fn run<F>(name: &str, verbose: bool, program: F) -> ExitCode
where
    F: AsyncFnOnce(CancellationToken) -> Result<(), Failure>,
{
    install_log(verbose);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return finish(name, Err(error.into())),
    };
    let stop = CancellationToken::new();
    let result = runtime.block_on(async {
        let signals = pass_signals(stop.clone());
        tokio::pin!(signals);
        let program = program(stop);
        tokio::pin!(program);
        tokio::select! {
            result = &mut program => result,
            () = &mut signals => Err(Failure::interrupted()),
        }
    });
    // Blocking work that ignores the token must not hold up the end.
    runtime.shutdown_background();
    finish(name, result)
}

/// Cancels `stop` at the first signal; returns at the second.
async fn pass_signals(stop: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| signal(kind);
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        listen(SignalKind::interrupt()),
        listen(SignalKind::terminate()),
    ) else {
        // Without handlers the system's default ends the process, which is a fair answer.
        return std::future::pending().await;
    };
    // The same listeners for both: a second signal right after the first one is not lost.
    for _ in 0..2 {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        stop.cancel();
    }
}

fn install_log(verbose: bool) {
    let default = if verbose { "info" } else { "warn" };
    let filter = EnvFilter::try_from_env(LOG_ENV).unwrap_or_else(|_| EnvFilter::new(default));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Aloud)
        .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    // A second program in the same process keeps the log of the first.
    if log.try_init().is_err() {
        tracing::debug!("the log is installed already");
    }
}

/// Prints what is to be said of the end of a program, and gives its exit code.
pub fn finish(name: &str, result: Result<(), Failure>) -> ExitCode {
    let exit = match &result {
        Ok(()) => Exit::Passed,
        Err(failure) => {
            if let Some(message) = failure.message(name) {
                // When standard error is gone there is nobody left to tell.
                let _gone = writeln!(Aloud, "{}", shown_lines(&message));
            }
            failure.exit()
        }
    };
    ExitCode::from(exit as u8)
}
