//! `farmer-toolchain`: names, downloads, what is there.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use build_client::toolchain::{Installed, Platform, Spec, ToolchainDir};
use clap::{Parser, Subcommand};
use farmer_cli::{Exit, Failure, Out, serving};
use futures::stream::{self, StreamExt as _};
use serde_json::json;

use crate::environment::Environment;
use crate::names;
use crate::told::{Told, failure};
use crate::wrapper::replace;

/// Toolchains downloaded at the same time by one command.
const AT_ONCE: usize = 4;

/// Projects at an exact version of their toolchain: go1.8, gotip, node20.11.0, rust1.80.0.
#[derive(Parser)]
#[command(
    name = "farmer-toolchain",
    version,
    after_help = "\
Examples:
  farmer-toolchain install go1.22.5 gotip      make the commands go1.22.5 and gotip
  go1.22.5 download                            fetch it into ~/sdk/go1.22.5
  go1.22.5 build ./...                         run it
  gotip download 227037                        build Go as of a change under review
  farmer-toolchain download node@20 rust@1.80  fetch the newest 20.x and 1.80.x
  farmer-toolchain go1.8 version               run without a link
  farmer-toolchain exec go@1.22 node@20 -- make test
  eval \"$(farmer-toolchain env rust1.80.1)\"    put it into this shell's PATH

Environment:
  FARMER_SDK         where toolchains are kept (~/sdk)
  FARMER_MIRROR_GO   mirrors instead of Go's own; so for each toolchain
  FARMER_TOOLCHAINS  a file of rows for more toolchains
  HTTPS_PROXY, HTTP_PROXY, NO_PROXY, FARMER_CA_FILE, GOROOT_BOOTSTRAP, FARMER_GOTIP_REMOTE"
)]
struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Makes commands of these names (links; copies on Windows)
    Install {
        /// As in go1.22.5, go@1.22 (the newest 1.22.x) or gotip
        #[arg(required = true)]
        names: Vec<String>,
        /// Where; beside this program when not given
        #[arg(long)]
        dir: Option<PathBuf>,
        /// Replaces other programs of these names
        #[arg(long)]
        force: bool,
        /// Downloads them too
        #[arg(long)]
        download: bool,
    },
    /// Downloads toolchains, several at once
    Download {
        /// As in go1.22.5 or go@1.22 (the newest 1.22.x)
        #[arg(required = true)]
        names: Vec<String>,
        /// For another machine, as in windows-amd64; needs --into
        #[arg(long, requires = "into")]
        platform: Option<Platform>,
        /// Into this directory instead of ~/sdk
        #[arg(long)]
        into: Option<PathBuf>,
        /// One object a line
        #[arg(long)]
        json: bool,
    },
    /// Shows what is there
    List {
        /// One object a line
        #[arg(long)]
        json: bool,
    },
    /// Removes toolchains, and their commands
    Remove {
        /// As `list` shows them
        #[arg(required = true)]
        names: Vec<String>,
        /// Where their commands are; beside this program when not given
        #[arg(long)]
        dir: Option<PathBuf>,
    },
    /// Runs a command with toolchains first in its PATH; downloads those that are not there
    Exec {
        /// As in go1.22.5 or node@20 (what is there and fits, else the newest 20.x)
        #[arg(required = true)]
        names: Vec<String>,
        /// The command and its arguments
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Prints the lines that put a toolchain into a shell
    Env {
        /// As in go1.22.5
        name: String,
        /// As one object
        #[arg(long)]
        json: bool,
    },
}

/// Runs `farmer-toolchain`.
pub(crate) fn main(args: Vec<OsString>) -> ExitCode {
    serving::<Args>(args, async |args, stop| {
        let environment = Environment::read()?;
        tokio::select! {
            done = act(args.verb, &environment) => done,
            () = stop.cancelled() => Err(Failure::interrupted()),
        }
    })
}

/// Becomes `command` with the toolchains of these names first in its `PATH`.
async fn exec(
    names: &[String],
    command: &[OsString],
    environment: &Environment,
) -> Result<(), Failure> {
    let mut path = std::env::var_os("PATH");
    let source = environment.source()?;
    let mut variables = BTreeMap::new();
    // The first one named comes first in PATH.
    for name in names.iter().rev() {
        let told = Told::new(name);
        let tell = |happening| told.tell(happening);
        let ready = environment.dir.available(name, &source, &tell).await;
        told.finish();
        let ready = ready.map_err(|error| {
            let hint = error.hint().map(str::to_owned);
            let error = error.while_doing(format!("the toolchain {name} is not available"));
            Failure::because(Exit::Usage, &error, hint.as_deref())
        })?;
        variables.extend(ready.environment(path.as_deref()));
        path = variables.get(OsStr::new("PATH")).cloned();
    }
    let (program, args) = command.split_first().ok_or_else(|| {
        Failure::usage(
            "no command was given",
            "farmer-toolchain exec NAME -- COMMAND",
        )
    })?;
    let mut started = std::process::Command::new(program);
    started.args(args).envs(variables);
    match replace(started)? {
        code if code == ExitCode::SUCCESS => Ok(()),
        _ => Err(Failure::silent(Exit::Failed)),
    }
}

async fn act(verb: Verb, environment: &Environment) -> Result<(), Failure> {
    match verb {
        Verb::Install {
            names,
            dir,
            force,
            download,
        } => {
            let dir = dir.map_or_else(names::beside_us, Ok)?;
            let mut wanted = Vec::new();
            for name in names {
                let name = match name.as_str() {
                    "gotip" => name,
                    _ => exact(&name, environment).await?.to_string(),
                };
                let link = names::install(&dir, &name, force)?;
                eprintln!("{name}: {}", link.display());
                wanted.extend((name != "gotip").then_some(name));
            }
            if download {
                return fetch(wanted, &environment.dir, None, false, environment).await;
            }
            Ok(())
        }
        Verb::Download {
            names,
            platform,
            into,
            json,
        } => {
            let dir = into.map_or_else(|| environment.dir.clone(), ToolchainDir::new);
            fetch(names, &dir, platform, json, environment).await
        }
        Verb::List { json } => {
            let listed = environment
                .dir
                .list(&environment.rows)
                .map_err(|e| failure(&e))?;
            print(
                listed
                    .iter()
                    .map(|one| if json { object(one) } else { line(one) }),
            )
        }
        Verb::Remove { names, dir } => {
            let dir = dir.map_or_else(names::beside_us, Ok)?;
            for name in names {
                remove(&name, environment).await?;
                names::remove(&dir, &name)?;
            }
            Ok(())
        }
        Verb::Exec { names, command } => exec(&names, &command, environment).await,
        Verb::Env { name, json } => env(&name, json, environment),
    }
}

/// An exact version: `go@1.22` is looked up in the mirror's list.
async fn exact(name: &str, environment: &Environment) -> Result<Spec, Failure> {
    let found = match name.split_once('@') {
        Some((toolchain, version)) => environment.source()?.newest(toolchain, version).await,
        None => Spec::parse(name, &environment.rows),
    };
    found.map_err(|error| failure(&error))
}

async fn fetch(
    names: Vec<String>,
    dir: &ToolchainDir,
    platform: Option<Platform>,
    json: bool,
    environment: &Environment,
) -> Result<(), Failure> {
    let mut source = environment.source()?;
    if let Some(platform) = platform {
        source = source.platform(platform);
    }
    let source = &source;
    let fetched = stream::iter(names).map(async |name: String| {
        let spec = exact(&name, environment).await?;
        let told = Told::new(&spec);
        let tell = |happening| told.tell(happening);
        let done = dir.download(&spec, source, &tell).await;
        told.finish();
        done.map_err(|error| failure(&error.while_doing(format!("download of {spec} failed"))))
    });
    let fetched: Vec<_> = fetched.buffer_unordered(AT_ONCE).collect().await;
    let mut failed = None;
    let mut lines = Vec::new();
    for one in fetched {
        match one {
            Ok(one) if json => lines.push(object(&one)),
            Ok(one) => lines.push(line(&one)),
            Err(failure) => {
                // All are tried; each that failed is told, and the last one ends the program.
                if let Some(before) = failed.replace(failure) {
                    let text = Failure::message(&before, "farmer-toolchain");
                    eprintln!("{}", text.unwrap_or_default());
                }
            }
        }
    }
    print(lines.into_iter())?;
    failed.map_or(Ok(()), Err)
}

async fn remove(name: &str, environment: &Environment) -> Result<(), Failure> {
    let archive = match name {
        "gotip" => None,
        _ => {
            let spec = Spec::parse(name, &environment.rows).map_err(|e| failure(&e))?;
            let row = environment
                .rows
                .row(spec.toolchain())
                .map_err(|e| failure(&e))?;
            row.archive(&spec, &Platform::here()).ok()
        }
    };
    let removed = environment.dir.remove(name, archive.as_deref()).await;
    removed.map_err(|error| failure(&error))
}

fn env(name: &str, json: bool, environment: &Environment) -> Result<(), Failure> {
    let ready = match name {
        "gotip" => environment.dir.ready_tip(&environment.rows),
        _ => Spec::parse(name, &environment.rows)
            .and_then(|spec| environment.dir.ready(&spec, &environment.rows)),
    };
    let ready = ready.map_err(|error| failure(&error))?;
    let path = std::env::var_os("PATH");
    let variables = ready.environment(path.as_deref());
    let mut lines = Vec::new();
    let mut object = serde_json::Map::new();
    for (variable, value) in variables {
        let (variable, value) = (variable.to_string_lossy(), value.to_string_lossy());
        // In single quotes everything but the quote stands for itself.
        lines.push(format!(
            "export {variable}='{}'",
            value.replace('\'', r"'\''")
        ));
        object.insert(variable.into_owned(), json!(value));
    }
    match json {
        true => print(std::iter::once(json!(object).to_string())),
        false => print(lines.into_iter()),
    }
}

fn object(one: &Installed) -> String {
    json!({"name": one.name, "path": one.path, "ready": one.ready}).to_string()
}

fn line(one: &Installed) -> String {
    let state = if one.ready { "" } else { "  incomplete" };
    format!("{:<16} {}{state}", one.name, one.path.display())
}

fn print(lines: impl Iterator<Item = String>) -> Result<(), Failure> {
    let mut out = Out::new();
    for line in lines {
        match writeln!(out, "{line}") {
            Err(_) if out.is_closed() => return Ok(()),
            written => written?,
        }
    }
    match out.flush() {
        Err(error) if !out.is_closed() => Err(Failure::because(Exit::Infrastructure, &error, None)),
        _ => Ok(()),
    }
}
