//! `updatestd`: brings the modules of Go's standard library to the heads of a branch.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use build_client::gerrit::{Auth, Client};
use build_client::updatestd::{GoCommand, Report, heads, minor_version, update};
use clap::Parser;
use farmer_cli::{Exit, Failure};
use tokio_util::sync::CancellationToken;

use crate::told::failure;

const EXAMPLES: &str = "Examples:
  updatestd -goroot ~/go -branch master
  updatestd -goroot ~/go -branch release-branch.go1.16 -json
  updatestd -goroot ~/go -branch master -head golang.org/x/sys=master -head golang.org/x/net=0123abc
      with heads given by hand: no server is asked

It needs the program bundle: go install golang.org/x/tools/cmd/bundle@latest";

/// Bring the modules of Go's standard library to the heads of a branch
#[derive(Parser)]
#[command(name = "updatestd", version, after_help = EXAMPLES)]
struct Args {
    /// Go repository to update (required)
    #[arg(long, value_name = "DIR")]
    goroot: PathBuf,
    /// Branch whose heads the modules get (required)
    #[arg(long)]
    branch: String,
    /// Server that knows the heads
    #[arg(
        long,
        value_name = "URL",
        default_value = "https://go-review.googlesource.com"
    )]
    gerrit: String,
    /// A head given by hand; with one, the server is not asked
    #[arg(long, value_name = "MODULE=REVISION")]
    head: Vec<String>,
    /// Go command [default: bin/go of -goroot]
    #[arg(long, value_name = "PROGRAM")]
    go: Option<PathBuf>,
    /// Print what was updated as JSON
    #[arg(long)]
    json: bool,
}

/// The entry point: the arguments without the program's name.
pub fn main(args: Vec<OsString>) -> ExitCode {
    farmer_cli::serving(args, Args::run)
}

impl Args {
    async fn run(self, stop: CancellationToken) -> Result<(), Failure> {
        let goroot = std::fs::canonicalize(&self.goroot).map_err(|error| {
            Failure::usage(
                format!("no Go tree at {}: {error}", self.goroot.display()),
                "name the root of a Go repository with -goroot",
            )
        })?;
        // Before anything is asked or changed.
        minor_version(&goroot).map_err(|e| failure(&e))?;
        if std::env::var_os("GOWORK").is_some_and(|work| !work.is_empty() && work != "off") {
            eprintln!("updatestd: GOWORK is set; it is not used");
        }
        let go = self.go.clone().unwrap_or_else(|| goroot.join("bin/go"));
        let bundle = on_path("bundle").unwrap_or_else(|| PathBuf::from("bundle"));
        let tool = GoCommand::new(go, bundle);
        build_client::updatestd::ModuleTool::check(&tool).map_err(|e| failure(&e))?;
        let heads = tokio::select! {
            heads = self.heads() => heads?,
            () = stop.cancelled() => return Err(Failure::interrupted()),
        };
        let work = move || update(&goroot, &heads, &tool, &mut |line| eprintln!("{line}"));
        let report = tokio::select! {
            report = tokio::task::spawn_blocking(work) => report,
            () = stop.cancelled() => return Err(Failure::interrupted()),
        };
        let report = report
            .map_err(|error| Failure::because(Exit::Infrastructure, &error, None))?
            .map_err(|e| crate::told::failed(&e))?;
        self.tell(&report)
    }

    async fn heads(&self) -> Result<BTreeMap<String, String>, Failure> {
        if self.head.is_empty() {
            let gerrit = Client::new(&self.gerrit, Auth::None).map_err(|e| failure(&e.into()))?;
            return heads(&gerrit, &self.branch)
                .await
                .map_err(|e| failure(&e.into()));
        }
        let pair = |text: &String| {
            let (module, revision) = text.split_once('=')?;
            Some((module.to_owned(), revision.to_owned()))
        };
        self.head
            .iter()
            .map(|text| {
                pair(text).ok_or_else(|| {
                    Failure::usage(format!("-head {text:?} is not MODULE=REVISION"), "")
                })
            })
            .collect()
    }

    fn tell(&self, report: &Report) -> Result<(), Failure> {
        if self.json {
            let text = serde_json::to_string(report)
                .map_err(|e| Failure::because(Exit::Infrastructure, &e, None))?;
            println!("{text}");
            return Ok(());
        }
        for module in &report.modules {
            let name = if module.dir.is_empty() {
                "std"
            } else {
                &module.dir
            };
            for updated in &module.updated {
                println!(
                    "{name}: {} {} -> {}",
                    updated.module, updated.from, updated.to
                );
            }
            for skipped in &module.skipped {
                println!("{name}: {skipped} skipped: no head of it is known");
            }
        }
        for pin in &report.pins {
            println!("{pin}: pinned documentation server updated");
        }
        Ok(())
    }
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}
