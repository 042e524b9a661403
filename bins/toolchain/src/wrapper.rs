//! `go1.9 download`, and `go1.9 ARGS…`: a toolchain by its own name, as the Go programs do it.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use build_client::toolchain::{Ready, Spec};
use farmer_cli::{Exit, Failure, finish, run};

use crate::environment::Environment;
use crate::told::{Told, failure};

/// Runs a version: `download` alone is for us, everything else for its program.
pub(crate) fn main(spec: &Spec, environment: &Environment, args: &[OsString]) -> ExitCode {
    let name = spec.to_string();
    if args.len() == 1 && args[0] == "download" {
        return run(&name, false, async |stop| {
            tokio::select! {
                done = download(spec, environment) => done,
                () = stop.cancelled() => Err(Failure::interrupted()),
            }
        });
    }
    let ran = match environment.dir.ready(spec, &environment.rows) {
        Ok(ready) => become_it(&ready, args, &[]),
        Err(error) => Err(Failure::because(Exit::Failed, &error, error.hint())),
    };
    ran.unwrap_or_else(|failure| finish(&name, Err(failure)))
}

async fn download(spec: &Spec, environment: &Environment) -> Result<(), Failure> {
    if environment.dir.ready(spec, &environment.rows).is_ok() {
        let path = environment.dir.path(spec);
        eprintln!("{spec}: already downloaded in {}", path.display());
        return Ok(());
    }
    let told = Told::new(spec);
    let source = environment.source()?;
    let tell = |happening| told.tell(happening);
    let done = environment.dir.download(spec, &source, &tell).await;
    told.finish();
    // The Go programs know one exit code for all that can go wrong here.
    done.map_err(|error| {
        let hint = error.hint().map(str::to_owned);
        let error = error.while_doing("download failed");
        Failure::because(Exit::Failed, &error, hint.as_deref())
    })?;
    eprintln!("Success. You may now run '{spec}'");
    Ok(())
}

/// Becomes the toolchain's program: its exit code and its signals are ours. Where a process cannot
/// become another one, this one waits and gives the exit code.
pub(crate) fn become_it(
    ready: &Ready,
    args: &[OsString],
    more: &[(&str, &str)],
) -> Result<ExitCode, Failure> {
    let path = std::env::var_os("PATH");
    let mut command = ready.command(path.as_deref());
    command.args(args).envs(more.iter().copied());
    replace(command)
}

#[cfg(unix)]
pub(crate) fn replace(mut command: Command) -> Result<ExitCode, Failure> {
    use std::os::unix::process::CommandExt as _;
    let error = command.exec();
    Err(not_started(&command, error))
}

#[cfg(not(unix))]
pub(crate) fn replace(mut command: Command) -> Result<ExitCode, Failure> {
    let status = command.status();
    let status = status.map_err(|error| not_started(&command, error))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(1)))
}

fn not_started(command: &Command, error: std::io::Error) -> Failure {
    let what = format!("start {}", command.get_program().to_string_lossy());
    failure(&build_client::Error::from(error).while_doing(what))
}
