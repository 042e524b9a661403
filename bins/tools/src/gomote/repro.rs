//! `gomote repro`: from a failed build to its machine, in the state in which it failed.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command as Process;

use build_client::gomote::{Reproduced, Step};
use build_core::buildlet::{Exec, Program};
use farmer_cli::Failure;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::args::{Repro, Ssh};
use super::place::Place;
use super::run::{Keep, code_of, once};
use super::target::Target;
use super::{Done, connect, machines};
use crate::told::failed;

/// Where builds have their checkout.
const CHECKOUT: &str = "src";

pub(super) async fn repro(
    place: &Place,
    args: Repro,
    stop: &CancellationToken,
) -> Result<Done, Failure> {
    let client = place.client()?;
    let begun = std::time::Instant::now();
    let made = client.repro(&args.build, |event| {
        machines::tell(&args.build, begun, &event);
    });
    let made = tokio::select! {
        made = made => made.map_err(|e| failed(&e))?,
        () = stop.cancelled() => return Err(Failure::interrupted()),
    };
    let name = made.buildlet.name.clone();
    let target = Target {
        builder: made.buildlet.builder_type.clone(),
        host_type: made.buildlet.host_type.clone(),
        machine: client.machine(&name),
        name: name.clone(),
    };
    tell_caches(&made);
    for step in &made.before {
        eprintln!("# {}: as before the failure", step.unit);
        let outcome = once(&target, exec(step), &mut Keep::on_stderr(), None, stop).await?;
        if !outcome.is_ok() {
            eprintln!(
                "# {} has passed in the build, and fails here: {outcome}",
                step.unit
            );
        }
    }
    let command = command(&name, &made.failed);
    if place.json {
        println!("{}", json!({"reproduced": made, "command": command}));
    } else {
        println!("{command}");
        eprintln!(
            "# the command above runs {} again; give the machine back with: gomote destroy {name}",
            made.failed.unit
        );
    }
    if args.shell {
        return shell(place, &made).await;
    }
    if !args.run {
        return Ok(Done::Fine);
    }
    let outcome = once(
        &target,
        exec(&made.failed),
        &mut Keep::on_stderr(),
        None,
        stop,
    )
    .await?;
    eprintln!("# {} ended: {outcome}", made.failed.unit);
    Ok(match code_of(&outcome) {
        0 => Done::Fine,
        code => Done::Remote(code),
    })
}

fn tell_caches(made: &Reproduced) {
    if !made.caches.is_empty() {
        eprintln!("# put back: {}", made.caches.join(", "));
    }
    let missing = made
        .caches_then
        .iter()
        .filter(|path| !made.caches.contains(path));
    for path in missing {
        eprintln!("# the build had {path} from a cache that is not there any more");
    }
}

fn exec(step: &Step) -> Exec {
    let mut exec = Exec::new(&step.cmd);
    exec.lookup = match step.system {
        true => Program::OfSystem,
        false => Program::InWorkDir,
    };
    exec.args.clone_from(&step.args);
    exec.dir.clone_from(&step.dir);
    exec.env.clone_from(&step.env);
    exec
}

/// The line that runs a step on a machine.
fn command(name: &str, step: &Step) -> String {
    let mut words = vec!["gomote".to_owned(), "run".to_owned()];
    if step.system {
        words.push("-system".into());
    }
    words.extend(["-dir".into(), quoted(&step.dir)]);
    for pair in &step.env {
        words.extend(["-e".into(), quoted(pair)]);
    }
    words.extend([quoted(name), quoted(&step.cmd)]);
    words.extend(step.args.iter().map(|arg| quoted(arg)));
    words.join(" ")
}

fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:,+@%=".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// A shell there: in its directory when that is on this machine, else by ssh.
async fn shell(place: &Place, made: &Reproduced) -> Result<Done, Failure> {
    let dir = Path::new(&made.work_dir).join(CHECKOUT);
    if !dir.is_dir() {
        let args = Ssh::to(&made.buildlet.name);
        return connect::ssh(place, args).await;
    }
    let shell = std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
    let pairs = made
        .failed
        .env
        .iter()
        .filter_map(|pair| pair.split_once('='));
    std::io::stdout().flush()?;
    let error = Process::new(&shell).current_dir(&dir).envs(pairs).exec();
    Err(Failure::usage(
        format!("cannot start {}: {error}", shell.to_string_lossy()),
        "name another shell with SHELL",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_can_be_pasted() {
        let step = Step {
            unit: "test".into(),
            cmd: "/bin/sh".into(),
            args: vec!["-c".into(), "echo 'it'; exit 1".into()],
            dir: "src".into(),
            env: vec!["A=b c".into(), "B=1".into()],
            system: true,
        };
        assert_eq!(
            command("user-a-local-0", &step),
            r"gomote run -system -dir src -e 'A=b c' -e B=1 user-a-local-0 /bin/sh -c 'echo '\''it'\''; exit 1'"
        );
    }
}
