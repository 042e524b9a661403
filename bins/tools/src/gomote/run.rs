//! `gomote run`.

use std::collections::VecDeque;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use build_client::gomote::run as start;
use build_core::builders::Farm;
use build_core::buildlet::{Exec, ExecEvent, ExecOutcome, Program};
use build_core::ids::ExecId;
use farmer_cli::{Exit, Failure};
use futures::StreamExt as _;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::Done;
use super::args::Run;
use super::files::collect_into;
use super::place::Place;
use super::target::Target;
use crate::told::failed;

/// For what is to be ended remotely when this program is told to stop.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(5);
/// The exit code when the command could not be run at all: its own codes are its own.
const NOT_RUN: u8 = 125;
const GO_DISABLE_OUTBOUND_NETWORK: &str = "GO_DISABLE_OUTBOUND_NETWORK";

pub(super) async fn run(
    place: &Place,
    args: Run,
    stop: &CancellationToken,
) -> Result<Done, Failure> {
    let until = args.until.as_deref().map(regex::Regex::new).transpose();
    let until =
        until.map_err(|error| Failure::usage(format!("-until: {error}"), "see: gomote run -h"))?;
    let mut words: VecDeque<String> = args.words.clone().into();
    let targets = place.targets(&mut words).await?;
    let Some(cmd) = words.pop_front() else {
        return Err(Failure::usage(
            "name the command",
            "gomote run INSTANCE COMMAND ARG…",
        ));
    };
    let arguments: Vec<String> = words.into();
    let is_one = targets.len() == 1;
    let all = targets.iter().map(|target| async {
        let exec = exec(target, &args, &cmd, &arguments)?;
        let keep = Keep::of(target, &args, is_one)?;
        let outcome = one(target, exec, keep, until.as_ref(), stop).await;
        if args.collect {
            let path = PathBuf::from(format!("{}.tar.gz", target.name));
            collect_into(&*target.machine, ".", &path).await?;
            eprintln!("# wrote {}", path.display());
        }
        outcome
    });
    // All of them end, whatever becomes of the first.
    let ended = futures::future::join_all(all).await;
    let mut code = 0;
    for (target, outcome) in targets.iter().zip(ended) {
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(failure) if is_one && failure.exit() != Exit::Infrastructure => {
                return Err(failure);
            }
            Err(failure) => {
                let text = failure.message(&format!("Error trying to execute {cmd}"));
                eprintln!("{}", text.unwrap_or_default());
                code = NOT_RUN;
                continue;
            }
        };
        if place.json {
            println!(
                "{}",
                json!({"instance": target.name, "state": outcome.to_string(), "exit_code": code_of(&outcome)})
            );
        }
        if !outcome.is_ok() {
            eprintln!("Error running run: {outcome}");
            code = code.max(code_of(&outcome));
        }
    }
    Ok(match code {
        0 => Done::Fine,
        code => Done::Remote(code),
    })
}

/// As a shell has it: the command's own code, 128 and the number of the signal that ended it.
pub(super) fn code_of(outcome: &ExecOutcome) -> u8 {
    match outcome {
        ExecOutcome::Ok => 0,
        ExecOutcome::Exit(code) => u8::try_from(*code).unwrap_or(1).max(1),
        ExecOutcome::Signal(name) => {
            let word = name.split(" (").next().unwrap_or_default();
            let number = build_core::buildlet::signal_number(word);
            number.and_then(|n| u8::try_from(128 + n).ok()).unwrap_or(1)
        }
        ExecOutcome::NotStarted(_) | ExecOutcome::Lost => NOT_RUN,
        _ => 1,
    }
}

fn exec(target: &Target, args: &Run, cmd: &str, arguments: &[String]) -> Result<Exec, Failure> {
    let is_system = args.system || cmd.starts_with('/');
    let mut exec = Exec::new(cmd);
    exec.lookup = match is_system {
        true => Program::OfSystem,
        false => Program::InWorkDir,
    };
    exec.args = arguments.to_vec();
    exec.dir.clone_from(&args.dir);
    exec.debug = args.debug;
    exec.env = environment(target, args)?;
    exec.path = args.path.as_deref().map(|path| match path {
        "EMPTY" => Vec::new(),
        path => path.split(',').map(str::to_owned).collect(),
    });
    Ok(exec)
}

/// That of the builder, then what was given.
fn environment(target: &Target, args: &Run) -> Result<Vec<String>, Failure> {
    let farm = Farm::go2020();
    let mut builder = target.of_go(&farm);
    if let Some(name) = &args.builderenv {
        let other = farm.builder(name).ok_or_else(|| {
            Failure::usage(
                format!("unknown --builderenv={name:?} builder value"),
                "name a builder of the Go project",
            )
        })?;
        if !target.host_type.is_empty() && other.host().name != target.host_type {
            return Err(Failure::usage(
                format!(
                    "--builderenv={name:?} has another kind of machine: {}",
                    other.host().name
                ),
                format!("this one is {}", target.host_type),
            ));
        }
        builder = Some(other);
    }
    let is_go = builder.is_some();
    let mut env = builder.map(|builder| builder.env()).unwrap_or_default();
    for pair in args.e.iter().filter(|pair| !pair.is_empty()) {
        if !pair.contains('=') {
            return Err(Failure::usage(
                format!("-e {pair:?} doesn't contains an '=' sign"),
                "write it as NAME=VALUE",
            ));
        }
        env.push(pair.clone());
    }
    // Buildlets of Go look for it; it is told last, so that nothing wins over it.
    if is_go || args.firewall {
        env.push(format!("{GO_DISABLE_OUTBOUND_NETWORK}={}", args.firewall));
    }
    Ok(env)
}

/// Where output goes.
pub(super) struct Keep {
    echo: bool,
    /// What is echoed is about a result that is printed.
    on_stderr: bool,
    file: Option<(PathBuf, std::fs::File)>,
}

impl Keep {
    /// Nowhere but to standard error.
    pub(super) fn on_stderr() -> Self {
        Self {
            echo: true,
            on_stderr: true,
            file: None,
        }
    }

    fn of(target: &Target, args: &Run, is_one: bool) -> Result<Self, Failure> {
        let dir = match (args.collect, is_one) {
            (true, _) => Some(PathBuf::from(".")),
            (false, true) => None,
            (false, false) => Some(std::env::temp_dir()),
        };
        let file = match dir {
            Some(dir) => {
                let path = dir.join(format!("{}.stdout", target.name));
                let file = std::fs::File::create(&path)?;
                eprintln!("# writing output of {} to {}", target.name, path.display());
                Some((path, file))
            }
            None => None,
        };
        Ok(Self {
            echo: is_one,
            on_stderr: false,
            file,
        })
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if let Some((_, file)) = &mut self.file {
            file.write_all(bytes)?;
        }
        if self.echo && self.on_stderr {
            std::io::stderr().write_all(bytes)?;
        } else if self.echo {
            let mut out = std::io::stdout().lock();
            out.write_all(bytes)?;
            out.flush()?;
        }
        Ok(())
    }

    /// Before the next round of `-until`.
    fn empty(&mut self) -> std::io::Result<()> {
        if let Some((_, file)) = &mut self.file {
            file.set_len(0)?;
            std::io::Seek::rewind(file)?;
        }
        Ok(())
    }
}

async fn one(
    target: &Target,
    exec: Exec,
    mut keep: Keep,
    until: Option<&regex::Regex>,
    stop: &CancellationToken,
) -> Result<ExecOutcome, Failure> {
    loop {
        let mut seen = Vec::new();
        let outcome = once(
            target,
            exec.clone(),
            &mut keep,
            until.map(|_| &mut seen),
            stop,
        )
        .await?;
        let Some(until) = until else {
            return Ok(outcome);
        };
        if until.is_match(&String::from_utf8_lossy(&seen)) {
            return Ok(outcome);
        }
        keep.empty()?;
    }
}

pub(super) async fn once(
    target: &Target,
    exec: Exec,
    keep: &mut Keep,
    mut seen: Option<&mut Vec<u8>>,
    stop: &CancellationToken,
) -> Result<ExecOutcome, Failure> {
    let mut bytes = [0; 12];
    getrandom::fill(&mut bytes)
        .map_err(|e| Failure::usage(format!("no random numbers: {e}"), ""))?;
    let id = ExecId::new(format!("g{}", hex::encode(bytes))).map_err(|e| failed(&e))?;
    let unrun = |e: build_client::Error| Failure::because(Exit::Infrastructure, &e, e.hint());
    let mut running = start(&*target.machine, exec, id).await.map_err(unrun)?;
    loop {
        let event = tokio::select! {
            event = running.output.next() => event,
            () = stop.cancelled() => {
                if let Some(id) = &running.detached {
                    // It goes on otherwise; who cannot be told ends with the session.
                    let _ = tokio::time::timeout(LAST_WORDS, target.machine.kill(id)).await;
                }
                return Err(Failure::interrupted());
            }
        };
        match event {
            Some(Ok(ExecEvent::Output(bytes))) => {
                keep.write(&bytes)?;
                if let Some(seen) = &mut seen {
                    seen.extend_from_slice(&bytes);
                }
            }
            Some(Ok(ExecEvent::Ended(outcome))) => return Ok(outcome),
            Some(Err(error)) => return Err(unrun(error)),
            None => {
                let text = "the output ended before the command did";
                let error = build_client::Error::new(build_client::ErrorKind::Unavailable, text);
                return Err(unrun(error));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_a_shell() {
        for (outcome, code) in [
            (ExecOutcome::Ok, 0),
            (ExecOutcome::Exit(7), 7),
            (ExecOutcome::Exit(256), 1),
            (ExecOutcome::Signal("killed".into()), 137),
            (
                ExecOutcome::Signal("segmentation fault (core dumped)".into()),
                139,
            ),
            (ExecOutcome::NotStarted("no".into()), 125),
            (ExecOutcome::TimedOut, 1),
        ] {
            assert_eq!(code_of(&outcome), code, "{outcome}");
        }
    }
}
